//! The tests tested: each planted fault of the disk must be caught, and nothing is without one.

use lodedb_wal::fs::sim::{CallKind, Fault as Failing, FaultKind};

use super::cuts::{Depth, cut_everywhere};
use super::faults::base;
use super::workload::Workload;
use crate::fault::{Fault, plant_here};

/// What catches a fault, or nothing. `None` plants nothing, so that nothing may be caught.
fn hunt(fault: Option<Fault>) -> Option<String> {
    plant_here(fault);
    let caught = search();
    plant_here(None);
    caught
}

fn search() -> Option<String> {
    for seed in 1..4 {
        for workload in Workload::ALL {
            let depth = Depth { disks: 6, flushes: 3, ..Depth::SHORT };
            let (mut images, most) = (std::cell::Cell::new(0), 1200);
            let images = &mut images;
            let stop = |more| {
                images.set(images.get() + more);
                images.get() >= most
            };
            if let Err(broken) = cut_everywhere(workload, seed, depth, &stop) {
                return Some(broken.to_string());
            }
        }
        for workload in [Workload::Sealing, Workload::Merging] {
            let base = base(workload, seed).ok()?;
            for nth in 1.. {
                let fault = Failing { call: CallKind::Sync, nth, fault: FaultKind::Io, sticky: false };
                match base.strike(fault) {
                    Err(why) => return Some(format!("{workload:?} seed {seed}: {why}")),
                    Ok((false, _)) => break,
                    Ok((true, _)) => {}
                }
            }
        }
    }
    None
}

/// Runs with a stack as deep as planning needs.
fn with_deep_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, work);
        if let Err(panic) = spawned.unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn every_planted_fault_of_the_disk_is_caught() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let missed = parking_lot::Mutex::new(Vec::new());
    super::cuts::on_all_processors(&|| {
        while let Some(&fault) = Fault::OF_THE_DISK.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let begun = std::time::Instant::now();
            match hunt(Some(fault)) {
                Some(why) => println!("{fault:?} caught in {:.1} s by {why}", begun.elapsed().as_secs_f64()),
                None => missed.lock().push(fault),
            }
        }
    });
    assert_eq!(missed.into_inner(), [], "went unnoticed");
}

#[test]
fn nothing_planted_nothing_caught() {
    with_deep_stack(|| assert_eq!(hunt(None), None));
}
