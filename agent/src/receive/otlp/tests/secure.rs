//! TLS: a request through it, and clients that are asked for a certificate.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use whimbrel_otlp::Signal;

use super::{PROTOBUF, config, logs, request};
use crate::{
    config::{Address, Endpoint, OtlpReceiver, ReceiverKind, ServerTls},
    receive::testing::Rig,
};

/// An authority, and the receiver's files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), certificate: certificate.der().clone() }
    }

    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn server(&self, clients: bool) -> ServerTls {
        let (certificate, key) = self.sign();
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        ServerTls {
            cert_file: path("cert.pem"),
            key_file: path("key.pem"),
            client_ca_file: clients.then(|| path("ca.pem")),
        }
    }

    /// A client that trusts this authority, and shows what `of` has signed for it.
    fn client(&self, of: Option<&Authority>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match of {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let (certificate, key) = authority.sign();
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn rig(authority: &Authority, clients: bool) -> Rig {
    let mut endpoint = Endpoint::at(Address::Tcp(([127, 0, 0, 1], 0).into()));
    endpoint.tls = Some(authority.server(clients));
    Rig::start(ReceiverKind::Otlp(OtlpReceiver { grpc: None, http: Some(endpoint), ..config() })).await
}

/// The status of a request through TLS; what went wrong where there is none.
async fn post(rig: &Rig, connector: &TlsConnector) -> Result<u16, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(rig.address("http")).await.map_err(|error| told(&error))?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = connector.connect(name, stream).await.map_err(|error| told(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|e| told(&e))?;
    tokio::spawn(connection);
    let answer = sender.send_request(request("POST", "/v1/logs", &[PROTOBUF], logs(1))).await;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| told(&error))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_through_tls_and_plain_ones_do_not() {
    let authority = Authority::new();
    let rig = rig(&authority, false).await;
    assert_eq!(post(&rig, &authority.client(None)).await, Ok(200));
    assert!(post(&rig, &Authority::new().client(None)).await.is_err(), "of another authority");
    let plain = TcpStream::connect(rig.address("http")).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(plain)).await.unwrap();
    tokio::spawn(connection);
    assert!(sender.send_request(request("POST", "/v1/logs", &[PROTOBUF], logs(1))).await.is_err());
    assert_eq!(rig.stored(Signal::Logs).len(), 1);
    rig.wait_for_status(|status| status.refused.get("tls") == Some(&2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_certificate_of_the_authority_are_not_let_in() {
    let authority = Authority::new();
    let rig = rig(&authority, true).await;
    assert_eq!(post(&rig, &authority.client(Some(&authority))).await, Ok(200));
    assert!(post(&rig, &authority.client(None)).await.is_err(), "none at all");
    assert!(post(&rig, &authority.client(Some(&Authority::new()))).await.is_err(), "of a stranger");
    assert_eq!(rig.stored(Signal::Logs).len(), 1);
    rig.wait_for_status(|status| status.refused.get("tls") == Some(&2)).await;
}
