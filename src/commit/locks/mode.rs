//! The modes of locks, and which of them shut each other out.

use std::fmt;

/// How a lock is held. Tables take the first eight, rows the last four; index keys and advisory locks take
/// [`LockMode::Share`] and [`LockMode::Exclusive`]. The two exclusive ones may be taken of a row too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LockMode {
    /// SELECT.
    AccessShare,
    /// SELECT FOR UPDATE and the like.
    RowShare,
    /// INSERT, UPDATE, DELETE.
    RowExclusive,
    /// ANALYZE, CREATE INDEX CONCURRENTLY.
    ShareUpdateExclusive,
    /// CREATE INDEX.
    Share,
    /// Some forms of ALTER TABLE.
    ShareRowExclusive,
    /// Everyone else may only read.
    Exclusive,
    /// DROP TABLE, TRUNCATE, most forms of ALTER TABLE.
    AccessExclusive,
    /// FOR KEY SHARE: the row's key stays.
    ForKeyShare,
    /// FOR SHARE: the row stays as it is.
    ForShare,
    /// FOR NO KEY UPDATE, and an UPDATE that leaves the key alone.
    ForNoKeyUpdate,
    /// FOR UPDATE, DELETE, and an UPDATE of the key.
    ForUpdate,
}

/// A set of modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Modes(u16);

use LockMode as M;

impl LockMode {
    /// Every mode.
    pub const ALL: [LockMode; 12] = [
        M::AccessShare,
        M::RowShare,
        M::RowExclusive,
        M::ShareUpdateExclusive,
        M::Share,
        M::ShareRowExclusive,
        M::Exclusive,
        M::AccessExclusive,
        M::ForKeyShare,
        M::ForShare,
        M::ForNoKeyUpdate,
        M::ForUpdate,
    ];

    /// PostgreSQL's tables 13.2 and 13.3; where the two meet, exclusive means what it says.
    const fn conflicts(self) -> Modes {
        Modes::of(match self {
            M::AccessShare => &[M::AccessExclusive],
            M::RowShare => &[M::Exclusive, M::AccessExclusive],
            M::RowExclusive => &[M::Share, M::ShareRowExclusive, M::Exclusive, M::AccessExclusive],
            M::ShareUpdateExclusive => {
                &[M::ShareUpdateExclusive, M::Share, M::ShareRowExclusive, M::Exclusive, M::AccessExclusive]
            }
            M::Share => {
                &[M::RowExclusive, M::ShareUpdateExclusive, M::ShareRowExclusive, M::Exclusive, M::AccessExclusive]
            }
            M::ShareRowExclusive => &[
                M::RowExclusive,
                M::ShareUpdateExclusive,
                M::Share,
                M::ShareRowExclusive,
                M::Exclusive,
                M::AccessExclusive,
            ],
            M::Exclusive => &[
                M::RowShare,
                M::RowExclusive,
                M::ShareUpdateExclusive,
                M::Share,
                M::ShareRowExclusive,
                M::Exclusive,
                M::AccessExclusive,
                M::ForKeyShare,
                M::ForShare,
                M::ForNoKeyUpdate,
                M::ForUpdate,
            ],
            M::AccessExclusive => &[
                M::AccessShare,
                M::RowShare,
                M::RowExclusive,
                M::ShareUpdateExclusive,
                M::Share,
                M::ShareRowExclusive,
                M::Exclusive,
                M::AccessExclusive,
                M::ForKeyShare,
                M::ForShare,
                M::ForNoKeyUpdate,
                M::ForUpdate,
            ],
            M::ForKeyShare => &[M::ForUpdate, M::Exclusive, M::AccessExclusive],
            M::ForShare => &[M::ForNoKeyUpdate, M::ForUpdate, M::Exclusive, M::AccessExclusive],
            M::ForNoKeyUpdate => &[M::ForShare, M::ForNoKeyUpdate, M::ForUpdate, M::Exclusive, M::AccessExclusive],
            M::ForUpdate => {
                &[M::ForKeyShare, M::ForShare, M::ForNoKeyUpdate, M::ForUpdate, M::Exclusive, M::AccessExclusive]
            }
        })
    }

    /// Whether two transactions cannot hold the two at once.
    pub fn conflicts_with(self, other: LockMode) -> bool {
        self.conflicts().has(other)
    }
}

impl fmt::Display for LockMode {
    /// As `pg_locks` and the deadlock message write it: `AccessShareLock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}Lock")
    }
}

impl Modes {
    const fn of(modes: &[LockMode]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < modes.len() {
            set |= 1 << modes[index] as u16;
            index += 1;
        }
        Self(set)
    }

    pub(super) fn has(self, mode: LockMode) -> bool {
        self.0 & 1 << mode as u16 != 0
    }

    pub(super) fn add(&mut self, mode: LockMode) {
        self.0 |= 1 << mode as u16;
    }

    pub(super) fn remove(&mut self, mode: LockMode) {
        self.0 &= !(1 << mode as u16);
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = LockMode> {
        LockMode::ALL.into_iter().filter(move |&mode| self.has(mode))
    }

    /// Whether another transaction's `mode` cannot stand beside these.
    pub(super) fn conflict_with(self, mode: LockMode) -> bool {
        self.0 & mode.conflicts().0 != 0
    }

    /// Whether these shut out everything that `mode` would, so that taking it adds nothing.
    pub(super) fn cover(self, mode: LockMode) -> bool {
        if self.has(mode) {
            return true;
        }
        let shut_out = self.iter().fold(0, |set, held| set | held.conflicts().0);
        !self.is_empty() && mode.conflicts().0 & !shut_out == 0
    }
}
