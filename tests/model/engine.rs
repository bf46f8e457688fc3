//! The engine under test, embedded: two sessions that write, one that only reads, and the ways to leave it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures::StreamExt;
use lodedb::db::session::SessionOptions;
use lodedb::db::{Outcome, RowsTag};
use lodedb::query::arrow::batch_rows;
use lodedb::{Db, Options, Session};
use lodedb_sql::SqlError;
use lodedb_sql::text::to_text;

/// An open database.
pub(crate) struct Engine {
    /// The sessions' database.
    pub(crate) db: Db,
    /// The sessions that write.
    pub(crate) writers: [Session; 2],
    /// A session that sees what is committed.
    pub(crate) reader: Session,
    folder: tempfile::TempDir,
    generation: u32,
    background: bool,
}

/// How a database is left before it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Closed, with a checkpoint.
    Close,
    /// Dropped: nothing is written but what the row store flushes when it is let go.
    Drop,
    /// As the disk is at one instant, whatever is under way.
    Crash,
}

/// Rows, or the number of rows a change touched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The rows, each value in text.
    pub(crate) rows: Vec<Vec<String>>,
    /// The number in the command tag.
    pub(crate) count: u64,
}

impl Engine {
    /// A new database; `background`: whether it seals, trains and merges by itself.
    pub(crate) fn new(background: bool) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        Self::open(folder, 0, background)
    }

    fn open(folder: tempfile::TempDir, generation: u32, background: bool) -> Result<Self, String> {
        let options = Options {
            // A file of the log holds at least one record of the greatest size.
            log_segment_bytes: 17 << 20,
            checkpoint_log_bytes: 34 << 20,
            // Indexes are trained on few rows, so that most searches of a play have one.
            train_rows: 128,
            background,
            ..Options::for_test()
        };
        let db = Db::open(place(&folder, generation), options).map_err(|error| format!("opening: {error}"))?;
        let session = || {
            // Nobody should ever wait; where someone does, it shall not be for ever.
            let parameters = vec![("lock_timeout".to_owned(), "20s".to_owned())];
            db.session(SessionOptions { parameters, ..SessionOptions::default() }).map_err(|error| error.to_string())
        };
        let (writers, reader) = ([session()?, session()?], session()?);
        Ok(Self { db, writers, reader, folder, generation, background })
    }

    /// Leaves the database and opens it again.
    pub(crate) fn reopen(self, leave: Leave) -> Result<Self, String> {
        let Self { db, writers, reader, folder, generation, background } = self;
        let next = if leave == Leave::Crash {
            crash_image(&place(&folder, generation), &place(&folder, generation + 1))
                .map_err(|error| format!("copying: {error}"))?;
            generation + 1
        } else {
            generation
        };
        drop((writers, reader));
        if leave == Leave::Close {
            db.close().map_err(|error| format!("closing: {error}"))?;
        }
        drop(db);
        if next != generation {
            std::fs::remove_dir_all(place(&folder, generation)).map_err(|error| error.to_string())?;
        }
        Self::open(folder, next, background)
    }
}

fn place(folder: &tempfile::TempDir, generation: u32) -> PathBuf {
    folder.path().join(generation.to_string())
}

/// A file's length and when it was written; none for a folder.
type Stamp = Option<(u64, SystemTime)>;

/// Everything below a folder, by its path there.
fn listing(root: &Path) -> std::io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            let stamp = if metadata.is_file() { Some((metadata.len(), metadata.modified()?)) } else { None };
            found.insert(path, stamp);
        }
    }
    Ok(found)
}

/// Copies what a crash would leave. A crash is one instant: if anything changed under the copying, it is done again.
fn crash_image(from: &Path, to: &Path) -> std::io::Result<()> {
    for _ in 0..200 {
        std::fs::create_dir(to)?;
        let copied = listing(from).and_then(|before| {
            for (path, stamp) in &before {
                if stamp.is_none() {
                    std::fs::create_dir(to.join(path))?;
                } else {
                    std::fs::copy(from.join(path), to.join(path))?;
                }
            }
            Ok(before == listing(from)?)
        });
        match copied {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::remove_dir_all(to)?;
    }
    Err(std::io::Error::other("the directory never stood still"))
}

/// Runs statements and gives what the last one answered.
pub(crate) async fn ask(session: &mut Session, sql: &str) -> Result<Answer, SqlError> {
    ask_with(session, sql, "").await
}

/// As [`ask`], with the lines for a COPY.
pub(crate) async fn ask_with(session: &mut Session, sql: &str, lines: &str) -> Result<Answer, SqlError> {
    let result = ask_all(session, sql, lines).await;
    if result.is_err() {
        session.statement_failed();
        session.abort_implicit();
    }
    result
}

async fn ask_all(session: &mut Session, sql: &str, lines: &str) -> Result<Answer, SqlError> {
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
            Outcome::CopyIn(mut copy) => {
                copy.write(session, lines.to_owned().into()).await?;
                answer.count = counted(&copy.finish(session).await?);
            }
            Outcome::CopyOut(_) => return Err(SqlError::unsupported("COPY TO here")),
        }
    }
    session.finish().await?;
    Ok(answer)
}
