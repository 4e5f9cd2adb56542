//! Files by `wasi:filesystem`. Compiled natively too, so that every check sees it.
#![allow(dead_code, reason = "used in a component only")]

use std::cell::OnceCell;

use wasip2::filesystem::{
    preopens,
    types::{Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, OpenFlags, PathFlags},
};

use super::{Entry, Error, Identity, Kind, Metadata};

thread_local! {
    /// What is granted: asked for once, because each answer opens the folders anew.
    static FOLDERS: OnceCell<Vec<(Descriptor, String)>> = const { OnceCell::new() };
}

#[derive(Debug)]
pub(super) struct File {
    path: String,
    descriptor: Descriptor,
}

pub(super) fn open(path: &str) -> Result<File, Error> {
    let descriptor = within(path, |folder, rest| {
        folder.open_at(PathFlags::SYMLINK_FOLLOW, rest, OpenFlags::empty(), DescriptorFlags::READ)
    })?;
    Ok(File { path: path.to_owned(), descriptor })
}

pub(super) fn metadata(path: &str) -> Result<Metadata, Error> {
    let (stat, hash) = within(path, |folder, rest| {
        let stat = folder.stat_at(PathFlags::SYMLINK_FOLLOW, rest)?;
        Ok((stat, folder.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, rest)?))
    })?;
    Ok(told(&stat, Identity([hash.lower, hash.upper])))
}

pub(super) fn list(path: &str) -> Result<Vec<Entry>, Error> {
    within(path, |folder, rest| {
        let flags = (OpenFlags::DIRECTORY, DescriptorFlags::READ);
        let folder = folder.open_at(PathFlags::SYMLINK_FOLLOW, rest, flags.0, flags.1)?;
        let stream = folder.read_directory()?;
        let mut entries = Vec::new();
        loop {
            match stream.read_directory_entry() {
                Ok(Some(entry)) => entries.push(Entry { name: entry.name, kind: kind(entry.type_) }),
                Ok(None) => return Ok(entries),
                // A name that is no UTF-8, or one that was removed meanwhile: the others follow.
                Err(ErrorCode::IllegalByteSequence | ErrorCode::NoEntry | ErrorCode::Access) => {}
                Err(error) => return Err(error),
            }
        }
    })
}

impl File {
    pub(super) fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let answer = self.descriptor.read(len as u64, offset);
        answer.map(|(bytes, _)| bytes).map_err(|code| error(code, &self.path))
    }

    pub(super) fn metadata(&self) -> Result<Metadata, Error> {
        let both = || Ok((self.descriptor.stat()?, self.descriptor.metadata_hash()?));
        let (stat, hash) = both().map_err(|code| error(code, &self.path))?;
        Ok(told(&stat, Identity([hash.lower, hash.upper])))
    }
}

/// The granted folder that a path lies in, the innermost, and the rest of the path.
fn within<T>(path: &str, call: impl FnOnce(&Descriptor, &str) -> Result<T, ErrorCode>) -> Result<T, Error> {
    FOLDERS.with(|folders| {
        let folders = folders.get_or_init(preopens::get_directories);
        let found = folders.iter().filter_map(|(folder, name)| Some((folder, rest(path, name)?)));
        let innermost = found.min_by_key(|(_, rest)| rest.len());
        let (folder, rest) = innermost.ok_or_else(|| Error::NotGranted(path.to_owned()))?;
        call(folder, if rest.is_empty() { "." } else { rest }).map_err(|code| error(code, path))
    })
}

fn rest<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn kind(kind: DescriptorType) -> Kind {
    match kind {
        DescriptorType::RegularFile => Kind::File,
        DescriptorType::Directory => Kind::Folder,
        DescriptorType::SymbolicLink => Kind::Link,
        _ => Kind::Other,
    }
}

fn told(stat: &DescriptorStat, identity: Identity) -> Metadata {
    let modified_ns = stat.data_modification_timestamp.map_or(0, |time| {
        time.seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(time.nanoseconds))
    });
    Metadata { kind: kind(stat.type_), size: stat.size, modified_ns, identity }
}

fn error(code: ErrorCode, path: &str) -> Error {
    let path = path.to_owned();
    match code {
        ErrorCode::NoEntry | ErrorCode::NotDirectory => Error::NotFound(path),
        ErrorCode::NotPermitted => Error::NotGranted(path),
        ErrorCode::Access => Error::Forbidden(path),
        ErrorCode::IsDirectory | ErrorCode::Unsupported => Error::WrongKind(path),
        ErrorCode::Quota => Error::TooManyOpen(path),
        other => Error::Failed(path, other.name().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_in_the_folder_that_it_lies_in() {
        assert_eq!(rest("/var/log/a/b", "/var/log"), Some("a/b"));
        assert_eq!(rest("/var/log", "/var/log/"), Some(""));
        assert_eq!(rest("/var/logs/a", "/var/log"), None);
        assert_eq!(rest("/a", "/"), Some("a"));
    }
}
