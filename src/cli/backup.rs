//! `lodedb backup` and `lodedb restore`.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lodedb::snapshot::backup::archive::Until;
use lodedb::snapshot::backup::{Progress, restore::restore as restore_backup};
use lodedb_sql::text::parse_text;
use lodedb_sql::{Datum, ScalarType, TypeWithModifier};
use lodedb_wal::fs::{FileSystem, OsFileSystem};
use tokio_postgres::SimpleQueryMessage;

use super::sql::{connect, run, with_owner};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// Takes a backup through whoever has the database open.
pub(super) fn backup(runtime: &tokio::runtime::Runtime, data: &Path, to: &Path) -> Result<(), String> {
    let to = std::path::absolute(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let to = to.to_str().ok_or("the name of the folder is not UTF-8")?;
    let statements = [format!("BACKUP TO '{}'", to.replace('\'', "''"))];
    with_owner(runtime, data, async |socket| {
        let (watcher, watching) = connect(socket).await?;
        let bar = bar();
        let mut work = pin!(run(socket, &statements));
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                () = tokio::time::sleep(TICK) => {
                    let asked = "SELECT backup_total, backup_streamed FROM pg_stat_progress_basebackup";
                    for message in watcher.simple_query(asked).await.unwrap_or_default() {
                        let SimpleQueryMessage::Row(row) = message else { continue };
                        let number = |at| row.get(at).and_then(|text: &str| text.parse().ok());
                        show(&bar, number(0).unwrap_or(0), number(1).unwrap_or(0));
                    }
                }
            }
        };
        bar.finish_and_clear();
        drop(watcher);
        // It ends with its client.
        let _ = watching.await;
        result
    })
}

/// Makes a database out of a backup.
pub(super) fn restore(from: &Path, to: &Path, number: Option<u64>, until: Option<Until>) -> Result<(), String> {
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem);
    let progress = Progress::new(0);
    let bar = bar();
    let restored = std::thread::scope(|scope| {
        let work = scope.spawn(|| restore_backup(&fs, from, number, to, until, &progress));
        while !work.is_finished() {
            show(&bar, progress.total.load(Ordering::Relaxed), progress.done.load(Ordering::Relaxed));
            std::thread::sleep(TICK);
        }
        work.join()
    });
    bar.finish_and_clear();
    let restored = restored.map_err(|_| "restoring panicked".to_owned())?.map_err(|error| error.to_string())?;
    let backup = &restored.backup;
    println!(
        "{} is backup {} of {} bytes in {} files, and the log up to commit {} of {}",
        to.display(),
        backup.number,
        backup.size_bytes(),
        backup.files.len(),
        restored.lsn,
        lodedb::db::clock::shown(restored.time_us)
    );
    Ok(())
}

/// A commit by its number, or a moment.
pub(super) fn parse_until(text: &str) -> Result<Until, String> {
    if let Ok(lsn) = text.parse() {
        return Ok(Until::Lsn(lsn));
    }
    match parse_text(text, TypeWithModifier::plain(ScalarType::Timestamptz)) {
        Ok(Datum::Timestamptz(time_us)) => Ok(Until::Time(time_us)),
        _ => Err(format!("{text:?} is neither the number of a commit nor a moment such as '2026-01-31 12:00:00+00'")),
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, total: u64, done: u64) {
    bar.set_length(total);
    bar.set_position(done);
}
