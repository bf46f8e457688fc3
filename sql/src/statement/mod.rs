//! What a statement says, as plain data: names folded, types checked, expressions rewritten.
//!
//! A clause that LodeDB does not have is an error that names it; none is ever passed over in silence.

mod changes;
mod copying;
mod creating;
mod cursors;
mod definitions;
mod indexes;
pub(crate) mod reader;
mod roles;
mod session;
mod tables;
mod utility;
mod writing;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlparser::ast::{Expr, Query};

use crate::types::TypeWithModifier;

pub use changes::{
    ConflictAction, ConflictTarget, Copy, CopyClause, CopyDirection, CopyRelation, Delete, Insert, InsertSource,
    InsertValue, OnConflict, Overriding, Update, is_default,
};
pub use definitions::{
    AlterTable, ColumnDefinition, ConstraintKind, CreateIndex, CreateTable, CreateTableAs, Generated, IndexAction,
    IndexColumn, IndexKey, ReindexTarget, SequenceOptions, TableAction, TableConstraint,
};
pub use roles::{
    DefaultObjects, DefaultPrivileges, Grant, GrantObjects, GrantRole, Password, Privilege, RoleName, RoleOptions,
};

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
    /// CHECK TABLE, or CHECK DATABASE without tables.
    Check { tables: Option<Vec<ObjectName>> },
    /// BACKUP TO a folder.
    Backup { to: String },
    /// CREATE MODEL from a directory.
    CreateModel { name: String, directory: String, options: Vec<(String, String)> },
    /// DROP MODEL.
    DropModel { names: Vec<String>, if_exists: bool, cascade: bool },
    /// CREATE ROLE, USER or GROUP.
    CreateRole { name: String, options: RoleOptions },
    /// ALTER ROLE or USER.
    AlterRole { role: RoleName, options: RoleOptions },
    /// ALTER ROLE .. RENAME TO.
    RenameRole { role: RoleName, to: String },
    /// DROP ROLE, USER or GROUP.
    DropRole { names: Vec<RoleName>, if_exists: bool },
    /// GRANT or REVOKE of membership.
    GrantRole(Box<GrantRole>),
    /// GRANT or REVOKE of privileges.
    Grant(Box<Grant>),
    /// ALTER DEFAULT PRIVILEGES.
    DefaultPrivileges(Box<DefaultPrivileges>),
    /// ALTER SEQUENCE .. OWNER TO.
    SequenceOwner { name: ObjectName, if_exists: bool, role: RoleName },
}

/// A name, or all there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// One.
    Name(String),
    /// All.
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
    /// Every level, the weakest first.
    pub const ALL: [Self; 4] = [Self::ReadUncommitted, Self::ReadCommitted, Self::RepeatableRead, Self::Serializable];

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
            Self::Backup { .. } => "BACKUP",
            Self::Check { .. } => "CHECK",
            Self::CreateModel { .. } => "CREATE MODEL",
            Self::DropModel { .. } => "DROP MODEL",
            Self::CreateRole { .. } => "CREATE ROLE",
            Self::AlterRole { .. } | Self::RenameRole { .. } => "ALTER ROLE",
            Self::DropRole { .. } => "DROP ROLE",
            Self::GrantRole(grant) => {
                if grant.revoke {
                    "REVOKE ROLE"
                } else {
                    "GRANT ROLE"
                }
            }
            Self::Grant(grant) => {
                if grant.revoke {
                    "REVOKE"
                } else {
                    "GRANT"
                }
            }
            Self::DefaultPrivileges(_) => "ALTER DEFAULT PRIVILEGES",
            Self::SequenceOwner { .. } => "ALTER SEQUENCE",
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
            | Self::CreateModel { .. }
            | Self::DropModel { .. }
            | Self::CreateRole { .. }
            | Self::AlterRole { .. }
            | Self::RenameRole { .. }
            | Self::DropRole { .. }
            | Self::GrantRole(_)
            | Self::Grant(_)
            | Self::DefaultPrivileges(_)
            | Self::SequenceOwner { .. }
            | Self::Notify { .. } => false,
            Self::Copy(copy) => copy.direction == CopyDirection::ToStdout,
            Self::Explain { options, statement } => !options.analyze || statement.is_read_only(),
            Self::LockTable { mode, .. } => *mode <= LockMode::RowShare,
            _ => true,
        }
    }

    /// Whether it may leave the database larger: what only takes away, or gives space back, does not.
    pub fn grows(&self) -> bool {
        match self {
            Self::Delete(_)
            | Self::DropTable { .. }
            | Self::Truncate { .. }
            | Self::DropIndex { .. }
            | Self::DropSequence { .. }
            | Self::DropSchema { .. }
            | Self::DropExtension { .. }
            | Self::DropRole { .. }
            | Self::DropModel { .. }
            | Self::Vacuum { .. }
            | Self::Analyze { .. }
            | Self::LockTable { .. }
            | Self::Notify { .. } => false,
            Self::Explain { statement, .. } => !self.is_read_only() && statement.grows(),
            _ => !self.is_read_only(),
        }
    }

    /// Whether it has rows to send back.
    pub fn returns_rows(&self) -> bool {
        match self {
            Self::Query(_) | Self::Explain { .. } | Self::Show(_) | Self::Fetch { .. } | Self::Check { .. } => true,
            Self::Insert(insert) => !insert.returning.is_empty(),
            Self::Update(update) => !update.returning.is_empty(),
            Self::Delete(delete) => !delete.returning.is_empty(),
            _ => false,
        }
    }
}
