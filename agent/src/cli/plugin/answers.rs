//! The servers of a test: what a case says is answered, by URL, over HTTP/1.1 as a server would.
//!
//! ```yaml
//! http:
//!   "http://127.0.0.1:8080/status": http/status.json       # a file beside the case, answered with 200
//!   "http://127.0.0.1:8080/down": {status: 503, headers: {retry-after: "5"}, body: busy}
//!   "http://127.0.0.1:8080/turns": [{body: first}, {body: then and from then on}]
//! ```

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::DuplexStream;
use whimbrel_plugin_host::Origin;

/// What lies between a plugin and its servers, bytes.
const PIPE: usize = 64 << 10;

/// What is answered, and what was asked. Clones share both.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    by_url: Arc<BTreeMap<String, Vec<Answer>>>,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Debug, Default)]
struct Asked {
    /// How often each was asked for.
    times: BTreeMap<String, usize>,
    /// Since they were last taken.
    lines: Vec<String>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// An answer as it is written.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Written {
    File(String),
    Whole(Whole),
    Turns(Vec<Written>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Whole {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    file: Option<String>,
}

impl Answers {
    /// From a case's `http:`.
    ///
    /// # Errors
    /// It is not as it should be; which URL is in the error.
    pub(super) fn read(written: Option<Value>, folder: &Path) -> anyhow::Result<Answers> {
        let written: BTreeMap<String, Written> = match written {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(value) => serde_json::from_value(value).context(
                "http: below each URL, name a file, or write `status`, `headers`, and `body` or `file`",
            )?,
        };
        let mut by_url = BTreeMap::new();
        for (url, written) in written {
            let at = || format!("http: {url:?}");
            let mut answers = Vec::new();
            collect(written, folder, &mut answers).with_context(at)?;
            let uri: Uri = url.parse().with_context(at)?;
            let Some(origin) = Origin::of(&uri) else {
                bail!("{}: give a whole URL: http://HOST:PORT/PATH", at())
            };
            by_url.insert(key(&origin, &uri), answers);
        }
        Ok(Answers { by_url: Arc::new(by_url), asked: Arc::default() })
    }

    /// What was asked since the last time, and how it was answered.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked().lines)
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, origin: &Origin, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let url = key(origin, request.uri());
        let mut asked = self.asked();
        let times = asked.times.entry(url.clone()).or_default();
        let turn = *times;
        *times += 1;
        let found = self.by_url.get(&url).and_then(|turns| turns.get(turn).or(turns.last()));
        let mut response = Response::new(Full::default());
        let Some(answer) = found else {
            *response.status_mut() = StatusCode::NOT_FOUND;
            asked.lines.push(format!("{} {url}: the case has no answer, so 404", request.method()));
            return response;
        };
        *response.status_mut() = answer.status;
        response.headers_mut().extend(answer.headers.iter().cloned());
        *response.body_mut() = Full::new(answer.body.clone());
        asked.lines.push(format!("{} {url}: {}", request.method(), answer.status.as_u16()));
        response
    }
}

impl whimbrel_plugin_host::Answers for Answers {
    fn connect(&self, origin: &Origin) -> DuplexStream {
        let (here, there) = tokio::io::duplex(PIPE);
        let (answers, origin) = (self.clone(), origin.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = answers.answer(&origin, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A plugin that goes away in the middle is the plugin's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(here), service)
                .await;
        });
        there
    }
}

/// A URL as both sides write it.
fn key(origin: &Origin, uri: &Uri) -> String {
    format!("{origin}{}", uri.path_and_query().map_or("/", |path| path.as_str()))
}

fn collect(written: Written, folder: &Path, into: &mut Vec<Answer>) -> anyhow::Result<()> {
    let whole = match written {
        Written::Turns(turns) if turns.is_empty() => bail!("a list of answers needs one at least"),
        Written::Turns(turns) => {
            return turns.into_iter().try_for_each(|turn| match turn {
                Written::Turns(_) => bail!("a list of answers holds answers"),
                one => collect(one, folder, into),
            });
        }
        Written::File(file) => Whole { file: Some(file), ..Whole::default() },
        Written::Whole(whole) => whole,
    };
    let body = match (whole.body, whole.file) {
        (Some(_), Some(_)) => bail!("has both `body` and `file`: keep one"),
        (body, None) => body.unwrap_or_default().into(),
        (None, Some(file)) => {
            let path = folder.join(file);
            fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?.into()
        }
    };
    let headers = whole.headers.iter().map(|(name, value)| Ok((name.parse()?, value.parse()?)));
    into.push(Answer {
        status: StatusCode::from_u16(whole.status.unwrap_or(200))
            .context("status: give one from 100 to 999")?,
        headers: headers.collect::<anyhow::Result<_>>().context("headers")?,
        body,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use whimbrel_plugin_host::Answers as _;

    use super::*;

    async fn get(answers: &Answers, url: &str) -> String {
        let uri: Uri = url.parse().unwrap();
        let mut stream = answers.connect(&Origin::of(&uri).unwrap());
        let request = format!("GET {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", uri.path());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn urls_are_answered_as_the_case_says_in_turns_and_noted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), "{}").unwrap();
        let written = json!({
            "http://a.example:80/file": "a.json",
            "https://a.example/turns": [{"body": "one"}, {"status": 503, "headers": {"retry-after": "5"}}],
        });
        let answers = Answers::read(Some(written), folder.path()).unwrap();
        assert!(get(&answers, "http://a.example/file").await.ends_with("{}"));
        assert!(get(&answers, "https://a.example/turns").await.ends_with("one"));
        for _ in 0..2 {
            let answer = get(&answers, "https://a.example/turns").await;
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5"), "{answer}");
        }
        assert!(get(&answers, "http://a.example/turns").await.starts_with("HTTP/1.1 404 "));
        let lines = answers.take();
        assert_eq!(lines[0], "GET http://a.example/file: 200");
        assert_eq!(lines[4], "GET http://a.example/turns: the case has no answer, so 404");
        assert!(answers.take().is_empty());
    }
}
