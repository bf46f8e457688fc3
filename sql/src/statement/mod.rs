//! What a statement says, as plain data: names folded, types checked, expressions rewritten.
//!
//! A clause that LodeDB does not have is an error that names it; none is ever passed over in silence.

mod copying;
mod creating;
mod cursors;
mod indexes;
pub(crate) mod reader;
mod session;
mod tables;
mod utility;
mod writing;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlparser::ast::{Expr, Query, SelectItem, TableWithJoins};

use crate::types::TypeWithModifier;

/// The name of a table, an index or a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// The schema, where one was written.
    pub schema: Option<String>,
    /// The name itself.
    pub name: String,
}

impl ObjectName {
    /// A name without a schema.
    pub fn plain(name: impl Into<String>) -> Self {
        Self { schema: None, name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields of plain variants carry the names of the clauses")]
pub enum Statement {
    /// SELECT, VALUES, TABLE or WITH, rewritten for DataFusion's planner.
    Query(Box<Query>),
    /// INSERT.
    Insert(Box<Insert>),
    /// UPDATE.
    Update(Box<Update>),
    /// DELETE.
    Delete(Box<Delete>),
    /// COPY from or to the client.
    Copy(Box<Copy>),
    /// CREATE TABLE.
    CreateTable(Box<CreateTable>),
    /// CREATE TABLE .. AS.
    CreateTableAs(Box<CreateTableAs>),
    /// DROP TABLE.
    DropTable { names: Vec<ObjectName>, if_exists: bool, cascade: bool },
    /// ALTER TABLE.
    AlterTable(Box<AlterTable>),
    /// TRUNCATE.
    Truncate { names: Vec<ObjectName>, restart_identity: bool, cascade: bool },
    /// CREATE INDEX.
    CreateIndex(Box<CreateIndex>),
    /// DROP INDEX.
    DropIndex { names: Vec<ObjectName>, if_exists: bool, concurrently: bool, cascade: bool },
    /// ALTER INDEX.
    AlterIndex { name: ObjectName, if_exists: bool, action: IndexAction },
    /// REINDEX.
    Reindex { target: ReindexTarget, concurrently: bool },
    /// CREATE SEQUENCE.
    CreateSequence { name: ObjectName, if_not_exists: bool, options: SequenceOptions },
    /// ALTER SEQUENCE.
    AlterSequence { name: ObjectName, if_exists: bool, options: SequenceOptions },
    /// DROP SEQUENCE.
    DropSequence { names: Vec<ObjectName>, if_exists: bool, cascade: bool },
    /// CREATE SCHEMA.
    CreateSchema { name: String, if_not_exists: bool },
    /// DROP SCHEMA.
    DropSchema { names: Vec<String>, if_exists: bool, cascade: bool },
    /// CREATE EXTENSION.
    CreateExtension { name: String, if_not_exists: bool },
    /// DROP EXTENSION.
    DropExtension { names: Vec<String>, if_exists: bool, cascade: bool },
    /// COMMENT ON; no comment where it is NULL.
    Comment { kind: CommentKind, comment: Option<String> },
    /// EXPLAIN.
    Explain { options: ExplainOptions, statement: Box<Statement> },
    /// SET of a setting.
    Set { scope: SetScope, name: String, value: SetValue },
    /// SET TRANSACTION; for the whole session, SET SESSION CHARACTERISTICS.
    SetTransaction { session: bool, modes: TransactionModes },
    /// SET CONSTRAINTS ALL or of some names.
    SetConstraints { deferred: bool },
    /// SHOW.
    Show(Named),
    /// RESET.
    Reset(Named),
    /// BEGIN; `start` where it was written START TRANSACTION.
    Begin { modes: TransactionModes, start: bool },
    /// COMMIT or END.
    Commit,
    /// ROLLBACK or ABORT.
    Rollback,
    /// SAVEPOINT.
    Savepoint { name: String },
    /// RELEASE.
    Release { name: String },
    /// ROLLBACK TO.
    RollbackTo { name: String },
    /// PREPARE.
    Prepare { name: String, types: Vec<TypeWithModifier>, parameter_count: u16, statement: Box<Statement> },
    /// EXECUTE.
    Execute { name: String, args: Vec<Expr> },
    /// DEALLOCATE.
    Deallocate(Named),
    /// DISCARD.
    Discard(DiscardTarget),
    /// DECLARE .. CURSOR.
    Declare(Box<DeclareCursor>),
    /// FETCH.
    Fetch { cursor: String, direction: FetchDirection },
    /// MOVE.
    Move { cursor: String, direction: FetchDirection },
    /// CLOSE.
    Close(Named),
    /// LISTEN.
    Listen { channel: String },
    /// UNLISTEN.
    Unlisten(Named),
    /// NOTIFY.
    Notify { channel: String, payload: Option<String> },
    /// LOCK TABLE.
    LockTable { names: Vec<ObjectName>, mode: LockMode, no_wait: bool },
    /// VACUUM.
    Vacuum { tables: Vec<ObjectName>, full: bool, analyze: bool, verbose: bool },
    /// ANALYZE.
    Analyze { tables: Vec<ObjectName>, verbose: bool },
    /// CHECKPOINT.
    Checkpoint,
}

/// A name, or all there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// One.
    Name(String),
    /// All.
    All,
}

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

/// CREATE TABLE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// The table.
    pub name: ObjectName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// UNLOGGED.
    pub unlogged: bool,
    /// The columns in order.
    pub columns: Vec<ColumnDefinition>,
    /// The constraints, those written with a column included.
    pub constraints: Vec<TableConstraint>,
    /// WITH (name = value, ..).
    pub options: Vec<(String, String)>,
}

/// CREATE TABLE .. AS.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTableAs {
    /// The table.
    pub name: ObjectName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// UNLOGGED.
    pub unlogged: bool,
    /// New names of the query's columns.
    pub columns: Vec<String>,
    /// The query.
    pub query: Box<Query>,
    /// Whether rows are copied too.
    pub with_data: bool,
}

/// A column of CREATE TABLE or ADD COLUMN.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TypeWithModifier,
    /// NOT NULL, or implied by a serial, an identity or a primary key written with the column.
    pub not_null: bool,
    /// DEFAULT.
    pub default: Option<Expr>,
    /// The text of the DEFAULT; parsing it as an expression gives `default` again.
    pub default_text: Option<String>,
    /// What else gives it values.
    pub generated: Option<Generated>,
}

/// How a column gets values from a sequence of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Generated {
    /// `serial` and its kin.
    Serial,
    /// GENERATED AS IDENTITY.
    Identity {
        /// ALWAYS rather than BY DEFAULT.
        always: bool,
        /// The options of the sequence.
        options: SequenceOptions,
    },
}

/// The options of a sequence, as far as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceOptions {
    /// AS.
    pub ty: Option<TypeWithModifier>,
    /// INCREMENT.
    pub increment: Option<i64>,
    /// MINVALUE; `Some(None)` for NO MINVALUE.
    pub min_value: Option<Option<i64>>,
    /// MAXVALUE; `Some(None)` for NO MAXVALUE.
    pub max_value: Option<Option<i64>>,
    /// START.
    pub start: Option<i64>,
    /// CACHE.
    pub cache: Option<i64>,
    /// CYCLE.
    pub cycle: Option<bool>,
    /// OWNED BY, table and column; `Some(None)` for NONE.
    pub owned_by: Option<Option<(ObjectName, String)>>,
    /// RESTART; `Some(None)` without a number.
    pub restart: Option<Option<i64>>,
}

/// A constraint of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableConstraint {
    /// Its name, where one was written.
    pub name: Option<String>,
    /// What it demands.
    pub kind: ConstraintKind,
}

/// What a constraint demands.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstraintKind {
    /// PRIMARY KEY.
    PrimaryKey(Vec<String>),
    /// UNIQUE.
    Unique(Vec<String>),
    /// CHECK.
    Check {
        /// The condition.
        condition: Expr,
        /// Its text.
        text: String,
        /// The column it was written with.
        column: Option<String>,
    },
}

/// ALTER TABLE.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterTable {
    /// The table.
    pub name: ObjectName,
    /// IF EXISTS.
    pub if_exists: bool,
    /// What changes, in order.
    pub actions: Vec<TableAction>,
}

/// One change of ALTER TABLE.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields carry the names of the clauses")]
pub enum TableAction {
    /// ADD COLUMN, with the constraints written with it.
    AddColumn { if_not_exists: bool, column: Box<ColumnDefinition>, constraints: Vec<TableConstraint> },
    /// DROP COLUMN.
    DropColumn { if_exists: bool, name: String, cascade: bool },
    /// RENAME TO.
    RenameTo { name: String },
    /// RENAME COLUMN.
    RenameColumn { from: String, to: String },
    /// RENAME CONSTRAINT.
    RenameConstraint { from: String, to: String },
    /// ADD CONSTRAINT.
    AddConstraint(TableConstraint),
    /// DROP CONSTRAINT.
    DropConstraint { if_exists: bool, name: String, cascade: bool },
    /// ALTER COLUMN .. SET or DROP NOT NULL.
    SetNotNull { column: String, not_null: bool },
    /// ALTER COLUMN .. SET DEFAULT, or DROP DEFAULT where there is none.
    SetDefault { column: String, default: Option<Expr>, default_text: Option<String> },
    /// ALTER COLUMN .. TYPE.
    SetType { column: String, ty: TypeWithModifier, using: Option<Expr> },
    /// ALTER COLUMN .. SET STORAGE or STATISTICS: nothing to do.
    SetStorage { column: String, storage: String },
    /// SET or RESET (name = value, ..): nothing to do.
    SetOptions(Vec<(String, String)>),
    /// OWNER TO.
    OwnerTo { role: String },
}

/// One change of ALTER INDEX.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields carry the names of the clauses")]
pub enum IndexAction {
    /// RENAME TO.
    RenameTo { name: String },
    /// SET (name = value, ..).
    SetOptions(Vec<(String, String)>),
}

/// CREATE INDEX.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateIndex {
    /// Its name, where one was written.
    pub name: Option<String>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// CONCURRENTLY.
    pub concurrently: bool,
    /// UNIQUE.
    pub unique: bool,
    /// The table.
    pub table: ObjectName,
    /// USING; `btree` where nothing was written.
    pub method: String,
    /// The keys.
    pub columns: Vec<IndexColumn>,
    /// INCLUDE.
    pub include: Vec<String>,
    /// WITH (name = value, ..).
    pub options: Vec<(String, String)>,
    /// WHERE.
    pub predicate: Option<Expr>,
    /// The text of the WHERE.
    pub predicate_text: Option<String>,
}

/// One key of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexColumn {
    /// What is indexed.
    pub key: IndexKey,
    /// The operator class, where one was written.
    pub opclass: Option<String>,
    /// DESC.
    pub descending: bool,
    /// NULLS FIRST; by default true where descending.
    pub nulls_first: bool,
}

/// What an index indexes.
#[derive(Clone, Debug, PartialEq)]
pub enum IndexKey {
    /// A column.
    Column(String),
    /// An expression.
    Expr {
        /// The expression.
        expr: Expr,
        /// Its text.
        text: String,
    },
}

/// What a REINDEX rebuilds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReindexTarget {
    /// One index.
    Index(ObjectName),
    /// The indexes of one table.
    Table(ObjectName),
    /// All of a schema, or of the database.
    All,
}

/// What a COMMENT is on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields carry the names of the clauses")]
pub enum CommentKind {
    /// TABLE.
    Table(ObjectName),
    /// COLUMN.
    Column { table: ObjectName, column: String },
    /// INDEX.
    Index(ObjectName),
    /// Anything else, by its kind and name: EXTENSION, SCHEMA, DATABASE ..
    Other { kind: String, name: String },
}

/// The options of EXPLAIN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// ANALYZE.
    pub analyze: bool,
    /// VERBOSE.
    pub verbose: bool,
    /// FORMAT.
    pub format: ExplainFormat,
    /// COSTS, where written.
    pub costs: Option<bool>,
    /// TIMING, where written.
    pub timing: Option<bool>,
    /// SUMMARY, where written.
    pub summary: Option<bool>,
    /// BUFFERS, where written.
    pub buffers: Option<bool>,
}

/// The form of an explanation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    /// Lines of text.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// How long a SET lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetScope {
    /// The session.
    Session,
    /// The transaction.
    Local,
}

/// What a SET sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetValue {
    /// DEFAULT.
    Default,
    /// One value, or a list.
    Values(Vec<String>),
}

/// The modes of a transaction, as far as they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// ISOLATION LEVEL.
    pub isolation: Option<IsolationLevel>,
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// DEFERRABLE.
    pub deferrable: Option<bool>,
}

/// An isolation level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// READ UNCOMMITTED.
    ReadUncommitted,
    /// READ COMMITTED.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

impl IsolationLevel {
    /// As SHOW prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read uncommitted",
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

/// What a DISCARD discards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardTarget {
    /// ALL.
    All,
    /// PLANS.
    Plans,
    /// SEQUENCES.
    Sequences,
    /// TEMP.
    Temp,
}

/// DECLARE .. CURSOR.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclareCursor {
    /// Its name.
    pub name: String,
    /// BINARY.
    pub binary: bool,
    /// SCROLL or NO SCROLL, where written.
    pub scroll: Option<bool>,
    /// WITH HOLD.
    pub hold: bool,
    /// The query.
    pub query: Box<Query>,
}

/// Which rows a FETCH fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchDirection {
    /// FIRST.
    First,
    /// LAST.
    Last,
    /// ABSOLUTE n.
    Absolute(i64),
    /// RELATIVE n.
    Relative(i64),
    /// The next n; NEXT is 1.
    Forward(i64),
    /// All that follow.
    ForwardAll,
    /// The n before; PRIOR is 1.
    Backward(i64),
    /// All before.
    BackwardAll,
}

/// The modes of LOCK TABLE, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum LockMode {
    AccessShare,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}

impl Statement {
    /// The tag that completes it, without a count of rows.
    pub fn command_tag(&self) -> &'static str {
        match self {
            Self::Query(_) => "SELECT",
            Self::Insert(_) => "INSERT",
            Self::Update(_) => "UPDATE",
            Self::Delete(_) => "DELETE",
            Self::Copy(_) => "COPY",
            Self::CreateTable(_) => "CREATE TABLE",
            Self::CreateTableAs(create) => {
                if create.with_data {
                    "SELECT"
                } else {
                    "CREATE TABLE AS"
                }
            }
            Self::DropTable { .. } => "DROP TABLE",
            Self::AlterTable(_) => "ALTER TABLE",
            Self::Truncate { .. } => "TRUNCATE TABLE",
            Self::CreateIndex(_) => "CREATE INDEX",
            Self::DropIndex { .. } => "DROP INDEX",
            Self::AlterIndex { .. } => "ALTER INDEX",
            Self::Reindex { .. } => "REINDEX",
            Self::CreateSequence { .. } => "CREATE SEQUENCE",
            Self::AlterSequence { .. } => "ALTER SEQUENCE",
            Self::DropSequence { .. } => "DROP SEQUENCE",
            Self::CreateSchema { .. } => "CREATE SCHEMA",
            Self::DropSchema { .. } => "DROP SCHEMA",
            Self::CreateExtension { .. } => "CREATE EXTENSION",
            Self::DropExtension { .. } => "DROP EXTENSION",
            Self::Comment { .. } => "COMMENT",
            Self::Explain { .. } => "EXPLAIN",
            Self::Set { .. } | Self::SetTransaction { .. } => "SET",
            Self::SetConstraints { .. } => "SET CONSTRAINTS",
            Self::Show(_) => "SHOW",
            Self::Reset(_) => "RESET",
            Self::Begin { start: false, .. } => "BEGIN",
            Self::Begin { start: true, .. } => "START TRANSACTION",
            Self::Commit => "COMMIT",
            Self::Rollback | Self::RollbackTo { .. } => "ROLLBACK",
            Self::Savepoint { .. } => "SAVEPOINT",
            Self::Release { .. } => "RELEASE",
            Self::Prepare { .. } => "PREPARE",
            Self::Execute { .. } => "EXECUTE",
            Self::Deallocate(Named::All) => "DEALLOCATE ALL",
            Self::Deallocate(Named::Name(_)) => "DEALLOCATE",
            Self::Discard(target) => match target {
                DiscardTarget::All => "DISCARD ALL",
                DiscardTarget::Plans => "DISCARD PLANS",
                DiscardTarget::Sequences => "DISCARD SEQUENCES",
                DiscardTarget::Temp => "DISCARD TEMP",
            },
            Self::Declare(_) => "DECLARE CURSOR",
            Self::Fetch { .. } => "FETCH",
            Self::Move { .. } => "MOVE",
            Self::Close(Named::All) => "CLOSE CURSOR ALL",
            Self::Close(Named::Name(_)) => "CLOSE CURSOR",
            Self::Listen { .. } => "LISTEN",
            Self::Unlisten(_) => "UNLISTEN",
            Self::Notify { .. } => "NOTIFY",
            Self::LockTable { .. } => "LOCK TABLE",
            Self::Vacuum { .. } => "VACUUM",
            Self::Analyze { .. } => "ANALYZE",
            Self::Checkpoint => "CHECKPOINT",
        }
    }

    /// Whether a read-only transaction may run it.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Insert(_)
            | Self::Update(_)
            | Self::Delete(_)
            | Self::CreateTable(_)
            | Self::CreateTableAs(_)
            | Self::DropTable { .. }
            | Self::AlterTable(_)
            | Self::Truncate { .. }
            | Self::CreateIndex(_)
            | Self::DropIndex { .. }
            | Self::AlterIndex { .. }
            | Self::Reindex { .. }
            | Self::CreateSequence { .. }
            | Self::AlterSequence { .. }
            | Self::DropSequence { .. }
            | Self::CreateSchema { .. }
            | Self::DropSchema { .. }
            | Self::CreateExtension { .. }
            | Self::DropExtension { .. }
            | Self::Comment { .. }
            | Self::Vacuum { .. }
            | Self::Analyze { .. }
            | Self::Notify { .. } => false,
            Self::Copy(copy) => copy.direction == CopyDirection::ToStdout,
            Self::Explain { options, statement } => !options.analyze || statement.is_read_only(),
            Self::LockTable { mode, .. } => *mode <= LockMode::RowShare,
            _ => true,
        }
    }

    /// Whether it has rows to send back.
    pub fn returns_rows(&self) -> bool {
        match self {
            Self::Query(_) | Self::Explain { .. } | Self::Show(_) | Self::Fetch { .. } => true,
            Self::Insert(insert) => !insert.returning.is_empty(),
            Self::Update(update) => !update.returning.is_empty(),
            Self::Delete(delete) => !delete.returning.is_empty(),
            _ => false,
        }
    }
}

/// Whether an assigned value is the word DEFAULT (a call of `pg_default()`).
pub fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Function(function) if function.name.to_string() == "pg_default")
}
