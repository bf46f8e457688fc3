//! What was asked of a database and what it answered, kept outside of its disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::snapshot::backup::Backup;

/// Components of a vector.
pub(super) const DIMS: usize = 8;

/// A row without its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) grp: i32,
    pub(super) note: Option<String>,
    pub(super) v: Option<Vec<f32>>,
}

/// What a table holds, and which indexes it has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<i64, Arc<Item>>,
    pub(super) indexes: BTreeSet<String>,
}

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) tables: BTreeMap<String, Arc<Table>>,
}

impl Contents {
    /// A table, to be changed.
    pub(super) fn table(&mut self, name: &str) -> &mut Table {
        Arc::make_mut(self.tables.entry(name.to_owned()).or_default())
    }

    /// The rows of a table.
    pub(super) fn rows(&self, name: &str) -> impl Iterator<Item = (&i64, &Arc<Item>)> {
        self.tables.get(name).into_iter().flat_map(|table| &table.rows)
    }

    /// The first difference to another.
    pub(super) fn difference(&self, found: &Contents) -> Option<String> {
        if self.tables.keys().ne(found.tables.keys()) {
            return Some(format!("tables {:?} are there, not {:?}", found.tables.keys(), self.tables.keys()));
        }
        self.tables.iter().zip(found.tables.values()).find_map(|((name, wanted), found)| {
            if wanted.indexes != found.indexes {
                return Some(format!("{name} has the indexes {:?}, not {:?}", found.indexes, wanted.indexes));
            }
            let ids: BTreeSet<&i64> = wanted.rows.keys().chain(found.rows.keys()).collect();
            let differing = ids.into_iter().find(|id| wanted.rows.get(id) != found.rows.get(id))?;
            let (wanted, found) = (wanted.rows.get(differing), found.rows.get(differing));
            Some(format!("row {differing} of {name} is {found:?}, not {wanted:?}"))
        })
    }
}

/// One transaction, in the order they were asked for.
#[derive(Clone, Debug)]
struct Entry {
    /// The calls that the disk had seen when it was asked for.
    asked: u64,
    /// And when it was acknowledged.
    acknowledged: Option<u64>,
    /// What the database holds after it.
    contents: Arc<Contents>,
}

/// A backup, or the lack of one, at a time.
#[derive(Clone, Debug)]
pub(super) struct BackedUp {
    /// When it was there for certain.
    pub(super) since: u64,
    /// When letting go of it began.
    pub(super) until: u64,
    pub(super) backup: Backup,
    pub(super) contents: Arc<Contents>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    /// The backups that were taken.
    pub(super) backups: Vec<BackedUp>,
    /// What the restored databases hold, by their folder.
    pub(super) restored: Vec<(String, u64, Arc<Contents>)>,
}

impl Ledger {
    /// Of a database that holds this much, or, where its last transactions are in doubt, one of these.
    pub(super) fn starting_with(candidates: Vec<Arc<Contents>>) -> Self {
        let entry =
            |(at, contents): (usize, Arc<Contents>)| Entry { asked: 0, acknowledged: (at == 0).then_some(0), contents };
        let entries = candidates.into_iter().enumerate().map(entry).collect();
        Self { entries, backups: Vec::new(), restored: Vec::new() }
    }

    /// What the database holds now, with everything that was asked for.
    pub(super) fn newest(&self) -> Arc<Contents> {
        self.entries.last().map(|entry| entry.contents.clone()).unwrap_or_default()
    }

    /// The same for a machine that begins where this one ends: its disk has seen no calls.
    pub(super) fn begun_again(&self) -> Self {
        let mut ledger = Self::starting_with(vec![self.newest()]);
        let held = self.backups.iter().filter(|taken| taken.until == u64::MAX);
        ledger.backups = held.map(|taken| BackedUp { since: 0, ..taken.clone() }).collect();
        ledger.restored =
            self.restored.iter().map(|(folder, _, contents)| (folder.clone(), 0, contents.clone())).collect();
        ledger
    }

    /// How many transactions were asked for.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A transaction is asked for.
    pub(super) fn ask(&mut self, calls: u64, contents: Contents) {
        self.entries.push(Entry { asked: calls, acknowledged: None, contents: Arc::new(contents) });
    }

    /// All that were asked for are acknowledged.
    pub(super) fn acknowledge(&mut self, calls: u64) {
        for entry in self.entries.iter_mut().rev().take_while(|entry| entry.acknowledged.is_none()) {
            entry.acknowledged = Some(calls);
        }
    }

    /// One of them, found to be there, is there for good.
    pub(super) fn acknowledge_one(&mut self, nth: usize, calls: u64) {
        if let Some(entry) = self.entries.get_mut(nth) {
            entry.acknowledged.get_or_insert(calls);
        }
    }

    /// The last one was refused: it never happened.
    pub(super) fn take_back(&mut self, len: usize) {
        self.entries.truncate(len);
    }

    /// What the database may hold after a loss of power after so many calls: from the last transaction acknowledged to the last asked for.
    pub(super) fn candidates(&self, calls: u64) -> Vec<Arc<Contents>> {
        let is_acknowledged = |entry: &Entry| entry.acknowledged.is_some_and(|at| at <= calls);
        let first = self.entries.iter().rposition(is_acknowledged).unwrap_or(0);
        let asked = self.entries[first..].iter().take_while(|entry| entry.asked <= calls);
        asked.map(|entry| entry.contents.clone()).collect()
    }
}
