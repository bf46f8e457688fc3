//! The columns of a recursive query: DataFusion gives them the types of the term that is not recursive, and casts what the other term
//! gives to them, whatever is lost. PostgreSQL demands that both terms agree, and its `numeric` has room for what the rows grow into.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::logical_plan::{Projection, RecursiveQuery};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use lodedb_sql::resolve::common_type;
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::typing::is_untyped;
use crate::query::arrow::{NUMERIC_PRECISION, NUMERIC_SCALE, arrow_field, pg_type};
use crate::query::functions::to_datafusion;
use crate::query::statement_state::carry;

/// The columns that the recursive term is planned with: a `numeric` without a modifier has as many digits as there can be.
pub(crate) fn work_table(schema: &Schema) -> SchemaRef {
    let widest = TypeWithModifier::plain(PgType::Scalar(ScalarType::Numeric));
    let fields = schema.fields().iter().map(|field| match pg_type(field) {
        ty if ty == widest => Arc::new(arrow_field(field.name(), widest, true)),
        _ => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Sees that the terms of a recursive query agree in their types, and gives its decimals room.
pub(crate) fn settle(plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    let LogicalPlan::RecursiveQuery(query) = plan else { return Ok(Transformed::no(plan)) };
    let first = query.static_term.schema();
    let given = agreed(&query)?;
    // A column whose modifier both terms have keeps it.
    let grows = |at: usize| {
        let field = first.field(at);
        is_decimal(field.data_type()) && (pg_type(field).modifier < 0 || given[at] != Some(pg_type(field)))
    };
    let grows: Vec<bool> = (0..first.fields().len()).map(grows).collect();
    if !grows.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::RecursiveQuery(query)));
    }
    // As many digits after the point as there are at first, where no row gets more of them.
    let mut fields: Vec<Arc<Field>> = (first.fields().iter().zip(&grows))
        .map(|(field, grows)| if *grows { roomy(field, scale(field)) } else { field.clone() })
        .collect();
    let (exprs, input) = loop {
        let term = over(&query.recursive_term, &query.name, &fields)?;
        let (exprs, input) = uncast(term)?;
        let mut grown = false;
        for ((field, expr), grows) in fields.iter_mut().zip(&exprs).zip(&grows) {
            let (_, given) = expr.to_field(input.schema())?;
            if *grows && scale(&given) > scale(field) && scale(field) < NUMERIC_SCALE {
                *field = roomy(field, NUMERIC_SCALE);
                grown = true;
            }
        }
        if !grown {
            break (exprs, input);
        }
    };
    let cast = |expr: Expr, name: &str, from: &DataType, to: &DataType| {
        if from == to { expr } else { Expr::Cast(Cast::new(Box::new(expr), to.clone())).alias(name) }
    };
    let firsts = first.columns().into_iter().zip(first.fields()).zip(&fields).map(|((column, from), to)| {
        let name = column.name.clone();
        cast(Expr::Column(column), &name, from.data_type(), to.data_type())
    });
    let static_term =
        LogicalPlanBuilder::from(query.static_term.clone()).project(firsts.collect::<Vec<_>>())?.build()?;
    let mut nexts = Vec::with_capacity(exprs.len());
    for (expr, to) in exprs.into_iter().zip(&fields) {
        let from = expr.get_type(input.schema())?;
        let name = expr.schema_name().to_string();
        nexts.push(cast(expr, &name, &from, to.data_type()));
    }
    let recursive_term = LogicalPlan::Projection(Projection::try_new(nexts, input)?);
    RecursiveQuery::try_new(query.name, Arc::new(static_term), Arc::new(recursive_term), query.is_distinct)
        .map(LogicalPlan::RecursiveQuery)
        .map(Transformed::yes)
}

/// The types that the recursive term gives, none for what is untyped; `42804` where the terms do not agree in one.
fn agreed(query: &RecursiveQuery) -> DataFusionResult<Vec<Option<TypeWithModifier>>> {
    let (exprs, input) = uncast((*query.recursive_term).clone())?;
    let mut types = Vec::with_capacity(exprs.len());
    for (at, (field, expr)) in query.static_term.schema().fields().iter().zip(exprs).enumerate() {
        let first = match field.data_type() {
            DataType::Null => PgType::Scalar(ScalarType::Text),
            _ => pg_type(field).ty,
        };
        let (_, given) = expr.to_field(input.schema())?;
        let unknown = is_untyped(&expr.unalias_nested().data) || *given.data_type() == DataType::Null;
        let next = (!unknown).then(|| pg_type(&given));
        types.push(next);
        let overall = carry(common_type("UNION", &[Some(first), next.map(|next| next.ty)]))?;
        if overall != first {
            let message = format!(
                "recursive query \"{}\" column {} has type {} in non-recursive term but type {} overall",
                query.name,
                at + 1,
                first.sql_name(),
                overall.sql_name()
            );
            return Err(to_datafusion(
                SqlError::new(SqlState::DatatypeMismatch, message)
                    .with_hint("Cast the output of the non-recursive term to the correct type."),
            ));
        }
    }
    Ok(types)
}

/// What a recursive term gives before DataFusion casts it, and what from.
fn uncast(term: LogicalPlan) -> DataFusionResult<(Vec<Expr>, Arc<LogicalPlan>)> {
    let LogicalPlan::Projection(projection) = term else {
        let columns = term.schema().columns().into_iter().map(Expr::Column).collect();
        return Ok((columns, Arc::new(term)));
    };
    let bare = projection.expr.into_iter().map(|expr| match expr {
        Expr::Alias(alias) => uncast_expr(*alias.expr).alias(alias.name),
        expr => uncast_expr(expr),
    });
    Ok((bare.collect(), projection.input))
}

/// The casts of statements are calls of `pg_cast`; but for those that make integers `integer`, casts are DataFusion's.
pub(super) fn uncast_expr(expr: Expr) -> Expr {
    let is_integer = |expr: &Expr| match expr {
        Expr::Negative(number) => matches!(**number, Expr::Literal(ScalarValue::Int64(_), _)),
        other => matches!(other, Expr::Literal(ScalarValue::Int64(_), _)),
    };
    match expr {
        Expr::Cast(cast) if !is_integer(&cast.expr) => *cast.expr,
        expr => expr,
    }
}

/// The recursive term over a work table with these columns.
fn over(term: &LogicalPlan, name: &str, fields: &[Arc<Field>]) -> DataFusionResult<LogicalPlan> {
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let replaced = term.clone().transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::TableScan(scan)
            if source_as_provider(&scan.source)
                .is_ok_and(|table| table.downcast_ref::<CteWorkTable>().is_some_and(|table| table.name() == name)) =>
        {
            let source = provider_as_source(Arc::new(CteWorkTable::new(name, schema.clone())));
            LogicalPlanBuilder::scan(scan.table_name, source, scan.projection)?.build().map(Transformed::yes)
        }
        plan => plan.recompute_schema().map(Transformed::yes),
    })?;
    Ok(replaced.data)
}

/// A decimal column with room for digits, so many of them after the point.
fn roomy(field: &Field, scale: i8) -> Arc<Field> {
    let ty = match field.data_type() {
        // Of this type, since a product of it and an integer keeps its scale.
        DataType::Decimal128(..) if scale < NUMERIC_SCALE => DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale),
        _ => DataType::Decimal256(NUMERIC_PRECISION, scale),
    };
    Arc::new(Field::new(field.name(), ty, true))
}

fn is_decimal(ty: &DataType) -> bool {
    matches!(ty, DataType::Decimal128(..) | DataType::Decimal256(..))
}

fn scale(field: &Field) -> i8 {
    match field.data_type() {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}
