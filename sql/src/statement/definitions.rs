//! The statements that define tables, indexes and sequences, as data.

use sqlparser::ast::{Expr, Query};

use super::{ObjectName, RoleName};
use crate::types::TypeWithModifier;

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

/// What gives a column its values, if not a default.
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
    /// GENERATED ALWAYS AS (expression) STORED.
    Stored {
        /// The text of the expression.
        text: String,
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
#[expect(clippy::large_enum_variant, reason = "nearly all values are of the large variant, or few are kept")]
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
    /// ALTER COLUMN .. SET EXPRESSION AS (expression).
    SetExpression { column: String, text: String },
    /// ALTER COLUMN .. DROP EXPRESSION.
    DropExpression { column: String, if_exists: bool },
    /// ALTER COLUMN .. TYPE.
    SetType { column: String, ty: TypeWithModifier, using: Option<Expr> },
    /// ALTER COLUMN .. SET STORAGE or STATISTICS: nothing to do.
    SetStorage { column: String, storage: String },
    /// SET or RESET (name = value, ..): nothing to do.
    SetOptions(Vec<(String, String)>),
    /// OWNER TO.
    OwnerTo { role: RoleName },
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
#[expect(clippy::large_enum_variant, reason = "nearly all values are of the large variant, or few are kept")]
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
