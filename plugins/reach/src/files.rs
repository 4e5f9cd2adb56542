//! `wasi:filesystem`.

use wasip2::filesystem::{
    preopens,
    types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags},
};

fn folder(name: &str) -> Result<Descriptor, String> {
    let folders = preopens::get_directories();
    let found = folders.into_iter().find(|(_, path)| path == name);
    found.map(|(folder, _)| folder).ok_or_else(|| format!("{name} is not mounted"))
}

fn said(error: ErrorCode) -> String {
    error.name().to_owned()
}

/// Its text.
pub(crate) fn read(within: &str, path: &str) -> Result<String, String> {
    let file = folder(within)?
        .open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(said)?;
    let (bytes, _) = file.read(4096, 0).map_err(said)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How many bytes were written.
pub(crate) fn write(within: &str, path: &str, text: &str) -> Result<String, String> {
    let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = folder(within)?
        .open_at(PathFlags::SYMLINK_FOLLOW, path, flags, DescriptorFlags::WRITE)
        .map_err(said)?;
    let written = file.write(text.as_bytes(), 0).map_err(said)?;
    Ok(format!("{written} bytes written"))
}

/// The names, in order.
pub(crate) fn list(within: &str, path: &str) -> Result<String, String> {
    let folder = folder(within)?;
    let flags = (OpenFlags::DIRECTORY, DescriptorFlags::READ);
    let folder = folder.open_at(PathFlags::SYMLINK_FOLLOW, path, flags.0, flags.1).map_err(said)?;
    let entries = folder.read_directory().map_err(said)?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry().map_err(said)? {
        names.push(entry.name);
    }
    names.sort();
    Ok(names.join(" "))
}

/// `made`
pub(crate) fn link(within: &str, target: &str, path: &str) -> Result<String, String> {
    folder(within)?.symlink_at(target, path).map_err(said)?;
    Ok("made".to_owned())
}

/// How many could be opened.
pub(crate) fn open_many(within: &str, path: &str, count: u32) -> Result<String, String> {
    let folder = folder(within)?;
    let mut open = Vec::new();
    for _ in 0..count {
        let flags = (PathFlags::empty(), OpenFlags::empty(), DescriptorFlags::READ);
        match folder.open_at(flags.0, path, flags.1, flags.2) {
            Ok(file) => open.push(file),
            Err(error) => return Ok(format!("{} open, then {}", open.len(), said(error))),
        }
    }
    Ok(format!("{} open", open.len()))
}
