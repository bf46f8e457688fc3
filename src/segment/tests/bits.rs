//! Sets of ordinals against a model, and their bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::segment::Bits;

proptest! {
    #[test]
    fn bits_behave_as_a_set(ordinals in prop::collection::vec(0u32..200_000, 0..400), len in 0u32..200_000) {
        let model: BTreeSet<u32> = ordinals.iter().copied().collect();
        let mut bits = Bits::new();
        let mut seen = BTreeSet::new();
        for &ordinal in &ordinals {
            prop_assert_eq!(bits.insert(ordinal), seen.insert(ordinal));
        }
        prop_assert_eq!(bits.count() as usize, model.len());
        prop_assert!(bits.iter().eq(model.iter().copied()));
        prop_assert_eq!(bits.count_below(len) as usize, model.range(..len).count());
        let words = bits.to_words(len);
        prop_assert_eq!(words.len(), (len as usize).div_ceil(64));
        prop_assert!(Bits::from_words(&words).iter().eq(model.range(..len).copied()));
        prop_assert_eq!(Bits::decode(&bits.encode()).expect("decoded"), bits);
    }

    #[test]
    fn bytes_under_a_sound_checksum_are_a_set_or_refused(
        ordinals in prop::collection::vec(0u32..100_000, 0..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = ordinals.into_iter().collect::<Bits>().encode();
        bytes.truncate(bytes.len() - 4);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        if let Ok(bits) = Bits::decode(&bytes) {
            prop_assert_eq!(bits.iter().count(), bits.count() as usize);
            prop_assert_eq!(Bits::decode(&bits.encode()).expect("decoded"), bits);
        }
    }
}

#[test]
fn a_clone_does_not_see_later_changes() {
    let mut bits: Bits = [3, 70_000].into_iter().collect();
    let before = bits.clone();
    bits.insert(4);
    assert!(bits.contains(4) && !before.contains(4));
    assert_eq!(before.count(), 2);
}

#[test]
fn a_full_chunk_is_written_as_words_and_read_back() {
    let bits: Bits = (0..40_000).collect();
    assert_eq!(Bits::decode(&bits.encode()).expect("decoded"), bits);
}

#[test]
fn every_changed_byte_of_a_set_is_noticed() {
    let bits: Bits = [1, 5, 99_999].into_iter().collect();
    let bytes = bits.encode();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(Bits::decode(&changed).is_err(), "byte {at}");
    }
    for len in 0..bytes.len() {
        assert!(Bits::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
}
