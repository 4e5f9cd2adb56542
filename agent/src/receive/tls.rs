//! The server's side of TLS: rustls with ring, a certificate, and the authorities of clients where these are asked for.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::config::ServerTls;

/// Protocols offered by ALPN to those who ask.
const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why TLS cannot be offered: the file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("tls: {0}")]
pub(crate) struct TlsError(String);

/// An acceptor. `http`: whether HTTP/2 and HTTP/1.1 are offered.
pub(crate) fn acceptor(tls: &ServerTls, http: bool) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(error.to_string()))?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong(path, error))?)
        }
    };
    let chain = certificates(&tls.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|error| wrong(&tls.key_file, error))?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        wrong(&tls.cert_file, format_args!("does not fit the key in {}: {error}", tls.key_file.display()))
    })?;
    if http {
        config.alpn_protocols = HTTP.iter().map(|name| name.to_vec()).collect();
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(path, error))?;
    match found.is_empty() {
        true => Err(wrong(path, "holds no PEM certificate")),
        false => Ok(found),
    }
}

fn wrong(path: &Path, problem: impl std::fmt::Display) -> TlsError {
    TlsError(format!("{}: {problem}", path.display()))
}
