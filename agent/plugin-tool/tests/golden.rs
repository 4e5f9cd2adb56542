//! The shipped components do what their sources do: the host collector's component, run in the sandbox over the same
//! made-up host, gives the bytes that its native test holds as golden.

#![allow(clippy::unwrap_used)] // of the golden file's own structure

mod support;

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
};

use serde_json::Value as Json;
use support::{Bench, DEADLINE, setup};
use whimbrel_plugin_host::{
    Batch, Denied, Grants, GuestError, LogLine, Services, Setup, SystemGrant,
    services::{Attribute, Entity, Figure, Value},
};

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

/// The made-up host, at one collect after the other.
#[derive(Default)]
struct MadeUp {
    now_ns: u64,
    parts: BTreeMap<String, Vec<Entity>>,
    pushed: Vec<Vec<u8>>,
}

struct Replay(Mutex<MadeUp>);

impl Replay {
    fn at(&self, collect: &Json) {
        let mut host = self.0.lock().unwrap();
        host.now_ns = collect["now_ns"].as_u64().unwrap();
        host.parts = collect["parts"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(part, told)| (part.clone(), entities(told.as_array().unwrap())))
            .collect();
        host.pushed.clear();
    }
}

/// Figures of the host itself, or of processes with their resources.
fn entities(told: &[Json]) -> Vec<Entity> {
    if told.iter().all(Json::is_array) {
        return vec![Entity { resource: Vec::new(), figures: told.iter().map(figure).collect() }];
    }
    let entity = |entity: &Json| Entity {
        resource: entity["resource"].as_array().unwrap().iter().map(attribute).collect(),
        figures: entity["figures"].as_array().unwrap().iter().map(figure).collect(),
    };
    told.iter().map(entity).collect()
}

fn figure(figure: &Json) -> Figure {
    Figure {
        name: figure[0].as_str().unwrap().to_owned(),
        attributes: figure[1].as_array().unwrap().iter().map(attribute).collect(),
        start_ns: figure[2].as_u64().unwrap(),
        value: figure[3].as_f64().unwrap(),
    }
}

fn attribute(pair: &Json) -> Attribute {
    let value = match &pair[1] {
        Json::String(text) => Value::Text(text.clone()),
        number => Value::Int(number.as_i64().unwrap()),
    };
    Attribute { key: pair[0].as_str().unwrap().to_owned(), value }
}

impl Services for Replay {
    fn push(
        &self,
        batch: Batch,
        _checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
        self.0.lock().unwrap().pushed.push(batch.request);
        Box::pin(std::future::ready(Ok(())))
    }

    fn snapshot(&self, part: &str, _select: &[(String, String)]) -> Result<Vec<Entity>, GuestError> {
        let host = self.0.lock().unwrap();
        host.parts.get(part).cloned().ok_or_else(|| GuestError::Unavailable(format!("no part {part}")))
    }

    fn log(&self, line: LogLine) {
        assert!(line.level < whimbrel_plugin_host::Level::Warn, "nothing is wrong, and it said {line:?}");
    }

    fn reveal(&self, name: &str) -> Result<String, GuestError> {
        Err(GuestError::Denied(name.to_owned()))
    }

    fn denied(&self, what: &Denied) {
        panic!("everything is granted, and it was denied {what}");
    }

    fn now_ns(&self) -> u64 {
        self.0.lock().unwrap().now_ns
    }
}

#[tokio::test]
async fn the_shipped_host_component_gives_the_golden_bytes() {
    let golden = plugins().join("host/tests/golden");
    let host: Json = serde_json::from_slice(&fs::read(golden.join("host.json")).unwrap()).unwrap();
    let bench = Bench::new();
    let plugin = bench.load(&fs::read(plugins().join("components/host.wasm")).unwrap()).await;
    assert_eq!(plugin.description().identity.name.as_deref(), Some("host"));

    let replay = Arc::new(Replay(Mutex::default()));
    replay.at(&host["collects"][0]);
    let unused = Arc::new(support::Recorder::default());
    let mut instance = plugin
        .instantiate(Setup {
            grants: Grants { system: SystemGrant::All, ..Grants::default() },
            config_json: host["config"].to_string(),
            services: Arc::clone(&replay) as Arc<dyn Services>,
            ..setup(&unused)
        })
        .await
        .unwrap();
    for collect in 0..2 {
        replay.at(&host["collects"][collect]);
        instance.collect(DEADLINE * 10).await.unwrap();
        let pushed = replay.0.lock().unwrap().pushed.clone();
        assert_eq!(pushed.len(), 1, "one request a collect");
        let expected = fs::read(golden.join(format!("collect-{collect}.otlp"))).unwrap();
        assert!(
            pushed[0] == expected,
            "collect {collect}: {} bytes, and {} are golden",
            pushed[0].len(),
            expected.len()
        );
    }
}
