//! What the tests know about a log: what was submitted, what was acknowledged, and what a recovered log must therefore hold.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fs::sim::SimFileSystem;
use crate::options::Planted;
use crate::{Log, LogError, LogOptions, Lsn};

pub(crate) const DIR: &str = "/wal";
pub(crate) const MAX_RECORD: u32 = 1200;

pub(crate) fn small_options(planted: Option<Planted>) -> LogOptions {
    LogOptions {
        segment_bytes: 4096,
        max_record_bytes: MAX_RECORD,
        background: false,
        segment_id_seed: Some(7),
        planted,
        ..LogOptions::default()
    }
}

/// One step of a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Appends this many records of about this many bytes.
    Append(usize, usize),
    Flush,
    Sync,
    Mark,
    /// Truncates before an LSN this many records below the last acknowledged one.
    Truncate(u64),
    /// Closes the log in order.
    Close,
    /// Drops the log as a killed process would and opens it again.
    Reopen,
}

/// The kinds of workloads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Workload {
    SingleWriter,
    InFlight,
    Rotation,
    TruncateReopen,
}

impl Workload {
    pub(crate) const ALL: [Workload; 4] =
        [Workload::SingleWriter, Workload::InFlight, Workload::Rotation, Workload::TruncateReopen];

    pub(crate) fn steps(self, seed: u64, count: usize) -> Vec<Step> {
        let mut dice = StdRng::seed_from_u64(seed ^ (self as u64) << 32);
        let mut steps = Vec::new();
        while steps.len() < count {
            match self {
                Workload::SingleWriter => {
                    steps.extend([Step::Append(1, dice.random_range(0..120)), Step::Sync]);
                    if dice.random_ratio(1, 6) {
                        steps.push(Step::Mark);
                    }
                }
                Workload::InFlight => {
                    for _ in 0..dice.random_range(1..4) {
                        steps.push(Step::Append(dice.random_range(1..3), dice.random_range(0..500)));
                        if dice.random_ratio(2, 3) {
                            steps.push(Step::Flush);
                        }
                    }
                    if dice.random_ratio(1, 2) {
                        steps.push(Step::Sync);
                    }
                }
                Workload::Rotation => {
                    steps.push(Step::Append(dice.random_range(1..4), dice.random_range(200..1000)));
                    steps.push(if dice.random_ratio(1, 2) { Step::Sync } else { Step::Flush });
                }
                Workload::TruncateReopen => steps.push(match dice.random_range(0..12) {
                    0..=4 => Step::Append(dice.random_range(1..4), dice.random_range(50..600)),
                    5..=6 => Step::Sync,
                    7 => Step::Flush,
                    8 => Step::Mark,
                    9 => Step::Truncate(dice.random_range(0..4)),
                    10 => Step::Close,
                    _ => Step::Reopen,
                }),
            }
        }
        steps
    }
}

/// What was asked of a log and what it promised.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) options: LogOptions,
    /// What was submitted under each LSN, from 1.
    pub(crate) submitted: Vec<Vec<u8>>,
    pub(crate) acked: Lsn,
    pub(crate) first_needed: Lsn,
    /// What the caller would know from elsewhere.
    pub(crate) floor: Lsn,
    /// Grows with each opening, so that an LSN given out again carries other bytes.
    epoch: u64,
}

impl Ledger {
    pub(crate) fn new(planted: Option<Planted>) -> Ledger {
        Ledger { options: small_options(planted), submitted: Vec::new(), acked: 0, first_needed: 1, floor: 0, epoch: 0 }
    }

    fn payload(&self, lsn: Lsn, len: usize) -> Vec<u8> {
        let mut dice = StdRng::seed_from_u64(lsn ^ self.epoch << 40);
        let len = dice.random_range(len / 2..=len).min(MAX_RECORD as usize);
        (0..len).map(|_| dice.random()).collect()
    }

    /// Opens the log and checks all it holds; `Err(Ok(..))` is an error of the log, `Err(Err(..))` a broken promise.
    pub(crate) fn open(&mut self, fs: &SimFileSystem) -> Result<Log, Result<LogError, String>> {
        let log = Log::open(Arc::new(fs.clone()), Path::new(DIR), self.options.clone(), self.first_needed, self.floor)
            .map_err(Ok)?;
        let records = read_all(&log, self.first_needed).map_err(Ok)?;
        let last = self.first_needed - 1 + records.len() as u64;
        for (expected, (lsn, bytes)) in (self.first_needed..).zip(&records) {
            if *lsn != expected {
                return Err(Err(format!("record {lsn} where {expected} belongs")));
            }
            match self.submitted.get(*lsn as usize - 1) {
                Some(submitted) if submitted == bytes => {}
                Some(_) => return Err(Err(format!("record {lsn} is not what was submitted"))),
                None => return Err(Err(format!("record {lsn} was never submitted"))),
            }
        }
        if last < self.acked {
            return Err(Err(format!("acknowledged up to {}, recovered up to {last}", self.acked)));
        }
        if (log.last_lsn(), log.durable_lsn()) != (last, last) {
            return Err(Err(format!("ends say {} and {}, records say {last}", log.last_lsn(), log.durable_lsn())));
        }
        self.submitted.truncate(last as usize);
        // What an opened log shows is durable.
        self.acked = last;
        self.epoch += 1;
        Ok(log)
    }

    /// Appends, noting what was submitted whatever comes of it.
    pub(crate) fn append(&mut self, log: &Log, records: usize, len: usize) -> Result<Lsn, LogError> {
        let first = self.submitted.len() as u64 + 1;
        let batch: Vec<Vec<u8>> = (0..records as u64).map(|i| self.payload(first + i, len)).collect();
        let slices: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        let appended = log.append(&slices);
        self.submitted.extend(batch);
        appended
    }

    pub(crate) fn sync(&mut self, log: &Log) -> Result<(), LogError> {
        let last = log.last_lsn();
        log.sync(last)?;
        self.acked = self.acked.max(last);
        Ok(())
    }

    /// Runs a workload until its end or the first error of the log; `Err` is a broken promise.
    pub(crate) fn run(&mut self, fs: &SimFileSystem, steps: &[Step]) -> Result<Option<(Log, LogError)>, String> {
        let mut log = match self.open(fs) {
            Ok(log) => log,
            Err(Ok(error)) if expected(&error) => return Ok(None),
            Err(Ok(error)) => return Err(format!("opening a sound log: {error}")),
            Err(Err(broken)) => return Err(broken),
        };
        for step in steps {
            let done = match *step {
                Step::Append(records, len) => self.append(&log, records, len).map(drop),
                Step::Flush => log.flush(),
                Step::Sync => self.sync(&log),
                Step::Mark => log.write_idle_mark().map(drop),
                Step::Truncate(below) => {
                    self.first_needed = self.first_needed.max((self.acked + 1).saturating_sub(below));
                    self.floor = self.first_needed - 1;
                    log.truncate_before(self.first_needed)
                }
                Step::Close => {
                    let last = log.last_lsn();
                    log.close().inspect(|()| self.acked = self.acked.max(last))
                }
                Step::Reopen => {
                    drop(log);
                    // What was in the buffer is gone with the process.
                    log = match self.open(fs) {
                        Ok(log) => log,
                        Err(Ok(error)) if expected(&error) => return Ok(None),
                        Err(Ok(error)) => return Err(format!("opening a sound log again: {error}")),
                        Err(Err(broken)) => return Err(broken),
                    };
                    Ok(())
                }
            };
            match done {
                Ok(()) => {}
                Err(error) if expected(&error) => return Ok(Some((log, error))),
                Err(error) => return Err(format!("{step:?} on a sound log: {error}")),
            }
        }
        Ok(None)
    }

    /// Checks a disk after a crash: all promises of recovery, and that the log lives on.
    pub(crate) fn check_image(&self, image: &SimFileSystem) -> Result<(), String> {
        let mut ledger = self.clone();
        let open = |ledger: &mut Ledger, fs: &SimFileSystem, what: &str| match ledger.open(fs) {
            Ok(log) => Ok(log),
            Err(Ok(error)) => Err(format!("{what}: {error}")),
            Err(Err(broken)) => Err(format!("{what}: {broken}")),
        };
        drop(open(&mut ledger, image, "recovering")?);
        let recovered = ledger.submitted.len();
        // What an opened log showed is durable, so the harshest crash right after it changes nothing.
        let again = image.crash_images(2).swap_remove(0);
        let log = open(&mut ledger, &again, "recovering twice")?;
        if ledger.submitted.len() != recovered {
            return Err(format!("recovered {recovered} records, then {}", ledger.submitted.len()));
        }
        ledger.append(&log, 2, 100).and_then(|_| ledger.sync(&log)).map_err(|e| format!("living on: {e}"))?;
        ledger.append(&log, 1, 100).map_err(|e| format!("living on: {e}"))?;
        drop(log);
        let crashed = again.crash_images(2).swap_remove(0);
        open(&mut ledger, &crashed, "recovering after living on").map(drop)
    }
}

/// Errors a fault or a power cut may cause; anything else means the log misjudged its own files.
fn expected(error: &LogError) -> bool {
    matches!(error, LogError::Io { .. } | LogError::Poisoned)
}

pub(crate) fn read_all(log: &Log, from: Lsn) -> Result<Vec<(Lsn, Vec<u8>)>, LogError> {
    log.read_from(from)?.collect()
}
