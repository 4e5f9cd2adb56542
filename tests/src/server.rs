//! A server for agents to ask: HTTP/1.1 on loopback, with and without TLS.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// Nobody waits longer for a client.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server answers.
#[derive(Debug, Clone)]
pub struct Page {
    /// Such as 200.
    pub status: u16,
    /// Lines of headers.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
    /// So long it thinks before.
    pub after: Duration,
}

impl Page {
    /// With this status and text.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), after: Duration::ZERO }
    }

    /// And this header.
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }
}

/// A request as it came: its first line, and its headers.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `/metrics?x`
    pub target: String,
    /// All of it, in lower case.
    pub head: String,
}

type Answer = Arc<dyn Fn(&Asked) -> Page + Send + Sync>;

/// A server; it ends with the test's process.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    secure: bool,
}

impl Server {
    /// Without TLS.
    pub fn start(answer: impl Fn(&Asked) -> Page + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(answer))
    }

    /// With TLS, under this certificate.
    pub fn start_secure(
        identity: &Identity,
        answer: impl Fn(&Asked) -> Page + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(Arc::clone(&identity.config)), Arc::new(answer))
    }

    fn serve(tls: Option<Arc<ServerConfig>>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let secure = tls.is_some();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                // Whoever is gone is no matter.
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    match tls {
                        None => exchange(stream, &answer),
                        Some(config) => {
                            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                            exchange(StreamOwned::new(connection, stream), &answer)
                        }
                    }
                });
            }
        });
        Self { address, secure }
    }

    /// Scheme, address and port, as a grant names them.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.address)
    }

    /// With a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }
}

fn exchange(mut stream: impl Read + Write, answer: &Answer) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = answer(&Asked { target, head: head.to_lowercase() });
    thread::sleep(page.after);
    let headers: String = page.headers.iter().map(|line| format!("{line}\r\n")).collect();
    let first =
        format!("HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n", page.status, page.body.len());
    stream.write_all(format!("{first}{headers}\r\n").as_bytes())?;
    stream.write_all(&page.body)?;
    stream.flush()
}

/// An authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    /// A new one, valid for ages.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("it signs itself");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A server's certificate for this name or address, from the first day of one year to that of another.
    pub fn sign(&self, name: &str, years: (i32, i32)) -> Identity {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a good name");
        params.distinguished_name.push(DnType::CommonName, "test server");
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("key and certificate belong together");
        Identity { config: Arc::new(config) }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A server's certificate with its key.
pub struct Identity {
    config: Arc<ServerConfig>,
}
