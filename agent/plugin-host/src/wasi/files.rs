//! `wasi:filesystem`: granted folders under their own paths, and nothing else.
//!
//! That no path leads out of a folder (`..`, links, `/proc/self/fd`) is wasmtime-wasi's work, which has the kernel
//! resolve beneath it. Added here: what is no file or folder is not opened, because a pipe could hold a thread for ever;
//! procfs within a granted folder stays shut; files that are open have a bound; and the operator is told the grant.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::{
    FsPerms, WasiCtxBuilder,
    filesystem::WasiFilesystemCtxView,
    p2::{
        FsResult,
        bindings::filesystem::{
            preopens,
            types::{
                self, Descriptor, DescriptorFlags, DescriptorType, DirectoryEntryStream, ErrorCode,
                HostDescriptor, OpenFlags, PathFlags,
            },
        },
    },
};

use super::{open::Open as Opened, outside::Outside};
use crate::{
    denials::Denials,
    grants::Grants,
    guest::Guest,
    services::{Denied, Level, LogLine, Services},
    text::clean,
};

/// procfs, in `statfs` (linux/magic.h).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// The root of a procfs (linux/proc_fs.h).
const PROC_ROOT_INO: u64 = 1;
/// The longest path that is shown, in bytes.
const MAX_PATH: usize = 1024;

/// The folders of one instance.
pub(crate) struct Granted {
    roots: Vec<Root>,
    /// Folders that are open, by their descriptors.
    open: HashMap<u32, Open>,
    outside: Arc<Outside>,
    denials: Arc<Denials>,
    services: Arc<dyn Services>,
}

struct Root {
    /// All links followed.
    path: PathBuf,
    writable: bool,
    procfs: bool,
}

#[derive(Clone)]
struct Open {
    path: PathBuf,
    root: usize,
}

/// What a path was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

impl Granted {
    /// Opens what is granted. A folder that can't be opened is left out, with a line for the operator: the plugin finds
    /// it missing, as it is.
    pub(crate) fn open(
        grants: &Grants,
        builder: &mut WasiCtxBuilder,
        outside: &Arc<Outside>,
        services: &Arc<dyn Services>,
        denials: Arc<Denials>,
    ) -> Granted {
        let mut granted = Granted {
            roots: Vec::new(),
            open: HashMap::new(),
            outside: Arc::clone(outside),
            denials,
            services: Arc::clone(services),
        };
        let reads = grants.read.iter().filter(|folder| !grants.write.contains(folder));
        for (folder, perms) in grants
            .write
            .iter()
            .map(|folder| (folder, FsPerms::ReadWrite))
            .chain(reads.map(|folder| (folder, FsPerms::ReadOnly)))
        {
            if let Err(error) = granted.mount(folder, perms, builder) {
                let message = format!("the granted folder {} can't be opened: {error}", folder.display());
                granted.line(Level::Warn, message);
            }
        }
        granted
    }

    fn mount(&mut self, folder: &Path, perms: FsPerms, builder: &mut WasiCtxBuilder) -> io::Result<()> {
        let path = fs::canonicalize(self.outside.place(folder))?;
        let procfs = is_procfs(&fs::File::open(&path)?);
        let root_of_procfs = procfs && fs::metadata(&path)?.ino() == PROC_ROOT_INO;
        let reserved = self.outside.is_reserved(&path).or(root_of_procfs.then_some("all processes"));
        if let Some(what) = reserved {
            self.denials.note(Denied::Agent(format!("{}, which is or holds {what},", folder.display())));
            return Ok(());
        }
        builder
            .preopened_dir(&path, folder.to_string_lossy(), perms)
            .map_err(|error| io::Error::other(error.root_cause().to_string()))?;
        self.roots.push(Root { path, writable: perms == FsPerms::ReadWrite, procfs });
        Ok(())
    }

    fn line(&self, level: Level, message: String) {
        self.services.log(LogLine { level, message, fields: Vec::new(), dropped_before: 0 });
    }

    /// Passes the answer on; if it is a refusal, the operator is told what would allow it.
    pub(super) async fn told<T>(
        &self,
        usage: Use,
        folder: &Resource<Descriptor>,
        path: &str,
        answer: FsResult<T>,
    ) -> FsResult<T> {
        let refused = |error: &types::ErrorCode| *error == ErrorCode::NotPermitted;
        if let Err(error) = &answer
            && error.downcast_ref().is_some_and(refused)
            && let Some(folder) = self.open.get(&folder.rep())
        {
            self.refused(usage, folder, path).await;
        }
        answer
    }

    /// Tells the operator about a path that was refused.
    async fn refused(&self, usage: Use, folder: &Open, path: &str) {
        let root = &self.roots[folder.root];
        let full = lexical(&folder.path.join(path));
        let outside = Arc::clone(&self.outside);
        let looked = tokio::task::spawn_blocking(move || {
            let (real, folder) = resolved(full);
            let reserved = outside.is_reserved(&folder);
            (real, outside.named(folder), reserved)
        });
        let Ok((real, folder, reserved)) = looked.await else { return };
        if real.starts_with(&root.path) && (usage == Use::Read || root.writable) {
            // Its permissions are the system's.
            return;
        }
        let shown = PathBuf::from(clean(folder.to_string_lossy().into_owned(), MAX_PATH));
        self.denials.note(match (reserved, usage) {
            (Some(what), _) => Denied::Agent(format!("{}, which is or holds {what},", shown.display())),
            (None, Use::Read) => Denied::Read(shown),
            (None, Use::Write) => Denied::Write(shown),
        });
    }
}

/// The path with all links followed, as far as there is something; and the folder that would have to be granted.
fn resolved(path: PathBuf) -> (PathBuf, PathBuf) {
    let real = fs::canonicalize(&path).or_else(|_| {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.clone()) };
        fs::canonicalize(folder).map(|folder| folder.join(name))
    });
    let real: PathBuf = real.unwrap_or_else(|_: io::Error| path.clone());
    let folder = match real.parent() {
        Some(folder) if !real.is_dir() => folder.to_owned(),
        _ => real.clone(),
    };
    (real, folder)
}

/// Without `.` and `..`, links not looked at.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn is_procfs(file: &fs::File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(PROC_SUPER_MAGIC))
}

/// The same resource, for a call beside the guest's own.
pub(super) fn borrow<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

pub(crate) struct Files;

impl HasData for Files {
    type Data<'a> = FilesView<'a>;
}

pub(crate) struct FilesView<'a> {
    pub(super) inner: WasiFilesystemCtxView<'a>,
    pub(super) granted: &'a mut Granted,
    opened: &'a mut Opened,
}

impl Guest {
    pub(super) fn files(&mut self) -> FilesView<'_> {
        let wasi = self.wasi();
        FilesView {
            inner: WasiFilesystemCtxView { ctx: wasi.ctx.filesystem(), table: &mut wasi.table },
            granted: &mut wasi.files,
            opened: &mut wasi.open,
        }
    }
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        if self.granted.roots.is_empty() {
            let message = "it looks for folders, and is granted none: `grants: { read: [FOLDER] }`";
            self.granted.line(Level::Debug, message.to_owned());
        }
        let folders = preopens::Host::get_directories(&mut self.inner)?;
        for (root, (descriptor, _)) in folders.iter().enumerate() {
            let path = self.granted.roots[root].path.clone();
            self.granted.open.insert(descriptor.rep(), Open { path, root });
        }
        Ok(folders)
    }
}

impl FilesView<'_> {
    /// Whether it is there and of a kind that can be opened without waiting for anybody.
    async fn is_file_or_folder(
        &mut self,
        folder: &Resource<Descriptor>,
        flags: PathFlags,
        path: &str,
    ) -> FsResult<()> {
        match self.inner.stat_at(borrow(folder), flags, path.to_owned()).await?.type_ {
            DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => Ok(()),
            _ => Err(ErrorCode::Unsupported.into()),
        }
    }

    /// `open-at`.
    pub(super) async fn open(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        self.room()?;
        let creates = open_flags.contains(OpenFlags::CREATE);
        let changes = creates
            || open_flags.contains(OpenFlags::TRUNCATE)
            || flags.intersects(DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY);
        let usage = if changes { Use::Write } else { Use::Read };
        match self.is_file_or_folder(&folder, path_flags, &path).await {
            Ok(()) => {}
            Err(error) if creates && error.downcast_ref() == Some(&ErrorCode::NoEntry) => {}
            Err(error) => return self.granted.told(usage, &folder, &path, Err(error)).await,
        }
        let opened = self.inner.open_at(borrow(&folder), path_flags, path.clone(), open_flags, flags).await;
        let opened = self.granted.told(usage, &folder, &path, opened).await?;
        let Some(within) = self.granted.open.get(&folder.rep()).cloned() else { return Ok(opened) };
        let (file, is_folder) = match self.inner.table.get(&opened)? {
            Descriptor::File(file) => (&file.file, false),
            Descriptor::Dir(folder) => (&folder.dir, true),
        };
        if is_procfs(file) && !self.granted.roots[within.root].procfs {
            self.inner.table.delete(opened)?;
            return Err(ErrorCode::NotPermitted.into());
        }
        self.opened.opened(file);
        if is_folder {
            let path = lexical(&within.path.join(path));
            self.granted.open.insert(opened.rep(), Open { path, root: within.root });
        }
        Ok(opened)
    }

    /// For another thing that is open.
    pub(super) fn room(&mut self) -> FsResult<()> {
        if self.opened.room(self.inner.table) { Ok(()) } else { Err(ErrorCode::Quota.into()) }
    }

    pub(super) fn closed(&mut self, descriptor: &Resource<Descriptor>) {
        self.granted.open.remove(&descriptor.rep());
    }
}

impl types::HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.inner.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        types::HostDirectoryEntryStream::drop(&mut self.inner, stream)
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: wasmtime_wasi::p2::FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.inner.filesystem_error_code(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_by_their_letters() {
        assert_eq!(lexical(Path::new("/a/./b/../../c")), Path::new("/c"));
        assert_eq!(lexical(Path::new("/../../x")), Path::new("/x"));
    }

    #[test]
    fn procfs_is_known() {
        assert!(is_procfs(&fs::File::open("/proc/self").unwrap()));
        assert!(!is_procfs(&fs::File::open("/").unwrap()));
        assert_eq!(fs::metadata("/proc").unwrap().ino(), PROC_ROOT_INO);
    }
}
