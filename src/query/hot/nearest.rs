//! `SELECT columns, distance FROM table WHERE condition ORDER BY distance LIMIT k`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::TableProvider;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, LimitClause, ObjectNamePart, OrderByKind, Query, SelectItem,
    Value, ValueWithSpan,
};
use lodedb_sql::error::Result;
use lodedb_sql::vector::Metric;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::lookup::{projection, schema_of};
use super::shape::{Named, folded, single_select};
use super::value::{Source, count, query_vector};
use crate::catalog::Table;
use crate::commit::RowId;
use crate::db::outcome::Field;
use crate::query::arrow::pg_type;
use crate::query::dml::evaluate::{has_subquery, one_row, value_of};
use crate::query::filter::{RowPredicate, physical_expr, unqualified};
use crate::query::knn::{metric_of, search::Ask, vector_of};
use crate::query::plan::Planner;
use crate::query::plan::query::{bind_tree, param_values};
use crate::query::plan::syntax::shown_name;
use crate::query::scan::rows::{Projection, RowBatches, Wanted};
use crate::query::scan::{TableReader, access, is_plain};
use crate::query::statement_state::{Reading, Run, cast_environment, sql};

/// A search for neighbours.
#[derive(Debug)]
pub(crate) struct Nearest {
    pub(crate) table: Arc<Table>,
    position: usize,
    metric: Metric,
    query: To,
    limit: Source,
    filter: Filter,
    /// The columns that are read.
    projection: Projection,
    /// For each column of the result, whether it is a distance.
    distances: Vec<bool>,
    schema: SchemaRef,
}

/// What rows are to be near to.
#[derive(Debug)]
enum To {
    /// A vector that is there.
    Given(Source),
    /// What a function makes of constants and parameters.
    Computed(Expr),
}

/// Which rows count.
#[derive(Debug)]
enum Filter {
    All,
    /// Always the same condition.
    Compiled(RowPredicate, Vec<Expr>),
    /// A condition with parameters, or one that depends on the moment.
    Conditions(Vec<Expr>),
}

/// The metric, the vector column and the query, if an expression is a distance.
fn distance<'a>(named: &Named, expr: &'a ast::Expr) -> Option<(Metric, usize, &'a ast::Expr)> {
    let expr = match expr {
        ast::Expr::Nested(within) => within.as_ref(),
        other => other,
    };
    let ast::Expr::Function(function) = expr else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let metric = metric_of(&folded(name))?;
    let FunctionArguments::List(list) = &function.args else { return None };
    if function.over.is_some() || function.filter.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(left)), FunctionArg::Unnamed(FunctionArgExpr::Expr(right))] =
        list.args.as_slice()
    else {
        return None;
    };
    let vector = |expr: &ast::Expr| named.column(expr).filter(|&at| named.table.columns[at].ty.is_vector());
    match (vector(left), vector(right)) {
        (Some(at), None) => Some((metric, at, right)),
        (None, Some(at)) => Some((metric, at, left)),
        _ => None,
    }
}

pub(crate) fn recognise(planner: &Planner, query: &Query) -> Result<Option<(Nearest, Arc<[Field]>)>> {
    // Then only the rows of an index are wanted.
    if !planner.environment.settings.is_on("enable_seqscan") {
        return Ok(None);
    }
    let Some((select, named)) = single_select(planner, query) else { return Ok(None) };
    let Some(order_by) = &query.order_by else { return Ok(None) };
    let OrderByKind::Expressions(keys) = &order_by.kind else { return Ok(None) };
    let [key] = keys.as_slice() else { return Ok(None) };
    if key.options.asc == Some(false) || key.options.nulls_first == Some(true) || key.with_fill.is_some() {
        return Ok(None);
    }
    let Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by }) = &query.limit_clause else {
        return Ok(None);
    };
    if !limit_by.is_empty() {
        return Ok(None);
    }
    // The key may be written out, be an alias of an item, or its number.
    let by_item = match &key.expr {
        ast::Expr::Identifier(name) => select.projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if folded(alias) == folded(name) => Some(expr),
            _ => None,
        }),
        ast::Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
            let plain = select
                .projection
                .iter()
                .all(|item| !matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
            let at = digits.parse::<usize>().ok().filter(|_| plain).and_then(|at| at.checked_sub(1));
            match at.and_then(|at| select.projection.get(at)) {
                Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => Some(expr),
                _ => None,
            }
        }
        _ => None,
    };
    let Some((metric, position, vector)) = distance(&named, by_item.unwrap_or(&key.expr)) else { return Ok(None) };
    let mut positions = Vec::new();
    let mut distances = Vec::new();
    let mut fields = Vec::new();
    for item in &select.projection {
        if let Some(columns) = named.columns(item) {
            for (at, name) in columns {
                positions.push(at);
                distances.push(false);
                fields.push(named.field(at, name));
            }
            continue;
        }
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => {
                (expr, planner.preparation().column_name(expr).unwrap_or_else(|| "?column?".to_owned()))
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr, shown_name(&folded(alias)).to_owned()),
            _ => return Ok(None),
        };
        match distance(&named, expr) {
            Some((of, at, to)) if of == metric && at == position && to == vector => {}
            _ => return Ok(None),
        }
        distances.push(true);
        fields.push(Field { name, ty: TypeWithModifier::plain(ScalarType::Float8), table: 0, column: 0 });
    }
    let query = match query_vector(planner, vector)? {
        Some(source) => To::Given(source),
        None => match computed_vector(planner, vector) {
            Some(expr) => To::Computed(expr),
            None => return Ok(None),
        },
    };
    let Some(limit) = count(planner, limit) else { return Ok(None) };
    let Some(filter) = filter(planner, &named, select.selection.as_ref())? else { return Ok(None) };
    let read: Vec<Field> =
        fields.iter().zip(&distances).filter(|(_, distance)| !**distance).map(|(field, _)| field.clone()).collect();
    let projection = projection(&named.table, &positions, &read);
    let schema = schema_of(&fields);
    let nearest = Nearest { table: named.table, position, metric, query, limit, filter, projection, distances, schema };
    Ok(Some((nearest, fields.into())))
}

/// A call that gives a vector, such as `embed('a model', $1)`, made ready; `None` if it takes more than its arguments to know it.
fn computed_vector(planner: &Planner, vector: &ast::Expr) -> Option<Expr> {
    let mut vector = vector.clone();
    if !matches!(vector, ast::Expr::Function(_)) || planner.preparation().expr(&mut vector).is_err() {
        return None;
    }
    let none = DFSchema::empty();
    // What is wrong with it is for the planned road to say.
    let expr = planner.settle_partly(|planner| planner.expr(&vector, &none)).ok()?;
    let plain = matches!(expr, Expr::ScalarFunction(_))
        && !expr.is_volatile()
        && !has_subquery(&expr)
        && !expr.contains_outer();
    let (_, field) = expr.to_field(&none).ok().filter(|_| plain)?;
    (pg_type(&field).ty == PgType::Scalar(ScalarType::Vector)).then_some(expr)
}

/// The condition made ready; `None` if it is not one that is judged row by row.
fn filter(planner: &Planner, named: &Named, condition: Option<&ast::Expr>) -> Result<Option<Filter>> {
    let Some(condition) = condition else { return Ok(Some(Filter::All)) };
    let mut condition = condition.clone();
    if planner.preparation().expr(&mut condition).is_err() {
        return Ok(None);
    }
    let reader = TableReader::new(named.table.clone(), &planner.catalog, false);
    let schema = sql(DFSchema::try_from_qualified_schema(named.alias.as_str(), reader.schema().as_ref()))?;
    // What is wrong with it is for the planned road to say.
    let Ok(expr) = planner.settle_partly(|planner| planner.expr(&condition, &schema)) else { return Ok(None) };
    let expr = unqualified(expr)?;
    let conditions = split_conjunction_owned(expr);
    let has = |wanted: fn(&Expr) -> bool| {
        conditions.iter().any(|condition| condition.exists(|expr| Ok(wanted(expr))).unwrap_or(true))
    };
    if has(|expr| matches!(expr, Expr::Placeholder(_) | Expr::ScalarFunction(_))) {
        let judged = conditions
            .iter()
            .all(|condition| !condition.is_volatile() && !has_subquery(condition) && !condition.contains_outer());
        return Ok(judged.then_some(Filter::Conditions(conditions)));
    }
    if !conditions.iter().all(is_plain) {
        return Ok(None);
    }
    let predicate = RowPredicate::compile(&planner.state, &named.table, &conditions)?;
    Ok(Some(match predicate {
        Some(predicate) => Filter::Compiled(predicate, conditions),
        None => Filter::All,
    }))
}

impl Nearest {
    pub(crate) fn run(&self, parameters: &[PgType], reading: &Reading, params: &[Datum]) -> Result<RecordBatch> {
        let k = match self.limit.given(params) {
            Datum::Int8(value) => *value,
            Datum::Int4(value) => i64::from(*value),
            Datum::Int2(value) => i64::from(*value),
            // LIMIT NULL is no limit.
            _ => i64::MAX,
        };
        let k = u64::try_from(k)
            .map_err(|_| SqlError::new(SqlState::InvalidParameterValue, "LIMIT must not be negative"))?;
        let k = k.min(crate::query::scan::row_count(&reading.reader, &self.table));
        let run = || {
            let (reader, environment) = (reading.reader.clone(), reading.environment.clone());
            Run::new(&reading.registry, reader, environment, reading.cancel.clone())
        };
        let (predicate, conditions) = match &self.filter {
            Filter::All => (None, None),
            Filter::Compiled(predicate, conditions) => (Some(predicate.clone()), Some(conditions.clone())),
            Filter::Conditions(conditions) => {
                let values = param_values(parameters, params)?;
                let conditions = conditions
                    .iter()
                    .map(|condition| bind_tree(condition.clone(), &values))
                    .collect::<Result<Vec<_>>>()?;
                (RowPredicate::compile(&run().state, &self.table, &conditions)?, Some(conditions))
            }
        };
        let access = match &conditions {
            None => access::Access::Everything,
            Some(conditions) => {
                let catalog = reading.reader.catalog();
                let indexes: Vec<_> = catalog
                    .indexes_of(self.table.id)
                    .filter(|index| index.key_positions().is_some())
                    .cloned()
                    .collect();
                access::choose(&reading.reader, &self.table, &indexes, conditions)?
            }
        };
        let query = match &self.query {
            To::Given(source) => source.vector(params, &cast_environment(&reading.environment))?,
            To::Computed(expr) => {
                let expr = bind_tree(expr.clone(), &param_values(parameters, params)?)?;
                let physical = sql(physical_expr(&run().state, expr, &DFSchema::empty()))?;
                vector_of(value_of(physical.as_ref(), &one_row())?)?
            }
        };
        let ask = Ask::new(reading, self.table.clone(), self.position, self.metric, k as usize, predicate, &access);
        let (found, _) = ask.run(query.as_deref())?;
        if found.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let ids: Vec<RowId> = found.iter().map(|found| found.row).collect();
        let rows = ids.len();
        let mut read = Vec::new();
        if !self.projection.slots.is_empty() {
            let mut batches = RowBatches::new(
                reading.reader.clone(),
                self.table.clone(),
                self.projection.clone(),
                Wanted::Ids(ids.into()),
                None,
            )?;
            while let Some(batch) = batches.advance()? {
                read.push(batch);
            }
        }
        let read = match read.len() {
            0 => Vec::new(),
            1 => read[0].columns().to_vec(),
            _ => datafusion::arrow::compute::concat_batches(&self.projection.schema, &read)
                .map_err(SqlError::internal)?
                .columns()
                .to_vec(),
        };
        let mut read = read.into_iter();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.distances.len());
        for &is_distance in &self.distances {
            columns.push(if is_distance {
                Arc::new(found.iter().map(|found| found.distance).collect::<Float64Array>())
            } else {
                read.next().ok_or_else(|| SqlError::internal("a column of the neighbours went missing"))?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(SqlError::internal)
    }
}
