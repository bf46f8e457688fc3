//! Schemas, databases, roles, settings and extensions.

use lodedb_sql::Datum;
use lodedb_sql::error::Result;

use super::OWNER;
use super::roles::grants;
use crate::query::functions::Scope;
use crate::query::pg_catalog::names::{PUBLIC_OID, SCHEMAS};
use crate::query::pg_catalog::table::{Rows, letter, text, text_array};

/// The OID of the extension `vector`.
pub(super) const EXTENSION_OID: u32 = 15_500;
/// The version of pgvector whose surface this is.
const EXTENSION_VERSION: &str = "0.8.5";
/// What the extension says of itself.
const EXTENSION_COMMENT: &str = "vector data type and ivfpq, ivfflat, hnsw and flat access methods";
/// The OID of the one database.
pub(super) const DATABASE_OID: u32 = 5;

/// `pg_namespace`.
pub(super) fn namespaces(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for (name, oid) in SCHEMAS {
        rows.push([
            ("oid", Datum::Oid(*oid)),
            ("nspname", text(*name)),
            ("nspowner", Datum::Oid(scope.catalog.rights().owner(*oid))),
            ("nspacl", grants(scope, *oid)),
        ])?;
    }
    Ok(())
}

/// `pg_database`.
pub(super) fn databases(scope: &Scope, rows: &mut Rows) -> Result<()> {
    rows.push([
        ("oid", Datum::Oid(DATABASE_OID)),
        ("datname", text(&scope.environment.database)),
        ("datdba", Datum::Oid(OWNER)),
        ("encoding", Datum::Int4(6)),
        ("datlocprovider", letter('c')),
        ("datallowconn", Datum::Bool(true)),
        ("datconnlimit", Datum::Int4(-1)),
        ("dattablespace", Datum::Oid(1663)),
        ("datcollate", text("C.UTF-8")),
        ("datctype", text("C.UTF-8")),
        ("datacl", grants(scope, DATABASE_OID)),
    ])
}

/// `pg_tablespace`.
pub(super) fn tablespaces(rows: &mut Rows) -> Result<()> {
    for (oid, name) in [(1663, "pg_default"), (1664, "pg_global")] {
        rows.push([("oid", Datum::Oid(oid)), ("spcname", text(name)), ("spcowner", Datum::Oid(OWNER))])?;
    }
    Ok(())
}

/// `pg_settings`.
pub(super) fn settings(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let settings = &scope.environment.settings;
    for ((name, value), (default, context)) in settings.all().into_iter().zip(settings.defaults()) {
        let changed = value != default;
        let kind = match default.as_str() {
            "on" | "off" => "bool",
            text if text.parse::<i64>().is_ok() => "integer",
            text if text.parse::<f64>().is_ok() => "real",
            _ => "string",
        };
        rows.push([
            ("name", text(name)),
            ("setting", text(value)),
            ("category", text(if name.starts_with("lodedb.") { "LodeDB" } else { "Client Connection Defaults" })),
            ("short_desc", text("")),
            ("context", text(context)),
            ("vartype", text(kind)),
            ("source", text(if changed { "session" } else { "default" })),
            ("boot_val", text(default.clone())),
            ("reset_val", text(default)),
            ("pending_restart", Datum::Bool(false)),
        ])?;
    }
    Ok(())
}

/// `pg_extension`.
pub(super) fn extensions(rows: &mut Rows) -> Result<()> {
    rows.push([
        ("oid", Datum::Oid(EXTENSION_OID)),
        ("extname", text("vector")),
        ("extowner", Datum::Oid(OWNER)),
        ("extnamespace", Datum::Oid(PUBLIC_OID)),
        ("extrelocatable", Datum::Bool(true)),
        ("extversion", text(EXTENSION_VERSION)),
    ])
}

/// `pg_available_extensions`.
pub(super) fn available_extensions(rows: &mut Rows) -> Result<()> {
    rows.push([
        ("name", text("vector")),
        ("default_version", text(EXTENSION_VERSION)),
        ("installed_version", text(EXTENSION_VERSION)),
        ("comment", text(EXTENSION_COMMENT)),
    ])
}

/// `pg_available_extension_versions`.
pub(super) fn available_extension_versions(rows: &mut Rows) -> Result<()> {
    rows.push([
        ("name", text("vector")),
        ("version", text(EXTENSION_VERSION)),
        ("installed", Datum::Bool(true)),
        ("superuser", Datum::Bool(false)),
        ("trusted", Datum::Bool(true)),
        ("relocatable", Datum::Bool(true)),
        ("requires", text_array([])),
        ("comment", text(EXTENSION_COMMENT)),
    ])
}

/// `pg_timezone_names`, as of the statement's moment.
pub(super) fn time_zones(scope: &Scope, rows: &mut Rows) -> Result<()> {
    use chrono::{Offset, TimeZone};
    let moment = chrono::DateTime::from_timestamp_micros(scope.environment.statement_time_us).unwrap_or_default();
    for zone in chrono_tz::TZ_VARIANTS {
        let offset = zone.offset_from_utc_datetime(&moment.naive_utc());
        let seconds = i64::from(offset.fix().local_minus_utc());
        let interval = lodedb_sql::datum::Interval { months: 0, days: 0, microseconds: seconds * 1_000_000 };
        rows.push([
            ("name", text(zone.name())),
            ("abbrev", text(offset.to_string())),
            ("utc_offset", Datum::Interval(interval)),
            ("is_dst", Datum::Bool(chrono_tz::OffsetComponents::dst_offset(&offset).num_seconds() != 0)),
        ])?;
    }
    Ok(())
}
