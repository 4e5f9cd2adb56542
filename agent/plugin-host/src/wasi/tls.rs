//! TLS of requests: the authorities that this system trusts.

use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Reads the system's certificates; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
pub(super) fn config() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
        return Err(io::Error::other(format!("this system has no certificates of authorities {why}")));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
