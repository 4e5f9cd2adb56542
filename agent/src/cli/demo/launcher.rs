//! What the stub's page sees of the demo and orders from it, over a Unix socket in the demo's folder.
//!
//! `GET /state` gives everything; `POST /kill`, `/hostile`, `/calm` and `/record` are carried out one after the
//! other by the demo's own loop, and answered when they are done.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    Home,
    programs::{Listening, Programs},
    screen,
    watch::Watch,
};
use crate::{
    admin::{self, Answer},
    cli::words,
    clock::{Clock, SystemClock},
};

/// How long a killed agent stays dead: long enough to be seen.
const DEAD: Duration = Duration::from_secs(2);
/// Orders that may wait.
const ORDERS: usize = 8;

/// What a button orders, and where the answer goes.
pub(super) struct Order {
    what: What,
    done: oneshot::Sender<Result<(), String>>,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Kill,
    Hostile,
    Calm,
    Record,
}

/// The demo as it runs.
pub(super) struct Launcher {
    pub(super) programs: Option<Programs>,
    home: PathBuf,
    clock: Arc<dyn Clock>,
    watch: Watch,
    hostile: bool,
    /// When the killed agent is started again.
    start_at: Option<Instant>,
    status: Option<Value>,
    record: Option<Value>,
    shown: Arc<Mutex<Value>>,
    socket: PathBuf,
    _listening: admin::Socket,
}

/// What was seen at one look.
pub(super) struct Seen {
    pub(super) metrics: Option<Value>,
    pub(super) series: Vec<Value>,
    pub(super) stats: Option<Value>,
    pub(super) agent: Option<Value>,
    /// What happened since the look before.
    pub(super) events: Vec<String>,
}

impl Launcher {
    /// Begins to answer; nothing runs yet.
    pub(super) fn new(home: &Home) -> anyhow::Result<(Self, mpsc::Receiver<Order>)> {
        let (orders, obeyed) = mpsc::channel(ORDERS);
        let shown = Arc::new(Mutex::new(Value::Null));
        let socket = home.path().join("demo.sock");
        let of_page = Arc::clone(&shown);
        let listening = admin::socket(&socket, "the demo's socket", move |request| {
            answer(request, Arc::clone(&of_page), orders.clone())
        })
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let launcher = Self {
            programs: None,
            home: home.path().to_owned(),
            clock: Arc::new(SystemClock),
            watch: Watch::default(),
            hostile: false,
            start_at: None,
            status: None,
            record: None,
            shown,
            socket,
            _listening: listening,
        };
        Ok((launcher, obeyed))
    }

    /// Where it answers.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the stub listens.
    pub(super) fn listening(&self) -> anyhow::Result<Listening> {
        Ok(self.programs.as_ref().context("the programs were started")?.listening)
    }

    /// Asks both programs, tells what changed, and starts a killed agent again when it is time.
    pub(super) async fn look(&mut self) -> anyhow::Result<Seen> {
        let programs = self.programs.as_mut().context("the programs were started")?;
        programs.both_run()?;
        if self.start_at.is_some_and(|at| Instant::now() >= at) {
            self.start_at = None;
            let pid = programs.start_agent()?;
            self.watch.restarted();
            self.watch.tell(&*self.clock, format!("the agent is started again as pid {pid}"));
        }
        let ui = programs.listening.ui;
        let metrics = admin::get(ui, "/api/metrics").await.ok().and_then(parsed);
        let stats = admin::get(ui, "/api/stats").await.ok().and_then(parsed);
        let mut series = Vec::new();
        for name in screen::KNOWN {
            let asked = admin::get(ui, &format!("/api/series?name={name}&limit=1")).await;
            series.extend(asked.ok().and_then(parsed));
        }
        self.status = admin::ask(&self.control(), "/status").await.ok().and_then(parsed);
        self.watch.see(&*self.clock, stats.as_ref(), self.status.as_ref());
        if self.record.is_none() && self.status.is_some() {
            // There may be none yet.
            let _ = self.fetch_record().await;
        }
        self.show();
        Ok(Seen { metrics, series, stats, agent: self.status.clone(), events: self.watch.fresh() })
    }

    /// Does what was ordered, and answers.
    ///
    /// # Errors
    /// When the demo cannot go on; what can't be done otherwise is told to whoever ordered it.
    pub(super) async fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        let done = match order.what {
            What::Kill => self.kill()?,
            What::Hostile => self.load(true).await,
            What::Calm => self.load(false).await,
            What::Record => self.fetch_record().await,
        };
        self.show();
        // Whoever ordered it may be gone.
        let _ = order.done.send(done);
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<Result<(), String>> {
        let programs = self.programs.as_mut().context("the programs were started")?;
        let pending = self.status.as_ref().map_or(0, words::pending);
        let Some(pid) = programs.kill_agent()? else {
            return Ok(Err("the agent is dead already, and is about to be started again".to_owned()));
        };
        self.status = None;
        self.start_at = Some(Instant::now() + DEAD);
        self.watch
            .tell(&*self.clock, format!("kill -9: agent pid {pid} is dead; {pending} records were pending"));
        Ok(Ok(()))
    }

    /// Changes the configuration as a user would, and has the agent read it. What the agent does not take is put
    /// back, so that the next start has what the page shows.
    async fn load(&mut self, hostile: bool) -> Result<(), String> {
        let programs = self.programs.as_ref().ok_or("the programs are not started yet")?;
        programs.configure(hostile).map_err(|error| format!("{error:#}"))?;
        match self.reload().await {
            Ok(generation) => {
                self.hostile = hostile;
                let what = if hostile { "loaded: a hostile plugin" } else { "unloaded: the hostile plugin" };
                let told = format!("{what}; the configuration's generation is {generation}");
                self.watch.tell(&*self.clock, told);
                Ok(())
            }
            Err(why) => {
                programs.configure(self.hostile).map_err(|error| format!("{why}; and {error:#}"))?;
                Err(why)
            }
        }
    }

    /// The generation of the configuration that the agent took.
    async fn reload(&self) -> Result<String, String> {
        let (status, body) = admin::reload(&self.control()).await.map_err(|error| error.to_string())?;
        let answer = parsed(body).unwrap_or_default();
        if status != StatusCode::OK {
            return Err(format!("the agent refused to reload: {answer}"));
        }
        Ok(words::plain(&answer["generation"]))
    }

    async fn fetch_record(&mut self) -> Result<(), String> {
        let record = admin::ask(&self.control(), "/wal/record/latest?source=collectors/host").await;
        self.record = parsed(record.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn control(&self) -> PathBuf {
        self.home.join("agent/control.sock")
    }

    /// Puts everything where the page finds it.
    fn show(&mut self) {
        let programs = self.programs.as_ref();
        let pid = programs.and_then(Programs::agent_pid);
        let state = json!({
            "agent": {
                "running": pid.is_some(),
                "pid": pid,
                "starts": programs.map_or(0, |programs| programs.starts),
            },
            "hostile": self.hostile,
            "events": self.watch.told(),
            "status": self.status,
            "record": self.record,
        });
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

async fn answer<B>(request: Request<B>, shown: Arc<Mutex<Value>>, orders: mpsc::Sender<Order>) -> Answer {
    let what = match (request.method(), request.uri().path()) {
        (&Method::GET, "/state") => {
            let state = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return admin::json(StatusCode::OK, &state);
        }
        (&Method::POST, "/kill") => What::Kill,
        (&Method::POST, "/hostile") => What::Hostile,
        (&Method::POST, "/calm") => What::Calm,
        (&Method::POST, "/record") => What::Record,
        _ => {
            return admin::text(
                StatusCode::NOT_FOUND,
                "there are GET /state and POST /kill, /hostile, /calm, /record\n",
            );
        }
    };
    let (done, answered) = oneshot::channel();
    if orders.try_send(Order { what, done }).is_err() {
        return admin::text(StatusCode::TOO_MANY_REQUESTS, "too many orders at once: try again\n");
    }
    match answered.await {
        Ok(Ok(())) => admin::json(StatusCode::OK, &json!({ "done": true })),
        Ok(Err(why)) => admin::text(StatusCode::CONFLICT, format!("{why}\n")),
        Err(_) => admin::text(StatusCode::SERVICE_UNAVAILABLE, "the demo is ending\n"),
    }
}

fn parsed(bytes: bytes::Bytes) -> Option<Value> {
    serde_json::from_slice(&bytes).ok()
}
