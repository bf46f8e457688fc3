//! SQL logic tests in this process, by sessions of an open database.

use std::path::Path;

use async_trait::async_trait;
use futures::StreamExt;
use lodedb::db::session::SessionOptions;
use lodedb::db::{Outcome, RowsTag};
use lodedb::query::arrow::batch_rows;
use lodedb::{Db, Options, Session};
use lodedb_sql::SqlError;
use lodedb_sql::text::to_text;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};

use super::wire::shown;

/// Opens a database for tests.
pub(crate) fn open(dir: &Path) -> Db {
    // A file of the log holds at least one record of the greatest size.
    let options = Options { log_segment_bytes: 17 << 20, checkpoint_log_bytes: 34 << 20, ..Options::for_test() };
    Db::open(dir.join("data"), options).expect("the database opens")
}

/// A failed statement: `SQLSTATE sentence`.
#[derive(Debug)]
pub(crate) struct Failure(SqlError);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0.state().code(), self.0.message())
    }
}

impl std::error::Error for Failure {}

/// A session.
pub(crate) struct Connection(Session);

impl Connection {
    /// Opens a session.
    pub(crate) async fn open(db: Db) -> Result<Self, Failure> {
        db.session(SessionOptions::default()).map(Self).map_err(Failure)
    }

    async fn run_all(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, SqlError> {
        let session = &mut self.0;
        let mut output = DBOutput::StatementComplete(0);
        for statement in session.parse(sql)? {
            match session.run(statement).await? {
                Outcome::Rows { fields, batches, tag } => {
                    let mut batches = session.name_objects(batches, &fields, |_| true);
                    let types: Vec<_> = fields.iter().map(|field| field.ty).collect();
                    let mut rows = Vec::new();
                    while let Some(batch) = batches.next().await {
                        for row in batch_rows(&batch?, &types)? {
                            let zone = session.zone();
                            let text = |(datum, ty): (&lodedb_sql::Datum, &lodedb_sql::TypeWithModifier)| {
                                let text = (!datum.is_null()).then(|| to_text(datum, ty.ty, zone));
                                shown(text.as_deref())
                            };
                            rows.push(row.iter().zip(&types).map(text).collect());
                        }
                    }
                    // A change with RETURNING also says how many rows it changed; the rows say it already.
                    let _: RowsTag = tag;
                    output = DBOutput::Rows { types: vec![DefaultColumnType::Text; types.len()], rows };
                }
                Outcome::Command(tag) => {
                    let count = tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
                    output = DBOutput::StatementComplete(count);
                }
                Outcome::Empty => {}
                Outcome::CopyIn(_) | Outcome::CopyOut(_) => return Err(SqlError::unsupported("COPY in a file")),
            }
        }
        session.finish().await?;
        Ok(output)
    }
}

#[async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let result = self.run_all(sql).await;
        if result.is_err() {
            self.0.statement_failed();
            self.0.abort_implicit();
        }
        result.map_err(Failure)
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "lodedb"
    }

    async fn sleep(duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        Some(error.0.state().code().to_owned())
    }
}
