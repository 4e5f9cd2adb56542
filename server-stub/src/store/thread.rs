//! The store's thread and the handle to it.

use std::{fmt, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Arrival, OpenError, StoreError, Stored, schema, write::Writer};
use crate::{
    options::{Data, Retention},
    receive::now_ns,
};

/// Jobs that may wait for the thread; beyond it senders wait.
const QUEUE: usize = 256;
/// Requests that share a transaction at most.
const GROUP: usize = 64;

/// A handle to the store; all handles speak to one thread, which ends when the last is gone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Job>,
    /// The number of commits that changed something.
    commits: watch::Receiver<u64>,
}

/// The store's thread. Dropping it waits for the thread, which closes the database and ends when the last
/// handle is gone: drop the handles first.
#[derive(Debug)]
pub(crate) struct Worker(Option<thread::JoinHandle<()>>);

type Answered<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Append(Box<Arrival>, Answered<Stored>),
    Ask(Box<dyn FnOnce(&Connection) + Send>),
    Expire(u64, Answered<()>),
    Clear(Answered<()>),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append(..) => "Append",
            Self::Ask(..) => "Ask",
            Self::Expire(..) => "Expire",
            Self::Clear(..) => "Clear",
        })
    }
}

impl Store {
    /// Opens or makes the database and starts its thread.
    pub(crate) fn open(data: &Data, retention: Retention) -> Result<(Worker, Self), OpenError> {
        let mut connection = schema::open(data)?;
        let mut writer = Writer::new(&connection, retention).map_err(OpenError::Sqlite)?;
        writer.expire(&mut connection, now_ns()).map_err(OpenError::Sqlite)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (committed, commits) = watch::channel(0);
        let worker = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(connection, writer, queue, &committed))
            .map_err(OpenError::Thread)?;
        Ok((Worker(Some(worker)), Self { jobs, commits }))
    }

    /// Stores a request, or finds that it is stored. Committed when this returns.
    ///
    /// Not cancel safe in one way: a request whose future is dropped may be stored all the same.
    pub(crate) async fn append(&self, arrival: Arrival) -> Result<Stored, StoreError> {
        self.call(|answer| Job::Append(Box::new(arrival), answer)).await
    }

    /// Asks the database something, on its thread.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(|answer| {
            Job::Ask(Box::new(move |connection| {
                // Whoever asked may be gone.
                let _ = answer.send(question(connection).map_err(StoreError::from));
            }))
        })
        .await
    }

    /// Drops what is too old or too much at `now_ns`.
    pub(crate) async fn expire(&self, now_ns: u64) -> Result<(), StoreError> {
        self.call(|answer| Job::Expire(now_ns, answer)).await
    }

    /// Forgets everything: data, keys and counters.
    pub(crate) async fn clear(&self) -> Result<(), StoreError> {
        self.call(Job::Clear).await
    }

    /// Changes with every commit.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    async fn call<T>(&self, job: impl FnOnce(Answered<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| StoreError::Stopped)?;
        answered.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

fn run(
    mut connection: Connection,
    mut writer: Writer,
    mut queue: mpsc::Receiver<Job>,
    committed: &watch::Sender<u64>,
) {
    let mut next = queue.blocking_recv();
    while let Some(job) = next {
        next = match job {
            Job::Append(arrival, answer) => {
                let mut group = vec![(*arrival, answer)];
                let other = loop {
                    match queue.try_recv() {
                        Ok(Job::Append(arrival, answer)) if group.len() < GROUP => {
                            group.push((*arrival, answer))
                        }
                        other => break other.ok(),
                    }
                };
                append(&mut connection, &mut writer, group);
                committed.send_modify(|n| *n += 1);
                other.or_else(|| queue.blocking_recv())
            }
            Job::Ask(question) => {
                question(&connection);
                queue.blocking_recv()
            }
            Job::Expire(now_ns, answer) => {
                let _ = answer.send(writer.expire(&mut connection, now_ns).map_err(StoreError::from));
                queue.blocking_recv()
            }
            Job::Clear(answer) => {
                let _ = answer.send(writer.clear(&mut connection).map_err(StoreError::from));
                committed.send_modify(|n| *n += 1);
                queue.blocking_recv()
            }
        };
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "closing the database failed");
    }
}

/// Stores requests that came together, answers them, and makes room if they took too much.
fn append(connection: &mut Connection, writer: &mut Writer, group: Vec<(Arrival, Answered<Stored>)>) {
    let (arrivals, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    match writer.append(connection, arrivals) {
        // A sender that is gone will send again, and find its key.
        Ok(stored) => answers.into_iter().zip(stored).for_each(|(answer, stored)| {
            let _ = answer.send(Ok(stored));
        }),
        Err(error) => {
            tracing::error!(%error, requests = answers.len(), "a transaction failed; its requests are told to come back");
            for answer in answers {
                let _ = answer.send(Err(StoreError::Shared(error.to_string())));
            }
        }
    }
    let made_room = writer.is_over(connection).and_then(|over| match over {
        true => writer.expire(connection, now_ns()),
        false => Ok(()),
    });
    if let Err(error) = made_room {
        tracing::error!(%error, "dropping what is too much failed; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        receive::{Batch, Group, Point, PointValue, Resource, Rows, Scope, Series, SeriesRows},
        signal::Signal,
        store::query,
    };

    fn arrival(value: i64, arrived_ns: u64) -> Arrival {
        let series = Series {
            name: format!("n{value}"),
            unit: String::new(),
            kind: "gauge",
            temporality: "",
            attributes: "{}".to_owned(),
        };
        let point = Point { time_ns: 1, start_ns: 0, flags: 0, value: PointValue::Int(value) };
        let rows = Rows::Metrics(vec![SeriesRows { series, points: vec![point] }]);
        let resource = Resource { attributes: "{}".to_owned(), ..Resource::default() };
        let group =
            Group { resource, scope: Scope { attributes: "{}".to_owned(), ..Scope::default() }, rows };
        Arrival {
            batch: Batch { signal: Signal::Metrics, groups: vec![group] },
            key: None,
            protocol: "http",
            encoding: "identity",
            zstd_frames: None,
            wire_bytes: 1,
            arrived_ns,
            reject: 0,
            message: String::new(),
        }
    }

    const HOUR: u64 = 3600 * 1_000_000_000;

    #[tokio::test]
    async fn what_is_too_old_goes_with_its_series() {
        let retention = Retention { age: Duration::from_secs(3600), ..Retention::default() };
        let now = now_ns();
        let (_worker, store) = Store::open(&Data::Memory, retention).unwrap();
        for n in 0..3 {
            store.append(arrival(n, now + n as u64 * HOUR)).await.unwrap();
        }
        let held = async |what: &str| store.ask(query::totals).await.unwrap()["held"][what].clone();
        for (at, left) in [(now + HOUR, 3), (now + HOUR + 1, 2), (now + 3 * HOUR + 1, 0)] {
            store.expire(at).await.unwrap();
            assert_eq!(held("points").await, left);
            assert_eq!(held("series").await, left);
            assert_eq!(held("resources").await, i32::from(left > 0));
        }
        let totals = store.ask(query::totals).await.unwrap();
        assert_eq!(totals["counters"]["expired_by_age"]["points"], 3);
        store.append(arrival(0, now + 4 * HOUR)).await.unwrap();
        assert_eq!(held("series").await, 1, "ids of dropped rows are not used again from memory");
        assert_eq!(held("resources").await, 1);
    }

    #[tokio::test]
    async fn a_failed_transaction_is_told_to_all_and_leaves_nothing_half_done() {
        let (_worker, store) = Store::open(&Data::Memory, Retention::default()).unwrap();
        store.append(arrival(0, 1)).await.unwrap();
        // The database has no room for another page.
        let full = |c: &Connection| {
            let pages: i64 = c.pragma_query_value(None, "page_count", |row| row.get(0))?;
            c.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
        };
        store.ask(full).await.unwrap();
        let mut big = arrival(1, 2);
        let Rows::Metrics(rows) = &mut big.batch.groups[0].rows else { unreachable!() };
        rows[0].series.attributes = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
        let error = store.append(big).await.unwrap_err();
        assert!(error.to_string().contains("full"), "{error}");
        let held = store.ask(query::totals).await.unwrap();
        assert_eq!((&held["held"]["points"], &held["held"]["series"]), (&1.into(), &1.into()));
        store
            .ask(|c| c.pragma_update_and_check(None, "max_page_count", 1_000_000, |row| row.get::<_, i64>(0)))
            .await
            .unwrap();
        store.append(arrival(1, 3)).await.unwrap();
        assert_eq!(store.ask(query::totals).await.unwrap()["held"]["points"], 2);
    }
}
