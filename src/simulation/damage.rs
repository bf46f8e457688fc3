//! Damage to a machine that came back: a byte of one file changes, or its end is cut off. What is then read is right, or an error.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::Machine;
use super::ledger::Ledger;
use super::oracle::{Look, check_machine, contents};
use super::play::{DIR, open};
use crate::snapshot::manifest::Manifest;

/// Damages a machine in three ways, each on a copy. Gives how many copies were opened.
pub(super) fn damage(machine: &Machine, ledger: &Ledger, calls: u64, seed: u64) -> Result<u64, String> {
    let mut dice = StdRng::seed_from_u64(seed);
    let manifests = damage_newest_manifest(machine, ledger, calls, &mut dice)?;
    let segments = damage_segment(machine, ledger, calls, &mut dice)?;
    Ok(manifests + segments + damage_log(machine, ledger, calls, &mut dice)?)
}

/// Changes one byte of a file, or cuts it short.
fn spoil(machine: &Machine, path: &Path, dice: &mut StdRng) -> Option<()> {
    machine.disk.damage(path, |bytes| match bytes.len() {
        0 => bytes.push(7),
        len if dice.random_ratio(1, 4) => bytes.truncate(dice.random_range(0..len)),
        len => bytes[dice.random_range(0..len)] ^= 1 << dice.random_range(0..8),
    })
}

/// Without the newest manifest the one before serves, and the whole state is there; without any the database is refused.
fn damage_newest_manifest(machine: &Machine, ledger: &Ledger, calls: u64, dice: &mut StdRng) -> Result<u64, String> {
    let dir = Path::new(DIR).join("manifest");
    let Ok(generations) = Manifest::generations(&machine.disk, &dir) else { return Ok(0) };
    let Some(newest) = generations.first() else { return Ok(0) };
    let copy = machine.fork();
    if spoil(&copy, &dir.join(format!("{newest:016x}")), dice).is_none() {
        return Ok(0);
    }
    if generations.len() > 1 {
        check_machine(&copy, ledger, calls, Look::WithoutManifest)
            .map_err(|why| format!("its newest manifest damaged: {why}"))?;
    } else {
        refused_or_right(&copy, ledger, calls).map_err(|why| format!("its only manifest damaged: {why}"))?;
    }
    Ok(1)
}

/// A damaged file of a segment is put back from a backup, is noticed, or did not matter.
fn damage_segment(machine: &Machine, ledger: &Ledger, calls: u64, dice: &mut StdRng) -> Result<u64, String> {
    let mut files = Vec::new();
    below(machine, &Path::new(DIR).join("segments"), &mut files);
    let Some(path) = files.choose(dice) else { return Ok(0) };
    let copy = machine.fork();
    if spoil(&copy, path, dice).is_none() {
        return Ok(0);
    }
    refused_or_right(&copy, ledger, calls).map_err(|why| format!("{} damaged: {why}", path.display()))?;
    Ok(1)
}

/// A damaged log is refused, unless what is damaged is needed by nobody, or is the last of it, which looks like a torn end.
fn damage_log(machine: &Machine, ledger: &Ledger, calls: u64, dice: &mut StdRng) -> Result<u64, String> {
    let mut files = Vec::new();
    below(machine, &Path::new(DIR).join("wal"), &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files.sort();
    // Records of the segment before the last were proven durable by those of the last.
    let Some(path) = files.len().checked_sub(2).and_then(|before| files.get(before)) else { return Ok(0) };
    let copy = machine.fork();
    if spoil(&copy, path, dice).is_none() {
        return Ok(0);
    }
    refused_or_right(&copy, ledger, calls).map_err(|why| format!("{} damaged: {why}", path.display()))?;
    Ok(1)
}

fn refused_or_right(machine: &Machine, ledger: &Ledger, calls: u64) -> Result<(), String> {
    let Ok(db) = open(machine, DIR) else { return Ok(()) };
    // Vectors are checked when they are read.
    let Ok(found) = contents(db.engine()) else { return Ok(()) };
    let candidates = ledger.candidates(calls);
    if candidates.iter().any(|candidate| **candidate == found) {
        return Ok(());
    }
    Err(candidates.first().and_then(|candidate| candidate.difference(&found)).unwrap_or_default())
}

fn below(machine: &Machine, dir: &Path, found: &mut Vec<PathBuf>) {
    use lodedb_wal::fs::FileSystem;
    for entry in machine.read_dir(dir).unwrap_or_default() {
        let path = dir.join(&entry.name);
        if entry.is_dir { below(machine, &path, found) } else { found.push(path) }
    }
}
