//! What is run together.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::choose_batches;

#[test]
fn batches_hold_everything_once_within_their_limits() {
    let lengths = [3, 500, 7, 7, 1, 40, 512, 9000, 8];
    let batches = choose_batches(&lengths, 4, 1024, true);
    let mut seen: Vec<usize> = batches.concat();
    seen.sort_unstable();
    assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
    for batch in &batches {
        let longest = batch.iter().map(|index| lengths[*index]).max().unwrap();
        assert!(batch.len() == 1 || (batch.len() <= 4 && batch.len() * longest <= 1024), "{batch:?}");
    }
    // The two long ones fit together, the four short ones too.
    assert_eq!(batches, [vec![7], vec![6, 1], vec![5, 8, 2, 3], vec![0, 4]]);
    assert!(choose_batches(&[], 4, 1024, true).is_empty());
    // Without padding only what has one length goes together.
    assert_eq!(choose_batches(&[3, 7, 3, 7, 1], 4, 1024, false), [vec![1, 3], vec![0, 2], vec![4]]);
}
