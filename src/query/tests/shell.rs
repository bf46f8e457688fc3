//! A session whose answers are lines of text.

use std::path::Path;

use futures::StreamExt;
use lodedb_sql::error::Result;
use lodedb_sql::text::to_text;
use lodedb_sql::{Datum, PgType};

use crate::db::session::SessionOptions;
use crate::db::{Db, Options, Outcome, RowsTag, Session};
use crate::query::arrow::batch_rows;

/// A database in a directory of its own, and a session on it.
pub(super) struct Shell {
    runtime: tokio::runtime::Runtime,
    session: Session,
    db: Db,
    directory: tempfile::TempDir,
}

impl Shell {
    pub(super) fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    fn open(directory: tempfile::TempDir) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _guard = runtime.enter();
        let options = Options { seal_bytes: 4096, train_rows: 512, ..Options::default() };
        let db = Db::open(directory.path(), options).unwrap();
        let session = db.session(SessionOptions::default()).unwrap();
        drop(_guard);
        Self { runtime, session, db, directory }
    }

    /// The database's directory.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until nothing is left to be done in the background.
    pub(super) fn settle(&self) {
        self.db.settle();
    }

    /// Takes a checkpoint.
    pub(super) fn checkpoint(&self) {
        self.db.checkpoint().unwrap();
    }

    /// The database as a crash would leave it now, opened. (Nothing is written between settling and the next statement.)
    pub(super) fn crash(&self) -> Self {
        self.settle();
        let image = tempfile::tempdir().unwrap();
        copy(self.directory(), image.path());
        Self::open(image)
    }

    /// What a statement answers: rows as lines of fields between bars, a tag, or an error with its code.
    pub(super) fn ask(&mut self, sql: &str) -> String {
        self.ask_with(sql, &[], Vec::new())
    }

    /// As [`Self::ask`], with parameters.
    pub(super) fn ask_with(&mut self, sql: &str, types: &[Option<PgType>], params: Vec<Datum>) -> String {
        let Self { runtime, session, .. } = self;
        runtime.block_on(async {
            let answer = answer(session, sql, types, params).await;
            match answer {
                Ok(text) => match session.finish().await {
                    Ok(()) => text,
                    Err(error) => format!("ERROR {error:?}"),
                },
                Err(error) => {
                    session.statement_failed();
                    session.abort_implicit();
                    let mut text = format!("ERROR {}: {}", error.state().code(), error.message());
                    for (name, part) in
                        [("DETAIL", error.detail()), ("HINT", error.hint()), ("CONTEXT", error.context())]
                    {
                        if let Some(part) = part {
                            text.push_str(&format!("\n{name}: {part}"));
                        }
                    }
                    if let Some(position) = error.position() {
                        text.push_str(&format!("\nat {position}"));
                    }
                    text
                }
            }
        })
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, kind) = entry.map(|entry| (entry.file_name(), entry.file_type().unwrap())).unwrap();
        if kind.is_dir() {
            std::fs::create_dir(to.join(&entry)).unwrap();
            copy(&from.join(&entry), &to.join(&entry));
        } else if kind.is_file() {
            std::fs::copy(from.join(&entry), to.join(&entry)).unwrap();
        }
    }
}

async fn answer(session: &mut Session, sql: &str, types: &[Option<PgType>], params: Vec<Datum>) -> Result<String> {
    let mut text = Vec::new();
    for statement in session.parse(sql)? {
        let prepared = session.prepare(statement, types).await?;
        match session.execute_prepared(&prepared, params.clone()).await? {
            Outcome::Rows { fields, mut batches, tag } => {
                let header: Vec<String> =
                    fields.iter().map(|field| format!("{}:{}", field.name, field.ty.ty.sql_name())).collect();
                text.push(header.join("|"));
                let types: Vec<_> = fields.iter().map(|field| field.ty).collect();
                while let Some(batch) = batches.next().await {
                    for row in batch_rows(&batch?, &types)? {
                        let cells: Vec<String> = row
                            .iter()
                            .zip(&types)
                            .map(|(datum, ty)| match datum {
                                Datum::Null => "NULL".to_owned(),
                                datum => to_text(datum, ty.ty, chrono_tz::UTC),
                            })
                            .collect();
                        text.push(cells.join("|"));
                    }
                }
                if let RowsTag::Fixed(tag) = tag {
                    text.push(tag);
                }
            }
            Outcome::Command(tag) => text.push(tag),
            _ => text.push("?".into()),
        }
    }
    Ok(text.join("\n"))
}
