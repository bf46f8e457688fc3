//! Power cuts: before every changing call of a play, and before every one of the recovery that follows.
//!
//! A play runs once, and the disk is kept as it is before each of its changing calls; a cut there leaves that disk, with any choice of
//! what was not synced, and any state that the store may have flushed.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use lodedb_wal::fs::sim::SimFileSystem;
use parking_lot::Mutex;

use super::Machine;
use super::damage::damage;
use super::ledger::Ledger;
use super::oracle::{Look, add_row, check_machine, contents, told};
use super::play::{DIR, Ended, Play, open};
use super::workload::{Step, Workload};
use crate::store::standin::Volume;

/// How many machines one cut leaves, how many of them are looked at thoroughly, and how many are cut again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    /// Disks of one cut.
    pub(super) disks: usize,
    /// States of the store that go with a disk.
    pub(super) flushes: usize,
    /// One machine in so many is looked at thoroughly, and damaged.
    pub(super) thorough_one_in: usize,
    /// One in so many is cut again while it recovers.
    pub(super) again_one_in: usize,
}

impl Depth {
    /// As deep as the tests go that run each time.
    pub(super) const SHORT: Self = Self { disks: 10, flushes: 3, thorough_one_in: 6, again_one_in: 397 };
    /// As deep as a campaign goes.
    pub(super) const LONG: Self = Self { disks: 24, flushes: 8, thorough_one_in: 6, again_one_in: 397 };
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) cuts: u64,
    pub(super) images: u64,
}

/// Where in a campaign something was: enough to go there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) workload: Workload,
    pub(super) seed: u64,
    pub(super) depth: (usize, usize),
    pub(super) cut: u64,
    pub(super) image: usize,
    pub(super) flush: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, seed, depth, cut, image, flush } = self;
        write!(
            f,
            "{workload:?} seed {seed}, cut {cut}, image {image}, flush point {flush}; again by LODEDB_SIMULATED_REPLAY='{workload:?} {seed} \
             {} {} {cut} {image} {flush}' cargo test --release --lib -- --ignored --nocapture simulation::cuts::replay",
            depth.0, depth.1
        )
    }
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) place: Option<Place>,
    pub(super) why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "{}\n  at {place}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// Broken promises, one a line.
pub(super) fn all_of(broken: &[Broken]) -> String {
    broken.iter().map(Broken::to_string).collect::<Vec<_>>().join("\n")
}

/// A play that ran to its end, and the disk before each of its calls.
pub(super) struct Recorded {
    pub(super) ledger: Ledger,
    moments: Vec<SimFileSystem>,
    volume: Volume,
}

/// Plays a workload once.
pub(super) fn record(workload: Workload, seed: u64) -> Result<Recorded, String> {
    record_steps(&workload.steps(seed, workload.length()), seed)
}

/// Plays steps once.
fn record_steps(steps: &[Step], seed: u64) -> Result<Recorded, String> {
    let machine = Machine::new(seed);
    machine.disk.record();
    let mut play = Play::new(machine.clone(), seed);
    let ran = catch_unwind(AssertUnwindSafe(|| play.run(steps)));
    let moments = machine.disk.moments();
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(Ended::Broken(why))) => return Err(format!("uncut: {why}")),
        Ok(Err(Ended::Stopped)) => return Err("uncut: it stopped".into()),
        Err(panic) => return Err(format!("uncut: it panicked: {}", told(&*panic))),
    }
    let volume = machine.volume().clone();
    Ok(Recorded { ledger: play.ledger, moments, volume })
}

impl Recorded {
    /// The machines that a cut may leave, with their places.
    fn machines(&self, moment: &SimFileSystem, disks: usize, flushes: usize) -> Vec<(usize, usize, Machine)> {
        let volumes = self.volume.left_after(moment.calls(), flushes);
        let mut machines = Vec::new();
        for (image, disk) in moment.crash_images(disks).into_iter().enumerate() {
            for (flush, volume) in volumes.iter().enumerate() {
                // Where nothing or everything was kept each state of the store is tried, otherwise they take turns.
                if image < 2 || image % volumes.len() == flush {
                    machines.push((image, flush, Machine::with(disk.fork(), volume.clone())));
                }
            }
        }
        machines
    }
}

/// Cuts a workload before every call and checks what may be left; stops at the first broken promise, or when `stop` says so.
pub(super) fn cut_everywhere(
    workload: Workload,
    seed: u64,
    depth: Depth,
    stop: &dyn Fn(u64) -> bool,
) -> Result<Tally, Broken> {
    let recorded = record(workload, seed)
        .map_err(|why| Broken { place: None, why: format!("{workload:?} seed {seed}, {why}") })?;
    let place = Place { workload, seed, depth: (depth.disks, depth.flushes), cut: 0, image: 0, flush: 0 };
    cut_recorded(&recorded, depth, stop)
        .map_err(|(cut, image, flush, why)| Broken { place: Some(Place { cut, image, flush, ..place }), why })
}

/// Cuts steps before every call, and looks at each machine thoroughly.
pub(super) fn cut_steps(steps: &[Step], seed: u64) -> Result<Tally, String> {
    let depth = Depth { thorough_one_in: 1, ..Depth::SHORT };
    cut_recorded(&record_steps(steps, seed)?, depth, &|_| false)
        .map_err(|(cut, image, flush, why)| format!("cut {cut}, image {image}, flush point {flush}: {why}"))
}

/// What damage to a machine follows from.
fn dice_of(cut: u64, image: usize, flush: usize) -> u64 {
    cut << 32 | (image as u64) << 16 | flush as u64
}

/// A cut, an image, a flush point, and what is broken there.
type BrokenAt = (u64, usize, usize, String);

fn cut_recorded(recorded: &Recorded, depth: Depth, stop: &dyn Fn(u64) -> bool) -> Result<Tally, BrokenAt> {
    let mut tally = Tally::default();
    let mut seen = HashSet::new();
    for moment in &recorded.moments {
        let calls = moment.calls();
        tally.cuts += 1;
        let candidates = recorded.ledger.candidates(calls);
        let range = (candidates.first().map(Arc::as_ptr), candidates.len());
        let before = tally.images;
        for (image, flush, machine) in recorded.machines(moment, depth.disks, depth.flushes) {
            if !seen.insert((machine.disk.fingerprint(), machine.volume().lsns(), range)) {
                continue;
            }
            let nth = tally.images as usize;
            tally.images += 1;
            let broken = |why| (calls, image, flush, why);
            let thorough = nth.is_multiple_of(depth.thorough_one_in);
            let look = if thorough { Look::Thorough } else { Look::Plain };
            check_machine(&machine.fork(), &recorded.ledger, calls, look).map_err(broken)?;
            if thorough {
                let dice = dice_of(calls, image, flush);
                tally.images += damage(&machine, &recorded.ledger, calls, dice).map_err(broken)?;
            }
            if nth % depth.again_one_in == depth.again_one_in / 2 {
                tally.images += cut_recovery(&machine, &recorded.ledger, calls).map_err(broken)?;
            }
        }
        if stop(tally.images - before) {
            break;
        }
    }
    Ok(tally)
}

/// Cuts the recovery of a machine, and what comes after it, before every call.
fn cut_recovery(image: &Machine, ledger: &Ledger, calls: u64) -> Result<u64, String> {
    let machine = image.fork();
    machine.disk.record();
    let candidates = ledger.candidates(calls);
    let mut again = Ledger::starting_with(candidates.clone());
    let db = open(&machine, DIR).map_err(|error| format!("recovering: {error}"))?;
    let found = contents(db.engine())?;
    let nth = candidates.iter().position(|candidate| **candidate == found).ok_or("it holds another state")?;
    again.acknowledge_one(nth, machine.disk.calls());
    let asked = machine.disk.calls();
    let after = add_row(&db, &found)?;
    again.ask(asked, after);
    again.acknowledge_one(candidates.len(), machine.disk.calls());
    db.checkpoint().map_err(|error| format!("a checkpoint after recovery: {error}"))?;
    drop(db);
    let recorded = Recorded { ledger: again, moments: machine.disk.moments(), volume: machine.volume().clone() };
    let mut images = 0;
    let mut seen = HashSet::new();
    for moment in &recorded.moments {
        for (image, flush, machine) in recorded.machines(moment, 8, 2) {
            if !seen.insert((machine.disk.fingerprint(), machine.volume().lsns())) {
                continue;
            }
            images += 1;
            let cut = moment.calls();
            check_machine(&machine, &recorded.ledger, cut, Look::Plain)
                .map_err(|why| format!("second cut {cut}, image {image}, flush point {flush}: {why}"))?;
        }
    }
    Ok(images)
}

/// Checks one machine of one cut again; what [`Place`] says.
pub(super) fn check_place(place: Place) -> Result<(), String> {
    let recorded = record(place.workload, place.seed)?;
    let moment = recorded.moments.iter().find(|moment| moment.calls() == place.cut);
    let moment = moment.ok_or_else(|| format!("there are {} cuts", recorded.moments.len()))?;
    let machines = recorded.machines(moment, place.depth.0, place.depth.1);
    let found = machines.into_iter().find(|(image, flush, _)| (*image, *flush) == (place.image, place.flush));
    let (.., machine) = found.ok_or("there is no such image")?;
    check_machine(&machine.fork(), &recorded.ledger, place.cut, Look::Thorough)?;
    damage(&machine, &recorded.ledger, place.cut, dice_of(place.cut, place.image, place.flush))?;
    cut_recovery(&machine, &recorded.ledger, place.cut).map(drop)
}

/// At least how many machines are checked: `LODEDB_CRASH_IMAGES`, or as many as take a minute or two.
fn image_budget() -> u64 {
    std::env::var("LODEDB_CRASH_IMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000)
}

/// Broken promises, of as many plays, after which a campaign ends.
const MOST_BROKEN: usize = 6;

/// Plays seeds from `first` on, each with all workloads, on all processors, until so many machines were checked. Gives the first seed
/// that was not played whole.
pub(super) fn campaign(first: u64, budget: u64, depth: Depth) -> Result<(u64, Tally), Vec<Broken>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (cuts, images) = (AtomicU64::new(0), AtomicU64::new(0));
    let broken: Mutex<Vec<Broken>> = Mutex::default();
    let all = Workload::ALL.len();
    // Every workload has its part, however much the first ones would find to do.
    let parts: Vec<AtomicU64> = Workload::ALL.iter().map(|_| AtomicU64::new(0)).collect();
    let part = budget / all as u64;
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let (workload, seed) = (Workload::ALL[task % all], first + (task / all) as u64);
            let mine = &parts[task % all];
            if parts.iter().all(|part_done| part_done.load(Ordering::Relaxed) >= part) {
                next.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            let stop = |more: u64| mine.fetch_add(more, Ordering::Relaxed) + more >= part && budget < u64::MAX;
            if mine.load(Ordering::Relaxed) >= part {
                continue;
            }
            match cut_everywhere(workload, seed, depth, &|more| stop(more) || failed.load(Ordering::Relaxed)) {
                Ok(tally) => {
                    cuts.fetch_add(tally.cuts, Ordering::Relaxed);
                    images.fetch_add(tally.images, Ordering::Relaxed);
                }
                Err(found) => {
                    let mut broken = broken.lock();
                    broken.push(found);
                    failed.store(broken.len() >= MOST_BROKEN, Ordering::Relaxed);
                }
            }
        }
    };
    on_all_processors(&work);
    match broken.into_inner() {
        broken if !broken.is_empty() => Err(broken),
        _ => {
            let seeds = next.into_inner().div_ceil(all) as u64;
            Ok((first + seeds, Tally { cuts: cuts.into_inner(), images: images.into_inner() }))
        }
    }
}

/// Runs the same on a thread for each processor, with stacks as deep as planning needs.
pub(super) fn on_all_processors(work: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, work).unwrap();
        }
    });
}

/// Runs with a stack as deep as planning needs.
pub(super) fn with_deep_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, work);
        if let Err(panic) = spawned.unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn no_power_cut_breaks_a_promise() {
    let begun = Instant::now();
    let first = std::env::var("LODEDB_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    match campaign(first, image_budget(), Depth::SHORT) {
        Ok((next, tally)) => println!(
            "seeds {first} to {}: {} cuts, {} images in {:.1} s, 0 broken promises",
            next - 1,
            tally.cuts,
            tally.images,
            begun.elapsed().as_secs_f64()
        ),
        Err(broken) => panic!("{}", all_of(&broken)),
    }
}

#[test]
fn equal_seeds_give_equal_calls() {
    let seeds = AtomicU64::new(1);
    on_all_processors(&|| {
        loop {
            let seed = seeds.fetch_add(1, Ordering::Relaxed);
            if seed > 20 {
                break;
            }
            for workload in Workload::ALL {
                let traces = [0, 1].map(|_| {
                    let machine = Machine::new(seed);
                    let mut play = Play::new(machine.clone(), seed);
                    play.run(&workload.steps(seed, workload.length())).unwrap();
                    play.leave();
                    machine.disk.trace()
                });
                assert_eq!(traces[0], traces[1], "{workload:?} seed {seed}");
            }
        }
    });
}

/// What is recorded is what a cut leaves: the same disks come of a run whose power goes at that call.
#[test]
fn a_moment_is_what_a_cut_leaves() {
    let seed = 3;
    for workload in [Workload::Statements, Workload::Sealing] {
        let recorded = record(workload, seed).unwrap();
        for moment in recorded.moments.iter().step_by(9) {
            let machine = Machine::new(seed);
            machine.disk.crash_at(moment.calls() + 1);
            let mut play = Play::new(machine.clone(), seed);
            play.is_faulty = true;
            let ended = play.run(&workload.steps(seed, workload.length()));
            assert!(!matches!(ended, Err(Ended::Broken(_))), "{ended:?}");
            play.leave();
            let prints = |disk: &SimFileSystem| -> Vec<u64> {
                disk.crash_images(8).iter().map(SimFileSystem::fingerprint).collect()
            };
            assert_eq!(prints(&machine.disk), prints(moment), "{workload:?}, cut {}", moment.calls());
            let acknowledged = |ledger: &Ledger| ledger.candidates(moment.calls()).first().cloned();
            assert_eq!(acknowledged(&play.ledger), acknowledged(&recorded.ledger));
        }
    }
}

/// Goes to the place that `LODEDB_SIMULATED_REPLAY` names.
#[test]
#[ignore = "for a place that a failure names"]
fn replay() {
    let place = std::env::var("LODEDB_SIMULATED_REPLAY").unwrap();
    let parts: Vec<&str> = place.split_whitespace().collect();
    let number = |at: usize| parts[at].parse::<usize>().unwrap();
    let workload = Workload::ALL.into_iter().find(|workload| format!("{workload:?}") == parts[0]).unwrap();
    let (seed, cut) = (number(1) as u64, number(4) as u64);
    let place = Place { workload, seed, depth: (number(2), number(3)), cut, image: number(5), flush: number(6) };
    check_place(place).unwrap();
}
