//! Failing calls: each kind of call, each n-th of it, once and for good; then a restart, then a power cut.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use lodedb_wal::fs::sim::{CallKind, Fault, FaultKind};
use parking_lot::Mutex;

use super::Machine;
use super::cuts::{on_all_processors, with_deep_stack};
use super::ledger::Ledger;
use super::oracle::{Look, check_machine, told};
use super::play::{Ended, Play};
use super::workload::{Step, Workload};

/// The errors that calls fail with; what is read may also be wrong by one bit.
const FAULTS: [FaultKind; 4] = [FaultKind::Io, FaultKind::NoSpace, FaultKind::Denied, FaultKind::BitFlip];

/// A database that was worked on before calls begin to fail.
pub(super) struct Base {
    machine: Machine,
    ledger: Ledger,
    steps: Vec<Step>,
    seed: u64,
}

/// Plays the first steps of a workload without faults; the rest is what calls fail in.
pub(super) fn base(workload: Workload, seed: u64) -> Result<Base, String> {
    let machine = Machine::new(seed);
    let mut play = Play::new(machine.clone(), seed);
    let mut steps = workload.steps(seed, workload.length());
    let rest = steps.split_off(steps.len() / 2);
    play.run(&steps).map_err(|ended| format!("{ended:?}"))?;
    play.leave();
    Ok(Base { machine: machine.fork(), ledger: play.ledger.begun_again(), steps: rest, seed })
}

impl Base {
    /// Plays the rest with a fault. Gives whether the fault was reached, and how many machines were checked.
    pub(super) fn strike(&self, fault: Fault) -> Result<(bool, u64), String> {
        let strike = catch_unwind(AssertUnwindSafe(|| self.strike_once(fault)));
        strike
            .unwrap_or_else(|panic| Err(format!("it panicked: {}", told(&*panic))))
            .map_err(|why| format!("{fault:?}: {why}"))
    }

    fn strike_once(&self, fault: Fault) -> Result<(bool, u64), String> {
        let machine = self.machine.fork();
        let mut play = Play::new(machine.clone(), self.seed);
        play.continue_from(self.ledger.clone());
        play.is_faulty = true;
        machine.disk.plan_fault(fault);
        match play.run(&self.steps) {
            Ok(()) | Err(Ended::Stopped) => {}
            Err(Ended::Broken(why)) => return Err(why),
        }
        let reached = machine.disk.count(fault.call) >= fault.nth;
        if !reached {
            return Ok((false, 0));
        }
        machine.disk.clear_faults();
        let mut images = 0;
        let mut check = |machine: &Machine, ledger: &Ledger, calls: u64, what: &str| {
            images += 1;
            check_machine(machine, ledger, calls, Look::Plain).map_err(|why| format!("{what}: {why}"))
        };
        let calls = machine.disk.calls();
        // The power goes while the database still runs.
        check(&machine.after_harshest_cut(), &play.ledger, calls, "a cut right after")?;
        play.leave();
        let volumes = machine.volume().left_after(calls, 3);
        for (disk, volume) in machine.disk.crash_images(3).into_iter().zip(volumes.iter().cycle()) {
            check(&Machine::with(disk, volume.clone()), &play.ledger, calls, "a cut")?;
        }
        // The process is started again: first it sees what is in memory, then only what is on the disk.
        for evicted in [false, true] {
            if evicted {
                machine.disk.evict();
            }
            play.is_faulty = false;
            play.settle_doubt()?;
            play.run(&[Step::Insert(3), Step::Checkpoint]).map_err(|ended| format!("started again: {ended:?}"))?;
            play.leave();
            check(&machine.after_harshest_cut(), &play.ledger, machine.disk.calls(), "a cut after a restart")?;
        }
        Ok((true, images))
    }
}

/// Sweeps over the n-th calls of each kind: every one, or every `stride`-th.
fn sweep(workload: Workload, seed: u64, stride: u64, stop: &dyn Fn() -> bool) -> Result<(u64, u64), String> {
    let base = base(workload, seed)?;
    let (mut runs, mut images) = (0, 0);
    for call in CallKind::ALL {
        for (at, kind) in FAULTS.into_iter().enumerate() {
            if kind == FaultKind::BitFlip && call != CallKind::Read {
                continue;
            }
            for sticky in [false, true] {
                let mut nth = 1 + (at as u64 * 2 + u64::from(sticky) + seed) % stride;
                while !stop() {
                    let (reached, more) = base.strike(Fault { call, nth, fault: kind, sticky })?;
                    if !reached {
                        break;
                    }
                    (runs, images) = (runs + 1, images + more);
                    nth += stride;
                }
            }
        }
    }
    Ok((runs, images))
}

/// Sweeps all workloads with several seeds on all processors.
pub(super) fn campaign(seeds: std::ops::Range<u64>, stride: u64) -> Result<(u64, u64), String> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (runs, images) = (AtomicU64::new(0), AtomicU64::new(0));
    let broken = Mutex::new(None);
    let tasks: Vec<(Workload, u64)> = seeds.flat_map(|seed| Workload::ALL.map(|workload| (workload, seed))).collect();
    on_all_processors(&|| {
        while let Some(&(workload, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            match sweep(workload, seed, stride, &|| failed.load(Ordering::Relaxed)) {
                Ok((ran, checked)) => {
                    runs.fetch_add(ran, Ordering::Relaxed);
                    images.fetch_add(checked, Ordering::Relaxed);
                }
                Err(why) => {
                    failed.store(true, Ordering::Relaxed);
                    broken.lock().get_or_insert(format!("{workload:?} seed {seed}: {why}"));
                }
            }
        }
    });
    match broken.into_inner() {
        Some(why) => Err(why),
        None => Ok((runs.into_inner(), images.into_inner())),
    }
}

#[test]
fn no_failing_call_breaks_a_promise() {
    let begun = Instant::now();
    match campaign(1..2, 17) {
        Ok((runs, images)) => {
            let seconds = begun.elapsed().as_secs_f64();
            println!("{runs} runs with a fault, {images} images in {seconds:.1} s, 0 broken promises");
            assert!(runs > 100);
        }
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn short_and_interrupted_calls_change_nothing() {
    with_deep_stack(|| {
        for workload in Workload::ALL {
            // What FAISS trains on two threads need not be the same twice.
            for seed in (1..4).filter(|_| workload != Workload::Merging) {
                let [smooth, ragged] = [false, true].map(|ragged| {
                    let machine = Machine::new(seed);
                    machine.disk.set_ragged(ragged);
                    let mut play = Play::new(machine.clone(), seed);
                    play.run(&workload.steps(seed, workload.length())).unwrap();
                    play.leave();
                    machine.disk.fingerprint()
                });
                assert_eq!(smooth, ragged, "{workload:?} seed {seed}");
            }
        }
    });
}

/// A folder whose name could not be made durable was taken for durable when the same checkpoint was tried again (Commits seed 45, the 4th).
#[test]
fn what_could_not_be_synced_is_synced_when_it_is_tried_again() {
    with_deep_stack(|| {
        for workload in Workload::ALL {
            let base = base(workload, 45).unwrap();
            let fault = |nth| Fault { call: CallKind::SyncDir, nth, fault: FaultKind::NoSpace, sticky: false };
            let reached = (1..).take_while(|&nth| base.strike(fault(nth)).unwrap().0).count();
            assert!(reached >= 4, "{workload:?}");
        }
    });
}
