//! The tests tested: each planted fault of the disk must be caught, and nothing is without one.

use std::cell::Cell;
use std::ops::Range;

use lodedb_wal::fs::sim::{CallKind, Fault as Failing, FaultKind};

use super::cuts::{Depth, cut_everywhere, with_deep_stack};
use super::faults::base;
use super::workload::Workload;
use crate::fault::{Fault, plant_here};

/// Machines that are checked of one play.
const MOST_IMAGES: u64 = 1200;

/// What catches a fault within some seeds, or nothing. `None` plants nothing, so that nothing may be caught.
fn hunt(fault: Option<Fault>, seeds: Range<u64>) -> Option<String> {
    plant_here(fault);
    let caught = search(seeds);
    plant_here(None);
    caught
}

fn search(seeds: Range<u64>) -> Option<String> {
    for seed in seeds {
        for workload in Workload::ALL {
            let depth = Depth { disks: 6, flushes: 3, ..Depth::SHORT };
            let images = Cell::new(0);
            let stop = |more: u64| {
                images.set(images.get() + more);
                images.get() >= MOST_IMAGES
            };
            if let Err(broken) = cut_everywhere(workload, seed, depth, &stop) {
                return Some(broken.to_string());
            }
        }
        for workload in [Workload::Sealing, Workload::Merging] {
            let base = match base(workload, seed) {
                Ok(base) => base,
                Err(why) => return Some(format!("{workload:?} seed {seed}: {why}")),
            };
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

#[test]
fn every_planted_fault_of_the_disk_is_caught() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let missed = parking_lot::Mutex::new(Vec::new());
    super::cuts::on_all_processors(&|| {
        while let Some(&fault) = Fault::OF_THE_DISK.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let begun = std::time::Instant::now();
            match hunt(Some(fault), 1..4) {
                Some(why) => println!("{fault:?} caught in {:.1} s by {why}", begun.elapsed().as_secs_f64()),
                None => missed.lock().push(fault),
            }
        }
    });
    assert_eq!(missed.into_inner(), [], "went unnoticed");
}

#[test]
fn nothing_planted_nothing_caught() {
    with_deep_stack(|| assert_eq!(hunt(None, 1..2), None));
}
