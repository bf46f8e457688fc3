//! Which disks a machine may come back with after the power went: choices over the units that were not yet synced.

use std::collections::HashSet;
use std::sync::Arc;

use super::SECTOR_BYTES;
use super::disk::{Dice, Disk, Node, NodeId, apply_names, copy_sector};

/// Up to this many units, every subset is tried.
const EXHAUSTIVE_UNITS: usize = 6;

/// Something a crash keeps or loses.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Name(usize),
    Length(NodeId),
    Sector(NodeId, usize),
}

pub(super) fn crash_images(disk: &Disk, limit: usize) -> Vec<Disk> {
    let units = pending_units(disk);
    let mut dice = Dice(disk.dice.0 ^ disk.calls.wrapping_mul(0x9e37_79b9));
    let mut seen = HashSet::new();
    let mut images = Vec::new();
    let mut take = |image: Disk| {
        if seen.insert(image.fingerprint()) {
            images.push(image);
        }
    };
    for kept in choose_subsets(units.len(), limit.max(2), &mut dice) {
        take(image(disk, &units, &kept, None));
    }
    let sectors = units.iter().any(|u| matches!(u, Unit::Sector(..)));
    for _ in 0..if sectors { limit / 8 } else { 0 } {
        let kept: Vec<bool> = units.iter().map(|_| dice.below(2) == 0).collect();
        take(image(disk, &units, &kept, Some(&mut dice)));
    }
    images
}

fn pending_units(disk: &Disk) -> Vec<Unit> {
    let mut units: Vec<Unit> = (0..disk.pending.len()).map(Unit::Name).collect();
    for (id, node) in disk.nodes.iter().enumerate() {
        let Node::File(file) = node else { continue };
        if file.len_dirty && file.live.len() != file.durable.len() {
            units.push(Unit::Length(id));
        }
        for &sector in &file.dirty {
            let mut before = [0; SECTOR_BYTES];
            let mut after = [0; SECTOR_BYTES];
            let start = sector * SECTOR_BYTES;
            let durable = file.durable.get(start..).unwrap_or_default();
            let live = file.live.get(start..).unwrap_or_default();
            let (d, l) = (durable.len().min(SECTOR_BYTES), live.len().min(SECTOR_BYTES));
            before[..d].copy_from_slice(&durable[..d]);
            after[..l].copy_from_slice(&live[..l]);
            // A sector that reads the same either way is no choice.
            if before != after {
                units.push(Unit::Sector(id, sector));
            }
        }
    }
    units
}

/// All subsets of few units; of many the telling ones and random ones; at most `limit`.
fn choose_subsets(units: usize, limit: usize, dice: &mut Dice) -> Vec<Vec<bool>> {
    let none = vec![false; units];
    let all = vec![true; units];
    if units <= EXHAUSTIVE_UNITS && 1usize << units <= limit {
        return (0..1usize << units).map(|bits| (0..units).map(|u| bits >> u & 1 == 1).collect()).collect();
    }
    let mut chosen = vec![none.clone(), all.clone()];
    let mut singles: Vec<Vec<bool>> = Vec::new();
    for unit in 0..units {
        let (mut kept, mut lost) = (none.clone(), all.clone());
        kept[unit] = true;
        lost[unit] = false;
        singles.extend([kept, lost]);
    }
    // With room for only some of the singles, not always the first ones.
    while chosen.len() < limit && !singles.is_empty() {
        let pick = dice.below(singles.len() as u64) as usize;
        chosen.push(singles.swap_remove(pick));
    }
    while chosen.len() < limit {
        chosen.push((0..units).map(|_| dice.below(2) == 0).collect());
    }
    chosen
}

/// The disk with just the chosen units kept. With `tear`, a kept sector may hold only its beginning.
fn image(disk: &Disk, units: &[Unit], kept: &[bool], mut tear: Option<&mut Dice>) -> Disk {
    let mut nodes = disk.nodes.clone();
    let chosen = |wanted: bool| units.iter().zip(kept).filter(move |(_, k)| **k == wanted).map(|(u, _)| *u);
    for unit in chosen(true) {
        match unit {
            Unit::Name(index) => {
                let change = &disk.pending[index];
                if let Node::Dir(dir) = &mut nodes[change.dir] {
                    apply_names(&mut dir.durable, &change.names);
                }
            }
            Unit::Length(id) => {
                if let Node::File(file) = &mut nodes[id] {
                    let len = file.live.len();
                    Arc::make_mut(&mut file.durable).resize(len, 0);
                }
            }
            // Lengths come before sectors in `units`, so a kept sector finds its room.
            Unit::Sector(id, sector) => {
                if let Node::File(file) = &mut nodes[id] {
                    let mut bytes = SECTOR_BYTES;
                    if let Some(dice) = tear.as_deref_mut()
                        && dice.below(2) == 0
                    {
                        bytes = dice.below(SECTOR_BYTES as u64) as usize;
                    }
                    copy_sector(&file.live, Arc::make_mut(&mut file.durable).as_mut_slice(), sector, bytes);
                }
            }
        }
    }
    for node in &mut nodes {
        match node {
            Node::File(file) => {
                file.live = Arc::clone(&file.durable);
                file.dirty.clear();
                file.len_dirty = false;
            }
            Node::Dir(dir) => dir.live = dir.durable.clone(),
        }
    }
    Disk::with_nodes(nodes, disk.dice.0)
}
