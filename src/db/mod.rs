//! The front door: a database is opened here, and sessions run statements; the server comes in this way too.

pub mod admission;
pub mod advisory;
mod alter;
mod authorize;
mod block;
pub mod clock;
mod commands;
pub mod copy;
pub mod counters;
mod cursors;
mod ddl;
pub mod embedded;
pub mod engine;
pub mod error;
mod grants;
pub mod hooks;
mod identity;
pub mod memory;
mod models;
pub mod notify;
pub mod options;
pub mod outcome;
pub mod presence;
pub mod processor;
pub mod refill;
mod roles;
pub mod session;
pub mod settings;
mod slow;
mod space;
mod upkeep;

pub use embedded::{FromSql, Model, Row, Rows, Table, ToSql, runtime};
pub use engine::Db;
pub use options::Options;
pub use outcome::{BatchStream, Field, Outcome, Prepared, RowsTag, TransactionStatus};
pub use session::{Authority, Session, SessionOptions};
