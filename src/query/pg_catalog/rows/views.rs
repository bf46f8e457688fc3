//! The views of `pg_catalog` that show tables, indexes and sequences by name.

use lodedb_sql::Datum;
use lodedb_sql::error::Result;
use lodedb_sql::statement::Privilege;

use super::OWNER;
use super::objects::sequence_type;
use crate::catalog::rights::{ObjectKind, Privileges, RoleId};
use crate::query::functions::Scope;
use crate::query::pg_catalog::describe;
use crate::query::pg_catalog::relations::RELATIONS;
use crate::query::pg_catalog::table::{Rows, text};

/// `pg_tables`.
pub(super) fn tables(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let mut push = |schema: &str, name: &str, owner: RoleId, has_indexes: bool| {
        rows.push([
            ("schemaname", text(schema)),
            ("tablename", text(name)),
            ("tableowner", text(scope.role_name(owner).unwrap_or_default())),
            ("hasindexes", Datum::Bool(has_indexes)),
            ("hasrules", Datum::Bool(false)),
            ("hastriggers", Datum::Bool(false)),
            ("rowsecurity", Datum::Bool(false)),
        ])
    };
    for table in scope.catalog.tables() {
        let owner = scope.catalog.rights().owner(table.id);
        push("public", &table.name, owner, scope.catalog.indexes_of(table.id).next().is_some())?;
    }
    for relation in RELATIONS.iter().filter(|relation| !relation.is_view) {
        push(relation.schema, relation.name, OWNER, false)?;
    }
    Ok(())
}

/// `pg_indexes`.
pub(super) fn indexes(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for index in scope.catalog.indexes() {
        let Some(table) = scope.catalog.table_by_id(index.table) else { continue };
        rows.push([
            ("schemaname", text("public")),
            ("tablename", text(&table.name)),
            ("indexname", text(&index.name)),
            ("indexdef", describe::index_definition(&scope.catalog, index).map_or(Datum::Null, Datum::Text)),
        ])?;
    }
    Ok(())
}

/// `pg_sequences`.
pub(super) fn sequences(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for sequence in scope.catalog.sequences() {
        let held = scope.actor().held(ObjectKind::Sequence, sequence.id);
        let readable = Privileges::of(&[Privilege::Select, Privilege::Usage]);
        let access = scope.hooks.sequences.as_ref().filter(|_| !held.and(readable).is_empty());
        let last = access.and_then(|access| access.peek(sequence.id));
        rows.push([
            ("schemaname", text("public")),
            ("sequencename", text(&sequence.name)),
            ("sequenceowner", text(scope.role_name(scope.catalog.rights().owner(sequence.id)).unwrap_or_default())),
            ("data_type", Datum::Oid(sequence_type(sequence.max).oid())),
            ("start_value", Datum::Int8(sequence.start)),
            ("min_value", Datum::Int8(sequence.min)),
            ("max_value", Datum::Int8(sequence.max)),
            ("increment_by", Datum::Int8(sequence.increment)),
            ("cycle", Datum::Bool(false)),
            ("cache_size", Datum::Int8(1)),
            ("last_value", last.filter(|(_, called)| *called).map_or(Datum::Null, |(value, _)| Datum::Int8(value))),
        ])?;
    }
    Ok(())
}

/// `pg_stat_user_tables` and its like: the names, and the counters that are known.
pub(super) fn table_statistics(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for table in scope.catalog.tables() {
        rows.push([("relid", Datum::Oid(table.id)), ("schemaname", text("public")), ("relname", text(&table.name))])?;
    }
    Ok(())
}

/// `pg_stat_user_indexes` and its like.
pub(super) fn index_statistics(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for index in scope.catalog.indexes() {
        let Some(table) = scope.catalog.table_by_id(index.table) else { continue };
        rows.push([
            ("relid", Datum::Oid(table.id)),
            ("indexrelid", Datum::Oid(index.id)),
            ("schemaname", text("public")),
            ("relname", text(&table.name)),
            ("indexrelname", text(&index.name)),
        ])?;
    }
    Ok(())
}
