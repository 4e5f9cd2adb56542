//! Setting a cursor back, so that what was acknowledged is delivered again: to a new backend, or after an old one lost it.

use std::{
    io,
    sync::{Arc, mpsc},
};

use super::state::ConsumerState;
use crate::{
    error::CursorError,
    options::LANES,
    segment::{
        frame::Kind,
        header::RECORDS_START,
        walk::{Step, Walker},
    },
    shared::{Segment, Shared},
    writer::core::Core,
};

/// How far a cursor is set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewindTo {
    /// To the oldest record that is still there.
    Oldest,
    /// In each lane to the first record whose ingest time, nanoseconds since the epoch, is at or after this.
    Since(u64),
}

/// Sets the cursor back and returns how many records are pending again. Done by the writer, so that no segment is deleted
/// meanwhile.
pub(super) fn rewind(
    shared: &Arc<Shared>,
    state: &Arc<ConsumerState>,
    to: RewindTo,
) -> Result<u64, CursorError> {
    let ordinals = match to {
        RewindTo::Oldest => [Some(0); LANES],
        RewindTo::Since(ns) => since(shared, ns)?,
    };
    let (answer, answered) = mpsc::sync_channel(1);
    let state = state.clone();
    shared.queue.task(Box::new(move |core| drop(answer.send(core.rewind(&state, ordinals)))));
    answered.recv().unwrap_or(Err(CursorError::Closed))
}

impl Core {
    /// Sets a cursor back, at most to the oldest record that is still there, and makes that durable.
    pub(crate) fn rewind(
        &mut self,
        consumer: &ConsumerState,
        to: [Option<u64>; LANES],
    ) -> Result<u64, CursorError> {
        let first =
            self.shared.oldest().map_or(self.shared.tail().lane_end, |oldest| oldest.header.lane_first);
        let to = std::array::from_fn(|lane| to[lane].map(|ordinal| ordinal.max(first[lane])));
        let again = consumer.rewind(to, &self.shared)?;
        self.sync_cursors();
        consumer
            .sync(&self.shared)
            .map_err(|cause| CursorError::Io { path: consumer.path(), cause: Arc::new(cause) })?;
        consumer.wake();
        Ok(again)
    }
}

/// The first ordinal of each lane whose record came in at or after this time; `None` where there is none.
pub(crate) fn since(shared: &Shared, ns: u64) -> Result<[Option<u64>; LANES], CursorError> {
    let segments = shared.segments();
    // Where the clock was set back, no segment's time says what came in before it.
    let is_steady = segments.is_sorted_by_key(|segment| segment.header.created_ns);
    let mut found = [None; LANES];
    for (at, segment) in segments.iter().enumerate() {
        // Its records came in before the next one was begun.
        let is_older = segments.get(at + 1).is_some_and(|next| next.header.created_ns < ns);
        let ends = segment.visible().lane_end;
        let has_any =
            (0..LANES).any(|lane| found[lane].is_none() && ends[lane] > segment.header.lane_first[lane]);
        if (is_steady && is_older) || !has_any {
            continue;
        }
        match look_through(shared, segment, ns, &mut found) {
            Ok(()) => {}
            Err(cause) if shared.was_unlinked(segment, &cause) => {}
            Err(cause) => {
                return Err(CursorError::Io { path: segment.path.clone(), cause: Arc::new(cause) });
            }
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(found)
}

fn look_through(
    shared: &Shared,
    segment: &Segment,
    ns: u64,
    found: &mut [Option<u64>; LANES],
) -> io::Result<()> {
    let visible = segment.visible();
    let open = segment.open(shared)?;
    let mut walker =
        Walker::new(open.file.as_ref(), open.crc_seed, RECORDS_START, visible.end, visible.index_end);
    while let Some(step) = walker.step()? {
        let Step::Record { header, .. } = step else { continue };
        let lane = usize::from(header.lane);
        if header.kind() == Some(Kind::Data) && found[lane].is_none() && header.ingest_ns >= ns {
            found[lane] = Some(segment.header.lane_first[lane] + u64::from(header.lane_index));
            if found.iter().all(Option::is_some) {
                break;
            }
        }
    }
    Ok(())
}
