//! Every interleaving of two or three threads, up to three preemptions each.

use super::*;

fn every(scene: impl Fn() + Sync + Send + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.max_branches = 10_000;
    let tried = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = tried.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        scene();
    });
    println!("{} interleavings", tried.load(std::sync::atomic::Ordering::Relaxed));
}

fn planted(bug: Planted) -> Start {
    Start { planted: Some(bug), ..Start::sound() }
}

/// The thread that asks never commits: everything passes the queue.
fn queued() -> Start {
    Start { quick: |_| false, ..Start::sound() }
}

#[test]
fn two_clients_commit() {
    every(|| commits(Start::sound(), 2, 2));
}

#[test]
fn two_clients_commit_through_the_queue() {
    every(|| commits(queued(), 2, 2));
}

#[test]
fn a_failed_sync_reaches_everybody() {
    every(|| failing(Start { sync_fails_at: Some(2), ..Start::sound() }, 2, 2));
}

#[test]
fn a_failed_sync_reaches_everybody_in_the_queue() {
    every(|| failing(Start { sync_fails_at: Some(1), ..queued() }, 2, 2));
}

#[test]
fn a_failed_apply_reaches_everybody() {
    every(|| failing(Start { apply_fails_at: Some(2), ..queued() }, 2, 2));
}

#[test]
fn stopping_forgets_nobody() {
    every(|| stopping(Start::sound(), 1, 2));
}

#[test]
fn a_merge_keeps_what_happened_meanwhile() {
    every(|| merging(Start::sound(), &[&[Op::Delete(1), Op::Override(4)]]));
    every(|| merging(Start::sound(), &[&[Op::Move(2), Op::Delete(5)]]));
}

#[test]
fn a_left_out_sync_is_noticed() {
    notices(|| every(|| commits(planted(Planted::NotSynced), 2, 1)));
}

#[test]
fn applying_before_the_sync_is_noticed() {
    notices(|| every(|| commits(planted(Planted::AppliedBeforeSync), 2, 2)));
}

#[test]
fn answering_before_publishing_is_noticed() {
    notices(|| every(|| commits(planted(Planted::PublishedLast), 2, 1)));
}

#[test]
fn answering_backwards_is_noticed() {
    notices(|| every(|| commits(Start { quick: |_| false, ..planted(Planted::AnsweredBackwards) }, 2, 2)));
}

#[test]
fn a_forgotten_failure_is_noticed() {
    notices(|| every(|| failing(Start { sync_fails_at: Some(1), ..planted(Planted::FailureForgotten) }, 2, 2)));
}

#[test]
fn a_lost_wake_up_is_noticed() {
    notices(|| every(|| commits(planted(Planted::LostWakeUp), 2, 2)));
}

#[test]
fn a_stop_that_forgets_is_noticed() {
    notices(|| every(|| stopping(planted(Planted::StopForgets), 1, 1)));
}

#[test]
fn stopping_by_halves_is_noticed() {
    notices(|| every(|| stopping(planted(Planted::StoppedByHalves), 1, 2)));
}

#[test]
fn a_merge_that_forgets_is_noticed() {
    notices(|| every(|| merging(Start { forgets_the_dead: true, ..Start::sound() }, &[&[Op::Delete(1)]])));
}
