//! `/metrics`: what there is to measure, in the text form of OpenMetrics, which Prometheus reads.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::Stage;
use super::http::Answer;
use crate::commit::TableView;
use crate::db::admission::Admission;
use crate::db::counters::{BOUNDS_US, Counters, JOBS, Latest, StatementKind, Work};
use crate::db::engine::Engine;
use crate::segment::Segment;
use crate::server::registry;

/// Tables with numbers of their own; those made after them are counted and not shown.
const TABLES_MAX: usize = 1000;

/// What `/metrics` answers. It reads a few properties of the store and sums over the tables of the newest view.
pub(super) fn answer(stage: &Arc<Stage>, uptime: Duration) -> Answer {
    let mut registry = Registry::with_prefix("lodedb");
    registry.register_collector(Box::new(Page { stage: stage.clone(), uptime }));
    let mut body = String::new();
    match encode(&mut body, &registry) {
        Ok(()) => Answer::new(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", body),
        Err(error) => Answer::text(500, &error.to_string()),
    }
}

struct Page {
    stage: Arc<Stage>,
    uptime: Duration,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("uptime", &self.uptime).finish_non_exhaustive()
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut out = Metrics(encoder);
        out.process(self.uptime)?;
        let Stage::Open { shared } = &*self.stage else {
            return out.gauge("up", "Whether queries are answered.", None, 0);
        };
        let engine = shared.db.engine();
        out.gauge("up", "Whether queries are answered.", None, 1)?;
        let writable = i64::from(engine.refusal().is_none());
        out.gauge("writable", "Whether writes are taken; /health says why not.", None, writable)?;
        out.statements(&engine.counters)?;
        out.load(&engine.admission)?;
        out.connections(&shared.registry.counts())?;
        out.tables(engine)?;
        out.log(engine)?;
        out.store(engine)?;
        out.background(&engine.counters)
    }
}

/// The one page, metric after metric.
struct Metrics<'a>(DescriptorEncoder<'a>);

/// A value without labels has none of these either.
const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

impl Metrics<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl EncodeGaugeValue) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl EncodeCounterValue,
    ) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?.encode_counter(&value, NO_EXEMPLAR)
    }

    /// A gauge for each of some labels.
    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A counter for each of some labels.
    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter(&value, NO_EXEMPLAR)?;
        }
        Ok(())
    }

    fn process(&mut self, uptime: Duration) -> Result<(), Error> {
        let build = [("version", env!("CARGO_PKG_VERSION")), ("postgres", crate::SERVER_VERSION)];
        self.0.encode_descriptor("build", "What is running.", None, MetricType::Info)?.encode_info(&build)?;
        self.gauge("uptime", "Time since the port was opened.", Some(Unit::Seconds), uptime.as_secs_f64())?;
        if let Some(bytes) = resident_bytes() {
            self.gauge("resident_memory", "Memory of the process that is in RAM.", Some(Unit::Bytes), bytes)?;
        }
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.gauge("open_files", "File descriptors of the process.", None, files)
    }

    fn statements(&mut self, counters: &Counters) -> Result<(), Error> {
        let counts = StatementKind::ALL.into_iter().flat_map(|kind| {
            let statements = counters.statements(kind);
            let failed = statements.failed();
            let all: u64 = statements.took.buckets().iter().sum();
            let labels = |outcome| [("kind", kind.name()), ("outcome", outcome)];
            [(labels("ok"), all.saturating_sub(failed)), (labels("error"), failed)]
        });
        self.counters("statements", "Statements that came to their end.", None, counts)?;
        let help = "Time from the beginning of a statement to its answer, its commit included.";
        let unit = Some(Unit::Seconds);
        let mut metric = self.0.encode_descriptor("statement_duration", help, unit.as_ref(), MetricType::Histogram)?;
        for kind in StatementKind::ALL {
            let took = &counters.statements(kind).took;
            let counts = took.buckets();
            let bounds = BOUNDS_US.iter().map(|&us| us as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let labels = [("kind", kind.name())];
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                took.sum().as_secs_f64(),
                counts.iter().sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn load(&mut self, admission: &Admission) -> Result<(), Error> {
        let (counts, load) = (admission.counts(), admission.load());
        self.gauge("statements_running", "Statements that hold a place to run.", None, counts.running)?;
        self.gauge("statements_running_max", "Places for statements to run.", None, load.running)?;
        self.gauge("statements_waiting", "Statements that wait for a place.", None, counts.waiting)?;
        self.gauge("statements_waiting_max", "Statements that may wait for a place.", None, load.waiting)?;
        let refused = [([("reason", "queue_full")], counts.queue_full), ([("reason", "too_late")], counts.too_late)];
        self.counters("statements_shed", "Statements refused because there were too many.", None, refused)
    }

    fn connections(&mut self, counts: &registry::Counts) -> Result<(), Error> {
        self.gauge("connections", "Sessions there are.", None, counts.now)?;
        self.gauge("connections_max", "Sessions there may be.", None, counts.max)?;
        self.counter("connections_accepted", "Sessions that were begun.", None, counts.accepted)?;
        self.counter("connections_refused", "Sessions refused because there were too many.", None, counts.refused)
    }

    fn tables(&mut self, engine: &Engine) -> Result<(), Error> {
        let view = engine.view();
        let all = view.catalog.tables().count();
        let shown: Vec<(&str, Option<&Arc<TableView>>)> =
            view.catalog.tables().take(TABLES_MAX).map(|table| (&*table.name, view.tables.get(&table.id))).collect();
        let of = |value: fn(&TableView) -> f64| {
            shown.iter().map(move |(name, view)| ([("table", *name)], view.map_or(0.0, |view| value(view))))
        };
        self.gauge("tables", "Tables there are.", None, all)?;
        let help = "Tables beyond the first 1000, which have no numbers here.";
        self.gauge("tables_omitted", help, None, all - shown.len())?;
        self.gauges("table_rows", "Live rows of a table.", None, of(|table| table.live_rows as f64))?;
        let segments = shown.iter().flat_map(|(name, view)| {
            let count = |sealed| {
                let segments = view.iter().flat_map(|view| &view.segments);
                segments.filter(|of| matches!(of.segment, Segment::Sealed(_)) == sealed).count() as f64
            };
            let labels = |state| [("table", *name), ("state", state)];
            [(labels("mutable"), count(false)), (labels("sealed"), count(true))]
        });
        self.gauges("table_segments", "Segments of a table.", None, segments)?;
        let dead = |table: &TableView| table.segments.iter().map(|of| f64::from(of.dead.count())).sum();
        self.gauges("table_dead_rows", "Rows of segments that are gone or moved.", None, of(dead))?;
        let bytes = |table: &TableView| table.sealed_files.values().map(|files| files.bytes() as f64).sum();
        let help = "Files of the sealed segments of a table.";
        self.gauges("table_segment_files", help, Some(Unit::Bytes), of(bytes))
    }

    fn log(&mut self, engine: &Engine) -> Result<(), Error> {
        let log = &engine.log;
        self.gauge("log_size", "Files of the log.", Some(Unit::Bytes), log.size_bytes())?;
        self.gauge("log_last_lsn", "The last record of the log.", None, log.last_lsn())?;
        self.gauge("log_durable_lsn", "The last record known to be on disk.", None, log.durable_lsn())?;
        self.gauge("view_lsn", "The last commit that queries see.", None, engine.view().lsn)
    }

    fn store(&mut self, engine: &Engine) -> Result<(), Error> {
        let bytes = Some(Unit::Bytes);
        if let Ok(size) = engine.store.disk_bytes() {
            self.gauge("store_disk", "Files of the rows, keys and entries.", bytes.clone(), size)?;
        }
        if let Ok((cache, writes)) = engine.store.memory_bytes() {
            self.gauge("row_cache", "Blocks in the row cache.", bytes.clone(), cache)?;
            let size = engine.options.row_cache_bytes;
            self.gauge("row_cache_max", "The size of the row cache.", bytes.clone(), size)?;
            self.gauge("store_buffers", "Writes the store has not flushed yet.", bytes.clone(), writes)?;
        }
        if let Ok(errors) = engine.store.background_errors() {
            let help = "Flushes and compactions of the store that failed.";
            self.counter("store_background_errors", help, None, errors)?;
        }
        let held = engine.held_memory();
        self.gauge("memory_held", "Memory of the row cache, growing segments and indexes.", bytes.clone(), held)?;
        let limit = engine.memory.limit();
        self.gauge("memory_max", "Memory for everything.", bytes.clone(), limit)?;
        let used = engine.query.memory_bytes();
        self.gauge("query_memory", "Memory that sorts, joins and groups hold.", bytes.clone(), used)?;
        let size = engine.options.query_memory_bytes;
        self.gauge("query_memory_max", "Memory that sorts, joins and groups may hold.", bytes, size)
    }

    fn background(&mut self, counters: &Counters) -> Result<(), Error> {
        let seconds = Some(Unit::Seconds);
        let each = || JOBS.iter().enumerate().map(|(at, &name)| (name, counters.job(at)));
        let outcomes = each().flat_map(|(name, work)| {
            let labels = |outcome| [("job", name), ("outcome", outcome)];
            [(labels("ok"), work.done()), (labels("error"), work.failed())]
        });
        self.counters("background_jobs", "Background jobs that came to their end.", None, outcomes)?;
        let spent = each().map(|(name, work)| ([("job", name)], work.spent().as_secs_f64()));
        self.counters("background_job", "Time spent in background jobs.", seconds.clone(), spent)?;
        self.work("checkpoint", "Checkpoints", &counters.checkpoints, &counters.last_checkpoint)?;
        self.work("backup", "Backups", &counters.backups, &counters.last_backup)?;
        let kept = counters.backups_kept.load(Ordering::Relaxed);
        self.gauge("backups_kept", "Backups in the folder they go to by themselves.", None, kept)
    }

    /// What is done now and then, and when it was last.
    fn work(&mut self, name: &str, plural: &str, work: &Work, latest: &Latest) -> Result<(), Error> {
        let outcomes = [([("outcome", "ok")], work.done()), ([("outcome", "error")], work.failed())];
        self.counters(&format!("{name}s"), &format!("{plural} since the start, by outcome."), None, outcomes)?;
        let spent = work.spent().as_secs_f64();
        self.counter(name, &format!("Time spent in {name}s."), Some(Unit::Seconds), spent)?;
        // Without one there is no time to tell.
        let Some((lsn, time_us)) = latest.get() else { return Ok(()) };
        self.gauge(&format!("{name}_last_lsn"), &format!("The commit of the last {name}."), None, lsn)?;
        let help = format!("When the last {name} was taken, since 1970 UTC.");
        self.gauge(&format!("{name}_last_timestamp"), &help, Some(Unit::Seconds), time_us as f64 / 1e6)
    }
}

/// The resident memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
