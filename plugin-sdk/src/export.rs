//! Between the contract's exports and a [`Collector`]. Used by [`collector!`](crate::collector) and by the tests'
//! host; not part of the interface.

use std::cell::RefCell;
use std::time::Duration;

use crate::bindings::exports::whimbrel::plugin::lifecycle;
use crate::bindings::whimbrel::plugin::types;
use crate::{Collector, Context, Described, Emit, Error, More, Plugin};

/// A collector, from `init` to `shutdown`.
#[derive(Debug)]
pub struct Instance<C> {
    collector: C,
    emit: Emit,
}

impl<C: Collector> Instance<C> {
    /// Reads the configuration and makes the collector.
    ///
    /// # Errors
    /// What [`Collector::new`] returns, and [`Error::Config`] for a configuration that is not its type.
    pub fn start(
        plugin: Plugin,
        instance: String,
        config: &str,
        checkpoint: Option<Vec<u8>>,
        interval: Duration,
    ) -> Result<Self, Error> {
        let config = read_config(config)?;
        let emit = Emit::new(plugin, checkpoint.clone());
        let collector = C::new(Context { instance, config, checkpoint, interval })?;
        Ok(Self { collector, emit })
    }

    /// One collect, and the push of what it left.
    ///
    /// # Errors
    /// The collector's own, or what the host answered to a push.
    pub fn collect(&mut self, deadline: Duration) -> Result<More, Error> {
        self.emit.begin(deadline);
        let result = self.collector.collect(&mut self.emit);
        match result.and_then(|more| self.emit.end().map(|()| more)) {
            Ok(more) => Ok(more),
            Err(error) => {
                if self.emit.discard() {
                    self.collector.rewind(self.emit.durable(), &error);
                }
                Err(error)
            }
        }
    }

    /// The end, in good order.
    pub fn shutdown(self) {
        self.collector.shutdown();
    }
}

fn read_config<C: serde::de::DeserializeOwned>(text: &str) -> Result<C, Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // serde_json's position is one in JSON that the agent made: of no use to who wrote YAML.
        let message = error.inner().to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        Error::Config(if path == "." { message.to_owned() } else { format!("{path}: {message}") })
    })
}

/// Where a component keeps its instance.
#[derive(Debug)]
pub struct Slot<C>(RefCell<Option<Instance<C>>>);

impl<C: Collector + Described> Slot<C> {
    /// Empty.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a constant, and no type that anybody else makes")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// The contract's `init`.
    ///
    /// # Errors
    /// What [`Instance::start`] returns.
    pub fn init(&self, context: lifecycle::Context) -> Result<(), types::Error> {
        log_panics();
        let interval = Duration::from_millis(context.interval_ms.into());
        let instance =
            Instance::start(C::PLUGIN, context.instance, &context.config, context.checkpoint, interval)?;
        *self.0.borrow_mut() = Some(instance);
        Ok(())
    }

    /// The contract's `collect`.
    ///
    /// # Errors
    /// What [`Instance::collect`] returns.
    pub fn collect(&self, deadline_ms: u32) -> Result<bool, types::Error> {
        match self.0.borrow_mut().as_mut() {
            Some(instance) => Ok(instance.collect(Duration::from_millis(deadline_ms.into()))? == More::Yes),
            None => Err(types::Error::Permanent("collect was called before init".to_owned())),
        }
    }

    /// The contract's `shutdown`.
    pub fn shutdown(&self) {
        if let Some(instance) = self.0.borrow_mut().take() {
            instance.shutdown();
        }
    }
}

/// Panics trap without a word in the sandbox; the hook says what and where before.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        crate::log::write(
            crate::log::Level::Error,
            &format!("panicked: {message}"),
            &[("location", location)],
        );
    }));
}

/// The bytes of a custom section.
#[must_use]
pub const fn section<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let text = text.as_bytes();
    let mut i = 0;
    while i < N && i < text.len() {
        bytes[i] = text[i];
        i += 1;
    }
    bytes
}
