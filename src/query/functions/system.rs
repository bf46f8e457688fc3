//! Functions about the objects of the catalog: their names, definitions, sizes and comments.

use bigdecimal::num_traits::ToPrimitive;
use chrono_tz::Tz;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState};

use super::definition::{Call, Definition, function};
use super::types::*;
use crate::catalog::Catalog;
use crate::query::pg_catalog::describe;
use crate::query::pg_catalog::names::{self, quote_identifier, quote_literal};
use crate::query::pg_catalog::procedures;

pub(crate) use crate::query::pg_catalog::names::object_named;

/// The text form of a value; an object of the catalog by its name.
pub(crate) fn text_of(catalog: Option<&Catalog>, datum: &Datum, ty: PgType, zone: Tz) -> String {
    if let (Datum::Oid(oid), PgType::Scalar(scalar)) = (datum, ty) {
        let name = match scalar {
            _ if *oid == 0 => None,
            ScalarType::Regclass => names::relation_name(catalog, *oid),
            ScalarType::Regproc => procedures::by_oid(*oid).map(|procedure| quote_identifier(procedure.name)),
            ScalarType::Regnamespace => {
                names::SCHEMAS.iter().find(|(_, schema)| schema == oid).map(|(name, _)| (*name).to_owned())
            }
            _ => None,
        };
        if let Some(name) = name {
            return name;
        }
    }
    lodedb_sql::text::to_text(datum, ty, zone)
}

fn text(value: impl Into<String>) -> Datum {
    Datum::Text(value.into())
}

fn text_or_null(value: Option<String>) -> Datum {
    value.map_or(Datum::Null, Datum::Text)
}

fn string(args: &[Datum], place: usize) -> &str {
    match args.get(place) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

fn oid(args: &[Datum], place: usize) -> u32 {
    match args.get(place) {
        Some(Datum::Oid(oid)) => *oid,
        _ => 0,
    }
}

fn int(args: &[Datum], place: usize) -> i32 {
    match args.get(place) {
        Some(Datum::Int4(value)) => *value,
        _ => -1,
    }
}

fn indexdef(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let catalog = &call.scope()?.catalog;
    let Some(index) = catalog.index_by_id(oid(args, 0)) else { return Ok(Datum::Null) };
    Ok(text_or_null(match args.get(1) {
        Some(Datum::Int4(place)) if *place > 0 => {
            return Ok(text(describe::index_key(catalog, index, *place as usize).unwrap_or_default()));
        }
        _ => describe::index_definition(catalog, index),
    }))
}

fn constraintdef(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(text_or_null(describe::constraint_definition(&call.scope()?.catalog, oid(args, 0))))
}

fn format_type(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Oid(oid) = args[0] else { return Ok(Datum::Null) };
    let modifier = match args.get(1) {
        Some(Datum::Int4(modifier)) => *modifier,
        _ => -1,
    };
    Ok(match PgType::from_oid(oid) {
        Some(ty) => text(describe::format_type(ty, modifier)),
        None if oid == 0 => text("-"),
        None => text(procedures::type_name(oid)),
    })
}

fn userbyid(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let role = oid(args, 0);
    Ok(text(call.scope()?.role_name(role).unwrap_or_else(|| format!("unknown (OID={role})"))))
}

fn to_registered(call: &Call<'_>, args: &[Datum], kind: ScalarType) -> Result<Datum> {
    let catalog = call.scope().ok().map(|scope| scope.catalog.as_ref());
    Ok(object_named(catalog, string(args, 0), kind).map_or(Datum::Null, Datum::Oid))
}

fn is_visible(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let catalog = &call.scope()?.catalog;
    let oid = oid(args, 0);
    if let Some(relation) = crate::query::pg_catalog::relations::by_oid(oid) {
        return Ok(Datum::Bool(relation.schema == "pg_catalog"));
    }
    Ok(names::own_relation(catalog, oid).map_or(Datum::Null, |_| Datum::Bool(true)))
}

/// Bytes of a relation: itself, its indexes, or both.
fn relation_size(call: &Call<'_>, args: &[Datum], itself: bool, indexes: bool) -> Result<Datum> {
    let scope = call.scope()?;
    let relation = oid(args, 0);
    if names::relation_name(Some(&scope.catalog), relation).is_none() {
        return Ok(Datum::Null);
    }
    let Some(server) = &scope.hooks.server else { return Ok(Datum::Int8(0)) };
    let mut bytes = if itself { server.relation_bytes(relation).unwrap_or(0) } else { 0 };
    if indexes {
        bytes +=
            scope.catalog.indexes_of(relation).map(|index| server.relation_bytes(index.id).unwrap_or(0)).sum::<u64>();
    }
    Ok(Datum::Int8(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

fn database_size(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    let server = call.scope()?.hooks.server.clone();
    Ok(Datum::Int8(server.map_or(0, |server| i64::try_from(server.database_bytes()).unwrap_or(i64::MAX))))
}

/// `1234 kB`: rounded at each step as PostgreSQL rounds.
fn size_pretty(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let bytes = match &args[0] {
        Datum::Int8(bytes) => i128::from(*bytes),
        Datum::Numeric(bytes) => bytes.to_i128().unwrap_or(0),
        _ => 0,
    };
    if bytes.abs() < 10 * 1024 {
        return Ok(text(format!("{bytes} bytes")));
    }
    // One bit more than shown is kept, for rounding half up at the end.
    let mut size = bytes >> 9;
    for unit in ["kB", "MB", "GB", "TB"] {
        if size.abs() < 20 * 1024 - 1 {
            return Ok(text(format!("{} {unit}", half_rounded(size))));
        }
        size >>= 10;
    }
    Ok(text(format!("{} PB", half_rounded(size))))
}

fn half_rounded(size: i128) -> i128 {
    (size + size.signum()) / 2
}

fn serial_sequence(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let catalog = &call.scope()?.catalog;
    let relation = object_named(Some(catalog), string(args, 0), ScalarType::Regclass)?;
    let Some(table) = catalog.table_by_id(relation) else { return Ok(Datum::Null) };
    let name = string(args, 1);
    let Some(column) = table.position(name).map(|at| &table.columns[at]) else {
        return Err(SqlError::new(
            SqlState::UndefinedColumn,
            format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
        ));
    };
    let sequence = describe::owned_sequence(catalog, table, column);
    Ok(text_or_null(sequence.map(|sequence| format!("public.{}", quote_identifier(sequence)))))
}

fn describe_object(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let catalog = &call.scope()?.catalog;
    let object = oid(args, 1);
    Ok(text_or_null(
        PgType::from_oid(object)
            .map(|ty| format!("type {}", ty.sql_name()))
            .or_else(|| {
                procedures::by_oid(object)
                    .map(|procedure| format!("function {}({})", procedure.name, procedure.argument_list()))
            })
            .or_else(|| {
                names::own_relation(catalog, object).map(|(kind, name)| {
                    let word = match kind {
                        'i' => "index",
                        'S' => "sequence",
                        _ => "table",
                    };
                    format!("{word} {}", quote_identifier(&name))
                })
            }),
    ))
}

fn yes(_: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(Datum::Bool(true))
}

fn no(_: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(Datum::Bool(false))
}

fn null(_: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(Datum::Null)
}

macro_rules! visible {
    ($($name:literal)*) => { &[$(function($name, &[OID], TO_BOOL, yes).stable()),*] };
}

/// Everything but relations is found where it is: there is one schema for each kind.
const VISIBILITY: &[Definition] = visible! {
    "pg_type_is_visible" "pg_function_is_visible" "pg_operator_is_visible" "pg_opclass_is_visible"
    "pg_opfamily_is_visible" "pg_collation_is_visible" "pg_conversion_is_visible" "pg_ts_config_is_visible"
    "pg_ts_dict_is_visible" "pg_ts_parser_is_visible" "pg_ts_template_is_visible" "pg_statistics_obj_is_visible"
};

const OBJECTS: &[Definition] = &[
    function("pg_get_indexdef", &[OID], TO_TEXT, indexdef).stable(),
    function("pg_get_indexdef", &[OID, INT4, BOOL], TO_TEXT, indexdef).stable(),
    function("pg_get_constraintdef", &[OID, BOOL], TO_TEXT, constraintdef).optional(1).stable(),
    function("pg_get_expr", &[TEXT, OID, BOOL], TO_TEXT, |_, args| Ok(args[0].clone())).optional(1).stable(),
    function("pg_get_userbyid", &[OID], TO_NAME, userbyid).stable(),
    function("pg_get_viewdef", &[OID, ANY], TO_TEXT, null).optional(1).stable(),
    function("pg_get_ruledef", &[OID, BOOL], TO_TEXT, null).optional(1).stable(),
    function("pg_get_triggerdef", &[OID, BOOL], TO_TEXT, null).optional(1).stable(),
    function("pg_get_partkeydef", &[OID], TO_TEXT, null).stable(),
    function("pg_get_partition_constraintdef", &[OID], TO_TEXT, null).stable(),
    function("pg_get_statisticsobjdef", &[OID], TO_TEXT, null).stable(),
    function("pg_get_statisticsobjdef_columns", &[OID], TO_TEXT, null).stable(),
    function("pg_get_functiondef", &[OID], TO_TEXT, null).stable(),
    function("pg_get_function_sqlbody", &[OID], TO_TEXT, null).stable(),
    function("pg_get_function_arguments", &[OID], TO_TEXT, |_, args| {
        Ok(text_or_null(procedures::by_oid(oid(args, 0)).map(|procedure| procedure.argument_list())))
    })
    .stable(),
    function("pg_get_function_identity_arguments", &[OID], TO_TEXT, |_, args| {
        Ok(text_or_null(procedures::by_oid(oid(args, 0)).map(|procedure| procedure.argument_list())))
    })
    .stable(),
    function("pg_get_function_result", &[OID], TO_TEXT, |_, args| {
        Ok(text_or_null(procedures::by_oid(oid(args, 0)).map(|procedure| procedure.result())))
    })
    .stable(),
    function("pg_get_serial_sequence", &[TEXT, TEXT], TO_TEXT, serial_sequence).stable(),
    function("pg_describe_object", &[OID, OID, INT4], TO_TEXT, describe_object).stable(),
    function("format_type", &[OID, INT4], TO_TEXT, format_type).null_allowed().stable(),
    function("to_regclass", &[TEXT], TO_REGCLASS, |call, args| to_registered(call, args, ScalarType::Regclass))
        .stable(),
    function("to_regtype", &[TEXT], TO_REGTYPE, |call, args| to_registered(call, args, ScalarType::Regtype)).stable(),
    function("to_regproc", &[TEXT], TO_REGPROC, |call, args| to_registered(call, args, ScalarType::Regproc)).stable(),
    function("to_regnamespace", &[TEXT], TO_REGNAMESPACE, |call, args| {
        to_registered(call, args, ScalarType::Regnamespace)
    })
    .stable(),
    function("pg_table_is_visible", &[OID], TO_BOOL, is_visible).stable(),
    function("obj_description", &[OID, NAME], TO_TEXT, null).optional(1).stable(),
    function("col_description", &[OID, INT4], TO_TEXT, null).stable(),
    function("shobj_description", &[OID, NAME], TO_TEXT, null).stable(),
    function("pg_relation_size", &[REGCLASS, TEXT], TO_INT8, |call, args| relation_size(call, args, true, false))
        .optional(1)
        .volatile(),
    function("pg_table_size", &[REGCLASS], TO_INT8, |call, args| relation_size(call, args, true, false)).volatile(),
    function("pg_indexes_size", &[REGCLASS], TO_INT8, |call, args| relation_size(call, args, false, true)).volatile(),
    function("pg_total_relation_size", &[REGCLASS], TO_INT8, |call, args| relation_size(call, args, true, true))
        .volatile(),
    function("pg_database_size", &[NAME], TO_INT8, database_size).volatile(),
    function("pg_database_size", &[OID], TO_INT8, database_size).volatile(),
    function("pg_size_pretty", &[INT8], TO_TEXT, size_pretty),
    function("pg_size_pretty", &[NUMERIC], TO_TEXT, size_pretty),
    function("pg_relation_is_publishable", &[REGCLASS], TO_BOOL, no).stable(),
    function("pg_partition_root", &[REGCLASS], TO_REGCLASS, null).stable(),
    function("pg_partition_ancestors", &[REGCLASS], TO_OID_ARRAY, |_, args| {
        Ok(super::array::array_of(ScalarType::Oid, vec![args[0].clone()]))
    })
    .stable(),
    function("pg_relation_filenode", &[REGCLASS], TO_OID, |_, args| Ok(args[0].clone())).stable(),
    function("pg_tablespace_location", &[OID], TO_TEXT, |_, _| Ok(text(""))).stable(),
    function("pg_index_column_has_property", &[REGCLASS, INT4, TEXT], TO_BOOL, |_, args| {
        Ok(Datum::Bool(matches!(string(args, 2), "asc" | "nulls_last" | "orderable" | "returnable")))
    })
    .stable(),
    function("pg_encoding_to_char", &[INT4], TO_NAME, |_, args| {
        Ok(text(match int(args, 0) {
            6 => "UTF8",
            0 => "SQL_ASCII",
            _ => "",
        }))
    })
    .stable(),
    function("pg_char_to_encoding", &[NAME], TO_INT4, |_, args| {
        Ok(Datum::Int4(match string(args, 0).to_ascii_uppercase().as_str() {
            "UTF8" | "UTF-8" | "UNICODE" => 6,
            "SQL_ASCII" => 0,
            _ => -1,
        }))
    })
    .stable(),
    function("getdatabaseencoding", &[], TO_NAME, |_, _| Ok(text("UTF8"))).stable(),
    function("quote_ident", &[TEXT], TO_TEXT, |_, args| Ok(text(quote_identifier(string(args, 0))))),
    function("quote_literal", &[TEXT], TO_TEXT, |_, args| Ok(text(quote_literal(string(args, 0))))),
    function("quote_literal", &[ANY], TO_TEXT, |call, args| Ok(text(quote_literal(&call.text(0, &args[0]))))),
    function("quote_nullable", &[ANY], TO_TEXT, |call, args| {
        Ok(text(if args[0].is_null() { "NULL".to_owned() } else { quote_literal(&call.text(0, &args[0])) }))
    })
    .null_allowed(),
    function("parse_ident", &[TEXT], TO_TEXT_ARRAY, |_, args| {
        let parts = names::parse_qualified(string(args, 0))?;
        Ok(super::array::array_of(ScalarType::Text, parts.into_iter().map(Datum::Text).collect()))
    }),
    function("pg_typeof", &[ANY], TO_REGTYPE, |call, _| Ok(Datum::Oid(call.ty(0).oid()))).null_allowed().stable(),
    function("acldefault", &[CHAR, OID], TO_TEXT_ARRAY, null).stable(),
    function("pg_get_keywords", &[], TO_TEXT_ARRAY, null).stable(),
];

/// The functions of this file.
pub(super) fn functions() -> impl Iterator<Item = Definition> {
    VISIBILITY.iter().chain(super::privileges::FUNCTIONS).chain(OBJECTS).cloned()
}
