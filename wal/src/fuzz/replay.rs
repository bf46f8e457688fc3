//! A log that was written, damaged and opened again, over the simulated disk.

use arbitrary::{Result, Unstructured};

use crate::LogError;
use crate::fs::FileSystem;
use crate::fs::sim::SimFileSystem;
use crate::ledger::{DIR, Ledger, Step};
use crate::options::Planted;

/// Whatever happens to its files, a log opens with a prefix of what was submitted, or says what is wrong. One piece of damage to a log
/// that was marked takes no acknowledged record with it silently.
pub fn replay(data: &[u8]) {
    let _ = play(&mut Unstructured::new(data), None);
}

/// [`replay`] of a log that takes damage for a torn tail: to see that the target notices.
pub fn replay_damage_skipped(data: &[u8]) {
    let _ = play(&mut Unstructured::new(data), Some(Planted::SkipDamage));
}

fn play(u: &mut Unstructured<'_>, planted: Option<Planted>) -> Result<()> {
    let fs = SimFileSystem::new(1);
    let mut ledger = Ledger::new(planted);
    let mut steps = Vec::new();
    for _ in 0..u.int_in_range(1..=12)? {
        steps.push(match u.int_in_range(0..=9)? {
            0..=3 => Step::Append(u.int_in_range(1..=3)?, u.int_in_range(0..=1200)?),
            4 | 5 => Step::Sync,
            6 => Step::Flush,
            7 => Step::Mark,
            8 => Step::Truncate(u.int_in_range(0..=4)?),
            _ => Step::Reopen,
        });
    }
    let marked = u.arbitrary()?;
    if marked {
        steps.extend([Step::Sync, Step::Mark]);
    }
    if u.arbitrary()? {
        steps.extend([Step::Append(1, 100), Step::Flush]);
    }
    assert!(ledger.run(&fs, &steps).unwrap().is_none(), "no fault is planned");
    // Only the log itself may notice.
    ledger.floor = ledger.first_needed - 1;
    let names: Vec<String> = fs.read_dir(DIR.as_ref()).unwrap().into_iter().map(|entry| entry.name).collect();
    let damages = u.int_in_range(0..=3)?;
    let mut harmed = 0;
    for _ in 0..damages {
        harmed += usize::from(damage(&fs, &names, u)?);
    }
    let acked = ledger.acked;
    if harmed > 1 || (harmed == 1 && !marked) {
        // More than the log promises to notice; what it yields must still be what was submitted.
        ledger.acked = ledger.first_needed - 1;
    }
    match ledger.clone().open(&fs) {
        Ok(log) => {
            drop(log);
            // Nothing is durable but what this opening made so, and the log lives on from there.
            ledger.check_image(&fs).unwrap();
        }
        Err(Ok(LogError::Damaged { .. } | LogError::BelowFloor { .. })) => {
            assert!(harmed > 0, "a sound log is refused; acknowledged up to {acked}");
        }
        Err(Ok(other)) => panic!("not called damage: {other}"),
        Err(Err(broken)) => panic!("{broken}"),
    }
    Ok(())
}

/// Damages one file in one place; says whether a byte of a segment changed.
fn damage(fs: &SimFileSystem, names: &[String], u: &mut Unstructured<'_>) -> Result<bool> {
    let name = u.choose(names)?;
    let path = format!("{DIR}/{name}");
    let before = fs.contents(path.as_ref()).unwrap_or_default();
    let mut after = before.clone();
    if after.is_empty() {
        return Ok(false);
    }
    let at = u.int_in_range(0..=after.len() - 1)?;
    let run = u.int_in_range(1..=512)?.min(after.len() - at);
    match u.int_in_range(0..=4)? {
        0 | 1 => after[at] ^= u.int_in_range(1..=255)?,
        2 => after[at..at + run].fill(0),
        3 => after.truncate(at),
        _ => {
            let noise = u.bytes(u.len().min(run))?;
            after[at..at + noise.len()].copy_from_slice(noise);
        }
    }
    let changed = after != before;
    fs.damage(path.as_ref(), |bytes| *bytes = after).unwrap();
    Ok(changed && name.ends_with(".wal"))
}
