//! TLS: an authority of one's own, client certificates, server names, h2.

use std::{path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Bench, HOLD, config, in_time,
    memory::{Letters, Memory},
    receiver::{Receiver, Reply},
};
use crate::{
    clock::manual::ManualClock,
    config::{Exporter, Protocol},
    export::State,
};

/// An authority, and what it has signed, as files.
struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key), certificate }
    }

    fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A client's certificate and key, as files.
    fn client(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign("a client");
        let files = (self.dir.path().join("client.pem"), self.dir.path().join("client.key"));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// A server under this name; `clients`: it wants a certificate of this authority's.
    fn acceptor(&self, name: &str, clients: bool, alpn: &[&str]) -> TlsAcceptor {
        let (certificate, key) = self.sign(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn receiver(&self, name: &str, clients: bool, alpn: &[&str]) -> Receiver {
        Receiver::with_tls(self.acceptor(name, clients, alpn), |_, _| Reply::ok()).await
    }
}

fn trusting(authority: &Authority, receiver: &Receiver) -> Exporter {
    let mut config = config(receiver);
    config.tls.ca_file = Some(authority.ca_file());
    config
}

#[tokio::test]
async fn an_authority_of_one_s_own_is_trusted_and_h2_used_where_it_is_offered() {
    let authority = Authority::new();
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], http::Version::HTTP_2),
        (&["http/1.1"], http::Version::HTTP_11),
        (&[], http::Version::HTTP_11),
    ] {
        let receiver = authority.receiver("127.0.0.1", false, alpn).await;
        let bench = Bench::new(&trusting(&authority, &receiver));
        bench.push("one");
        bench.settles(1).await;
        bench.push("two");
        bench.settles(2).await;
        assert_eq!(receiver.texts(), ["one", "two"]);
        assert_eq!(receiver.received()[0].version, version);
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn grpc_is_spoken_over_tls_where_h2_is_offered() {
    let authority = Authority::new();
    let over = |receiver: &Receiver| Exporter { protocol: Protocol::Grpc, ..trusting(&authority, receiver) };
    let acceptor = authority.acceptor("127.0.0.1", false, &["h2"]);
    let receiver = Receiver::with_tls(acceptor, |_, _| Reply::message(b"")).await;
    let bench = Bench::new(&over(&receiver));
    bench.push("one");
    bench.settles(1).await;
    bench.push("two");
    bench.settles(2).await;
    assert_eq!(receiver.texts(), ["one", "two"]);
    assert_eq!((receiver.received()[0].version, receiver.connections()), (http::Version::HTTP_2, 1));

    let receiver = authority.receiver("127.0.0.1", false, &["http/1.1"]).await;
    let bench = Bench::new(&over(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    let State::Held { reason, .. } = bench.metrics().state else { panic!() };
    assert!(reason.contains("NoApplicationProtocol"), "{reason}");
    assert_eq!(bench.memory.settled(), []);
}

#[tokio::test]
async fn a_receiver_that_is_not_who_it_should_be_gets_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for receiver in [
        stranger.receiver("127.0.0.1", false, &[]).await,
        authority.receiver("another.example", false, &[]).await,
    ] {
        let bench = Bench::new(&trusting(&authority, &receiver));
        bench.push("one");
        in_time(bench.clock.someone_sleeps(HOLD)).await;
        let State::Held { reason, .. } = bench.metrics().state else { panic!() };
        assert!(reason.starts_with("TLS: invalid peer certificate"), "{reason}");
        assert!(receiver.received().is_empty());
        assert_eq!(bench.memory.settled(), []);
    }
}

#[tokio::test]
async fn another_server_name_can_be_verified() {
    let authority = Authority::new();
    let receiver = authority.receiver("another.example", false, &[]).await;
    let mut config = trusting(&authority, &receiver);
    config.tls.server_name = Some("another.example".to_owned());
    let bench = Bench::new(&config);
    bench.push("one");
    bench.settles(1).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let receiver = authority.receiver("127.0.0.1", true, &["http/1.1"]).await;
    let without = Bench::new(&trusting(&authority, &receiver));
    without.push("one");
    in_time(without.clock.someone_sleeps(HOLD)).await;
    let State::Held { reason, .. } = without.metrics().state else { panic!() };
    assert!(reason.contains("CertificateRequired"), "{reason}");

    let mut config = trusting(&authority, &receiver);
    let (cert, key) = authority.client();
    (config.tls.cert_file, config.tls.key_file) = (Some(cert), Some(key));
    let bench = Bench::new(&config);
    bench.push("two");
    bench.settles(1).await;
    assert_eq!(receiver.texts(), ["two"]);
}

#[tokio::test]
async fn a_file_that_can_t_be_used_is_named_before_anything_starts() {
    let authority = Authority::new();
    let receiver = authority.receiver("127.0.0.1", false, &[]).await;
    let refused = |config: &Exporter| {
        let (memory, letters, clock) = (Memory::new(), Letters::new(), ManualClock::new());
        crate::export::start(config, memory, letters, clock).expect_err("refused").to_string()
    };
    let (cert, key) = authority.client();

    let mut config = config(&receiver);
    config.tls.ca_file = Some("/nowhere/ca.pem".into());
    assert!(refused(&config).starts_with("exporters.backend: /nowhere/ca.pem: "));
    config.tls.ca_file = Some(key.clone());
    assert!(refused(&config).ends_with("client.key: holds no PEM certificate"));
    config.tls.ca_file = Some(authority.ca_file());
    config.tls.cert_file = Some(cert.clone());
    assert!(refused(&config).contains("tls.key_file"));
    config.tls.key_file = Some(cert);
    assert!(refused(&config).contains("client.pem"));
    let (_, foreign) = Authority::new().sign("x");
    std::fs::write(&key, foreign.serialize_pem()).unwrap();
    config.tls.key_file = Some(key);
    assert!(refused(&config).contains("does not fit the key"));
}
