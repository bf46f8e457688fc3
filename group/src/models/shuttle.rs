//! Many schedules of a few more threads: half of them random, half by PCT, which is good at bugs of few ordering constraints.
//!
//! `LODEDB_SHUTTLE_SCHEDULES` is how many in all; `LODEDB_SEED` repeats a run; a failing schedule is printed, and
//! `LODEDB_SHUTTLE_REPLAY` takes it, for the one test that is named beside.

use ::shuttle::scheduler::{PctScheduler, RandomScheduler};
use ::shuttle::{Config, Runner, replay};

use super::*;

/// The scenes below share them.
const SCHEDULES: usize = 100_000;
const SCENES: usize = 5;
const CLIENTS: usize = 4;
const OPS: usize = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn many(scene: impl Fn() + Send + Sync + Clone + 'static) {
    if let Ok(schedule) = std::env::var("LODEDB_SHUTTLE_REPLAY") {
        return replay(scene, &schedule);
    }
    let schedules = number("LODEDB_SHUTTLE_SCHEDULES").map_or(SCHEDULES, |count| count as usize);
    let each = schedules.div_ceil(SCENES * 2);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("LODEDB_SEED").unwrap_or(time.as_nanos() as u64);
    println!("LODEDB_SEED={seed}: {each} random schedules and {each} by PCT");
    let config = || {
        let mut config = Config::new();
        config.stack_size = 256 << 10;
        config
    };
    let random = Runner::new(RandomScheduler::new_from_seed(seed, each), config()).run(scene.clone());
    let by_pct = Runner::new(PctScheduler::new_from_seed(seed, 3, each), config()).run(scene);
    println!("{random} and {by_pct} were tried");
}

/// Both roads, by turns.
fn mixed() -> Start {
    Start { quick: |lsn| !lsn.is_multiple_of(3), ..Start::sound() }
}

#[test]
fn clients_commit() {
    many(|| commits(mixed(), CLIENTS, OPS));
}

#[test]
fn a_failed_sync_reaches_everybody() {
    many(|| failing(Start { sync_fails_at: Some(20), ..mixed() }, CLIENTS, OPS));
}

#[test]
fn a_failed_apply_reaches_everybody() {
    many(|| failing(Start { apply_fails_at: Some(20), ..mixed() }, CLIENTS, OPS));
}

#[test]
fn stopping_forgets_nobody() {
    many(|| stopping(mixed(), CLIENTS, OPS));
}

#[test]
fn a_merge_keeps_what_happened_meanwhile() {
    let ops = [Op::Delete(1), Op::Override(2), Op::Move(3), Op::Delete(4)].map(|op| {
        let mut ops = vec![Op::Mark; OPS];
        ops[OPS / 2] = op;
        ops
    });
    many(move || {
        let ops: Vec<&[Op]> = ops.iter().map(Vec::as_slice).collect();
        merging(mixed(), &ops);
    });
}

fn planted(bug: Planted) -> Start {
    Start { planted: Some(bug), ..mixed() }
}

#[test]
fn a_left_out_sync_is_noticed() {
    notices(|| many(|| commits(planted(Planted::NotSynced), 4, 2)));
}

#[test]
fn applying_before_the_sync_is_noticed() {
    notices(|| many(|| commits(planted(Planted::AppliedBeforeSync), 4, 4)));
}

#[test]
fn answering_before_publishing_is_noticed() {
    notices(|| many(|| commits(planted(Planted::PublishedLast), 4, 4)));
}

#[test]
fn answering_backwards_is_noticed() {
    notices(|| many(|| commits(planted(Planted::AnsweredBackwards), 4, 4)));
}

#[test]
fn a_forgotten_failure_is_noticed() {
    notices(|| many(|| failing(Start { sync_fails_at: Some(3), ..planted(Planted::FailureForgotten) }, 4, 4)));
}

#[test]
fn a_lost_wake_up_is_noticed() {
    notices(|| many(|| commits(planted(Planted::LostWakeUp), 4, 4)));
}

#[test]
fn a_stop_that_forgets_is_noticed() {
    notices(|| many(|| stopping(planted(Planted::StopForgets), 4, 2)));
}

#[test]
fn stopping_by_halves_is_noticed() {
    notices(|| many(|| stopping(planted(Planted::StoppedByHalves), 4, 8)));
}

#[test]
fn a_merge_that_forgets_is_noticed() {
    let forgets = Start { forgets_the_dead: true, ..mixed() };
    notices(move || many(move || merging(forgets, &[&[Op::Delete(1)], &[Op::Override(2)]])));
}
