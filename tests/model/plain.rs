//! The model: a table as a map, and what a statement would do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lodedb_sql::text::to_text;
use lodedb_sql::{Datum, ScalarType};

use crate::harness::vectors::text;

/// Components of a vector.
pub(crate) const DIMS: usize = 8;

/// A row without its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// A small number, so that filters and indexes find many.
    pub(crate) grp: i32,
    /// Any text, or NULL.
    pub(crate) note: Option<String>,
    /// Unique, or NULL; odd where the id is odd.
    pub(crate) code: Option<i32>,
    /// A vector, or NULL.
    pub(crate) v: Option<Vec<f32>>,
}

/// A table by its primary key.
pub(crate) type Table = BTreeMap<i64, Arc<Row>>;

/// How a statement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// This many rows.
    Rows(u64),
    /// An error with this SQLSTATE.
    Error(&'static str),
}

/// What ON CONFLICT (id) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Fails.
    Error,
    /// Leaves the row that is there.
    Nothing,
    /// Takes the new group and vector.
    Update,
}

/// What an open transaction did.
#[derive(Clone, Debug, Default)]
struct Open {
    /// Whether rows committed by others are hidden.
    truncated: bool,
    changes: BTreeMap<i64, Option<Arc<Row>>>,
    failed: bool,
    /// Rows written, as a measure of the locks it holds.
    written: usize,
}

/// The database as it should be, and the two sessions that write. While one is in a transaction each keeps to the ids
/// of its own parity, so that neither waits for the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// What is committed.
    pub(crate) committed: Table,
    open: [Option<Open>; 2],
}

impl Model {
    /// What a session sees: what is committed, under its own changes.
    pub(crate) fn seen(&self, who: usize) -> Table {
        let Some(open) = &self.open[who] else { return self.committed.clone() };
        let mut table = if open.truncated { Table::new() } else { self.committed.clone() };
        for (id, row) in &open.changes {
            match row {
                Some(row) => table.insert(*id, row.clone()),
                None => table.remove(id),
            };
        }
        table
    }

    /// Whether a session is in a transaction.
    pub(crate) fn is_open(&self, who: usize) -> bool {
        self.open[who].is_some()
    }

    /// Whether any is.
    pub(crate) fn any_open(&self) -> bool {
        self.open.iter().any(Option::is_some)
    }

    /// Whether a session's transaction has failed and waits for its end.
    pub(crate) fn has_failed(&self, who: usize) -> bool {
        self.open[who].as_ref().is_some_and(|open| open.failed)
    }

    /// How many rows a session's transaction has written.
    pub(crate) fn written(&self, who: usize) -> usize {
        self.open[who].as_ref().map_or(0, |open| open.written)
    }

    /// BEGIN.
    pub(crate) fn begin(&mut self, who: usize) {
        self.open[who] = Some(Open::default());
    }

    /// Runs a change: on success it is kept, on an error nothing of it.
    pub(crate) fn change(&mut self, who: usize, change: impl FnOnce(&mut Table) -> End) -> End {
        if self.has_failed(who) {
            return End::Error("25P02");
        }
        let before = self.seen(who);
        let mut after = before.clone();
        let end = change(&mut after);
        match (&mut self.open[who], end) {
            (None, End::Rows(_)) => self.committed = after,
            (Some(open), End::Rows(_)) => {
                for id in before.keys().chain(after.keys()) {
                    if before.get(id) != after.get(id) {
                        open.changes.insert(*id, after.get(id).cloned());
                        open.written += 1;
                    }
                }
            }
            (Some(open), End::Error(_)) => open.failed = true,
            (None, End::Error(_)) => {}
        }
        end
    }

    /// TRUNCATE.
    pub(crate) fn truncate(&mut self, who: usize) -> End {
        let end = self.change(who, |table| {
            table.clear();
            End::Rows(0)
        });
        if let (Some(open), End::Rows(_)) = (&mut self.open[who], end) {
            *open = Open { truncated: true, ..Open::default() };
        }
        end
    }

    /// COMMIT; a failed transaction is rolled back by it.
    pub(crate) fn commit(&mut self, who: usize) {
        let seen = self.seen(who);
        if self.open[who].take().is_some_and(|open| !open.failed) {
            self.committed = seen;
        }
    }

    /// ROLLBACK.
    pub(crate) fn rollback(&mut self, who: usize) {
        self.open[who] = None;
    }
}

/// INSERT of several rows.
pub(crate) fn insert(table: &mut Table, rows: &[(i64, Row)], conflict: Conflict) -> End {
    let mut written = 0;
    let mut touched = BTreeSet::new();
    for (id, row) in rows {
        if let Some(old) = table.get_mut(id) {
            match conflict {
                Conflict::Error => return End::Error("23505"),
                Conflict::Nothing => continue,
                Conflict::Update if touched.contains(id) => return End::Error("21000"),
                Conflict::Update => {
                    let old = Arc::make_mut(old);
                    old.grp = row.grp;
                    old.v.clone_from(&row.v);
                }
            }
        } else {
            if row.code.is_some() && table.values().any(|other| other.code == row.code) {
                return End::Error("23505");
            }
            table.insert(*id, Arc::new(row.clone()));
        }
        touched.insert(*id);
        written += 1;
    }
    End::Rows(written)
}

/// UPDATE of the rows that pass.
pub(crate) fn update(table: &mut Table, keep: impl Fn(i64, &Row) -> bool, set: impl Fn(&mut Row)) -> End {
    let mut changed = 0;
    for (id, row) in table.iter_mut() {
        if keep(*id, row) {
            set(Arc::make_mut(row));
            changed += 1;
        }
    }
    let codes: Vec<i32> = table.values().filter_map(|row| row.code).collect();
    if codes.iter().collect::<BTreeSet<_>>().len() < codes.len() {
        return End::Error("23505");
    }
    End::Rows(changed)
}

/// UPDATE of a primary key.
pub(crate) fn renumber(table: &mut Table, from: i64, to: i64) -> End {
    let Some(row) = table.remove(&from) else { return End::Rows(0) };
    if table.insert(to, row).is_some() { End::Error("23505") } else { End::Rows(1) }
}

/// DELETE of the rows that pass.
pub(crate) fn delete(table: &mut Table, keep: impl Fn(i64, &Row) -> bool) -> End {
    let before = table.len();
    table.retain(|id, row| !keep(*id, row));
    End::Rows((before - table.len()) as u64)
}

/// The row as a query shows it.
pub(crate) fn shown(id: i64, row: &Row) -> Vec<String> {
    let null = || "NULL".to_owned();
    vec![
        id.to_string(),
        row.grp.to_string(),
        row.note.clone().unwrap_or_else(null),
        row.code.map_or_else(null, |code| code.to_string()),
        // As it is printed is for others to test.
        row.v.as_ref().map_or_else(null, |vector| {
            to_text(&Datum::Vector(vector.as_slice().into()), ScalarType::Vector.into(), chrono_tz::Tz::UTC)
        }),
    ]
}

/// The row as VALUES takes it.
pub(crate) fn literal(id: i64, row: &Row) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let null = || "NULL".to_owned();
    let note = row.note.as_deref().map_or_else(null, quoted);
    let code = row.code.map_or_else(null, |code| code.to_string());
    let vector = row.v.as_deref().map_or_else(null, |vector| quoted(&text(vector)));
    format!("({id}, {}, {note}, {code}, {vector})", row.grp)
}

/// The row as a line of COPY.
pub(crate) fn line(id: i64, row: &Row) -> String {
    let null = || "\\N".to_owned();
    let code = row.code.map_or_else(null, |code| code.to_string());
    let vector = row.v.as_deref().map_or_else(null, text);
    format!("{id}\t{}\t{}\t{code}\t{vector}\n", row.grp, row.note.clone().unwrap_or_else(null))
}
