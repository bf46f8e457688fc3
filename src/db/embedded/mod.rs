//! The way in for Rust programs: statements with parameters, their rows, and tables without SQL.
//!
//! ```text
//! session.query("SELECT title FROM items WHERE price < $1", &[&10]).await?      Rows: values by type, or Arrow batches
//! session.table("items").insert().column("id", &ids).vectors("embedding", 3, &floats).run().await?
//! session.model("minilm").embed(&["a text"]).await?           vectors, in order
//! session.table("items").search("embedding", &query, 10).metric(Metric::Cosine).run().await?
//! ```
//!
//! Each call is a transaction of its own, unless a block was opened by `BEGIN`. A call that fails leaves nothing behind; in
//! a block it fails the block, as in PostgreSQL. So does a call whose future is dropped before its end.

mod model;
mod rows;
mod table;
#[cfg(test)]
mod tests;
mod value;

use futures::StreamExt;
use lodedb_sql::cast::CastEnvironment;
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState, TypeWithModifier};

pub use model::Model;
pub use rows::{Column, Row, Rows};
pub use table::{Insert, Search, Table};
pub use value::{FromSql, ToSql, Value};

use super::outcome::{Outcome, RowsTag};
use super::session::{Session, rows_of};

/// A runtime for sessions: several threads, whose stacks are as deep as planning the largest statement needs (64 MiB, of which the system
/// gives what is used).
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let stack = lodedb_sql::parse::limits::PLANNING_STACK_LENGTH_MIN;
    tokio::runtime::Builder::new_multi_thread().thread_stack_size(stack).enable_all().build()
}

impl Session {
    /// Runs one statement, `$1`, `$2`, ... being `parameters`, and gives how many rows it changed or returned.
    ///
    /// Parameters have the types PostgreSQL would infer; a value is cast to its parameter's as if it were stored in a
    /// column of that type, and text is read as a literal of it.
    ///
    /// # Errors
    /// PostgreSQL's, by [`SqlError::state`]. Another number of values than parameters is `08P01`.
    pub async fn execute(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        Ok(self.query(sql, parameters).await?.affected())
    }

    /// As [`Session::execute`], and gives its rows: all of them, in memory.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn query(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Rows> {
        let values: Vec<Value> = parameters.iter().map(|parameter| parameter.to_sql()).collect();
        self.query_values(sql, values).await
    }

    /// A model, to be made of files or to embed by. Its name is taken as it is: no quotes, no folding.
    pub fn model(&mut self, name: impl Into<String>) -> Model<'_> {
        Model { session: self, name: name.into() }
    }

    /// The rows, vectors and neighbours of one table, without SQL. Its name is taken as it is: no quotes, no folding.
    pub fn table(&mut self, name: impl Into<String>) -> Table<'_> {
        Table { session: self, name: name.into() }
    }

    async fn query_values(&mut self, sql: &str, values: Vec<Value>) -> Result<Rows> {
        self.begin_call();
        let result = self.query_once(sql, values).await;
        self.end_call(result).await
    }

    async fn query_once(&mut self, sql: &str, values: Vec<Value>) -> Result<Rows> {
        let mut statements = self.parse(sql)?;
        let statement = match statements.pop() {
            Some(statement) if statements.is_empty() => statement,
            Some(_) => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
            None => return Ok(Rows::without(0)),
        };
        let prepared = self.prepare(statement, &[]).await?;
        let (given, wanted) = (values.len(), prepared.parameters.len());
        if given != wanted {
            let message = format!("bind message supplies {given} parameters, but the statement requires {wanted}");
            return Err(SqlError::new(SqlState::ProtocolViolation, message));
        }
        let environment = self.cast_environment();
        let types = prepared.parameters.iter().map(|&ty| TypeWithModifier::plain(ty));
        let bound = values.into_iter().zip(types).map(|(value, ty)| value.bind(ty, &environment));
        let bound = bound.collect::<Result<Vec<_>>>()?;
        match self.execute_prepared(&prepared, bound).await? {
            Outcome::Rows { fields, mut batches, tag } => {
                let mut read = Vec::new();
                while let Some(batch) = batches.next().await {
                    read.push(batch?);
                }
                let affected = match tag {
                    RowsTag::Select => read.iter().map(|batch| batch.num_rows() as u64).sum(),
                    RowsTag::Fixed(tag) => rows_of(&tag),
                };
                Ok(Rows::new(fields, read, affected, self.zone()))
            }
            Outcome::Command(tag) => Ok(Rows::without(rows_of(&tag))),
            Outcome::Empty => Ok(Rows::without(0)),
            Outcome::CopyIn(_) | Outcome::CopyOut(_) => {
                Err(SqlError::unsupported("COPY here").with_hint("Session::table inserts many rows at once."))
            }
        }
    }

    fn cast_environment(&self) -> CastEnvironment {
        let environment = self.environment();
        CastEnvironment { zone: environment.zone, now_us: environment.transaction_time_us }
    }

    /// A call before this one that never came to its end fails what it was part of.
    fn begin_call(&mut self) {
        if std::mem::replace(&mut self.in_call, true) {
            self.statement_failed();
            self.abort_implicit();
        }
    }

    async fn end_call<T>(&mut self, result: Result<T>) -> Result<T> {
        let result = match result {
            Ok(value) => self.finish().await.map(|()| value),
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.statement_failed();
            self.abort_implicit();
        }
        self.in_call = false;
        self.log_slow().await;
        result
    }
}
