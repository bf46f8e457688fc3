//! `POST /search`: the rows whose vectors are nearest to words, a picture, a row or a vector.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lodedb_sql::error::Result;
use lodedb_sql::vector::Metric;
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::failure::Failure;
use super::target::{Input, Target, is_bytes, is_text, metric_name};
use super::{Visit, ms, to_json};
use crate::db::{Field, Row};
use crate::query::dml::quoted;
use crate::server::side::http::Answer;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 1000;
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// The greatest integer up to which JavaScript tells all of them apart.
const EXACT_MAX: u64 = 1 << 53;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    table: String,
    column: Option<String>,
    text: Option<String>,
    image: Option<String>,
    id: Option<Value>,
    vector: Option<Vec<f32>>,
    model: Option<String>,
    prompt: Option<String>,
    limit: Option<usize>,
    metric: Option<Metrics>,
    columns: Option<Vec<String>>,
}

/// A metric by its name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Metrics {
    L2,
    Ip,
    Cosine,
    L1,
}

impl From<Metrics> for Metric {
    fn from(metric: Metrics) -> Self {
        match metric {
            Metrics::L2 => Self::L2,
            Metrics::Ip => Self::InnerProduct,
            Metrics::Cosine => Self::Cosine,
            Metrics::L1 => Self::L1,
        }
    }
}

/// What is answered.
#[derive(Debug, Serialize)]
struct Found {
    results: Vec<Neighbour>,
    metric: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    took_ms: Took,
}

#[derive(Debug, Serialize)]
struct Neighbour {
    id: Value,
    distance: f64,
    row: Columns,
}

/// Columns of a row, in their order.
#[derive(Debug)]
struct Columns(Vec<(String, Value)>);

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// How long it took, in milliseconds.
#[derive(Debug, Serialize)]
struct Took {
    /// Making a vector of words or a picture, or reading that of a row.
    embed: f64,
    search: f64,
    total: f64,
}

/// What the vector to search with is made of.
enum By {
    Text(String),
    Image(Vec<u8>),
    Id(String),
    Vector(Vec<f32>),
}

/// Bytes as JSON carries them.
pub(super) fn read_base64(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| {
        SqlError::new(SqlState::InvalidTextRepresentation, format!("the picture is no base64: {error}"))
    })
}

/// The value of a key as SQL reads it.
pub(super) fn key_text(id: &Value) -> Result<String> {
    match id {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(SqlError::new(SqlState::InvalidParameterValue, "an id is a number or a string"))
        }
    }
}

/// A value of a row as JSON: numbers, booleans, JSON and vectors as such, and everything else as PostgreSQL prints it. Integers that
/// JavaScript would round are strings.
pub(super) fn value_of(row: &Row<'_>, at: usize, field: &Field) -> Result<Value> {
    let Some(text) = row.text(at)? else { return Ok(Value::Null) };
    let PgType::Scalar(ty) = field.ty.ty else { return Ok(Value::String(text)) };
    Ok(match ty {
        ScalarType::Bool => Value::Bool(row.get(at)?),
        ScalarType::Int2 | ScalarType::Int4 | ScalarType::Int8 => {
            let number: i64 = row.get(at)?;
            if number.unsigned_abs() <= EXACT_MAX { number.into() } else { Value::String(text) }
        }
        ScalarType::Float4 | ScalarType::Float8 | ScalarType::Json | ScalarType::Jsonb | ScalarType::Vector => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        _ => Value::String(text),
    })
}

impl Asked {
    /// The one thing that is asked by.
    fn by(&self) -> Result<By> {
        let given = (&self.text, &self.image, &self.id, &self.vector);
        Ok(match given {
            (Some(text), None, None, None) => By::Text(text.clone()),
            (None, Some(image), None, None) => By::Image(read_base64(image)?),
            (None, None, Some(id), None) => By::Id(key_text(id)?),
            (None, None, None, Some(vector)) => By::Vector(vector.clone()),
            _ => {
                let message = "one of \"text\", \"image\", \"id\" and \"vector\" says what to search for";
                return Err(SqlError::new(SqlState::InvalidParameterValue, message));
            }
        })
    }

    /// The columns that come back: the key first, if there is one, and then those asked for, or the key and all texts.
    fn columns(&self, target: &Target) -> Result<Vec<String>> {
        let name = |at: usize| target.column(at).name.clone();
        let mut columns: Vec<String> = target.key.map(name).into_iter().collect();
        match &self.columns {
            Some(asked) => {
                for column in asked {
                    if target.table.position(column).is_some_and(|at| is_bytes(target.column(at))) {
                        let message = format!("column \"{column}\" holds bytes");
                        return Err(SqlError::new(SqlState::InvalidParameterValue, message)
                            .with_hint("GET /picture gives pictures."));
                    }
                }
                columns.extend(asked.iter().cloned());
            }
            None => {
                columns.extend(target.key.map(name));
                let texts =
                    target.table.visible_columns().filter(|&(at, column)| is_text(column) && Some(at) != target.key);
                columns.extend(texts.map(|(_, column)| column.name.clone()));
            }
        }
        Ok(columns)
    }
}

/// Answers it.
pub(super) async fn answer(visit: &mut Visit, body: &[u8]) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let asked: Asked = super::read_json(body)?;
    let catalog = visit.catalog();
    let target = Target::find(&catalog, &asked.table, asked.column.as_deref())?;
    let by = asked.by()?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let message = format!("\"limit\" must be between 1 and {LIMIT_MAX}, not {limit}");
        return Err(SqlError::new(SqlState::InvalidParameterValue, message).into());
    }
    let metric = asked.metric.map_or(target.metric, Metric::from);
    let columns = asked.columns(&target)?;
    let input = match &by {
        By::Text(_) => Some(Input::Text),
        By::Image(_) => Some(Input::Image),
        By::Id(_) | By::Vector(_) => None,
    };
    let model = input.map(|input| target.choose_model(&catalog, input, asked.model.as_deref())).transpose()?;
    let model_name = model.as_deref().unwrap_or_default();
    let (vector, other_than) = match by {
        By::Vector(vector) => (vector, None),
        By::Text(text) => (visit.embed_text(model_name, &text, asked.prompt.as_deref()).await?, None),
        By::Image(image) => (visit.embed_image(model_name, &image).await?, None),
        By::Id(id) => (vector_of(visit, &target, &id).await?, Some(id)),
    };
    let embedded = begun.elapsed();

    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let column = target.column(target.vector).name.clone();
    let mut search = visit.session.table(&target.table.name).search(column, &vector, limit);
    search = search.metric(metric).columns(&names);
    if let Some(id) = &other_than {
        search = search.filter(format!("{} <> $1", quoted(&target.require_key()?.name)), &[id]);
    }
    let rows = search.run().await?;
    let searched = begun.elapsed();

    let keys = usize::from(target.key.is_some());
    let mut results = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let mut values = Vec::with_capacity(rows.fields().len());
        for (at, field) in rows.fields().iter().enumerate() {
            values.push((field.name.clone(), value_of(&row, at, field)?));
        }
        let distance = values.pop().and_then(|(_, distance)| distance.as_f64());
        let id = values.drain(..keys).next().map_or(Value::Null, |(_, id)| id);
        // Rows without a vector come last, and have no distance.
        results.extend(distance.map(|distance| Neighbour { id, distance, row: Columns(values) }));
    }
    let took_ms = Took { embed: ms(embedded), search: ms(searched - embedded), total: ms(begun.elapsed()) };
    let answer = to_json(200, &Found { results, metric: metric_name(metric), model, took_ms })?;
    if answer.body.len() > ANSWER_BYTES_MAX {
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, "the answer is too long")
            .with_hint("Ask for fewer rows, or for other \"columns\".")
            .into());
    }
    Ok(answer)
}

/// The vector of a row.
async fn vector_of(visit: &mut Visit, target: &Target, id: &str) -> Result<Vec<f32>, Failure> {
    let [vector, table, key] =
        [&target.column(target.vector).name, &target.table.name, &target.require_key()?.name].map(|name| quoted(name));
    let sql = format!("SELECT {vector}::vector FROM {table} WHERE {key} = $1");
    let rows = visit.session.query(&sql, &[&id]).await?;
    let row = rows.first().ok_or_else(|| Failure::not_found(format!("there is no row {id} in {table}")))?;
    row.get::<Option<Vec<f32>>>(0)?.ok_or_else(|| {
        SqlError::new(SqlState::NullValueNotAllowed, format!("row {id} of {table} has no vector")).into()
    })
}
