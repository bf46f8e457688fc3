//! The Arrow forms of the kinds of vectors: large lists, each with items that no other large list here has.
//!
//! | type | items | order of the lists |
//! | --- | --- | --- |
//! | `vector` | `Float32`, the components | that of the vectors |
//! | `halfvec` | `Float16`, the components | that of the vectors |
//! | `sparsevec` | `UInt32`, [`SparseVector::sort_words`] | that of the vectors |
//! | `bit`, `bit varying` | `Boolean`, the bits | that of the strings |
//!
//! So DataFusion sorts, groups and joins them as PostgreSQL does, without knowing what they are.

use std::sync::Arc;

use datafusion::arrow::array::BooleanArray;
use datafusion::arrow::datatypes::{DataType, Field};
use lodedb_sql::bits::Bits;
use lodedb_sql::error::Result;
use lodedb_sql::sparsevec::SparseVector;
use lodedb_sql::{ScalarType, SqlError};

fn large_list(item: DataType) -> DataType {
    DataType::LargeList(Arc::new(Field::new_list_field(item, true)))
}

/// The Arrow type of `vector`.
pub fn vector_type() -> DataType {
    large_list(DataType::Float32)
}

/// The Arrow type of `halfvec`.
pub(crate) fn halfvec_type() -> DataType {
    large_list(DataType::Float16)
}

/// The Arrow type of `sparsevec`.
pub(crate) fn sparsevec_type() -> DataType {
    large_list(DataType::UInt32)
}

/// The Arrow type of `bit` and `bit varying`.
pub(crate) fn bits_type() -> DataType {
    large_list(DataType::Boolean)
}

/// The type whose large list has this item.
pub(super) fn kind_of(item: &Field) -> Option<ScalarType> {
    Some(match item.data_type() {
        DataType::Float32 => ScalarType::Vector,
        DataType::Float16 => ScalarType::Halfvec,
        DataType::UInt32 => ScalarType::Sparsevec,
        DataType::Boolean => ScalarType::Bit,
        _ => return None,
    })
}

/// The sparse vector that is kept as these items.
pub(crate) fn sparsevec_at(words: &[u32]) -> Result<SparseVector> {
    SparseVector::from_sort_words(words).ok_or_else(|| SqlError::internal("a column holds words of no sparse vector"))
}

/// The bits that are kept as the items of a range.
pub(crate) fn bits_at(items: &BooleanArray, range: std::ops::Range<usize>) -> Bits {
    range.map(|place| items.value(place)).collect()
}
