//! Every kind of file of a database, damaged in every way: whatever comes of it, no answer is wrong or short.
//!
//! A database of every kind of file is made once, closed or cut off as by a crash, with and without backups. Each case copies it, damages
//! one file, opens it and asks. Allowed are: all answers right (the damage was harmless, or made up for); an error of the right kind from
//! what needs the file; a database that does not open and says why. Then the damaged file is as it was left, unless it was mended.
//!
//! `LODEDB_DAMAGES` is how many cases are tried (600; the long run: 6000), `LODEDB_SEED` the seed (printed at the start), `LODEDB_CASE` one
//! case alone.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

// In this program because it mostly waits, while what is here keeps a processor busy.
#[path = "damage/disk_full.rs"]
mod disk_full;

use std::collections::BTreeMap;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lodedb::{Db, Options, SessionOptions, SqlError, SqlState};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Nothing takes longer to be refused or answered.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options { background: false, disk_reserve_bytes: 0, ..Options::for_test() }
}

/// What is asked of a database; `VECTORS` of the table with vectors, `PLAIN` of the one without.
const QUERIES: [&str; 10] = [
    "SELECT id, note, v FROM t ORDER BY id",
    "SELECT id, note FROM t ORDER BY id",
    "SELECT count(*) FROM t",
    "SELECT note, count(*) FROM t GROUP BY note ORDER BY note",
    "SELECT id, note FROM t WHERE id = 77",
    "SELECT id FROM t WHERE note = 'note 3' ORDER BY id",
    "SELECT id, v <-> (SELECT v FROM t WHERE id = 77) FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 77) LIMIT 10",
    "SELECT id FROM t WHERE note < 'note 5' ORDER BY v <-> (SELECT v FROM t WHERE id = 78) LIMIT 10",
    "SELECT * FROM plain ORDER BY id",
    "SELECT * FROM made ORDER BY id",
];

async fn run(db: &Db, sql: &str) -> Result<(), SqlError> {
    db.session(SessionOptions::default())?.execute_sql(sql).await.map(|_| ())
}

async fn ask(db: &Db, sql: &str) -> Result<Vec<String>, SqlError> {
    let mut session = db.session(SessionOptions::default())?;
    // Every list probed and every candidate compared: the answer is exact.
    session.execute_sql("SET lodedb.probes = 1048576; SET lodedb.candidates = 16777216").await?;
    let rows = session.query(sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let columns = 0..rows.fields().len();
            let texts = columns.map(|at| Ok(row.text(at)?.unwrap_or_else(|| "NULL".into())));
            Ok(texts.collect::<Result<Vec<_>, SqlError>>()?.join("|"))
        })
        .collect()
}

/// A database with every kind of file; `earlier` gets a copy of it as it was in between.
async fn make(dir: &Path, earlier: &Path, is_closed: bool, has_backups: bool) -> Vec<Vec<String>> {
    let db = Db::open(dir, options()).unwrap();
    run(&db, "CREATE TABLE t (id int PRIMARY KEY, note text, v vector(16))").await.unwrap();
    run(&db, "CREATE TABLE plain (id int PRIMARY KEY, big text)").await.unwrap();
    let insert = async |from: i32, to: i32| {
        let vector = "(SELECT array_agg(sin(i * (j + 1))::real) FROM generate_series(0, 15) AS g(j))::vector";
        let sql =
            format!("INSERT INTO t SELECT i, 'note ' || i % 10, {vector} FROM generate_series({from}, {to}) AS s(i)");
        run(&db, &sql).await.unwrap();
    };
    insert(1, 900).await;
    run(&db, "INSERT INTO plain SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 40) AS s(i)")
        .await
        .unwrap();
    run(&db, "CREATE INDEX notes ON t (note)").await.unwrap();
    run(&db, "CREATE INDEX near ON t USING ivfpq (v vector_l2_ops)").await.unwrap();
    run(&db, "CHECKPOINT").await.unwrap();
    copy_dir(dir, earlier);
    insert(901, 1100).await;
    // Ids with gaps: they are in a file of their own.
    run(&db, "DELETE FROM t WHERE id % 7 = 0").await.unwrap();
    run(&db, "VACUUM t").await.unwrap();
    run(&db, "UPDATE t SET note = 'other' WHERE id % 50 = 0").await.unwrap();
    insert(1101, 1140).await;
    // Definitions and rows in one transaction, with savepoints it returns to and one it keeps.
    run(
        &db,
        "BEGIN; CREATE TABLE made (id int PRIMARY KEY, what text); INSERT INTO made VALUES (1, 'kept'); SAVEPOINT a; \
         DROP TABLE t; INSERT INTO made VALUES (2, 'undone'); ROLLBACK TO a; ALTER TABLE plain ADD COLUMN size int; \
         SAVEPOINT b; UPDATE plain SET size = length(big); CREATE INDEX sizes ON plain (size); RELEASE b; COMMIT",
    )
    .await
    .unwrap();
    if has_backups {
        run(&db, &format!("BACKUP TO '{}'", dir.join("backups").display())).await.unwrap();
    }
    run(&db, "CHECKPOINT").await.unwrap();
    insert(1141, 1180).await;
    run(&db, "DELETE FROM t WHERE id = 5; UPDATE plain SET big = 'short' WHERE id = 3").await.unwrap();
    run(
        &db,
        "BEGIN; ALTER TABLE made RENAME COLUMN what TO note; SAVEPOINT a; DROP INDEX near; DELETE FROM made; \
         ROLLBACK TO a; INSERT INTO made SELECT i, 'row ' || i FROM generate_series(10, 60) AS s(i); \
         DELETE FROM t WHERE id = 6; COMMIT",
    )
    .await
    .unwrap();
    let mut answers = Vec::new();
    for sql in QUERIES {
        answers.push(ask(&db, sql).await.unwrap());
    }
    if is_closed {
        db.close().unwrap();
    } else {
        // As a crash after a quiet moment.
        db.engine().log.write_idle_mark().unwrap();
    }
    answers
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The files below a directory, by their paths in it.
fn files(dir: &Path, below: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            files(dir, &path, into);
        } else {
            into.push(path);
        }
    }
}

/// What kind of file a path is.
fn kind(path: &Path) -> String {
    let text = path.to_string_lossy();
    let name = path.file_name().unwrap().to_string_lossy();
    let first = text.split('/').next().unwrap_or_default();
    match first {
        "segments" if text.contains('-') => "a growing segment's copy".into(),
        "segments" => format!("segment: {}", name.split('.').next().unwrap_or_default()),
        "quantizers" if name.contains("calibration") => "calibration".into(),
        "quantizers" => "quantizer".into(),
        "meta" => {
            format!("rows: {}", name.split(['-', '.']).next_back().unwrap_or_default().trim_matches(char::is_numeric))
        }
        "backups" => format!("backups: {}", text.split('/').nth(1).unwrap_or_default()),
        other => other.into(),
    }
}

const HOWS: [&str; 10] = [
    "a bit flips",
    "a byte is ff",
    "512 bytes are zero",
    "4096 bytes are zero",
    "it is cut",
    "garbage follows",
    "two blocks are swapped",
    "it is an older one",
    "it is another one",
    "it is gone",
];

/// Damages a file; says how, or `None` where it cannot be.
fn damage(path: &Path, how: &str, earlier: &Path, other: &Path, random: &mut StdRng) -> Option<String> {
    let mut bytes = fs::read(path).ok()?;
    let len = bytes.len();
    if len == 0 && how != "it is gone" && how != "garbage follows" {
        return None;
    }
    let at = match random.random_range(0..3) {
        0 => random.random_range(0..len.clamp(1, 256)),
        1 => len.saturating_sub(1 + random.random_range(0..len.clamp(1, 256))),
        _ => random.random_range(0..len.max(1)),
    };
    let before = bytes.clone();
    match how {
        "a bit flips" => bytes[at] ^= 1 << random.random_range(0..8),
        "a byte is ff" => bytes[at] = 0xff,
        "512 bytes are zero" | "4096 bytes are zero" => {
            let block = if how.starts_with('5') { 512 } else { 4096 };
            let from = at / block * block;
            bytes[from..(from + block).min(len)].fill(0);
        }
        "it is cut" => {
            let cuts = [0, 1, len / 2, len - 1, at / 4096 * 4096];
            bytes.truncate(cuts[random.random_range(0..cuts.len())]);
        }
        "garbage follows" => bytes.extend((0..random.random_range(1..5000)).map(|_| random.random::<u8>())),
        "two blocks are swapped" => {
            let blocks = len / 512;
            if blocks < 2 {
                return None;
            }
            let (a, b) = (random.random_range(0..blocks), random.random_range(0..blocks));
            for byte in 0..512 {
                bytes.swap(a * 512 + byte, b * 512 + byte);
            }
        }
        "it is an older one" => bytes = fs::read(earlier).ok()?,
        "it is another one" => bytes = fs::read(other).ok()?,
        _ => {
            fs::remove_file(path).unwrap();
            return Some(how.to_owned());
        }
    }
    if bytes == before {
        return None;
    }
    fs::write(path, &bytes).unwrap();
    Some(format!("{how} at {at} of {len}"))
}

/// A database as it is before it is damaged.
struct Origin {
    name: &'static str,
    dir: PathBuf,
    earlier: PathBuf,
    files: Vec<PathBuf>,
    answers: Vec<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Every answer is right.
    Right,
    /// Something says that it is damaged; the rest is right.
    Refused,
    /// The database does not open, and says why.
    Closed,
}

/// Whether an error may be what damage gives.
fn is_allowed(error: &SqlError) -> bool {
    matches!(error.state(), SqlState::DataCorrupted | SqlState::IoError)
}

/// Opens a damaged database and asks everything.
async fn judge(dir: &Path, origin: &Origin) -> Result<Outcome, String> {
    let db = match tokio::task::block_in_place(|| Db::open(dir, options())) {
        Ok(db) => db,
        Err(error) => {
            let text = error.to_string();
            return if text.len() > 10 { Ok(Outcome::Closed) } else { Err(format!("it does not open: {text:?}")) };
        }
    };
    let mut outcome = Outcome::Right;
    for (sql, expected) in QUERIES.iter().zip(&origin.answers) {
        match ask(&db, sql).await {
            Ok(found) if found == *expected => {}
            Ok(found) => {
                let wrong = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len());
                return Err(format!("{sql}: {} rows, {} expected, wrong from {wrong} on", found.len(), expected.len()));
            }
            Err(error) if is_allowed(&error) => outcome = Outcome::Refused,
            Err(error) => return Err(format!("{sql}: {error:?}")),
        }
    }
    // Going on: what is committed now is there later, or refused.
    let written = run(&db, "INSERT INTO t VALUES (9999, 'after', NULL)").await;
    for sql in ["VACUUM", "CHECKPOINT", "CHECK DATABASE"] {
        if let Err(error) = run(&db, sql).await
            && !is_allowed(&error)
        {
            return Err(format!("{sql}: {error:?}"));
        }
    }
    match ask(&db, "SELECT note FROM t WHERE id = 9999").await {
        Ok(found) if written.is_ok() && found != ["after"] => return Err("what was committed is not there".into()),
        Ok(_) => {}
        Err(error) if is_allowed(&error) => {}
        Err(error) => return Err(format!("{error:?}")),
    }
    let _ = tokio::task::block_in_place(|| db.close());
    drop(db);
    if let Ok(db) = tokio::task::block_in_place(|| Db::open(dir, options())) {
        match ask(&db, QUERIES[1]).await {
            Ok(mut found) => {
                found.retain(|row| row != "9999|after");
                if found != origin.answers[1] {
                    return Err(format!("opened again it has {} rows", found.len()));
                }
            }
            Err(error) if is_allowed(&error) => {}
            Err(error) => return Err(format!("opened again: {error:?}")),
        }
    }
    Ok(outcome)
}

/// One case by its number. Gives the kind of file, what was done to it, and what came of it.
fn case(number: u64, seed: u64, origins: &[Origin], work: &Path) -> Option<(String, String, Result<Outcome, String>)> {
    let mut random = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let origin = &origins[(number % origins.len() as u64) as usize];
    // Kinds first: there are many more files of some.
    let mut kinds: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
    origin.files.iter().for_each(|path| kinds.entry(kind(path)).or_default().push(path));
    let pick = random.random_range(0..kinds.len());
    let (kind, paths) = kinds.into_iter().nth(pick)?;
    let path = paths[random.random_range(0..paths.len())];
    let other = paths[random.random_range(0..paths.len())];
    let how = HOWS[random.random_range(0..HOWS.len())];
    let dir = work.join(number.to_string());
    copy_dir(&origin.dir, &dir);
    let target = dir.join(path);
    let done = damage(&target, how, &origin.earlier.join(path), &origin.dir.join(other), &mut random);
    let result = done.map(|done| {
        let left = fs::read(&target).ok();
        let begun = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let judged = std::panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async { tokio::time::timeout(PATIENCE, judge(&dir, origin)).await })
        }));
        let outcome = match judged {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("it takes too long".into()),
            Err(_) => Err("it panicked".into()),
        };
        let untouched = fs::read(&target).ok() == left;
        let outcome = match outcome {
            Ok(Outcome::Closed) if !untouched => Err("it does not open, and the file was touched".into()),
            other => other,
        };
        let done = format!("{} ({}): {done}, {:?}", path.display(), origin.name, begun.elapsed());
        (kind, done, outcome)
    });
    fs::remove_dir_all(&dir).unwrap();
    result
}

#[test]
fn damage_is_never_answered_wrongly() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = number("LODEDB_DAMAGES").unwrap_or(600);
    let seed = number("LODEDB_SEED").unwrap_or(1);
    println!("LODEDB_SEED={seed} LODEDB_DAMAGES={cases}");
    let work = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let made = [("closed", true, false), ("cut off", false, false), ("closed, with backups", true, true)];
    let origins: Vec<Origin> = made
        .into_iter()
        .map(|(name, is_closed, has_backups)| {
            let dir = work.path().join(name);
            let earlier = work.path().join(format!("{name}, earlier"));
            let answers = runtime.block_on(make(&dir, &earlier, is_closed, has_backups));
            let mut found = Vec::new();
            files(&dir, Path::new(""), &mut found);
            found.sort();
            // What RocksDB writes for people, and who held the lock.
            found.retain(|path| !path.starts_with("meta/LOG") && path != Path::new("LOCK"));
            Origin { name, dir, earlier, files: found, answers }
        })
        .collect();
    drop(runtime);
    let numbers: Vec<u64> = number("LODEDB_CASE").map_or_else(|| (0..cases).collect(), |one| vec![one]);
    let (next, outcomes, wrong) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while let Some(&number) = numbers.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let Some((kind, done, outcome)) = case(number, seed, &origins, work.path()) else { continue };
                    match outcome {
                        Ok(outcome) => *outcomes.lock().unwrap().entry((kind, outcome)).or_insert(0u64) += 1,
                        Err(error) => {
                            eprintln!("LODEDB_SEED={seed} LODEDB_CASE={number}: {done}: {error}");
                            wrong.lock().unwrap().push(number);
                        }
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    for ((kind, outcome), count) in &outcomes {
        println!("{kind}: {outcome:?} {count}");
    }
    let tried: u64 = outcomes.values().sum();
    let wrong = wrong.into_inner().unwrap();
    println!("{} cases tried, {} wrong", tried + wrong.len() as u64, wrong.len());
    assert!(wrong.is_empty(), "cases {wrong:?}");
    assert!(tried > numbers.len() as u64 / 2, "most cases did nothing");
}
