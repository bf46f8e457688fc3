//! The statements that change rows, and COPY, as data.

use sqlparser::ast::{Expr, Query, SelectItem, TableWithJoins, With};

use super::ObjectName;

/// INSERT.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The table.
    pub table: ObjectName,
    /// The name it goes by in the rest of the statement.
    pub alias: Option<String>,
    /// The columns that are given; all in order where none is named.
    pub columns: Vec<String>,
    /// OVERRIDING SYSTEM or USER VALUE.
    pub overriding: Option<Overriding>,
    /// What is inserted.
    pub source: InsertSource,
    /// ON CONFLICT.
    pub on_conflict: Option<OnConflict>,
    /// RETURNING.
    pub returning: Vec<SelectItem>,
}

/// Whose values an identity column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overriding {
    /// The statement's.
    SystemValue,
    /// The sequence's.
    UserValue,
}

/// What an INSERT inserts.
#[derive(Clone, Debug, PartialEq)]
pub enum InsertSource {
    /// The rows of a query, its WITH included.
    Query(Box<Query>),
    /// Rows written out.
    Values(Vec<Vec<InsertValue>>),
    /// DEFAULT VALUES.
    DefaultValues,
}

/// One value of a row written out.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all values are of the large variant, or few are kept")]
pub enum InsertValue {
    /// DEFAULT.
    Default,
    /// An expression.
    Expr(Expr),
}

/// ON CONFLICT.
#[derive(Clone, Debug, PartialEq)]
pub struct OnConflict {
    /// Which key must conflict; any where there is none.
    pub target: Option<ConflictTarget>,
    /// What happens then.
    pub action: ConflictAction,
}

/// Which key an ON CONFLICT is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConflictTarget {
    /// The key on these columns.
    Columns(Vec<String>),
    /// ON CONSTRAINT.
    Constraint(String),
}

/// What an ON CONFLICT does.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all values are of the large variant, or few are kept")]
pub enum ConflictAction {
    /// DO NOTHING.
    Nothing,
    /// DO UPDATE.
    Update {
        /// SET; a value [`is_default`] where DEFAULT was written.
        assignments: Vec<(String, Expr)>,
        /// WHERE.
        condition: Option<Expr>,
    },
}

/// UPDATE.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// WITH.
    pub with: Option<With>,
    /// The table.
    pub table: ObjectName,
    /// The name it goes by in the rest of the statement.
    pub alias: Option<String>,
    /// SET; a value [`is_default`] where DEFAULT was written.
    pub assignments: Vec<(String, Expr)>,
    /// FROM.
    pub from: Vec<TableWithJoins>,
    /// WHERE.
    pub condition: Option<Expr>,
    /// RETURNING.
    pub returning: Vec<SelectItem>,
}

/// DELETE.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// WITH.
    pub with: Option<With>,
    /// The table.
    pub table: ObjectName,
    /// The name it goes by in the rest of the statement.
    pub alias: Option<String>,
    /// USING.
    pub using: Vec<TableWithJoins>,
    /// WHERE.
    pub condition: Option<Expr>,
    /// RETURNING.
    pub returning: Vec<SelectItem>,
}

/// COPY.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// What is copied.
    pub relation: CopyRelation,
    /// Which way.
    pub direction: CopyDirection,
    /// How.
    pub options: CopyClause,
    /// WHERE, of COPY FROM.
    pub condition: Option<Expr>,
}

/// What a COPY copies.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyRelation {
    /// A table.
    Table {
        /// Its name.
        name: ObjectName,
        /// The columns; all where none is named.
        columns: Vec<String>,
    },
    /// The rows of a query.
    Query(Box<Query>),
}

/// Which way a COPY goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    /// COPY .. FROM STDIN.
    FromStdin,
    /// COPY .. TO STDOUT.
    ToStdout,
}

/// The options of a COPY, as far as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyClause {
    /// FORMAT: `text`, `csv` or `binary`.
    pub format: Option<String>,
    /// FREEZE.
    pub freeze: Option<bool>,
    /// HEADER: `true`, `false` or `match`.
    pub header: Option<String>,
    /// DELIMITER.
    pub delimiter: Option<String>,
    /// NULL.
    pub null: Option<String>,
    /// QUOTE.
    pub quote: Option<String>,
    /// ESCAPE.
    pub escape: Option<String>,
    /// FORCE_QUOTE: of all columns where the list is empty.
    pub force_quote: Option<Vec<String>>,
    /// FORCE_NOT_NULL.
    pub force_not_null: Option<Vec<String>>,
    /// FORCE_NULL.
    pub force_null: Option<Vec<String>>,
    /// ENCODING.
    pub encoding: Option<String>,
}

/// Whether an assigned value is the word DEFAULT (a call of `pg_default()`).
pub fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Function(function) if function.name.to_string() == "pg_default")
}
