//! Rows completed with defaults and checked against NOT NULL, CHECK and the dimensions of vectors.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::{Expr, Volatility};
use lodedb_sql::error::Result;
use lodedb_sql::parse::Places;
use lodedb_sql::vector::check_expected_dimensions;
use lodedb_sql::{Datum, PgType, SqlError, SqlState};

use super::defaults::{DefaultValue, parse_expr};
use super::generated::{self, Computation};
use crate::catalog::{Catalog, Table};
use crate::commit::{Reader, Refused, Row};
use crate::db::error::shown;
use crate::db::settings::Environment;
use crate::query::filter::{RowPredicate, unqualified};
use crate::query::plan::Planner;
use crate::query::plan::parameters::Parameters;
use crate::query::scan::TableReader;
use crate::query::statement_state::{Registry, sql};

/// The longest value that DETAIL shows of a failing row.
const SHOWN_CHARS: usize = 64;

/// What a row of a table must satisfy by itself.
#[derive(Debug)]
pub(crate) struct RowChecks {
    table: Arc<Table>,
    not_null: Vec<usize>,
    vectors: Vec<(usize, usize)>,
    arrays: Vec<usize>,
    checks: Vec<(String, RowPredicate)>,
    /// Whether they are the same at any time, for anyone.
    is_lasting: bool,
}

/// How rows of a table are completed and checked, whoever inserts them.
#[derive(Debug)]
pub(crate) struct InserterShape {
    table: Arc<Table>,
    positions: Vec<usize>,
    /// The columns that are not given, with their defaults.
    missing: Vec<(usize, DefaultValue)>,
    computation: Option<Computation>,
    checks: Arc<RowChecks>,
}

/// Completes and checks rows.
#[derive(Debug)]
pub struct RowInserter {
    shape: Arc<InserterShape>,
    environment: Arc<Environment>,
}

/// The schema in which the CHECKs of a table, and what its indexes are on, are read.
pub(super) fn table_schema(table: &Arc<Table>, catalog: &Catalog) -> Result<DFSchema> {
    use datafusion::datasource::TableProvider;
    let reader = TableReader::new(table.clone(), catalog, false);
    sql(DFSchema::try_from_qualified_schema(TableReference::bare(table.name.as_str()), reader.schema().as_ref()))
}

impl RowChecks {
    pub(crate) fn new(planner: &Planner, table: &Arc<Table>) -> Result<Self> {
        let visible = || table.visible_columns();
        let mut checks = Vec::with_capacity(table.checks.len());
        let mut is_lasting = true;
        for check in &table.checks {
            let schema = table_schema(table, &planner.catalog)?;
            let mut ast = parse_expr(&check.condition)?;
            planner.preparation().expr(&mut ast)?;
            let expr = planner.expr(&ast, &schema).map_err(|error| planner.placed(error))?;
            let expr = unqualified(expr)?;
            is_lasting &= is_immutable(&expr);
            if let Some(predicate) = RowPredicate::compile(&planner.state, table, &[expr])? {
                checks.push((check.name.clone(), predicate));
            }
        }
        Ok(Self {
            not_null: visible().filter(|(_, column)| column.not_null).map(|(at, _)| at).collect(),
            vectors: visible().filter_map(|(at, column)| Some((at, column.ty.dimensions()?))).collect(),
            arrays: visible()
                .filter(|(_, column)| matches!(column.ty.ty, PgType::Array(_)))
                .map(|(at, _)| at)
                .collect(),
            checks,
            is_lasting,
            table: table.clone(),
        })
    }

    /// Whether they may be kept from one run of a statement to the next.
    pub(crate) fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// Checks rows; the first that fails is the error.
    pub(crate) fn check(&self, rows: &[Row]) -> Result<(), Refused> {
        let mut refused =
            rows.iter().enumerate().find_map(|(row, values)| Some(Refused { row, error: self.unfit(values)? }));
        for (name, predicate) in &self.checks {
            let before = &rows[..refused.as_ref().map_or(rows.len(), |refused| refused.row)];
            match predicate.first_refused(before) {
                Ok(None) => {}
                Ok(Some(row)) => refused = Some(Refused { row, error: self.check_violation(name, &rows[row]) }),
                // Which row it was shows when each is alone.
                Err(error) if before.len() == 1 => return Err(Refused { row: 0, error }),
                Err(error) => {
                    let alone = (0..before.len())
                        .find_map(|row| self.check(&before[row..=row]).err().map(|alone| Refused { row, ..alone }));
                    return Err(alone.unwrap_or(Refused { row: 0, error }));
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// What is wrong with the values of a row by themselves.
    fn unfit(&self, row: &Row) -> Option<SqlError> {
        if let Some(&at) = self.not_null.iter().find(|&&at| row[at].is_null()) {
            return Some(self.null_violation(at, row));
        }
        self.misshapen(row)
    }

    /// What is wrong with the vectors and arrays of a row.
    pub(super) fn misshapen(&self, row: &Row) -> Option<SqlError> {
        let unfit = self.vectors.iter().find_map(|&(at, dims)| match &row[at] {
            Datum::Vector(vector) => check_expected_dimensions(Some(dims), vector.len()).err(),
            Datum::Halfvec(vector) => check_expected_dimensions(Some(dims), vector.len()).err(),
            Datum::Sparsevec(vector) => check_expected_dimensions(Some(dims), vector.dimensions() as usize).err(),
            _ => None,
        });
        // A column of batches is a list of elements: there is no room for more dimensions.
        let is_deep = |at: &usize| matches!(&row[*at], Datum::Array(array) if array.dimensions.len() > 1);
        unfit.or_else(|| {
            let deep = self.arrays.iter().any(is_deep);
            deep.then(|| SqlError::unsupported("storing an array of several dimensions"))
        })
    }

    fn check_violation(&self, name: &str, row: &Row) -> SqlError {
        SqlError::new(
            SqlState::CheckViolation,
            format!("new row for relation \"{}\" violates check constraint \"{name}\"", self.table.name),
        )
        .with_detail(self.failing(row))
        .with_table(&self.table.name)
        .with_constraint(name)
    }

    fn null_violation(&self, at: usize, row: &Row) -> SqlError {
        let column = &self.table.columns[at].name;
        SqlError::new(
            SqlState::NotNullViolation,
            format!(
                "null value in column \"{column}\" of relation \"{}\" violates not-null constraint",
                self.table.name
            ),
        )
        .with_detail(self.failing(row))
        .with_table(&self.table.name)
        .with_column(column)
    }

    fn failing(&self, row: &Row) -> String {
        let values: Vec<String> = self
            .table
            .visible_columns()
            .map(|(at, column)| {
                let text = shown(&row[at], column.ty.ty);
                match text.char_indices().nth(SHOWN_CHARS) {
                    Some((end, _)) => format!("{}...", &text[..end]),
                    None => text,
                }
            })
            .collect();
        format!("Failing row contains ({}).", values.join(", "))
    }
}

impl RowInserter {
    pub(crate) fn new(
        registry: &Arc<Registry>,
        reader: &Reader,
        environment: &Arc<Environment>,
        table: &Arc<Table>,
        positions: &[usize],
    ) -> Result<Self> {
        let planner = Planner::new(registry, reader, environment, Parameters::new(&[], 0), Places::none());
        Self::with_planner(&planner, table, positions)
    }

    pub(crate) fn with_planner(planner: &Planner, table: &Arc<Table>, positions: &[usize]) -> Result<Self> {
        let shape = Arc::new(InserterShape::new(planner, table, positions)?);
        Ok(Self::of(shape, planner.environment.clone()))
    }

    /// An inserter of a shape that was made before.
    pub(crate) fn of(shape: Arc<InserterShape>, environment: Arc<Environment>) -> Self {
        Self { shape, environment }
    }

    /// What its rows must satisfy.
    pub(crate) fn checks(&self) -> &Arc<RowChecks> {
        &self.shape.checks
    }

    /// Completes rows that have a value for each given column, and checks them. Beside a row that is refused come those before it:
    /// one of them may have a key that is taken, which is then what the client hears of.
    pub fn complete(&self, rows: Vec<Vec<Datum>>) -> Result<(Vec<Row>, Result<(), Refused>)> {
        let mut rows = self.fill(rows)?;
        let checked = self.finish(&mut rows);
        if let Err(refused) = &checked {
            rows.truncate(refused.row);
        }
        Ok((rows, checked))
    }

    /// Computes what is computed from the rest of each row, and checks the rows. Those before the one refused are complete.
    pub fn finish(&self, rows: &mut [Row]) -> Result<(), Refused> {
        generated::complete(self.shape.computation.as_ref(), &self.shape.checks, rows, &self.environment)
    }

    /// Gives rows that have a value for each given column the defaults of the others.
    pub fn fill(&self, rows: Vec<Vec<Datum>>) -> Result<Vec<Row>> {
        let InserterShape { table, positions, missing, .. } = self.shape.as_ref();
        let width = table.columns.len();
        let in_order = positions.len() == width && positions.iter().copied().eq(0..width);
        let mut complete = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() != positions.len() {
                return Err(SqlError::internal("a row has another number of values than columns were named"));
            }
            if in_order {
                complete.push(Row::from(row));
                continue;
            }
            let mut values = vec![Datum::Null; width];
            for (&at, value) in positions.iter().zip(row) {
                values[at] = value;
            }
            for (at, default) in missing {
                values[*at] = default.value(table, &self.environment)?;
            }
            complete.push(Row::from(values));
        }
        Ok(complete)
    }
}

impl InserterShape {
    pub(crate) fn new(planner: &Planner, table: &Arc<Table>, positions: &[usize]) -> Result<Self> {
        let missing = table
            .visible_columns()
            .filter(|(at, _)| !positions.contains(at))
            .map(|(at, _)| Ok((at, DefaultValue::of(planner, table, at)?)))
            .filter(|found| !matches!(found, Ok((_, DefaultValue::Constant(Datum::Null)))))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            table: table.clone(),
            positions: positions.to_vec(),
            missing,
            computation: Computation::new(planner, table, |_| true)?,
            checks: Arc::new(RowChecks::new(planner, table)?),
        })
    }

    /// Whether it may be kept from one run of a statement to the next: it computes nothing, and nothing in it changes.
    pub(crate) fn is_lasting(&self) -> bool {
        self.computation.is_none()
            && self.checks.is_lasting
            && self.missing.iter().all(|(_, default)| default.is_lasting())
    }
}

/// Whether an expression gives the same at any time, for anyone.
pub(crate) fn is_immutable(expr: &Expr) -> bool {
    !expr
        .exists(|expr| {
            Ok(match expr {
                Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => true,
                _ => false,
            })
        })
        .unwrap_or(true)
}
