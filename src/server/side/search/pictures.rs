//! `GET /picture`, `POST /pictures`, `DELETE /pictures`: the pictures of a table, one by one.

use std::time::Instant;

use lodedb_sql::{SqlError, SqlState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::nearest::{key_text, read_base64, value_of};
use super::target::{Input, Target};
use super::{Visit, ms, to_json};
use crate::db::ToSql;
use crate::query::dml::quoted;
use crate::server::side::http::{Answer, Request};

/// A picture to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    table: String,
    column: Option<String>,
    id: Option<Value>,
    name: Option<String>,
    image: String,
    model: Option<String>,
}

/// The table and the row that the query of a request names.
fn named(request: &Request, visit: &Visit) -> Result<(Target, String), Failure> {
    let parameter = |name: &str| {
        request.parameter(name).ok_or_else(|| {
            SqlError::new(SqlState::InvalidParameterValue, format!("\"{name}\" is missing behind the path"))
        })
    };
    let (table, id) = (parameter("table")?, parameter("id")?);
    let column = request.parameter("column");
    Ok((Target::find(&visit.catalog(), &table, column.as_deref())?, id))
}

/// The picture of a row, if it is one that browsers show and that is read here.
pub(super) async fn give(visit: &mut Visit, request: &Request) -> Result<Answer, Failure> {
    let (target, id) = named(request, visit)?;
    let [picture, table, key] =
        [&target.require_picture()?.name, &target.table.name, &target.require_key()?.name].map(|name| quoted(name));
    let rows = visit.session.query(&format!("SELECT {picture} FROM {table} WHERE {key} = $1"), &[&id]).await?;
    let none = || Failure::not_found(format!("there is no picture {id} in {table}"));
    let bytes: Vec<u8> = rows.first().ok_or_else(none)?.get::<Option<_>>(0)?.ok_or_else(none)?;
    // What else it may be, a browser is not to see: it might run it.
    let content_type = match lodedb_embed::image_info(&bytes).map_err(|_| none())?.format {
        "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        _ => return Err(none()),
    };
    Ok(Answer::new(200, content_type, bytes).with("content-disposition", "inline"))
}

/// Adds a picture, with its vector where the table does not compute that.
pub(super) async fn add(visit: &mut Visit, body: &[u8]) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let added: Added = super::read_json(body)?;
    let catalog = visit.catalog();
    let target = Target::find(&catalog, &added.table, added.column.as_deref())?;
    let (key, picture) = (quoted(&target.require_key()?.name), quoted(&target.require_picture()?.name));
    let image = read_base64(&added.image)?;
    // A table that computes nothing of it would take any bytes.
    lodedb_embed::image_info(&image)
        .map_err(|error| SqlError::new(SqlState::InvalidBinaryRepresentation, error.to_string()))?;
    let id = added.id.as_ref().map(key_text).transpose()?;
    let model = match target.computed {
        Some(_) => None,
        None => Some(target.choose_model(&catalog, Input::Image, added.model.as_deref())?),
    };

    let (mut columns, mut values) = (vec![picture], vec!["$1::bytea".to_owned()]);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&image];
    if let Some(model) = &model {
        parameters.push(model);
        columns.push(quoted(&target.column(target.vector).name));
        values.push(format!("embed_image(${}::text, $1::bytea)", parameters.len()));
    }
    if let Some(id) = &id {
        parameters.push(id);
        columns.push(key.clone());
        values.push(format!("${}", parameters.len()));
    }
    if let Some(name) = &added.name {
        let Some(caption) = target.caption else {
            let message = format!("relation \"{}\" has no column of text for a name", target.table.name);
            return Err(SqlError::new(SqlState::WrongObjectType, message).into());
        };
        parameters.push(name);
        columns.push(quoted(&target.column(caption).name));
        values.push(format!("${}", parameters.len()));
    }
    let (table, columns, values) = (quoted(&target.table.name), columns.join(", "), values.join(", "));
    let sql = format!("INSERT INTO {table} ({columns}) VALUES ({values}) RETURNING {key}");
    let rows = visit.session.query(&sql, &parameters).await?;
    let id = match (rows.first(), rows.fields().first()) {
        (Some(row), Some(field)) => value_of(&row, 0, field)?,
        _ => Value::Null,
    };
    Ok(to_json(201, &json!({ "id": id, "took_ms": { "total": ms(begun.elapsed()) } }))?)
}

/// Removes a row with its picture.
pub(super) async fn remove(visit: &mut Visit, request: &Request) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let (target, id) = named(request, visit)?;
    target.require_picture()?;
    let (table, key) = (quoted(&target.table.name), quoted(&target.require_key()?.name));
    let removed = visit.session.execute(&format!("DELETE FROM {table} WHERE {key} = $1"), &[&id]).await?;
    if removed == 0 {
        return Err(Failure::not_found(format!("there is no row {id} in {table}")));
    }
    Ok(to_json(200, &json!({ "removed": removed, "took_ms": { "total": ms(begun.elapsed()) } }))?)
}
