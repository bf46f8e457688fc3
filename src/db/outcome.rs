//! What a statement answers: rows, a tag, or the start of a COPY.

use std::pin::Pin;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use futures::Stream;
use lodedb_sql::error::Result;
use lodedb_sql::{PgType, TypeWithModifier};

/// A column of a result, as RowDescription tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TypeWithModifier,
    /// The OID of the table it is a plain column of; 0 if it is not.
    pub table: u32,
    /// The number of that column; 0 if it is not one.
    pub column: i16,
}

/// Batches of a result; each array has the Arrow type of its field (see [`crate::query::arrow`]).
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// What a statement answers.
pub enum Outcome {
    /// Rows. The command tag follows when they are all sent.
    Rows {
        /// The columns.
        fields: Arc<[Field]>,
        /// The rows.
        batches: BatchStream,
        /// How the tag is made of the number of rows.
        tag: RowsTag,
    },
    /// No rows: the command tag.
    Command(String),
    /// The client is to send rows.
    CopyIn(Box<super::copy::CopyIn>),
    /// Rows for the client, already in COPY's form.
    CopyOut(Box<super::copy::CopyOut>),
    /// The statement was empty.
    Empty,
}

/// How a command tag is made of the number of rows sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsTag {
    /// `SELECT n`: the number of rows sent.
    Select,
    /// A tag known before: `INSERT 0 3`, `EXPLAIN`, `SHOW`.
    Fixed(String),
}

/// A statement made ready: parsed, its parameters and columns typed, and where it can be, planned.
#[derive(Clone)]
pub struct Prepared {
    /// The types of `$1`, `$2`, ...
    pub parameters: Arc<[PgType]>,
    /// The columns of the result; `None` if the statement returns no rows.
    pub fields: Option<Arc<[Field]>>,
    /// The text and its parsed form.
    pub(crate) statement: Arc<lodedb_sql::parse::ParsedStatement>,
    /// What the query room made of it.
    pub(crate) plan: Option<crate::query::PreparedPlan>,
}

/// Where a session stands, as ReadyForQuery tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction block.
    Idle,
    /// In a transaction block.
    InTransaction,
    /// In a transaction block that failed: only its end is accepted.
    Failed,
}

/// A column of text that is no column of a table.
pub(crate) fn text_field(name: &str) -> Field {
    Field { name: name.into(), ty: TypeWithModifier::plain(lodedb_sql::ScalarType::Text), table: 0, column: 0 }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("text", &self.statement.text).finish_non_exhaustive()
    }
}
