//! The steps that change no rows: indexes, background work, checkpoints, reopening; and a look inside.

use lodedb::snapshot::check::check;
use rand::Rng;
use rand::seq::IndexedRandom;

use crate::engine::{Engine, Leave};
use crate::harness::vectors::Metric;
use crate::steps::Play;

impl Play {
    /// Makes or drops an index: of each kind over the vectors, or of keys.
    pub(crate) async fn change_index(&mut self) -> Result<(), String> {
        if self.model.any_open() {
            return Ok(());
        }
        if self.random.random_bool(0.2) {
            let sql = if self.random.random_bool(0.3) {
                "DROP INDEX IF EXISTS t_grp"
            } else {
                "CREATE INDEX IF NOT EXISTS t_grp ON t (grp, note)"
            };
            self.note("index of keys", sql);
            return self.quietly(sql).await.map(|_| ());
        }
        let at = self.random.random_range(0..2);
        if self.indexes[at].take().is_some() {
            let sql = format!("DROP INDEX t_v{at}");
            self.note("drop index", &sql);
            return self.quietly(&sql).await.map(|_| ());
        }
        let kind = *["ivfpq", "ivfpq", "ivfpq", "ivfflat", "hnsw", "flat"].choose(&mut self.random).unwrap_or(&"ivfpq");
        let metrics = [Metric::L2, Metric::Cosine, Metric::InnerProduct];
        let metric = *metrics.choose(&mut self.random).unwrap_or(&Metric::L2);
        let sql = format!("CREATE INDEX t_v{at} ON t USING {kind} (v {})", metric.opclass());
        // Made and given up, or made.
        let given_up = self.random.random_bool(0.1);
        let sql = if given_up { format!("BEGIN; {sql}; ROLLBACK") } else { sql };
        self.note("create index", &sql);
        self.quietly(&sql).await?;
        self.indexes[at] = (!given_up).then_some(metric);
        Ok(())
    }

    /// Drops the table with everything on it and makes it again.
    pub(crate) async fn recreate(&mut self) -> Result<(), String> {
        if self.model.any_open() {
            return Ok(());
        }
        self.note("drop table", "DROP TABLE t");
        self.model.truncate(self.who);
        self.quietly("DROP TABLE t").await?;
        self.create_table().await
    }

    /// All background work there is.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        self.note("settle", "-- settle");
        let db = self.engine()?.db.clone();
        tokio::task::spawn_blocking(move || db.settle()).await.map_err(|error| format!("settling: {error}"))
    }

    /// A checkpoint.
    pub(crate) async fn checkpoint(&mut self) -> Result<(), String> {
        self.note("checkpoint", "-- checkpoint");
        let db = self.engine()?.db.clone();
        let taken = tokio::task::spawn_blocking(move || db.checkpoint()).await;
        taken.map_err(|error| format!("checkpoint: {error}"))?.map_err(|error| format!("checkpoint: {error}"))
    }

    /// Leaves the database, opens it again and compares everything; open transactions go with their sessions.
    pub(crate) async fn reopen(&mut self) -> Result<(), String> {
        for who in 0..2 {
            self.model.rollback(who);
        }
        self.alone = None;
        let leave =
            *[Leave::Close, Leave::Drop, Leave::Crash, Leave::Crash].choose(&mut self.random).unwrap_or(&Leave::Crash);
        let kind = match leave {
            Leave::Close => "close",
            Leave::Drop => "drop",
            Leave::Crash => "crash",
        };
        self.note(kind, kind);
        let engine = self.engine_slot().take().ok_or("the database is closed")?;
        let opened = tokio::task::spawn_blocking(move || engine.reopen(leave)).await;
        *self.engine_slot() = Some(opened.map_err(|error| format!("reopening: {error}"))??);
        self.check_all().await?;
        self.audit()
    }

    /// What no query tells: that keys, counts, bits and ids fit the rows.
    pub(crate) fn audit(&mut self) -> Result<(), String> {
        self.note("audit", "-- audit");
        let committed = self.model.committed.len();
        look_inside(self.engine()?, committed).map_err(|difference| format!("inside: {difference}"))
    }
}

fn look_inside(engine: &Engine, committed: usize) -> Result<(), String> {
    let inner = engine.db.engine();
    let view = inner.view();
    let Some(table) = view.catalog.table("t").cloned() else { return Err("there is no table".into()) };
    let Some(inside) = view.tables.get(&table.id) else { return Err("the table has no view".into()) };
    if inside.live_rows != committed as u64 {
        return Err(format!("{} rows are counted and there are {committed}", inside.live_rows));
    }
    let faults = check(inner, Some(&[table]), &|| Ok(())).map_err(|error| error.to_string())?;
    if let Some(fault) = faults.first() {
        return Err(format!("{} faults, {fault:?} the first of them", faults.len()));
    }
    let segments = inside.segments.iter().map(|segment| segment.segment.id());
    let generations = inside.index_files.values().filter_map(|files| files.quantizer.as_ref().map(|q| q.generation));
    let next = inner.segment_ids.next();
    match segments.chain(generations).find(|&id| id >= next) {
        Some(id) => Err(format!("number {id} is in use and will be given out again from {next} on")),
        None => Ok(()),
    }
}
