//! What the server is doing: sessions, locks, indexes being built.

use std::sync::atomic::Ordering;

use lodedb_sql::Datum;
use lodedb_sql::error::Result;
use lodedb_sql::statement::Privilege;

use super::cluster::DATABASE_OID;
use crate::catalog::RefillState;
use crate::catalog::rights::{Privileges, predefined};
use crate::commit::locks::LockTarget;
use crate::query::functions::{RefillProgress, Scope};
use crate::query::pg_catalog::table::{Rows, text, text_array};

fn moment(us: Option<i64>) -> Datum {
    us.map_or(Datum::Null, Datum::Timestamptz)
}

/// `pg_stat_activity`.
pub(super) fn sessions(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    let actor = scope.actor();
    let sees_all = actor.has_privileges_of(predefined::READ_ALL_STATS);
    for session in server.sessions() {
        if !sees_all && !actor.has_privileges_of(session.role) {
            // Who is there is everybody's to see; what they do is theirs.
            rows.push([
                ("datid", Datum::Oid(DATABASE_OID)),
                ("datname", text(&scope.environment.database)),
                ("pid", Datum::Int4(session.session)),
                ("usesysid", Datum::Oid(session.role)),
                ("usename", text(session.user)),
                ("application_name", text(session.application)),
                ("query", text("<insufficient privilege>")),
            ])?;
            continue;
        }
        rows.push([
            ("datid", Datum::Oid(DATABASE_OID)),
            ("datname", text(&scope.environment.database)),
            ("pid", Datum::Int4(session.session)),
            ("usesysid", Datum::Oid(session.role)),
            ("usename", text(session.user)),
            ("application_name", text(session.application)),
            ("client_addr", session.client.map_or(Datum::Null, |(address, _)| text(address.to_string()))),
            ("client_port", session.client.map_or(Datum::Null, |(_, port)| Datum::Int4(i32::from(port)))),
            ("backend_start", Datum::Timestamptz(session.started_us)),
            ("xact_start", moment(session.transaction_started_us)),
            ("query_start", moment(session.statement_started_us)),
            ("state_change", Datum::Timestamptz(session.changed_us)),
            ("state", text(session.state)),
            ("query", text(session.query)),
            ("backend_type", text("client backend")),
        ])?;
    }
    Ok(())
}

/// `pg_locks`: tables and advisory locks; rows and keys only where somebody waits for them, since there may be millions.
pub(super) fn locks(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for lock in server.locks() {
        let number = |class: u32, object: u32, sub: i16| (Datum::Oid(class), Datum::Oid(object), Datum::Int2(sub));
        let (kind, relation, (class, object, sub)) = match lock.target {
            LockTarget::Table(table) => ("relation", Datum::Oid(table), (Datum::Null, Datum::Null, Datum::Null)),
            LockTarget::Row(table, _) if !lock.granted => {
                ("tuple", Datum::Oid(table), (Datum::Null, Datum::Null, Datum::Null))
            }
            LockTarget::Key(index, _) if !lock.granted => {
                ("object", Datum::Null, (Datum::Null, Datum::Oid(index), Datum::Null))
            }
            LockTarget::Row(..) | LockTarget::Key(..) => continue,
            LockTarget::Advisory(key) => ("advisory", Datum::Null, number((key >> 32) as u32, key as u32, 1)),
            LockTarget::AdvisoryPair(first, second) => {
                ("advisory", Datum::Null, number(first as u32, second as u32, 2))
            }
        };
        rows.push([
            ("locktype", text(kind)),
            ("database", Datum::Oid(DATABASE_OID)),
            ("relation", relation),
            ("classid", class),
            ("objid", object),
            ("objsubid", sub),
            ("virtualtransaction", text(lock.tx.to_string())),
            ("pid", Datum::Int4(lock.process)),
            ("mode", text(lock.mode.to_string())),
            ("granted", Datum::Bool(lock.granted)),
            ("fastpath", Datum::Bool(false)),
        ])?;
    }
    Ok(())
}

/// `pg_stat_progress_create_index`.
pub(super) fn index_builds(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for build in server.index_builds() {
        rows.push([
            ("pid", Datum::Int4(build.session)),
            ("datid", Datum::Oid(DATABASE_OID)),
            ("datname", text(&scope.environment.database)),
            ("relid", Datum::Oid(build.table)),
            ("index_relid", Datum::Oid(build.index)),
            ("command", text(build.command)),
            ("phase", text(build.phase)),
            ("lockers_total", Datum::Int8(0)),
            ("lockers_done", Datum::Int8(0)),
            ("current_locker_pid", Datum::Int8(0)),
            ("blocks_total", Datum::Int8(build.tuples_total)),
            ("blocks_done", Datum::Int8(build.tuples_done)),
            ("tuples_total", Datum::Int8(build.tuples_total)),
            ("tuples_done", Datum::Int8(build.tuples_done)),
            ("partitions_total", Datum::Int8(0)),
            ("partitions_done", Datum::Int8(0)),
        ])?;
    }
    Ok(())
}

/// `pg_stat_progress_copy`.
pub(super) fn copies(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for copy in server.copies() {
        rows.push([
            ("pid", Datum::Int4(copy.session)),
            ("datid", Datum::Oid(DATABASE_OID)),
            ("datname", text(&scope.environment.database)),
            ("relid", Datum::Oid(copy.table)),
            ("command", text(copy.command)),
            ("type", text("PIPE")),
            ("bytes_processed", Datum::Int8(copy.bytes.load(Ordering::Relaxed) as i64)),
            // Only a file on the server says beforehand how long it is.
            ("bytes_total", Datum::Int8(0)),
            ("tuples_processed", Datum::Int8(copy.rows.load(Ordering::Relaxed) as i64)),
            ("tuples_excluded", Datum::Int8(0)),
        ])?;
    }
    Ok(())
}

/// `lodedb_progress`: columns that are being computed anew, and those that could not be.
pub(super) fn refills(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let select = Privileges::of(&[Privilege::Select]);
    for refill in scope.catalog.refills() {
        let Some(table) = scope.catalog.table_by_id(refill.table) else { continue };
        let Some(column) = table.columns.get((refill.column as usize).wrapping_sub(1)) else { continue };
        let progress = scope.hooks.server.as_ref().and_then(|server| server.refill(refill.table, refill.column));
        let (phase, error) = match (&refill.state, &progress) {
            (RefillState::Failed(error), _) => ("failed", Some(error.clone())),
            (RefillState::Filling(_), Some(progress)) => (progress.phase, progress.trouble.clone()),
            (RefillState::Filling(_), None) => ("waiting", None),
        };
        let count = |of: &dyn Fn(&RefillProgress) -> u64| {
            progress.as_ref().map_or(Datum::Null, |progress| Datum::Int8(of(progress) as i64))
        };
        let models =
            refill.models.iter().filter_map(|&id| scope.catalog.model_by_id(id)).map(|model| model.name.clone());
        // An error may quote a row.
        let error = error.filter(|_| scope.actor().check_table(table, select).is_ok());
        rows.push([
            ("relid", Datum::Oid(table.id)),
            ("table_name", text(&table.name)),
            ("column_name", text(&column.name)),
            ("expression", text(&refill.expression)),
            ("models", text_array(models)),
            ("started", Datum::Timestamptz(refill.started_us)),
            ("phase", text(phase)),
            ("rows_done", count(&|progress| progress.done)),
            ("rows_total", count(&|progress| progress.total)),
            ("error", error.map_or(Datum::Null, Datum::Text)),
        ])?;
    }
    Ok(())
}

/// `pg_stat_progress_basebackup`.
pub(super) fn backups_under_way(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for backup in server.backups_under_way() {
        let known = backup.total > 0;
        rows.push([
            ("pid", Datum::Int4(backup.session)),
            ("phase", text(if known { "streaming database files" } else { "waiting for checkpoint to finish" })),
            ("backup_total", if known { Datum::Int8(backup.total) } else { Datum::Null }),
            ("backup_streamed", Datum::Int8(backup.done)),
            ("tablespaces_total", Datum::Int8(1)),
            ("tablespaces_streamed", Datum::Int8(0)),
        ])?;
    }
    Ok(())
}

/// `lodedb_backups`.
pub(super) fn backups(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for backup in server.backups()? {
        rows.push([
            ("number", Datum::Int8(backup.number)),
            ("taken", Datum::Timestamptz(backup.time_us)),
            ("lsn", Datum::Int8(backup.lsn)),
            ("files", Datum::Int8(backup.files)),
            ("size_bytes", Datum::Int8(backup.size_bytes)),
            ("copied_bytes", Datum::Int8(backup.copied_bytes)),
            ("folder", text(backup.folder)),
        ])?;
    }
    Ok(())
}

/// `pg_stat_progress_vacuum`: the merge under way. Blocks are rows.
pub(super) fn merges(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for job in server.compactions().iter().filter(|job| job.kind == "merge" && job.finished_us.is_none()) {
        let done = (job.rows * job.done / 1000) as i64;
        rows.push([
            ("pid", Datum::Int4(job.session)),
            ("datid", Datum::Oid(DATABASE_OID)),
            ("datname", text(&scope.environment.database)),
            ("relid", Datum::Oid(job.table)),
            ("phase", text("vacuuming heap")),
            ("heap_blks_total", Datum::Int8(job.rows as i64)),
            ("heap_blks_scanned", Datum::Int8(done)),
            ("heap_blks_vacuumed", Datum::Int8(done)),
            ("index_vacuum_count", Datum::Int8(0)),
            ("max_dead_tuples", Datum::Int8(job.dead_rows as i64)),
            ("num_dead_tuples", Datum::Int8(job.dead_rows as i64)),
        ])?;
    }
    Ok(())
}

/// `lodedb_compactions`.
pub(super) fn compactions(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for job in server.compactions() {
        let state = match (job.finished_us, &job.error) {
            (None, _) => "running",
            (Some(_), None) => "done",
            (Some(_), Some(_)) => "failed",
        };
        rows.push([
            ("number", Datum::Int8(job.number as i64)),
            ("pid", Datum::Int4(job.session)),
            ("relid", Datum::Oid(job.table)),
            ("kind", text(job.kind)),
            ("state", text(state)),
            ("started", Datum::Timestamptz(job.started_us)),
            ("finished", moment(job.finished_us)),
            ("segments", Datum::Int8(job.segments as i64)),
            ("rows", Datum::Int8(job.rows as i64)),
            ("dead_rows", Datum::Int8(job.dead_rows as i64)),
            ("size_bytes", Datum::Int8(job.bytes as i64)),
            ("done", Datum::Float8(job.done as f64 / 1000.0)),
            ("error", job.error.map_or(Datum::Null, Datum::Text)),
        ])?;
    }
    Ok(())
}

/// `lodedb_scrub`.
pub(super) fn scrubs(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for pass in server.scrubs() {
        rows.push([
            ("started", Datum::Timestamptz(pass.started_us)),
            ("finished", moment(pass.finished_us)),
            ("files", Datum::Int8(pass.files as i64)),
            ("size_bytes", Datum::Int8(pass.bytes as i64)),
            ("faults", Datum::Int8(pass.faults as i64)),
        ])?;
    }
    Ok(())
}

/// `lodedb_repairs`.
pub(super) fn repairs(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    for (time_us, file, done) in server.repairs()? {
        rows.push([("repaired", Datum::Timestamptz(time_us)), ("file", text(file)), ("done", text(done))])?;
    }
    Ok(())
}

/// `pg_stat_database`.
pub(super) fn databases(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let sessions = scope.hooks.server.as_ref().map_or(0, |server| server.sessions().len());
    rows.push([
        ("datid", Datum::Oid(DATABASE_OID)),
        ("datname", text(&scope.environment.database)),
        ("numbackends", Datum::Int4(sessions as i32)),
    ])
}
