//! The one form of every file here: a header, a payload, and a checksum for each block of it.
//!
//! Header (64 bytes): magic, format, kind, payload length, block size, checksum of the table, checksum of the header.
//! The payload starts at byte 64; the table of CRC-32s, one for each 64 KiB of payload, follows it.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_wal::fs::{self, FileSystem, OpenMode};
use serde::{Deserialize, Serialize};

use super::error::SegmentError;

const MAGIC: &[u8; 8] = b"LODESEGF";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 64;
const BLOCK_BYTES: usize = 64 << 10;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    /// Row ids.
    Rows = 1,
    /// The vectors of a column.
    Vectors = 2,
    /// Arrow batches.
    Scalars = 3,
    /// Codes of an index, in FAISS's form.
    Codes = 4,
    /// A trained index without codes, in FAISS's form.
    Quantizer = 5,
}

/// A file as a manifest or a log record names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its name in its folder.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// The CRC-32 of its header, which covers all else.
    pub header_crc: u32,
}

/// Writes a file; durable and under its name when this returns, but for the entry of its folder.
pub(super) fn write(
    files: &dyn FileSystem,
    dir: &Path,
    name: &str,
    kind: Kind,
    pieces: &mut dyn Iterator<Item = Vec<u8>>,
) -> Result<FileInfo, SegmentError> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let io = |error| SegmentError::Io { path: path.clone(), error };
    if files.exists(&temporary).map_err(io)? {
        files.remove_file(&temporary).map_err(io)?;
    }
    let file = files.open(&temporary, OpenMode::CreateNew).map_err(io)?;
    let mut table: Vec<u8> = Vec::new();
    let mut block = crc32fast::Hasher::new();
    let mut in_block = 0;
    let mut len = 0u64;
    for piece in pieces {
        fs::write_all_at(&*file, &piece, HEADER_BYTES as u64 + len).map_err(io)?;
        len += piece.len() as u64;
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let take = rest.len().min(BLOCK_BYTES - in_block);
            block.update(&rest[..take]);
            in_block += take;
            rest = &rest[take..];
            if in_block == BLOCK_BYTES {
                table.extend(std::mem::take(&mut block).finalize().to_le_bytes());
                in_block = 0;
            }
        }
    }
    if in_block > 0 {
        table.extend(block.finalize().to_le_bytes());
    }
    fs::write_all_at(&*file, &table, HEADER_BYTES as u64 + len).map_err(io)?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MAGIC);
    header.extend(FORMAT.to_le_bytes());
    header.extend((kind as u32).to_le_bytes());
    header.extend(len.to_le_bytes());
    header.extend((BLOCK_BYTES as u32).to_le_bytes());
    header.extend(crc32fast::hash(&table).to_le_bytes());
    header.resize(HEADER_BYTES - 4, 0);
    let header_crc = crc32fast::hash(&header);
    header.extend(header_crc.to_le_bytes());
    fs::write_all_at(&*file, &header, 0).map_err(io)?;
    file.sync_all().map_err(io)?;
    files.rename(&temporary, &path).map_err(io)?;
    Ok(FileInfo { name: name.to_owned(), len: HEADER_BYTES as u64 + len + table.len() as u64, header_crc })
}

/// The verified payload of a file.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    bytes: Arc<Backing>,
    len: usize,
}

#[derive(Debug)]
enum Backing {
    Mapped(memmap2::Mmap),
    Read(Vec<u8>),
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes.all()[HEADER_BYTES..HEADER_BYTES + self.len]
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Backing {
    fn all(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

/// Opens a file and verifies every block of it.
pub(super) fn open(files: &dyn FileSystem, dir: &Path, info: &FileInfo, kind: Kind) -> Result<Payload, SegmentError> {
    let path = dir.join(&info.name);
    let io = |error| SegmentError::Io { path: path.clone(), error };
    let file = files.open(&path, OpenMode::Read).map_err(io)?;
    let found = file.len().map_err(io)?;
    if found != info.len {
        return Err(damaged(&path, format!("it has {found} bytes and should have {}", info.len)));
    }
    let backing = match file.os_file() {
        // SAFETY: published files are never written or cut again (DESIGN: files are immutable once published); one
        // that is changed from outside, or cannot be read any more, ends the process with SIGBUS, and the next start
        // verifies everything.
        Some(os) => Backing::Mapped(unsafe { memmap2::Mmap::map(os) }.map_err(io)?),
        None => Backing::Read(fs::read_file(files, &path).map_err(io)?),
    };
    let len = verify(backing.all(), info, kind).map_err(|reason| damaged(&path, reason))?;
    Ok(Payload { bytes: Arc::new(backing), len })
}

/// Gives the length of the payload.
fn verify(bytes: &[u8], info: &FileInfo, kind: Kind) -> Result<usize, String> {
    let header = bytes.get(..HEADER_BYTES).ok_or("it is shorter than its header")?;
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if &header[..8] != MAGIC {
        return Err("it is no segment file".into());
    }
    let crc = crc32fast::hash(&header[..HEADER_BYTES - 4]);
    if crc != u32_at(HEADER_BYTES - 4) || crc != info.header_crc {
        return Err("its header fails its checksum, or it is another file".into());
    }
    if u32_at(8) != FORMAT {
        return Err(format!("its format is {}, and this version knows {FORMAT}", u32_at(8)));
    }
    if u32_at(12) != kind as u32 {
        return Err(format!("it is of kind {}, not {}", u32_at(12), kind as u32));
    }
    let len = (u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32) as usize;
    let blocks = len.div_ceil(BLOCK_BYTES);
    if u32_at(24) as usize != BLOCK_BYTES || len.checked_add(HEADER_BYTES + blocks * 4) != Some(bytes.len()) {
        return Err("its length does not fit its header".into());
    }
    let (payload, table) = bytes[HEADER_BYTES..].split_at(len);
    if crc32fast::hash(table) != u32_at(28) {
        return Err("its table of checksums fails its own".into());
    }
    for (number, (block, crc)) in payload.chunks(BLOCK_BYTES).zip(table.chunks_exact(4)).enumerate() {
        if crc32fast::hash(block).to_le_bytes() != crc {
            return Err(format!("the block at offset {} fails its checksum", HEADER_BYTES + number * BLOCK_BYTES));
        }
    }
    Ok(len)
}

pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> SegmentError {
    SegmentError::Damaged { path: PathBuf::from(path), reason: reason.into() }
}
