//! The part of RESULTS.md about what programs made for PostgreSQL find.

use serde_json::{Map, Value};

use crate::citizen::{CLIENTS, SCALE, SEARCHERS, SEARCHES};
use crate::report::{Line, Section, grouped, spread};

const WHY_SELECT: &str = "In a profile of the server with eight clients (`perf record -e cpu-clock -g`) a fifth of its time goes into threads \
     that fall asleep and are woken, since each session is a task that any of the runtime's threads may take up, and \
     another seventh into the system calls of sockets; RocksDB takes about an eighth, which is asked twice, for the row's \
     number by its key and for the row. PostgreSQL's processes each wait for their own socket.";

/// The lines of the table.
pub(crate) fn lines(results: &Map<String, Value>) -> Vec<Line> {
    let section = |name: &str| Section::of(results, name);
    let (pgbench, search) = (section("pgbench"), section("pgbench_search"));
    let (connect, copy) = (section("connect"), section("copy_out"));
    let mut all = Vec::new();
    for (script, target, why) in [("tpcb-like", 0.5, ""), ("select-only", 0.7, WHY_SELECT)] {
        for clients in CLIENTS {
            let what =
                format!("pgbench `{script}`, prepared, {clients} client(s): transactions/s, against PostgreSQL 15");
            all.push(asked(&pgbench.inner(script).inner(&clients.to_string()), &what, "tps", target).because(why));
        }
    }
    let with_recall = |server: &str, recall: &str| {
        format!("{}, recall {:.3}", spread(search.get(&format!("{server}_tps")), 0, ""), search.middle(recall))
    };
    let what =
        format!("k-NN by pgbench, prepared, {SEARCHERS} clients: queries/s at equal recall, against pgvector HNSW");
    let (ours, theirs) = (with_recall("lodedb", "recall"), with_recall("postgres", "postgres_recall"));
    let ratio = search.ratio("tps");
    all.push(Line::new(&what, ours, theirs, ratio).at_least(">= 10x", ratio, 10.0));
    for clients in CLIENTS {
        let what = format!("connections/s, TLS and SCRAM-SHA-256, {clients} client(s), against PostgreSQL 15");
        all.push(asked(&connect.inner(&clients.to_string()), &what, "per_s", 0.7));
    }
    let own = connect.inner("own_passwords");
    let what = format!("the same, {} clients, passwords as each server makes them", CLIENTS[1]);
    all.push(own.both(&what, "per_s", 0, ""));
    let what = "COPY TO BINARY rows/s, a table of scalars, against PostgreSQL 15";
    all.push(asked(&copy.inner("scalars"), what, "rows_per_s", 0.7));
    let what = "COPY TO BINARY rows/s, words with their vectors, against PostgreSQL 16 with pgvector";
    all.push(asked(&copy.inner("vectors"), what, "rows_per_s", 0.7));
    all
}

/// A figure that should be so much of PostgreSQL's.
fn asked(section: &Section<'_>, what: &str, figure: &str, target: f64) -> Line {
    section.both(what, figure, 0, "").at_least(&format!(">= {target}x"), section.ratio(figure), target)
}

/// How they were measured.
pub(crate) fn how(results: &Map<String, Value>) -> String {
    let copy = Section::of(results, "copy_out");
    let show = |table: &str, name: &str| grouped(copy.inner(table).middle(name), 0);
    [
        format!(
            "PostgreSQL 15 is Debian's, with the settings of the other one; pgbench is its, run against both: the tables of `pgbench -i -s \
             {SCALE}`, its own scripts, `-M prepared`, turns of 5 s, at most two threads, `-n`. At the end the sums of balances and of \
             history agree in both."
        ),
        format!(
            "k-NN by pgbench: {SEARCHES} scripts with a query and its vector each, given as text; pgvector with `hnsw.ef_search={}`.",
            grouped(Section::of(results, "pgbench_search").middle("ef_search"), 0),
        ),
        "Connections: `pgbench -C` with one `SELECT 1` each and a thread for each client, `sslmode=require`, TLS 1.3, channel binding; both \
         servers show the same certificate (RSA, 2,048 bits). How often a password is hashed at each connection is in what the server keeps \
         of it, and the client does it, on the same processors: both keep what PostgreSQL makes of a password (4,096 times), but for \
         the line about passwords as each server makes them, where LodeDB's are hashed 16,384 times."
            .to_owned(),
        format!(
            "COPY TO: the scalars are {} rows (bigint, integer, timestamptz, double precision, numeric, text, boolean; {} MB), the words \
             {} rows ({} MB); before, what \
             comes is compared by its rows' checksums.",
            show("scalars", "rows"),
            show("scalars", "mb"),
            show("vectors", "rows"),
            show("vectors", "mb"),
        ),
    ]
    .map(|line| format!("- {line}"))
    .join("\n")
}
