//! `lodedb_models`: what embeds, and what it did since it was opened.

use lodedb_embed::Device;
use lodedb_sql::error::Result;
use lodedb_sql::text::parse_text;
use lodedb_sql::{Datum, ScalarType, SqlError, TypeWithModifier};
use serde_json::{Map, Value};

use crate::models::Shape;
use crate::query::functions::Scope;
use crate::query::pg_catalog::table::{Rows, text};

/// `lodedb_models`.
pub(super) fn models(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for model in scope.catalog.models() {
        let described: Value = serde_json::from_str(&model.description).map_err(SqlError::internal)?;
        let of_text = |name: &str| &described["text"][name];
        let files: Map<String, Value> =
            model.files.iter().map(|file| (file.name.clone(), Value::from(file.hash.as_str()))).collect();
        let work = scope.hooks.models.as_ref().and_then(|models| models.work(model));
        let count = |count: u64| Datum::Int8(i64::try_from(count).unwrap_or(i64::MAX));
        let is_open = work.is_some();
        let done = work.unwrap_or_default();
        let when_open = |datum: Datum| if is_open { datum } else { Datum::Null };
        let number = |value: &Value| value.as_u64().and_then(|number| i32::try_from(number).ok());
        rows.push([
            ("name", text(&model.name)),
            ("kind", text(&model.kind)),
            ("dims", Datum::Int4(model.dims as i32)),
            ("pooling", of_text("pooling").as_str().map_or(Datum::Null, text)),
            ("normalize", Datum::Bool(described["normalize"] == true)),
            ("max_tokens", number(of_text("max_tokens")).map_or(Datum::Null, Datum::Int4)),
            ("prompts", json(of_text("prompts"))?),
            ("description", json(&described)?),
            ("version", text(&model.hash)),
            ("files", json(&Value::Object(files))?),
            ("size_bytes", count(model.files.iter().map(|file| file.bytes).sum())),
            ("is_open", Datum::Bool(is_open)),
            ("device", when_open(text(device(done.device)))),
            ("inputs", when_open(json(&shapes(&done.inputs))?)),
            ("outputs", when_open(json(&shapes(&done.outputs))?)),
            ("calls", count(done.calls)),
            ("embedded", count(done.embedded)),
            ("seconds", Datum::Float8(done.time.as_secs_f64())),
        ])?;
    }
    Ok(())
}

fn device(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
    }
}

fn shapes(shapes: &[Shape]) -> Value {
    Value::Object(shapes.iter().map(|(name, dims)| (name.clone(), Value::from(dims.clone()))).collect())
}

fn json(value: &Value) -> Result<Datum> {
    let jsonb = TypeWithModifier::plain(ScalarType::Jsonb);
    if value.is_null() { Ok(Datum::Null) } else { parse_text(&value.to_string(), jsonb) }
}
