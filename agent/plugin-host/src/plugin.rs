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
    /// From the cache.
    Cached,
    /// It was compiled just now, which took so long.
    Now(Duration),
}

/// A component, compiled, checked and linked. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    description: Description,
    pre: CollectorPre<Guest>,
    compiled: Compiled,
    ticker: Arc<Ticker>,
    /// For a plugin that imports WASI.
    outside: Option<Arc<Outside>>,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugin").field(&self.0.description.title()).finish()
    }
}

impl Plugin {
    pub(crate) fn new(
        description: Description,
        pre: CollectorPre<Guest>,
        compiled: Compiled,
        ticker: Arc<Ticker>,
        outside: Option<Arc<Outside>>,
    ) -> Plugin {
        Plugin(Arc::new(Inner { description, pre, compiled, ticker, outside }))
    }

    /// Who it is and what it asks for.
    pub fn description(&self) -> &Description {
        &self.0.description
    }

    /// Whether it had to be compiled.
    pub fn compiled(&self) -> Compiled {
        self.0.compiled
    }

    /// Makes an instance, and calls its `init`.
    ///
    /// # Errors
    /// It did not start; [`Fault::is_permanent`] says whether trying again is of use.
    ///
    /// # Cancel safety
    /// Can be dropped at any time; what has been made of the instance goes with it.
    pub async fn instantiate(&self, setup: Setup) -> Result<Instance, Fault> {
        Instance::start(&self.0.pre, &self.0.ticker, self.0.outside.as_ref(), setup).await
    }
}
