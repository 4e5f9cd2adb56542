//! `GET /wal/record/latest`, with `?source=collectors/host&signal=metrics` or without.

use std::sync::Arc;

use http::StatusCode;
use whimbrel_otlp::Signal;

use super::serve::{Answer, text, typed};
use crate::status::{Overview, Wanted};

/// Answers with the record; 404 with a sentence where there is none.
pub(super) async fn latest(query: Option<&str>, overview: Arc<Overview>) -> Answer {
    let wanted = match wanted(query.unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(wrong) => return text(StatusCode::BAD_REQUEST, wrong),
    };
    // It reads files, and parts of them again and again where they are large.
    let found = tokio::task::spawn_blocking(move || (overview.newest_record(&wanted), wanted)).await;
    match found {
        Ok((Ok(Some(record)), _)) => typed(StatusCode::OK, "application/json", record),
        Ok((Ok(None), wanted)) if wanted == Wanted::default() => {
            text(StatusCode::NOT_FOUND, "the WAL is empty: nothing has been collected yet\n")
        }
        Ok((Ok(None), _)) => {
            text(StatusCode::NOT_FOUND, "the WAL holds no record of that source and signal\n")
        }
        Ok((Err(error), _)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn wanted(query: &str) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "source" => wanted.source = Some(value.into_owned()),
            "signal" => match Signal::from_name(&value) {
                Some(signal) => wanted.signal = Some(signal),
                None => return Err(format!("signal={value}: one of metrics, logs, traces\n")),
            },
            _ => return Err(format!("{name}: there are source and signal\n")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_source_and_signal() {
        assert_eq!(wanted(""), Ok(Wanted::default()));
        let both = Wanted { source: Some("collectors/a b".to_owned()), signal: Some(Signal::Logs) };
        assert_eq!(wanted("source=collectors%2Fa%20b&signal=logs"), Ok(both));
        assert!(wanted("signal=profiles").unwrap_err().contains("one of metrics"));
        assert!(wanted("sauce=x").unwrap_err().contains("there are source"));
    }
}
