//! The fence around mapped memory: the bytes of one immutable file, mapped where the file system has a real file behind it, read into
//! memory where it has not; and views of those bytes as numbers.

use std::fmt;
use std::io;

use lodedb_wal::fs::{File, read_exact_at};

#[cfg(target_endian = "big")]
compile_error!("segment files are little-endian and are read in place");

/// Files shorter than this are read, not mapped: a mapping costs more than the copy.
const MAP_FROM: u64 = 64 * 1024;

/// Memory in units that start on a cache line, so that numbers in a file read into it are aligned as in a mapped one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 64]);

/// The bytes of one immutable file. They start on a cache line.
pub(super) enum FileBytes {
    Mapped(memmap2::Mmap),
    Memory(Box<[Line]>, usize),
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapped(map) => write!(f, "Mapped({} bytes)", map.len()),
            Self::Memory(_, len) => write!(f, "Memory({len} bytes)"),
        }
    }
}

impl FileBytes {
    /// Maps or reads `len` bytes, the whole of `file`.
    pub(super) fn open(file: &dyn File, len: u64) -> io::Result<Self> {
        let size = usize::try_from(len).map_err(io::Error::other)?;
        if let Some(os_file) = file.os_file().filter(|_| len >= MAP_FROM) {
            // SAFETY: published files of segments are immutable (ARCHITECTURE: files are never written after their rename, and removed,
            // not truncated), in a directory only this process's user can write. Another process truncating one would end this
            // process by SIGBUS, which is a decided answer; it can not change checked bytes into unsound values, because every type
            // viewed below accepts any bit pattern.
            return Ok(Self::Mapped(unsafe { memmap2::MmapOptions::new().len(size).map(os_file)? }));
        }
        let mut lines = Vec::new();
        lines.try_reserve_exact(size.div_ceil(64)).map_err(|e| io::Error::new(io::ErrorKind::OutOfMemory, e))?;
        lines.resize(size.div_ceil(64), Line([0; 64]));
        let mut lines = lines.into_boxed_slice();
        // SAFETY: `Line` is 64 plain bytes without padding, so the whole slice is initialised memory of that many bytes; the mutable
        // borrow of `lines` lasts as long as the view.
        let bytes = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<u8>(), lines.len() * 64) };
        read_exact_at(file, &mut bytes[..size], 0)?;
        Ok(Self::Memory(lines, size))
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            // SAFETY: `Line` is 64 plain bytes, and `len` is at most the bytes of all lines by construction.
            Self::Memory(lines, len) => unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), *len) },
        }
    }
}

/// The bytes as floats; `None` where they are not aligned or not a whole number of them.
#[inline]
pub(super) fn as_f32(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: every pattern of 32 bits is an `f32`.
    match unsafe { bytes.align_to::<f32>() } {
        ([], floats, []) => Some(floats),
        _ => None,
    }
}

/// The bytes as 64-bit numbers; `None` where they are not aligned or not a whole number of them.
#[inline]
pub(super) fn as_u64(bytes: &[u8]) -> Option<&[u64]> {
    // SAFETY: every pattern of 64 bits is a `u64`.
    match unsafe { bytes.align_to::<u64>() } {
        ([], numbers, []) => Some(numbers),
        _ => None,
    }
}

/// Floats as the bytes a file holds.
pub(super) fn f32_bytes(floats: &[f32]) -> &[u8] {
    // SAFETY: floats are initialised memory without padding, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast::<u8>(), std::mem::size_of_val(floats)) }
}

/// 64-bit numbers as the bytes a file holds.
pub(super) fn u64_bytes(numbers: &[u64]) -> &[u8] {
    // SAFETY: numbers are initialised memory without padding, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), std::mem::size_of_val(numbers)) }
}

/// Asks the processor to fetch the cache lines of a vector, at most 1 KiB (its own prefetcher follows from there).
#[inline]
pub(super) fn prefetch(vector: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in vector[..vector.len().min(256)].chunks(16) {
        // SAFETY: a prefetch of memory borrowed here; it has no effect but on the cache.
        unsafe { std::arch::x86_64::_mm_prefetch(line.as_ptr().cast::<i8>(), std::arch::x86_64::_MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = vector;
}
