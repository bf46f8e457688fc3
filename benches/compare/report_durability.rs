//! The part of RESULTS.md about crashes, backups and checking.

use serde_json::{Map, Value};

use crate::durability::FEW;
use crate::rates::ROUNDS;
use crate::report::{Line, Section, grouped, middle, spread};

/// What checkpoints do to the slowest of some calls.
fn beside_checkpoints(checkpoint: &Section<'_>, what: &str, calls: &str) -> Line {
    let [ours, theirs] = ["lodedb", "postgres"].map(|server| {
        let of = |figure: &str| checkpoint.get(&format!("{server}_{calls}_{figure}"));
        format!(
            "{}: from {} to {}",
            spread(of("ratio"), 1, "x"),
            spread_middle(of("quiet_p99_ms")),
            spread_middle(of("busy_p99_ms"))
        )
    });
    Line::new(what, ours, theirs, f64::NAN)
}

fn spread_middle(value: &Value) -> String {
    format!("{} ms", grouped(middle(value), 2))
}

/// The lines of the table.
pub(crate) fn lines(results: &Map<String, Value>) -> Vec<Line> {
    let section = |name: &str| Section::of(results, name);
    let (group, recovery, million) = (section("group"), section("recovery"), section("million"));
    let (checkpoint, backup, verify) = (section("checkpoint"), section("backup"), section("verify"));
    let mut all = Vec::new();
    for clients in ["1", "16"] {
        for percent in ["p50", "p99"] {
            let what = format!("{percent} of a single-row durable INSERT, {clients} client(s), against PostgreSQL");
            all.push(group.inner(clients).both(&what, &format!("{percent}_ms"), 2, " ms"));
        }
    }
    let many = group.inner("16");
    all.extend([
        many.both("commits for each sync of the log, 16 clients", "commits_per_sync", 1, "").at_least(
            ">= 4",
            many.middle("lodedb_commits_per_sync"),
            4.0,
        ),
        recovery.both("recovery after kill -9, log a second, against PostgreSQL", "mb_per_s", 0, " MB/s"),
        recovery.both("the same: from starting the program to the first answer", "s", 2, " s"),
        million
            .both("kill -9 with 1,000,000 rows, from starting the program to the first k-NN answer", "s", 2, " s")
            .at_most("< 2 s", million.middle("lodedb_s"), 2.0),
        beside_checkpoints(&checkpoint, "p99 of a k-NN search, CHECKPOINT again and again, against none", "search"),
        beside_checkpoints(
            &checkpoint,
            "p99 of a single-row commit, CHECKPOINT again and again, against none",
            "commit",
        ),
        backup.both("backup, against pg_basebackup", "mb_per_s", 0, " MB/s"),
        backup
            .ours(
                "second backup after 1 % of the rows changed: bytes copied, of the first's",
                "lodedb_second_percent",
                2,
                " %",
            )
            .at_most("< 5 %", backup.middle("lodedb_second_percent"), 5.0),
        verify.ours(
            "opening 3 GB after a clean close, from starting the program to the first answer",
            "lodedb_open_s",
            2,
            " s",
        ),
        verify.ours("the same, nothing in the operating system's cache", "lodedb_open_cold_s", 2, " s"),
        verify.ours("`lodedb check` of the 3 GB, opening included", "lodedb_check_gb_per_s", 2, " GB/s"),
        verify.ours("the scrubber at full speed, from the disk", "lodedb_scrub_gb_per_s", 2, " GB/s"),
    ]);
    all
}

/// How they were measured.
pub(crate) fn how(results: &Map<String, Value>) -> String {
    let section = |name: &str| Section::of(results, name);
    let (recovery, million, checkpoint) = (section("recovery"), section("million"), section("checkpoint"));
    let (backup, verify) = (section("backup"), section("verify"));
    let show = |section: &Section<'_>, name: &str, decimals| grouped(section.middle(name), decimals);
    [
        "Commits for each sync: what the clients had acknowledged, divided by LodeDB's syncs as its log tells them (each frame names the \
         last record that was durable when it was made, so there were as many syncs as different names), and by PostgreSQL's \
         `pg_stat_wal.wal_sync`."
            .to_owned(),
        format!(
            "Recovery: after CHECKPOINT into five empty tables with primary keys, transactions of 100 rows by COPY, each followed by a \
             single-row UPDATE, {} MB of LodeDB's log and {} MB of PostgreSQL's; then SIGKILL (PostgreSQL: `pg_ctl stop -m immediate`), and \
             a query for the last row by its key; {FEW} times. Neither has an index of vectors. LodeDB's tables are small enough for nothing to be merged, since it would take a \
             checkpoint of its own then. `pg_ctl` looks ten times a second \
             whether the server answers.",
            show(&recovery, "lodedb_mb", 0),
            show(&recovery, "postgres_mb", 0),
        ),
        format!(
            "A crash with {} rows: the words again and again with ids of their own; CHECKPOINT, single-row INSERTs of one client, the \
             kill, and one search; {ROUNDS} times. pgvector's index is an `ivfflat` of 1,000 lists here, which takes the inserts at \
             once.",
            show(&million, "rows", 0),
        ),
        format!(
            "CHECKPOINT again and again: one client searches `words` by its index with default effort, one inserts and updates rows of \
             a small table with a primary key; beside them a third takes checkpoints without a pause ({} a second by LodeDB, {} by \
             PostgreSQL), or none; {FEW} times.",
            show(&checkpoint, "lodedb_checkpoints_per_s", 1),
            show(&checkpoint, "postgres_checkpoints_per_s", 1),
        ),
        format!(
            "Backup: `BACKUP TO` a new folder on the same disk, after a CHECKPOINT, of `words` and its index ({} MB); it hashes, copies, \
             syncs and reads back. Then one statement changes the number and the vector of 1 % of the rows, chosen at random, and \
             a second backup goes into the same folder. `pg_basebackup --checkpoint=fast --wal-method=fetch` copies its whole cluster \
             ({} MB). {FEW} times.",
            show(&backup, "lodedb_mb", 0),
            show(&backup, "postgres_mb", 0),
        ),
        format!(
            "Opening and reading 3 GB: vectors of 1,000 dimensions, each ten words', with their index, {} GB of files without the log; \
             {FEW} times each. `lodedb check` opens the database, reads every block of every file and compares rows with segments. The \
             scrubber runs as in the server, without its bound of 32 MiB/s, and reads past the operating system's cache.",
            show(&verify, "lodedb_gb", 2),
        ),
    ]
    .map(|line| format!("- {line}"))
    .join("\n")
}
