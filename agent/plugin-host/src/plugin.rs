//! A loaded component, from which instances are made.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    contract::CollectorPre,
    description::Description,
    fault::Fault,
    guest::Guest,
    instance::{Instance, Setup},
    ticker::Ticker,
    wasi::Outside,
};

/// Where compiled code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiled {
    /// From the cache, or from memory, where another runs it.
    Cached,
    /// From a signed bundle.
    Shipped,
    /// It was compiled just now, which took so long.
    Now(Duration),
}

/// A component, compiled, checked and linked. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    loaded: Arc<Loaded>,
    compiled: Compiled,
}

/// What all that run the same component share: its code is in memory once.
pub(crate) struct Loaded {
    pub(crate) description: Description,
    pub(crate) pre: CollectorPre<Guest>,
    pub(crate) ticker: Arc<Ticker>,
    /// For a plugin that imports WASI.
    pub(crate) outside: Option<Arc<Outside>>,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugin").field(&self.loaded.description.title()).finish()
    }
}

impl Plugin {
    pub(crate) fn new(loaded: Arc<Loaded>, compiled: Compiled) -> Plugin {
        Plugin { loaded, compiled }
    }

    /// Whether both are one in memory.
    pub fn shares_code_with(&self, other: &Plugin) -> bool {
        Arc::ptr_eq(&self.loaded, &other.loaded)
    }

    /// Who it is and what it asks for.
    pub fn description(&self) -> &Description {
        &self.loaded.description
    }

    /// Whether it had to be compiled.
    pub fn compiled(&self) -> Compiled {
        self.compiled
    }

    /// Makes an instance, and calls its `init`.
    ///
    /// # Errors
    /// It did not start; [`Fault::is_permanent`] says whether trying again is of use.
    ///
    /// # Cancel safety
    /// Can be dropped at any time; what has been made of the instance goes with it.
    pub async fn instantiate(&self, setup: Setup) -> Result<Instance, Fault> {
        let Loaded { pre, ticker, outside, .. } = &*self.loaded;
        Instance::start(pre, ticker, outside.as_ref(), setup).await
    }
}
