//! Damage: bits flipped, bytes zeroed, files cut short, sectors exchanged. Acknowledged records may not go missing without an error.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::LogError;
use crate::fs::FileSystem;
use crate::fs::sim::SimFileSystem;
use crate::ledger::{DIR, Ledger, Step, Workload};
use crate::options::Planted;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) detected: usize,
    /// All acknowledged records were still there.
    pub(crate) harmless: usize,
    pub(crate) silent: Vec<String>,
}

/// Damages logs of one workload in many ways. They end with an idle mark and some records nobody acknowledged.
pub(crate) fn damage_logs(workload: Workload, seed: u64, rounds: usize, planted: Option<Planted>) -> Verdicts {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut steps = workload.steps(seed, 30);
    steps.extend([Step::Sync, Step::Mark]);
    if seed.is_multiple_of(2) {
        steps.extend([Step::Append(2, 100), Step::Flush]);
    }
    let fs = SimFileSystem::new(seed);
    let mut ledger = Ledger::new(planted);
    ledger.run(&fs, &steps).unwrap();
    // Only the log itself may notice.
    ledger.floor = ledger.first_needed - 1;
    let names: Vec<String> = fs.read_dir(DIR.as_ref()).unwrap().into_iter().map(|entry| entry.name).collect();
    let names: Vec<&String> = names.iter().filter(|name| name.ends_with(".wal")).collect();
    let mut verdicts = Verdicts::default();
    for _ in 0..rounds {
        let disk = fs.fork();
        let name = names[dice.random_range(0..names.len())];
        let how = damage(&disk, name, &mut dice);
        match ledger.clone().open(&disk) {
            Ok(_) => verdicts.harmless += 1,
            Err(Ok(LogError::Damaged { .. } | LogError::BelowFloor { .. })) => verdicts.detected += 1,
            Err(Ok(error)) => verdicts.silent.push(format!("{name}: {how}: not called damage: {error}")),
            Err(Err(broken)) => verdicts.silent.push(format!("{name}: {how}: {broken}")),
        }
    }
    verdicts
}

fn damage(disk: &SimFileSystem, name: &str, dice: &mut StdRng) -> String {
    let path = format!("{DIR}/{name}");
    let len = disk.contents(path.as_ref()).unwrap().len();
    let at = dice.random_range(0..len);
    let run = dice.random_range(1..600).min(len - at);
    let kind = dice.random_range(0..6);
    let other = dice.random_range(0..len / 512) * 512;
    disk.damage(path.as_ref(), |bytes| match kind {
        0 | 1 => bytes[at] ^= 1 << dice.random_range(0..8),
        2 => bytes[at..at + run].fill(0),
        3 => bytes.truncate(at),
        4 => dice.fill(&mut bytes[at..at + run]),
        _ => {
            let sector = at / 512 * 512;
            let (a, b) = (sector.min(other), sector.max(other));
            let (left, right) = bytes.split_at_mut(b.max(a + 512).min(len));
            if a != b {
                left[a..a + 512].swap_with_slice(&mut right[..512]);
            }
        }
    });
    format!("kind {kind} at {at}, {run} bytes, sector {other}")
}

#[test]
fn no_damage_loses_acknowledged_records_silently() {
    let rounds = super::crash::image_budget() / 80;
    for workload in Workload::ALL {
        let mut all = Verdicts::default();
        for seed in 1..=8 {
            let verdicts = damage_logs(workload, seed, rounds, None);
            assert!(verdicts.silent.is_empty(), "{workload:?} seed {seed}: {:#?}", verdicts.silent);
            all.detected += verdicts.detected;
            all.harmless += verdicts.harmless;
        }
        println!("{workload:?} seeds 1 to 8: {} detected, {} harmless, 0 silent", all.detected, all.harmless);
        assert!(all.detected > rounds, "most damage is found");
    }
}

#[test]
fn every_single_byte_of_a_closed_log_is_guarded() {
    let fs = SimFileSystem::new(5);
    let mut ledger = Ledger::new(None);
    ledger.run(&fs, &[Step::Append(3, 60), Step::Sync, Step::Append(2, 60), Step::Close]).unwrap();
    let path = format!("{DIR}/{:020}.wal", 1);
    for at in 0..4096 {
        let disk = fs.fork();
        disk.damage(path.as_ref(), |bytes| bytes[at] ^= 0x55).unwrap();
        match ledger.clone().open(&disk) {
            Ok(_) | Err(Ok(LogError::Damaged { .. })) => {}
            Err(Ok(error)) => panic!("byte {at}: {error}"),
            Err(Err(broken)) => panic!("byte {at}: {broken}"),
        }
        let disk = fs.fork();
        disk.damage(path.as_ref(), |bytes| bytes.truncate(at)).unwrap();
        assert!(matches!(ledger.clone().open(&disk), Err(Ok(LogError::Damaged { .. }))), "cut at {at}");
    }
}

#[test]
fn a_missing_segment_is_damage() {
    let fs = SimFileSystem::new(6);
    let mut ledger = Ledger::new(None);
    ledger.run(&fs, &[Step::Append(12, 1100), Step::Close]).unwrap();
    let names: Vec<_> = fs.read_dir(DIR.as_ref()).unwrap();
    let names: Vec<_> = names.iter().filter(|entry| entry.name.ends_with(".wal")).collect();
    assert!(names.len() > 3);
    for (index, entry) in names.iter().enumerate() {
        let disk = fs.fork();
        disk.remove_file(format!("{DIR}/{}", entry.name).as_ref()).unwrap();
        // The last one is missed by nobody but the floor.
        ledger.floor = if index == names.len() - 1 { 12 } else { 0 };
        let verdict = ledger.clone().open(&disk);
        assert!(matches!(verdict, Err(Ok(LogError::Damaged { .. } | LogError::BelowFloor { .. }))), "{}", entry.name);
    }
}
