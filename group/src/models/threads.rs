//! The same scenes with real threads and real primitives, and what the checkers cannot show: panics.

use super::*;

fn mixed() -> Start {
    Start { quick: |lsn| !lsn.is_multiple_of(3), ..Start::sound() }
}

#[test]
fn the_scenes_hold_with_real_threads() {
    for _ in 0..200 {
        commits(mixed(), 8, 50);
        failing(Start { sync_fails_at: Some(150), ..mixed() }, 8, 50);
        failing(Start { apply_fails_at: Some(150), ..mixed() }, 8, 50);
        stopping(mixed(), 8, 50);
        let ops = [Op::Delete(1), Op::Override(2), Op::Move(3), Op::Delete(4), Op::Override(5)];
        merging(mixed(), &ops.each_ref().map(std::slice::from_ref));
    }
}

/// Panics where its first commit is applied.
struct Panics;

impl Steps for Panics {
    type Request = std::sync::mpsc::Sender<bool>;
    type Logged = ();
    type Error = ();

    fn append(&mut self, group: &[Self::Request]) -> Result<Vec<()>, ()> {
        Ok(vec![(); group.len()])
    }
    fn sync(&mut self, _: &[()]) -> Result<(), ()> {
        Ok(())
    }
    fn apply(&mut self, _: &Self::Request, _: &()) -> Result<(), ()> {
        panic!("as planned")
    }
    fn publish(&mut self) {}
    fn was_quick(&self) -> bool {
        true
    }
    fn stopped() {}
    fn answer(request: Self::Request, outcome: Result<(), ()>) {
        request.send(outcome.is_ok()).unwrap();
    }
}

#[test]
fn a_panic_of_the_thread_leaves_nobody_waiting() {
    let group = GroupCommit::start("commit", Panics).unwrap();
    let outcomes: Vec<_> = (0..4)
        .map(|_| {
            let (answer, outcome) = std::sync::mpsc::channel();
            group.begin(answer, false);
            outcome
        })
        .collect();
    assert!(outcomes.iter().all(|outcome| outcome.recv() != Ok(true)));
    assert!(!group.stop(), "the thread panicked");
    assert!(group.has_failed());
}

#[test]
fn a_panic_of_the_thread_that_asks_stops_all_others() {
    let group = GroupCommit::start("commit", Panics).unwrap();
    let (answer, outcome) = std::sync::mpsc::channel();
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| group.begin(answer, true)));
    assert!(asked.is_err() && outcome.recv().is_err());
    for here in [true, false] {
        let (answer, outcome) = std::sync::mpsc::channel();
        group.begin(answer, here);
        assert_eq!(outcome.recv(), Ok(false), "told that the database stopped");
    }
    assert!(group.stop());
}
