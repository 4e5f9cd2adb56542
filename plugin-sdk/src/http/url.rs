//! URLs, as far as requests need them: absolute ones, and what a `Location` means beside them (RFC 3986 section 5).

use std::fmt;

/// An absolute URL without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// In lower case.
    scheme: String,
    authority: String,
    /// Begins with `/`.
    path: String,
    /// With its `?`, or empty.
    query: String,
}

impl Url {
    /// Reads it. `None`: not absolute, with a user, without a host, or with what no URL has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let alphanumeric = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        if scheme.is_empty() || !scheme.bytes().all(alphanumeric) {
            return None;
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // What is not ASCII stands percent-encoded, a host by IDNA.
        let odd =
            |text: &str| !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['<', '>', '"', '\\']);
        if authority.is_empty() || authority.contains('@') || odd(authority) || odd(rest) {
            return None;
        }
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }

    /// What `reference` means in a document of this URL.
    #[must_use]
    pub fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim();
        let end_of_scheme = reference.find([':', '/', '?', '#']);
        if end_of_scheme.is_some_and(|at| at > 0 && reference.as_bytes()[at] == b':') {
            return Self::parse(reference);
        }
        let (scheme, authority) = (&self.scheme, &self.authority);
        if reference.starts_with("//") {
            return Self::parse(&format!("{scheme}:{reference}")).map(Self::normalized);
        }
        let before_fragment = reference.split('#').next().unwrap_or_default();
        let (path, query) =
            before_fragment.split_at(before_fragment.find('?').unwrap_or(before_fragment.len()));
        let (path, query) = match path {
            "" if query.is_empty() => (self.path.clone(), self.query.as_str()),
            "" => (self.path.clone(), query),
            path if path.starts_with('/') => (path.to_owned(), query),
            path => {
                let folder = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
                (format!("{folder}{path}"), query)
            }
        };
        Self::parse(&format!("{scheme}://{authority}{path}{query}")).map(Self::normalized)
    }

    /// Without `.` and `..` in its path.
    fn normalized(mut self) -> Self {
        let mut kept: Vec<&str> = Vec::new();
        let mut segments = self.path.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            match segment {
                "." | ".." => {
                    if segment == ".." {
                        kept.pop();
                    }
                    if last {
                        kept.push("");
                    }
                }
                other => kept.push(other),
            }
        }
        self.path = format!("/{}", kept.join("/"));
        self
    }

    /// `http`, `https`, ...
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host, and port if it stands there: `example.com:8443`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let end = match self.authority.rfind(']') {
            Some(end) => end + 1,
            None => self.authority.find(':').unwrap_or(self.authority.len()),
        };
        self.authority[..end].trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, if it stands there or the scheme has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let after_host = self.authority.rfind(']').map_or(0, |end| end + 1);
        match self.authority[after_host..].rsplit_once(':') {
            Some((_, port)) => port.parse().ok(),
            None => match self.scheme.as_str() {
                "http" => Some(80),
                "https" => Some(443),
                _ => None,
            },
        }
    }

    /// Scheme, host and port, as a grant names them.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority.to_ascii_lowercase())
    }

    /// Path and query: what a request names.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}{}", self.scheme, self.authority, self.path, self.query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let url = Url::parse("HTTPS://Example.com:8443/a/b?c=d#e").unwrap();
        assert_eq!((url.scheme(), url.host(), url.port()), ("https", "Example.com", Some(8443)));
        assert_eq!(url.target(), "/a/b?c=d");
        assert_eq!(url.origin(), "https://example.com:8443");
        let url = Url::parse("http://[::1]?x").unwrap();
        assert_eq!((url.host(), url.port(), url.target().as_str()), ("::1", Some(80), "/?x"));
        assert_eq!(Url::parse("http://[::1]:9100").unwrap().port(), Some(9100));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "example.com",
            "/a",
            "http://",
            "http:///a",
            "http://u@h/",
            "http://h/a b",
            "://h",
            "http://h/\u{e9}",
            "h ttp://h",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    /// The examples of RFC 3986, sections 5.4.1 and 5.4.2, as far as they are of http and need no user.
    #[test]
    fn references_are_resolved_as_the_rfc_says() {
        let base = Url::parse("http://a/b/c/d;p?q").unwrap();
        for (reference, resolved) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://h/x", "https://h/x"),
        ] {
            assert_eq!(base.join(reference).unwrap().to_string(), resolved, "{reference}");
        }
        assert_eq!(base.join("g:h"), None);
        assert_eq!(base.join("http://u@h/"), None);
    }
}
