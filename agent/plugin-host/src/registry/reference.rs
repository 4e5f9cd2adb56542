//! `oci://registry/name:tag@sha256:...`

use std::{fmt, str::FromStr};

use sha2::Digest as _;

use crate::text::hex;

/// What a plugin in a registry is called. A digest fixes the manifest, and with it every byte; a tag can be moved by
/// whoever may write to the registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Host, and port if one is given.
    pub registry: String,
    /// `team/uptime`
    pub repository: String,
    /// `1.2.3`; at least one of tag and digest is there.
    pub tag: Option<String>,
    /// Of the manifest.
    pub digest: Option<Digest>,
}

/// A SHA-256, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// A text that names no plugin in a registry: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {remedy}")]
pub struct ReferenceError {
    /// Without a subject: "has no tag".
    pub what: &'static str,
    /// A sentence without a full stop.
    pub remedy: &'static str,
}

const SCHEME: &str = "oci://";
/// Of the OCI distribution specification: a name of repository and a tag.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

impl Reference {
    /// Reads one, with its scheme.
    ///
    /// # Errors
    /// It is none, or names no version.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        const EXAMPLE: &str = "write oci://registry.example.com/team/name:1.2.3, or better with @sha256:...";
        let wrong = |what, remedy| Err(ReferenceError { what, remedy });
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return wrong("is no reference to a registry", EXAMPLE);
        };
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => match digest.parse() {
                Ok(digest) => (rest, Some(digest)),
                Err(error) => return Err(error),
            },
        };
        let Some((registry, path)) = rest.split_once('/') else {
            return wrong("names no plugin in the registry", EXAMPLE);
        };
        if !is_registry(registry) {
            return wrong("does not begin with the host of a registry, and a port where it has one", EXAMPLE);
        }
        let (repository, tag) = match path.rsplit_once(':') {
            None => (path, None),
            Some((repository, tag)) => (repository, Some(tag)),
        };
        if !is_repository(repository) {
            let remedy = "use lower-case letters, digits, `.`, `_` and `-`, parted by `/`";
            return wrong("holds a name that no registry takes", remedy);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return wrong(
                "holds a tag that no registry takes",
                "use letters, digits, `.`, `_` and `-`, at most 128",
            );
        }
        if tag.is_none() && digest.is_none() {
            return wrong("says no version", "add a tag (`:1.2.3`), or better a digest (`@sha256:...`)");
        }
        Ok(Reference {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        host(&self.registry)
    }

    /// Whether the registry is on this machine, by its literal address or `localhost`.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.registry)
    }
}

/// Whether `HOST` or `HOST:PORT` is this machine, by its literal address or `localhost`: what is sent there leaves it
/// never.
pub fn is_loopback(authority: &str) -> bool {
    let host = host(authority);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Of `host`, `host:port`, `[::1]` or `[::1]:port`.
fn host(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => registry,
    }
}

fn is_registry(text: &str) -> bool {
    let host = host(text);
    let port = text[host.len()..].strip_prefix(':');
    let good_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= MAX_NAME
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
                && host.starts_with(|first: char| first.is_ascii_alphanumeric())
                && host.ends_with(|last: char| last.is_ascii_alphanumeric())
        }
    };
    good_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = part.as_bytes();
        bytes.iter().all(|byte| is_end(*byte) || b"._-".contains(byte))
            && bytes.first().is_some_and(|first| is_end(*first))
            && bytes.last().is_some_and(|last| is_end(*last))
            && !part.contains("..")
    };
    text.len() <= MAX_NAME && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !text.starts_with(['.', '-'])
}

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl FromStr for Digest {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Digest, ReferenceError> {
        const REMEDY: &str = "write sha256: and 64 lower-case hexadecimal digits";
        let wrong = ReferenceError { what: "holds a digest that can't be read", remedy: REMEDY };
        let digits = text.strip_prefix("sha256:").ok_or_else(|| wrong.clone())?.as_bytes();
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect();
        match bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(bytes) if rest.is_empty() => Ok(Digest(bytes)),
            _ => Err(wrong),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn each_form_is_read_and_written_as_it_was() {
        for (text, registry, repository, tag, pinned) in [
            ("oci://ghcr.io/team/uptime:1.2.3", "ghcr.io", "team/uptime", Some("1.2.3"), false),
            ("oci://127.0.0.1:5000/uptime:v_1", "127.0.0.1:5000", "uptime", Some("v_1"), false),
            (&format!("oci://[::1]:5000/a/b-c.d@{SHA}"), "[::1]:5000", "a/b-c.d", None, true),
            (&format!("oci://[::1]/a__b:x@{SHA}"), "[::1]", "a__b", Some("x"), true),
        ] {
            let read = Reference::parse(text).unwrap();
            assert_eq!(read.registry, registry);
            assert_eq!(read.repository, repository);
            assert_eq!(read.tag.as_deref(), tag);
            assert_eq!(read.digest.map(|digest| digest.to_string()), pinned.then(|| SHA.to_owned()));
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let upper = SHA.to_uppercase();
        for (text, part) in [
            ("uptime.wasm", "no reference"),
            ("oci://ghcr.io", "names no plugin"),
            ("oci:///a:1", "host of a registry"),
            ("oci://a b/c:1", "host of a registry"),
            ("oci://user:word@ghcr.io/a:1", "digest"),
            ("oci://ghcr.io:0/a:1", "host of a registry"),
            ("oci://ghcr.io:99999/a:1", "host of a registry"),
            ("oci://[::1/a:1", "host of a registry"),
            ("oci://ghcr.io/:1", "name that no registry"),
            ("oci://ghcr.io/A:1", "name that no registry"),
            ("oci://ghcr.io/../a:1", "name that no registry"),
            ("oci://ghcr.io/a//b:1", "name that no registry"),
            ("oci://ghcr.io/a?x=1:1", "name that no registry"),
            ("oci://ghcr.io/a:", "a tag"),
            ("oci://ghcr.io/a:-x", "a tag"),
            ("oci://ghcr.io/a", "says no version"),
            ("oci://ghcr.io/a@sha256:12", "digest"),
            (&format!("oci://ghcr.io/a@{SHA}0"), "digest"),
            (&format!("oci://ghcr.io/a@{upper}"), "digest"),
            (&format!("oci://ghcr.io/a@{SHA}@{SHA}"), "digest"),
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert!(error.what.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn loopback_is_told_by_the_literal_address() {
        let at = |registry: &str| Reference::parse(&format!("oci://{registry}/a:1")).unwrap().is_loopback();
        assert!(
            at("localhost") && at("localhost:5000") && at("127.0.0.1:1") && at("127.9.9.9") && at("[::1]:5")
        );
        assert!(!at("localhost.example.com") && !at("10.0.0.1:5000") && !at("127.0.0.1.example.com"));
    }
}
