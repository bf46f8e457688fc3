//! Power cuts: at every changing file-system call of a workload, and at every one of the recovery that follows.

use std::collections::HashSet;

use crate::fs::sim::SimFileSystem;
use crate::ledger::{Ledger, Step, Workload};
use crate::options::Planted;

/// How many images of one workload in how many are crashed again during their recovery.
const CRASH_AGAIN_ONE_IN: usize = 97;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    pub(crate) images: usize,
}

/// At least how many images the suite checks: `LODEDB_CRASH_IMAGES`, or as many as take some seconds.
pub(crate) fn image_budget() -> usize {
    std::env::var("LODEDB_CRASH_IMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(60_000)
}

/// Cuts one workload at every call and checks at most `limit` images of each cut; stops at the first broken promise.
pub(crate) fn cut_everywhere(
    steps: &[Step],
    seed: u64,
    limit: usize,
    planted: Option<Planted>,
) -> Result<Tally, String> {
    let whole = SimFileSystem::new(seed);
    let mut ledger = Ledger::new(planted);
    ledger.run(&whole, steps).map_err(|e| format!("uncut: {e}"))?;
    let calls = whole.calls();
    let mut tally = Tally::default();
    let mut seen = HashSet::new();
    for cut in 1..=calls + 1 {
        let fs = SimFileSystem::new(seed);
        fs.crash_at(cut);
        let mut ledger = Ledger::new(planted);
        ledger.run(&fs, steps).map_err(|e| format!("cut {cut}: {e}"))?;
        tally.cuts += 1;
        for (index, image) in fs.crash_images(limit).into_iter().enumerate() {
            if !seen.insert((image.fingerprint(), ledger.acked, ledger.first_needed, ledger.submitted.len())) {
                continue;
            }
            let at = || format!("cut {cut} of {calls}, image {index}");
            tally.images += 1;
            ledger.check_image(&image.fork()).map_err(|e| format!("{}: {e}", at()))?;
            if tally.images.is_multiple_of(CRASH_AGAIN_ONE_IN) {
                tally.images += cut_recovery(&ledger, &image).map_err(|e| format!("{}: {e}", at()))?;
            }
        }
    }
    Ok(tally)
}

/// Crashes the recovery of an image, and what comes after it, at every call.
fn cut_recovery(ledger: &Ledger, image: &SimFileSystem) -> Result<usize, String> {
    let after = [Step::Append(2, 300), Step::Flush, Step::Append(1, 40), Step::Sync, Step::Append(3, 900), Step::Sync];
    let whole = image.fork();
    ledger.clone().run(&whole, &after)?;
    let mut images = 0;
    for cut in 1..=whole.calls() + 1 {
        let fs = image.fork();
        fs.crash_at(cut);
        let mut ledger = ledger.clone();
        ledger.run(&fs, &after).map_err(|e| format!("second cut {cut}: {e}"))?;
        for (index, image) in fs.crash_images(12).into_iter().enumerate() {
            images += 1;
            ledger.check_image(&image).map_err(|e| format!("second cut {cut}, image {index}: {e}"))?;
        }
    }
    Ok(images)
}

#[test]
fn no_power_cut_breaks_a_promise() {
    let budget = image_budget() / Workload::ALL.len();
    for workload in Workload::ALL {
        let mut total = Tally::default();
        let mut seeds = 0;
        while total.images < budget {
            seeds += 1;
            let steps = workload.steps(seeds, 60);
            match cut_everywhere(&steps, seeds, 64, None) {
                Ok(tally) => {
                    total.cuts += tally.cuts;
                    total.images += tally.images;
                }
                Err(broken) => panic!("{workload:?} seed {seeds}: {broken}"),
            }
        }
        println!("{workload:?} seeds 1 to {seeds}: {} cuts, {} images, 0 broken promises", total.cuts, total.images);
    }
}

#[test]
fn equal_seeds_give_equal_calls() {
    for workload in Workload::ALL {
        for seed in 1..=25 {
            let traces = [0, 1].map(|_| {
                let fs = SimFileSystem::new(seed);
                fs.set_ragged(true);
                Ledger::new(None).run(&fs, &workload.steps(seed, 40)).unwrap();
                (fs.trace(), fs.fingerprint())
            });
            assert_eq!(traces[0], traces[1], "{workload:?} seed {seed}");
        }
    }
}
