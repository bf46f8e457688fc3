//! Opening a log: finding its segments, verifying what will be replayed, finding the end, and making what was found durable.
//!
//! 1. List the segments; the one holding `first_needed` and all after it are read whole and verified frame by frame.
//! 2. Every segment but the last must reach the record before the next one's first: what is missing there was durable (the old
//!    segment is synced before the new one is used), so it is damage.
//! 3. In the last segment the first bad frame ends the log, unless a later frame proves that the missing record was durable.
//! 4. The end must reach the floor.
//! 5. Records at the end that no later frame proves durable were read from a page cache that may show more than the disk holds.
//!    They are written again, into a new segment that is synced before it gets its name; the walk of the old segment stops where the
//!    new one begins. So is a torn tail left behind, without overwriting anything.
//!
//! CRASH: until step 5 nothing but leftovers was changed; step 5 is one atomic publish. Recovering twice is recovering once.

use std::path::Path;
use std::sync::Arc;

use crate::frame::{FrameHeader, FrameKind, encode_record};
use crate::fs::{File, FileSystem, OpenMode, drop_cached_pages, parent_of};
use crate::options::Planted;
use crate::segment::{
    HEADER_BYTES, LoadedSegment, MARK_ALIGN, SegmentFile, SegmentHeader, Spare, choose_segment_id, is_zero_file,
    load_segment, make_spare, parse_segment_name, publish_segment, segment_path, spare_path, unfinished_spare_path,
};
use crate::walk::{TailState, Walk};
use crate::{LogError, LogOptions, Lsn};

/// What an opened log starts from. Everything up to `last_lsn` is durable.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
    pub(crate) offset: u64,
    pub(crate) last_lsn: Lsn,
    pub(crate) prev_crc: u32,
    pub(crate) marked: bool,
    pub(crate) spare: Option<Spare>,
}

pub(crate) fn recover(
    fs: &dyn FileSystem,
    dir: &Path,
    options: &LogOptions,
    first_needed: Lsn,
    floor: Lsn,
) -> Result<Recovered, LogError> {
    ensure_directory(fs, dir, options)?;
    let segments = list_segments(fs, dir)?;
    let first_needed = first_needed.max(1);
    let Some(newest) = segments.last().cloned() else {
        let last = first_needed - 1;
        if last < floor {
            return Err(LogError::BelowFloor { last: 0, floor });
        }
        let spare = take_spare(fs, dir, options)?;
        return begin_segment(
            fs,
            dir,
            options,
            spare,
            Vec::new(),
            Start { number: 1, first_lsn: first_needed, prev_crc: 0 },
            &[],
        );
    };

    // After a failed sync the cache may show bytes the disk never got.
    drop_cached_pages(fs, &newest.path).map_err(LogError::io("open", &newest.path))?;
    let (loaded, mut walk) = verify_segments(fs, dir, &segments, first_needed, options)?;
    let last_lsn = walk.next_lsn - 1;
    let tail = walk.judge_tail(&loaded.bytes);
    if let TailState::Damaged(_) = tail
        && !options.is_planted(Planted::SkipDamage)
    {
        return Err(LogError::Damaged {
            file: newest.path,
            offset: walk.offset as u64,
            lsn: walk.next_lsn,
            reason: "record was durable and cannot be read",
        });
    }
    let floor = floor.max(first_needed - 1);
    if last_lsn < floor {
        return Err(LogError::BelowFloor { last: last_lsn, floor });
    }

    let spare = take_spare(fs, dir, options)?;
    let trusted = walk.proven >= last_lsn || options.is_planted(Planted::TrustTail);
    if tail == TailState::Clean && trusted {
        return Ok(Recovered {
            segments,
            file: loaded.file,
            header: loaded.header,
            offset: walk.offset as u64,
            last_lsn,
            prev_crc: walk.prev_crc,
            marked: walk.at_mark,
            spare,
        });
    }
    tracing::info!(
        last_lsn,
        proven = walk.proven,
        ?tail,
        "log was not closed: its unproven tail moves to a new segment"
    );
    rewrite_tail(fs, dir, options, segments, spare, &loaded, &walk)
}

fn ensure_directory(fs: &dyn FileSystem, dir: &Path, options: &LogOptions) -> Result<(), LogError> {
    if !fs.exists(dir).map_err(LogError::io("look for", dir))? {
        fs.create_dir(dir).map_err(LogError::io("create", dir))?;
    }
    // CRASH: an earlier opening may have created the directory and been cut off before this; syncing again costs little.
    fs.sync_dir(parent_of(dir)).map_err(LogError::io("sync parent directory of", dir))?;
    if options.is_planted(Planted::NoDirSyncAtOpen) {
        return Ok(());
    }
    // CRASH: and it may have named a segment and been cut off, or failed, before the name was durable.
    fs.sync_dir(dir).map_err(LogError::io("sync directory", dir))
}

fn list_segments(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<SegmentFile>, LogError> {
    let entries = fs.read_dir(dir).map_err(LogError::io("list", dir))?;
    // Names are sorted and of one length, so segments come in LSN order.
    Ok(entries
        .into_iter()
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| {
            let first_lsn = parse_segment_name(&entry.name)?;
            Some(SegmentFile { first_lsn, path: dir.join(&entry.name), bytes: entry.len })
        })
        .collect())
}

/// The place of the segment holding `lsn` among `segments`, or of damage.
pub(crate) fn find_segment(dir: &Path, segments: &[SegmentFile], lsn: Lsn) -> Result<usize, LogError> {
    segments.partition_point(|segment| segment.first_lsn <= lsn).checked_sub(1).ok_or_else(|| LogError::Damaged {
        file: segment_path(dir, lsn),
        offset: 0,
        lsn,
        reason: "segment that held this record is missing",
    })
}

/// Checks that a segment goes on where the one before it ended.
pub(crate) fn check_follows(
    segment: &SegmentFile,
    header: &SegmentHeader,
    before: Option<&(u64, Walk)>,
) -> Result<(), LogError> {
    let Some((number, walk)) = before else {
        return Ok(());
    };
    if header.number > *number && header.prev_crc == walk.prev_crc {
        return Ok(());
    }
    Err(LogError::Damaged {
        file: segment.path.clone(),
        offset: 0,
        lsn: segment.first_lsn,
        reason: "segment does not continue the one before it",
    })
}

/// Checks that a finished walk reached the record before `bound`.
pub(crate) fn check_reached(segment: &SegmentFile, walk: &Walk, bound: Lsn) -> Result<(), LogError> {
    if walk.next_lsn == bound {
        return Ok(());
    }
    Err(LogError::Damaged {
        file: segment.path.clone(),
        offset: walk.offset as u64,
        lsn: walk.next_lsn,
        reason: "record was durable and cannot be read",
    })
}

/// Verifies from the segment holding `first_needed` on; gives the last segment and where its walk ended.
fn verify_segments(
    fs: &dyn FileSystem,
    dir: &Path,
    segments: &[SegmentFile],
    first_needed: Lsn,
    options: &LogOptions,
) -> Result<(LoadedSegment, Walk), LogError> {
    let first = find_segment(dir, segments, first_needed)?;
    let mut before: Option<(u64, Walk)> = None;
    for (index, segment) in segments.iter().enumerate().skip(first) {
        let next = segments.get(index + 1);
        let mode = if next.is_some() { OpenMode::Read } else { OpenMode::ReadWrite };
        let loaded = load_segment(fs, segment, mode, options)?;
        check_follows(segment, &loaded.header, before.as_ref())?;
        let mut walk = Walk::new(&loaded.header);
        let bound = next.map_or(Lsn::MAX, |next| next.first_lsn);
        while walk.next(&loaded.bytes, bound).is_some() {}
        let Some(_) = next else {
            return Ok((loaded, walk));
        };
        check_reached(segment, &walk, bound)?;
        before = Some((loaded.header.number, walk));
    }
    // `find_segment` gave an index of an existing segment, so the loop met the last one.
    Err(LogError::Damaged { file: dir.to_owned(), offset: 0, lsn: first_needed, reason: "log has no segment" })
}

/// Removes what an interrupted opening or rotation left; keeps a spare that is whole, untouched and of the right size.
fn take_spare(fs: &dyn FileSystem, dir: &Path, options: &LogOptions) -> Result<Option<Spare>, LogError> {
    let unfinished = unfinished_spare_path(dir);
    if fs.exists(&unfinished).map_err(LogError::io("look for", &unfinished))? {
        fs.remove_file(&unfinished).map_err(LogError::io("remove", &unfinished))?;
    }
    let path = spare_path(dir);
    if !fs.exists(&path).map_err(LogError::io("look for", &path))? {
        return Ok(None);
    }
    let file = fs.open(&path, OpenMode::ReadWrite).map_err(LogError::io("open", &path))?;
    let bytes = file.len().map_err(LogError::io("read length of", &path))?;
    // CRASH: it may have been on its way to become a segment, with any of its sectors written. Frames found behind a new header
    // would be mistaken for frames of the new segment, so every byte is looked at.
    let looked_at = if options.is_planted(Planted::TrustSpare) { HEADER_BYTES } else { bytes };
    if bytes == options.segment_bytes && is_zero_file(file.as_ref(), looked_at).map_err(LogError::io("read", &path))? {
        return Ok(Some(Spare { file, bytes }));
    }
    fs.remove_file(&path).map_err(LogError::io("remove", &path))?;
    Ok(None)
}

/// Where a new segment starts.
struct Start {
    number: u64,
    first_lsn: Lsn,
    prev_crc: u32,
}

/// Writes the unproven records again, into a new segment, and vouches for them with an idle mark.
fn rewrite_tail(
    fs: &dyn FileSystem,
    dir: &Path,
    options: &LogOptions,
    mut segments: Vec<SegmentFile>,
    spare: Option<Spare>,
    loaded: &LoadedSegment,
    end: &Walk,
) -> Result<Recovered, LogError> {
    let proven = end.proven.min(end.next_lsn - 1);
    let mut walk = Walk::new(&loaded.header);
    while walk.next(&loaded.bytes, proven + 1).is_some() {}
    let start = Start { number: loaded.header.number + 1, first_lsn: proven + 1, prev_crc: walk.prev_crc };
    let mut unproven: Vec<&[u8]> = Vec::new();
    while let Some((_, payload)) = walk.next(&loaded.bytes, end.next_lsn) {
        unproven.push(&loaded.bytes[payload]);
    }
    // The old segment is replaced if nothing in it was proven.
    segments.retain(|segment| segment.first_lsn < start.first_lsn);
    begin_segment(fs, dir, options, spare, segments, start, &unproven)
}

/// Publishes a new segment holding `records`, all of which are durable once it has its name.
fn begin_segment(
    fs: &dyn FileSystem,
    dir: &Path,
    options: &LogOptions,
    spare: Option<Spare>,
    mut segments: Vec<SegmentFile>,
    start: Start,
    records: &[&[u8]],
) -> Result<Recovered, LogError> {
    // Records kept from a segment of another size must fit, with a mark.
    let size: u64 = records.iter().map(|record| crate::frame::frame_bytes(record.len())).sum();
    let needed = (HEADER_BYTES + size + crate::segment::TAIL_RESERVE_BYTES).next_multiple_of(512);
    let bytes = options.segment_bytes.max(needed);
    let spare = match spare {
        Some(spare) if spare.bytes == bytes => spare,
        _ => make_spare(fs, dir, bytes).map_err(LogError::io("make segment in", dir))?,
    };
    let header = SegmentHeader {
        segment_bytes: bytes,
        number: start.number,
        segment_id: choose_segment_id(options, start.number, start.first_lsn),
        first_lsn: start.first_lsn,
        prev_crc: start.prev_crc,
    };
    let path = segment_path(dir, start.first_lsn);
    let mut frames = Vec::new();
    let mut frame = FrameHeader {
        kind: FrameKind::Record,
        len: 0,
        payload_crc: 0,
        segment_id: header.segment_id,
        lsn: start.first_lsn,
        durable_lsn: start.first_lsn - 1,
        prev_crc: start.prev_crc,
    };
    for record in records {
        frame.prev_crc = encode_record(&mut frames, frame, record);
        frame.lsn += 1;
    }
    let last_lsn = frame.lsn - 1;
    let mut end_mark = Vec::new();
    if !records.is_empty() {
        // The claim is true whenever it can be read: the file gets its name after its bytes are synced.
        let mark = FrameHeader { kind: FrameKind::IdleMark, lsn: last_lsn, durable_lsn: last_lsn, ..frame };
        frames.resize(frames.len().next_multiple_of(MARK_ALIGN), 0);
        frames.extend_from_slice(&mark.encode().0);
        end_mark.extend_from_slice(&mark.encode().0);
    }
    let offset = HEADER_BYTES + frames.len() as u64;
    let file = publish_segment(fs, dir, spare, &header, &frames, &end_mark, options)
        .map_err(LogError::io("begin segment", &path))?;
    segments.push(SegmentFile { first_lsn: start.first_lsn, path, bytes });
    Ok(Recovered { segments, file, header, offset, last_lsn, prev_crc: frame.prev_crc, marked: true, spare: None })
}
