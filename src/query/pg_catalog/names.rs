//! Names of objects: quoted where they must be, qualified where they would not be found, and looked up.

use lodedb_sql::error::Result;
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState};

use super::{procedures, relations};
use crate::catalog::Catalog;

/// The OID of schema `pg_catalog`.
pub(crate) const PG_CATALOG_OID: u32 = 11;
/// The OID of schema `public`.
pub(crate) const PUBLIC_OID: u32 = 2200;
/// The OID of schema `information_schema`.
pub(crate) const INFORMATION_SCHEMA_OID: u32 = 13207;

/// The schemas, with their OIDs.
pub(crate) const SCHEMAS: &[(&str, u32)] =
    &[("pg_catalog", PG_CATALOG_OID), ("public", PUBLIC_OID), ("information_schema", INFORMATION_SCHEMA_OID)];

/// Words that PostgreSQL's grammar keeps for itself, wholly or in places, in order.
const KEYWORDS: &str = "\
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both \
    case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec \
    decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign \
    freeze from full grant greatest group grouping having ilike in initially inner inout int integer intersect \
    interval into is isnull join lateral leading least left like limit localtime localtimestamp national natural \
    nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay \
    placing position precision primary real references returning right row select session_user setof similar \
    smallint some substring symmetric table tablesample then time timestamp to trailing treat trim true union \
    unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement \
    xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

/// An identifier as it must be written to be read back as itself.
pub(crate) fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain && !KEYWORDS.split(' ').any(|word| word == name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as a literal; with a backslash in it, as an escape string.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// The parts of a name that may be qualified and quoted: lower case unless quoted.
pub(crate) fn parse_qualified(text: &str) -> Result<Vec<String>> {
    let invalid = || SqlError::new(SqlState::SyntaxError, "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    Some((_, '"')) if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        part.push('"');
                    }
                    Some((at, '"')) => break at + 1,
                    Some((_, c)) => part.push(c),
                    None => return Err(invalid()),
                }
            };
            parts.push(part);
            rest = quoted[end..].trim_start();
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let part = rest[..end].trim();
            if part.is_empty() || part.contains(char::is_whitespace) {
                return Err(invalid());
            }
            parts.push(part.to_lowercase());
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => return Ok(parts),
            None => return Err(invalid()),
        }
    }
}

/// The schema a name is looked up in, and the name; no schema means the search path.
fn schema_and_name(parts: &[String]) -> Result<(Option<&str>, &str)> {
    match parts {
        [name] => Ok((None, name)),
        [schema, name] | [_, schema, name] => Ok((Some(schema), name)),
        _ => Err(SqlError::new(SqlState::SyntaxError, "improper qualified name (too many dotted names)")),
    }
}

/// The relation that a name means.
pub(crate) fn relation_named(catalog: Option<&Catalog>, text: &str) -> Result<Option<u32>> {
    let parts = parse_qualified(text)?;
    let (schema, name) = schema_and_name(&parts)?;
    let own = || {
        let catalog = catalog?;
        let table = catalog.table(name).map(|table| table.id);
        table
            .or_else(|| catalog.index(name).map(|index| index.id))
            .or_else(|| catalog.sequence(name).map(|sequence| sequence.id))
    };
    Ok(match schema {
        None => relations::by_name("pg_catalog", name).map(|relation| relation.oid).or_else(own),
        Some("public") => own(),
        Some(schema) => relations::by_name(schema, name).map(|relation| relation.oid),
    })
}

/// The OID of the object a text names, or of the number it is; the error is PostgreSQL's where there is none.
pub(crate) fn object_named(catalog: Option<&Catalog>, text: &str, kind: ScalarType) -> Result<u32> {
    let trimmed = text.trim();
    if trimmed == "-" {
        return Ok(0);
    }
    if !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        return trimmed.parse().map_err(|_| {
            SqlError::new(SqlState::NumericValueOutOfRange, format!("value \"{trimmed}\" is out of range for type oid"))
        });
    }
    let missing = |state, what: &str| SqlError::new(state, format!("{what} \"{text}\" does not exist"));
    match kind {
        ScalarType::Regclass => {
            relation_named(catalog, text)?.ok_or_else(|| missing(SqlState::UndefinedTable, "relation"))
        }
        ScalarType::Regproc => procedure_named(text).ok_or_else(|| missing(SqlState::UndefinedFunction, "function")),
        ScalarType::Regnamespace => {
            let parts = parse_qualified(text)?;
            parts
                .first()
                .and_then(|name| schema_oid(name))
                .ok_or_else(|| missing(SqlState::InvalidSchemaName, "schema"))
        }
        _ => type_named(text).map(PgType::oid).ok_or_else(|| missing(SqlState::UndefinedObject, "type")),
    }
}

/// The function that a name means, the first of its overloads.
pub(crate) fn procedure_named(text: &str) -> Option<u32> {
    // `regprocedure` names its arguments too; the name alone is looked up.
    let name = text.split('(').next().unwrap_or(text);
    let parts = parse_qualified(name).ok()?;
    procedures::by_name(parts.last()?)
}

/// The OID of a schema.
pub(crate) fn schema_oid(name: &str) -> Option<u32> {
    SCHEMAS.iter().find(|(schema, _)| *schema == name).map(|(_, oid)| *oid)
}

/// The type that a name means, in SQL's spelling or the catalog's, with a modifier or without.
pub(crate) fn type_named(text: &str) -> Option<PgType> {
    let bare = match (text.find('('), text.rfind(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", text[..open].trim_end(), &text[close + 1..]),
        _ => text.to_owned(),
    };
    let ty = lodedb_sql::types::TypeWithModifier::plain(ScalarType::Regtype);
    match lodedb_sql::text::parse_text(&bare, ty) {
        Ok(lodedb_sql::Datum::Oid(oid)) => PgType::from_oid(oid),
        _ => None,
    }
}

/// The name of a relation as `regclass` prints it: qualified where the search path would not find it.
pub(crate) fn relation_name(catalog: Option<&Catalog>, oid: u32) -> Option<String> {
    if let Some(relation) = relations::by_oid(oid) {
        let name = quote_identifier(relation.name);
        return Some(if relation.schema == "pg_catalog" { name } else { format!("{}.{name}", relation.schema) });
    }
    let name = own_relation(catalog?, oid)?.1;
    let quoted = quote_identifier(&name);
    Some(if relations::by_name("pg_catalog", &name).is_some() { format!("public.{quoted}") } else { quoted })
}

/// The kind and the bare name of a relation of the user's.
pub(crate) fn own_relation(catalog: &Catalog, oid: u32) -> Option<(char, String)> {
    if let Some(table) = catalog.table_by_id(oid) {
        return Some(('r', table.name.clone()));
    }
    if let Some(index) = catalog.index_by_id(oid) {
        return Some(('i', index.name.clone()));
    }
    catalog.sequence_by_id(oid).map(|sequence| ('S', sequence.name.clone()))
}
