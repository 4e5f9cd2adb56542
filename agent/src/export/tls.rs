//! TLS as the configuration says it: rustls with ring, the system's roots or an authority of one's own, a client
//! certificate, another server name.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::exporter::Problem;
use crate::config;

/// The client's side of TLS; for a plain endpoint (`https: false`) a configuration that trusts nobody.
pub(super) fn client_config(tls: &config::Tls, https: bool) -> Result<ClientConfig, Problem> {
    let roots = match &tls.ca_file {
        _ if !https => RootCertStore::empty(),
        Some(path) => own_roots(path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::Tls(error.to_string()))?
        .with_root_certificates(roots);
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error))?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| {
                file(cert, format_args!("does not fit the key in {}: {error}", key.display()))
            })
        }
        (Some(_), None) => Err(Problem::Tls("tls.cert_file needs tls.key_file".to_owned())),
        (None, Some(_)) => Err(Problem::Tls("tls.key_file needs tls.cert_file".to_owned())),
    }
}

/// The name to verify instead of the endpoint's host.
pub(super) fn server_name(tls: &config::Tls) -> Result<Option<ServerName<'static>>, Problem> {
    let Some(name) = &tls.server_name else { return Ok(None) };
    match ServerName::try_from(name.clone()) {
        Ok(name) => Ok(Some(name)),
        Err(error) => Err(Problem::Tls(format!("tls.server_name {name:?}: {error}"))),
    }
}

fn own_roots(path: &Path) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| file(path, error))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Problem> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One odd certificate among a hundred is no reason not to trust the others.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(Problem::Tls(format!(
            "the system has no root certificates ({}): install them (ca-certificates), or set tls.ca_file",
            if errors.is_empty() { "none found".to_owned() } else { errors.join("; ") }
        )));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| file(path, error))?;
    if found.is_empty() {
        return Err(file(path, "holds no PEM certificate"));
    }
    Ok(found)
}

fn file(path: &Path, problem: impl std::fmt::Display) -> Problem {
    Problem::File { path: path.to_owned(), problem: problem.to_string() }
}
