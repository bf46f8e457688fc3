//! A table without SQL: many rows in at once, and the nearest rows out.

use lodedb_sql::error::Result;
use lodedb_sql::vector::Metric;
use lodedb_sql::{SqlError, SqlState, TypeWithModifier};

use super::rows::Rows;
use super::value::{ToSql, Value};
use crate::db::session::{Session, or_cancelled};
use crate::query::dml::generated::check_insertable;
use crate::query::dml::quoted;

/// Rows put into the transaction together.
const BATCH_ROWS: usize = 4096;

/// A table, by name. See [`Session::table`].
#[derive(Debug)]
pub struct Table<'s> {
    pub(super) session: &'s mut Session,
    pub(super) name: String,
}

impl<'s> Table<'s> {
    /// Rows to insert, given column by column.
    pub fn insert(self) -> Insert<'s> {
        Insert { table: self, columns: Vec::new(), wrong: None }
    }

    /// The `k` rows whose vectors in `column` are nearest to `query`, nearest first.
    pub fn search<'q>(self, column: impl Into<String>, query: &'q [f32], k: usize) -> Search<'s, 'q> {
        Search {
            table: self,
            column: column.into(),
            query,
            k,
            metric: Metric::L2,
            filter: None,
            values: Vec::new(),
            columns: None,
        }
    }
}

/// Rows on their way into a table. Columns that are not named take their defaults.
#[derive(Debug)]
#[must_use = "nothing is inserted before `run`"]
pub struct Insert<'s> {
    table: Table<'s>,
    columns: Vec<(String, Vec<Value>)>,
    wrong: Option<SqlError>,
}

impl Insert<'_> {
    /// The values of a column, one for each row.
    pub fn column<T: ToSql>(mut self, name: impl Into<String>, values: &[T]) -> Self {
        self.columns.push((name.into(), values.iter().map(ToSql::to_sql).collect()));
        self
    }

    /// The vectors of a column, one for each row: `dimensions` components of the first, then those of the second, and so on.
    pub fn vectors(mut self, name: impl Into<String>, dimensions: usize, components: &[f32]) -> Self {
        if dimensions == 0 || !components.len().is_multiple_of(dimensions) {
            let message = format!("{} components are no vectors of {dimensions} dimensions", components.len());
            self.wrong = Some(SqlError::new(SqlState::DataException, message));
            return self;
        }
        self.columns.push((name.into(), components.chunks(dimensions).map(Value::vector).collect()));
        self
    }

    /// Inserts them, all or none, and gives how many.
    ///
    /// # Errors
    /// As an INSERT: `23505` where a key is taken, `22000` for other dimensions than the column's, `42P01`, `42703` and so on.
    /// Columns of different lengths are `22023`.
    pub async fn run(self) -> Result<u64> {
        let session = self.table.session;
        session.begin_call();
        let result = match self.wrong {
            Some(error) => Err(error),
            None => session.insert_columns(&self.table.name, self.columns).await,
        };
        session.end_call(result).await
    }
}

impl Session {
    async fn insert_columns(&mut self, table: &str, columns: Vec<(String, Vec<Value>)>) -> Result<u64> {
        let rows = columns.first().map_or(0, |(_, values)| values.len());
        if let Some((name, values)) = columns.iter().find(|(_, values)| values.len() != rows) {
            let message = format!("column \"{name}\" has {} values, and \"{}\" has {rows}", values.len(), columns[0].0);
            return Err(SqlError::new(SqlState::InvalidParameterValue, message));
        }
        self.check_not_failed()?;
        let (names, values): (Vec<String>, Vec<Vec<Value>>) = columns.into_iter().unzip();
        if names.is_empty() {
            return Ok(0);
        }
        let writing = self.start_writing(table, &names).await?;
        let catalog = self.catalog();
        writing
            .positions
            .iter()
            .try_for_each(|&at| check_insertable(&catalog, &writing.table, &writing.table.columns[at]))?;
        let environment = self.cast_environment();
        let types: Vec<TypeWithModifier> = writing.positions.iter().map(|&at| writing.table.columns[at].ty).collect();
        let mut columns: Vec<_> = values.into_iter().map(Vec::into_iter).collect();
        let mut left = rows;
        while left > 0 {
            let mut batch = Vec::with_capacity(left.min(BATCH_ROWS));
            for _ in 0..left.min(BATCH_ROWS) {
                let row = columns
                    .iter_mut()
                    .zip(&types)
                    .filter_map(|(values, &ty)| Some(values.next()?.bind(ty, &environment)));
                batch.push(row.collect::<Result<Vec<_>>>()?);
            }
            left -= batch.len();
            let (complete, checked) = writing.inserter.complete(batch)?;
            let cancel = self.cancel.clone();
            or_cancelled(&cancel, self.transaction()?.insert_many(&writing.table, complete)).await?;
            checked?;
        }
        self.transaction()?.finish_statement().await?;
        Ok(rows as u64)
    }
}

/// A search for the rows nearest to a vector.
///
/// It goes the way of the SQL it stands for, `SELECT ... ORDER BY column <-> query LIMIT k`: an index serves it where there is
/// one for the column and the metric, distances are exact, `k` rows come back whenever `k` pass, and it sees what its own
/// transaction wrote. Rows whose vector is NULL come last, with a NULL distance.
#[derive(Debug)]
#[must_use = "nothing is searched before `run`"]
pub struct Search<'s, 'q> {
    table: Table<'s>,
    column: String,
    query: &'q [f32],
    k: usize,
    metric: Metric,
    filter: Option<String>,
    values: Vec<Value>,
    columns: Option<Vec<String>>,
}

impl Search<'_, '_> {
    /// What near means; the Euclidean distance unless said otherwise.
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Which rows count: a condition in SQL, `$1`, `$2`, ... being `parameters`.
    pub fn filter(mut self, condition: impl Into<String>, parameters: &[&(dyn ToSql + Sync)]) -> Self {
        self.filter = Some(condition.into());
        self.values = parameters.iter().map(|parameter| parameter.to_sql()).collect();
        self
    }

    /// Which columns to return, by name; all that are no vectors unless said otherwise.
    pub fn columns(mut self, names: &[&str]) -> Self {
        self.columns = Some(names.iter().map(|&name| name.to_owned()).collect());
        self
    }

    /// Runs it. The rows have the columns asked for and, last, `distance` (`f64`).
    ///
    /// # Errors
    /// As a query: `22000` where the dimensions are others, `42P01`, `42703`, and what the filter has.
    pub async fn run(self) -> Result<Rows> {
        let Table { session, name } = self.table;
        let columns = match self.columns {
            Some(columns) => columns,
            None => {
                let catalog = session.reader().catalog();
                // That there is no such table is for the query to say.
                let columns = catalog.table(&name).into_iter().flat_map(|table| table.visible_columns());
                columns.filter(|(_, column)| !column.ty.is_vector()).map(|(_, column)| column.name.clone()).collect()
            }
        };
        let mut values = self.values;
        values.push(Value::vector(self.query));
        let distance = format!("{} {} ${}", quoted(&self.column), self.metric.operator(), values.len());
        let items: String = columns.iter().map(|column| format!("{}, ", quoted(column))).collect();
        // A comment at the end of the condition must not swallow what follows.
        let filter = self.filter.map_or_else(String::new, |condition| format!(" WHERE ({condition}\n)"));
        let sql = format!(
            "SELECT {items}{distance} AS distance FROM {}{filter} ORDER BY {distance} LIMIT {}",
            quoted(&name),
            i64::try_from(self.k).unwrap_or(i64::MAX),
        );
        session.query_values(&sql, values).await
    }
}
