//! The engine under test, embedded, and the faults planted between it and the model.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use lodedb::db::session::SessionOptions;
use lodedb::db::{Outcome, RowsTag};
use lodedb::query::arrow::batch_rows;
use lodedb::{Db, Options, Session};
use lodedb_sql::SqlError;
use lodedb_sql::text::to_text;

/// What goes wrong on purpose. Each is done to the engine behind the model's back, as a bug of that kind would do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A DELETE is acknowledged and not done.
    LostDelete,
    /// An UPDATE of a scalar column is acknowledged and not done.
    StaleColumn,
    /// An UPDATE of a vector is acknowledged and not done.
    StaleVector,
    /// A row is deleted and its vector goes on being found: put back under another key without its code.
    ZombieVector,
    /// The last of several inserted rows is lost.
    LostRow,
    /// COMMIT rolls back.
    LostCommit,
    /// ROLLBACK commits.
    KeptRollback,
    /// After reopening, the last insert is applied again.
    ReplayedTwice,
    /// After reopening, the last delete is undone.
    LostAtReopen,
    /// A unique key is not checked.
    UncheckedKey,
    /// TRUNCATE leaves a row.
    KeptByTruncate,
    /// ON CONFLICT DO UPDATE does nothing.
    IgnoredConflict,
    /// A view is torn: the rows of a transaction show, its vectors do not.
    TornView,
    /// Settling (seal, merge) loses a row.
    LostBySealing,
}

impl Fault {
    /// All that must be noticed.
    pub(crate) const ALL: [Self; 14] = [
        Self::LostDelete,
        Self::StaleColumn,
        Self::StaleVector,
        Self::ZombieVector,
        Self::LostRow,
        Self::LostCommit,
        Self::KeptRollback,
        Self::ReplayedTwice,
        Self::LostAtReopen,
        Self::UncheckedKey,
        Self::KeptByTruncate,
        Self::IgnoredConflict,
        Self::TornView,
        Self::LostBySealing,
    ];
}

/// An open database and two sessions: one writes, one only reads.
pub(crate) struct Engine {
    /// The sessions' database.
    pub(crate) db: Db,
    /// The session that writes.
    pub(crate) writer: Session,
    /// A session that sees what is committed.
    pub(crate) reader: Session,
    folder: tempfile::TempDir,
    generation: u32,
}

/// Rows, or the number of rows a change touched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The rows, each value in text.
    pub(crate) rows: Vec<Vec<String>>,
    /// The number in the command tag.
    pub(crate) count: u64,
}

fn open(dir: &Path) -> Result<(Db, Session, Session), String> {
    // A file of the log holds at least one record of the greatest size.
    let options = Options { log_segment_bytes: 17 << 20, checkpoint_log_bytes: 34 << 20, ..Options::for_test() };
    let db = Db::open(dir, options).map_err(|error| format!("opening: {error}"))?;
    let session = || db.session(SessionOptions::default()).map_err(|error| error.to_string());
    let (writer, reader) = (session()?, session()?);
    Ok((db, writer, reader))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

impl Engine {
    /// A new database.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (db, writer, reader) = open(&folder.path().join("0"))?;
        Ok(Self { db, writer, reader, folder, generation: 0 })
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join(self.generation.to_string())
    }

    /// Closes cleanly and opens again.
    pub(crate) fn reopen(self) -> Result<Self, String> {
        let Self { db, writer, reader, folder, generation } = self;
        drop((writer, reader));
        db.close().map_err(|error| format!("closing: {error}"))?;
        drop(db);
        let (db, writer, reader) = open(&folder.path().join(generation.to_string()))?;
        Ok(Self { db, writer, reader, folder, generation })
    }

    /// Opens a copy of the files as they are now, as after a power cut that lost nothing that was synced.
    pub(crate) fn crash(self) -> Result<Self, String> {
        // Nothing may change while the files are copied; nothing is flushed by this either.
        self.db.settle();
        let (from, next) = (self.dir(), self.generation + 1);
        let to = self.folder.path().join(next.to_string());
        copy(&from, &to).map_err(|error| format!("copying: {error}"))?;
        let Self { db, writer, reader, folder, .. } = self;
        drop((writer, reader));
        db.close().map_err(|error| format!("closing: {error}"))?;
        drop(db);
        std::fs::remove_dir_all(&from).map_err(|error| error.to_string())?;
        let (db, writer, reader) = open(&to)?;
        Ok(Self { db, writer, reader, folder, generation: next })
    }
}

/// Runs statements and gives what the last one answered.
pub(crate) async fn ask(session: &mut Session, sql: &str) -> Result<Answer, SqlError> {
    let result = ask_all(session, sql).await;
    if result.is_err() {
        session.statement_failed();
        session.abort_implicit();
    }
    result
}

async fn ask_all(session: &mut Session, sql: &str) -> Result<Answer, SqlError> {
    let mut answer = Answer { rows: Vec::new(), count: 0 };
    let counted = |tag: &str| tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    for statement in session.parse(sql)? {
        match session.run(statement).await? {
            Outcome::Rows { fields, mut batches, tag } => {
                let types: Vec<_> = fields.iter().map(|field| field.ty).collect();
                answer.rows.clear();
                while let Some(batch) = batches.next().await {
                    for row in batch_rows(&batch?, &types)? {
                        let text = |(datum, ty): (&lodedb_sql::Datum, &lodedb_sql::TypeWithModifier)| {
                            if datum.is_null() { "NULL".to_owned() } else { to_text(datum, ty.ty, session.zone()) }
                        };
                        answer.rows.push(row.iter().zip(&types).map(text).collect());
                    }
                }
                answer.count = match tag {
                    RowsTag::Select => answer.rows.len() as u64,
                    RowsTag::Fixed(tag) => counted(&tag),
                };
            }
            Outcome::Command(tag) => answer.count = counted(&tag),
            Outcome::Empty => {}
            Outcome::CopyIn(_) | Outcome::CopyOut(_) => return Err(SqlError::unsupported("COPY here")),
        }
    }
    session.finish().await?;
    Ok(answer)
}
