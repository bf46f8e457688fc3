//! Faults planted on purpose, which prove that the tests notice a broken engine: those of [`Fault::ALL`] the model test, those of
//! [`Fault::OF_THE_DISK`] the tests over a simulated disk.
//!
//! [`planted`] is the constant `false` unless the feature `planted-faults`, which is for the model test alone, is on. In the crate's own
//! tests a fault is planted for one thread.

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
    /// A commit is answered before the fsync that covers it.
    AcknowledgedBeforeSync,
    /// The names of a segment's files are not synced.
    NamesNotSynced,
    /// A checkpoint lets go of the log before its manifest is there.
    LogGoneBeforeManifest,
    /// The store is brought to a commit before it has the rows of it.
    AppliedLsnEarly,
    /// A sync of a segment's file that failed is tried again, and its second answer believed.
    SyncRetried,
    /// The manifest is overwritten in place. (Dead bits have no file of their own: they are in the manifest.)
    ManifestInPlace,
    /// The newest manifest is believed without its checksum.
    ManifestNotVerified,
    /// A checkpoint lets go of log whose rows are only in the store's memory.
    RowsNotFlushed,
    /// A segment's file is believed whatever its length and its checksums are.
    FileTrusted,
    /// A log that is damaged is removed and begun again.
    DamagedLogDropped,
    /// Recovery asks the store, which may be ahead, which rows a commit inserted.
    PredicateReplayed,
    /// A commit is applied to the store before the fsync that covers it.
    AppliedBeforeSync,
}

impl Fault {
    /// Those that show while the process runs or is killed.
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

    /// Those that only a loss of power, a failing disk or damage brings out, and replaying twice.
    pub const OF_THE_DISK: [Self; 13] = [
        Self::AcknowledgedBeforeSync,
        Self::NamesNotSynced,
        Self::LogGoneBeforeManifest,
        Self::AppliedLsnEarly,
        Self::SyncRetried,
        Self::ReplayedTwice,
        Self::ManifestInPlace,
        Self::ManifestNotVerified,
        Self::RowsNotFlushed,
        Self::FileTrusted,
        Self::DamagedLogDropped,
        Self::PredicateReplayed,
        Self::AppliedBeforeSync,
    ];
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault in every database of this thread, in the place of the one before; `None` takes it out.
#[cfg(test)]
pub(crate) fn plant_here(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Whether a fault is planted.
#[cfg(test)]
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

#[cfg(feature = "planted-faults")]
static PLANTED_EVERYWHERE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants a fault in every database of this process, in the place of the one before; `None` takes it out.
#[cfg(feature = "planted-faults")]
pub fn plant(fault: Option<Fault>) {
    PLANTED_EVERYWHERE.store(fault.map_or(0, |fault| fault as u8), std::sync::atomic::Ordering::Relaxed);
}

/// Whether a fault is planted.
#[cfg(all(feature = "planted-faults", not(test)))]
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED_EVERYWHERE.load(std::sync::atomic::Ordering::Relaxed) == fault as u8
}

/// Whether a fault is planted.
#[cfg(not(any(feature = "planted-faults", test)))]
#[inline(always)]
pub(crate) fn planted(_: Fault) -> bool {
    false
}
