//! The log itself: appending into a buffer, group commit, rotation, idle marks, truncation.
//!
//! One mutex guards the state; file-system calls happen outside it. Two flags say who may make them:
//!
//! - `io_busy`: somebody writes to or syncs the active segment. Whoever finds it unset may set it, takes the whole buffer, and
//!   does one write (and one sync) for everybody who appended so far. The rest wait: that is the group commit.
//! - `rotating`: an append is moving to the next segment. Other appends wait, so a batch keeps consecutive LSNs.
//!
//! INVARIANT 3: `durable_lsn` moves only after a sync that covers it returned `Ok`. INVARIANT 4: after a failed write or sync
//! `poisoned` is set and never unset. INVARIANT 5: the old segment is synced before anything is written into the new one.

mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::background;
use crate::fs::{FileSystem, write_all_at};
use crate::killpoint::reach;
use crate::options::Planted;
use crate::reader::LogReader;
use crate::recovery::recover;
use crate::segment::{
    END_MARK_BYTES, SegmentFile, SegmentHeader, Spare, choose_segment_id, make_spare, parse_segment_name,
    publish_segment, segment_path,
};
use crate::{LogError, LogOptions, Lsn};

use state::Active;
pub(crate) use state::State;

/// An append that leaves this much in the buffer writes it out, without syncing.
const WRITE_OUT_BYTES: usize = 1 << 20;
/// With this much in the buffer an append waits for a running write or sync.
const MAX_BUFFERED_BYTES: usize = 8 << 20;

/// A write-ahead log: opaque records, numbered densely, durable when [`Log::sync`] says so. Used from many threads through `&self`.
///
/// Dropping it neither writes nor syncs what is buffered; [`Log::close`] does.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the log and its background threads have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) state: Mutex<State>,
    /// Something changed that a caller may wait for: `io_busy`, `rotating`, `durable_lsn`, the spare, the poison.
    pub(crate) changed: Condvar,
    /// A spare is wanted, or the log is going away.
    pub(crate) spare_wanted: Condvar,
    /// There is something an idle mark could vouch for, or the log is going away.
    pub(crate) mark_wanted: Condvar,
}

impl Log {
    /// Opens the log in `dir`, creating the directory and the first segment if there are none.
    ///
    /// `first_needed` is the oldest LSN the caller will replay: everything from there on is verified here. `floor` is the LSN the
    /// caller knows the log had reached; an end below it (or below `first_needed - 1`) is [`LogError::BelowFloor`]. An empty directory
    /// starts at `first_needed`. All records found are durable when this returns.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        options: LogOptions,
        first_needed: Lsn,
        floor: Lsn,
    ) -> Result<Log, LogError> {
        options.validate()?;
        let recovered = recover(fs.as_ref(), dir, &options, first_needed, floor)?;
        let shared = Arc::new(Shared {
            fs,
            dir: dir.to_owned(),
            state: Mutex::new(State::new(recovered)),
            changed: Condvar::new(),
            spare_wanted: Condvar::new(),
            mark_wanted: Condvar::new(),
            options,
        });
        let threads = if shared.options.background { background::spawn(&shared)? } else { Vec::new() };
        Ok(Log { shared, threads })
    }

    /// Whether there is a log in `dir`: a segment, whatever is in it. There is one from [`Log::open`] on, for good.
    pub fn exists(fs: &dyn FileSystem, dir: &Path) -> std::io::Result<bool> {
        Ok(fs.exists(dir)? && fs.read_dir(dir)?.iter().any(|entry| parse_segment_name(&entry.name).is_some()))
    }

    /// The records from `lsn` on that have been written, in order; what is still in the buffer is not among them. Meant for recovery,
    /// right after opening.
    pub fn read_from(&self, lsn: Lsn) -> Result<LogReader, LogError> {
        let shared = &self.shared;
        let state = shared.state.lock();
        let (fs, options) = (Arc::clone(&shared.fs), shared.options.clone());
        LogReader::new(fs, &shared.dir, options, &state.segments, lsn, state.written_lsn)
    }

    /// Appends records with consecutive LSNs and gives the last one's. They are buffered: durable only after [`Log::sync`].
    ///
    /// After `TooLarge`, and after an `Io` error that left the log unpoisoned (no room for a new segment), nothing was appended.
    pub fn append(&self, records: &[&[u8]]) -> Result<Lsn, LogError> {
        let limit = self.shared.options.max_record_bytes;
        if let Some(large) = records.iter().find(|record| record.len() > limit as usize) {
            return Err(LogError::TooLarge { bytes: large.len() as u64, limit: limit.into() });
        }
        let batch_bytes: u64 = records.iter().map(|record| crate::frame::frame_bytes(record.len())).sum();
        let shared = self.shared.as_ref();
        let mut state = shared.state.lock();
        while state.rotating && !state.poisoned {
            shared.changed.wait(&mut state);
        }
        state.check()?;
        // A small batch is not worth splitting: so a full disk refuses it as a whole.
        if batch_bytes > state.room() && batch_bytes <= shared.options.segment_bytes / 8 {
            shared.rotate(&mut state)?;
        }
        let first = state.last_lsn + 1;
        for record in records {
            if crate::frame::frame_bytes(record.len()) > state.room()
                && let Err(error) = shared.rotate(&mut state)
            {
                if state.last_lsn >= first {
                    // Part of the batch has LSNs and may be on its way to disk: only a new opening can say what became of it.
                    shared.poison(&mut state);
                }
                return Err(error);
            }
            state.encode(record, &shared.options);
        }
        let last = state.last_lsn;
        let buffered = state.buffer.len();
        if buffered >= MAX_BUFFERED_BYTES || (buffered >= WRITE_OUT_BYTES && !state.io_busy) {
            shared.write_out(&mut state, false)?;
        }
        Ok(last)
    }

    /// Sees that records of so many bytes find room, in the active segment or in one that is ready to follow it.
    ///
    /// # Errors
    /// There is none on the disk. Nothing has happened then, and the log goes on.
    pub fn make_room(&self, bytes: u64) -> Result<(), LogError> {
        let shared = self.shared.as_ref();
        let mut state = shared.state.lock();
        if bytes <= state.room() || state.spare.is_some() {
            return Ok(());
        }
        state.check()?;
        let spare = shared.wait_for_spare(&mut state)?;
        state.spare = Some(spare);
        Ok(())
    }

    /// Returns once `lsn` is durable. Callers that arrive while a sync runs share the next one. An LSN not yet handed out means
    /// everything appended so far.
    pub fn sync(&self, lsn: Lsn) -> Result<(), LogError> {
        let shared = self.shared.as_ref();
        let mut state = shared.state.lock();
        let lsn = lsn.min(state.last_lsn);
        loop {
            if state.durable_lsn >= lsn {
                return Ok(());
            }
            state.check()?;
            if state.io_busy {
                shared.changed.wait(&mut state);
            } else {
                shared.write_out(&mut state, true)?;
            }
        }
    }

    /// Hands everything appended to the operating system without waiting for the disk: it then survives the end of the process, but
    /// not of the machine.
    pub fn flush(&self) -> Result<(), LogError> {
        let shared = self.shared.as_ref();
        shared.write_out(&mut shared.state.lock(), false)
    }

    /// The highest LSN known to be on disk.
    pub fn durable_lsn(&self) -> Lsn {
        self.shared.state.lock().durable_lsn
    }

    /// The highest LSN handed out.
    pub fn last_lsn(&self) -> Lsn {
        self.shared.state.lock().last_lsn
    }

    /// Removes the segments all of whose records are below `lsn`; the active one always stays.
    pub fn truncate_before(&self, lsn: Lsn) -> Result<(), LogError> {
        let shared = self.shared.as_ref();
        let lsn = if shared.options.is_planted(Planted::TruncateTooMuch) { Lsn::MAX } else { lsn };
        let mut removed = false;
        loop {
            let mut state = shared.state.lock();
            let Some([oldest, next]) = state.segments.first_chunk() else {
                break;
            };
            if next.first_lsn > lsn {
                break;
            }
            let path = oldest.path.clone();
            // Oldest first, so that what is left after a crash reaches from some record to the end, but for what nobody needs.
            state.segments.remove(0);
            drop(state);
            reach("log: before segments are removed");
            shared.fs.remove_file(&path).map_err(LogError::io("remove", &path))?;
            reach("log: after segments were removed");
            removed = true;
        }
        if removed {
            shared.fs.sync_dir(&shared.dir).map_err(LogError::io("sync directory", &shared.dir))?;
        }
        Ok(())
    }

    /// Bytes the segments take on disk, without the spare.
    pub fn size_bytes(&self) -> u64 {
        self.shared.state.lock().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether a write or sync failed, so that nothing is acknowledged any more.
    pub fn is_poisoned(&self) -> bool {
        self.shared.state.lock().poisoned
    }

    /// Writes an idle mark if everything appended is durable and none was written since: so that damage to the last records can be
    /// told from a torn tail. Says whether it wrote one. The background does this by itself after a quiet moment.
    pub fn write_idle_mark(&self) -> Result<bool, LogError> {
        self.shared.write_idle_mark()
    }

    /// Makes everything appended durable, writes an idle mark and makes that durable too. The log stays usable.
    pub fn close(&self) -> Result<(), LogError> {
        self.sync(Lsn::MAX)?;
        self.write_idle_mark()?;
        let shared = self.shared.as_ref();
        let mut state = shared.state.lock();
        while state.io_busy {
            shared.changed.wait(&mut state);
        }
        state.check()?;
        shared.write_out(&mut state, true)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.spare_wanted.notify_all();
        self.shared.mark_wanted.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Waits until nobody else writes or syncs, then writes the buffer and, if asked, syncs: for everybody who appended so far.
    fn write_out(&self, state: &mut MutexGuard<'_, State>, sync: bool) -> Result<(), LogError> {
        while state.io_busy {
            self.changed.wait(state);
        }
        state.check()?;
        let target = state.last_lsn;
        let mut buffer = state.take_buffer();
        let at = state.active.offset - buffer.len() as u64;
        let file = Arc::clone(&state.active.file);
        let first_lsn = state.active.header.first_lsn;
        state.io_busy = true;
        let result = MutexGuard::unlocked(state, || {
            reach("log: before a write");
            write_all_at(file.as_ref(), &buffer, at)?;
            reach("log: between a write and its sync");
            if sync && !self.options.is_planted(Planted::AckBeforeSync) {
                let synced = file.sync_data();
                if self.options.is_planted(Planted::RetrySync) {
                    synced.or_else(|_| file.sync_data())?
                } else {
                    synced?
                }
            }
            Ok(())
        });
        state.io_busy = false;
        if let Err(source) = result {
            self.poison(state);
            let path = segment_path(&self.dir, first_lsn);
            return Err(LogError::Io { action: if sync { "write and sync" } else { "write" }, path, source });
        }
        reach("log: after a sync");
        buffer.clear();
        state.keep_buffer(buffer);
        state.written_lsn = target;
        if sync {
            state.durable_lsn = target;
            if state.mark_waits {
                self.mark_wanted.notify_one();
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Moves to a new segment. Other appends wait meanwhile.
    fn rotate(&self, state: &mut MutexGuard<'_, State>) -> Result<(), LogError> {
        state.rotating = true;
        let rotated = self.rotate_alone(state);
        state.rotating = false;
        self.changed.notify_all();
        rotated
    }

    fn rotate_alone(&self, state: &mut MutexGuard<'_, State>) -> Result<(), LogError> {
        // The spare first: if the disk is full nothing has happened yet.
        let spare = self.wait_for_spare(state)?;
        // ORDER: the old segment is whole on disk before the new one is written to (INVARIANT 5).
        let sync = !self.options.is_planted(Planted::NoSyncAtRotation);
        self.write_out(state, sync)?;
        let number = state.active.header.number + 1;
        let first_lsn = state.last_lsn + 1;
        let header = SegmentHeader {
            segment_bytes: spare.bytes,
            number,
            segment_id: choose_segment_id(&self.options, number, first_lsn),
            first_lsn,
            prev_crc: state.prev_crc,
        };
        let path = segment_path(&self.dir, first_lsn);
        reach("log: before a segment begins");
        state.io_busy = true;
        let published = MutexGuard::unlocked(state, || {
            publish_segment(self.fs.as_ref(), &self.dir, spare, &header, &[], &[], &self.options)
        });
        state.io_busy = false;
        let file = match published {
            Ok(file) => file,
            Err(source) => {
                self.poison(state);
                return Err(LogError::Io { action: "begin segment", path, source });
            }
        };
        reach("log: after a segment began");
        state.segments.push(SegmentFile { first_lsn, path, bytes: header.segment_bytes });
        state.active = Active { file, offset: crate::segment::HEADER_BYTES, header };
        state.marked = true;
        self.spare_wanted.notify_one();
        Ok(())
    }

    /// Takes the spare the background made, or makes one.
    fn wait_for_spare(&self, state: &mut MutexGuard<'_, State>) -> Result<Spare, LogError> {
        let bytes = self.options.segment_bytes;
        if !self.options.background {
            if let Some(spare) = state.spare.take().filter(|spare| spare.bytes == bytes) {
                return Ok(spare);
            }
            return MutexGuard::unlocked(state, || make_spare(self.fs.as_ref(), &self.dir, bytes))
                .map_err(LogError::io("make segment in", &self.dir));
        }
        // An old failure says nothing about now: let the background try again.
        state.spare_error = None;
        loop {
            if let Some(spare) = state.spare.take() {
                return Ok(spare);
            }
            if let Some(source) = state.spare_error.take() {
                return Err(LogError::Io { action: "make segment in", path: self.dir.clone(), source });
            }
            state.check()?;
            self.spare_wanted.notify_one();
            self.changed.wait(state);
        }
    }

    pub(crate) fn write_idle_mark(&self) -> Result<bool, LogError> {
        let mut state = self.state.lock();
        state.check()?;
        if !state.wants_mark() || state.io_busy || state.rotating {
            return Ok(false);
        }
        reach("log: before an idle mark");
        let (mark, at) = state.encode_mark();
        let file = Arc::clone(&state.active.file);
        state.io_busy = true;
        let end = state.active.header.segment_bytes - END_MARK_BYTES;
        let result = MutexGuard::unlocked(&mut state, || {
            write_all_at(file.as_ref(), &mark, at)?;
            write_all_at(file.as_ref(), &mark, end)
        });
        state.io_busy = false;
        if let Err(source) = result {
            self.poison(&mut state);
            let path = segment_path(&self.dir, state.active.header.first_lsn);
            return Err(LogError::Io { action: "write", path, source });
        }
        self.changed.notify_all();
        Ok(true)
    }

    /// Stops the log for good. Everybody who waits fails.
    fn poison(&self, state: &mut State) {
        if !state.poisoned {
            tracing::error!(dir = %self.dir.display(), durable_lsn = state.durable_lsn, "log is stopped: a write or sync failed");
        }
        state.poisoned = true;
        self.changed.notify_all();
        self.spare_wanted.notify_all();
        self.mark_wanted.notify_all();
    }
}
