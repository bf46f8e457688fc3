//! Measures the log on this machine's disk: bulk appends in batches, and single-record commits by several threads.
//!
//! `cargo run --release -p lodedb-wal --example throughput -- DIR`, where `DIR` is an empty or missing directory.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use lodedb_wal::fs::OsFileSystem;
use lodedb_wal::{Log, LogError, LogOptions};

const BULK_BYTES: usize = 2 << 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: throughput DIR")?);
    std::fs::create_dir_all(&dir)?;

    // What the disk can do: plain sequential writes, synced at every 64 MiB.
    let plain_path = dir.join("plain");
    let mut plain = std::fs::File::create(&plain_path)?;
    let block = vec![7; 1 << 20];
    let start = Instant::now();
    for block_number in 1..=BULK_BYTES >> 20 {
        plain.write_all(&block)?;
        if block_number % 64 == 0 {
            plain.sync_data()?;
        }
    }
    report("plain file", BULK_BYTES, start);
    drop(plain);
    std::fs::remove_file(plain_path)?;

    let open = |name: &str| Log::open(Arc::new(OsFileSystem), &dir.join(name), LogOptions::default(), 1, 0);
    for (name, record_bytes) in [("bulk-4k", 4 << 10), ("bulk-400", 400), ("bulk-1m", (1 << 20) - 64)] {
        let log = open(name)?;
        let record = vec![7; record_bytes];
        let batch = vec![record.as_slice(); ((1 << 20) / record_bytes).max(1)];
        let batches = BULK_BYTES / (record_bytes * batch.len());
        let start = Instant::now();
        for _ in 0..batches {
            log.append(&batch)?;
        }
        log.sync(log.last_lsn())?;
        report(name, batches * batch.len() * record_bytes, start);
        drop(log);
        if name == "bulk-400" {
            let start = Instant::now();
            let log = open(name)?;
            report("  opening it", BULK_BYTES, start);
            let start = Instant::now();
            let mut bytes = 0;
            for record in log.read_from(1)? {
                bytes += record?.1.len();
            }
            report("  reading it", bytes, start);
        }
        std::fs::remove_dir_all(dir.join(name))?;
    }

    for threads in [1, 4, 16, 64] {
        let log = open("commits")?;
        let commits = 1600 / threads;
        let start = Instant::now();
        let outcomes: Vec<Result<(), LogError>> = thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..commits {
                            log.sync(log.append(&[&[7; 200]])?)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        outcomes.into_iter().collect::<Result<(), _>>()?;
        let rate = (commits * threads) as f64 / start.elapsed().as_secs_f64();
        println!("{threads:>3} threads: {rate:>8.0} commits/s");
        drop(log);
        std::fs::remove_dir_all(dir.join("commits"))?;
    }
    Ok(())
}

fn report(what: &str, bytes: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<14} {:>7.0} MiB/s", bytes as f64 / seconds / f64::from(1 << 20));
}
