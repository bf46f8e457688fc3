//! The engine against a plain model in memory: random statements of two sessions, with background work, checkpoints,
//! crashes and reopening in between, and everything read compared with maps and plain arithmetic.
//!
//! `LODEDB_MODEL_STEPS` changes the number of steps of each seed; `LODEDB_SEED` names one seed to play instead of the
//! usual ones. With the feature `planted-faults` the engine is broken on purpose, fault by fault, and each
//! must be noticed: `tools/planted-faults.sh`.
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

#[allow(dead_code, reason = "an example is a program too")]
#[path = "../examples/embedded.rs"]
mod embedded;
#[path = "model/engine.rs"]
mod engine;
#[path = "model/plain.rs"]
mod plain;
#[path = "model/reads.rs"]
mod reads;
#[path = "model/steps.rs"]
mod steps;
#[path = "model/upkeep.rs"]
mod upkeep;
#[path = "model/writes.rs"]
mod writes;

use steps::play;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A fault is planted in the whole process: the tests take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_statements_agree_with_the_model() {
    let _turn = TURN.lock().await;
    let steps = number("LODEDB_MODEL_STEPS").unwrap_or(2500);
    let seeds = number("LODEDB_SEED").map_or_else(|| vec![2, 3, 4], |seed| vec![seed]);
    for seed in seeds {
        eprintln!("LODEDB_SEED={seed} LODEDB_MODEL_STEPS={steps}");
        match play(seed, steps).await {
            Ok(counts) => eprintln!("{counts}"),
            Err((_, difference)) => panic!("seed {seed}: {difference}"),
        }
    }
}

/// An oracle that misses what it is for is worse than none.
#[cfg(feature = "planted-faults")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_planted_fault_is_noticed() {
    use lodedb::fault::{Fault, plant};
    let _turn = TURN.lock().await;
    let steps = number("LODEDB_MODEL_STEPS").unwrap_or(1500);
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        plant(Some(fault));
        let mut played = 0;
        let mut noticed = None;
        for seed in 10..16 {
            match play(seed, steps).await {
                Ok(_) => played += steps,
                Err((step, difference)) => {
                    noticed = Some((played + step, difference));
                    break;
                }
            }
        }
        plant(None);
        match noticed {
            Some((step, difference)) => {
                let told: Vec<&str> = difference.split("\n  after").next().unwrap_or_default().lines().collect();
                eprintln!("{fault:?} after {step} steps: {}", told.last().unwrap_or(&""));
            }
            None => {
                eprintln!("{fault:?} was not noticed in {played} steps");
                missed.push(fault);
            }
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

/// What the README shows is what was run.
#[test]
fn the_readme_shows_the_example() {
    let (readme, example) = (include_str!("../README.md"), include_str!("../examples/embedded.rs"));
    let (_, code) = example.split_once("\n\n").expect("a first line and the code");
    assert!(readme.contains(&format!("```rust\n{code}```")), "README.md and examples/embedded.rs differ");
    let dir = tempfile::tempdir().expect("a directory");
    let ran = lodedb::runtime().expect("a runtime").block_on(embedded::example(dir.path()));
    ran.expect("the example runs");
}
