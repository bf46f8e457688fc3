//! The tests tested: each planted bug must be caught by the crash, fault or damage campaign.

use super::crash::cut_everywhere;
use super::damage::damage_logs;
use super::faults::sweep_faults;
use crate::ledger::Workload;
use crate::options::Planted;

/// What caught a bug, or nothing.
fn hunt(bug: Planted) -> Option<String> {
    for workload in [Workload::InFlight, Workload::TruncateReopen, Workload::Rotation] {
        for seed in 1..4 {
            if let Err(broken) = cut_everywhere(&workload.steps(seed, 40), seed, 24, Some(bug)) {
                return Some(format!("a power cut: {workload:?} seed {seed}: {broken}"));
            }
        }
        if let Err(broken) = sweep_faults(&workload.steps(1, 20), 1, Some(bug)) {
            return Some(format!("a fault: {workload:?}: {broken}"));
        }
        for seed in 1..3 {
            if let Some(broken) = damage_logs(workload, seed, 300, Some(bug)).silent.first() {
                return Some(format!("damage: {workload:?} seed {seed}: {broken}"));
            }
        }
    }
    // Some bugs need two crashes in the right places.
    for seed in 4..40 {
        if let Err(broken) = cut_everywhere(&Workload::TruncateReopen.steps(seed, 60), seed, 64, Some(bug)) {
            return Some(format!("a power cut: seed {seed}: {broken}"));
        }
    }
    None
}

macro_rules! caught {
    ($($name:ident: $bug:ident,)*) => {$(
        #[test]
        fn $name() {
            let caught = hunt(Planted::$bug);
            println!("{:?} caught by {caught:?}", Planted::$bug);
            assert!(caught.is_some(), "{:?} went unnoticed", Planted::$bug);
        }
    )*};
}

caught! {
    acknowledging_before_the_sync_is_caught: AckBeforeSync,
    a_new_segment_without_directory_sync_is_caught: NoDirSync,
    retrying_a_failed_sync_is_caught: RetrySync,
    skipping_damage_is_caught: SkipDamage,
    trusting_the_file_length_is_caught: TrustFileLength,
    replaying_twice_is_caught: ReplayTwice,
    claiming_durability_early_is_caught: EarlyDurable,
    trusting_a_tail_that_was_only_read_is_caught: TrustTail,
    naming_a_segment_before_its_header_is_synced_is_caught: NameBeforeSync,
    rotating_without_a_sync_is_caught: NoSyncAtRotation,
    taking_a_used_spare_for_zeros_is_caught: TrustSpare,
    opening_without_directory_sync_is_caught: NoDirSyncAtOpen,
    truncating_too_much_is_caught: TruncateTooMuch,
}
