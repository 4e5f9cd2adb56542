//! Who is compared, each with the setting of which its documentation says that an answered write survives a power loss.
//! Everything else is as it comes.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};

use crate::RECORD;

/// Something that can be appended to from several threads.
pub trait Log: Sync {
    /// Returns when the record is durable.
    fn append(&self, appender: u64, key: u64, record: &[u8]) -> Result<()>;
}

type Open = fn(&Path, usize) -> Result<Box<dyn Log>>;

/// One that takes part.
pub struct Contender {
    /// In commands.
    pub name: &'static str,
    /// In the table.
    pub title: &'static str,
    /// Opens it in this empty directory, for so many records.
    pub open: Open,
}

/// The first one is what the others are measured against.
pub const CONTENDERS: [Contender; 7] = [
    Contender {
        name: "raw-growing",
        title: "raw: `write` + `fdatasync`, growing file",
        open: |dir, _| Raw::open(dir, 0),
    },
    Contender { name: "raw-zeros", title: "raw: the same into zeros written before", open: Raw::open },
    Contender { name: "whimbrel", title: "whimbrel-wal, encrypted", open: Whimbrel::open },
    Contender { name: "okaywal", title: "okaywal 0.3", open: Okay::open },
    Contender { name: "raft-engine", title: "raft-engine 0.4", open: Raft::open },
    Contender { name: "fjall", title: "fjall 3", open: Fjall::open },
    Contender { name: "redb", title: "redb 4", open: Redb::open },
];

/// A file and where its end is; who appends holds it. Nothing is framed, checked or shared between appenders.
struct Raw {
    file: File,
    end: Mutex<u64>,
}

impl Raw {
    fn open(dir: &Path, zeros: usize) -> Result<Box<dyn Log>> {
        let file = OpenOptions::new().write(true).create_new(true).open(dir.join("raw"))?;
        for n in 0..zeros {
            file.write_all_at(&[0; RECORD], (n * RECORD) as u64)?;
        }
        file.sync_all()?;
        Ok(Box::new(Self { file, end: Mutex::new(0) }))
    }
}

impl Log for Raw {
    fn append(&self, _: u64, _: u64, record: &[u8]) -> Result<()> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.write_all_at(record, *end)?;
        self.file.sync_data()?;
        *end += record.len() as u64;
        Ok(())
    }
}

/// `SyncPolicy::Always`, the default: "after `fdatasync`, by group commit: nothing answered is lost, not even when power
/// fails". AES-256-GCM and zstd at level 1, the defaults too.
struct Whimbrel(whimbrel_wal::Wal);

impl Whimbrel {
    fn open(dir: &Path, _: usize) -> Result<Box<dyn Log>> {
        use whimbrel_wal::{Encryption, Key, KeyRing, Options, Wal};
        let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate()?)));
        options.consumers = vec!["compare".into()];
        Ok(Box::new(Self(Wal::open(dir, options)?.0)))
    }
}

impl Log for Whimbrel {
    fn append(&self, _: u64, key: u64, record: &[u8]) -> Result<()> {
        use whimbrel_wal::{Lane, NewRecord, WhenFull};
        let record = self.0.prepare(NewRecord {
            lane: Lane::ALL[0],
            source: "compare",
            label: "",
            items: 1,
            ingest_ns: key,
            payload: record,
            checkpoint: None,
            when_full: WhenFull::DropNewest,
        })?;
        self.0.append_blocking(record)?;
        Ok(())
    }
}

/// README: "To fully flush all written bytes to disk and make the new entry resilliant to a crash, the writer must be
/// committed." Commits of several threads share an `fsync`.
struct Okay(okaywal::WriteAheadLog);

impl Okay {
    fn open(dir: &Path, _: usize) -> Result<Box<dyn Log>> {
        Ok(Box::new(Self(okaywal::WriteAheadLog::recover(dir, okaywal::LogVoid)?)))
    }
}

impl Log for Okay {
    fn append(&self, _: u64, _: u64, record: &[u8]) -> Result<()> {
        let mut writer = self.0.begin_entry()?;
        writer.write_chunk(record)?;
        writer.commit()?;
        Ok(())
    }
}

/// `Engine::write`: "If `sync` is true, the write will be followed by a call to `fdatasync` on the log file." Writers that
/// wait form a group with one sync. A record is a key of the appender's raft group.
struct Raft(raft_engine::Engine);

impl Raft {
    fn open(dir: &Path, _: usize) -> Result<Box<dyn Log>> {
        let dir = dir.to_str().context("a path in UTF-8")?.to_owned();
        let config = raft_engine::Config { dir, ..raft_engine::Config::default() };
        Ok(Box::new(Self(raft_engine::Engine::open(config)?)))
    }
}

impl Log for Raft {
    fn append(&self, appender: u64, key: u64, record: &[u8]) -> Result<()> {
        let mut batch = raft_engine::LogBatch::with_capacity(1);
        batch.put(appender + 1, key.to_be_bytes().to_vec(), record.to_vec())?;
        self.0.write(&mut batch, true)?;
        Ok(())
    }
}

/// `Database::persist` after each insertion: README, "Sync the journal to disk to make sure data is definitely durable";
/// `SyncData` is "flushes data using `fdatasync`", the cheaper of the two that sync.
struct Fjall {
    database: fjall::Database,
    records: fjall::Keyspace,
}

impl Fjall {
    fn open(dir: &Path, _: usize) -> Result<Box<dyn Log>> {
        let database = fjall::Database::builder(dir).open()?;
        let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        Ok(Box::new(Self { database, records }))
    }
}

impl Log for Fjall {
    fn append(&self, _: u64, key: u64, record: &[u8]) -> Result<()> {
        self.records.insert(key.to_be_bytes(), record)?;
        self.database.persist(fjall::PersistMode::SyncData)?;
        Ok(())
    }
}

/// `Durability::Immediate`, the default: "guaranteed to be persistent as soon as `WriteTransaction::commit` returns". One
/// writer at a time.
struct Redb(redb::Database);

const RECORDS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("records");

impl Redb {
    fn open(dir: &Path, _: usize) -> Result<Box<dyn Log>> {
        Ok(Box::new(Self(redb::Database::create(dir.join("redb"))?)))
    }
}

impl Log for Redb {
    fn append(&self, _: u64, key: u64, record: &[u8]) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(redb::Durability::Immediate)?;
        transaction.open_table(RECORDS)?.insert(key, record)?;
        transaction.commit()?;
        Ok(())
    }
}
