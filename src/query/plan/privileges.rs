//! What a statement needs to be allowed to do to which table, as PostgreSQL has it, with whole tables for columns.
//!
//! What is read needs SELECT, wherever in the statement it is read. The target of a change needs the change's own privilege, and
//! SELECT as well as soon as anything but constants is said about it: a condition, other tables, a value that is worked out,
//! RETURNING.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, Visit, Visitor};
use lodedb_sql::statement::{ConflictAction, Privilege, Statement, is_default};

use super::Body;
use super::context::Found;
use crate::catalog::Table;
use crate::catalog::rights::Privileges;
use crate::query::planned_statement;

const SELECT: Privileges = Privileges::of(&[Privilege::Select]);
const INSERT: Privileges = Privileges::of(&[Privilege::Insert]);
const UPDATE: Privileges = Privileges::of(&[Privilege::Update]);
const DELETE: Privileges = Privileges::of(&[Privilege::Delete]);

/// What a plan over these tables needs.
pub(super) fn needed(found: &[Found], body: &Body, statement: &Statement) -> Vec<(Arc<Table>, Privileges)> {
    let (target, of_target) = match planned_statement(statement) {
        Statement::Insert(insert) => {
            let mut needs = INSERT;
            if let Some(conflict) = &insert.on_conflict {
                if let ConflictAction::Update { .. } = conflict.action {
                    needs = needs.or(UPDATE).or(SELECT);
                }
                if conflict.target.is_some() {
                    needs = needs.or(SELECT);
                }
            }
            (Some(&insert.table.name), with_select(needs, !insert.returning.is_empty()))
        }
        Statement::Update(update) => {
            let reads = update.with.is_some()
                || !update.from.is_empty()
                || update.condition.is_some()
                || !update.returning.is_empty()
                || update.assignments.iter().any(|(_, value)| !is_default(value) && names_something(value));
            (Some(&update.table.name), with_select(UPDATE, reads))
        }
        Statement::Delete(delete) => {
            let reads = delete.with.is_some()
                || !delete.using.is_empty()
                || delete.condition.is_some()
                || !delete.returning.is_empty();
            (Some(&delete.table.name), with_select(DELETE, reads))
        }
        _ => (None, Privileges::NONE),
    };
    // A query that locks rows names its tables as targets too: it reads all of them.
    let is_target = |table: &Table| target == Some(&table.name);
    let mut needs: Vec<(Arc<Table>, Privileges)> = Vec::new();
    for Found { table, is_read } in found {
        let read = *is_read || !is_target(table);
        let own = if is_target(table) { of_target } else { Privileges::NONE };
        needs.push((table.clone(), with_select(own, read)));
    }
    match body {
        Body::Insert(plan) if !found.iter().any(|found| found.table.id == plan.table.id) => {
            needs.push((plan.table.clone(), of_target));
        }
        Body::Lock(plan) => needs.extend(plan.locked_tables().map(|table| (table.clone(), SELECT.or(UPDATE)))),
        _ => {}
    }
    needs
}

fn with_select(privileges: Privileges, reads: bool) -> Privileges {
    if reads { privileges.or(SELECT) } else { privileges }
}

/// Whether a value is more than constants, parameters and functions of them: it names a column, or asks a query.
fn names_something(value: &Expr) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
        fn pre_visit_relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    value.visit(&mut Finder).is_break()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(sql: &str) -> bool {
        let statement = lodedb_sql::parse::parse(sql).expect("parsed").remove(0).statement;
        let Statement::Update(update) = statement else { panic!("no UPDATE") };
        update.assignments.iter().any(|(_, value)| names_something(value))
    }

    #[test]
    fn a_value_reads_where_it_names_a_column_or_asks_a_query() {
        for constant in ["1", "'a'", "$1", "NULL", "-1.5", "'2024-01-01'::date", "now()", "ARRAY[1, 2]"] {
            assert!(!assigned(&format!("UPDATE t SET a = {constant}")), "{constant}");
        }
        for reading in ["a", "t.a", "a + 1", "lower(b)", "(SELECT 1)", "CASE WHEN a > 1 THEN 2 END", "ARRAY[a]"] {
            assert!(assigned(&format!("UPDATE t SET a = {reading}")), "{reading}");
        }
    }
}
