//! The model: a table as a map, and what a statement would do to it.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Unique, or NULL.
    pub(crate) code: Option<i32>,
    /// A vector, or NULL.
    pub(crate) v: Option<Vec<f32>>,
}

/// A table.
pub(crate) type Table = BTreeMap<i64, Row>;

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

/// The database as it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// What is committed.
    pub(crate) committed: Table,
    /// What the open transaction sees.
    pub(crate) open: Option<Table>,
    /// Whether that transaction failed.
    pub(crate) failed: bool,
}

impl Model {
    /// What the session sees.
    pub(crate) fn table(&self) -> &Table {
        self.open.as_ref().unwrap_or(&self.committed)
    }

    /// Runs a change: on success it is kept, on an error nothing of it.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Table) -> End) -> End {
        if self.failed {
            return End::Error("25P02");
        }
        let mut next = self.table().clone();
        let end = change(&mut next);
        match end {
            End::Rows(_) if self.open.is_some() => self.open = Some(next),
            End::Rows(_) => self.committed = next,
            End::Error(_) => self.failed = self.open.is_some(),
        }
        end
    }

    /// COMMIT; a failed transaction is rolled back by it.
    pub(crate) fn commit(&mut self) {
        if let Some(table) = self.open.take()
            && !self.failed
        {
            self.committed = table;
        }
        self.failed = false;
    }

    /// ROLLBACK.
    pub(crate) fn rollback(&mut self) {
        self.open = None;
        self.failed = false;
    }
}

/// INSERT of several rows.
pub(crate) fn insert(table: &mut Table, rows: &[(i64, Row)], conflict: Conflict) -> End {
    let mut written = 0;
    let mut touched = BTreeSet::new();
    for (id, row) in rows {
        if table.contains_key(id) {
            match conflict {
                Conflict::Error => return End::Error("23505"),
                Conflict::Nothing => continue,
                Conflict::Update if touched.contains(id) => return End::Error("21000"),
                Conflict::Update => {
                    let Some(old) = table.get_mut(id) else { continue };
                    old.grp = row.grp;
                    old.v.clone_from(&row.v);
                }
            }
        } else {
            if taken(table, *id, row.code) {
                return End::Error("23505");
            }
            table.insert(*id, row.clone());
        }
        touched.insert(*id);
        written += 1;
    }
    End::Rows(written)
}

/// Whether another row has the code.
pub(crate) fn taken(table: &Table, id: i64, code: Option<i32>) -> bool {
    code.is_some() && table.iter().any(|(of, row)| *of != id && row.code == code)
}

/// UPDATE of the rows that pass, checked when all are changed.
pub(crate) fn update(table: &mut Table, keep: impl Fn(i64, &Row) -> bool, set: impl Fn(&mut Row)) -> End {
    let mut changed = 0;
    for (id, row) in table.iter_mut() {
        if keep(*id, row) {
            set(row);
            changed += 1;
        }
    }
    let codes: Vec<i32> = table.values().filter_map(|row| row.code).collect();
    if codes.iter().collect::<BTreeSet<_>>().len() < codes.len() {
        return End::Error("23505");
    }
    End::Rows(changed)
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
        row.v.as_deref().map_or_else(null, text),
    ]
}

/// The row as VALUES takes it.
pub(crate) fn literal(id: i64, row: &Row) -> String {
    let note = row.note.as_deref().map_or_else(|| "NULL".to_owned(), |note| format!("'{}'", note.replace('\'', "''")));
    let code = row.code.map_or_else(|| "NULL".to_owned(), |code| code.to_string());
    let vector = row.v.as_deref().map_or_else(|| "NULL".to_owned(), |vector| format!("'{}'", text(vector)));
    format!("({id}, {}, {note}, {code}, {vector})", row.grp)
}
