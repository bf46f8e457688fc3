//! An overlay remembers, shows and undoes.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use lodedb_sql::Datum;

use super::*;

fn row(value: i32) -> Row {
    vec![Datum::Int4(value)].into()
}

#[test]
fn a_mark_takes_back_everything_after_it() {
    let mut overlay = Overlay::default();
    let first = overlay.insert(1, row(1));
    overlay.set_key(9, vec![1], Some(first));
    let mark = overlay.mark();
    let second = overlay.insert(1, row(2));
    overlay.put(1, first, row(10), true);
    overlay.put(1, 5, row(50), false);
    overlay.delete(1, 6);
    overlay.set_key(9, vec![1], None);
    overlay.set_entry(8, vec![2], 5, true);
    overlay.truncate(1);
    assert!(overlay.is_truncated(1));
    overlay.rollback_to(mark);
    assert!(!overlay.is_truncated(1));
    assert_eq!(overlay.change(1, second).unwrap(), Some(RowChange::Deleted));
    assert_eq!(overlay.change(1, first).unwrap(), Some(RowChange::Put { values: row(1), moved: true }));
    assert_eq!(overlay.change(1, 5).unwrap(), None);
    assert_eq!(overlay.change(1, 6).unwrap(), None);
    assert_eq!(overlay.unique(9, &[1]), Some(Some(first)));
    assert!(overlay.entries(8, Bound::Unbounded, Bound::Unbounded).is_empty());
    assert_eq!(overlay.inserted(1).count(), 1);
}

#[test]
fn a_row_moved_once_stays_moved() {
    let mut overlay = Overlay::default();
    overlay.put(1, 5, row(1), true);
    overlay.put(1, 5, row(2), false);
    assert_eq!(overlay.change(1, 5).unwrap(), Some(RowChange::Put { values: row(2), moved: true }));
}

#[test]
fn a_range_of_an_index_shows_own_keys_within_it() {
    let mut overlay = Overlay::default();
    for value in 0..10u8 {
        overlay.set_key(1, vec![value], Some(u64::from(value)));
        overlay.set_entry(2, vec![value], u64::from(value), true);
    }
    overlay.set_key(1, vec![4], None);
    let found = |index| {
        overlay
            .entries(index, Bound::Excluded(vec![2]), Bound::Included(vec![5]))
            .into_iter()
            .map(|(_, row)| row)
            .collect::<Vec<_>>()
    };
    assert_eq!(found(1), [3, 5]);
    assert_eq!(found(2), [3, 4, 5]);
    assert!(overlay.hides_entry(1, &[4], 77));
}

#[test]
fn the_catalog_of_an_overlay_follows_its_changes() {
    let mut overlay = Overlay::default();
    let base = Arc::new(Catalog::default());
    let table = crate::catalog::Table { id: 16400, name: "t".into(), columns: Vec::new(), checks: Vec::new() };
    let mark = overlay.mark();
    overlay.change_catalog(Change::PutTable(table));
    assert!(overlay.catalog(&base).table("t").is_some());
    overlay.rollback_to(mark);
    assert!(overlay.catalog(&base).table("t").is_none());
    assert!(overlay.is_empty());
    let _ = overlay.insert(16400, row(1));
    assert_eq!(overlay.inserted(16400).next().unwrap().unwrap().0, FIRST_PROVISIONAL_ROW);
}
