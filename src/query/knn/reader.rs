//! A table of which only the nearest rows are read.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use lodedb_sql::cast::{CastContext, CastEnvironment, cast};
use lodedb_sql::error::Result;
use lodedb_sql::text::parse_text;
use lodedb_sql::vector::Metric;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::operator::{NeighborOperator, Query};
use super::search::Ask;
use crate::catalog::{Index, Table};
use crate::query::arrow::{pg_type, scalar_datum};
use crate::query::filter::{RowPredicate, physical_expr};
use crate::query::scan::TableReader;
use crate::query::scan::access;
use crate::query::statement_state::{Reading, carry};

/// The nearest rows of a table that pass a condition.
pub(crate) struct NeighborReader {
    pub(crate) table: Arc<Table>,
    schema: SchemaRef,
    base: Arc<TableReader>,
    position: usize,
    metric: Metric,
    /// A row is as near as it is to the nearest of these.
    queries: Vec<Expr>,
    wanted: Wanted,
    conditions: Vec<Expr>,
}

/// How many neighbours are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) k: usize,
    /// And all that are as far away as the k-th.
    pub(crate) ties: bool,
}

impl fmt::Debug for NeighborReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NeighborReader")
            .field("table", &self.table.name)
            .field("k", &self.wanted.k)
            .finish_non_exhaustive()
    }
}

impl NeighborReader {
    pub(crate) fn new(
        reader: &TableReader,
        position: usize,
        metric: Metric,
        queries: Vec<Expr>,
        wanted: Wanted,
        conditions: Vec<Expr>,
    ) -> Self {
        let base = Arc::new(reader.clone());
        Self {
            table: reader.table().clone(),
            schema: base.schema(),
            base,
            position,
            metric,
            queries,
            wanted,
            conditions,
        }
    }

    /// A query, worked out now if it is a constant, else as a plan of one row.
    async fn query(&self, state: &dyn Session, query: &Expr) -> DataFusionResult<Query> {
        if let Expr::Literal(value, _) = query {
            let field = datafusion::arrow::datatypes::Field::new("query", value.data_type(), true);
            return Ok(Query::Constant(carry(scalar_datum(value, pg_type(&field)).and_then(vector_of))?));
        }
        if crate::query::scan::is_plain(query) {
            let none = DFSchema::empty();
            let physical = physical_expr(state, query.clone(), &none)?;
            let row = crate::query::dml::evaluate::one_row();
            let datum = carry(crate::query::dml::evaluate::value_of(physical.as_ref(), &row))?;
            return Ok(Query::Constant(carry(vector_of(datum))?));
        }
        let plan = LogicalPlanBuilder::empty(true).project([query.clone().alias("query")])?.build()?;
        state.create_physical_plan(&plan).await.map(Query::Plan)
    }
}

/// The vector a datum is; `None` for NULL. A literal without a type is read as a vector.
pub(crate) fn vector_of(datum: Datum) -> Result<Option<Arc<[f32]>>> {
    match datum {
        Datum::Null => Ok(None),
        Datum::Vector(vector) => Ok(Some(vector)),
        Datum::Text(text) => {
            let vector = TypeWithModifier::plain(ScalarType::Vector);
            parse_text(&text, vector).and_then(vector_of)
        }
        Datum::Array(array) => {
            let (from, to) = (PgType::Array(array.element), TypeWithModifier::plain(ScalarType::Vector));
            cast(Datum::Array(array), from, to, CastContext::Assignment, &CastEnvironment::utc()).and_then(vector_of)
        }
        _ => Err(SqlError::new(SqlState::DatatypeMismatch, "neighbours are looked for by a vector")),
    }
}

#[async_trait]
impl TableProvider for NeighborReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let reading = Reading::of(state.config_options())?;
        let predicate = RowPredicate::new(state, &self.table, &self.conditions)?;
        let btrees: Vec<Arc<Index>> = self.base.indexes().to_vec();
        let access = carry(access::choose(&reading.reader, &self.table, &btrees, &self.conditions))?;
        let Wanted { k, ties } = self.wanted;
        let ask = Ask::new(reading, self.table.clone(), self.position, self.metric, k, predicate, &access);
        let ask = Ask { ties, ..ask };
        let mut queries = Vec::with_capacity(self.queries.len());
        for query in &self.queries {
            queries.push(self.query(state, query).await?);
        }
        let shown: Vec<String> = self.queries.iter().map(ToString::to_string).collect();
        let projection = self.base.projection(projection)?;
        let conditions = self.conditions.iter().map(ToString::to_string).collect();
        Ok(Arc::new(NeighborOperator::new(ask, queries, shown, conditions, projection)))
    }
}
