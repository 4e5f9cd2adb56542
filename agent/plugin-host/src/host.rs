//! Loads components: from the cache of compiled code, or through the compiler's process.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use crate::{
    bundle::{self, Machine},
    cache::{Cache, CacheKey},
    compile::Compiler,
    contract::{self, CollectorPre},
    description::Description,
    engine,
    error::{CompileError, HostError, LoadError, LoadReason},
    frame::{self, Refusal, Reply},
    guest::Guest,
    native::Verified,
    plugin::{Compiled, Loaded, Plugin},
    sniff,
    text::hex,
    ticker::Ticker,
    trust::{Kind, Trust},
    wasi::{self, Outside},
    world,
};

/// How a host works.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Where compiled plugins are kept; made if it is not there, for this user alone.
    pub cache_dir: PathBuf,
    /// The most that the cache may take on disk, in bytes. Default 1 GiB.
    pub cache_limit: u64,
    /// The program that compiles. Default: `$WHIMBREL_PLUGIN_TOOL`, else `whimbrel-plugin` beside this
    /// program, else in the PATH.
    pub compiler: Option<PathBuf>,
    /// How long compiling may take. Default 5 min: Python takes 10 s on a fast machine.
    pub compile_timeout: Duration,
    /// Address space of the compiler, in bytes. Default 2 GiB: Python needs 320 MiB.
    pub compile_memory: u64,
    /// The largest component, in bytes. Default 128 MiB.
    pub max_component: u64,
    /// How names are resolved for plugins, and what of this machine none of them reaches. Default: the system's
    /// resolver, and what is always kept from them.
    pub outside: Arc<Outside>,
}

impl HostOptions {
    /// The defaults, with a cache in this directory.
    pub fn new(cache_dir: impl Into<PathBuf>) -> HostOptions {
        HostOptions {
            cache_dir: cache_dir.into(),
            cache_limit: 1 << 30,
            compiler: None,
            compile_timeout: Duration::from_secs(300),
            compile_memory: 2 << 30,
            max_component: 128 << 20,
            outside: Arc::default(),
        }
    }
}

/// Loads plugins. Cheap to clone; all clones share one engine, one cache and one clock.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    /// One for each size of stack that was asked for: wasmtime has it in the engine. Few sizes, never given back.
    engines: Mutex<BTreeMap<usize, Arc<Running>>>,
    cache: Cache,
    compiler: Compiler,
    fingerprint: String,
    max_component: u64,
    outside: Arc<Outside>,
}

/// An engine, what it links with, and its clock.
struct Running {
    engine: Engine,
    linker: Linker<Guest>,
    ticker: Arc<Ticker>,
    /// What is loaded, by the SHA-256 of the component or bundle: a thousand collectors of one plugin have its code once.
    loaded: Mutex<HashMap<[u8; 32], Slot>>,
}

/// One load at a time of the same bytes, while others go on.
type Slot = Arc<tokio::sync::Mutex<Weak<Loaded>>>;

impl Running {
    fn new(stack: usize) -> Result<Running, HostError> {
        let engine_error = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let config = engine::config_with_stack(stack).map_err(engine_error)?;
        let engine = Engine::new(&config).map_err(engine_error)?;
        let mut linker = Linker::new(&engine);
        contract::add_to_linker(&mut linker).map_err(engine_error)?;
        let ticker = Arc::new(Ticker::start(&engine).map_err(HostError::Ticker)?);
        Ok(Running { engine, linker, ticker, loaded: Mutex::default() })
    }

    /// Where these bytes are, once they are loaded.
    fn slot(&self, sha256: &[u8; 32]) -> Slot {
        // Whole slots are put in: a panic leaves a usable map.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !loaded.contains_key(sha256) {
            // What nobody runs or loads any more is forgotten.
            loaded.retain(|_, slot| {
                Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|code| code.strong_count() > 0)
            });
        }
        Arc::clone(loaded.entry(*sha256).or_default())
    }

    /// Compares types, and finds the exports.
    fn link(
        &self,
        component: &Component,
        description: &Description,
    ) -> Result<CollectorPre<Guest>, LoadReason> {
        let types = |error: wasmtime::Error| LoadReason::Types { detail: format!("{error:#}") };
        contract::check_exports(component).map_err(types)?;
        let linker = wasi::linker(&self.linker, description).map_err(types)?;
        CollectorPre::new(linker.instantiate_pre(component).map_err(types)?).map_err(types)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("cache", &self.0.cache).finish_non_exhaustive()
    }
}

impl Host {
    /// Sets up the engine, opens the cache, and starts the (sleeping) clock.
    ///
    /// # Errors
    /// The cache can't be made, or is another user's; the engine or its thread can't be set up.
    pub fn new(options: HostOptions) -> Result<Host, HostError> {
        let usual = Arc::new(Running::new(engine::DEFAULT_STACK)?);
        let cache = Cache::open(&options.cache_dir, options.cache_limit)?;
        let compiler = Compiler::new(
            options.compiler,
            options.compile_timeout,
            options.compile_memory,
            options.cache_limit,
        );
        Ok(Host(Arc::new(Inner {
            engines: Mutex::new(BTreeMap::from([(engine::DEFAULT_STACK, usual)])),
            cache,
            compiler,
            fingerprint: engine::fingerprint(),
            max_component: options.max_component,
            outside: options.outside,
        })))
    }

    /// Loads a component, compiling it if it is not in the cache. `origin` names it in messages: a path, or
    /// `builtin:NAME`.
    ///
    /// # Errors
    /// See [`LoadReason`]: each says what to do.
    ///
    /// # Cancel safety
    /// Can be dropped at any time; a compiler at work is killed.
    pub async fn load(&self, origin: &str, bytes: &[u8]) -> Result<Plugin, LoadError> {
        self.load_with_stack(origin, bytes, engine::DEFAULT_STACK as u64).await
    }

    /// The same with another stack for its instances, in bytes: the default is 512 KiB. To be chosen from few sizes,
    /// because each costs an engine, which is kept.
    ///
    /// # Errors
    /// As [`Host::load`].
    ///
    /// # Cancel safety
    /// As [`Host::load`].
    pub async fn load_with_stack(&self, origin: &str, bytes: &[u8], stack: u64) -> Result<Plugin, LoadError> {
        let failed = |reason| LoadError { origin: origin.to_owned(), reason };
        self.bounded(bytes).map_err(failed)?;
        let sha256 = Sha256::digest(bytes).into();
        self.load_component(origin, bytes, &sha256, stack).await.map_err(failed)
    }

    /// Loads a component whose size has been looked at.
    async fn load_component(
        &self,
        origin: &str,
        bytes: &[u8],
        sha256: &[u8; 32],
        stack: u64,
    ) -> Result<Plugin, LoadReason> {
        let running = self.running(stack)?;
        self.load_once(&running, sha256, Compiled::Cached, self.component(origin, bytes, sha256, &running))
            .await
    }

    /// What others have in memory, which is then called `again`; else what `load` comes to.
    async fn load_once(
        &self,
        running: &Running,
        sha256: &[u8; 32],
        again: Compiled,
        load: impl Future<Output = Result<(Description, Component, Compiled), LoadReason>>,
    ) -> Result<Plugin, LoadReason> {
        let slot = running.slot(sha256);
        let mut slot = slot.lock().await;
        if let Some(loaded) = slot.upgrade() {
            return Ok(Plugin::new(loaded, again));
        }
        let (description, component, compiled) = load.await?;
        let outside = wasi::is_imported(&description).then(|| Arc::clone(&self.0.outside));
        let pre = running.link(&component, &description)?;
        let loaded = Arc::new(Loaded { description, pre, ticker: Arc::clone(&running.ticker), outside });
        *slot = Arc::downgrade(&loaded);
        Ok(Plugin::new(loaded, compiled))
    }

    fn bounded(&self, bytes: &[u8]) -> Result<(), LoadReason> {
        let (size, limit) = (bytes.len() as u64, self.0.max_component);
        if size > limit { Err(LoadReason::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// Loads what `trust` takes: a component, or a bundle of compiled code. `signatures` is the text of the `.sig`
    /// file beside it, or of the annotation in the registry. What is not taken is not compiled either. The stack is
    /// that of [`Host::load_with_stack`].
    ///
    /// # Errors
    /// See [`LoadReason`]: each says what to do.
    ///
    /// # Cancel safety
    /// As [`Host::load`].
    pub async fn load_signed(
        &self,
        origin: &str,
        bytes: &[u8],
        signatures: Option<&str>,
        trust: &Trust,
        stack: u64,
    ) -> Result<Plugin, LoadError> {
        let failed = |reason| LoadError { origin: origin.to_owned(), reason };
        self.bounded(bytes).map_err(failed)?;
        let kind = Kind::of(bytes);
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        let signed = trust.check(kind, &sha256, signatures).map_err(|error| failed(error.into()))?;
        let plugin = match kind {
            Kind::Component => self.load_component(origin, bytes, &sha256, stack).await,
            Kind::Native => self.load_bundle(bytes, &sha256, stack).await,
        };
        let plugin = plugin.map_err(failed)?;
        if let Some((key, statement)) = signed {
            let identity = &plugin.description().identity;
            statement.check_identity(identity).map_err(|error| failed(error.into()))?;
            tracing::debug!(plugin = origin, key = key.name, "signed by a trusted key");
        }
        Ok(plugin)
    }

    /// Loads a bundle whose signature has been checked, from the very bytes that were checked.
    async fn load_bundle(&self, bytes: &[u8], sha256: &[u8; 32], stack: u64) -> Result<Plugin, LoadReason> {
        let running = self.running(stack)?;
        let load = async {
            let (manifest, code) = bundle::read_for(bytes, &Machine::here())?;
            let description = fits(manifest.description)?;
            let component = Verified::vouch(code)
                .load(&running.engine)
                .map_err(|error| LoadReason::Engine { detail: format!("{error:#}") })?;
            Ok((description, component, Compiled::Shipped))
        };
        self.load_once(&running, sha256, Compiled::Shipped, load).await
    }

    /// The engine with this stack, made when it is first asked for.
    fn running(&self, stack: u64) -> Result<Arc<Running>, LoadReason> {
        let stack = usize::try_from(stack).unwrap_or(usize::MAX);
        // Whole engines are put in: a panic leaves a usable map.
        let mut engines = self.0.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = engines.get(&stack) {
            return Ok(Arc::clone(running));
        }
        let running =
            Running::new(stack).map_err(|error| LoadReason::Engine { detail: error.to_string() })?;
        let running = Arc::new(running);
        engines.insert(stack, Arc::clone(&running));
        Ok(running)
    }

    async fn component(
        &self,
        origin: &str,
        bytes: &[u8],
        sha256: &[u8; 32],
        running: &Arc<Running>,
    ) -> Result<(Description, Component, Compiled), LoadReason> {
        sniff::check(bytes)?;
        let key = CacheKey::new(sha256, &self.0.fingerprint);
        if let Some((description, component)) = self.cached(origin, &key, running).await {
            return fits(description).map(|description| (description, component, Compiled::Cached));
        }
        let _turn = self.0.compiler.turn().await;
        // Another may have compiled it while we waited.
        if let Some((description, component)) = self.cached(origin, &key, running).await {
            return fits(description).map(|description| (description, component, Compiled::Cached));
        }
        tracing::info!(plugin = origin, size = bytes.len(), "compiling a plugin; this happens once");
        let since = Instant::now();
        let (program, reply) = self.0.compiler.compile(bytes).await?;
        let (host, running, origin, sha256) = (self.clone(), Arc::clone(running), origin.to_owned(), *sha256);
        let accept = move || host.accept(&running.engine, &origin, &program, &reply, &key, &sha256);
        let task = tokio::task::spawn_blocking(accept);
        let (description, component) = match task.await {
            Ok(accepted) => accepted?,
            Err(error) => return Err(LoadReason::Engine { detail: error.to_string() }),
        };
        Ok((description, component, Compiled::Now(since.elapsed())))
    }

    /// What the cache has. A file that can't be used is as good as none, but is worth a line.
    async fn cached(
        &self,
        origin: &str,
        key: &CacheKey,
        running: &Arc<Running>,
    ) -> Option<(Description, Component)> {
        let (host, running, key) = (self.clone(), Arc::clone(running), key.clone());
        let task = tokio::task::spawn_blocking(move || host.0.cache.load(&key, &running.engine));
        match task.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(plugin = origin, %error, "a compiled plugin in the cache is not used");
                None
            }
            Err(error) => {
                tracing::warn!(plugin = origin, %error, "reading the cache of compiled plugins failed");
                None
            }
        }
    }

    /// Checks the compiler's reply, loads the code, and keeps it.
    fn accept(
        &self,
        running: &Engine,
        origin: &str,
        program: &std::path::Path,
        reply: &[u8],
        key: &CacheKey,
        sha256: &[u8; 32],
    ) -> Result<(Description, Component), LoadReason> {
        let foreign = |detail: String| CompileError::Foreign { program: program.to_path_buf(), detail };
        let (reply, code) = frame::read(reply).map_err(|error| foreign(error.to_string()))?;
        let (engine, description) = match reply {
            Reply::Refused(refusal) => return Err(refusal.into()),
            Reply::Compiled { engine, description } => (engine, *description),
        };
        if engine != self.0.fingerprint {
            let detail = format!("it compiles for `{engine}` and this agent runs `{}`", self.0.fingerprint);
            return Err(foreign(detail).into());
        }
        if description.sha256 != hex(sha256) {
            return Err(foreign("it describes another component than it was given".to_owned()).into());
        }
        let description = fits(description)?;
        let component = Verified::vouch(code)
            .load(running)
            .map_err(|error| LoadReason::Engine { detail: format!("{error:#}") })?;
        if let Err(error) = self.0.cache.store(key, &description, code) {
            tracing::warn!(
                plugin = origin, %error, cache = %self.0.cache.dir().display(),
                "a compiled plugin could not be kept: it will be compiled again at the next start"
            );
        }
        Ok((description, component))
    }
}

fn fits(description: Description) -> Result<Description, LoadReason> {
    world::check(&description).map_err(Refusal::from)?;
    Ok(description)
}
