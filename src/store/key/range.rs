//! The part of an index that a condition on its first columns selects.

use std::ops::Bound;

use lodedb_sql::Datum;

use super::{NULL, VALUE, encode_column, encode_key};

/// The bounds of every key that begins with these bytes (those of whole columns, for it to mean anything).
pub fn prefix_range(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (Bound::Included(prefix.to_vec()), next_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded))
}

/// The bounds of every key whose first columns equal `equal` and whose next lies between `lower` and `upper`.
///
/// A bound leaves out NULLs, as a comparison does; without any, the next column may be anything. A NULL in `equal`
/// selects the NULLs (`IS NULL`); a bound that is NULL selects nothing, as a comparison with it does.
pub fn key_range(equal: &[Datum], lower: Bound<&Datum>, upper: Bound<&Datum>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut prefix = Vec::new();
    encode_key(equal, &mut prefix);
    let bound_by = |bound: &Bound<&Datum>| match bound {
        Bound::Included(datum) | Bound::Excluded(datum) => Some(datum.is_null()),
        Bound::Unbounded => None,
    };
    match (bound_by(&lower), bound_by(&upper)) {
        (None, None) => return prefix_range(&prefix),
        (Some(true), _) | (_, Some(true)) => return (Bound::Included(prefix.clone()), Bound::Excluded(prefix)),
        _ => {}
    }
    let with = |datum: &Datum| {
        let mut key = prefix.clone();
        encode_column(datum, &mut key);
        key
    };
    let marked = |marker: u8| [prefix.as_slice(), &[marker]].concat();
    let after = |key: Vec<u8>| next_prefix(&key).map_or(Bound::Unbounded, Bound::Included);
    let before_after = |key: Vec<u8>| next_prefix(&key).map_or(Bound::Unbounded, Bound::Excluded);
    let from = match lower {
        Bound::Included(datum) => Bound::Included(with(datum)),
        Bound::Excluded(datum) => after(with(datum)),
        Bound::Unbounded => Bound::Included(marked(VALUE)),
    };
    let to = match upper {
        Bound::Included(datum) => before_after(with(datum)),
        Bound::Excluded(datum) => Bound::Excluded(with(datum)),
        Bound::Unbounded => Bound::Excluded(marked(NULL)),
    };
    (from, to)
}

/// The least bytes above everything that begins with these; `None` if there are none.
pub fn next_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}
