//! The frame around every file of this room: a header, a body that starts on a cache line and is contiguous, and at the end a CRC-32 of
//! each 64 KiB block, so that damage is noticed where it is first touched.
//!
//! ```text
//! 0      magic "LODESEG1"  version u32  kind u32  owner u64  body length u64  zeros  crc32 of bytes 0..60 at 60
//! 64     body
//! ..     crc32 of each 64 KiB block of header and body, in order
//! end-16 magic "LODE"  number of blocks u32  crc32 of the block table u32  crc32 of these 12 bytes u32
//! ```
//!
//! The CRC of the block table with the length is the file's fingerprint; whoever names the file keeps both.

use std::io::{self, Read, Write};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_wal::fs::{File, FileSystem, OpenMode, write_all_at};
use serde::{Deserialize, Serialize};

use super::mapped::FileBytes;
use crate::fault::{Fault, planted};

const MAGIC: [u8; 8] = *b"LODESEG1";
const END: [u8; 4] = *b"LODE";
const VERSION: u32 = 1;
pub(super) const HEADER: usize = 64;
const BLOCK: usize = 64 * 1024;
const TRAILER: usize = 16;

/// What a file holds; part of its header, so that files cannot stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Rows = 1,
    Vectors = 2,
    Scalars = 3,
    Quantizer = 4,
    Index = 5,
    Calibration = 6,
    StagedRows = 7,
}

/// One file as its owner names it: what must be found when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The name in its directory.
    pub name: String,
    /// The length in bytes.
    pub len: u64,
    /// The CRC-32 of its block table.
    pub crc: u32,
}

pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> SqlError {
    SqlError::new(SqlState::DataCorrupted, format!("file \"{}\" is damaged: {what}", path.display()))
}

pub(super) fn failed(path: &Path, error: &io::Error) -> SqlError {
    let state = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => SqlState::DataCorrupted,
        _ => SqlState::of_io(error),
    };
    SqlError::new(state, format!("could not access file \"{}\": {error}", path.display()))
}

/// Writes one framed file as `name.tmp`; [`FrameWriter::publish`] gives it its name. Dropped before that, it removes what it wrote.
///
/// `F` is a pointer to the file system: borrowed, or shared by a writer that outlives its maker.
pub(super) struct FrameWriter<F: Deref<Target: FileSystem>> {
    fs: F,
    path: PathBuf,
    tmp: PathBuf,
    file: Arc<dyn File>,
    kind: Kind,
    owner: u64,
    /// Bytes not yet written; the first block is kept in `first` till the end, since the header is in it.
    block: Vec<u8>,
    first: Option<Vec<u8>>,
    len: u64,
    crcs: Vec<u8>,
    published: bool,
}

impl<F: Deref<Target: FileSystem>> FrameWriter<F> {
    pub(super) fn create(fs: F, path: &Path, kind: Kind, owner: u64) -> Result<Self> {
        let mut tmp = path.as_os_str().to_owned();
        tmp.push(".tmp");
        let tmp = PathBuf::from(tmp);
        let file = match fs.open(&tmp, OpenMode::CreateNew) {
            // CRASH: a writer was cut off before its rename; what it left was never referenced.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs.remove_file(&tmp).and_then(|()| fs.open(&tmp, OpenMode::CreateNew))
            }
            opened => opened,
        }
        .map_err(|e| failed(&tmp, &e))?;
        let mut block = Vec::with_capacity(BLOCK);
        block.resize(HEADER, 0);
        let path = path.to_owned();
        Ok(Self { fs, path, tmp, file, kind, owner, block, first: None, len: 0, crcs: Vec::new(), published: false })
    }

    /// Length of the body so far.
    pub(super) fn position(&self) -> u64 {
        self.len + self.block.len() as u64 - HEADER as u64
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|e| failed(&self.tmp, &e))
    }

    /// Fills with zeros up to the next cache line.
    pub(super) fn align(&mut self) -> Result<()> {
        let gap = (HEADER - (self.position() % HEADER as u64) as usize) % HEADER;
        self.put(&[0; HEADER][..gap])
    }

    fn flush_block(&mut self) -> io::Result<()> {
        if self.first.is_none() {
            self.len += self.block.len() as u64;
            self.first = Some(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK)));
            self.crcs.extend_from_slice(&[0; 4]);
            return Ok(());
        }
        if !self.block.is_empty() {
            self.crcs.extend_from_slice(&crc32fast::hash(&self.block).to_le_bytes());
            write_all_at(self.file.as_ref(), &self.block, self.len)?;
            self.len += self.block.len() as u64;
            self.block.clear();
        }
        Ok(())
    }

    /// Writes the rest, syncs the file and gives it its name. The caller syncs the directory.
    pub(super) fn publish(self) -> Result<FileEntry> {
        self.publish_with_head(&[])
    }

    /// As [`FrameWriter::publish`], with the first bytes of the body replaced by `head`: what is known at the end only. It must fit in
    /// the first block.
    pub(super) fn publish_with_head(mut self, head: &[u8]) -> Result<FileEntry> {
        let entry = self.finish(head).map_err(|e| failed(&self.tmp, &e))?;
        self.published = true;
        Ok(entry)
    }

    fn finish(&mut self, head: &[u8]) -> io::Result<FileEntry> {
        let body = self.position();
        self.flush_block()?;
        self.flush_block()?;
        let mut first = self.first.take().unwrap_or_default();
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(self.kind as u32).to_le_bytes());
        header.extend_from_slice(&self.owner.to_le_bytes());
        header.extend_from_slice(&body.to_le_bytes());
        header.resize(HEADER - 4, 0);
        let crc = crc32fast::hash(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        first[..HEADER].copy_from_slice(&header);
        first[HEADER..HEADER + head.len()].copy_from_slice(head);
        self.crcs[..4].copy_from_slice(&crc32fast::hash(&first).to_le_bytes());
        write_all_at(self.file.as_ref(), &first, 0)?;

        let table_crc = crc32fast::hash(&self.crcs);
        let mut end = std::mem::take(&mut self.crcs);
        let blocks = (end.len() / 4) as u32;
        let trailer_at = end.len();
        end.extend_from_slice(&END);
        end.extend_from_slice(&blocks.to_le_bytes());
        end.extend_from_slice(&table_crc.to_le_bytes());
        let crc = crc32fast::hash(&end[trailer_at..]);
        end.extend_from_slice(&crc.to_le_bytes());
        write_all_at(self.file.as_ref(), &end, self.len)?;
        // ORDER: bytes, then the name; the directory is the caller's, once for all files of a segment.
        let synced = self.file.sync_all();
        if planted(Fault::SyncRetried) {
            synced.or_else(|_| self.file.sync_all())?
        } else {
            synced?
        }
        self.fs.rename(&self.tmp, &self.path)?;
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        Ok(FileEntry { name, len: self.len + end.len() as u64, crc: table_crc })
    }
}

impl<F: Deref<Target: FileSystem>> Write for FrameWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK - self.block.len();
        let taken = bytes.len().min(room);
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.flush_block()?;
        }
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: Deref<Target: FileSystem>> Drop for FrameWriter<F> {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: an unnamed rest is removed by the next writer of the same name, or by the clean-up at open.
            let _ = self.fs.remove_file(&self.tmp);
        }
    }
}

/// An opened framed file. Its header and block table are checked; its blocks when first touched.
#[derive(Debug)]
pub(super) struct Frame {
    path: PathBuf,
    bytes: FileBytes,
    body_len: usize,
    crcs: Vec<u32>,
    verified: Vec<AtomicU64>,
    all_verified: AtomicBool,
}

impl Frame {
    /// Opens and checks header, length and block table. With `expected`, the file must be the one that was named.
    pub(super) fn open(
        fs: &dyn FileSystem,
        path: &Path,
        kind: Kind,
        owner: u64,
        expected: Option<&FileEntry>,
    ) -> Result<Self> {
        Self::open_any(fs, path, Some((kind, owner)), expected)
    }

    /// As [`Self::open`], for a file of any kind where none is given.
    fn open_any(
        fs: &dyn FileSystem,
        path: &Path,
        known: Option<(Kind, u64)>,
        expected: Option<&FileEntry>,
    ) -> Result<Self> {
        let file = fs.open(path, OpenMode::Read).map_err(|e| failed(path, &e))?;
        let len = file.len().map_err(|e| failed(path, &e))?;
        let expected = expected.filter(|_| !planted(Fault::FileTrusted));
        if let Some(expected) = expected
            && expected.len != len
        {
            return Err(damaged(path, format!("{len} bytes instead of {}", expected.len)));
        }
        if len < (HEADER + 4 + TRAILER) as u64 {
            return Err(damaged(path, "too short"));
        }
        let bytes = FileBytes::open(file.as_ref(), len).map_err(|e| failed(path, &e))?;
        let all = bytes.as_slice();
        let u32_at = |at: usize| u32::from_le_bytes([all[at], all[at + 1], all[at + 2], all[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if all[..8] != MAGIC {
            return Err(damaged(path, "not a segment file"));
        }
        if u32_at(8) != VERSION {
            return Err(damaged(path, format!("format version {} is not known", u32_at(8))));
        }
        if crc32fast::hash(&all[..HEADER - 4]) != u32_at(HEADER - 4) {
            return Err(damaged(path, "header"));
        }
        if known.is_some_and(|(kind, owner)| u32_at(12) != kind as u32 || u64_at(16) != owner) {
            return Err(damaged(path, "it is another file"));
        }
        let body_len = u64_at(24);
        let trailer = all.len() - TRAILER;
        let blocks = u32_at(trailer + 4) as usize;
        if body_len > len {
            return Err(damaged(path, "length"));
        }
        let covered = HEADER as u64 + body_len;
        let fits = all[trailer..trailer + 4] == END
            && crc32fast::hash(&all[trailer..trailer + 12]) == u32_at(trailer + 12)
            && covered.div_ceil(BLOCK as u64) == blocks as u64
            && covered + blocks as u64 * 4 + TRAILER as u64 == len;
        if !fits {
            return Err(damaged(path, "trailer"));
        }
        let table = &all[covered as usize..trailer];
        let crc = crc32fast::hash(table);
        if crc != u32_at(trailer + 8) || expected.is_some_and(|expected| expected.crc != crc) {
            return Err(damaged(path, "block table"));
        }
        let crcs = table.as_chunks::<4>().0.iter().map(|crc| u32::from_le_bytes(*crc)).collect();
        let verified = (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let frame = Self {
            path: path.to_owned(),
            bytes,
            body_len: body_len as usize,
            crcs,
            verified,
            all_verified: AtomicBool::new(false),
        };
        Ok(frame)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn body_len(&self) -> usize {
        self.body_len
    }

    /// Bytes of the body, checked. The range must lie in the body.
    #[inline]
    pub(super) fn get(&self, range: Range<usize>) -> Result<&[u8]> {
        if !self.all_verified.load(Ordering::Acquire) {
            self.verify(range.clone())?;
        }
        Ok(&self.bytes.as_slice()[HEADER + range.start..HEADER + range.end])
    }

    /// Bytes of the body which may not have been checked, for a prefetch.
    #[inline]
    pub(super) fn peek(&self, range: Range<usize>) -> &[u8] {
        &self.bytes.as_slice()[HEADER + range.start..HEADER + range.end]
    }

    /// Checks every block that was not checked yet.
    pub(super) fn verify_all(&self) -> Result<()> {
        if !self.all_verified.load(Ordering::Acquire) {
            self.verify(0..self.body_len)?;
            self.all_verified.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Checks every block, also those checked before: what a scrubber asks.
    pub(super) fn verify_again(&self) -> Result<()> {
        (0..self.crcs.len()).try_for_each(|block| self.verify_block(block))
    }

    fn verify(&self, range: Range<usize>) -> Result<()> {
        if range.end > self.body_len || range.start > range.end {
            return Err(damaged(&self.path, "a place outside of it is named"));
        }
        // An empty body still has its header's block.
        let (first, last) = ((HEADER + range.start) / BLOCK, (HEADER + range.end).div_ceil(BLOCK));
        for block in first..last {
            if self.verified[block / 64].load(Ordering::Acquire) >> (block % 64) & 1 == 0 {
                self.verify_block(block)?;
                self.verified[block / 64].fetch_or(1 << (block % 64), Ordering::AcqRel);
            }
        }
        Ok(())
    }

    /// Where a block ends in the file.
    fn block_end(&self, block: usize) -> usize {
        (HEADER + self.body_len).min((block + 1) * BLOCK)
    }

    fn verify_block(&self, block: usize) -> Result<()> {
        if crc32fast::hash(&self.bytes.as_slice()[block * BLOCK..self.block_end(block)]) == self.crcs[block]
            || planted(Fault::FileTrusted)
        {
            return Ok(());
        }
        Err(damaged(&self.path, format!("block {block}")))
    }
}

/// Reads a file whole and checks all of it, whatever it holds; it must be the one that is named. Damage is `XX001`.
pub fn verify_file(fs: &dyn FileSystem, path: &Path, expected: &FileEntry) -> Result<()> {
    Frame::open_any(fs, path, None, Some(expected))?.verify_all()
}

/// The blocks of a file that fail their checksum: where each begins, and its length in bytes. A file whose frame cannot be read is
/// an error, `XX001`.
pub fn damaged_blocks(fs: &dyn FileSystem, path: &Path, expected: &FileEntry) -> Result<Vec<(u64, usize)>> {
    let frame = Frame::open_any(fs, path, None, Some(expected))?;
    let failing = (0..frame.crcs.len()).filter(|&block| frame.verify_block(block).is_err());
    Ok(failing.map(|block| ((block * BLOCK) as u64, frame.block_end(block) - block * BLOCK)).collect())
}

/// Reads a body from its start, a block at a time: each is copied, and the copy checked, so that what is given is what was checked even
/// where a failing disk changes a mapped page in between.
pub(super) struct BodyReader<'a> {
    frame: &'a Frame,
    block: Vec<u8>,
    /// What was given of the block.
    at: usize,
    /// The block after it.
    next: usize,
}

impl<'a> BodyReader<'a> {
    pub(super) fn new(frame: &'a Frame) -> Self {
        Self { frame, block: Vec::with_capacity(BLOCK), at: 0, next: 0 }
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() && self.next < self.frame.crcs.len() {
            let end = self.frame.block_end(self.next);
            self.block.clear();
            self.block.extend_from_slice(&self.frame.bytes.as_slice()[self.next * BLOCK..end]);
            if crc32fast::hash(&self.block) != self.frame.crcs[self.next] {
                return Err(io::Error::other(damaged(&self.frame.path, format!("block {}", self.next))));
            }
            self.at = if self.next == 0 { HEADER } else { 0 };
            self.next += 1;
        }
        let taken = into.len().min(self.block.len() - self.at);
        into[..taken].copy_from_slice(&self.block[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// The body of a frame as owned bytes, for readers that keep buffers into it.
pub(super) struct Body(pub(super) Arc<Frame>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.peek(0..self.0.body_len)
    }
}
