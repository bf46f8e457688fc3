//! Backups that are taken by themselves, and which of them are kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::archive::archive;
use super::repository::Repository;
use super::take::backup;
use super::{Backup, BackupError};
use crate::compaction::Worker;
use crate::db::engine::Engine;
use crate::db::options::Keep;
use lodedb_wal::killpoint::reach;

/// How long after a start, or after one that failed, a backup is taken at the earliest.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// Starts the thread, if the options want backups.
pub fn start(engine: &Arc<Engine>) -> Option<Worker> {
    let interval = engine.options.backup_interval?;
    // Opening a database does not wait for a look into the folder.
    let mut plan = None;
    Some(Worker::spawn("lodedb-backup", interval.min(Duration::from_secs(1)), engine, move |engine, stop| {
        let Plan { due, last_lsn, archive_due } = plan.get_or_insert_with(|| Plan::begin(engine, interval));
        if Instant::now() >= *archive_due {
            *archive_due = Instant::now() + engine.options.archive_interval;
            // Held by a checkpoint or a backup: the next one is in time.
            if let Some(last) = engine.checkpoint.try_lock()
                && let Err(error) = archive(engine, &last)
            {
                tracing::error!(%error, "the log was not archived; it will be tried again");
            }
        }
        if Instant::now() < *due || *last_lsn == Some(engine.view().lsn) {
            return false;
        }
        match take_and_forget(engine, stop) {
            Ok(taken) => {
                *last_lsn = Some(taken.lsn);
                *due = Instant::now() + interval;
            }
            Err(BackupError::Closed) => {}
            Err(error) => {
                tracing::error!(%error, "a backup failed; it will be tried again");
                *due = Instant::now() + PATIENCE.min(interval);
            }
        }
        false
    }))
}

/// When the next backup is due, and what the last one stands for.
struct Plan {
    due: Instant,
    last_lsn: Option<u64>,
    archive_due: Instant,
}

impl Plan {
    fn begin(engine: &Engine, interval: Duration) -> Self {
        let backups = Repository::look(engine.files.fs.clone(), &engine.backup_dir())
            .inspect_err(|error| tracing::error!(%error, "the folder of backups cannot be read"))
            .unwrap_or_default();
        engine.counters.backups_kept.store(backups.len() as u64, Ordering::Relaxed);
        let newest = backups.into_iter().next();
        if let Some(newest) = &newest {
            engine.counters.last_backup.set(newest.lsn, newest.time_us);
        }
        // The wall clock is a label and may have been set: whatever it says, no wait is longer than the interval.
        let age = newest.as_ref().map(|backup| crate::db::clock::now_us().saturating_sub(backup.time_us));
        let age = Duration::from_micros(age.and_then(|us| u64::try_from(us).ok()).unwrap_or(0));
        let due = Instant::now() + interval.saturating_sub(age).max(PATIENCE.min(interval));
        let archive_due = Instant::now() + engine.options.archive_interval;
        Self { due, last_lsn: newest.map(|backup| backup.lsn), archive_due }
    }
}

fn take_and_forget(engine: &Engine, stop: &AtomicBool) -> Result<Backup, BackupError> {
    let folder = engine.backup_dir();
    let taken = backup(engine, &folder, 0, &|| stop.load(Ordering::Acquire))?;
    let repository = Repository::open(engine.files.fs.clone(), &folder, engine.id)?;
    reach("backup: before old ones go");
    let labels: Vec<(u64, i64)> = repository.backups()?.iter().map(|backup| (backup.number, backup.time_us)).collect();
    let superseded = superseded(&labels, engine.options.backup_keep);
    repository.forget(&superseded)?;
    engine.counters.backups_kept.store((labels.len() - superseded.len()) as u64, Ordering::Relaxed);
    Ok(taken)
}

/// Which of the backups, newest first, each with the time it was taken at, need not be kept.
fn superseded(backups: &[(u64, i64)], keep: Keep) -> Vec<u64> {
    let mut days = BTreeSet::new();
    let mut superseded = Vec::new();
    for (at, &(number, time_us)) in backups.iter().enumerate() {
        // The first one seen of a day is the last one taken in it.
        let first_of_day = days.insert(time_us.div_euclid(DAY_US));
        if at >= keep.newest && !(first_of_day && days.len() <= keep.days) {
            superseded.push(number);
        }
    }
    superseded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_the_last_of_each_day_are_kept() {
        let hour = DAY_US / 24;
        // Hourly for ten days: number n at hour n.
        let backups: Vec<(u64, i64)> = (0..240).rev().map(|n| (n as u64, n * hour)).collect();
        let gone = superseded(&backups, Keep { newest: 24, days: 7 });
        let kept: Vec<u64> =
            backups.iter().map(|&(number, _)| number).filter(|number| !gone.contains(number)).collect();
        let newest: Vec<u64> = (216..240).rev().collect();
        assert_eq!(kept[..24], newest);
        assert_eq!(kept[24..], [215, 191, 167, 143, 119, 95], "the last of each of the six days before");
        assert!(superseded(&backups[..5], Keep { newest: 24, days: 7 }).is_empty());
        // A clock that was set back makes no backup newer than its number.
        assert_eq!(superseded(&[(3, 0), (2, 5 * DAY_US), (1, 0)], Keep { newest: 1, days: 1 }), [2, 1]);
    }
}
