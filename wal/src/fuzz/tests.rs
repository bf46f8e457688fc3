//! What fuzzing has found so far, replayed: the corpora, and the inputs that once failed.

use std::path::Path;

use super::*;

fn replay_all(target: &str, run: fn(&[u8])) {
    let mut count = 0;
    for kind in ["corpus", "regress"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind).join(target);
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "{target} has a corpus");
}

#[test]
fn frames_of_the_corpus_are_read_by_the_letter() {
    replay_all("wal_frames", frames);
}

#[test]
fn logs_of_the_corpus_lose_nothing_silently() {
    replay_all("wal_replay", replay);
}

#[test]
fn a_log_that_takes_damage_for_a_torn_tail_is_noticed() {
    let noticed = std::panic::catch_unwind(|| replay_all("wal_replay", replay_damage_skipped));
    assert!(noticed.is_err());
}
