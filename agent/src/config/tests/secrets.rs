//! Secrets stay out of everything that is printed. The word `hunter2` stands for all of them.

use super::{Folder, lines};
use crate::config::{FixedEnvironment, Loaded, Problems};

const SECRET: &str = "hunter2";

/// Secrets in every place that is meant for them.
const TEXT: &str = r#"
collectors:
  x:
    plugin: p
    config:
      password: hunter2-a
      nested: [{api_token: "hunter2-b"}, {url: "https://user:hunter2-c@host/"}]
      from_env: ${env:SECRET}
      from_file: "pre ${file:secret} post"
exporters:
  literal: {endpoint: "https://h", headers: {authorization: "Bearer hunter2-d", x: '${env:SECRET}'}}
  file: {endpoint: "https://h", headers: {authorization: {prefix: "Bearer ", file: secret}}}
  env: {endpoint: "https://h", headers: {authorization: {env: SECRET}}}
# an old one: hunter2-e
wal: {encryption: {key_env: SECRET, older_keys: [{key_command: [kms, "${env:SECRET}"]}]}}
"#;

fn folder(text: &str) -> (Folder, FixedEnvironment) {
    let folder = Folder::with(text);
    folder.write("secret", "hunter2-file\n");
    let environment = folder.environment().with("SECRET", "hunter2-env");
    (folder, environment)
}

fn everything_said(result: &Result<Loaded, Problems>) -> String {
    match result {
        Ok(loaded) => {
            let shown = [loaded.written(), loaded.effective()];
            let shown = shown.map(|shown| shown.to_yaml().unwrap() + &serde_json::to_string(&shown).unwrap());
            format!("{loaded:?} {loaded:#?} {} {} {}", shown[0], shown[1], loaded.check_files())
        }
        Err(problems) => format!("{problems} {problems:?} {}", problems.to_json()),
    }
}

#[test]
fn a_good_configuration_shows_no_secret() {
    let (folder, environment) = folder(TEXT);
    let environment = environment.with("WHIMBREL__EXPORTERS__OTHER__HEADERS__X", "hunter2-override");
    let environment = environment.with("WHIMBREL__EXPORTERS__OTHER__ENDPOINT", "https://h");
    let loaded = folder.load_from(&[], &environment);
    let said = everything_said(&loaded);
    assert!(!said.contains(SECRET), "{said}");
    // And they are where they belong, so that the test can fail.
    let config = loaded.unwrap().config;
    assert_eq!(config.exporters.iter().flat_map(|one| &one.headers).count(), 5);
    assert!(
        config
            .exporters
            .iter()
            .flat_map(|one| &one.headers)
            .all(|(_, value)| value.reveal().contains(SECRET))
    );
    assert_eq!(config.collectors[0].config["from_file"], "pre hunter2-file post");
    assert!(said.contains("${env:SECRET}") && said.contains("[redacted]"), "{said}");
}

#[test]
fn implicit_headers_are_not_shown() {
    let folder = Folder::new();
    let environment = folder.environment().with("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2");
    let environment = environment.with("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=hunter2");
    let loaded = folder.load_from(&[], &environment);
    assert!(!everything_said(&loaded).contains(SECRET));
    assert_eq!(loaded.unwrap().config.exporters[0].logs().headers[0].1.reveal(), SECRET);
}

#[test]
fn no_mistake_brings_a_secret_out() {
    for broken in [
        "exporters: {x: {endpoint: 'https://u:hunter2@h'}}",
        "exporters: {x: {endpoint: 'https://h?key=hunter2'}}",
        "exporters: {x: {endpoint: 5, headers: {a: hunter2}}} # hunter2",
        "exporters: {x: {endpoint: 'https://h', header: {a: hunter2}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a b: hunter2, host: hunter2}}}",
        "exporters: {x: {endpoint: 'https://h', headers: hunter2}}",
        "exporters: {x: {endpoint: 'https://h', headers: [hunter2]}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: [hunter2]}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: 'hunter2${'}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: 'hunter2${hunter2}'}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: '${evn:hunter2}'}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: {env: hunter2}}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: {env: 'hunter2+/='}}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: \"hunter2\\n\"}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: hunter2, A: hunter2}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {a: hunter2, a: hunter2}}}",
        "exporters: {x: {endpoint: '${env:SECRET}', timeout: '${env:SECRET}', compression: '${env:SECRET}'}}",
        "collectors: {x: {plugin: '${env:SECRET}:', interval: '${env:SECRET}', config: hunter2}}",
        "collectors: {x: {plugin: p, config: [hunter2]}}",
        "collectors: {x: {plugin: p, config: {password: '${evn:hunter2}', other: {a: 'hunter2${'}}}}",
        "collectors: {x: {plugin: p, confg: {password: hunter2}}}",
        "collectors: {x: {plugin: p, config: {a: !x hunter2}}}",
        "password: hunter2",
        "log: {level: '${env:SECRET}', format: '${file:secret}'}\nwal: {max_size: '${env:SECRET}'}",
        "wal: {encryption: {key_env: hunter2}}",
        "wal: {encryption: {key_env: 'hunter2=='}}",
        "wal: {encryption: {key_command: hunter2}}",
        "wal: {encryption: {key_command: [kms, {a: hunter2}]}}",
        "wal: {encryption: {key_command: [kms, \"hunter2\\0\"]}}",
        "wal: {encryption: {older_keys: [{key_env: hunter2}]}}",
        "wal: {encryption: {older_keys: [{key_command: [kms, '${evn:hunter2}']}]}}",
        "exporters: {x: {endpoint: 'https://h', headers: {authorization: \"Bearer hunter2}}}",
        "exporters:\n  x:\n    headers:\n      authorization: Bearer hunter2\n     x: 5\n",
        "exporters:\n  x:\n    headers:\n\t    authorization: Bearer hunter2\n",
        "exporters:\n  x:\n    headers: {authorization: |\n hunter2\n",
        "a: 'x\n  hunter2",
        "- hunter2\n-hunter2\nhunter2: [",
        "exporters: {x: {endpoint: 'https://h', headers: {a: hunter2}}}\n\u{1}",
        "hunter2",
        "exporters: {x: {endpoint: 'https://h', headers: {authorization:hunter2}}}",
        "exporters: {x: {endpoint: 'https://h', headers: {authorization \"hunter2\"}}}",
        "exporters:\n  x:\n    headers:\n      authorization:hunter2\n",
        "collectors: {x: {plugin: p, config: {password: !hunter2}}}",
        "collectors: {x: {plugin: p, password:hunter2}}",
    ] {
        let (folder, environment) = folder(broken);
        let result = folder.load_from(&[], &environment);
        assert!(result.is_err(), "{broken}");
        let said = everything_said(&result);
        assert!(!said.contains(SECRET), "{broken}\n{said}");
    }
}

/// Whatever a text is cut to, and wherever a byte of it is spoilt.
#[test]
fn no_damage_brings_a_secret_out() {
    let (folder, environment) = folder(TEXT);
    for end in 0..TEXT.len() {
        folder.write("whimbrel.yaml", &TEXT[..end]);
        let said = everything_said(&folder.load_from(&[], &environment));
        assert!(!said.contains(SECRET), "cut at {end}\n{said}");
    }
    for at in 0..TEXT.len() {
        for byte in *b"\t\n:{'\"#x" {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[at] = byte;
            folder.write("whimbrel.yaml", &bytes);
            let result = folder.load_from(&[], &environment);
            // A spoilt key of a plugin's own configuration is one that nobody can know to be secret.
            if let Err(problems) = &result {
                let said = everything_said(&result);
                assert!(
                    !said.contains(SECRET),
                    "{:?} at {at}: {:?}\n{said}",
                    char::from(byte),
                    lines(problems)
                );
            }
        }
    }
}

#[test]
fn a_resource_attribute_that_a_variable_put_in_is_shown_as_it_is_written() {
    let (folder, environment) = folder("resource: {team: \"of ${env:SECRET}\", site: vienna}\n");
    let shown = folder.load_from(&[], &environment).unwrap().shown_resource();
    assert_eq!((shown["team"].as_str(), shown["site"].as_str()), ("of ${env:SECRET}", "vienna"));
}
