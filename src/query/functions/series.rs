//! Functions in FROM: series, elements, keys, matches. Their arguments are constants of the statement; a call that
//! refers to columns beside it is run once a row, with their values put in, by whoever plans LATERAL.

use std::fmt;
use std::sync::Arc;

use chrono::{Datelike, NaiveDate};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use lodedb_sql::cast::{CastContext, CastEnvironment};
use lodedb_sql::datum::Interval;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::cast::cast_value;
use super::datetime::{DAY_US, local_of, moment_of};
use super::definition::{argument_type, cast_environment};
use super::errors::{to_datafusion, undefined_function};
use super::scope::Scope;
use super::{array, json, strings};
use crate::query::arrow::{BatchBuilder, arrow_field, scalar_datum};
use crate::query::plan::syntax::TWIN_MARK;

/// How many rows a batch of a series has.
const BATCH_ROWS: usize = 8192;

/// A constant argument.
#[derive(Clone, Debug)]
struct Argument {
    datum: Datum,
    ty: Option<PgType>,
}

/// A call with its arguments known.
struct Call<'a> {
    name: &'static str,
    arguments: &'a [Argument],
    environment: CastEnvironment,
    scope: Option<&'a Scope>,
}

/// Makes the rows of a table function anew at each scan.
type Rows = Arc<dyn Fn() -> Box<dyn Iterator<Item = Result<Vec<Datum>>> + Send> + Send + Sync>;

/// What a table function gives.
struct Table {
    columns: Vec<(&'static str, TypeWithModifier)>,
    rows: Rows,
}

type Evaluate = fn(&Call<'_>) -> Result<Table>;

/// A function in FROM.
struct TableFunction {
    name: &'static str,
    evaluate: Evaluate,
}

impl fmt::Debug for TableFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The functions of this file, by name.
pub(super) fn functions() -> Vec<(&'static str, Arc<dyn TableFunctionImpl>)> {
    const ALL: &[(&str, Evaluate)] = &[
        ("generate_series", generate_series),
        ("generate_subscripts", |call| {
            let arguments = call.values();
            call.column(ScalarType::Int4, array::subscripts(&arguments)?)
        }),
        ("unnest", unnest),
        ("jsonb_array_elements", |call| {
            call.named("value", ScalarType::Jsonb, json::array_elements(&call.values(), true, false)?)
        }),
        ("json_array_elements", |call| {
            call.named("value", ScalarType::Json, json::array_elements(&call.values(), false, false)?)
        }),
        ("jsonb_array_elements_text", |call| {
            call.named("value", ScalarType::Text, json::array_elements(&call.values(), true, true)?)
        }),
        ("json_array_elements_text", |call| {
            call.named("value", ScalarType::Text, json::array_elements(&call.values(), false, true)?)
        }),
        ("jsonb_object_keys", |call| call.column(ScalarType::Text, json::object_keys(&call.values())?)),
        ("json_object_keys", |call| call.column(ScalarType::Text, json::object_keys(&call.values())?)),
        ("jsonb_each", |call| call.pairs(ScalarType::Jsonb, json::each(&call.values(), true, false)?)),
        ("json_each", |call| call.pairs(ScalarType::Json, json::each(&call.values(), false, false)?)),
        ("jsonb_each_text", |call| call.pairs(ScalarType::Text, json::each(&call.values(), true, true)?)),
        ("json_each_text", |call| call.pairs(ScalarType::Text, json::each(&call.values(), false, true)?)),
        ("regexp_matches", |call| {
            let rows = strings::regexp_matches(&call.values())?.into_iter().map(|row| vec![row]).collect();
            Ok(call.table(vec![(call.name, TypeWithModifier::plain(PgType::Array(ScalarType::Text)))], rows))
        }),
        ("regexp_split_to_table", |call| call.column(ScalarType::Text, strings::regexp_split(&call.values())?)),
        ("string_to_table", |call| {
            let values = call.values();
            let parts = match (values.first(), values.get(1)) {
                (Some(Datum::Text(text)), Some(Datum::Text(separator))) if !separator.is_empty() => {
                    text.split(separator.as_str()).map(|part| Datum::Text(part.to_owned())).collect()
                }
                (Some(Datum::Text(text)), _) => vec![Datum::Text(text.clone())],
                _ => Vec::new(),
            };
            call.column(ScalarType::Text, parts)
        }),
        ("split_sentences", |call| {
            let Datum::Text(text) = call.converted(0, ScalarType::Text)? else {
                return call.column(ScalarType::Text, Vec::new());
            };
            call.texts(lodedb_embed::split_sentences(&text))
        }),
        ("split_text", split_text),
        ("pg_partition_ancestors", |call| call.named("relid", ScalarType::Regclass, call.values())),
        ("pg_options_to_table", options_to_table),
        ("pg_get_keywords", |call| {
            let text = TypeWithModifier::plain(ScalarType::Text);
            Ok(call.table(vec![("word", text), ("catcode", text), ("catdesc", text)], Vec::new()))
        }),
        ("_pg_expandarray", expand_array),
        ("pg_listening_channels", listening_channels),
        ("aclexplode", |call| {
            let oid = TypeWithModifier::plain(ScalarType::Oid);
            let columns = vec![
                ("grantor", oid),
                ("grantee", oid),
                ("privilege_type", TypeWithModifier::plain(ScalarType::Text)),
                ("is_grantable", TypeWithModifier::plain(ScalarType::Bool)),
            ];
            Ok(call.table(columns, Vec::new()))
        }),
    ];
    ALL.iter()
        .map(|(name, evaluate)| {
            let function: Arc<dyn TableFunctionImpl> = Arc::new(TableFunction { name, evaluate: *evaluate });
            (*name, function)
        })
        .collect()
}

impl Call<'_> {
    fn values(&self) -> Vec<Datum> {
        self.arguments.iter().map(|argument| argument.datum.clone()).collect()
    }

    fn types(&self) -> Vec<TypeWithModifier> {
        self.arguments
            .iter()
            .map(|argument| TypeWithModifier::plain(argument.ty.unwrap_or(PgType::Scalar(ScalarType::Unknown))))
            .collect()
    }

    fn table(&self, columns: Vec<(&'static str, TypeWithModifier)>, rows: Vec<Vec<Datum>>) -> Table {
        let rows = Arc::new(rows);
        let rows: Rows = Arc::new(move || {
            let rows = rows.clone();
            Box::new((0..rows.len()).map(move |place| Ok(rows[place].clone())))
        });
        Table { columns, rows }
    }

    /// One column with the name of the function.
    fn column(&self, ty: impl Into<PgType>, values: Vec<Datum>) -> Result<Table> {
        self.named(self.name, ty, values)
    }

    /// One column of texts with the name of the function.
    fn texts<T: Into<String>>(&self, texts: Vec<T>) -> Result<Table> {
        self.column(ScalarType::Text, texts.into_iter().map(|text| Datum::Text(text.into())).collect())
    }

    fn named(&self, name: &'static str, ty: impl Into<PgType>, values: Vec<Datum>) -> Result<Table> {
        let columns = vec![(name, TypeWithModifier::plain(ty))];
        Ok(self.table(columns, values.into_iter().map(|value| vec![value]).collect()))
    }

    fn pairs(&self, value: ScalarType, pairs: Vec<(Datum, Datum)>) -> Result<Table> {
        let columns =
            vec![("key", TypeWithModifier::plain(ScalarType::Text)), ("value", TypeWithModifier::plain(value))];
        Ok(self.table(columns, pairs.into_iter().map(|(key, value)| vec![key, value]).collect()))
    }

    fn converted(&self, place: usize, to: impl Into<PgType>) -> Result<Datum> {
        let to = TypeWithModifier::plain(to);
        match self.arguments.get(place) {
            Some(Argument { datum, ty: Some(from) }) if *from != to.ty => {
                cast_value(datum.clone(), *from, to, CastContext::Explicit, &self.environment, self.scope)
            }
            Some(argument) => Ok(argument.datum.clone()),
            None => Ok(Datum::Null),
        }
    }
}

/// `split_text([model,] text, max, overlap)`: pieces of so many words, or of so many tokens of a model.
fn split_text(call: &Call<'_>) -> Result<Table> {
    if !(2..=4).contains(&call.arguments.len()) {
        return Err(undefined_function(call.name, &call.types()));
    }
    // With a model, the second argument is the text.
    let is_number = |place: usize| {
        let ty = call.arguments.get(place).and_then(|argument| argument.ty);
        matches!(ty, Some(PgType::Scalar(ScalarType::Int2 | ScalarType::Int4 | ScalarType::Int8)))
    };
    let first = usize::from(!is_number(1));
    let number = |place: usize, least: i64| match call.converted(place, ScalarType::Int8)? {
        Datum::Null if place >= call.arguments.len() => Ok(Some(0)),
        Datum::Int8(number) if number >= least => Ok(usize::try_from(number).ok()),
        Datum::Int8(number) => {
            let message = format!("{number} is too little for {}: it must be {least} or more", call.name);
            Err(SqlError::new(SqlState::InvalidParameterValue, message))
        }
        _ => Ok(None),
    };
    let (text, max, overlap) = (call.converted(first, ScalarType::Text)?, number(first + 1, 1)?, number(first + 2, 0)?);
    let (Datum::Text(text), Some(max), Some(overlap)) = (text, max, overlap) else {
        return call.column(ScalarType::Text, Vec::new());
    };
    if first == 0 {
        let pieces = lodedb_embed::split_words(&text, max, overlap);
        return call.texts(pieces.map_err(|error| SqlError::new(SqlState::InvalidParameterValue, error.to_string()))?);
    }
    let (Datum::Text(name), Some(scope)) = (call.converted(0, ScalarType::Text)?, call.scope) else {
        return call.column(ScalarType::Text, Vec::new());
    };
    call.texts(scope.models()?.split_text(super::embed::usable_model(scope, &name)?, &text, max, overlap)?)
}

fn zero_step() -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, "step size cannot equal zero")
}

fn generate_series(call: &Call<'_>) -> Result<Table> {
    let types: Vec<Option<PgType>> = call.arguments.iter().map(|argument| argument.ty).collect();
    if !(2..=3).contains(&types.len()) {
        return Err(undefined_function(call.name, &call.types()));
    }
    let any = |wanted: &[ScalarType]| {
        types.iter().flatten().any(|ty| wanted.iter().any(|scalar| *ty == PgType::Scalar(*scalar)))
    };
    if any(&[ScalarType::Timestamp, ScalarType::Timestamptz, ScalarType::Date, ScalarType::Interval]) {
        return series_of_moments(call, any(&[ScalarType::Timestamptz, ScalarType::Date]));
    }
    if any(&[ScalarType::Numeric, ScalarType::Float4, ScalarType::Float8]) {
        return series_of_numbers(call);
    }
    let ty = if any(&[ScalarType::Int8]) { ScalarType::Int8 } else { ScalarType::Int4 };
    let bound = |place: usize| -> Result<Option<i64>> {
        Ok(match call.converted(place, ScalarType::Int8)? {
            Datum::Int8(value) => Some(value),
            _ => None,
        })
    };
    let step = if types.len() > 2 { bound(2)? } else { Some(1) };
    let columns = vec![(call.name, TypeWithModifier::plain(ty))];
    let (Some(start), Some(stop), Some(step)) = (bound(0)?, bound(1)?, step) else {
        return Ok(call.table(columns, Vec::new()));
    };
    if step == 0 {
        return Err(zero_step());
    }
    let rows: Rows = Arc::new(move || {
        let mut next = Some(start);
        Box::new(std::iter::from_fn(move || {
            let value = next.filter(|value| if step > 0 { *value <= stop } else { *value >= stop })?;
            next = value.checked_add(step);
            Some(Ok(vec![if ty == ScalarType::Int8 { Datum::Int8(value) } else { Datum::Int4(value as i32) }]))
        }))
    });
    Ok(Table { columns, rows })
}

fn series_of_numbers(call: &Call<'_>) -> Result<Table> {
    let bound = |place: usize| -> Result<Option<bigdecimal::BigDecimal>> {
        Ok(match call.converted(place, ScalarType::Numeric)? {
            Datum::Numeric(value) => Some(value),
            _ => None,
        })
    };
    let step = if call.arguments.len() > 2 { bound(2)? } else { Some(1.into()) };
    let columns = vec![(call.name, TypeWithModifier::plain(ScalarType::Numeric))];
    let (Some(start), Some(stop), Some(step)) = (bound(0)?, bound(1)?, step) else {
        return Ok(call.table(columns, Vec::new()));
    };
    let zero = bigdecimal::BigDecimal::from(0);
    if step == zero {
        return Err(zero_step());
    }
    let up = step > zero;
    let rows: Rows = Arc::new(move || {
        let (mut next, stop, step) = (start.clone(), stop.clone(), step.clone());
        Box::new(std::iter::from_fn(move || {
            if (up && next > stop) || (!up && next < stop) {
                return None;
            }
            let value = next.clone();
            next = &next + &step;
            Some(Ok(vec![Datum::Numeric(value)]))
        }))
    });
    Ok(Table { columns, rows })
}

/// A moment some intervals later: months keep the day where the month has it.
pub fn shifted(us: i64, interval: Interval, times: i64) -> Option<i64> {
    let months = i64::from(interval.months).checked_mul(times)?;
    let mut shifted = us;
    if months != 0 {
        let value = chrono::DateTime::from_timestamp_micros(us)?.naive_utc();
        let total = i64::from(value.year()) * 12 + i64::from(value.month0()) + months;
        let (year, month) = (i32::try_from(total.div_euclid(12)).ok()?, total.rem_euclid(12) as u32 + 1);
        let day = (28..=31)
            .rev()
            .chain([value.day()])
            .find_map(|last| NaiveDate::from_ymd_opt(year, month, last.min(value.day())))?;
        shifted = day.and_time(value.time()).and_utc().timestamp_micros();
    }
    let rest = i64::from(interval.days).checked_mul(DAY_US)?.checked_add(interval.microseconds)?.checked_mul(times)?;
    shifted.checked_add(rest)
}

fn series_of_moments(call: &Call<'_>, with_zone: bool) -> Result<Table> {
    let ty = if with_zone { ScalarType::Timestamptz } else { ScalarType::Timestamp };
    if call.arguments.len() != 3 {
        return Err(undefined_function(call.name, &call.types()));
    }
    let bound = |place: usize| -> Result<Option<i64>> {
        Ok(match call.converted(place, ty)? {
            Datum::Timestamp(us) | Datum::Timestamptz(us) => Some(us),
            _ => None,
        })
    };
    let columns = vec![(call.name, TypeWithModifier::plain(ty))];
    let step = call.converted(2, ScalarType::Interval)?;
    let (Some(start), Some(stop), Datum::Interval(step)) = (bound(0)?, bound(1)?, step) else {
        return Ok(call.table(columns, Vec::new()));
    };
    let length = i64::from(step.months) * 30 * DAY_US + i64::from(step.days) * DAY_US + step.microseconds;
    if length == 0 {
        return Err(zero_step());
    }
    let zone = call.environment.zone;
    let rows: Rows = Arc::new(move || {
        let mut next = Some(start);
        Box::new(std::iter::from_fn(move || {
            let value = next.filter(|value| if length > 0 { *value <= stop } else { *value >= stop })?;
            // Days and months are steps of the calendar that the session's zone keeps.
            next = if with_zone {
                shifted(local_of(value, zone), step, 1).map(|local| moment_of(local, zone))
            } else {
                shifted(value, step, 1)
            };
            Some(Ok(vec![if with_zone { Datum::Timestamptz(value) } else { Datum::Timestamp(value) }]))
        }))
    });
    Ok(Table { columns, rows })
}

fn unnest(call: &Call<'_>) -> Result<Table> {
    let mut columns = Vec::new();
    let mut lists = Vec::new();
    for argument in call.arguments {
        let element = match argument.ty {
            Some(PgType::Array(element)) => element,
            Some(PgType::Scalar(ScalarType::Int2vector)) => ScalarType::Int2,
            Some(PgType::Scalar(ScalarType::Oidvector)) => ScalarType::Oid,
            _ => return Err(undefined_function(call.name, &call.types())),
        };
        columns.push((call.name, TypeWithModifier::plain(element)));
        lists.push(match &argument.datum {
            Datum::Array(array) => array.elements.clone(),
            _ => Vec::new(),
        });
    }
    let length = lists.iter().map(Vec::len).max().unwrap_or(0);
    let rows = (0..length)
        .map(|row| lists.iter().map(|list| list.get(row).cloned().unwrap_or(Datum::Null)).collect())
        .collect();
    Ok(call.table(columns, rows))
}

/// `information_schema._pg_expandarray`: the elements and their places.
fn expand_array(call: &Call<'_>) -> Result<Table> {
    let (element, elements) = match call.arguments {
        [Argument { datum: Datum::Array(array), .. }] => (array.element, array.elements.clone()),
        _ => (ScalarType::Int2, Vec::new()),
    };
    let columns = vec![("x", TypeWithModifier::plain(element)), ("n", TypeWithModifier::plain(ScalarType::Int4))];
    let rows = elements.into_iter().enumerate().map(|(place, value)| vec![value, Datum::Int4(place as i32 + 1)]);
    Ok(call.table(columns, rows.collect()))
}

/// `{a=1,b=2}` as rows.
fn options_to_table(call: &Call<'_>) -> Result<Table> {
    let text = TypeWithModifier::plain(ScalarType::Text);
    let rows = match call.arguments {
        [Argument { datum: Datum::Array(array), .. }] => array
            .elements
            .iter()
            .filter_map(|option| match option {
                Datum::Text(option) => {
                    let (name, value) = option.split_once('=').unwrap_or((option, ""));
                    Some(vec![Datum::Text(name.to_owned()), Datum::Text(value.to_owned())])
                }
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    Ok(call.table(vec![("option_name", text), ("option_value", text)], rows))
}

/// The channels there are when the rows are asked for, not when the statement was planned.
fn listening_channels(call: &Call<'_>) -> Result<Table> {
    let notify = call.scope.and_then(|scope| scope.hooks.notify.clone());
    let rows: Rows = Arc::new(move || {
        let channels = notify.as_ref().map(|notify| notify.channels()).unwrap_or_default();
        Box::new(channels.into_iter().map(|channel| Ok(vec![Datum::Text(channel)])))
    });
    Ok(Table { columns: vec![(call.name, TypeWithModifier::plain(ScalarType::Text))], rows })
}

impl TableFunctionImpl for TableFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> DataFusionResult<Arc<dyn TableProvider>> {
        let session = args.session();
        let schema = DFSchema::empty();
        // One row without columns: every constant has one value on it.
        let row = one_row()?;
        let mut arguments = Vec::with_capacity(args.exprs().len());
        for expr in args.exprs() {
            if expr.any_column_refs() || expr.contains_outer() {
                let what = format!("a column as an argument of {} in FROM", self.name);
                return Err(to_datafusion(SqlError::unsupported(what)));
            }
            let physical = session.create_physical_expr(expr.clone(), &schema)?;
            let field = physical.return_field(&Schema::empty())?;
            let ty = argument_type(&field);
            let scalar = match physical.evaluate(&row)? {
                ColumnarValue::Scalar(scalar) => scalar,
                ColumnarValue::Array(array) => datafusion::common::ScalarValue::try_from_array(&array, 0)?,
            };
            let datum = match ty {
                Some(ty) => scalar_datum(&scalar, ty).map_err(to_datafusion)?,
                None => Datum::Null,
            };
            arguments.push(Argument { datum, ty: ty.map(|ty| ty.ty) });
        }
        let scope = Scope::of(session.config_options()).ok();
        let call = Call { name: self.name, arguments: &arguments, environment: cast_environment(scope), scope };
        let table = (self.evaluate)(&call).map_err(to_datafusion)?;
        let field = |(at, (name, ty)): (usize, &(&str, TypeWithModifier))| {
            // Columns of one name are told apart by what follows the mark, which a client does not see.
            let again = table.columns[..at].iter().any(|(other, _)| other == name);
            let name = if again { format!("{name}{TWIN_MARK}{at}") } else { (*name).to_owned() };
            arrow_field(&name, *ty, true)
        };
        let fields: Vec<Field> = table.columns.iter().enumerate().map(field).collect();
        let schema = Arc::new(Schema::new(fields));
        let partition = Arc::new(Partition { schema: schema.clone(), rows: table.rows });
        Ok(Arc::new(StreamingTable::try_new(schema, vec![partition])?))
    }
}

fn one_row() -> DataFusionResult<RecordBatch> {
    let field = Field::new("one", DataType::Null, true);
    let column = Arc::new(datafusion::arrow::array::NullArray::new(1));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column])?)
}

/// The rows of a table function as a stream.
struct Partition {
    schema: SchemaRef,
    rows: Rows,
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut rows = (self.rows)();
        let schema = self.schema.clone();
        let batches = std::iter::from_fn(move || next_batch(&mut rows, &schema).map_err(to_datafusion).transpose());
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}

fn next_batch(rows: &mut impl Iterator<Item = Result<Vec<Datum>>>, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
    let positions = (0..schema.fields().len()).collect();
    let mut builder = BatchBuilder::new(schema.clone(), positions, BATCH_ROWS)?;
    for row in rows.take(BATCH_ROWS) {
        builder.push(&row?)?;
    }
    if builder.is_empty() { Ok(None) } else { builder.finish().map(Some) }
}
