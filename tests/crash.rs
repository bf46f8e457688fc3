//! The ledger test: clients write over the wire while the server is killed at random, and after every restart each
//! acknowledged commit is there, no other one is half there, and searches equal plain arithmetic over the ledger.
//!
//! Half of the kills come at a random moment, three in ten once more while the server recovers, two in ten at a named place of the code
//! ([`lodedb_wal::killpoint`]). `LODEDB_KILLS` changes the number of rounds, `LODEDB_SEED` the seed (printed at the start);
//! `LODEDB_KILLS_AT_POINTS=1` kills at named places only. `tools/campaigns/run.sh` is the long run.
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::Server;
use harness::client::told;
use harness::ledger::{Writer, contents, create, maintain, searches, settle, sound};
use harness::server::{PATIENCE, PROGRAM};
use lodedb_wal::killpoint::POINTS;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How long a server that was told to die at a point is waited for.
const POINT_PATIENCE: Duration = Duration::from_secs(4);
const CLIENTS: i64 = 4;
/// Rows a client keeps at most, so that the table stays of one size.
const ROWS_EACH: usize = 9_000;

/// Starts the program on the directory and kills it while it recovers.
fn kill_in_recovery(server: &Server, after: Duration) {
    let mut child = Command::new(&*PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(after);
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("the program is gone");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_commit_survives_being_killed() {
    let kills = number("LODEDB_KILLS", 80);
    let seed = number("LODEDB_SEED", rand::random());
    let only_points = number("LODEDB_KILLS_AT_POINTS", 0) != 0;
    eprintln!("LODEDB_SEED={seed} LODEDB_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let records = tempfile::tempdir().expect("a temporary directory");
    let record = records.path().join("points").to_str().expect("a plain name").to_owned();
    let mut server = Server::start_with(&["--backup-interval", "2s", "--backup-keep", "2,1", "--log-segment", "4"]);
    server.kill();
    let recorded = [("LODEDB_KILL_POINTS", record.as_str())];
    server.restart_with(&recorded).unwrap_or_else(|problem| panic!("{problem}"));
    let backups = server.dir().join("backups").display().to_string();
    let client = server.connect().await;
    create(&client).await;
    drop(client);
    let mut writers: Vec<Writer> = (0..CLIENTS).map(|number| Writer::new(seed, number, ROWS_EACH)).collect();
    // Enough rows that an index is trained and segments are sealed from the first round on.
    let client = server.connect().await;
    for writer in &mut writers {
        for _ in 0..6 {
            writer.load(&client, 500).await;
        }
    }
    // Each kind of upkeep once to its end: rounds may be too short for any.
    let backup = format!("BACKUP TO '{backups}'");
    let staged =
        "INSERT INTO passing SELECT i, repeat('staged', 600), '[1,2,3,4]' FROM generate_series(1, 3000) AS s(i)";
    let upkeep = [
        "CREATE INDEX ledger_v ON ledger USING ivfpq (v vector_l2_ops)",
        "CREATE TABLE passing (id int, note text, v vector(4))",
        staged,
        "CHECKPOINT",
        &backup,
        "REINDEX TABLE ledger",
        "VACUUM FULL ledger",
        "DROP TABLE passing",
        "CHECKPOINT",
    ];
    for statement in upkeep {
        let begun = Instant::now();
        while let Err(error) = client.batch_execute(statement).await {
            // The schedule is at the same folder.
            let waits = error.code().is_some_and(|code| code.code() == "55006") && begun.elapsed() < PATIENCE;
            assert!(waits, "{statement}: {}", told(&error));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop(client);
    let (mut again, mut compared, mut unknown, started) = (0, 0, 0, Instant::now());
    // How often the server died at each point; the one it waits for, if it was told to die at one.
    let mut deaths: BTreeMap<&str, u32> = POINTS.iter().map(|point| (*point, 0)).collect();
    let mut tried = deaths.clone();
    let mut armed: Option<&str> = None;
    for round in 1..=kills {
        // Log-uniform between 1 ms and 1.5 s.
        let after = Duration::from_secs_f64(0.001 * 1500f64.powf(random.random::<f64>()));
        let mut tasks = Vec::new();
        let mut idle = Vec::new();
        for writer in writers.drain(..) {
            match server.try_connect().await {
                Ok(client) => tasks.push(tokio::spawn(writer.write(client))),
                Err(error) => {
                    assert!(armed.is_some(), "round {round}: {error}; the server said:\n{}", server.log());
                    idle.push(writer);
                }
            }
        }
        let maintenance = server.try_connect().await.ok();
        let maintenance = maintenance.map(|client| tokio::spawn(maintain(client, seed ^ round, backups.clone())));
        let waiting = Instant::now();
        while armed.is_some() && waiting.elapsed() < POINT_PATIENCE && server.is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match armed {
            Some(point) if !server.is_alive() => *deaths.entry(point).or_default() += 1,
            Some(_) => {}
            None => tokio::time::sleep(after).await,
        }
        assert!(armed.is_some() || server.is_alive(), "the server died by itself in round {round}");
        server.kill();
        for task in tasks {
            writers.push(task.await.unwrap_or_else(|error| panic!("round {round}: {error}")));
        }
        writers.append(&mut idle);
        if let Some(maintenance) = maintenance {
            maintenance.await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        unknown += writers.iter().filter(|writer| writer.ledger.unknown.is_some()).count();
        if random.random_bool(0.3) {
            kill_in_recovery(&server, Duration::from_millis(random.random_range(0..300)));
            again += 1;
        }
        server.restart_with(&recorded).unwrap_or_else(|problem| panic!("{problem}"));
        let client = server.connect().await;
        let found = contents(&client, seed).await;
        writers.sort_by_key(Writer::number);
        let known = settle(writers.iter_mut().map(|writer| &mut writer.ledger), &found);
        sound(&client).await;
        compared += searches(&client, seed, &mut random, &found).await;
        // The next round's point, told before the start: many are on the way up.
        armed = (round < kills && (only_points || random.random_bool(0.2))).then(|| {
            let least = tried.values().min().copied().unwrap_or(0);
            let points: Vec<&str> =
                tried.iter().filter(|(_, tries)| **tries == least).map(|(point, _)| *point).collect();
            points[random.random_range(0..points.len())]
        });
        if let Some(point) = armed {
            *tried.entry(point).or_default() += 1;
            let passes = if point.starts_with("recovery") { 0 } else { random.random_range(0..3) };
            let order = format!("{point}@{passes}");
            server.kill();
            if server.restart_with(&[("LODEDB_KILL_AT", &order), recorded[0]]).is_err() {
                *deaths.entry(point).or_default() += 1;
                armed = None;
                server.restart_with(&recorded).unwrap_or_else(|problem| panic!("{problem}"));
            }
        }
        let commits: u64 = writers.iter().map(|writer| writer.ledger.commits).sum();
        eprintln!("round {round}: killed after {after:?}, {known} rows, {commits} commits so far");
    }
    // The last word: a clean stop keeps it all, too.
    assert!(server.terminate().success(), "{}", server.log());
    server.restart();
    let client = server.connect().await;
    let found = contents(&client, seed).await;
    settle(writers.iter_mut().map(|writer| &mut writer.ledger), &found);
    let commits: u64 = writers.iter().map(|writer| writer.ledger.commits).sum();
    let reached = std::fs::read_to_string(&record).unwrap_or_default();
    let missed: Vec<&&str> = POINTS.iter().filter(|point| !reached.lines().any(|line| line == **point)).collect();
    assert!(kills < 80 || missed.is_empty(), "no run came by {missed:?}");
    let died: u32 = deaths.values().sum();
    let spared: Vec<&&str> = deaths.iter().filter(|(_, deaths)| **deaths == 0).map(|(point, _)| point).collect();
    eprintln!("{died} of them at {} named places; at none of {spared:?}", deaths.len() - spared.len());
    eprintln!(
        "{kills} kills, {again} of them again in recovery, {commits} acknowledged commits, {unknown} unanswered, \
         {compared} searches compared, in {:?}",
        started.elapsed()
    );
    assert!(commits > 0, "nothing was acknowledged");
}
