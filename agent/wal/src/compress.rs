//! Compression, in the caller's thread: payload to one zstd frame and back.
//!
//! A frame always says its content size and needs no dictionary, so that it can go out as it is. Contexts are
//! kept for the next call (it is twice as fast on small payloads), with the memory that a frame is made in (fresh pages
//! cost a tenth as much as the compressing), but never big ones, and only a few.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use zstd::bulk::{Compressor, Decompressor};

/// Most compression contexts kept.
const KEPT: usize = 2;

/// A context that is larger, with its memory, is given back: one record of several MiB must not cost that for ever.
const BIG_CONTEXT: usize = 1024 * 1024;

/// How a payload is stored; the upper byte of a record header's codec field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    Plain = 0,
    Zstd = 1,
}

impl Codec {
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Compresses at one level, with contexts that are used again.
#[derive(Default)]
pub(crate) struct Compressors {
    level: i32,
    kept: Mutex<Vec<Context>>,
}

struct Context {
    compressor: Compressor<'static>,
    /// What the last frame was made in.
    buffer: Vec<u8>,
}

impl Compressors {
    pub(crate) fn new(level: i32) -> Self {
        Self { level, kept: Mutex::default() }
    }

    /// Whether payloads are stored as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.level == 0
    }

    /// The payload as it is stored. Level 0 stores it plainly.
    pub(crate) fn compress(&self, payload: &[u8]) -> io::Result<(Codec, Vec<u8>)> {
        if self.level == 0 {
            return Ok((Codec::Plain, payload.to_vec()));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = match kept {
            Some(context) => context,
            None => Context { compressor: Compressor::new(self.level)?, buffer: Vec::new() },
        };
        let Context { compressor, buffer } = &mut context;
        buffer.clear();
        buffer.reserve(zstd::zstd_safe::compress_bound(payload.len()));
        compressor.compress_to_buffer(payload, buffer)?;
        // A copy, because the bound is about the payload's length, and records wait in memory.
        let frame = buffer.to_vec();
        if compressor.context_mut().sizeof() + buffer.capacity() <= BIG_CONTEXT {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT {
                kept.push(context);
            }
        }
        Ok((Codec::Zstd, frame))
    }
}

/// Whether a foreign frame can stand for a payload of `len` bytes, by its header: content size, no dictionary.
pub(crate) fn check_frame(frame: &[u8], len: usize) -> Result<(), String> {
    match zstd::zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) if size == len as u64 => {}
        Ok(Some(size)) => return Err(format!("the frame says that it holds {size} bytes, and it is {len}")),
        Ok(None) => return Err("the frame does not say its content size".to_owned()),
        Err(_) => return Err("this is no zstd frame".to_owned()),
    }
    match zstd::zstd_safe::get_dict_id_from_frame(frame) {
        None => Ok(()),
        Some(dictionary) => Err(format!("the frame needs dictionary {dictionary}")),
    }
}

/// Unpacks one frame of exactly `len` bytes; never allocates more than that.
pub(crate) fn decompress(frame: &[u8], len: u32) -> Result<Vec<u8>, String> {
    static KEPT: Mutex<Option<Decompressor<'static>>> = Mutex::new(None);
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut decompressor = match kept {
        Some(decompressor) => decompressor,
        None => Decompressor::new().map_err(|e| e.to_string())?,
    };
    let payload = decompressor.decompress(frame, len as usize).map_err(|e| e.to_string())?;
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(decompressor);
    if payload.len() != len as usize {
        return Err(format!("the frame holds {} bytes, its header says {len}", payload.len()));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        for level in [0, 1, 3] {
            let compressors = Compressors::new(level);
            for payload in [&b""[..], b"x", &vec![7; 100_000]] {
                let (codec, stored) = compressors.compress(payload).unwrap();
                let back = match codec {
                    Codec::Plain => stored,
                    Codec::Zstd => decompress(&stored, payload.len() as u32).unwrap(),
                };
                assert_eq!(back, payload);
            }
        }
    }

    #[test]
    fn a_frame_says_its_content_size() {
        let (_, frame) = Compressors::new(1).compress(&[1; 5000]).unwrap();
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&frame).unwrap(), Some(5000));
    }

    #[test]
    fn a_foreign_frame_must_say_its_size_and_need_no_dictionary() {
        let (_, frame) = Compressors::new(3).compress(&[1; 5000]).unwrap();
        assert_eq!(check_frame(&frame, 5000), Ok(()));
        assert!(check_frame(&frame, 4999).unwrap_err().contains("5000"));
        assert!(check_frame(b"no frame at all", 15).unwrap_err().contains("no zstd frame"));
        assert!(check_frame(&frame[..3], 5000).is_err());
        let streamed = zstd::stream::encode_all(&[1u8; 5000][..], 1).unwrap();
        assert!(check_frame(&streamed, 5000).unwrap_err().contains("content size"));
        // Magic, a single segment with a dictionary's id of one byte and a content size of two, less 256 (RFC 8878).
        let [low, high] = (5000u16 - 256).to_le_bytes();
        let needs_a_dictionary = [0x28, 0xb5, 0x2f, 0xfd, 0x61, 7, low, high];
        assert!(check_frame(&needs_a_dictionary, 5000).unwrap_err().contains("dictionary"));
    }

    #[test]
    fn a_frame_that_unpacks_to_more_or_less_than_said_is_refused() {
        let (_, frame) = Compressors::new(1).compress(&vec![0; 1_000_000]).unwrap();
        assert!(decompress(&frame, 999_999).is_err());
        assert!(decompress(&frame, 1_000_001).is_err());
        assert!(decompress(&frame[..frame.len() - 1], 1_000_000).is_err());
        assert!(decompress(b"no frame", 10).is_err());
    }

    #[test]
    fn a_big_context_is_not_kept() {
        let compressors = Compressors::new(19);
        compressors.compress(&vec![3; 3_000_000]).unwrap();
        assert!(compressors.kept.lock().unwrap().is_empty());
        compressors.compress(&[3; 100]).unwrap();
    }

    #[test]
    fn a_big_frame_is_not_kept_and_a_small_one_serves_again() {
        let compressors = Compressors::new(1);
        compressors.compress(&vec![3; 3_000_000]).unwrap();
        assert!(compressors.kept.lock().unwrap().is_empty());
        for len in [100_000, 10] {
            let (_, frame) = compressors.compress(&vec![7; len]).unwrap();
            assert_eq!(frame.capacity(), frame.len());
            assert_eq!(decompress(&frame, len as u32).unwrap(), vec![7; len]);
            assert!(compressors.kept.lock().unwrap()[0].buffer.capacity() >= 100_000);
        }
    }
}
