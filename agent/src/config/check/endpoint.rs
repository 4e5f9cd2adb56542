//! An exporter's endpoint: a base URL that holds no secret, and for gRPC no path.

use crate::config::problem::Wrong;

/// Checks `text` as a URL of `http` or `https` with a host, and takes trailing slashes off. User names, passwords,
/// queries and fragments are refused: an endpoint is shown in `status` and in logs, and paths are appended to it.
/// No message quotes what may be a secret.
pub(in crate::config) fn parse_endpoint(text: &str) -> Result<String, Wrong> {
    const EXAMPLE: &str = "write a URL: http://127.0.0.1:4318 or https://otlp.example.com";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Wrong::new("is not a URL", EXAMPLE));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(Wrong::new("is neither http nor https", EXAMPLE));
    }
    if rest.contains('?') || rest.contains('#') {
        return Err(Wrong::new(
            "has a query or a fragment",
            "leave it out; put keys and tokens into `headers`",
        ));
    }
    let authority = rest.split('/').next().unwrap_or(rest);
    if authority.contains('@') {
        return Err(Wrong::new(
            "has a user name or password",
            "leave it out; write `headers: {authorization: {prefix: \"Basic \", file: ...}}`",
        ));
    }
    let uri: http::Uri = text.parse().map_err(|_| Wrong::new("is not a URL", EXAMPLE))?;
    let good_port = match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => {
            port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        _ => true,
    };
    if uri.host().is_none_or(str::is_empty) || !good_port {
        return Err(Wrong::new("has no host, or a port that is none", EXAMPLE));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Refuses a path where gRPC is spoken: its calls go to the paths of the services, and no server has them below
/// another one. `endpoint` is what [`parse_endpoint`] gave.
pub(in crate::config) fn check_grpc_endpoint(endpoint: &str) -> Result<(), Wrong> {
    match endpoint.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
        true => Err(Wrong::new(
            "has a path, and gRPC has none",
            "leave the path out, or send over HTTP with the protocol http/protobuf",
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_lose_their_trailing_slashes() {
        for (text, endpoint) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("https://otlp.example.com/", "https://otlp.example.com"),
            ("https://example.com/otlp//", "https://example.com/otlp"),
            ("http://[::1]:4318", "http://[::1]:4318"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(parse_endpoint(text), Ok(endpoint.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_endpoint_of_grpc_has_no_path() {
        for (endpoint, good) in [
            ("http://127.0.0.1:4317", true),
            ("https://[::1]", true),
            ("https://otlp.example.com/base", false),
            ("http://h:4317/v1/metrics", false),
        ] {
            assert_eq!(check_grpc_endpoint(endpoint).is_ok(), good, "{endpoint}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "localhost:4318",
            "http://",
            "http:///x",
            "grpc://host:4317",
            "http://host:port",
            "http://host:0",
            "http://host:99999",
            "http://us er",
            "https://user:secret@host",
            "https://host/?key=secret",
            "https://host#secret",
            "http://:4318",
            "http://[::1",
            "unix:///run/x.sock",
            "http://host:",
        ] {
            let wrong = parse_endpoint(text).expect_err(text);
            assert!(!format!("{wrong:?}").contains("secret"), "{wrong:?}");
        }
    }
}
