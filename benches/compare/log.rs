//! What a server's log has taken: bytes and syncs between two moments.
//!
//! PostgreSQL tells. LodeDB's log is read as `wal/FORMAT.md` has it: each frame says what was durable when it was made, so that there
//! were as many syncs as there are different answers.

use std::path::{Path, PathBuf};

use crate::servers::Server;
use crate::wire::{Client, Result};

const SEGMENT_HEADER: usize = 512;
const FRAME_HEADER: usize = 48;
/// What idle marks begin at a multiple of.
const MARK_ALIGN: usize = 512;

/// A moment of a log.
pub(crate) struct Moment {
    /// LodeDB's last record, or the end of PostgreSQL's log.
    at: u64,
    /// PostgreSQL's syncs so far.
    syncs: u64,
}

/// What was logged since a moment.
pub(crate) struct Logged {
    pub(crate) bytes: u64,
    pub(crate) syncs: u64,
}

impl Server {
    fn wal(&self) -> PathBuf {
        self.data().join("wal")
    }

    /// How far its log is. PostgreSQL counts the syncs of a session at its end, or a second later.
    pub(crate) fn log_moment(&self) -> Result<Moment> {
        match self {
            Self::Lodedb { .. } => Ok(Moment { at: read(&self.wal(), 0)?.last_lsn, syncs: 0 }),
            Self::Postgres { .. } => {
                let mut client = self.connect()?;
                let at = number(&mut client, "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint")?;
                Ok(Moment { at, syncs: number(&mut client, "SELECT wal_sync FROM pg_stat_wal")? })
            }
        }
    }

    /// Which checkpoint recovery would begin at.
    pub(crate) fn last_checkpoint(&self) -> Result<String> {
        let names = match self {
            Self::Lodedb { data, .. } => {
                let manifests = std::fs::read_dir(data.join("manifest")).map_err(|error| error.to_string())?;
                manifests.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
            Self::Postgres { .. } => self.connect()?.simple("SELECT redo_lsn::text FROM pg_control_checkpoint()")?,
        };
        names.into_iter().max().ok_or_else(|| "there is no checkpoint".into())
    }

    /// What it logged since then.
    pub(crate) fn logged_since(&self, moment: &Moment) -> Result<Logged> {
        match self {
            Self::Lodedb { .. } => Ok(read(&self.wal(), moment.at)?.logged),
            Self::Postgres { .. } => {
                let now = self.log_moment()?;
                Ok(Logged { bytes: now.at - moment.at, syncs: now.syncs - moment.syncs })
            }
        }
    }
}

fn number(client: &mut Client, sql: &str) -> Result<u64> {
    let rows = client.simple(sql)?;
    rows.first().and_then(|value| value.parse().ok()).ok_or_else(|| format!("no number: {sql}"))
}

/// The records after one of them.
struct Tail {
    last_lsn: u64,
    /// What was durable when the last of them was made.
    durable: Option<u64>,
    logged: Logged,
}

/// Reads the records after `after`.
fn read(wal: &Path, after: u64) -> Result<Tail> {
    let failed = |error: std::io::Error| format!("{}: {error}", wal.display());
    let entries = std::fs::read_dir(wal).map_err(failed)?;
    let mut segments: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    segments.sort(); // by their first records
    let mut tail = Tail { last_lsn: after, durable: None, logged: Logged { bytes: 0, syncs: 0 } };
    for segment in segments {
        read_segment(&std::fs::read(&segment).map_err(failed)?, &mut tail);
    }
    Ok(tail)
}

fn read_segment(bytes: &[u8], tail: &mut Tail) {
    let Some(identity) = bytes.get(32..40) else { return };
    let frame = |at: usize| {
        let header = bytes.get(at..at + FRAME_HEADER)?;
        (header.starts_with(b"LDFR") && &header[16..24] == identity).then_some(header)
    };
    let mut at = SEGMENT_HEADER;
    loop {
        let Some(header) = frame(at) else {
            // Zeros before an idle mark, or the end.
            let mark = at.next_multiple_of(MARK_ALIGN);
            if mark == at || frame(mark).is_none() {
                return;
            }
            at = mark;
            continue;
        };
        let len = number_at(header, 4, 4) as usize;
        let frame_bytes = (FRAME_HEADER + len).next_multiple_of(8);
        let (lsn, durable) = (number_at(header, 24, 8), number_at(header, 32, 8));
        let is_record = header[8] == 1;
        if is_record && lsn > tail.last_lsn {
            tail.last_lsn = lsn;
            tail.logged.bytes += frame_bytes as u64;
            tail.logged.syncs += u64::from(tail.durable.replace(durable) != Some(durable));
        }
        at += frame_bytes;
    }
}

fn number_at(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
