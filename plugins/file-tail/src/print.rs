//! What a file's content is known by: hashes of its first bytes, and of those before where reading stopped.
//!
//! FNV-1a, 64 bits, because it goes on byte by byte, so that the first bytes are hashed while they are read. It is no
//! defence against somebody who makes two files with one hash: who writes a log can confuse the reading of that log.

/// Bytes at the beginning that count.
pub(crate) const HEAD: u64 = 1024;
/// Bytes before an offset that count.
pub(crate) const TAIL: u64 = 256;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The hash of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    hash: u64,
}

impl Default for Print {
    fn default() -> Self {
        Self { hash: OFFSET_BASIS }
    }
}

impl Print {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut print = Self::default();
        print.add(bytes);
        print
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    pub(crate) fn from_le_bytes(bytes: [u8; 8]) -> Self {
        Self { hash: u64::from_le_bytes(bytes) }
    }

    pub(crate) fn to_le_bytes(self) -> [u8; 8] {
        self.hash.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// draft-eastlake-fnv, appendix C.
    #[test]
    fn it_is_the_published_hash_and_goes_on() {
        assert_eq!(Print::of(b"foobar").hash, 0x8594_4171_f739_67e8);
        let mut print = Print::of(b"foo");
        print.add(b"bar");
        assert_eq!(print, Print::of(b"foobar"));
    }
}
