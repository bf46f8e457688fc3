//! Failing calls: each kind of call, each n-th of it, with each error, once and for good; then a restart, then a power cut.

use crate::LogError;
use crate::fs::sim::{CallKind, Fault, FaultKind, SimFileSystem};
use crate::ledger::{Ledger, Step, Workload};
use crate::options::Planted;

const FAULTS: [FaultKind; 3] = [FaultKind::Io, FaultKind::NoSpace, FaultKind::Denied];

/// Sweeps one workload; gives the number of runs in which a fault struck.
pub(crate) fn sweep_faults(steps: &[Step], seed: u64, planted: Option<Planted>) -> Result<usize, String> {
    let mut struck = 0;
    for call in CallKind::ALL {
        for fault in FAULTS {
            for sticky in [false, true] {
                for nth in 1.. {
                    let fs = SimFileSystem::new(seed);
                    fs.plan_fault(Fault { call, nth, fault, sticky });
                    let happened = run_with_fault(&fs, steps, planted)
                        .map_err(|e| format!("{fault:?} at {call:?} {nth}, sticky {sticky}: {e}"))?;
                    struck += usize::from(happened);
                    if fs.count(call) < nth {
                        break;
                    }
                }
            }
        }
    }
    Ok(struck)
}

/// Runs until something fails, then restarts on the live disk, goes on, and cuts the power.
fn run_with_fault(fs: &SimFileSystem, steps: &[Step], planted: Option<Planted>) -> Result<bool, String> {
    let mut ledger = Ledger::new(planted);
    let failed = ledger.run(fs, steps)?;
    let struck = failed.is_some();
    if let Some((log, _)) = failed {
        check_stopped(&log)?;
    }
    fs.clear_faults();
    for image in fs.crash_images(6) {
        ledger.check_image(&image).map_err(|e| format!("crash right after: {e}"))?;
    }
    for evicted in [false, true] {
        // A copy would not know what is dirty: run the same again.
        if evicted {
            fs.evict();
        }
        let mut after = ledger.clone();
        after.run(fs, &[Step::Append(2, 200), Step::Sync, Step::Append(1, 90)])?;
        for image in fs.crash_images(6) {
            after.check_image(&image).map_err(|e| format!("crash after a restart, evicted {evicted}: {e}"))?;
        }
        ledger = after;
    }
    Ok(struck)
}

/// A poisoned log must refuse everything.
fn check_stopped(log: &crate::Log) -> Result<(), String> {
    if !log.is_poisoned() {
        return Ok(());
    }
    let durable_lsn = log.durable_lsn();
    let refused = |result: Result<(), LogError>| matches!(result, Err(LogError::Poisoned));
    let all = refused(log.append(&[b"x"]).map(drop))
        && (durable_lsn == log.last_lsn() || refused(log.sync(log.last_lsn())))
        && refused(log.flush())
        && refused(log.write_idle_mark().map(drop))
        && log.sync(durable_lsn).is_ok();
    if all && log.durable_lsn() == durable_lsn { Ok(()) } else { Err("a poisoned log did something".to_owned()) }
}

#[test]
fn no_failing_call_breaks_a_promise() {
    for workload in Workload::ALL {
        let seed = 11;
        let struck = sweep_faults(&workload.steps(seed, 24), seed, None)
            .unwrap_or_else(|broken| panic!("{workload:?} seed {seed}: {broken}"));
        println!("{workload:?} seed {seed}: {struck} runs with a fault");
        assert!(struck > 20);
    }
}

#[test]
fn short_and_interrupted_calls_change_nothing() {
    for workload in Workload::ALL {
        for seed in 1..40 {
            let steps = workload.steps(seed, 40);
            let [smooth, ragged] = [false, true].map(|ragged| {
                let fs = SimFileSystem::new(seed);
                fs.set_ragged(ragged);
                let mut ledger = Ledger::new(None);
                assert!(ledger.run(&fs, &steps).unwrap().is_none());
                (fs.fingerprint(), ledger.acked)
            });
            assert_eq!(smooth, ragged, "{workload:?} seed {seed}");
        }
    }
}

#[test]
fn a_full_disk_refuses_whole_batches_and_lives_on_when_freed() {
    for capacity in (4096..40_000).step_by(1111) {
        let fs = SimFileSystem::new(capacity);
        fs.set_capacity(Some(capacity));
        let mut ledger = Ledger::new(None);
        let Ok(log) = ledger.open(&fs) else { continue };
        let mut acked = Vec::new();
        let full = loop {
            let record = vec![acked.len() as u8; 300];
            match log.append(&[&record]).and_then(|lsn| log.sync(lsn)) {
                Ok(()) => acked.push(record),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, LogError::Io { .. }), "{full}");
        assert!(!log.is_poisoned(), "no room for a new segment harms nothing");
        assert_eq!(log.last_lsn(), acked.len() as u64);
        fs.set_capacity(None);
        let lsn = log.append(&[b"room again"]).unwrap();
        log.sync(lsn).unwrap();
        drop(log);
        acked.push(b"room again".to_vec());
        ledger.submitted = acked;
        ledger.acked = lsn;
        ledger.check_image(&fs.crash_images(2).swap_remove(0)).unwrap();
    }
}

#[test]
fn a_failed_sync_is_final() {
    let fs = SimFileSystem::new(3);
    let mut ledger = Ledger::new(None);
    let log = ledger.open(&fs).ok().unwrap();
    ledger.append(&log, 1, 50).unwrap();
    fs.plan_fault(Fault { call: CallKind::Sync, nth: 1, fault: FaultKind::Io, sticky: false });
    assert!(matches!(log.sync(1), Err(LogError::Io { .. })));
    let syncs = fs.count(CallKind::Sync);
    assert!(matches!(log.sync(1), Err(LogError::Poisoned)));
    assert!(matches!(log.append(&[b"x"]), Err(LogError::Poisoned)));
    assert!(matches!(log.close(), Err(LogError::Poisoned)));
    assert_eq!(fs.count(CallKind::Sync), syncs, "nobody tried again");
    assert_eq!(log.durable_lsn(), 0);
}
