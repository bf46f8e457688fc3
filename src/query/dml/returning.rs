//! RETURNING: expressions over the rows a statement wrote, and over those beside them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field as ArrowField, Schema};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{Ident, ObjectNamePart, SelectItem, SelectItemQualifiedWildcardKind};
use lodedb_sql::SqlError;
use lodedb_sql::error::Result;

use super::evaluate::RowExpressions;
use super::{bind_tree, param_values};
use crate::catalog::Table;
use crate::commit::Row;
use crate::db::outcome::Field;
use crate::query::arrow::{ColumnBuilder, arrow_field, pg_type};
use crate::query::plan::Planner;
use crate::query::plan::syntax::shown_name;
use crate::query::statement_state::{carry, sql};

/// The RETURNING of a statement.
#[derive(Debug)]
pub(crate) struct Returning {
    table: Arc<Table>,
    /// The columns of the table under its alias, then those beside it.
    schema: DFSchema,
    exprs: Vec<Expr>,
    pub(crate) fields: Arc<[Field]>,
}

/// The visible columns of a table under a name.
pub(crate) fn table_fields(table: &Table, alias: &str) -> Vec<(Option<TableReference>, Arc<ArrowField>)> {
    table
        .visible_columns()
        .map(|(_, column)| {
            let field = arrow_field(&column.name, column.ty, true);
            (Some(TableReference::bare(alias)), Arc::new(field))
        })
        .collect()
}

impl Returning {
    /// Plans a RETURNING; `beside` are the columns of FROM or USING. `None` if there is none.
    pub(crate) fn plan(
        planner: &Planner,
        table: &Arc<Table>,
        alias: &str,
        items: &[SelectItem],
        beside: &[(Option<TableReference>, Arc<ArrowField>)],
    ) -> Result<Option<Self>> {
        if items.is_empty() {
            return Ok(None);
        }
        let mut items = items.to_vec();
        let preparation = &mut planner.preparation();
        preparation.walk(&mut items)?;
        let mut all = table_fields(table, alias);
        all.extend(beside.iter().cloned());
        let schema = sql(DFSchema::new_with_metadata(all, Default::default()))?;
        let built = planner.settle(|planner| build(planner, &items, &schema))?;
        let mut fields = Vec::with_capacity(built.len());
        let mut exprs = Vec::with_capacity(built.len());
        for (name, expr) in built {
            let (_, field) = sql(expr.to_field(&schema))?;
            let (of, number) = origin(table, alias, &expr);
            fields.push(Field { name, ty: pg_type(&field), table: of, column: number });
            exprs.push(expr);
        }
        Ok(Some(Self { table: table.clone(), schema, exprs, fields: fields.into() }))
    }

    /// The rows of the result; `beside` are arrays of the columns beside the table, a value for each row.
    pub(crate) fn rows(
        &self,
        writing: &super::Writing<'_>,
        tx: &crate::commit::Transaction,
        rows: &[Row],
        beside: Vec<ArrayRef>,
    ) -> Result<Vec<RecordBatch>> {
        let values = param_values(&writing.planned.parameters, writing.params)?;
        let run = writing.run(tx);
        let exprs = self.exprs.iter().map(|expr| bind_tree(expr.clone(), &values)).collect::<Result<Vec<_>>>()?;
        let compiled = RowExpressions::new(&run.state, &self.schema, exprs)?;
        let mut columns = table_columns(&self.table, rows)?;
        columns.extend(beside);
        let batch = compiled.batch(columns, rows.len())?;
        let arrays = compiled.arrays(&batch)?;
        let schema = Schema::new(
            arrays
                .iter()
                .zip(self.fields.iter())
                .map(|(array, field)| ArrowField::new(&field.name, array.data_type().clone(), true))
                .collect::<Vec<_>>(),
        );
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch =
            RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options).map_err(SqlError::internal)?;
        Ok(vec![batch])
    }
}

/// The visible columns of rows, as arrays.
pub(crate) fn table_columns(table: &Table, rows: &[Row]) -> Result<Vec<ArrayRef>> {
    table
        .visible_columns()
        .map(|(at, column)| {
            let field = arrow_field(&column.name, column.ty, true);
            let mut builder = ColumnBuilder::new(field.data_type(), rows.len())?;
            for row in rows {
                builder.push(&row[at])?;
            }
            builder.finish()
        })
        .collect()
}

fn build(planner: &Planner, items: &[SelectItem], schema: &DFSchema) -> DataFusionResult<Vec<(String, Expr)>> {
    let folded = |ident: &Ident| {
        if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
    };
    let columns_of = |wanted: Option<&str>| {
        schema
            .iter()
            .filter(|(qualifier, _)| {
                wanted.is_none_or(|wanted| qualifier.is_some_and(|qualifier| qualifier.table() == wanted))
            })
            .map(|(qualifier, field)| {
                (field.name().clone(), Expr::Column(Column::new(qualifier.cloned(), field.name())))
            })
            .collect::<Vec<_>>()
    };
    let mut built = Vec::new();
    for item in items {
        match item {
            SelectItem::Wildcard(_) => built.extend(columns_of(None)),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                if let Some(ObjectNamePart::Identifier(name)) = name.0.last() {
                    built.extend(columns_of(Some(&folded(name))));
                }
            }
            SelectItem::UnnamedExpr(expr) => {
                let name = planner.preparation().column_name(expr).unwrap_or_else(|| "?column?".into());
                built.push((name, planner.expr(expr, schema)?));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                built.push((shown_name(&folded(alias)).to_owned(), planner.expr(expr, schema)?));
            }
            _ => return carry(Err(SqlError::unsupported("this item of RETURNING"))),
        }
    }
    Ok(built)
}

fn origin(table: &Table, alias: &str, expr: &Expr) -> (u32, i16) {
    let found = match expr {
        Expr::Column(column) if column.relation.as_ref().is_some_and(|relation| relation.table() == alias) => {
            table.position(&column.name)
        }
        _ => None,
    };
    match found {
        Some(at) => (table.id, i16::try_from(table.number(table.columns[at].id)).unwrap_or(0)),
        None => (0, 0),
    }
}
