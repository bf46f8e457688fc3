//! Serialisable snapshot isolation: transactions that read one state each, and none of which may commit if they could not have run one after
//! the other.
//!
//! After Cahill, Röhm, Fekete, *Serializable Isolation for Snapshot Databases* (SIGMOD 2008): where snapshots do not serialise, there is a
//! pivot, a transaction that read what a concurrent one wrote anew, and wrote what a concurrent one read before. Both are noted of each
//! transaction, and whoever would make a pivot is refused (40001). What is read and written is noted by table: transactions are refused that
//! could have gone on, and none is let through that could not.
//!
//! Transactions of other levels are not watched, as in PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use super::ReadView;
use super::locks::TxId;
use crate::catalog::TableId;

/// How many committed transactions are remembered for those that are still open. With more, the one open longest is refused.
const MOST_REMEMBERED: usize = 100_000;

/// The serialisable transactions of a database.
#[derive(Debug, Default)]
pub struct Serializable {
    watched: Mutex<BTreeMap<TxId, Watched>>,
}

#[derive(Debug)]
struct Watched {
    /// The commit it reads.
    snapshot: u64,
    reads: BTreeSet<TableId>,
    writes: BTreeSet<TableId>,
    /// Concurrent transactions that read what this one wrote anew.
    read_before_by: BTreeSet<TxId>,
    /// Concurrent transactions that wrote anew what this one read.
    reads_before: BTreeSet<TxId>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// It was let through; which commit it is is not known yet.
    Committing,
    Committed(u64),
    /// It has to give way to others.
    Refused,
}

impl Watched {
    fn of(snapshot: u64) -> Self {
        let (reads, writes) = (BTreeSet::new(), BTreeSet::new());
        let (read_before_by, reads_before) = (BTreeSet::new(), BTreeSet::new());
        Self { snapshot, reads, writes, read_before_by, reads_before, end: End::Open }
    }

    fn is_pivot(&self) -> bool {
        !self.read_before_by.is_empty() && !self.reads_before.is_empty()
    }

    /// Whether `other` does not see it: it had not committed when the other one took its snapshot.
    fn is_hidden_from(&self, other: &Self) -> bool {
        match self.end {
            End::Committed(lsn) => lsn > other.snapshot,
            End::Open | End::Committing => true,
            End::Refused => false,
        }
    }

    fn is_concurrent_with(&self, other: &Self) -> bool {
        self.is_hidden_from(other) && other.is_hidden_from(self)
    }
}

impl Serializable {
    /// A transaction takes its snapshot.
    pub fn begin(&self, tx: TxId, view: impl FnOnce() -> Arc<ReadView>) -> Arc<ReadView> {
        let mut watched = self.watched.lock();
        // ORDER: under the lock, so that no commit the view lacks is forgotten before the transaction is watched.
        let view = view();
        watched.insert(tx, Watched::of(view.lsn));
        view
    }

    /// A transaction is about to read tables as they are in its snapshot.
    pub fn reads(&self, tx: TxId, tables: impl IntoIterator<Item = TableId>) -> Result<()> {
        let mut watched = self.watched.lock();
        for table in tables {
            let Some(own) = watched.get_mut(&tx) else { return Ok(()) };
            if own.reads.insert(table) {
                let writers = others(&watched, tx, |other| other.writes.contains(&table));
                writers.into_iter().try_for_each(|writer| depends(&mut watched, tx, tx, writer))?;
            }
        }
        is_open(&mut watched, tx)
    }

    /// A transaction is about to write into a table.
    pub fn writes(&self, tx: TxId, table: TableId) -> Result<()> {
        let mut watched = self.watched.lock();
        let Some(own) = watched.get_mut(&tx) else { return Ok(()) };
        if own.writes.insert(table) {
            let readers = others(&watched, tx, |other| other.reads.contains(&table));
            readers.into_iter().try_for_each(|reader| depends(&mut watched, tx, reader, tx))?;
        }
        is_open(&mut watched, tx)
    }

    /// A transaction asks whether it may commit. From here on others give way to it.
    pub fn prepare(&self, tx: TxId) -> Result<()> {
        let mut watched = self.watched.lock();
        is_open(&mut watched, tx)?;
        if let Some(own) = watched.get_mut(&tx) {
            own.end = End::Committing;
        }
        Ok(())
    }

    /// A transaction that was let through is this commit. One that wrote nothing is at one with its snapshot: it can only be the first of
    /// three in a circle, and reads what the third one committed and the second one did not see.
    pub fn committed(&self, tx: TxId, lsn: Option<u64>) {
        let mut watched = self.watched.lock();
        if let Some(own) = watched.get_mut(&tx) {
            own.end = End::Committed(lsn.unwrap_or(own.snapshot));
        }
        forget(&mut watched);
    }

    /// A transaction is over. Unless it committed it is as if it had not been.
    pub fn ended(&self, tx: TxId) {
        let mut watched = self.watched.lock();
        if watched.get(&tx).is_some_and(|own| !matches!(own.end, End::Committed(_))) {
            watched.remove(&tx);
            let_go(&mut watched, tx);
            forget(&mut watched);
        }
    }
}

/// Those concurrent with a transaction that fit.
fn others(watched: &BTreeMap<TxId, Watched>, tx: TxId, fits: impl Fn(&Watched) -> bool) -> Vec<TxId> {
    let Some(own) = watched.get(&tx) else { return Vec::new() };
    let fitting = watched.iter().filter(|&(&id, other)| id != tx && fits(other) && other.is_concurrent_with(own));
    fitting.map(|(&id, _)| id).collect()
}

/// `reader` reads what `writer` writes anew, and must come before it. If that makes a pivot of one that committed, `tx` gives way; one that
/// is open finds out by itself.
fn depends(watched: &mut BTreeMap<TxId, Watched>, tx: TxId, reader: TxId, writer: TxId) -> Result<()> {
    if let Some(of) = watched.get_mut(&reader) {
        of.reads_before.insert(writer);
    }
    if let Some(of) = watched.get_mut(&writer) {
        of.read_before_by.insert(reader);
    }
    let is_lost = |id| watched.get(&id).is_some_and(|of| of.is_pivot() && of.end != End::Open);
    if is_lost(reader) || is_lost(writer) {
        return refuse(watched, tx);
    }
    Ok(())
}

/// Whether a transaction may go on.
fn is_open(watched: &mut BTreeMap<TxId, Watched>, tx: TxId) -> Result<()> {
    match watched.get(&tx) {
        Some(own) if own.is_pivot() || own.end == End::Refused => refuse(watched, tx),
        Some(_) | None => Ok(()),
    }
}

fn refuse(watched: &mut BTreeMap<TxId, Watched>, tx: TxId) -> Result<()> {
    if let Some(own) = watched.get_mut(&tx) {
        own.end = End::Refused;
    }
    let_go(watched, tx);
    let message = "could not serialize access due to read/write dependencies among transactions";
    Err(SqlError::new(SqlState::SerializationFailure, message).with_hint("The transaction might succeed if retried."))
}

/// A transaction that will not have been is in nobody's way any more: of two that are in each other's, one gives way.
fn let_go(watched: &mut BTreeMap<TxId, Watched>, tx: TxId) {
    for of in watched.values_mut() {
        of.read_before_by.remove(&tx);
        of.reads_before.remove(&tx);
    }
}

/// Forgets committed transactions that every open one sees.
fn forget(watched: &mut BTreeMap<TxId, Watched>) {
    loop {
        let oldest = watched.values().filter(|of| of.end == End::Open).map(|of| of.snapshot).min();
        watched.retain(|_, of| match of.end {
            End::Committed(lsn) => oldest.is_some_and(|oldest| oldest < lsn),
            End::Open | End::Committing | End::Refused => true,
        });
        if watched.len() <= MOST_REMEMBERED {
            return;
        }
        let open = watched.values_mut().filter(|of| of.end == End::Open);
        let Some(longest) = open.min_by_key(|of| of.snapshot) else { return };
        longest.end = End::Refused;
    }
}

#[cfg(test)]
mod tests;
