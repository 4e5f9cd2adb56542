//! Who looks at what: one picture a look, drawn once a second for all who look at it, while anybody does.
//!
//! A viewer is sent the fragments that changed since it was last sent anything; one that is slow skips pictures
//! rather than queueing them. Viewers and looks are bounded, and what is turned away is told why.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::MissedTickBehavior,
};

use super::{
    Look,
    look::{Ground, Painter},
};
use crate::{
    listen,
    receive::{AnswerBytes, lock},
};

/// How often a picture is drawn.
const TICK: Duration = Duration::from_secs(1);
/// A viewer hears something at least so often, so that both sides notice when the other is gone.
const PING: Duration = Duration::from_secs(15);
/// Browsers that follow at a time.
pub(crate) const MAX_VIEWERS: usize = 500;
/// Different looks at a time: each costs.
const MAX_LOOKS: usize = 16;
/// A look is kept for so long after the last viewer left: a browser that reloads is soon back.
const LINGER: Duration = Duration::from_secs(5);
/// The longest that the first picture may take.
const FIRST: Duration = Duration::from_secs(10);

/// Why somebody was turned away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    #[error("{MAX_VIEWERS} browsers follow already; close one, or try again later")]
    Viewers,
    #[error("{MAX_LOOKS} different hosts or metrics are followed already; close one, or try again later")]
    Looks,
    #[error("the picture was not ready in time; try again")]
    Slow,
}

/// A picture: fragments with the number of their last change.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    fragments: BTreeMap<&'static str, (u64, Arc<str>)>,
    changes: u64,
}

impl Picture {
    /// A fragment, or nothing while it was not drawn.
    pub(super) fn fragment(&self, id: &str) -> &str {
        self.fragments.get(id).map_or("", |(_, html)| html)
    }

    /// A copy with other fragments; those that are as they were keep their number.
    fn with(&self, drawn: Vec<(&'static str, String)>) -> Self {
        let mut picture = Self { fragments: self.fragments.clone(), changes: self.changes };
        for (id, html) in drawn {
            if picture.fragments.get(id).is_none_or(|(_, before)| **before != *html) {
                picture.changes += 1;
                picture.fragments.insert(id, (picture.changes, html.into()));
            }
        }
        picture
    }

    /// What changed after `seen`, as a server-sent event; none if nothing did.
    fn event(&self, seen: u64) -> Option<Bytes> {
        let changed: BTreeMap<&str, &str> = self
            .fragments
            .iter()
            .filter(|(_, (change, _))| *change > seen)
            .map(|(id, (_, html))| (*id, &**html))
            .collect();
        if changed.is_empty() {
            return None;
        }
        // JSON has no raw line breaks, which would end the event.
        let json = serde_json::to_string(&changed).expect("strings are always JSON");
        Some(Bytes::from(format!("id: {}\ndata: {json}\n\n", self.changes)))
    }
}

/// All looks that are followed.
#[derive(Debug)]
pub(crate) struct Live {
    ground: Arc<Ground>,
    looks: Arc<Mutex<HashMap<Look, watch::Receiver<Arc<Picture>>>>>,
    viewers: Arc<Semaphore>,
    /// Turned away, for [`LiveError::Viewers`] and for [`LiveError::Looks`].
    refused: [AtomicU64; 2],
    /// Turns true when the stub stops: events that went on would hold up the end.
    stopped: watch::Receiver<bool>,
}

impl Live {
    pub(crate) fn new(ground: Arc<Ground>, stopped: watch::Receiver<bool>) -> Self {
        Self {
            ground,
            stopped,
            looks: Arc::default(),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            refused: Default::default(),
        }
    }

    /// Who follows, and how many were turned away.
    pub(crate) fn report(&self) -> Value {
        let [viewers, looks] = &self.refused;
        json!({
            "viewers": MAX_VIEWERS - self.viewers.available_permits(),
            "looks": lock(&self.looks).len(),
            "refused_viewers": viewers.load(Ordering::Relaxed),
            "refused_looks": looks.load(Ordering::Relaxed),
        })
    }

    /// The picture of a look as it is now.
    pub(crate) async fn picture(&self, look: Look) -> Result<Arc<Picture>, LiveError> {
        let mut pictures = self.follow(look)?;
        let first = pictures.wait_for(|picture| picture.changes > 0);
        match tokio::time::timeout(FIRST, first).await {
            Ok(Ok(picture)) => Ok(Arc::clone(&picture)),
            _ => Err(LiveError::Slow),
        }
    }

    /// Server-sent events of a look: all fragments first, then what changes.
    pub(crate) fn events(&self, look: Look) -> Result<AnswerBytes, LiveError> {
        let place = Arc::clone(&self.viewers).try_acquire_owned().map_err(|_| {
            self.refused[0].fetch_add(1, Ordering::Relaxed);
            LiveError::Viewers
        })?;
        let pictures = self.follow(look)?;
        Ok(StreamBody::new(events(pictures, place, self.stopped.clone())).boxed_unsync())
    }

    /// Joins those who look at it, or begins to draw it.
    fn follow(&self, look: Look) -> Result<watch::Receiver<Arc<Picture>>, LiveError> {
        let mut looks = lock(&self.looks);
        // One whose painter is gone (it panicked, which the log says) is begun anew.
        if let Some(pictures) = looks.get(&look).filter(|pictures| pictures.has_changed().is_ok()) {
            return Ok(pictures.clone());
        }
        if looks.len() >= MAX_LOOKS {
            self.refused[1].fetch_add(1, Ordering::Relaxed);
            return Err(LiveError::Looks);
        }
        let (show, pictures) = watch::channel(Arc::new(Picture::default()));
        looks.insert(look.clone(), pictures.clone());
        drop(looks);
        let painter = Painter::new(Arc::clone(&self.ground), look.clone());
        tokio::spawn(draw(painter, show, Arc::clone(&self.looks), look));
        Ok(pictures)
    }
}

/// Draws a look while anybody follows it.
async fn draw(
    mut painter: Painter,
    show: watch::Sender<Arc<Picture>>,
    looks: Arc<Mutex<HashMap<Look, watch::Receiver<Arc<Picture>>>>>,
    look: Look,
) {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alone = Duration::ZERO;
    loop {
        every.tick().await;
        {
            let mut looks = lock(&looks);
            // One receiver is the map's own.
            alone = if show.receiver_count() > 1 { Duration::ZERO } else { alone + TICK };
            if alone > LINGER {
                looks.remove(&look);
                return;
            }
        }
        let drawn = painter.paint().await;
        show.send_modify(|picture| *picture = Arc::new(picture.with(drawn)));
    }
}

fn events(
    pictures: watch::Receiver<Arc<Picture>>,
    place: OwnedSemaphorePermit,
    stopped: watch::Receiver<bool>,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    struct Viewer {
        pictures: watch::Receiver<Arc<Picture>>,
        stopped: watch::Receiver<bool>,
        seen: u64,
        _place: OwnedSemaphorePermit,
    }
    let viewer = Viewer { pictures, stopped, seen: 0, _place: place };
    stream::unfold(viewer, |mut viewer| async move {
        loop {
            let picture = Arc::clone(&viewer.pictures.borrow_and_update());
            if let Some(event) = picture.event(viewer.seen) {
                viewer.seen = picture.changes;
                return Some((Ok(Frame::data(event)), viewer));
            }
            tokio::select! {
                changed = viewer.pictures.changed() => match changed {
                    Ok(()) => {}
                    // The painter is gone: the browser comes again, and finds another.
                    Err(_) => return None,
                },
                () = listen::told(&mut viewer.stopped) => return None,
                () = tokio::time::sleep(PING) => {
                    return Some((Ok(Frame::data(Bytes::from_static(b": still here\n\n"))), viewer));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_sent_and_a_slow_viewer_skips() {
        let first = Picture::default().with(vec![("a", "1".into()), ("b", "<b>\n\"".into())]);
        let event = first.event(0).unwrap();
        assert_eq!(&event[..], b"id: 2\ndata: {\"a\":\"1\",\"b\":\"<b>\\n\\\"\"}\n\n");
        assert_eq!(first.event(2), None);
        let second = first.with(vec![("a", "1".into()), ("b", "2".into())]);
        assert_eq!(&second.event(2).unwrap()[..], b"id: 3\ndata: {\"b\":\"2\"}\n\n");
        let third = second.with(vec![("a", "3".into())]);
        assert_eq!(&third.event(2).unwrap()[..], b"id: 4\ndata: {\"a\":\"3\",\"b\":\"2\"}\n\n");
        assert_eq!(third.fragment("b"), "2");
        assert_eq!(third.fragment("c"), "");
    }
}
