//! What an operator does with exporters: `POST /exporters/NAME/pause`, `/resume`, `/rewind?since_ns=N` or
//! `?to=oldest`, and `POST /wal/forget?exporter=NAME`; and with plugins: `POST /plugins/NAME/resume`. Answers are JSON, refusals a sentence.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use whimbrel_wal::{ForgetError, RewindTo};

use super::serve::{Answer, json, text};
use crate::status::Overview;

/// What can be done with an exporter.
const DEEDS: &str = "there are POST /exporters/NAME/pause, /resume and /rewind\n";

/// Does what `NAME/DEED` says.
pub(super) async fn exporter(path: &str, query: Option<&str>, overview: Arc<Overview>) -> Answer {
    let Some((name, deed)) = path.split_once('/') else { return text(StatusCode::NOT_FOUND, DEEDS) };
    let Some(exporter) = overview.exporter(name) else {
        let known: Vec<_> = overview.exporter_names().collect();
        let what = format!("no exporter is named {name}; there are: {}\n", known.join(", "));
        return text(StatusCode::NOT_FOUND, what);
    };
    let was = exporter.status().state;
    match deed {
        "pause" => {
            exporter.pause();
            tracing::info!(exporter = name, "paused by an operator");
        }
        "resume" => {
            exporter.resume();
            tracing::info!(exporter = name, "resumed by an operator");
        }
        "rewind" => {
            let to = match wanted(query.unwrap_or_default()) {
                Ok(to) => to,
                Err(wrong) => return text(StatusCode::BAD_REQUEST, wrong),
            };
            let rewound = match exporter.rewind(to).await {
                Ok(rewound) => rewound,
                Err(error) if error.is_stopping() => {
                    return text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
                }
                Err(error) => return text(StatusCode::CONFLICT, format!("{error}\n")),
            };
            let answer = json!({
                "exporter": name,
                "was": was,
                "records": rewound.records,
                "oldest_unix_ms": rewound.oldest_ns.map(|ns| ns / 1_000_000),
                "beyond_max_age": rewound.beyond_max_age,
                "retain_ms": u64::try_from(overview.retain().as_millis()).unwrap_or(u64::MAX),
            });
            return json(StatusCode::OK, &answer);
        }
        _ => return text(StatusCode::NOT_FOUND, DEEDS),
    }
    json(StatusCode::OK, &json!({ "exporter": name, "was": was, "state": exporter.status().state }))
}

/// Does what `NAME/DEED` says with a collector's plugin.
pub(super) async fn plugin(path: &str, overview: Arc<Overview>) -> Answer {
    let Some((name, "resume")) = path.split_once('/') else {
        return text(StatusCode::NOT_FOUND, "there is POST /plugins/NAME/resume\n");
    };
    match overview.resume_plugin(name).await {
        Ok(was) => json(StatusCode::OK, &json!({ "collector": name, "was": was })),
        Err(known) => {
            let what = format!("no collector is named {name}; there are: {}\n", known.join(", "));
            text(StatusCode::NOT_FOUND, what)
        }
    }
}

/// Forgets an exporter that left the configuration, with all that waits for it.
pub(super) async fn forget(query: Option<&str>, overview: Arc<Overview>) -> Answer {
    let name = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "exporter")
        .map(|(_, name)| name.into_owned());
    let Some(name) = name else {
        return text(StatusCode::BAD_REQUEST, "POST /wal/forget?exporter=NAME: the name is missing\n");
    };
    let forgotten = {
        let name = name.clone();
        tokio::task::spawn_blocking(move || overview.forget(&name)).await
    };
    match forgotten {
        Ok(Ok(())) => {
            tracing::warn!(exporter = name, "forgotten by an operator, with what waited for it");
            json(StatusCode::OK, &json!({ "forgotten": name }))
        }
        Ok(Err(error)) => {
            let status = match error {
                ForgetError::Unknown { .. } => StatusCode::NOT_FOUND,
                ForgetError::Configured { .. } => StatusCode::CONFLICT,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            text(status, format!("{error}\n"))
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn wanted(query: &str) -> Result<RewindTo, String> {
    let mut wanted = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let to = match (&*name, &*value) {
            ("to", "oldest") => RewindTo::Oldest,
            ("to", other) => return Err(format!("to={other}: there is to=oldest\n")),
            ("since_ns", ns) => RewindTo::Since(
                ns.parse().map_err(|_| format!("since_ns={ns}: nanoseconds since 1970 are needed\n"))?,
            ),
            _ => return Err(format!("{name}: there are since_ns and to\n")),
        };
        if wanted.replace(to).is_some() {
            return Err("give one of since_ns and to\n".to_owned());
        }
    }
    wanted.ok_or_else(|| "how far? since_ns=NANOSECONDS or to=oldest\n".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_far_to_go_back() {
        assert_eq!(wanted("to=oldest"), Ok(RewindTo::Oldest));
        assert_eq!(wanted("since_ns=1700000000000000000"), Ok(RewindTo::Since(1_700_000_000_000_000_000)));
        for (query, why) in [
            ("", "how far?"),
            ("to=newest", "there is to=oldest"),
            ("since_ns=2h", "nanoseconds"),
            ("since=1", "there are since_ns and to"),
            ("to=oldest&since_ns=1", "give one"),
        ] {
            assert!(wanted(query).unwrap_err().contains(why), "{query}");
        }
    }
}
