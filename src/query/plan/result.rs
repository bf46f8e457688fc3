//! The columns of a result as a client is told of them.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::relations::provider_of;
use super::syntax::shown_name;
use crate::db::outcome::Field;
use crate::query::arrow::pg_type;
use crate::query::scan::TableReader;

/// The columns of a plan's result.
pub(crate) fn fields(plan: &LogicalPlan) -> Arc<[Field]> {
    plan.schema()
        .iter()
        .map(|(qualifier, field)| {
            let (table, column) = origin(plan, &Column::new(qualifier.cloned(), field.name())).unwrap_or((0, 0));
            Field { name: shown_name(field.name()).to_owned(), ty: pg_type(field), table, column }
        })
        .collect()
}

/// The table and the number of the column that a column of a plan shows unchanged.
fn origin(plan: &LogicalPlan, column: &Column) -> Option<(u32, i16)> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.maybe_index_of_column(column)?;
            let mut expr = projection.expr.get(at)?;
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            match expr {
                Expr::Column(column) => origin(&projection.input, column),
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.maybe_index_of_column(column)?;
            let (qualifier, field) = alias.input.schema().qualified_field(at);
            origin(&alias.input, &Column::new(qualifier.cloned(), field.name()))
        }
        LogicalPlan::TableScan(scan) => {
            let table = provider_of::<TableReader>(&scan.source)?.table();
            let position = table.position(&column.name)?;
            Some((table.id, i16::try_from(table.number(table.columns[position].id)).ok()?))
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Repartition(_) => plan.inputs().into_iter().find_map(|input| {
            input.schema().maybe_index_of_column(column)?;
            origin(input, column)
        }),
        LogicalPlan::Subquery(subquery) => origin(&subquery.subquery, column),
        _ => None,
    }
}
