//! The whole server, with the real RocksDB and FAISS in it, on a disk that loses power.
//!
//! The server runs on a simulated disk that is mounted ([`mount`]); clients write over the wire and keep ledgers of what was
//! acknowledged; the disk is kept as it was before some of the calls made on it. Each of those moments leaves several disks, by what of
//! the bytes and names not yet synced is kept, lost or torn. Each is written out, the server started on it, and asked: what was
//! acknowledged by then is there, what was not answered is there whole or not at all, searches equal plain arithmetic,
//! `CHECK DATABASE` finds nothing, and what is written next survives being killed.
//!
//!     lodedb-power IMAGES [lying]
//!
//! With `lying` the disk says of one sync in eight that it was done and does nothing: the server cannot be right, and the campaign must
//! notice. `LODEDB_SEED` is the seed; threads are scheduled as they are, so that a failure keeps its disk instead of playing it again.
#![allow(unreachable_pub, reason = "a program has no users")]

#[path = "../../tests/harness/mod.rs"]
mod harness;
mod mount;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::Server;
use harness::ledger::{self, Ledger, Writer};
use lodedb_wal::fs::FileSystem;
use lodedb_wal::fs::sim::SimFileSystem;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

/// A small log, so that it is often cut, and no backups but those asked for.
const ARGUMENTS: &[&str] = &["--log-segment", "4", "--backup-interval", "0s"];
const WRITERS: i64 = 3;
/// Rows a writer keeps at most.
const ROWS_EACH: usize = 3_000;
/// Moments kept of a play.
const MOMENTS: usize = 48;
/// Disks checked of a moment.
const DISKS: usize = 4;
/// Disks they are chosen from.
const CANDIDATES: usize = 24;
/// Disks checked at once.
const AT_ONCE: usize = 2;

/// What a play leaves.
struct Played {
    writers: Vec<Writer>,
    /// The call after which the table was there.
    created: u64,
    moments: Vec<SimFileSystem>,
}

/// Runs the server on a disk until it is killed.
async fn play(seed: u64, moments: usize, is_lying: bool) -> Played {
    let mut random = StdRng::seed_from_u64(seed);
    let place = tempfile::tempdir().expect("a temporary directory");
    let disk = SimFileSystem::new(seed);
    disk.record_some(moments);
    let mounted = mount::mount(disk.clone(), place.path(), is_lying).expect("a mounted disk");
    let clock: ledger::Clock = {
        let disk = disk.clone();
        Arc::new(move || disk.calls())
    };
    let mut server = Server::start_in_with(&place.path().join("data"), ARGUMENTS);
    let client = server.connect().await;
    ledger::create(&client).await;
    let created = clock();
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer::new(seed, number, ROWS_EACH).with_clock(clock.clone())).collect();
    // Enough rows for an index to be trained.
    for writer in &mut writers {
        for _ in 0..4 {
            writer.load(&client, 400).await;
        }
    }
    harness::run(&client, "CREATE INDEX ledger_v ON ledger USING ivfpq (v vector_l2_ops)").await;
    drop(client);
    let mut tasks = JoinSet::new();
    for writer in writers.drain(..) {
        let client = server.connect().await;
        tasks.spawn(writer.write(client));
    }
    let backups = place.path().join("backups").display().to_string();
    let maintenance = tokio::spawn(ledger::maintain(server.connect().await, seed, backups));
    tokio::time::sleep(Duration::from_millis(random.random_range(1_000..6_000))).await;
    assert!(server.is_alive(), "the server died by itself; it said:\n{}", server.log());
    server.kill();
    writers = tasks.join_all().await;
    writers.sort_by_key(Writer::number);
    maintenance.await.expect("upkeep");
    drop(mounted);
    Played { writers, created, moments: disk.moments() }
}

/// One disk that a power cut may leave, and what must be on it.
struct Left {
    disk: SimFileSystem,
    cut: u64,
    ledgers: Vec<Ledger>,
    is_created: bool,
    /// What the vectors follow from.
    play: u64,
    seed: u64,
}

/// The disks to check of a play, at most `most`.
fn left_by(played: &Played, seed: u64, most: usize) -> Vec<Left> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    for moment in &played.moments {
        let cut = moment.calls();
        let mut disks = moment.crash_images(CANDIDATES);
        // The harshest always, of the others some.
        disks[1..].shuffle(&mut random);
        for disk in disks.into_iter().take(DISKS) {
            if seen.insert(disk.fingerprint()) {
                let ledgers = played.writers.iter().map(|writer| writer.at(cut)).collect();
                all.push(Left {
                    disk,
                    cut,
                    ledgers,
                    is_created: played.created <= cut,
                    play: seed,
                    seed: random.random(),
                });
            }
        }
    }
    all.shuffle(&mut random);
    all.truncate(most);
    all
}

/// Copies a directory of a disk to a real one.
fn write_out(disk: &SimFileSystem, from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    if !disk.exists(from)? {
        return Ok(());
    }
    for entry in disk.read_dir(from)? {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            write_out(disk, &from, &to)?;
        } else {
            std::fs::write(to, disk.contents(&from).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Starts the server on what is left and asks it everything.
async fn check(mut left: Left) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let dir = place.path().join("data");
    if left.disk.exists(Path::new("/data")).expect("a disk with power") {
        write_out(&left.disk, Path::new("/data"), &dir).expect("a disk written out");
    }
    let mut random = StdRng::seed_from_u64(left.seed);
    let mut server = Server::start_in_with(&dir, ARGUMENTS);
    let client = server.connect().await;
    let tables = harness::one(&client, "SELECT count(*) FROM pg_class WHERE relname = 'ledger'").await;
    if tables == "0" {
        assert!(!left.is_created, "the table is gone");
        ledger::create(&client).await;
    }
    let found = ledger::contents(&client, left.play).await;
    ledger::settle(&mut left.ledgers, &found);
    ledger::sound(&client).await;
    ledger::searches(&client, left.play, &mut random, &found).await;
    // What comes after is as safe.
    let mut after = Writer::new(left.play, WRITERS, ROWS_EACH);
    after.load(&client, 20).await;
    drop(client);
    server.kill();
    server.restart();
    let client = server.connect().await;
    left.ledgers.push(after.ledger);
    ledger::settle(&mut left.ledgers, &ledger::contents(&client, left.play).await);
}

/// Checks disks, some at once. Gives how many broke a promise; each of those stays in a directory.
async fn check_all(all: Vec<Left>, kept: &Path) -> usize {
    let mut broken = 0;
    let mut waiting = all.into_iter();
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < AT_ONCE
            && let Some(left) = waiting.next()
        {
            let (disk, cut, place) = (left.disk.clone(), left.cut, kept.join(format!("{}-{}", left.cut, left.seed)));
            tasks.spawn(async move { (tokio::spawn(check(left)).await, disk, cut, place) });
        }
        let Some(done) = tasks.join_next().await else { return broken };
        let (result, disk, cut, place) = done.expect("a check that ends");
        if result.is_err() {
            broken += 1;
            write_out(&disk, Path::new("/"), &place).expect("the disk is kept");
            eprintln!("power: a promise was broken by a cut after call {cut}; the disk is in {}", place.display());
        }
    }
}

#[tokio::main(worker_threads = 6)]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let wanted: usize = arguments.next().and_then(|images| images.parse().ok()).expect("how many images");
    let is_lying = arguments.next().is_some_and(|word| word == "lying");
    let seed: u64 = std::env::var("LODEDB_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let kept = std::env::var_os("LODEDB_POWER_KEPT")
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("power-{seed}"));
    let begun = Instant::now();
    let (mut plays, mut calls, mut commits, mut images, mut broken) = (0u64, 0, 0, 0, 0);
    while images < wanted && broken == 0 {
        let seed = StdRng::seed_from_u64(seed ^ plays << 32).random();
        let moments = MOMENTS.min((wanted - images).div_ceil(DISKS));
        let played = play(seed, moments, is_lying).await;
        plays += 1;
        calls += played.moments.last().map_or(0, SimFileSystem::calls);
        commits += played.writers.iter().map(|writer| writer.ledger.commits).sum::<u64>();
        let all = left_by(&played, seed, wanted - images);
        images += all.len();
        broken += check_all(all, &kept).await;
        eprintln!(
            "power: {plays} plays, {calls} calls, {commits} commits, {images} disks checked, {broken} broke a promise"
        );
    }
    eprintln!("power: LODEDB_SEED={seed}, in {:.0} s", begun.elapsed().as_secs_f64());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
