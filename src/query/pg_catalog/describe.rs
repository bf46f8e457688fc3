//! Objects written back as the SQL that would make them, and types as SQL names them.

use std::fmt::Write as _;

use lodedb_sql::{PgType, ScalarType};

use super::names::{quote_identifier, quote_literal};
use crate::catalog::{Catalog, Check, Column, Index, IndexKind, KeyConstraint, Table};
use crate::query::arrow::numeric_parts;

/// Added to the OID of an index to give that of the constraint it stands for.
const KEY_CONSTRAINT_BASE: u32 = 0x4000_0000;
/// With the table and the place of a CHECK among its checks, gives the OID of the constraint.
const CHECK_BASE: u32 = 0x6000_0000;
/// With the table and the number of a column, gives the OID of its default.
const DEFAULT_BASE: u32 = 0x2000_0000;

/// The OID of the constraint that a unique index stands for.
pub(crate) fn key_constraint_oid(index: u32) -> u32 {
    KEY_CONSTRAINT_BASE.wrapping_add(index)
}

/// The OID of a CHECK constraint.
pub(crate) fn check_oid(table: u32, place: usize) -> u32 {
    CHECK_BASE.wrapping_add(table << 6).wrapping_add(place as u32)
}

/// The OID of the default of a column.
pub(crate) fn default_oid(table: u32, column: u32) -> u32 {
    DEFAULT_BASE.wrapping_add(table << 8).wrapping_add(column)
}

/// A type as SQL writes it, with its modifier if there is one.
pub(crate) fn format_type(ty: PgType, modifier: i32) -> String {
    let (scalar, array) = match ty {
        PgType::Scalar(scalar) => (scalar, ""),
        PgType::Array(scalar) => (scalar, "[]"),
    };
    let base = if modifier < 0 {
        // Without a modifier `character` would mean `character(1)`.
        if scalar == ScalarType::Bpchar && modifier < -1 { "bpchar".to_owned() } else { scalar.sql_name().to_owned() }
    } else {
        match scalar {
            ScalarType::Varchar | ScalarType::Bpchar => format!("{}({})", scalar.sql_name(), modifier - 4),
            ScalarType::Numeric => match numeric_parts(modifier) {
                Some((precision, scale)) => format!("numeric({precision},{scale})"),
                None => "numeric".to_owned(),
            },
            ScalarType::Time => format!("time({modifier}) without time zone"),
            ScalarType::Timestamp => format!("timestamp({modifier}) without time zone"),
            ScalarType::Timestamptz => format!("timestamp({modifier}) with time zone"),
            ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec | ScalarType::Bit | ScalarType::Varbit => {
                format!("{}({modifier})", scalar.sql_name())
            }
            scalar => scalar.sql_name().to_owned(),
        }
    };
    base + array
}

/// A default as PostgreSQL prints it: the name of a sequence says what it is.
pub(crate) fn default_expression(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_prefix("nextval(").and_then(|rest| rest.strip_suffix(')')) {
        Some(argument) if !argument.contains("::") => {
            let trimmed = text.trim();
            format!("nextval({}::regclass)", trimmed["nextval(".len()..trimmed.len() - 1].trim())
        }
        _ => text.to_owned(),
    }
}

fn column_name(table: &Table, column: u32) -> String {
    table.columns.get((column as usize).wrapping_sub(1)).map_or_else(String::new, |column| column.name.clone())
}

/// The columns of an index, in order, by number.
pub(crate) fn index_columns(index: &Index) -> Vec<u32> {
    match &index.kind {
        IndexKind::Btree { columns, .. } => columns.clone(),
        IndexKind::Vector { spec, .. } => vec![spec.column],
        // An expression has the number 0.
        IndexKind::Exact { column, .. } => vec![column.unwrap_or(0)],
    }
}

/// The columns that an index goes with.
pub(crate) fn index_dependencies(index: &Index) -> Vec<u32> {
    match &index.kind {
        IndexKind::Exact { uses, .. } => uses.clone(),
        _ => index_columns(index),
    }
}

/// The access method of an index.
pub(crate) fn index_method(index: &Index) -> &str {
    match &index.kind {
        IndexKind::Btree { .. } => "btree",
        IndexKind::Vector { method, .. } | IndexKind::Exact { method, .. } => method,
    }
}

/// The storage parameters of an index as `WITH` lists them.
pub(crate) fn index_options(index: &Index) -> Vec<(String, String)> {
    match &index.kind {
        IndexKind::Btree { .. } => Vec::new(),
        IndexKind::Vector { spec, .. } => spec.options.clone(),
        IndexKind::Exact { options, .. } => options.clone(),
    }
}

/// `CREATE INDEX ...`.
pub(crate) fn index_definition(catalog: &Catalog, index: &Index) -> Option<String> {
    let table = catalog.table_by_id(index.table)?;
    let unique = if index.is_unique() { "UNIQUE " } else { "" };
    let keys: Vec<String> = index_columns(index)
        .into_iter()
        .map(|column| {
            let name = key_text(table, index, column);
            match &index.kind {
                // The class says the metric, so it is never left out.
                IndexKind::Vector { opclass, .. } | IndexKind::Exact { opclass: Some(opclass), .. } => {
                    format!("{name} {opclass}")
                }
                IndexKind::Btree { .. } | IndexKind::Exact { .. } => name,
            }
        })
        .collect();
    let mut text = format!(
        "CREATE {unique}INDEX {} ON public.{} USING {} ({})",
        quote_identifier(&index.name),
        quote_identifier(&table.name),
        index_method(index),
        keys.join(", ")
    );
    let options = index_options(index);
    if !options.is_empty() {
        let list: Vec<String> =
            options.iter().map(|(name, value)| format!("{name}={}", quote_literal(value))).collect();
        let _ = write!(text, " WITH ({})", list.join(", "));
    }
    if let Some(predicate) = index_predicate(index) {
        let _ = write!(text, " WHERE {predicate}");
    }
    Some(text)
}

/// One key of an index, as `pg_get_indexdef(index, place, pretty)` gives it.
pub(crate) fn index_key(catalog: &Catalog, index: &Index, place: usize) -> Option<String> {
    let table = catalog.table_by_id(index.table)?;
    let column = *index_columns(index).get(place.checked_sub(1)?)?;
    Some(key_text(table, index, column))
}

/// A key of an index as SQL writes it.
fn key_text(table: &Table, index: &Index, column: u32) -> String {
    match &index.kind {
        IndexKind::Exact { expression: Some(expression), .. } => parenthesised(expression),
        _ => quote_identifier(&column_name(table, column)),
    }
}

/// The expression that an index is on, if it is on one.
pub(crate) fn index_expression(index: &Index) -> Option<String> {
    match &index.kind {
        IndexKind::Exact { expression: Some(expression), .. } => Some(parenthesised(expression)),
        _ => None,
    }
}

/// The condition of the rows in an index, if it has one.
pub(crate) fn index_predicate(index: &Index) -> Option<String> {
    match &index.kind {
        IndexKind::Exact { predicate: Some(predicate), .. } => Some(parenthesised(predicate)),
        _ => None,
    }
}

fn parenthesised(text: &str) -> String {
    let text = text.trim();
    if is_parenthesised(text) { text.to_owned() } else { format!("({text})") }
}

/// `PRIMARY KEY (id)` or `UNIQUE (a, b)`, for an index that is a constraint.
pub(crate) fn key_constraint(catalog: &Catalog, index: &Index) -> Option<String> {
    let IndexKind::Btree { columns, constraint: Some(constraint), .. } = &index.kind else { return None };
    let table = catalog.table_by_id(index.table)?;
    let word = match constraint {
        KeyConstraint::Primary => "PRIMARY KEY",
        KeyConstraint::Unique => "UNIQUE",
    };
    let names: Vec<String> = columns.iter().map(|column| quote_identifier(&column_name(table, *column))).collect();
    Some(format!("{word} ({})", names.join(", ")))
}

/// `CHECK ((condition))`.
pub(crate) fn check_constraint(check: &Check) -> String {
    format!("CHECK ({})", parenthesised(&check.condition))
}

/// Whether one pair of parentheses holds the whole text.
fn is_parenthesised(text: &str) -> bool {
    if !text.starts_with('(') || !text.ends_with(')') {
        return false;
    }
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && at + 1 < text.len() {
                    return false;
                }
            }
            _ => {}
        }
    }
    true
}

/// A constraint by its OID, written as SQL.
pub(crate) fn constraint_definition(catalog: &Catalog, oid: u32) -> Option<String> {
    if oid >= CHECK_BASE {
        let (table, place) = ((oid - CHECK_BASE) >> 6, (oid - CHECK_BASE) & 63);
        let table = catalog.table_by_id(table)?;
        return table.checks.get(place as usize).map(check_constraint);
    }
    let index = catalog.index_by_id(oid.checked_sub(KEY_CONSTRAINT_BASE)?)?;
    key_constraint(catalog, index)
}

/// The sequence that a serial or identity column owns.
pub(crate) fn owned_sequence<'a>(catalog: &'a Catalog, table: &Table, column: &Column) -> Option<&'a str> {
    catalog
        .sequences()
        .find(|sequence| sequence.owner == Some((table.id, column.id)))
        .map(|sequence| sequence.name.as_str())
}
