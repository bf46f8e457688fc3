//! Faults planted on purpose, which prove that the model test notices a broken engine.
//!
//! [`planted`] is the constant `false` unless the feature `planted-faults`, which is for that test alone, is on.

/// A fault, named for what goes wrong; each is asked for at the one place where it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// DELETE removes the row and leaves its vector to be found.
    DeadBitLost = 1,
    /// An UPDATE of a vector leaves the old one to be found.
    MovedRowNotDead,
    /// An UPDATE leaves the segment's Arrow copy in force.
    ColumnNotOverridden,
    /// Every eighth commit publishes the rows of the commit before with its own segments.
    TornView,
    /// Recovery applies each commit twice.
    ReplayedTwice,
    /// Recovery passes over every sixteenth record.
    CommitNotReplayed,
    /// A unique key stays when its row goes.
    KeyNotRemoved,
    /// An index entry stays when its row goes.
    EntryNotRemoved,
    /// TRUNCATE leaves the keys.
    KeysSurviveTruncate,
    /// A merge gives the codes of all inputs but the first to the row before.
    MergedCodesMisplaced,
    /// A merge forgets which rows died while it ran.
    MergeForgetsTheDead,
    /// A checkpoint forgets the dead rows of sealed segments.
    CheckpointForgetsTheDead,
    /// A checkpoint leaves out the last row of a mutable segment.
    CheckpointLosesARow,
    /// A search finds the committed form of rows its own transaction changed.
    OverlayDoesNotShadow,
    /// A filter is evaluated on another segment than it is used for.
    FilterOfAnotherSegment,
    /// Codes decide which rows are nearest, not vectors.
    NotReranked,
    /// Recovery does not count the generations of indexes.
    GenerationNotRestored,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::DeadBitLost,
        Self::MovedRowNotDead,
        Self::ColumnNotOverridden,
        Self::TornView,
        Self::ReplayedTwice,
        Self::CommitNotReplayed,
        Self::KeyNotRemoved,
        Self::EntryNotRemoved,
        Self::KeysSurviveTruncate,
        Self::MergedCodesMisplaced,
        Self::MergeForgetsTheDead,
        Self::CheckpointForgetsTheDead,
        Self::CheckpointLosesARow,
        Self::OverlayDoesNotShadow,
        Self::FilterOfAnotherSegment,
        Self::NotReranked,
        Self::GenerationNotRestored,
    ];
}

#[cfg(feature = "planted-faults")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants a fault in every database of this process, in the place of the one before; `None` takes it out.
#[cfg(feature = "planted-faults")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.store(fault.map_or(0, |fault| fault as u8), std::sync::atomic::Ordering::Relaxed);
}

/// Whether a fault is planted.
#[cfg(feature = "planted-faults")]
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == fault as u8
}

/// Whether a fault is planted.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
pub(crate) fn planted(_: Fault) -> bool {
    false
}
