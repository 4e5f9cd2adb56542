//! What a guest asked for and was not granted: said to the embedder once for each thing, not for each time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::services::{Denied, Services};

/// How many different denied things are reported to the embedder.
const MAX_DENIED: usize = 64;

/// Of one instance; shared by all that answers its calls.
pub(crate) struct Denials {
    services: Arc<dyn Services>,
    said: Mutex<HashSet<Denied>>,
}

impl Denials {
    pub(crate) fn new(services: Arc<dyn Services>) -> Denials {
        Denials { services, said: Mutex::default() }
    }

    /// Tells the embedder, if it was not told before.
    pub(crate) fn note(&self, denied: Denied) {
        // The set is whole whatever happened to another who held it.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < MAX_DENIED && said.insert(denied.clone()) {
            drop(said);
            self.services.denied(&denied);
        }
    }
}
