//! ON CONFLICT: what happens to a row whose key another one has.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
use lodedb_sql::error::Result;
use lodedb_sql::statement::{ConflictAction, ConflictTarget, OnConflict, is_default};
use lodedb_sql::{Datum, PgType, SqlError, SqlState};

use super::defaults::DefaultValue;
use super::evaluate::RowExpressions;
use super::generated::{self, Computation};
use super::returning::{table_columns, table_fields};
use super::update::assigned_columns;
use super::{RowChecks, Writing, bind_tree, param_values};
use crate::catalog::{IndexId, Table};
use crate::commit::transaction::Inserted;
use crate::commit::{Row, RowId, Transaction};
use crate::query::plan::Planner;
use crate::query::plan::operators::{assign_datum, operand_type};
use crate::query::statement_state::{carry, cast_environment, sql};

/// An ON CONFLICT planned.
#[derive(Debug)]
pub(crate) struct ConflictPlan {
    /// The indexes whose conflicts it is about; all where there is none.
    arbiters: Option<Vec<IndexId>>,
    update: Option<ConflictUpdate>,
}

#[derive(Debug)]
struct ConflictUpdate {
    /// The row there is under the table's name, then the row refused under `excluded`.
    schema: DFSchema,
    /// The places assigned to; where there is no expression, the default.
    assignments: Vec<(usize, Option<Expr>)>,
    condition: Option<Expr>,
}

/// What became of a row.
pub(crate) enum Settled {
    /// It is in, or the row it met was changed to this.
    Row(Row),
    /// Nothing happened.
    Nothing,
}

/// A run of an ON CONFLICT DO UPDATE: its expressions, made ready.
pub(crate) struct ConflictRun {
    expressions: RowExpressions,
    places: Vec<(usize, Option<DefaultValue>)>,
    has_condition: bool,
    /// One for each column that is to be computed again.
    computations: Vec<Computation>,
    checks: Arc<RowChecks>,
    touched: HashSet<RowId>,
}

pub(crate) fn plan(
    planner: &Planner,
    table: &Arc<Table>,
    alias: &str,
    on_conflict: &OnConflict,
) -> Result<ConflictPlan> {
    let arbiters = match &on_conflict.target {
        None => None,
        Some(ConflictTarget::Constraint(name)) => {
            let index = planner.catalog.indexes_of(table.id).find(|index| index.name == *name && index.is_unique());
            let index = index.ok_or_else(|| {
                SqlError::new(
                    SqlState::UndefinedObject,
                    format!("constraint \"{name}\" for table \"{}\" does not exist", table.name),
                )
            })?;
            Some(vec![index.id])
        }
        Some(ConflictTarget::Columns(names)) => {
            let mut wanted = names
                .iter()
                .map(|name| {
                    table.position(name).ok_or_else(|| {
                        SqlError::new(SqlState::UndefinedColumn, format!("column \"{name}\" does not exist"))
                    })
                })
                .collect::<Result<Vec<usize>>>()?;
            wanted.sort_unstable();
            wanted.dedup();
            let fitting: Vec<IndexId> = planner
                .catalog
                .indexes_of(table.id)
                .filter(|index| index.is_unique())
                .filter(|index| {
                    let mut columns: Vec<usize> = index.key_positions().into_iter().flatten().collect();
                    columns.sort_unstable();
                    columns == wanted
                })
                .map(|index| index.id)
                .collect();
            if fitting.is_empty() {
                return Err(SqlError::new(
                    SqlState::InvalidColumnReference,
                    "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                ));
            }
            Some(fitting)
        }
    };
    let update = match &on_conflict.action {
        ConflictAction::Nothing => None,
        ConflictAction::Update { assignments, condition } => {
            if arbiters.is_none() {
                return Err(SqlError::new(
                    SqlState::SyntaxError,
                    "ON CONFLICT DO UPDATE requires inference specification or constraint name",
                )
                .with_hint("For example, ON CONFLICT (column_name)."));
            }
            Some(plan_update(planner, table, alias, assignments, condition.as_ref())?)
        }
    };
    Ok(ConflictPlan { arbiters, update })
}

fn plan_update(
    planner: &Planner,
    table: &Arc<Table>,
    alias: &str,
    assignments: &[(String, ast::Expr)],
    condition: Option<&ast::Expr>,
) -> Result<ConflictUpdate> {
    let positions = assigned_columns(planner, table, assignments)?;
    let mut fields = table_fields(table, alias);
    fields.extend(table_fields(table, "excluded"));
    let schema = sql(DFSchema::new_with_metadata(fields, Default::default()))?;
    let mut values = Vec::with_capacity(assignments.len());
    for (_, value) in assignments {
        let mut value = value.clone();
        if !is_default(&value) {
            planner.preparation().expr(&mut value)?;
        }
        values.push(value);
    }
    let mut condition = condition.cloned();
    if let Some(condition) = &mut condition {
        planner.preparation().expr(condition)?;
    }
    let (assignments, condition) = planner.settle(|planner| {
        let assignments = positions
            .iter()
            .zip(&values)
            .map(|(&at, value)| {
                if is_default(value) {
                    return Ok((at, None));
                }
                let expr = planner.expr(&in_target(value, table, alias), &schema)?;
                let column = &table.columns[at];
                let from = operand_type(&expr, &schema)?.map(|ty| ty.ty);
                carry(planner.typing().assign(expr, from, &column.name, column.ty.ty)).map(|expr| (at, Some(expr)))
            })
            .collect::<datafusion::error::Result<Vec<_>>>()?;
        let condition = condition
            .as_ref()
            .map(|condition| planner.expr(&in_target(condition, table, alias), &schema))
            .transpose()?;
        Ok((assignments, condition))
    })?;
    Ok(ConflictUpdate { schema, assignments, condition })
}

/// A column without a qualifier is the table's, not that of `excluded`.
fn in_target(expr: &ast::Expr, table: &Table, alias: &str) -> ast::Expr {
    use datafusion::sql::sqlparser::ast::{Ident, VisitMut, VisitorMut};
    use std::ops::ControlFlow;
    struct Qualifier<'a> {
        table: &'a Table,
        alias: &'a str,
    }
    impl VisitorMut for Qualifier<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::Identifier(name) = expr {
                let folded =
                    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() };
                if self.table.position(&folded).is_some() {
                    *expr = ast::Expr::CompoundIdentifier(vec![Ident::with_quote('"', self.alias), name.clone()]);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = expr.clone();
    // Nothing in it breaks off.
    let _ = expr.visit(&mut Qualifier { table, alias });
    expr
}

impl ConflictPlan {
    /// Makes the expressions of a DO UPDATE ready; `None` for DO NOTHING.
    pub(crate) fn start(
        &self,
        writing: &Writing<'_>,
        table: &Arc<Table>,
        planner: &Planner,
        checks: &Arc<RowChecks>,
    ) -> Result<Option<ConflictRun>> {
        let Some(update) = &self.update else { return Ok(None) };
        let values = param_values(&writing.planned.parameters, writing.params)?;
        let mut exprs = Vec::new();
        let mut places = Vec::with_capacity(update.assignments.len());
        let assigned: Vec<usize> = update.assignments.iter().map(|(at, _)| *at).collect();
        for (at, expr) in &update.assignments {
            match expr {
                Some(expr) => {
                    exprs.push(bind_tree(expr.clone(), &values)?);
                    places.push((*at, None));
                }
                None => places.push((*at, Some(DefaultValue::of(planner, table, *at)?))),
            }
        }
        if let Some(condition) = &update.condition {
            exprs.push(bind_tree(condition.clone(), &values)?);
        }
        Ok(Some(ConflictRun {
            expressions: RowExpressions::new(&planner.state, &update.schema, exprs)?,
            places,
            has_condition: update.condition.is_some(),
            computations: Computation::each_due(planner, table, &assigned)?,
            checks: checks.clone(),
            touched: HashSet::new(),
        }))
    }

    /// Inserts a row, or does what is to be done about the one that has its key.
    pub(crate) async fn settle(
        &self,
        writing: &Writing<'_>,
        run: Option<&mut ConflictRun>,
        table: &Arc<Table>,
        row: Row,
        tx: &mut Transaction,
    ) -> Result<Settled> {
        let mut run = run;
        loop {
            writing.cancel.check()?;
            let (index, other) = match tx.insert(table, row.clone()).await? {
                Inserted::Row(id) => {
                    if let Some(run) = run {
                        run.touched.insert(id);
                    }
                    return Ok(Settled::Row(row));
                }
                Inserted::Conflict { index, row } => (index, row),
            };
            if self.arbiters.as_ref().is_some_and(|arbiters| !arbiters.contains(&index)) {
                return Err(tx.unique_violation(table, index, &row));
            }
            let Some(run) = run.as_deref_mut() else {
                tx.check_seen(table, other)?;
                return Ok(Settled::Nothing);
            };
            if run.touched.contains(&other) {
                return Err(SqlError::new(
                    SqlState::CardinalityViolation,
                    "ON CONFLICT DO UPDATE command cannot affect row a second time",
                )
                .with_hint(
                    "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
                ));
            }
            // Version 0: whatever it is by now is what is changed.
            tx.lock_rows(table, &[(other, 0)]).await?;
            tx.check_seen(table, other)?;
            // Deleted before it could be locked: its key may be free now.
            let Some(old) = tx.latest_row(table, other).await? else { continue };
            let Some(new) = run.changed(writing, table, &old.values, &row)? else { return Ok(Settled::Nothing) };
            let new = run.complete(writing, new, &row)?;
            tx.update(table, other, &old.values, new.clone()).await?;
            run.touched.insert(other);
            return Ok(Settled::Row(new));
        }
    }
}

impl ConflictRun {
    /// The new form of a row; `None` if the WHERE does not hold.
    fn changed(&self, writing: &Writing<'_>, table: &Table, old: &Row, excluded: &Row) -> Result<Option<Row>> {
        let mut columns = table_columns(table, std::slice::from_ref(old))?;
        columns.extend(table_columns(table, std::slice::from_ref(excluded))?);
        let batch = self.expressions.batch(columns, 1)?;
        let mut values = self.expressions.values(&batch)?.into_iter();
        let environment = cast_environment(&writing.environment);
        let mut new: Vec<Datum> = old.to_vec();
        for (at, default) in &self.places {
            new[*at] = match default {
                Some(default) => default.value(table, &writing.environment)?,
                None => {
                    let (datum, from) = values.next().unwrap_or((
                        Datum::Null,
                        lodedb_sql::TypeWithModifier::plain(PgType::Scalar(lodedb_sql::ScalarType::Text)),
                    ));
                    assign_datum(datum, from.ty, table.columns[*at].ty, &environment)?
                }
            };
        }
        if self.has_condition && !matches!(values.next(), Some((Datum::Bool(true), _))) {
            return Ok(None);
        }
        Ok(Some(new.into()))
    }

    /// The new form of a row with what is computed from it, checked. What was computed for the row refused, with those it came
    /// with, is mostly what is wanted here too.
    fn complete(&self, writing: &Writing<'_>, mut new: Row, excluded: &Row) -> Result<Row> {
        for computation in &self.computations {
            if !computation.take_over(excluded, &mut new) {
                generated::complete_one(computation, &self.checks, &mut new, &writing.environment)?;
            }
        }
        self.checks.check(std::slice::from_ref(&new))?;
        self.computations.iter().try_for_each(|computation| computation.check_one_refilled(&self.checks, &new))?;
        Ok(new)
    }
}
