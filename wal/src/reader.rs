//! Reading a log from an LSN on, segment by segment, each verified before its first record is given out.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::fs::{FileSystem, OpenMode};
use crate::options::Planted;
use crate::recovery::{check_follows, check_reached, find_segment};
use crate::segment::{LoadedSegment, SegmentFile, load_segment};
use crate::walk::Walk;
use crate::{LogError, LogOptions, Lsn};

/// The records of a log in order: made by [`Log::read_from`](crate::Log::read_from). After an error it yields nothing more.
#[derive(Debug)]
pub struct LogReader {
    fs: Arc<dyn FileSystem>,
    options: LogOptions,
    left: VecDeque<SegmentFile>,
    current: Option<Current>,
    from: Lsn,
    /// The last record to give out.
    end: Lsn,
}

#[derive(Debug)]
struct Current {
    segment: SegmentFile,
    loaded: LoadedSegment,
    walk: Walk,
    /// The first record that is not read from this segment.
    bound: Lsn,
}

impl LogReader {
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        options: LogOptions,
        segments: &[SegmentFile],
        from: Lsn,
        end: Lsn,
    ) -> Result<LogReader, LogError> {
        let from = from.max(1);
        let left = if from > end {
            VecDeque::new()
        } else {
            segments[find_segment(dir, segments, from)?..]
                .iter()
                .filter(|segment| segment.first_lsn <= end)
                .cloned()
                .collect()
        };
        Ok(LogReader { fs, options, left, current: None, from, end })
    }

    fn advance(&mut self) -> Result<Option<(Lsn, Vec<u8>)>, LogError> {
        loop {
            if let Some(current) = &mut self.current {
                while let Some((lsn, payload)) = current.walk.next(&current.loaded.bytes, current.bound) {
                    if lsn >= self.from {
                        return Ok(Some((lsn, current.loaded.bytes[payload].to_vec())));
                    }
                }
                if !self.options.is_planted(Planted::ReplayTwice) {
                    check_reached(&current.segment, &current.walk, current.bound)?;
                }
            }
            let Some(segment) = self.left.pop_front() else {
                return Ok(None);
            };
            let before = self.current.take().map(|done| (done.loaded.header.number, done.walk));
            let loaded = load_segment(self.fs.as_ref(), &segment, OpenMode::Read, &self.options)?;
            if !self.options.is_planted(Planted::ReplayTwice) {
                check_follows(&segment, &loaded.header, before.as_ref())?;
            }
            let walk = Walk::new(&loaded.header);
            let mut bound = self.left.front().map_or(self.end + 1, |next| next.first_lsn);
            if self.options.is_planted(Planted::ReplayTwice) {
                bound = Lsn::MAX;
            }
            self.current = Some(Current { segment, loaded, walk, bound });
        }
    }
}

impl Iterator for LogReader {
    type Item = Result<(Lsn, Vec<u8>), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.advance();
        if record.is_err() {
            self.left.clear();
            self.current = None;
        }
        record.transpose()
    }
}
