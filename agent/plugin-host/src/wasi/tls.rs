//! TLS of requests: the authorities that this system trusts.

use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// What requests over TLS are made with.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) client: Arc<ClientConfig>,
    /// The same authorities, for those who judge a certificate themselves.
    pub(super) roots: Arc<RootCertStore>,
}

/// Reads the system's certificates; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
pub(super) fn config() -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
        return Err(io::Error::other(format!("this system has no certificates of authorities {why}")));
    }
    let roots = Arc::new(roots);
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(Arc::clone(&roots))
        .with_no_client_auth();
    Ok(Tls { client: Arc::new(client), roots })
}
