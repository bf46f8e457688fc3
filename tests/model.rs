//! The engine against a plain model in memory: random statements, with seal, train, merge, checkpoint, reopening and
//! replay in between, and everything read compared with a `BTreeMap` and exact search.
//!
//! `LODEDB_MODEL_STEPS` changes the number of steps, `LODEDB_SEED` the seed (printed at the start).
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

#[path = "model/engine.rs"]
mod engine;
#[path = "model/plain.rs"]
mod plain;
#[path = "model/steps.rs"]
mod steps;

use engine::Fault;
use steps::play;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_statements_agree_with_the_model() {
    let steps = number("LODEDB_MODEL_STEPS", 4000);
    let seed = number("LODEDB_SEED", rand::random());
    eprintln!("LODEDB_SEED={seed} LODEDB_MODEL_STEPS={steps}");
    match play(seed, steps, Fault::None).await {
        Ok(counts) => eprintln!("{counts}"),
        Err(difference) => panic!("seed {seed}: {difference}"),
    }
}

/// What has once been found wrong, or nearly was: each seed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remembered_seeds_agree_with_the_model() {
    for seed in [1, 2, 3] {
        if let Err(difference) = play(seed, 300, Fault::None).await {
            panic!("seed {seed}: {difference}");
        }
    }
}

/// An oracle that misses what it is for is worse than none: each planted fault must be noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_planted_fault_is_noticed() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        let mut noticed = None;
        for seed in 100..106 {
            if let Err(difference) = play(seed, 400, fault).await {
                noticed = Some(difference);
                break;
            }
        }
        match noticed {
            Some(difference) => eprintln!("{fault:?}: {}", difference.lines().next().unwrap_or_default()),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
