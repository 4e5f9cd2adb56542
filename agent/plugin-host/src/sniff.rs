//! What a file is that is no component, by its first bytes: so that the refusal can say what to do.

use crate::frame::Refusal;

const WASM: &[u8] = b"\0asm";
/// Version and layer of a core module.
const CORE: [u8; 4] = [1, 0, 0, 0];
/// Version and layer of a component.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// Magic, at which offset, what it is, what to do.
const KNOWN: &[(&[u8], usize, &str, Option<&str>)] = &[
    (b"\x1f\x8b", 0, "a gzip archive", Some("unpack it first")),
    (b"\x28\xb5\x2f\xfd", 0, "a zstd archive", Some("unpack it first")),
    (b"\xfd7zXZ\0", 0, "an xz archive", Some("unpack it first")),
    (b"BZh", 0, "a bzip2 archive", Some("unpack it first")),
    (b"PK\x03\x04", 0, "a zip archive", Some("unpack it first")),
    (b"ustar", 257, "a tar archive", Some("unpack it first")),
    (b"!<arch>\n", 0, "a library of object files", Some("link it to a component first")),
    (b"MZ", 0, "a Windows program", None),
    (b"\xcf\xfa\xed\xfe", 0, "a macOS program", None),
    (b"\xca\xfe\xba\xbe", 0, "a macOS program or a Java class", None),
    (b"#!", 0, "a script", None),
];

/// Whether this begins like a component.
///
/// # Errors
/// Says what it is instead.
pub fn check(bytes: &[u8]) -> Result<(), Refusal> {
    if let Some(rest) = bytes.strip_prefix(WASM) {
        return match rest.first_chunk::<4>() {
            Some(&COMPONENT) => Ok(()),
            Some(&CORE) => Err(Refusal::CoreModule),
            Some([version, _, 1, 0]) => Err(Refusal::Invalid {
                detail: format!("the component encoding {version} is not the one in use, which is 13"),
            }),
            Some(other) => Err(Refusal::Invalid { detail: format!("unknown WebAssembly version {other:?}") }),
            None => Err(Refusal::Invalid { detail: "it ends within its first 8 bytes".to_owned() }),
        };
    }
    let (found, remedy) = name(bytes);
    Err(Refusal::NotWasm { found: found.to_owned(), remedy: remedy.map(str::to_owned) })
}

fn name(bytes: &[u8]) -> (&'static str, Option<&'static str>) {
    if bytes.is_empty() {
        return ("an empty file", Some("was it written or fetched in full?"));
    }
    for (magic, offset, found, remedy) in KNOWN {
        if bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic)) {
            return (found, *remedy);
        }
    }
    if bytes.starts_with(b"\x7fELF") {
        // wasmtime marks its own files with this OS ABI.
        return if bytes.get(7) == Some(&200) {
            ("code that wasmtime has compiled", Some("give the .wasm file it was made of"))
        } else {
            ("a program or library for Linux", None)
        };
    }
    let start = &bytes[..bytes.len().min(512)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The cut may have fallen within a character.
        Err(error) if error.valid_up_to() + 4 > start.len() && error.valid_up_to() > 0 => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return ("data of some other kind", None),
    };
    if text.contains('\0') {
        return ("data of some other kind", None);
    }
    let text = text.trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype") || text.starts_with("<html") {
        return ("a web page", Some("the address it was fetched from gave a page instead of the file"));
    }
    if text.starts_with("(component") || text.starts_with("(module") || text.starts_with(";;") {
        return ("WebAssembly as text", Some("make it binary with `wasm-tools parse FILE -o OUT.wasm`"));
    }
    if text.starts_with("version https://git-lfs") {
        return ("a Git LFS pointer", Some("fetch the file itself with `git lfs pull`"));
    }
    ("a text file", Some("give the .wasm file that was built from it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_is_named() {
        let mut tar = vec![b'x'; 300];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: &[(&[u8], &str)] = &[
            (b"", "an empty file"),
            (b"\x1f\x8b\x08\0", "a gzip archive: unpack it first"),
            (b"PK\x03\x04rest", "a zip archive"),
            (&tar, "a tar archive"),
            (b"\x7fELF\x02\x01\x01\x00", "a program or library for Linux"),
            (b"\x7fELF\x02\x01\x01\xc8", "code that wasmtime has compiled"),
            (b"<!DOCTYPE html><title>404</title>", "a web page"),
            (b"\n(component )", "WebAssembly as text"),
            (b"#!/bin/sh\n", "a script"),
            ("print('\u{e4}')".as_bytes(), "a text file"),
            (b"\xff\xfe\xfd\xfc", "data of some other kind"),
            (b"\0asm\x01\0\0\0", "whimbrel-plugin component"),
            (b"\0asm\x0c\0\x01\0", "encoding 12"),
            (b"\0asm\x0d", "first 8 bytes"),
        ];
        for (bytes, expected) in cases {
            let text = check(bytes).unwrap_err().to_string();
            assert!(text.contains(expected), "{expected:?} is not in {text:?}");
        }
        assert_eq!(check(b"\0asm\x0d\0\x01\0"), Ok(()));
    }
}
