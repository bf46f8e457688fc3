//! The views of `information_schema`.

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use super::objects::sequence_type;
use crate::catalog::{Column, Identity, IndexKind, KeyConstraint, Table};
use crate::query::arrow::numeric_parts;
use crate::query::functions::Scope;
use crate::query::pg_catalog::describe;
use crate::query::pg_catalog::names::SCHEMAS;
use crate::query::pg_catalog::relations::RELATIONS;
use crate::query::pg_catalog::table::{Rows, text, yes_or_no};

/// Puts the rows of a view into `rows`.
pub(super) fn fill(scope: &Scope, name: &str, rows: &mut Rows) -> Result<()> {
    match name {
        "tables" => tables(scope, rows),
        "columns" => columns(scope, rows),
        "schemata" => schemata(scope, rows),
        "table_constraints" => table_constraints(scope, rows),
        "key_column_usage" => key_column_usage(scope, rows, true),
        "constraint_column_usage" => key_column_usage(scope, rows, false),
        "constraint_table_usage" => constraint_table_usage(scope, rows),
        "check_constraints" => check_constraints(scope, rows),
        "sequences" => sequences(scope, rows),
        "information_schema_catalog_name" => rows.push([("catalog_name", database(scope))]),
        "enabled_roles" => super::roles::enabled(scope, rows),
        "applicable_roles" => super::roles::applicable(scope, rows),
        "table_privileges" | "role_table_grants" => super::roles::table_privileges(scope, rows),
        "character_sets" => rows.push([
            ("character_set_name", text("UTF8")),
            ("character_repertoire", text("UCS")),
            ("form_of_use", text("UTF8")),
            ("default_collate_catalog", database(scope)),
        ]),
        _ => Ok(()),
    }
}

fn database(scope: &Scope) -> Datum {
    text(&scope.environment.database)
}

fn tables(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let mut push = |schema: &str, name: &str, kind: &str| {
        rows.push([
            ("table_catalog", database(scope)),
            ("table_schema", text(schema)),
            ("table_name", text(name)),
            ("table_type", text(kind)),
            ("is_insertable_into", yes_or_no(schema == "public")),
            ("is_typed", yes_or_no(false)),
        ])
    };
    for table in scope.catalog.tables() {
        push("public", &table.name, "BASE TABLE")?;
    }
    for relation in RELATIONS.iter() {
        push(relation.schema, relation.name, if relation.is_view { "VIEW" } else { "BASE TABLE" })?;
    }
    Ok(())
}

/// The type as the standard names it, and as PostgreSQL keeps it.
fn type_names(ty: PgType) -> (String, &'static str, String) {
    match ty {
        PgType::Array(_) => ("ARRAY".to_owned(), "pg_catalog", ty.typname()),
        PgType::Scalar(ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec) => {
            ("USER-DEFINED".to_owned(), "public", ty.typname())
        }
        _ => (ty.sql_name(), "pg_catalog", ty.typname()),
    }
}

fn number(value: Option<i32>) -> Datum {
    value.map_or(Datum::Null, Datum::Int4)
}

struct Measures {
    characters: Option<i32>,
    octets: Option<i32>,
    precision: Option<i32>,
    radix: Option<i32>,
    scale: Option<i32>,
    datetime: Option<i32>,
}

fn measures(ty: TypeWithModifier) -> Measures {
    let mut measures =
        Measures { characters: None, octets: None, precision: None, radix: None, scale: None, datetime: None };
    let PgType::Scalar(scalar) = ty.ty else { return measures };
    match scalar {
        ScalarType::Varchar | ScalarType::Bpchar => {
            measures.characters = (ty.modifier >= 4).then_some(ty.modifier - 4);
            measures.octets = Some(measures.characters.map_or(1_073_741_824, |length| length.saturating_mul(4)));
        }
        ScalarType::Text => measures.octets = Some(1_073_741_824),
        ScalarType::Int2 => (measures.precision, measures.radix, measures.scale) = (Some(16), Some(2), Some(0)),
        ScalarType::Int4 => (measures.precision, measures.radix, measures.scale) = (Some(32), Some(2), Some(0)),
        ScalarType::Int8 => (measures.precision, measures.radix, measures.scale) = (Some(64), Some(2), Some(0)),
        ScalarType::Float4 => (measures.precision, measures.radix) = (Some(24), Some(2)),
        ScalarType::Float8 => (measures.precision, measures.radix) = (Some(53), Some(2)),
        ScalarType::Numeric => {
            measures.radix = Some(10);
            if let Some((precision, scale)) = numeric_parts(ty.modifier) {
                (measures.precision, measures.scale) = (Some(precision), Some(scale));
            }
        }
        ScalarType::Date => measures.datetime = Some(0),
        ScalarType::Time | ScalarType::Timestamp | ScalarType::Timestamptz | ScalarType::Interval => {
            measures.datetime = Some(if ty.modifier >= 0 { ty.modifier } else { 6 });
        }
        _ => {}
    }
    measures
}

fn columns(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for table in scope.catalog.tables() {
        for (_, column) in table.visible_columns() {
            push_column(scope, rows, table, column)?;
        }
    }
    for relation in RELATIONS.iter() {
        for (place, column) in relation.columns.iter().enumerate() {
            let (data_type, udt_schema, udt_name) = type_names(column.ty.ty);
            rows.push([
                ("table_catalog", database(scope)),
                ("table_schema", text(relation.schema)),
                ("table_name", text(relation.name)),
                ("column_name", text(column.name)),
                ("ordinal_position", Datum::Int4(place as i32 + 1)),
                ("is_nullable", yes_or_no(!column.not_null)),
                ("data_type", text(data_type)),
                ("udt_catalog", database(scope)),
                ("udt_schema", text(udt_schema)),
                ("udt_name", text(udt_name)),
                ("dtd_identifier", text((place + 1).to_string())),
                ("is_self_referencing", yes_or_no(false)),
                ("is_identity", yes_or_no(false)),
                ("is_generated", text("NEVER")),
                ("is_updatable", yes_or_no(false)),
            ])?;
        }
    }
    Ok(())
}

fn push_column(scope: &Scope, rows: &mut Rows, table: &Table, column: &Column) -> Result<()> {
    let (data_type, udt_schema, udt_name) = type_names(column.ty.ty);
    let measures = measures(column.ty);
    let identity = match column.identity {
        Some(Identity::Always) => text("ALWAYS"),
        Some(Identity::ByDefault) => text("BY DEFAULT"),
        None => Datum::Null,
    };
    let default = column.default.as_deref().map(describe::default_expression);
    let generated = scope.catalog.generated(table.id, column.id);
    rows.push([
        ("table_catalog", database(scope)),
        ("table_schema", text("public")),
        ("table_name", text(&table.name)),
        ("column_name", text(&column.name)),
        ("ordinal_position", Datum::Int4(table.number(column.id) as i32)),
        ("column_default", default.map_or(Datum::Null, Datum::Text)),
        ("is_nullable", yes_or_no(!column.not_null)),
        ("data_type", text(data_type)),
        ("character_maximum_length", number(measures.characters)),
        ("character_octet_length", number(measures.octets)),
        ("numeric_precision", number(measures.precision)),
        ("numeric_precision_radix", number(measures.radix)),
        ("numeric_scale", number(measures.scale)),
        ("datetime_precision", number(measures.datetime)),
        ("udt_catalog", database(scope)),
        ("udt_schema", text(udt_schema)),
        ("udt_name", text(udt_name)),
        ("dtd_identifier", text(table.number(column.id).to_string())),
        ("is_self_referencing", yes_or_no(false)),
        ("is_identity", yes_or_no(column.identity.is_some())),
        ("identity_generation", identity),
        ("identity_cycle", yes_or_no(false)),
        ("is_generated", text(if generated.is_some() { "ALWAYS" } else { "NEVER" })),
        ("generation_expression", generated.map_or(Datum::Null, |generated| text(&generated.expression))),
        ("is_updatable", yes_or_no(true)),
    ])
}

fn schemata(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for (name, _) in SCHEMAS {
        rows.push([
            ("catalog_name", database(scope)),
            ("schema_name", text(*name)),
            ("schema_owner", text(&scope.environment.user)),
        ])?;
    }
    Ok(())
}

/// The key constraints: name, kind, table, columns.
fn key_constraints(scope: &Scope) -> impl Iterator<Item = (&str, &'static str, &Table, &[u32])> {
    scope.catalog.indexes().filter_map(|index| {
        let IndexKind::Btree { columns, constraint: Some(constraint), .. } = &index.kind else { return None };
        let kind = match constraint {
            KeyConstraint::Primary => "PRIMARY KEY",
            KeyConstraint::Unique => "UNIQUE",
        };
        let table = scope.catalog.table_by_id(index.table)?;
        Some((index.name.as_str(), kind, table.as_ref(), columns.as_slice()))
    })
}

/// The name under which the standard knows a NOT NULL: a CHECK without a name of its own.
fn not_null_name(table: &Table, column: &Column) -> String {
    format!("2200_{}_{}_not_null", table.id, table.number(column.id))
}

fn table_constraints(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let mut push = |name: &str, kind: &str, table: &Table| {
        rows.push([
            ("constraint_catalog", database(scope)),
            ("constraint_schema", text("public")),
            ("constraint_name", text(name)),
            ("table_catalog", database(scope)),
            ("table_schema", text("public")),
            ("table_name", text(&table.name)),
            ("constraint_type", text(kind)),
            ("is_deferrable", yes_or_no(false)),
            ("initially_deferred", yes_or_no(false)),
            ("enforced", yes_or_no(true)),
            ("nulls_distinct", if kind == "UNIQUE" { yes_or_no(true) } else { Datum::Null }),
        ])
    };
    for (name, kind, table, _) in key_constraints(scope) {
        push(name, kind, table)?;
    }
    for table in scope.catalog.tables() {
        for check in &table.checks {
            push(&check.name, "CHECK", table)?;
        }
        for (_, column) in table.visible_columns().filter(|(_, column)| column.not_null) {
            push(&not_null_name(table, column), "CHECK", table)?;
        }
    }
    Ok(())
}

fn key_column_usage(scope: &Scope, rows: &mut Rows, with_positions: bool) -> Result<()> {
    for (name, _, table, columns) in key_constraints(scope) {
        for (place, column) in columns.iter().enumerate() {
            let Some(column) = table.columns.get(*column as usize - 1) else { continue };
            let common = [
                ("constraint_catalog", database(scope)),
                ("constraint_schema", text("public")),
                ("constraint_name", text(name)),
                ("table_catalog", database(scope)),
                ("table_schema", text("public")),
                ("table_name", text(&table.name)),
                ("column_name", text(&column.name)),
            ];
            if with_positions {
                let [a, b, c, d, e, f, g] = common;
                rows.push([a, b, c, d, e, f, g, ("ordinal_position", Datum::Int4(place as i32 + 1))])?;
            } else {
                rows.push(common)?;
            }
        }
    }
    Ok(())
}

fn constraint_table_usage(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for (name, _, table, _) in key_constraints(scope) {
        rows.push([
            ("table_catalog", database(scope)),
            ("table_schema", text("public")),
            ("table_name", text(&table.name)),
            ("constraint_catalog", database(scope)),
            ("constraint_schema", text("public")),
            ("constraint_name", text(name)),
        ])?;
    }
    Ok(())
}

fn check_constraints(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let mut push = |name: String, clause: String| {
        rows.push([
            ("constraint_catalog", database(scope)),
            ("constraint_schema", text("public")),
            ("constraint_name", text(name)),
            ("check_clause", text(clause)),
        ])
    };
    for table in scope.catalog.tables() {
        for check in &table.checks {
            push(check.name.clone(), format!("({})", check.condition))?;
        }
        for (_, column) in table.visible_columns().filter(|(_, column)| column.not_null) {
            push(not_null_name(table, column), format!("{} IS NOT NULL", column.name))?;
        }
    }
    Ok(())
}

fn sequences(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for sequence in scope.catalog.sequences() {
        let ty = sequence_type(sequence.max);
        let bits = match ty {
            ScalarType::Int2 => 16,
            ScalarType::Int4 => 32,
            _ => 64,
        };
        rows.push([
            ("sequence_catalog", database(scope)),
            ("sequence_schema", text("public")),
            ("sequence_name", text(&sequence.name)),
            ("data_type", text(ty.sql_name())),
            ("numeric_precision", Datum::Int4(bits)),
            ("numeric_precision_radix", Datum::Int4(2)),
            ("numeric_scale", Datum::Int4(0)),
            ("start_value", text(sequence.start.to_string())),
            ("minimum_value", text(sequence.min.to_string())),
            ("maximum_value", text(sequence.max.to_string())),
            ("increment", text(sequence.increment.to_string())),
            ("cycle_option", yes_or_no(false)),
        ])?;
    }
    Ok(())
}
