//! A client for one registry, with what it wants to be told; shared by `fetch` and `push`.

use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::{
    Client, Reference as Image,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    secrets::RegistryAuth,
};
use whimbrel_plugin_host::{
    registry::{
        Reference,
        frame::{Credentials, Failure},
    },
    text::{clean, whole},
};

/// A peer that does not answer is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// So is one that falls silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is repeated, in bytes.
const MAX_DETAIL: usize = 512;
/// As docker's configuration file names Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Where a plugin is, and the way to there.
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) image: Image,
    pub(crate) auth: RegistryAuth,
}

impl Place {
    /// Finds credentials, and makes a client. Starts no connection.
    pub(crate) fn new(
        reference: &Reference,
        plain_http: bool,
        ca_pem: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<Place, Failure> {
        let unsuitable = |detail: String| Failure::Unsuitable { detail };
        let text = reference.to_string();
        let image: Image = text
            .trim_start_matches("oci://")
            .parse()
            .map_err(|error| unsuitable(format!("{text} can't be used: {error}")))?;
        let auth = match credentials {
            Some(Credentials::Basic { username, password }) => RegistryAuth::Basic(username, password),
            Some(Credentials::Token(token)) => RegistryAuth::Bearer(token),
            None => from_docker(&reference.registry)?,
        };
        // An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = ca_pem
            .map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.as_bytes().to_vec() });
        let config = ClientConfig {
            protocol: if plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            tls_certs_only: authorities.into_iter().collect(),
            // An index of platforms is no plugin.
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("whimbrel/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config)
            .map_err(|error| unsuitable(format!("no connection can be set up: {}", whole(&error))))?;
        Ok(Place { client, image, auth })
    }
}

/// What `docker login` has left, or nobody's.
fn from_docker(registry: &str) -> Result<RegistryAuth, Failure> {
    let server = if registry == "docker.io" || registry == "index.docker.io" { DOCKER_HUB } else { registry };
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(RegistryAuth::Basic(username, password))
        }
        Ok(DockerCredential::IdentityToken(_)) => Err(Failure::Denied {
            detail: "docker's configuration file holds an identity token, which is not supported".to_owned(),
        }),
        // The rest says that there is none; a helper that fails is told, or it would look like a refusal.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            let detail = format!("docker's credential helper {helper} failed");
            Err(Failure::Denied { detail: clean(detail, MAX_DETAIL) })
        }
        Err(_) => Ok(RegistryAuth::Anonymous),
    }
}

/// What an error of the client means for whoever waits.
pub(crate) fn failure(error: OciDistributionError) -> Failure {
    use OciDistributionError as E;
    let detail = clean(whole(&error), MAX_DETAIL);
    let has = |codes: &[OciErrorCode], envelope: &oci_client::errors::OciEnvelope| {
        envelope.errors.iter().any(|error| codes.contains(&error.code))
    };
    match error {
        E::AuthenticationFailure(_) | E::UnauthorizedError { .. } => Failure::Denied { detail },
        E::ImageManifestNotFoundError(_) => Failure::Missing { detail },
        E::RegistryError { envelope, .. } => {
            if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied], &envelope) {
                Failure::Denied { detail }
            } else if has(
                &[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::BlobUnknown,
                    OciErrorCode::NotFound,
                ],
                &envelope,
            ) {
                Failure::Missing { detail }
            } else {
                Failure::Server { detail }
            }
        }
        E::ServerError { code: 404, .. } => Failure::Missing { detail },
        E::ServerError { code: 401 | 403, .. } => Failure::Denied { detail },
        E::ServerError { .. } => Failure::Server { detail },
        E::DigestError(_) => Failure::Altered { detail },
        E::RequestError(_) => Failure::Unreachable { detail },
        _ => Failure::Server { detail },
    }
}
