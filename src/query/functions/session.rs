//! Functions about the session, its settings, its clock and its sequences.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lodedb_sql::error::Result;
use lodedb_sql::statement::Privilege;
use lodedb_sql::{Datum, ScalarType, SqlError, SqlState};

use super::definition::{Call, Definition, function};
use super::scope::{Scope, Upkeep};
use super::system::object_named;
use super::types::*;
use crate::auth::privilege::denied;
use crate::catalog::rights::Privileges;
use crate::query::interrupt::giving_way;

fn text(value: impl Into<String>) -> Datum {
    Datum::Text(value.into())
}

fn string(args: &[Datum], place: usize) -> &str {
    match args.get(place) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

/// `version()`: programs read the number of PostgreSQL out of it.
pub fn version() -> String {
    format!(
        "PostgreSQL {} (LodeDB {}, {}, FAISS {}, RocksDB {}) on {}-{}, compiled by rustc, 64-bit",
        crate::SERVER_VERSION,
        env!("CARGO_PKG_VERSION"),
        crate::db::processor::SPEED_CLASS,
        crate::segment::FAISS_VERSION,
        crate::store::ROCKSDB_VERSION,
        std::env::consts::ARCH,
        std::env::consts::OS,
    )
}

fn user(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(text(call.scope()?.environment.user.clone()))
}

fn session_user(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(text(call.scope()?.environment.session_user.clone()))
}

fn reload(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    match call.scope()?.actor().is_superuser() {
        true => Ok(Datum::Bool(true)),
        false => Err(denied("function", "pg_reload_conf")),
    }
}

fn database(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(text(call.scope()?.environment.database.clone()))
}

/// The schemas of `search_path` that exist.
fn search_path(scope: &Scope, implicit: bool) -> Vec<String> {
    let path = scope.environment.settings.get("search_path").unwrap_or_default();
    let mut schemas: Vec<String> = Vec::new();
    for part in path.split(',') {
        let part = part.trim();
        let name = match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
            Some(quoted) => quoted.to_owned(),
            None => part.trim_matches('\'').to_lowercase(),
        };
        if crate::query::pg_catalog::names::schema_oid(&name).is_some() && !schemas.contains(&name) {
            schemas.push(name);
        }
    }
    if implicit && !schemas.iter().any(|name| name == "pg_catalog") {
        schemas.insert(0, "pg_catalog".to_owned());
    }
    schemas
}

fn current_schema(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(search_path(call.scope()?, false).into_iter().next().map_or(Datum::Null, Datum::Text))
}

fn current_schemas(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let schemas = search_path(call.scope()?, args.first() == Some(&Datum::Bool(true)));
    Ok(super::array::array_of(ScalarType::Name, schemas.into_iter().map(Datum::Text).collect()))
}

fn current_setting(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let missing_ok = args.get(1) == Some(&Datum::Bool(true));
    match call.scope()?.environment.settings.get(string(args, 0)) {
        Ok(value) => Ok(Datum::Text(value)),
        Err(error) if missing_ok && error.state() == SqlState::UndefinedObject => Ok(Datum::Null),
        Err(error) => Err(error),
    }
}

fn set_config(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Text(name) = &args[0] else {
        return Err(SqlError::new(SqlState::NullValueNotAllowed, "SET requires parameter name"));
    };
    let value = match &args[1] {
        Datum::Text(value) => Some(value.as_str()),
        _ => None,
    };
    let local = args[2] == Datum::Bool(true);
    match &call.scope()?.hooks.settings {
        Some(settings) => settings.set(name, value, local).map(Datum::Text),
        None => Err(SqlError::new(SqlState::FeatureNotSupported, "set_config cannot be used in this statement")),
    }
}

fn timestamp(us: i64) -> Datum {
    Datum::Timestamptz(us)
}

fn transaction_time(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(timestamp(call.scope()?.environment.transaction_time_us))
}

fn statement_time(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(timestamp(call.scope()?.environment.statement_time_us))
}

fn clock_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// The start of the transaction as the clock on the wall of the session's zone shows it.
fn local_us(call: &Call<'_>) -> Result<i64> {
    let environment = &call.scope()?.environment;
    Ok(super::datetime::local_of(environment.transaction_time_us, environment.zone))
}

/// The sequence that is meant, if the role may do one of these to it.
fn sequence_id(call: &Call<'_>, args: &[Datum], needed: &[Privilege]) -> Result<u32> {
    let scope = call.scope()?;
    let oid = match &args[0] {
        Datum::Oid(oid) => *oid,
        Datum::Text(name) => object_named(Some(&scope.catalog), name, ScalarType::Regclass)?,
        _ => 0,
    };
    if let Some(sequence) = scope.catalog.sequence_by_id(oid) {
        scope.actor().check_sequence(sequence, Privileges::of(needed))?;
        return Ok(oid);
    }
    let name = crate::query::pg_catalog::names::relation_name(Some(&scope.catalog), oid);
    Err(match name {
        Some(name) => SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a sequence")),
        None => SqlError::new(SqlState::UndefinedTable, format!("relation with OID {oid} does not exist")),
    })
}

fn setval(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let sequence = sequence_id(call, args, &[Privilege::Update])?;
    let Datum::Int8(value) = args[1] else { return Ok(Datum::Null) };
    let called = args.get(2) != Some(&Datum::Bool(false));
    call.scope()?.sequences()?.set(sequence, value, called).map(Datum::Int8)
}

fn signal(call: &Call<'_>, args: &[Datum], terminate: bool) -> Result<Datum> {
    let Datum::Int4(session) = args[0] else { return Ok(Datum::Null) };
    let scope = call.scope()?;
    let Some(server) = &scope.hooks.server else { return Ok(Datum::Bool(false)) };
    if let Some(other) = server.sessions().into_iter().find(|other| other.session == session) {
        scope.actor().check_signal(other.role, terminate)?;
    }
    Ok(Datum::Bool(server.signal(session, terminate)))
}

/// Looks after a table. It works on a thread of its own, so that a cancelled statement can tell it to stop.
fn upkeep(call: &Call<'_>, args: &[Datum], work: Upkeep) -> Result<Datum> {
    let Datum::Oid(table) = args[0] else { return Ok(Datum::Null) };
    let scope = call.scope()?;
    let Some(server) = scope.hooks.server.clone() else { return Ok(Datum::Null) };
    let Some(definition) = scope.catalog.table_by_id(table) else {
        return Err(SqlError::new(SqlState::UndefinedTable, format!("relation with OID {table} is not a table")));
    };
    scope.actor().check_table_owner(definition)?;
    let (session, stop) = (scope.environment.session, AtomicBool::new(false));
    giving_way(|| {
        std::thread::scope(|threads| {
            let job = threads.spawn(|| server.upkeep(table, work, session, &stop));
            while !job.is_finished() {
                stop.store(call.check_cancelled().is_err(), Ordering::Relaxed);
                std::thread::sleep(NAP);
            }
            job.join().map_err(|_| SqlError::internal("a job panicked"))?
        })
    })?;
    Ok(text(""))
}

fn table_status(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Oid(table) = args[0] else { return Ok(Datum::Null) };
    let server = call.scope()?.hooks.server.clone();
    match server.and_then(|server| server.table_status(table)) {
        Some(status) => super::json::canonical(&status.to_string()),
        None => Ok(Datum::Null),
    }
}

fn transaction_id(call: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    let id = call.scope()?.hooks.server.as_ref().map_or(0, |server| server.transaction_id());
    Ok(Datum::Int8(i64::try_from(id).unwrap_or(i64::MAX)))
}

fn uuid(_: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(Datum::Uuid(*uuid::Uuid::new_v4().as_bytes()))
}

/// How long a sleeper does not look whether its statement is to end.
const NAP: Duration = Duration::from_millis(5);

fn sleep(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Some(Datum::Float8(seconds)) = args.first() else { return Ok(text("")) };
    let started = Instant::now();
    let length = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    giving_way(|| {
        while let Some(left) = length.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
            call.check_cancelled()?;
            std::thread::sleep(left.min(NAP));
        }
        Ok(text(""))
    })
}

fn notify(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Some(notify) = &call.scope()?.hooks.notify else {
        return Err(SqlError::new(SqlState::FeatureNotSupported, "pg_notify cannot be used in this statement"));
    };
    // NULL is an empty text to it, as to PostgreSQL.
    notify.notify(string(args, 0), string(args, 1)).map(|()| text(""))
}

fn blocking(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Int4(session) = args[0] else { return Ok(Datum::Null) };
    let sessions = call.scope()?.hooks.server.as_ref().map(|server| server.blocking(session)).unwrap_or_default();
    Ok(super::array::array_of(ScalarType::Int4, sessions.into_iter().map(Datum::Int4).collect()))
}

/// The address or the port of this session's client.
fn client(call: &Call<'_>, shown: fn((IpAddr, u16)) -> Datum) -> Result<Datum> {
    let scope = call.scope()?;
    let sessions = scope.hooks.server.as_ref().map(|server| server.sessions()).unwrap_or_default();
    let own = sessions.into_iter().find(|session| session.session == scope.environment.session);
    Ok(own.and_then(|session| session.client).map_or(Datum::Null, shown))
}

fn void(_: &Call<'_>, _: &[Datum]) -> Result<Datum> {
    Ok(text(""))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("version", &[], TO_TEXT, |_, _| Ok(Datum::Text(version()))).stable(),
    function("current_user", &[], TO_NAME, user).stable(),
    function("session_user", &[], TO_NAME, session_user).stable(),
    function("user", &[], TO_NAME, user).stable(),
    function("current_role", &[], TO_NAME, user).stable(),
    function("system_user", &[], TO_TEXT, |_, _| Ok(Datum::Null)).stable(),
    function("current_database", &[], TO_NAME, database).stable(),
    function("current_catalog", &[], TO_NAME, database).stable(),
    function("current_schema", &[], TO_NAME, current_schema).stable(),
    function("current_schemas", &[BOOL], TO_NAME_ARRAY, current_schemas).stable(),
    function("current_setting", &[TEXT, BOOL], TO_TEXT, current_setting).optional(1).stable(),
    function("set_config", &[TEXT, TEXT, BOOL], TO_TEXT, set_config).null_allowed().volatile(),
    function("pg_backend_pid", &[], TO_INT4, |call, _| Ok(Datum::Int4(call.scope()?.environment.session))).stable(),
    function("now", &[], TO_TIMESTAMPTZ, transaction_time).stable(),
    function("transaction_timestamp", &[], TO_TIMESTAMPTZ, transaction_time).stable(),
    function("current_timestamp", &[INT4], TO_TIMESTAMPTZ, transaction_time).optional(1).stable(),
    function("statement_timestamp", &[], TO_TIMESTAMPTZ, statement_time).stable(),
    function("clock_timestamp", &[], TO_TIMESTAMPTZ, |_, _| Ok(timestamp(clock_us()))).volatile(),
    function("timeofday", &[], TO_TEXT, |_, _| {
        Ok(text(chrono::Utc::now().format("%a %b %d %H:%M:%S%.6f %Y UTC").to_string()))
    })
    .volatile(),
    function("localtimestamp", &[INT4], TO_TIMESTAMP, |call, _| Ok(Datum::Timestamp(local_us(call)?)))
        .optional(1)
        .stable(),
    function("current_date", &[], TO_DATE, |call, _| {
        Ok(Datum::Date(local_us(call)?.div_euclid(super::datetime::DAY_US) as i32))
    })
    .stable(),
    function("localtime", &[INT4], TO_TIME, |call, _| {
        Ok(Datum::Time(local_us(call)?.rem_euclid(super::datetime::DAY_US)))
    })
    .optional(1)
    .stable(),
    function("current_time", &[INT4], TO_TIME, |call, _| {
        Ok(Datum::Time(local_us(call)?.rem_euclid(super::datetime::DAY_US)))
    })
    .optional(1)
    .stable(),
    function("nextval", &[REGCLASS], TO_INT8, |call, args| {
        let sequence = sequence_id(call, args, &[Privilege::Usage, Privilege::Update])?;
        call.scope()?.sequences()?.next(sequence).map(Datum::Int8)
    })
    .volatile(),
    function("currval", &[REGCLASS], TO_INT8, |call, args| {
        let sequence = sequence_id(call, args, &[Privilege::Usage, Privilege::Select])?;
        call.scope()?.sequences()?.current(sequence).map(Datum::Int8)
    })
    .volatile(),
    function("lastval", &[], TO_INT8, |call, _| call.scope()?.sequences()?.last().map(Datum::Int8)).volatile(),
    function("setval", &[REGCLASS, INT8, BOOL], TO_INT8, setval).optional(1).volatile(),
    function("gen_random_uuid", &[], TO_UUID, uuid).volatile(),
    function("uuid_generate_v4", &[], TO_UUID, uuid).volatile(),
    function("pg_is_in_recovery", &[], TO_BOOL, |_, _| Ok(Datum::Bool(false))).stable(),
    function("pg_is_wal_replay_paused", &[], TO_BOOL, |_, _| Ok(Datum::Bool(false))).stable(),
    function("pg_postmaster_start_time", &[], TO_TIMESTAMPTZ, |call, _| {
        Ok(call.scope()?.hooks.server.as_ref().map_or(Datum::Null, |server| timestamp(server.start_time_us())))
    })
    .stable(),
    function("pg_conf_load_time", &[], TO_TIMESTAMPTZ, |call, _| {
        Ok(call.scope()?.hooks.server.as_ref().map_or(Datum::Null, |server| timestamp(server.start_time_us())))
    })
    .stable(),
    function("txid_current", &[], TO_INT8, transaction_id).volatile(),
    function("pg_current_xact_id", &[], TO_INT8, transaction_id).volatile(),
    function("pg_cancel_backend", &[INT4], TO_BOOL, |call, args| signal(call, args, false)).volatile(),
    function("pg_terminate_backend", &[INT4, INT8], TO_BOOL, |call, args| signal(call, args, true))
        .optional(1)
        .volatile(),
    function("lodedb_merge", &[REGCLASS], TO_VOID, |call, args| upkeep(call, args, Upkeep::Merge)).volatile(),
    function("lodedb_rebuild", &[REGCLASS], TO_VOID, |call, args| upkeep(call, args, Upkeep::Rebuild)).volatile(),
    function("lodedb_status", &[REGCLASS], TO_JSONB, table_status).volatile(),
    function("pg_sleep", &[FLOAT8], TO_VOID, sleep).volatile(),
    function("pg_stat_clear_snapshot", &[], TO_VOID, void).volatile(),
    // What there is to read again is looked at with each connection.
    function("pg_reload_conf", &[], TO_BOOL, reload).volatile(),
    function("pg_my_temp_schema", &[], TO_OID, |_, _| Ok(Datum::Oid(0))).stable(),
    function("pg_jit_available", &[], TO_BOOL, |_, _| Ok(Datum::Bool(false))).stable(),
    function("inet_server_addr", &[], TO_TEXT, |_, _| Ok(Datum::Null)).stable(),
    function("inet_server_port", &[], TO_INT4, |_, _| Ok(Datum::Null)).stable(),
    function("inet_client_addr", &[], TO_TEXT, |call, _| client(call, |(address, _)| text(address.to_string())))
        .stable(),
    function("inet_client_port", &[], TO_INT4, |call, _| client(call, |(_, port)| Datum::Int4(i32::from(port))))
        .stable(),
    function("pg_blocking_pids", &[INT4], TO_INT4_ARRAY, blocking).volatile(),
    function("pg_notify", &[TEXT, TEXT], TO_VOID, notify).null_allowed().volatile(),
    function("pg_notification_queue_usage", &[], TO_FLOAT8, |_, _| Ok(Datum::Float8(0.0))).volatile(),
];
