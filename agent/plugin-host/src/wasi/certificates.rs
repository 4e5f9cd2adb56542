//! The contract's `certificates`: what a server shows of itself in a TLS handshake.
//!
//! A handshake goes the way of a request: the same grant, the same check of each address after resolution, the same
//! places. It takes whatever certificate it is shown, because nothing is sent over the connection, and what is wrong
//! with it is the answer. Dates, name and authority are judged one by one: an expired certificate is told apart from
//! one that nobody stands behind.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use wasmtime_wasi_http::Error;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::http::{MAX_WAIT, Requests, server_name};
use crate::{
    address::Origin,
    guest::Guest,
    services::{Denied, GuestError},
    text::clean,
};

/// The most names of one certificate; so says the contract.
const MAX_NAMES: usize = 100;
/// The longest text of a certificate that is kept, in bytes.
const MAX_TEXT: usize = 1 << 10;

/// A server's certificate. Texts are free of control characters, and not long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) serial: String,
    pub(crate) names: Vec<String>,
    /// Seconds since the Unix epoch.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// SHA-256.
    pub(crate) fingerprint: [u8; 32],
    pub(crate) flaws: Vec<(Flaw, String)>,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    Expired,
    NotYetValid,
    WrongName,
    Untrusted,
    Other,
}

impl Guest {
    /// `certificates.peer`.
    pub(crate) async fn certificate(
        &mut self,
        origin: &str,
        timeout_ms: u32,
    ) -> Result<Certificate, GuestError> {
        let now = Duration::from_nanos(self.now_ns());
        let wasi = self.wasi.as_ref().expect("what imports this is given its data before it starts");
        wasi.requests.certificate(origin, timeout_ms, UnixTime::since_unix_epoch(now)).await
    }
}

impl Requests {
    async fn certificate(
        &self,
        origin: &str,
        timeout_ms: u32,
        now: UnixTime,
    ) -> Result<Certificate, GuestError> {
        let invalid = |what: &str| GuestError::Invalid(format!("{} {what}", clean(origin.to_owned(), 256)));
        let origin: Origin = match origin.parse() {
            Ok(origin) => origin,
            Err(error) => return Err(invalid(&format!("{error}"))),
        };
        if !origin.secure || !origin.endpoint.networks.is_empty() {
            return Err(invalid("is not an origin of https, as in https://example.com:8443"));
        }
        let _slot = self.slot().ok_or_else(|| {
            GuestError::Unavailable(
                "too many requests are under way: read some to their end first".to_owned(),
            )
        })?;
        let wait = match timeout_ms {
            0 => MAX_WAIT,
            asked => Duration::from_millis(asked.into()).min(MAX_WAIT),
        };
        let shown = timeout(wait, self.handshake(&origin)).await;
        let shown = shown
            .map_err(|_| GuestError::Transient(format!("{origin} did not shake hands within {wait:?}")))?;
        let (chain, name, roots) = shown.map_err(|error| refusal(&origin, &error))?;
        judge(&chain, &name, &roots, now)
    }

    /// The certificates that the server shows, its own first.
    async fn handshake(
        &self,
        origin: &Origin,
    ) -> Result<(Vec<CertificateDer<'static>>, ServerName<'static>, Arc<RootCertStore>), Error> {
        let stream = self.connect_tcp(origin).await?;
        let name = server_name(origin)?;
        let roots = self.lookups.outside.tls().await.map_err(Error::Tls)?.roots;
        let witness = Arc::new(Witness::new());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(std::io::Error::other(error)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let connected = connector.connect(name.clone(), stream).await;
        let chain = witness.take();
        // A server that goes on to ask for ours has shown its own nevertheless.
        match connected {
            Err(error) if chain.is_empty() => Err(Error::Tls(error)),
            _ => Ok((chain, name, roots)),
        }
    }
}

fn refusal(origin: &Origin, error: &Error) -> GuestError {
    let why = match error {
        Error::HttpRequestDenied => return GuestError::Denied(Denied::Http(origin.clone()).to_string()),
        Error::DestinationIpProhibited => {
            return GuestError::Denied(format!(
                "{origin} has no address that is granted; the agent's log names those it has"
            ));
        }
        Error::HttpRequestUriInvalid => {
            return GuestError::Invalid(format!("{origin} has no name that a certificate could be for"));
        }
        Error::Connect(error) => format!("can't be connected to: {error}"),
        Error::Tls(error) => format!("does not speak TLS: {error}"),
        Error::DnsTimeout => "has a name that was not resolved in time".to_owned(),
        Error::DnsError { .. } | Error::DestinationNotFound => "has a name that has no address".to_owned(),
        _ => "can't be connected to".to_owned(),
    };
    GuestError::Transient(format!("{origin} {}", clean(why, MAX_TEXT)))
}

/// Takes any certificate, and keeps it; holds the server to its key as always.
#[derive(Debug)]
struct Witness {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Witness {
    fn new() -> Witness {
        Witness {
            chain: Mutex::default(),
            algorithms: ring::default_provider().signature_verification_algorithms,
        }
    }

    fn take(&self) -> Vec<CertificateDer<'static>> {
        // Written whole.
        std::mem::take(&mut self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) =
            all.map(|one| one.clone().into_owned()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What the first of the chain says, and what is wrong with it. The others are those that it may stand on.
fn judge(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<Certificate, GuestError> {
    let unreadable = |why: String| {
        GuestError::Transient(format!("the certificate can't be read: {}", clean(why, MAX_TEXT)))
    };
    let (leaf, others) =
        chain.split_first().ok_or_else(|| unreadable("the server showed none".to_owned()))?;
    let (_, read) = X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
    let text = |text: String| clean(text, MAX_TEXT);
    let (not_before, not_after) =
        (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
    let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut flaws = Vec::new();
    if at > not_after {
        flaws.push((Flaw::Expired, "its time is over".to_owned()));
    }
    if at < not_before {
        flaws.push((Flaw::NotYetValid, "its time has not begun".to_owned()));
    }
    match ParsedCertificate::try_from(leaf) {
        Err(error) => flaws.push((Flaw::Other, text(error.to_string()))),
        Ok(parsed) => {
            // Of the moments at which it was or will be valid, the nearest: what else is wrong is not hidden.
            let moment = at.min(not_after).max(not_before);
            let moment = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(moment).unwrap_or(0)));
            let algorithms = ring::default_provider().signature_verification_algorithms.all;
            let chained =
                verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, moment, algorithms);
            flaws.extend(chained.err().map(|error| flaw(&error, read.issuer() == read.subject())));
            let named = verify_server_name(&parsed, name);
            flaws.extend(named.err().map(|error| flaw(&error, false)));
        }
    }
    Ok(Certificate {
        subject: text(read.subject().to_string()),
        issuer: text(read.issuer().to_string()),
        serial: text(read.raw_serial_as_string()),
        names: names(&read),
        not_before,
        not_after,
        fingerprint: Sha256::digest(leaf).into(),
        flaws,
    })
}

/// What the verification found, in words. The certificate's own dates were looked at before: these are an issuer's.
fn flaw(error: &rustls::Error, own_issuer: bool) -> (Flaw, String) {
    let rustls::Error::InvalidCertificate(error) = error else {
        return (Flaw::Other, clean(error.to_string(), MAX_TEXT));
    };
    let (flaw, words) = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (Flaw::Expired, "the time of an authority that it stands on is over")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (Flaw::NotYetValid, "the time of an authority that it stands on has not begun")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (Flaw::WrongName, "it is for other names")
        }
        CertificateError::UnknownIssuer if own_issuer => {
            (Flaw::Untrusted, "it is signed by itself, and not trusted")
        }
        // A wrong signature: an authority of that name is known, and signed something else.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            Flaw::Untrusted,
            "no authority that is trusted here stands behind it, as far as the server shows",
        ),
        _ => return (Flaw::Other, clean(error.to_string(), MAX_TEXT)),
    };
    (flaw, words.to_owned())
}

/// The names that it is for.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(clean((*name).to_owned(), MAX_TEXT)),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => <[u8; 16]>::try_from(bytes).ok().map(|it| std::net::Ipv6Addr::from(it).to_string()),
        },
        _ => None,
    };
    alternative.value.general_names.iter().filter_map(name).take(MAX_NAMES).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    /// 2026-06-15.
    const NOW: u64 = 1_781_481_600;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        certificate: rcgen::Certificate,
    }

    impl Authority {
        fn new(until: i32) -> Authority {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, "Test Authority");
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            Authority { issuer: Issuer::new(params, key), certificate }
        }

        fn roots(&self) -> RootCertStore {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            roots
        }

        fn sign(&self, names: &[&str], from: i32, until: i32) -> CertificateDer<'static> {
            let key = KeyPair::generate().unwrap();
            params(names, from, until).signed_by(&key, &self.issuer).unwrap().der().clone()
        }
    }

    fn params(names: &[&str], from: i32, until: i32) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a server");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params
    }

    fn judged(chain: &[CertificateDer<'_>], roots: &RootCertStore) -> Certificate {
        let name = ServerName::try_from("www.example.com").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        judge(chain, &name, roots, now).unwrap()
    }

    fn flaws(chain: &[CertificateDer<'_>], roots: &RootCertStore) -> Vec<Flaw> {
        judged(chain, roots).flaws.into_iter().map(|(flaw, _)| flaw).collect()
    }

    #[test]
    fn a_good_certificate_has_no_flaw_and_says_what_stands_in_it() {
        let authority = Authority::new(2100);
        let names = ["www.example.com", "192.0.2.7", "2001:db8::7"];
        let certificate = judged(&[authority.sign(&names, 2026, 2027)], &authority.roots());
        assert_eq!(certificate.flaws, []);
        assert_eq!(certificate.names, names);
        assert!(certificate.subject.contains("CN=a server"), "{certificate:?}");
        assert!(certificate.issuer.contains("CN=Test Authority"), "{certificate:?}");
        // 2026-01-01 and 2027-01-01.
        assert_eq!((certificate.not_before, certificate.not_after), (1_767_225_600, 1_798_761_600));
    }

    #[test]
    fn each_flaw_is_told_alone_and_together_with_others() {
        let (ours, other) = (Authority::new(2100), Authority::new(2100));
        let (roots, name) = (ours.roots(), ["www.example.com"]);
        let one = |certificate| flaws(&[certificate], &roots);
        assert_eq!(one(ours.sign(&name, 2024, 2025)), [Flaw::Expired]);
        assert_eq!(one(ours.sign(&name, 2027, 2028)), [Flaw::NotYetValid]);
        assert_eq!(one(ours.sign(&["other.example.com"], 2026, 2027)), [Flaw::WrongName]);
        assert_eq!(one(other.sign(&name, 2026, 2027)), [Flaw::Untrusted]);
        assert_eq!(
            one(other.sign(&["x.example.com"], 2024, 2025)),
            [Flaw::Expired, Flaw::Untrusted, Flaw::WrongName]
        );
        let key = KeyPair::generate().unwrap();
        let own = params(&name, 2026, 2027).self_signed(&key).unwrap();
        let certificate = judged(&[own.der().clone()], &roots);
        let [(Flaw::Untrusted, words)] = certificate.flaws.as_slice() else { panic!("{certificate:?}") };
        assert!(words.contains("by itself"), "{words}");
    }

    #[test]
    fn an_authority_between_whose_time_is_over_is_told() {
        let root = Authority::new(2100);
        let mut middle = CertificateParams::new(Vec::new()).unwrap();
        middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        middle.distinguished_name.push(DnType::CommonName, "Middle");
        middle.not_before = date_time_ymd(2020, 1, 1);
        middle.not_after = date_time_ymd(2026, 2, 1);
        let key = KeyPair::generate().unwrap();
        let shown = middle.signed_by(&key, &root.issuer).unwrap().der().clone();
        let middle = Authority { certificate: root.certificate.clone(), issuer: Issuer::new(middle, key) };
        let leaf = middle.sign(&["www.example.com"], 2026, 2027);
        let certificate = judged(&[leaf.clone(), shown], &root.roots());
        let [(Flaw::Expired, words)] = certificate.flaws.as_slice() else { panic!("{certificate:?}") };
        assert!(words.contains("authority"), "{words}");
        assert_eq!(flaws(&[leaf], &root.roots()), [Flaw::Untrusted], "the one between was not shown");
    }

    #[test]
    fn what_is_no_certificate_is_an_error_and_never_a_panic() {
        let authority = Authority::new(2100);
        let good = authority.sign(&["www.example.com"], 2026, 2027);
        let (roots, name) = (authority.roots(), ServerName::try_from("www.example.com").unwrap());
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        for end in 0..good.len() {
            let cut = CertificateDer::from(good[..end].to_vec());
            assert!(judge(&[cut], &name, &roots, now).is_err(), "{end}");
        }
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0x55;
            // Whatever it is now.
            let _ = judge(&[CertificateDer::from(bytes)], &name, &roots, now);
        }
        assert!(judge(&[], &name, &roots, now).is_err());
    }
}
