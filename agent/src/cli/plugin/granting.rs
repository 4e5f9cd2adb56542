//! `--grant KEY=VALUE`: what a plugin is given beside what is configured, and what it was denied in the same words.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use whimbrel_plugin_host::{
    Grant,
    services::{Denied, parts_denied},
};

use crate::config::{Grants, SYSTEM_PARTS, Secret, SystemGrant};

/// Adds them.
///
/// # Errors
/// A part or a secret that there is not.
pub(super) fn add(
    grants: &mut Grants,
    more: &[Grant],
    secrets: &BTreeMap<String, Secret>,
) -> anyhow::Result<()> {
    for grant in more {
        match grant.clone() {
            Grant::System(part) => system(&mut grants.system, part)?,
            Grant::Http(origin) => grants.http.push(origin),
            Grant::Read(folder) => grants.read.push(folder),
            Grant::Write(folder) => grants.write.push(folder),
            Grant::Tcp(endpoint) => grants.tcp.push(endpoint),
            Grant::Udp(endpoint) => grants.udp.push(endpoint),
            Grant::Unix(path) => grants.unix.push(path),
            Grant::Env(name) => grants.env.push(name),
            Grant::Secret(name) => {
                let secret = secrets.get(&name).with_context(|| {
                    format!(
                        "--grant secrets={name}: no secret of the configuration; add it there, as in \
                         `secrets: {{{name}: {{file: /run/secrets/NAME}}}}`"
                    )
                })?;
                grants.secrets.push((name, secret.clone()));
            }
        }
    }
    Ok(())
}

fn system(granted: &mut SystemGrant, part: String) -> anyhow::Result<()> {
    if part == "all" {
        *granted = SystemGrant::All;
        return Ok(());
    }
    if !SYSTEM_PARTS.contains(&part.as_str()) {
        bail!("--grant system={part}: there are {}, and all", SYSTEM_PARTS.join(", "));
    }
    match granted {
        SystemGrant::All => {}
        SystemGrant::None => *granted = SystemGrant::Parts(vec![part]),
        SystemGrant::Parts(parts) => parts.push(part),
    }
    Ok(())
}

/// What it was denied: a line each, and one for all parts of the host's figures.
pub(super) fn denials(denied: &[Denied]) -> Vec<String> {
    told(denied).into_iter().map(|(text, _)| text).collect()
}

/// The same, and how to give it that in the next trial.
pub(super) fn denials_and_flags(denied: &[Denied]) -> Vec<String> {
    let with_flag = |(text, flag): (String, Option<String>)| match flag {
        Some(flag) => format!("{text}, or here: --grant {}", quoted(&flag)),
        None => text,
    };
    told(denied).into_iter().map(with_flag).collect()
}

fn told(denied: &[Denied]) -> Vec<(String, Option<String>)> {
    let part = |one: &Denied| match one {
        Denied::System(part) => Some(part.clone()),
        _ => None,
    };
    let parts: Vec<String> = denied.iter().filter_map(part).collect();
    let together = parts.len() > 1;
    let mut lines = Vec::new();
    if together {
        lines.push((format!("denied: {}", parts_denied(&parts)), Some("system=all".to_owned())));
    }
    let others = denied.iter().filter(|one| !together || part(one).is_none());
    lines.extend(others.map(|one| {
        let flag = one.allowed_by().map(|(key, value)| format!("{key}={value}"));
        (format!("denied: {one}"), flag)
    }));
    lines
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=:/._-,@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_told_as_it_can_be_granted() {
        let origin: whimbrel_plugin_host::Origin = "https://a.example".parse().unwrap();
        let alone = |denied: Denied| denials_and_flags(&[denied]).concat();
        let text = alone(Denied::Http(origin.clone()));
        assert!(text.ends_with("--grant http=https://a.example"), "{text}");
        let text = alone(Denied::HttpAddress(origin.clone(), [10, 0, 0, 1].into()));
        assert!(text.ends_with("--grant 'http=https://a.example in 10.0.0.1'"), "{text}");
        let flag = text.rsplit_once("--grant ").unwrap().1.trim_matches('\'');
        assert!(matches!(flag.parse(), Ok(Grant::Http(_))), "{flag}");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        let part = |name: &str| Denied::System(name.to_owned());
        let lines = denials_and_flags(&[part("cpu"), Denied::Http(origin), part("disk.each")]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].contains("`cpu`, `disk.each`") && lines[0].ends_with("--grant system=all"),
            "{lines:?}"
        );
        assert!(alone(part("cpu")).ends_with("--grant system=cpu"));
        assert!(!denials(&[part("cpu")])[0].contains("--grant"));
    }

    #[test]
    fn grants_are_added_and_a_secret_must_be_there() {
        let mut grants = Grants::default();
        let more: Vec<Grant> =
            ["system=cpu", "env=LANG", "tcp=127.0.0.1:1"].iter().map(|it| it.parse().unwrap()).collect();
        add(&mut grants, &more, &BTreeMap::new()).unwrap();
        assert_eq!(grants.system, SystemGrant::Parts(vec!["cpu".to_owned()]));
        assert_eq!((grants.env.len(), grants.tcp.len()), (1, 1));
        for (wrong, said) in [("secrets=token", "secrets: {token:"), ("system=cpus", "there are cpu")] {
            let error = add(&mut grants, &[wrong.parse().unwrap()], &BTreeMap::new()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let secrets = BTreeMap::from([("token".to_owned(), Secret::new("x".to_owned()))]);
        add(&mut grants, &["secrets=token".parse().unwrap()], &secrets).unwrap();
        assert_eq!(grants.secrets[0].0, "token");
    }
}
