//! Columns that are computed from the others of their row: `GENERATED ALWAYS AS (..) STORED`.
//!
//! They are computed for as many rows at once as a statement brings: an expression may be dear, and cheaper by the dozen.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, ExprSchemable, Volatility};
use lodedb_sql::error::Result;
use lodedb_sql::parse::Places;
use lodedb_sql::{Datum, SqlError, SqlState};

use super::defaults::parse_expr;
use super::evaluate::RowExpressions;
use super::inserter::table_schema;
use super::{RowChecks, contains_query};
use crate::catalog::{Catalog, Column, ColumnId, Generated, ModelId, RefillState, Table};
use crate::commit::{Reader, Refused, Row};
use crate::db::settings::Environment;
use crate::query::arrow::{ColumnBuilder, ColumnReader, arrow_field};
use crate::query::filter::unqualified;
use crate::query::functions::{EMBEDDING, SESSIONS, model_named, volatility};
use crate::query::interrupt::giving_way;
use crate::query::plan::Planner;
use crate::query::plan::operators::{assign_datum, operand_type};
use crate::query::plan::parameters::Parameters;
use crate::query::statement_state::{Registry, carry, cast_environment, sql};

/// The most rows that are computed at once.
const BATCH_ROWS: usize = 8192;
/// So many are computed at once, unless a model is asked.
const FEW_ROWS: usize = 64;
/// How columns of a table are computed, made ready.
#[derive(Debug)]
pub(crate) struct Computation {
    table: Arc<Table>,
    /// The places of the columns that are computed, in the order of their expressions.
    computed: Vec<usize>,
    /// The places of the columns they are computed from.
    named: Vec<usize>,
    expressions: RowExpressions,
    /// Of those, the columns that are to take the places of others, and these.
    refilled: Vec<(usize, usize)>,
    /// Whether a model has a part in it.
    is_dear: bool,
}

/// `428C9` for a value given to a column that is computed.
pub(crate) fn check_insertable(catalog: &Catalog, table: &Table, column: &Column) -> Result<()> {
    check_given(catalog, table, column, || format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name))
}

/// The same of an UPDATE.
pub(crate) fn check_updatable(catalog: &Catalog, table: &Table, column: &Column) -> Result<()> {
    check_given(catalog, table, column, || format!("column \"{}\" can only be updated to DEFAULT", column.name))
}

fn check_given(catalog: &Catalog, table: &Table, column: &Column, message: impl Fn() -> String) -> Result<()> {
    if catalog.generated(table.id, column.id).is_none() {
        return Ok(());
    }
    Err(SqlError::new(SqlState::GeneratedAlways, message())
        .with_detail(format!("Column \"{}\" is a generated column.", column.name)))
}

/// The expression of a column, and the schema it is read in.
fn planned(planner: &Planner, table: &Arc<Table>, text: &str) -> Result<(Expr, DFSchema)> {
    let schema = table_schema(table, &planner.catalog)?;
    let mut ast = parse_expr(text)?;
    planner.preparation().expr(&mut ast)?;
    let expr = planner.expr(&ast, &schema).map_err(|error| planner.placed(error))?;
    Ok((expr, schema))
}

/// The expression as a value of its column.
fn assigned(planner: &Planner, expr: Expr, schema: &DFSchema, column: &Column) -> Result<Expr> {
    let from = sql(operand_type(&expr, schema))?.map(|ty| ty.ty);
    planner.typing().assign(expr, from, &column.name, column.ty.ty).map_err(super::defaults::of_default)
}

/// What the catalog keeps of an expression that is to compute a column; `computed` are all columns of the table that are.
pub(crate) fn define(
    registry: &Registry,
    reader: &Reader,
    environment: &Environment,
    table: &Arc<Table>,
    computed: &[ColumnId],
    (column, text): (ColumnId, String),
) -> Result<Generated> {
    let refused = |state, message: &str| Err(SqlError::new(state, message));
    if contains_query(&parse_expr(&text)?) {
        return refused(SqlState::FeatureNotSupported, "cannot use subquery in column generation expression");
    }
    // What is read otherwise in another session shows when it is planned in both.
    let [planner, elsewhere] = SESSIONS.map(|session| {
        let (zone, time) = (session.zone, session.now_us);
        let environment =
            Environment { zone, transaction_time_us: time, statement_time_us: time, ..environment.clone() };
        Planner::new(registry, reader, &Arc::new(environment), Parameters::new(&[], 0), Places::none())
    });
    let (expr, schema) = planned(&planner, table, &text)?;
    sql(expr.apply(|expr| carry(check_allowed(expr)).map(|()| TreeNodeRecursion::Continue)))?;
    let named = expr.column_refs().into_iter().filter_map(|column| table.position(&column.name));
    let mut uses: Vec<ColumnId> = named.map(|at| table.columns[at].id).collect();
    uses.sort_unstable();
    uses.dedup();
    if let Some(&other) = uses.iter().find(|id| computed.contains(id)) {
        let name = &table.columns[other as usize - 1].name;
        let message = format!("cannot use generated column \"{name}\" in column generation expression");
        return Err(SqlError::new(SqlState::InvalidObjectDefinition, message)
            .with_detail("A generated column cannot reference another generated column."));
    }
    // A function that is not there says so.
    sql(expr.to_field(&schema))?;
    let changes = sql(expr.exists(|expr| changes(expr, &schema)))?;
    let models = models_of(&planner.catalog, &expr)?;
    let stored = |planner: &Planner, expr| assigned(planner, expr, &schema, &table.columns[column as usize - 1]);
    if changes || stored(&planner, expr)? != stored(&elsewhere, planned(&elsewhere, table, &text)?.0)? {
        return refused(SqlState::InvalidObjectDefinition, "generation expression is not immutable");
    }
    Ok(Generated { table: table.id, column, expression: text, uses, models })
}

/// The models that an expression names, in the order of their ids.
fn models_of(catalog: &Catalog, expr: &Expr) -> Result<Vec<ModelId>> {
    let mut models = Vec::new();
    sql(expr.apply(|expr| {
        if let Expr::ScalarFunction(call) = expr
            && EMBEDDING.contains(&call.name())
        {
            let name = match call.args.first() {
                Some(Expr::Literal(name, _)) => name.try_as_str().flatten(),
                _ => None,
            };
            models.push(carry(match name {
                Some(name) => model_named(catalog, name).map(|model| model.id),
                None => Err(no_constant_model()),
            })?);
        }
        Ok(TreeNodeRecursion::Continue)
    }))?;
    models.sort_unstable();
    models.dedup();
    Ok(models)
}

/// Which model computed a column must be known without looking at its rows.
fn no_constant_model() -> SqlError {
    SqlError::new(SqlState::InvalidObjectDefinition, "the model in a column generation expression must be a constant")
        .with_hint("Write its name, as in embed('minilm', body).")
}

/// Whether an expression may give another value for the same row in another session or at another time.
fn changes(expr: &Expr, schema: &DFSchema) -> DataFusionResult<bool> {
    Ok(match expr {
        // They are only stable, for what they depend on besides their arguments is a model, and that does not change while a column
        // names it.
        Expr::ScalarFunction(call) if EMBEDDING.contains(&call.name()) => false,
        Expr::ScalarFunction(call) => volatility(call, schema)? != Volatility::Immutable,
        _ => false,
    })
}

/// Refuses what a row alone does not give.
fn check_allowed(expr: &Expr) -> Result<()> {
    let (state, what) = match expr {
        Expr::AggregateFunction(_) => (SqlState::GroupingError, "aggregate functions"),
        Expr::WindowFunction(_) => (SqlState::WindowingError, "window functions"),
        Expr::Unnest(_) => (SqlState::FeatureNotSupported, "set-returning functions"),
        _ => return Ok(()),
    };
    Err(SqlError::new(state, format!("{what} are not allowed in column generation expressions")))
}

impl Computation {
    /// Of the columns of a table that are computed, those that are wanted; `None` if there are none.
    pub(crate) fn new(
        planner: &Planner,
        table: &Arc<Table>,
        wanted: impl Fn(&Generated) -> bool,
    ) -> Result<Option<Self>> {
        let (mut computed, mut named, mut exprs, mut is_dear) = (Vec::new(), Vec::new(), Vec::new(), false);
        for generated in planner.catalog.generated_of(table.id).filter(|generated| wanted(generated)) {
            let at = generated.column as usize - 1;
            let (expr, schema) = planned(planner, table, &generated.expression)?;
            exprs.push(unqualified(assigned(planner, expr, &schema, &table.columns[at])?)?);
            computed.push(at);
            is_dear |= !generated.models.is_empty();
            named.extend(generated.uses.iter().map(|&id| id as usize - 1));
        }
        if computed.is_empty() {
            return Ok(None);
        }
        let refills = planner.catalog.refills().filter(|refill| refill.table == table.id);
        let refilled = refills.filter_map(|refill| match refill.state {
            RefillState::Filling(into) => Some((into as usize - 1, refill.column as usize - 1)),
            RefillState::Failed(_) => None,
        });
        let refilled = refilled.filter(|(from, _)| computed.contains(from)).collect();
        named.sort_unstable();
        named.dedup();
        let columns = named.iter().map(|&at| &table.columns[at]);
        let fields = columns.map(|column| (None, Arc::new(arrow_field(&column.name, column.ty, true)))).collect();
        let schema = sql(DFSchema::new_with_metadata(fields, Default::default()))?;
        let expressions = RowExpressions::new(&planner.state, &schema, exprs)?;
        Ok(Some(Self { table: table.clone(), computed, named, expressions, refilled, is_dear }))
    }

    /// Those that a change of columns asks for: what they are computed from changes, or they are set to DEFAULT.
    pub(crate) fn due(planner: &Planner, table: &Arc<Table>, changed: &[usize]) -> Result<Option<Self>> {
        Self::new(planner, table, |generated| is_due(generated, changed))
    }

    /// The same, each by itself.
    pub(crate) fn each_due(planner: &Planner, table: &Arc<Table>, changed: &[usize]) -> Result<Vec<Self>> {
        let due = planner.catalog.generated_of(table.id).filter(|generated| is_due(generated, changed));
        let each = due.map(|due| Self::new(planner, table, |generated| generated.column == due.column));
        each.filter_map(Result::transpose).collect()
    }

    /// Computes the columns of rows; those before the one refused have them.
    pub(crate) fn fill(&self, rows: &mut [Row], environment: &Environment) -> Result<(), Refused> {
        let is_long = self.is_dear || rows.len() > FEW_ROWS;
        let mut fill = || {
            rows.chunks_mut(BATCH_ROWS).enumerate().try_for_each(|(number, batch)| {
                self.fill_batch(batch, environment).map_err(|refused| behind(number * BATCH_ROWS, refused))
            })
        };
        if is_long { giving_way(fill) } else { fill() }
    }

    /// If a batch fails, its halves show which row it was.
    fn fill_batch(&self, rows: &mut [Row], environment: &Environment) -> Result<(), Refused> {
        match self.compute(rows, environment) {
            Err(error) if rows.len() > 1 && error.state() != SqlState::QueryCanceled => {
                let (first, second) = rows.split_at_mut(rows.len() / 2);
                self.fill_batch(first, environment)?;
                self.fill_batch(second, environment).map_err(|refused| behind(first.len(), refused))
            }
            computed => computed.map_err(|error| Refused { row: 0, error }),
        }
    }

    fn compute(&self, rows: &mut [Row], environment: &Environment) -> Result<()> {
        let fields = self.expressions.fields().iter();
        let columns = self.named.iter().zip(fields).map(|(&at, field)| {
            let mut builder = ColumnBuilder::new(field.data_type(), rows.len())?;
            rows.iter().try_for_each(|row| builder.push(&row[at]))?;
            builder.finish()
        });
        let batch = self.expressions.batch(columns.collect::<Result<_>>()?, rows.len())?;
        let environment = cast_environment(environment);
        let mut values = Vec::with_capacity(self.computed.len());
        for ((array, from), &at) in
            self.expressions.arrays(&batch)?.iter().zip(self.expressions.types()).zip(&self.computed)
        {
            let (reader, to) = (ColumnReader::new(array.as_ref(), from)?, self.table.columns[at].ty);
            let column = (0..rows.len()).map(|row| assign_datum(reader.datum(row)?, from.ty, to, &environment));
            values.push((at, column.collect::<Result<Vec<Datum>>>()?));
        }
        for (at, column) in values {
            for (row, value) in rows.iter_mut().zip(column) {
                Arc::make_mut(row)[at] = value;
            }
        }
        Ok(())
    }

    /// Checks a row as it will be, after [`complete_one`].
    pub(crate) fn check_one_refilled(&self, checks: &RowChecks, row: &Row) -> Result<()> {
        let checked = self.check_refilled(checks, std::slice::from_ref(row));
        checked.map_err(|refused| self.hinted(refused.error))
    }

    /// Checks rows as they will be once columns that are being computed anew are taken over.
    fn check_refilled(&self, checks: &RowChecks, rows: &[Row]) -> Result<(), Refused> {
        if self.refilled.is_empty() {
            return Ok(());
        }
        let as_it_will_be = |row: &Row| {
            let mut row = row.clone();
            let values = Arc::make_mut(&mut row);
            self.refilled.iter().for_each(|&(from, to)| values[to] = values[from].clone());
            row
        };
        let rows: Vec<Row> = rows.iter().map(as_it_will_be).collect();
        checks.check(&rows)
    }

    /// Why a row is refused that may be right by all that its table shows.
    fn hinted(&self, error: SqlError) -> SqlError {
        if self.refilled.is_empty() || error.hint().is_some() {
            return error;
        }
        error.with_hint("Columns are being computed by other expressions, and new rows by both: see lodedb_progress.")
    }

    /// Takes the columns from a row that has them, if they are computed from the same there; whether they are.
    pub(crate) fn take_over(&self, from: &Row, row: &mut Row) -> bool {
        let same = self.named.iter().all(|&at| is_identical(&from[at], &row[at]));
        if same {
            let values = Arc::make_mut(row);
            self.computed.iter().for_each(|&at| values[at] = from[at].clone());
        }
        same
    }
}

/// Whether a column is to be computed again when columns at these places are assigned to.
pub(crate) fn is_due(generated: &Generated, changed: &[usize]) -> bool {
    changed.iter().any(|&at| generated.column as usize == at + 1 || generated.uses.contains(&(at as ColumnId + 1)))
}

/// Completes rows with what is computed, and checks them; those before the one refused are complete and pass.
pub(crate) fn complete(
    computation: Option<&Computation>,
    checks: &RowChecks,
    rows: &mut [Row],
    environment: &Environment,
) -> Result<(), Refused> {
    let Some(computation) = computation else { return checks.check(rows) };
    let completed = complete_by(computation, checks, rows, environment);
    completed.map_err(|Refused { row, error }| Refused { row, error: computation.hinted(error) })
}

fn complete_by(
    computation: &Computation,
    checks: &RowChecks,
    rows: &mut [Row],
    environment: &Environment,
) -> Result<(), Refused> {
    let Err(Refused { row, error }) = computation.fill(rows, environment) else {
        checks.check(rows)?;
        return computation.check_refilled(checks, rows);
    };
    checks.check(&rows[..row])?;
    computation.check_refilled(checks, &rows[..row])?;
    Err(Refused { row, error: blamed(checks, &rows[row], error) })
}

/// Completes one row with what is computed, and does not check it.
pub(crate) fn complete_one(
    computation: &Computation,
    checks: &RowChecks,
    row: &mut Row,
    environment: &Environment,
) -> Result<()> {
    let filled = computation.fill(std::slice::from_mut(row), environment);
    filled.map_err(|refused| computation.hinted(blamed(checks, row, refused.error)))
}

/// What is wrong with a row that cannot be computed: with a value that its own column does not take, that.
fn blamed(checks: &RowChecks, row: &Row, error: SqlError) -> SqlError {
    checks.misshapen(row).unwrap_or(error)
}

/// Computes one column of rows that have the others, and checks them.
pub(crate) fn compute(
    registry: &Registry,
    reader: &Reader,
    environment: &Arc<Environment>,
    table: &Arc<Table>,
    column: ColumnId,
    rows: &mut [Row],
) -> Result<(), Refused> {
    let planner = Planner::new(registry, reader, environment, Parameters::new(&[], 0), Places::none());
    let unready = |error| Refused { row: 0, error };
    let computation = Computation::new(&planner, table, |generated| generated.column == column).map_err(unready)?;
    let Some(computation) = computation else { return Ok(()) };
    complete_by(&computation, &RowChecks::new(&planner, table).map_err(unready)?, rows, environment)
}

/// What was refused of rows that so many others come before.
fn behind(rows: usize, refused: Refused) -> Refused {
    Refused { row: rows + refused.row, ..refused }
}

/// Whether values are the same to any expression. Numbers that are equal may be written otherwise.
fn is_identical(a: &Datum, b: &Datum) -> bool {
    use Datum::{Bool, Bytea, Date, Int2, Int4, Int8, Jsonb, Null, Text, Time, Timestamp, Timestamptz, Uuid};
    let exact = matches!(
        a,
        Null | Bool(_)
            | Int2(_)
            | Int4(_)
            | Int8(_)
            | Text(_)
            | Bytea(_)
            | Date(_)
            | Time(_)
            | Timestamp(_)
            | Timestamptz(_)
            | Uuid(_)
            | Jsonb(_)
    );
    exact && a == b
}
