//! `/api/*`: what was received, as JSON. Times are nanoseconds since 1970.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Ui, UiError};
use crate::{
    parameters::{ParameterError, Parameters},
    receive::lock,
    signal::Signal,
    store::{Cursor, LogFilter, PointFilter, SpanFilter, query},
};

/// Rows of an answer where no `limit` is given, and the largest that may be given.
const LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 10_000;
/// The longest that `/api/latest` waits for something new.
const MAX_WAIT: Duration = Duration::from_secs(60);

impl Ui {
    pub(super) async fn api(&self, question: &str, query: &str) -> Result<Value, UiError> {
        let mut given = Parameters::read(query)?;
        match question {
            "stats" => {
                given.done()?;
                self.stats().await
            }
            "metrics" => {
                let host = given.text("host");
                given.done()?;
                Ok(self.ground.store.ask(move |c| query::metrics(c, host.as_deref())).await?)
            }
            "series" => {
                let filter = point_filter(&mut given, limit)?;
                given.done()?;
                Ok(self.ground.store.ask(move |c| query::series(c, &filter)).await?)
            }
            "values" => {
                let filter = point_filter(&mut given, |_| Ok(i64::MAX))?;
                given.done()?;
                Ok(self.ground.store.ask(move |c| query::values(c, &filter)).await?)
            }
            "logs" => {
                let filter = LogFilter {
                    host: given.text("host"),
                    event: given.text("event"),
                    contains: given.text("contains"),
                    min_severity: given.parse("min_severity")?.unwrap_or(i64::MIN),
                    before: given.parse("before")?.unwrap_or(i64::MAX),
                    limit: limit(&mut given)?,
                };
                given.done()?;
                Ok(self.ground.store.ask(move |c| query::logs(c, &filter)).await?)
            }
            "spans" => {
                let filter = SpanFilter {
                    host: given.text("host"),
                    name: given.text("name"),
                    trace_id: given.text("trace_id").map(|id| id.to_ascii_lowercase()),
                    before: given.parse("before")?.unwrap_or(i64::MAX),
                    limit: limit(&mut given)?,
                };
                given.done()?;
                Ok(self.ground.store.ask(move |c| query::spans(c, &filter)).await?)
            }
            "hosts" => {
                let limit = limit(&mut given)?;
                given.done()?;
                Ok(self.ground.store.ask(move |c| query::hosts(c, limit)).await?)
            }
            "requests" => {
                let signal: Option<Signal> = given.parse("signal")?;
                let before = given.parse("before")?.unwrap_or(i64::MAX);
                let limit = limit(&mut given)?;
                given.done()?;
                Ok(self.ground.store.ask(move |c| query::requests(c, signal, before, limit)).await?)
            }
            "latest" => {
                let since: Option<Cursor> = given.parse("since")?;
                let wait = given.duration("wait")?.unwrap_or_default().min(MAX_WAIT);
                let limit = limit(&mut given)?;
                given.done()?;
                self.latest(since, wait, limit).await
            }
            _ => Err(UiError::NotFound(format!("/api/{question}"))),
        }
    }

    /// Everything that is counted, by signal.
    async fn stats(&self) -> Result<Value, UiError> {
        let totals = self.ground.store.ask(query::totals).await?;
        let counters = &totals["counters"];
        let now = Instant::now();
        let mut signals = Map::new();
        for signal in Signal::ALL {
            let mut figures = lock(&self.ground.figures).report(signal, now);
            for what in [
                "requests",
                "items",
                "repeated_requests",
                "repeated_items",
                "rejected_items",
                "regrouped_requests",
                "key_conflicts",
            ] {
                figures[what] = counters[what][signal.name()].as_u64().unwrap_or(0).into();
            }
            signals.insert(signal.name().to_owned(), figures);
        }
        let expired = |cause: &str| counters.get(cause).cloned().unwrap_or_else(|| json!({}));
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "data": self.ground.data,
            "started_ns": self.started_ns,
            "uptime_s": now.duration_since(self.ground.started).as_secs_f64(),
            "down": self.standing()["down"],
            "signals": signals,
            "held": totals["held"],
            "page": self.live.report(),
            "expired": {
                "by_rows": expired("expired_by_rows"),
                "by_age": expired("expired_by_age"),
                "by_bytes": expired("expired_by_bytes"),
            },
        }))
    }

    /// What is new since a cursor; if nothing is, waits for it for a while.
    async fn latest(&self, since: Option<Cursor>, wait: Duration, limit: i64) -> Result<Value, UiError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut commits = self.ground.store.commits();
        loop {
            // Marked before it is asked, so that no commit falls between the two.
            commits.mark_unchanged();
            let (cursor, answer) = self.ground.store.ask(move |c| query::latest(c, since, limit)).await?;
            if since != Some(cursor) || wait.is_zero() {
                return Ok(answer);
            }
            match tokio::time::timeout_at(deadline, commits.changed()).await {
                Ok(Ok(())) => {}
                _ => return Ok(answer),
            }
        }
    }
}

fn point_filter(
    given: &mut Parameters,
    limit: impl FnOnce(&mut Parameters) -> Result<i64, ParameterError>,
) -> Result<PointFilter, ParameterError> {
    Ok(PointFilter { name: given.required("name")?, host: given.text("host"), limit: limit(given)? })
}

fn limit(given: &mut Parameters) -> Result<i64, ParameterError> {
    let limit = given.read_with("limit", |text| match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(format!("a number from 1 to {MAX_LIMIT}")),
    })?;
    Ok(limit.unwrap_or(LIMIT))
}
