//! Other keys, while the WAL is in use.
//!
//! Order: what still needs a key is looked for first, and then nothing has been changed; the active segment is sealed
//! under the key it was begun with; the new ring is taken; a segment is begun under its current key; the cursors are
//! signed anew. A crash in between leaves segments and cursors under keys that are all in the new ring. The segment
//! comes before the cursors, so that who opens with the old ring is told that a key is missing.

use std::{io, sync::Arc};

use super::core::{Core, Refusal};
use crate::{error::RotateError, key::KeyRing, segment::encrypt::Masters, shared::lock};

impl Core {
    /// Takes this ring in the place of the one there is.
    pub(crate) fn rotate(&mut self, ring: KeyRing) -> Result<(), RotateError> {
        let shared = self.shared.clone();
        let before = shared.masters();
        if !before.encrypts() {
            return Err(RotateError::Plain);
        }
        let known = ring.ids();
        shared.check_keys(&known)?;
        let failed =
            |taken, action, cause: io::Error| RotateError::Io { action, cause: Arc::new(cause), taken };
        if before.ids().iter().any(|id| !known.contains(id)) {
            self.forget_for_ever()
                .map_err(|cause| failed(false, "removing what an old key sealed", cause))?;
        }
        let new_key = ring.current_id() != before.current_id();
        if new_key {
            self.flush();
            if self.active.is_some()
                && let Err((action, cause)) = self.seal()
            {
                let told = io::Error::new(cause.kind(), cause.to_string());
                self.fail_over(action, cause);
                return Err(failed(false, action, told));
            }
        }
        let masters = Arc::new(Masters::of_ring(Some(&ring)));
        *shared.masters.write().unwrap_or_else(std::sync::PoisonError::into_inner) = masters.clone();
        let begun = if new_key { self.begin_under_new_key() } else { Ok(()) };
        let signed = self.sign_cursors(&masters);
        // What everybody had passed when it was sealed: no acknowledgement will ask for that any more.
        self.reclaim();
        begun.and(signed).map_err(|(action, cause)| failed(true, action, cause))
    }

    /// Begins a segment; where there is no room, the next append makes some, or says that there is none.
    fn begin_under_new_key(&mut self) -> Result<(), (&'static str, io::Error)> {
        let begun = match self.begin_segment() {
            Err(Refusal::Io { action, cause }) => {
                self.note_error(action, &cause);
                Err((action, cause))
            }
            Ok(()) | Err(Refusal::NoRoom { .. } | Refusal::TooManyNames) => Ok(()),
        };
        if self.active.is_none() && !self.carry.is_empty() {
            // What was answered and is nowhere yet is tried again, now and on the policy's timer.
            self.fail_over("beginning a segment", io::ErrorKind::Other.into());
        }
        self.show_usage();
        begun
    }

    /// Signs every cursor with the current key that is not, and makes that durable.
    fn sign_cursors(&mut self, masters: &Masters) -> Result<(), (&'static str, io::Error)> {
        let shared = self.shared.clone();
        let id = masters.current_id();
        let mut result = Ok(());
        for consumer in shared.consumers().iter().filter(|consumer| consumer.key_ids() != [id]) {
            let signed = masters
                .cursor_key(id, &shared.store_uuid)
                .ok_or_else(|| io::Error::other("the current key is not in the ring"))
                .and_then(|key| consumer.sign(id, key, &shared));
            if let Err(cause) = signed {
                self.note_error("signing a cursor", &cause);
                result = Err(("signing a cursor", cause));
            }
        }
        if !self.sync_cursors() && result.is_ok() {
            let said = lock(&shared.figures).last_error.clone().unwrap_or_default();
            result = Err(("syncing a cursor", io::Error::other(said)));
        }
        result
    }

    /// Makes sure that no power loss brings back a file that was removed: its key is about to be forgotten.
    fn forget_for_ever(&mut self) -> io::Result<()> {
        self.remove_leftovers();
        if let Some((paths, _)) = self.usage.leftovers.first() {
            let named = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
            return Err(io::Error::other(format!("{named} can't be removed")));
        }
        self.shared.env.storage.sync_dir(&self.shared.dir)
    }
}
