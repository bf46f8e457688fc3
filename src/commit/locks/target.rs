//! What can be locked.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::store::{IndexId, RowId, TableId};

/// A thing that can be locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LockTarget {
    /// A table as a whole.
    Table(TableId),
    /// A row of a table.
    Row(TableId, RowId),
    /// A key of a unique index, as [`crate::store::key::encode_key`] makes it, whether or not a row has it.
    Key(IndexId, Box<[u8]>),
    /// A number that means something to clients alone.
    Advisory(i64),
    /// Two such numbers; apart from the single ones.
    AdvisoryPair(i32, i32),
}

impl fmt::Display for LockTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "relation {table}"),
            Self::Row(table, row) => write!(f, "row {row} of relation {table}"),
            Self::Key(index, _) => write!(f, "key of index {index}"),
            Self::Advisory(number) => {
                write!(f, "advisory lock [{},{},1]", (number >> 32) as u32, *number as u32)
            }
            Self::AdvisoryPair(first, second) => write!(f, "advisory lock [{},{},2]", *first as u32, *second as u32),
        }
    }
}

/// A target with its hash, which is worked out once for choosing the shard and finding the lock in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) hash: u64,
    pub(super) target: LockTarget,
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes a number that is a hash already, or an id that nobody can choose.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hashed(u64);

pub(super) type BuildHashed = BuildHasherDefault<Hashed>;

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, value: u64) {
        // Spreads ids that follow one another over all bits; does no harm to a hash.
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
