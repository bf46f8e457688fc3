//! Segment files: their names, their header, making one ready ahead of need, and putting one into use.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::frame::{u32_at, u64_at};
use crate::fs::{File, FileSystem, OpenMode, read_exact_at, write_all_at};
use crate::options::Planted;
use crate::walk::is_zero;
use crate::{LogError, LogOptions, Lsn};

/// Bytes of a segment's header: one sector.
pub(crate) const HEADER_BYTES: u64 = 512;
/// Idle marks start at multiples of this, so that a mark is never in the sector of the record it vouches for, unless that one
/// ends there.
pub(crate) const MARK_ALIGN: usize = 512;
/// The last sector of a segment holds a copy of the newest idle mark, far from the records it vouches for: a page lost whole takes
/// the last record and the mark after it together.
pub(crate) const END_MARK_BYTES: u64 = 512;
/// Kept free of records at the end of a segment: room for one more idle mark, and the end mark.
pub(crate) const TAIL_RESERVE_BYTES: u64 = MARK_ALIGN as u64 + 512 + END_MARK_BYTES;

const MAGIC: [u8; 8] = *b"LODEDBWL";
const FORMAT_VERSION: u32 = 1;
const BLOCK_BYTES: usize = 1 << 20;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment_bytes: u64,
    /// Grows from segment to segment; gaps are allowed.
    pub(crate) number: u64,
    /// Unguessable, and repeated in each frame, so that a record's payload cannot pass for frames of this segment.
    pub(crate) segment_id: u64,
    pub(crate) first_lsn: Lsn,
    /// Header checksum of record `first_lsn - 1`; 0 at the start of a log.
    pub(crate) prev_crc: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.segment_id.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_lsn.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.prev_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..508]);
        bytes[508..512].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, &'static str> {
        let bytes: &[u8; HEADER_BYTES as usize] = bytes.first_chunk().ok_or("segment has no whole header")?;
        if crc32fast::hash(&bytes[..508]) != u32_at(bytes, 508) || bytes[0..8] != MAGIC {
            return Err("segment header is not what was written");
        }
        if u32_at(bytes, 8) != FORMAT_VERSION {
            return Err("segment has another format version");
        }
        let header = SegmentHeader {
            segment_bytes: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            segment_id: u64_at(bytes, 32),
            first_lsn: u64_at(bytes, 40),
            prev_crc: u32_at(bytes, 48),
        };
        if !is_zero(&bytes[12..16]) || !is_zero(&bytes[52..508]) {
            return Err("segment header says more than this version knows");
        }
        let sizes = LogOptions::MIN_SEGMENT_BYTES..=LogOptions::MAX_SEGMENT_BYTES;
        if !(1..Lsn::MAX >> 1).contains(&header.first_lsn) || !sizes.contains(&header.segment_bytes) {
            return Err("segment header makes no sense");
        }
        Ok(header)
    }
}

/// A segment known by its file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) first_lsn: Lsn,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

pub(crate) fn segment_path(dir: &Path, first_lsn: Lsn) -> PathBuf {
    dir.join(format!("{first_lsn:020}.wal"))
}

pub(crate) fn parse_segment_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".wal")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

/// A segment read into memory, its header checked against its name and length.
#[derive(Debug)]
pub(crate) struct LoadedSegment {
    pub(crate) header: SegmentHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) file: Arc<dyn File>,
}

/// Reads a whole segment. What is not as long as it says, or not what its name says, is damage.
pub(crate) fn load_segment(
    fs: &dyn FileSystem,
    segment: &SegmentFile,
    mode: OpenMode,
    options: &LogOptions,
) -> Result<LoadedSegment, LogError> {
    let damaged =
        |offset: u64, reason| LogError::Damaged { file: segment.path.clone(), offset, lsn: segment.first_lsn, reason };
    let file = fs.open(&segment.path, mode).map_err(LogError::io("open", &segment.path))?;
    let len = file.len().map_err(LogError::io("read length of", &segment.path))?;
    if len < HEADER_BYTES {
        return Err(damaged(len, "segment file is too short"));
    }
    let mut bytes = vec![0; HEADER_BYTES as usize];
    read_exact_at(file.as_ref(), &mut bytes, 0).map_err(LogError::io("read", &segment.path))?;
    let mut header = SegmentHeader::decode(&bytes).map_err(|reason| damaged(0, reason))?;
    if header.first_lsn != segment.first_lsn {
        return Err(damaged(40, "segment has the name of another"));
    }
    if options.is_planted(Planted::TrustFileLength) {
        header.segment_bytes = header.segment_bytes.min(len);
    }
    if len < header.segment_bytes {
        return Err(damaged(len, "segment file is shorter than it was made"));
    }
    bytes.resize(header.segment_bytes as usize, 0);
    read_exact_at(file.as_ref(), &mut bytes[HEADER_BYTES as usize..], HEADER_BYTES)
        .map_err(LogError::io("read", &segment.path))?;
    Ok(LoadedSegment { header, bytes, file })
}

/// A file of zeros, on disk, ready to become a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
}

pub(crate) fn spare_path(dir: &Path) -> PathBuf {
    dir.join("spare")
}

pub(crate) fn unfinished_spare_path(dir: &Path) -> PathBuf {
    dir.join("spare.tmp")
}

/// Makes a spare: zeros, synced, then named, so that a file called `spare` is whole. Its space is then allocated for good, and
/// writing into it changes no metadata.
pub(crate) fn make_spare(fs: &dyn FileSystem, dir: &Path, bytes: u64) -> io::Result<Spare> {
    let tmp = unfinished_spare_path(dir);
    let file = match fs.open(&tmp, OpenMode::CreateNew) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs.remove_file(&tmp)?;
            fs.open(&tmp, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    let filled = fill_with_zeros(file.as_ref(), bytes);
    if let Err(e) = filled.and_then(|()| file.sync_all()).and_then(|()| fs.rename(&tmp, &spare_path(dir))) {
        // Most often the disk is full: give back what was taken. A leftover would be removed at the next opening.
        let _ = fs.remove_file(&tmp);
        return Err(e);
    }
    Ok(Spare { file, bytes })
}

/// Whether the first `bytes` bytes of a file are all zero.
pub(crate) fn is_zero_file(file: &dyn File, bytes: u64) -> io::Result<bool> {
    let mut block = vec![0; BLOCK_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(block.len() as u64) as usize;
        read_exact_at(file, &mut block[..n], at)?;
        if !is_zero(&block[..n]) {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}

fn fill_with_zeros(file: &dyn File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; BLOCK_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(zeros.len() as u64);
        write_all_at(file, &zeros[..n as usize], at)?;
        at += n;
    }
    Ok(())
}

/// Turns a spare into the segment `header` describes, starting with `frames`; replaces a segment of that name as a whole.
pub(crate) fn publish_segment(
    fs: &dyn FileSystem,
    dir: &Path,
    spare: Spare,
    header: &SegmentHeader,
    frames: &[u8],
    end_mark: &[u8],
    options: &LogOptions,
) -> io::Result<Arc<dyn File>> {
    let path = segment_path(dir, header.first_lsn);
    let mut start = header.encode().to_vec();
    start.extend_from_slice(frames);
    write_all_at(spare.file.as_ref(), &start, 0)?;
    write_all_at(spare.file.as_ref(), end_mark, header.segment_bytes - END_MARK_BYTES)?;
    // ORDER: content, name, directory. CRASH: before the directory is synced the segment may be missing or there, but if it is there
    // it is whole, and no frame that anybody waits for is in it alone.
    if !options.is_planted(Planted::NameBeforeSync) {
        spare.file.sync_data()?;
    }
    fs.rename(&spare_path(dir), &path)?;
    if !options.is_planted(Planted::NoDirSync) {
        fs.sync_dir(dir)?;
    }
    Ok(spare.file)
}

/// An identity for a new segment.
pub(crate) fn choose_segment_id(options: &LogOptions, number: u64, first_lsn: Lsn) -> u64 {
    match options.segment_id_seed {
        // Spread by multiplication: distinct for distinct (number, lsn) of one test, and no more is asked of it.
        Some(seed) => (seed ^ number.rotate_left(32) ^ first_lsn).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        None => RandomState::new().hash_one((number, first_lsn)) | 1,
    }
}
