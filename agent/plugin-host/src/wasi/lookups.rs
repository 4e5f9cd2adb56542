//! Looks names up for one instance: few at a time, because each takes a thread until the system's resolver gives up,
//! whether anybody waits for it or not.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use wasmtime_wasi::runtime::{self, AbortOnDropJoinHandle};

use super::outside::Outside;

/// How many may go on at a time.
const AT_A_TIME: usize = 2;
/// How long a name may take to be resolved.
const TIME: Duration = Duration::from_secs(10);
/// How long an answer holds for a guest that connects to one of its addresses, or sends there: names with many addresses
/// answer with others each time.
const HOLDS: Duration = Duration::from_secs(60);

/// The lookups of one instance.
pub(crate) struct Lookups {
    pub(super) outside: Arc<Outside>,
    room: Arc<Semaphore>,
    /// The last answers, by name: of granted names only, so that there are as few.
    answers: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
}

impl Lookups {
    pub(super) fn new(outside: Arc<Outside>) -> Lookups {
        Lookups { outside, room: Arc::new(Semaphore::new(AT_A_TIME)), answers: Mutex::default() }
    }

    /// The addresses that the name has now, IPv4 ones never as IPv6 ones.
    pub(super) async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::time::timeout(TIME, async {
            let one = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
            let (outside, asked) = (Arc::clone(&self.outside), name.to_owned());
            // It goes on when nobody waits for it any more, and holds its place as long.
            let task = tokio::spawn(async move {
                let found = outside.find(&asked).await;
                drop(one);
                found
            });
            task.await.map_err(io::Error::other)?
        });
        let found = found.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let found: Vec<IpAddr> = found.into_iter().map(|address| address.to_canonical()).collect();
        self.answers().insert(name.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }

    /// The same as a task of its own, which ends with its handle.
    pub(super) fn begin(self: &Arc<Lookups>, name: String) -> AbortOnDropJoinHandle<io::Result<Vec<IpAddr>>> {
        let lookups = Arc::clone(self);
        runtime::spawn(async move { lookups.resolve(&name).await })
    }

    /// Whether the name has this address, by its last answer or by a new one.
    pub(super) async fn has(self: &Arc<Lookups>, name: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let recent = self
            .answers()
            .get(name)
            .is_some_and(|(at, found)| at.elapsed() < HOLDS && found.contains(&address));
        // Spawned because the library wants what can be shared between threads.
        recent || self.begin(name.to_owned()).await.is_ok_and(|found| found.contains(&address))
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, (Instant, Vec<IpAddr>)>> {
        // Whole whatever happened to another who held it.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use super::*;
    use crate::{Reserved, Resolve};

    /// Never answers, and counts who asks.
    struct Silent(Arc<AtomicUsize>);

    impl Resolve for Silent {
        fn resolve<'a>(
            &'a self,
            _name: &'a str,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
            self.0.fetch_add(1, SeqCst);
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn lookups_that_nobody_waits_for_hold_their_place() {
        let asked = Arc::new(AtomicUsize::new(0));
        let outside = Outside::with_resolver(Reserved::default(), Silent(Arc::clone(&asked)));
        let lookups = Arc::new(Lookups::new(Arc::new(outside)));
        for _ in 0..100 {
            let begun = lookups.begin("slow.example.com".to_owned());
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            drop(begun);
        }
        assert_eq!(asked.load(SeqCst), AT_A_TIME);
    }

    /// One address after the other.
    struct Turning(AtomicUsize);

    impl Resolve for Turning {
        fn resolve<'a>(
            &'a self,
            _name: &'a str,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
            let turn = self.0.fetch_add(1, SeqCst);
            let address = IpAddr::from([192, 0, 2, u8::try_from(turn).unwrap()]);
            Box::pin(std::future::ready(Ok(vec![address])))
        }
    }

    #[tokio::test]
    async fn an_address_that_was_answered_holds_though_the_name_has_turned_on() {
        let outside = Outside::with_resolver(Reserved::default(), Turning(AtomicUsize::new(0)));
        let lookups = Arc::new(Lookups::new(Arc::new(outside)));
        let found = lookups.resolve("pool.example.com").await.unwrap();
        assert!(lookups.has("pool.example.com", found[0]).await);
        assert!(lookups.has("pool.example.com", found[0]).await, "asked nobody in between");
        assert!(!lookups.has("pool.example.com", IpAddr::from([192, 0, 2, 99])).await);
    }
}
