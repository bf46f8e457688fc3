//! LodeDB: a vector database with the guts of a storage engine.
//!
//! One process, one directory, one log. [`Db::open`] is the way in, for programs and for the server alike.

pub mod auth;
mod bounded;
pub mod catalog;
pub mod commit;
pub mod compaction;
pub mod db;
#[doc(hidden)]
pub mod fault;
pub mod models;
pub mod query;
pub mod segment;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod snapshot;
pub mod store;

pub use datafusion::arrow;
pub use db::{Authority, Db, FromSql, Model, Options, Row, Rows, Session, SessionOptions, Table, ToSql, runtime};
pub use lodedb_sql::vector::Metric;
pub use lodedb_sql::{SqlError, SqlState};

/// The version of PostgreSQL whose behaviour LodeDB follows, as `server_version` says it.
pub const SERVER_VERSION: &str = "15.18";
/// The same as a number.
pub const SERVER_VERSION_NUM: &str = "150018";
