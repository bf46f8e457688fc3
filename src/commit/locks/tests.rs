//! Locks are granted, waited for, given up and never leaked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::{Acquired, LockError, LockManager, LockMode, LockTarget, TxId, Wait};

use LockMode as M;

const ROW: LockTarget = LockTarget::Row(1, 1);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("it ends") });
}

fn patient(deadlock_ms: u64) -> Wait {
    Wait::Block { deadlock_timeout: Duration::from_millis(deadlock_ms), lock_timeout: None }
}

fn ask(
    locks: &Arc<LockManager>,
    tx: TxId,
    target: LockTarget,
    mode: LockMode,
) -> JoinHandle<Result<Acquired, LockError>> {
    let locks = locks.clone();
    tokio::spawn(async move { locks.acquire(tx, target, mode, patient(60_000)).await })
}

/// Until as many wait.
async fn waiting(locks: &LockManager, count: usize) {
    while locks.list().iter().filter(|info| !info.granted).count() != count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn modes_conflict_as_in_postgresql() {
    let table = [M::AccessShare, M::RowShare, M::RowExclusive, M::ShareUpdateExclusive];
    let table = [&table[..], &[M::Share, M::ShareRowExclusive, M::Exclusive, M::AccessExclusive]].concat();
    let wanted = ["-------X", "------XX", "----XXXX", "---XXXXX", "--XX-XXX", "--XXXXXX", "-XXXXXXX", "XXXXXXXX"];
    let rows = [M::ForKeyShare, M::ForShare, M::ForNoKeyUpdate, M::ForUpdate];
    for (modes, wanted) in [(&table[..], &wanted[..]), (&rows, &["---X", "--XX", "-XXX", "XXXX"])] {
        for (place, mode) in modes.iter().enumerate() {
            let conflicts: String =
                modes.iter().map(|other| if mode.conflicts_with(*other) { 'X' } else { '-' }).collect();
            assert_eq!(conflicts, wanted[place], "{mode}");
        }
    }
    for mode in LockMode::ALL {
        for other in LockMode::ALL {
            assert_eq!(mode.conflicts_with(other), other.conflicts_with(mode), "{mode} and {other}");
        }
    }
}

#[test]
fn what_is_free_is_got_and_what_is_taken_is_not() {
    let locks = LockManager::new();
    let (one, two) = (locks.begin(), locks.begin());
    assert!(locks.try_acquire(one, &ROW, M::ForUpdate));
    assert!(locks.try_acquire(one, &ROW, M::ForUpdate));
    assert!(locks.try_acquire(one, &ROW, M::ForShare));
    assert_eq!(locks.held_count(one), 2);
    assert!(!locks.try_acquire(two, &ROW, M::ForKeyShare));
    assert!(locks.try_acquire(two, &LockTarget::Row(1, 2), M::ForUpdate));
    assert!(locks.try_acquire(two, &LockTarget::Key(1, [1, 2].into()), M::Exclusive));
    assert!(!locks.try_acquire(one, &LockTarget::Key(1, [1, 2].into()), M::Exclusive));
    assert!(locks.holds(two, &LockTarget::Key(1, [1, 2].into()), M::Share));
    assert!(!locks.holds(one, &LockTarget::Key(1, [1, 2].into()), M::Share));
    locks.release_all(one);
    assert!(!locks.try_acquire(one, &LockTarget::Table(1), M::AccessShare), "it has ended");
    assert!(locks.try_acquire(two, &ROW, M::ForKeyShare));
    locks.release_all(two);
    locks.release_all(two);
    assert!(locks.is_empty());
}

#[test]
fn a_savepoint_gives_back_what_came_after() {
    let locks = LockManager::new();
    let (one, two) = (locks.begin(), locks.begin());
    assert!(locks.try_acquire(one, &ROW, M::ForShare));
    let mark = locks.mark(one);
    assert!(locks.try_acquire(one, &ROW, M::ForUpdate));
    assert!(locks.try_acquire(one, &LockTarget::Table(1), M::RowExclusive));
    locks.release_after(one, mark);
    assert!(locks.try_acquire(two, &ROW, M::ForShare));
    assert!(!locks.try_acquire(two, &ROW, M::ForUpdate));
    assert!(locks.try_acquire(two, &LockTarget::Table(1), M::AccessExclusive));
    assert!(locks.release(two, LockTarget::Table(1), M::AccessExclusive));
    assert!(!locks.release(two, LockTarget::Table(1), M::AccessExclusive));
    assert!(locks.try_acquire(one, &LockTarget::Table(1), M::AccessExclusive));
    locks.release_all(one);
    locks.release_all(two);
    assert!(locks.is_empty());
}

#[test]
fn waiters_are_served_in_their_order() {
    run(async {
        let locks = Arc::new(LockManager::new());
        let txs: Vec<TxId> = (0..5).map(|_| locks.begin()).collect();
        assert!(locks.try_acquire(txs[0], &ROW, M::ForShare));
        let writer = ask(&locks, txs[1], ROW, M::ForUpdate);
        waiting(&locks, 1).await;
        // A reader would go with the holder, but must not overtake the writer, now or by NOWAIT.
        assert!(!locks.try_acquire(txs[2], &ROW, M::ForShare));
        let nowait = locks.acquire(txs[2], ROW, M::ForShare, Wait::NoWait).await;
        assert_eq!(nowait, Err(LockError::NotAvailable));
        let readers = [ask(&locks, txs[2], ROW, M::ForShare), ask(&locks, txs[3], ROW, M::ForShare)];
        waiting(&locks, 3).await;
        locks.release_all(txs[0]);
        assert_eq!(writer.await.expect("joined"), Ok(Acquired::Waited));
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        locks.release_all(txs[1]);
        for reader in readers {
            assert_eq!(reader.await.expect("joined"), Ok(Acquired::Waited));
        }
        txs.iter().for_each(|&tx| locks.release_all(tx));
        assert!(locks.is_empty());
    });
}

#[test]
fn who_holds_a_lock_goes_before_who_does_not() {
    run(async {
        let locks = Arc::new(LockManager::new());
        let [one, two, three] = [(); 3].map(|()| locks.begin());
        assert!(locks.try_acquire(one, &ROW, M::ForShare));
        assert!(locks.try_acquire(two, &ROW, M::ForKeyShare));
        let stranger = ask(&locks, three, ROW, M::ForUpdate);
        waiting(&locks, 1).await;
        assert!(locks.try_acquire(one, &ROW, M::ForNoKeyUpdate), "compatible with the other holder");
        let upgrade = ask(&locks, one, ROW, M::ForUpdate);
        waiting(&locks, 2).await;
        locks.release_all(two);
        assert_eq!(upgrade.await.expect("joined"), Ok(Acquired::Waited));
        assert!(!stranger.is_finished());
        locks.release_all(one);
        assert_eq!(stranger.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(three);
        assert!(locks.is_empty());
    });
}

#[test]
fn two_who_wait_for_each_other_are_parted() {
    run(async {
        let locks = Arc::new(LockManager::new());
        let (one, two) = (locks.begin_as(101), locks.begin_as(102));
        let other = LockTarget::Key(9, [1].into());
        assert!(locks.try_acquire(one, &ROW, M::ForUpdate));
        assert!(locks.try_acquire(two, &other, M::Exclusive));
        let first = ask(&locks, one, other, M::Exclusive);
        waiting(&locks, 1).await;
        let second = locks.acquire(two, ROW, M::ForUpdate, patient(5)).await;
        let detail = "Process 102 waits for ForUpdateLock on row 1 of relation 1; blocked by process 101.\n\
                      Process 101 waits for ExclusiveLock on key of index 9; blocked by process 102.";
        assert_eq!(second, Err(LockError::Deadlock(detail.into())));
        locks.release_all(two);
        assert_eq!(first.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(one);
        assert!(locks.is_empty());
    });
}

#[test]
fn a_circle_of_three_is_found_and_one_beside_it_is_not_blamed() {
    run(async {
        let locks = Arc::new(LockManager::new());
        let [one, two, three, beside] = [(); 4].map(|()| locks.begin());
        for (tx, table) in [(one, 1), (two, 2), (three, 3)] {
            assert!(locks.try_acquire(tx, &LockTarget::Table(table), M::Exclusive));
        }
        let first = ask(&locks, one, LockTarget::Table(2), M::Exclusive);
        let second = ask(&locks, two, LockTarget::Table(3), M::Exclusive);
        waiting(&locks, 2).await;
        let onlooker = {
            let locks = locks.clone();
            tokio::spawn(async move { locks.acquire(beside, LockTarget::Table(1), M::Share, patient(1)).await })
        };
        waiting(&locks, 3).await;
        let third = locks.acquire(three, LockTarget::Table(1), M::Share, patient(60)).await;
        let Err(LockError::Deadlock(detail)) = third else { panic!("{third:?}") };
        assert_eq!(detail.lines().count(), 3, "{detail}");
        assert!(!onlooker.is_finished());
        locks.release_all(three);
        assert_eq!(second.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(two);
        assert_eq!(first.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(one);
        assert_eq!(onlooker.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(beside);
        assert!(locks.is_empty());
    });
}

#[test]
fn a_deadlock_of_places_in_a_queue_is_opened() {
    run(async {
        let locks = Arc::new(LockManager::new());
        let [reader, writer, late] = [(); 3].map(|()| locks.begin());
        let other = LockTarget::Table(2);
        assert!(locks.try_acquire(reader, &LockTarget::Table(1), M::AccessShare));
        assert!(locks.try_acquire(late, &other, M::Exclusive));
        let write = ask(&locks, writer, LockTarget::Table(1), M::AccessExclusive);
        waiting(&locks, 1).await;
        // Behind the writer, though it would go with the reader; and the reader waits for it.
        let read = ask(&locks, late, LockTarget::Table(1), M::AccessShare);
        waiting(&locks, 2).await;
        let blocked = {
            let locks = locks.clone();
            tokio::spawn(async move { locks.acquire(reader, other, M::Exclusive, patient(5)).await })
        };
        assert_eq!(read.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(late);
        assert_eq!(blocked.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(reader);
        assert_eq!(write.await.expect("joined"), Ok(Acquired::Waited));
        locks.release_all(writer);
        assert!(locks.is_empty());
    });
}

#[test]
fn a_dropped_wait_lets_those_behind_it_pass() {
    run(async {
        let locks = Arc::new(LockManager::new());
        let [one, two, three] = [(); 3].map(|()| locks.begin());
        assert!(locks.try_acquire(one, &ROW, M::ForShare));
        let writer = ask(&locks, two, ROW, M::ForUpdate);
        waiting(&locks, 1).await;
        let reader = ask(&locks, three, ROW, M::ForShare);
        waiting(&locks, 2).await;
        writer.abort();
        assert!(writer.await.is_err());
        assert_eq!(reader.await.expect("joined"), Ok(Acquired::Waited));
        [one, two, three].into_iter().for_each(|tx| locks.release_all(tx));
        assert!(locks.is_empty());
    });
}

#[test]
fn waiting_ends_with_its_timeout_or_its_transaction() {
    run(async {
        let locks = Arc::new(LockManager::new());
        let [one, two] = [(); 2].map(|()| locks.begin());
        assert!(locks.try_acquire(one, &ROW, M::ForUpdate));
        let short = Some(Duration::from_millis(10));
        let wait = Wait::Block { deadlock_timeout: Duration::from_millis(1), lock_timeout: short };
        assert_eq!(locks.acquire(two, ROW, M::ForUpdate, wait).await, Err(LockError::Timeout));
        assert_eq!(locks.acquire(two, ROW, M::ForUpdate, Wait::Skip).await, Err(LockError::NotAvailable));
        let waits = ask(&locks, two, ROW, M::ForUpdate);
        waiting(&locks, 1).await;
        locks.release_all(two);
        assert_eq!(waits.await.expect("joined"), Err(LockError::Cancelled));
        assert_eq!(locks.acquire(two, ROW, M::ForUpdate, Wait::default()).await, Err(LockError::Cancelled));
        locks.release_all(one);
        assert!(locks.is_empty());
    });
}

#[test]
fn threads_that_lock_at_random_keep_what_they_guard_right() {
    run(async {
        const ACCOUNTS: usize = 8;
        let locks = Arc::new(LockManager::new());
        let accounts: Arc<Vec<AtomicI64>> = Arc::new((0..ACCOUNTS).map(|_| AtomicI64::new(0)).collect());
        let tasks: Vec<_> = (0..8u64)
            .map(|seed| {
                let (locks, accounts) = (locks.clone(), accounts.clone());
                tokio::spawn(async move {
                    let (mut random, mut deadlocks) = (seed + 1, 0);
                    for _ in 0..500 {
                        let mut pick = || {
                            random =
                                random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                            (random >> 33) as usize % ACCOUNTS
                        };
                        let (from, to) = (pick(), pick());
                        let tx = locks.begin();
                        let mut got = Ok(Acquired::AtOnce);
                        for account in [from, to] {
                            if pick() == 0 {
                                // Someone who loses patience at once.
                                let target = LockTarget::Row(1, pick() as u64);
                                let wait = locks.acquire(tx, target, M::ForUpdate, patient(5));
                                let _ = tokio::time::timeout(Duration::from_micros(50), wait).await;
                            }
                            tokio::task::yield_now().await;
                            got = got.and(
                                locks.acquire(tx, LockTarget::Row(1, account as u64), M::ForUpdate, patient(5)).await,
                            );
                        }
                        match got {
                            Ok(_) => {
                                // Not atomic together: only the locks keep these right.
                                let (left, right) = (accounts[from].load(Ordering::Relaxed), 1);
                                tokio::task::yield_now().await;
                                accounts[from].store(left - right, Ordering::Relaxed);
                                let left = accounts[to].load(Ordering::Relaxed);
                                tokio::task::yield_now().await;
                                accounts[to].store(left + right, Ordering::Relaxed);
                            }
                            Err(LockError::Deadlock(_)) => deadlocks += 1,
                            Err(error) => panic!("{error}"),
                        }
                        locks.release_all(tx);
                    }
                    deadlocks
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("joined");
        }
        assert_eq!(accounts.iter().map(|account| account.load(Ordering::Relaxed)).sum::<i64>(), 0);
        assert!(locks.is_empty());
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_two_ever_hold_what_conflicts(
        steps in prop::collection::vec((0usize..4, 0u32..3, 0usize..12, prop::bool::weighted(0.2)), 1..60),
    ) {
        let locks = LockManager::new();
        let mut txs: Vec<TxId> = (0..4).map(|_| locks.begin()).collect();
        for (who, table, mode, ends) in steps {
            if ends {
                locks.release_all(txs[who]);
                txs[who] = locks.begin();
            } else {
                let (target, mode) = (LockTarget::Table(table), LockMode::ALL[mode]);
                let held = locks.list();
                let free = held.iter().all(|info| {
                    info.tx == txs[who] || info.target != target || !info.mode.conflicts_with(mode)
                });
                prop_assert_eq!(locks.try_acquire(txs[who], &target, mode), free);
            }
        }
        txs.into_iter().for_each(|tx| locks.release_all(tx));
        prop_assert!(locks.is_empty());
    }
}

/// Not a test of anything: prints how fast locks nobody wants are.
#[test]
#[ignore = "a measurement"]
fn speed_of_uncontended_locks() {
    const ROWS: u64 = 1_000_000;
    let locks = LockManager::new();
    for round in 0..2 {
        let start = Instant::now();
        let tx = locks.begin();
        for row in 0..ROWS {
            assert!(locks.try_acquire(tx, &LockTarget::Row(1, row), M::ForUpdate));
        }
        let taken = start.elapsed();
        locks.release_all(tx);
        let both = start.elapsed();
        let rate = |elapsed: Duration| ROWS as f64 / elapsed.as_secs_f64();
        println!("round {round}: row locks taken {:.0}/s, taken and released {:.0}/s", rate(taken), rate(both));
    }
    let start = Instant::now();
    for row in 0..ROWS {
        let tx = locks.begin();
        assert!(locks.try_acquire(tx, &LockTarget::Row(1, row), M::ForUpdate));
        locks.release_all(tx);
    }
    println!("transactions of one lock: {:.0}/s", ROWS as f64 / start.elapsed().as_secs_f64());
    assert!(locks.is_empty());
}
