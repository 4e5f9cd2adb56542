//! One grant as it is written on a command line: `http=https://api.example.com`, `read=/var/log`.

use std::{path::PathBuf, str::FromStr};

use crate::{
    address::{AddressError, Endpoint, Origin},
    grants::{Grants, SystemGrant},
};

/// One thing that is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A part of the host's figures, or `all`.
    System(String),
    /// Requests to an origin.
    Http(Origin),
    /// A folder to read in; absolute.
    Read(PathBuf),
    /// A folder to read and write in; absolute.
    Write(PathBuf),
    /// Whom to connect to.
    Tcp(Endpoint),
    /// Whom to exchange datagrams with.
    Udp(Endpoint),
    /// A Unix socket to send requests over; absolute.
    Unix(PathBuf),
    /// A variable of the environment.
    Env(String),
    /// A secret, by name.
    Secret(String),
}

/// What is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No `=`, or nothing behind it.
    #[error("`{0}` is no grant: write KEY=VALUE, as in http=https://api.example.com or read=/var/log")]
    Form(String),
    /// A key that there is not.
    #[error("`{0}` can't be granted: there are system, http, read, write, tcp, udp, unix, env and secrets")]
    Key(String),
    /// No address.
    #[error("`{value}` {}: {}", .error.what, .error.remedy)]
    Address {
        /// As it was written.
        value: String,
        /// What is wrong.
        error: AddressError,
    },
    /// No path.
    #[error("`{value}` is no path: {detail}")]
    Path {
        /// As it was written.
        value: String,
        /// What the system says.
        detail: String,
    },
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Grant, GrantError> {
        let (key, value) = text.split_once('=').ok_or_else(|| GrantError::Form(text.to_owned()))?;
        if value.is_empty() {
            return Err(GrantError::Form(text.to_owned()));
        }
        let path = || {
            std::path::absolute(value)
                .map_err(|error| GrantError::Path { value: value.to_owned(), detail: error.to_string() })
        };
        Ok(match key {
            "system" => Grant::System(value.to_owned()),
            "http" => Grant::Http(address(value)?),
            "read" => Grant::Read(path()?),
            "write" => Grant::Write(path()?),
            "tcp" => Grant::Tcp(address(value)?),
            "udp" => Grant::Udp(address(value)?),
            "unix" => Grant::Unix(path()?),
            "env" => Grant::Env(value.to_owned()),
            "secrets" => Grant::Secret(value.to_owned()),
            other => return Err(GrantError::Key(other.to_owned())),
        })
    }
}

fn address<T: FromStr<Err = AddressError>>(value: &str) -> Result<T, GrantError> {
    value.parse().map_err(|error| GrantError::Address { value: value.to_owned(), error })
}

impl Grants {
    /// Grants this, too.
    pub fn add(&mut self, grant: Grant) {
        match grant {
            Grant::System(part) => self.system.add(part),
            Grant::Http(origin) => self.http.push(origin),
            Grant::Read(folder) => self.read.push(folder),
            Grant::Write(folder) => self.write.push(folder),
            Grant::Tcp(endpoint) => self.tcp.push(endpoint),
            Grant::Udp(endpoint) => self.udp.push(endpoint),
            Grant::Unix(path) => self.unix.push(path),
            Grant::Env(name) => self.env.push(name),
            Grant::Secret(name) => self.secrets.push(name),
        }
    }
}

impl SystemGrant {
    fn add(&mut self, part: String) {
        match self {
            SystemGrant::All => {}
            _ if part == "all" => *self = SystemGrant::All,
            SystemGrant::None => *self = SystemGrant::Parts(vec![part]),
            SystemGrant::Parts(parts) => parts.push(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_read_and_added_to_what_is_granted() {
        let mut grants = Grants::default();
        for text in [
            "system=cpu",
            "system=memory",
            "http=http://metrics.corp:9090 in 10.0.0.0/8",
            "read=/var/log",
            "write=relative",
            "tcp=127.0.0.1:6379",
            "udp=[::1]:53",
            "unix=/run/docker.sock",
            "env=LANG",
            "secrets=token",
        ] {
            grants.add(text.parse().unwrap());
        }
        assert_eq!(grants.system, SystemGrant::Parts(vec!["cpu".into(), "memory".into()]));
        assert_eq!(grants.http[0].to_string(), "http://metrics.corp:9090 in 10.0.0.0/8");
        assert_eq!((grants.read, grants.unix), (vec!["/var/log".into()], vec!["/run/docker.sock".into()]));
        assert!(grants.write[0].is_absolute() && grants.write[0].ends_with("relative"));
        assert_eq!((grants.tcp.len(), grants.udp.len()), (1, 1));
        assert_eq!((grants.env, grants.secrets), (vec!["LANG".to_owned()], vec!["token".to_owned()]));
        let mut all = SystemGrant::Parts(vec!["cpu".into()]);
        all.add("all".to_owned());
        all.add("memory".to_owned());
        assert_eq!(all, SystemGrant::All);
    }

    #[test]
    fn what_is_no_grant_is_said() {
        for (text, said) in [
            ("http", "write KEY=VALUE"),
            ("read=", "write KEY=VALUE"),
            ("ftp=x", "there are system, http"),
            ("http=example.com", "write an origin"),
            ("tcp=localhost", "has no port"),
        ] {
            let error = text.parse::<Grant>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
