//! Vectors of texts and pictures, by the models of the catalog.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::logical_expr::ColumnarValue;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::array::array_of;
use super::definition::{Call, Definition, function};
use super::scope::Scope;
use super::types::{BYTEA, TEXT, TEXT_ARRAY, TO_JSONB, TO_VECTOR, TO_VECTOR_ARRAY};
use crate::catalog::{Catalog, Model};
use crate::models::{Keys, NotEmbedded};
use crate::query::arrow::datums_to_array;
use crate::query::interrupt::giving_way;

/// The functions that ask a model for a vector.
pub(crate) const EMBEDDING: [&str; 2] = ["embed", "embed_image"];

type Vectors = std::result::Result<Vec<Arc<[f32]>>, NotEmbedded>;

/// The model of this name.
pub(crate) fn model_named<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Arc<Model>> {
    catalog.model(name).ok_or_else(|| {
        SqlError::new(SqlState::UndefinedObject, format!("model \"{name}\" does not exist"))
            .with_hint("CREATE MODEL makes one; the view lodedb_models lists them.")
    })
}

/// The model of this name, which whoever runs the statement may use.
pub(super) fn usable_model<'a>(scope: &'a Scope, name: &str) -> Result<&'a Arc<Model>> {
    let model = model_named(&scope.catalog, name)?;
    scope.actor().check_model(model)?;
    Ok(model)
}

fn of_texts(call: &Call<'_>, name: &str, prompt: Option<&str>, texts: &[&str]) -> Vectors {
    let (scope, cancel) = (call.scope()?, call.cancel());
    let (model, access) = (usable_model(scope, name)?, scope.models()?);
    giving_way(|| access.embed_texts(model, prompt, texts, &cancel))
}

fn of_images(call: &Call<'_>, name: &str, images: &[&[u8]]) -> Vectors {
    let (scope, cancel) = (call.scope()?, call.cancel());
    let (model, access) = (usable_model(scope, name)?, scope.models()?);
    giving_way(|| access.embed_images(model, images, &cancel))
}

fn text(args: &[Datum], place: usize) -> Result<&str> {
    match args.get(place) {
        Some(Datum::Text(text)) => Ok(text),
        other => Err(SqlError::internal(format!("expected a text, not {other:?}"))),
    }
}

/// The vector of one input, which is known if it was asked for lately.
fn one(call: &Call<'_>, keys: &Keys, content: &[u8], vectors: impl FnOnce() -> Vectors) -> Result<Datum> {
    let (known, key) = (&call.scope()?.vectors, keys.of(content));
    if let Some(vector) = known.get(&key) {
        return Ok(Datum::Vector(vector));
    }
    let Some(vector) = vectors()?.pop() else { return Ok(Datum::Null) };
    known.put(key, vector.clone());
    Ok(Datum::Vector(vector))
}

fn one_text(call: &Call<'_>, args: &[Datum], prompt: Option<&str>) -> Result<Datum> {
    let (name, content) = (text(args, 0)?, text(args, 1)?);
    let keys = Keys::of_texts(usable_model(call.scope()?, name)?, prompt);
    one(call, &keys, content.as_bytes(), || of_texts(call, name, prompt, &[content]))
}

fn one_image(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Some(Datum::Bytea(content)) = args.get(1) else { return Ok(Datum::Null) };
    let name = text(args, 0)?;
    let keys = Keys::of_images(usable_model(call.scope()?, name)?);
    one(call, &keys, content, || of_images(call, name, &[content]))
}

/// The vectors of the elements of an array.
fn each(call: &Call<'_>, args: &[Datum], prompt: Option<&str>) -> Result<Datum> {
    let Some(Datum::Array(array)) = args.get(1) else { return Ok(Datum::Null) };
    let texts: Vec<&str> = array
        .elements
        .iter()
        .filter_map(|element| match element {
            Datum::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let mut vectors = of_texts(call, text(args, 0)?, prompt, &texts)?.into_iter();
    let of_element = |element: &Datum| match element {
        Datum::Text(_) => vectors.next().map_or(Datum::Null, Datum::Vector),
        _ => Datum::Null,
    };
    Ok(array_of(ScalarType::Vector, array.elements.iter().map(of_element).collect()))
}

/// A constant text among the arguments of a kernel; `None` if it is none, or NULL.
fn constant(arg: Option<&ColumnarValue>) -> Option<&str> {
    match arg {
        Some(ColumnarValue::Scalar(scalar)) => scalar.try_as_str().flatten(),
        _ => None,
    }
}

/// The vectors of a column, NULL where it is; `Ok(None)` where this is for the way row by row.
fn column<'a, T: ?Sized>(
    call: &Call<'_>,
    values: Vec<Option<&'a T>>,
    embed: impl FnOnce(&[&'a T]) -> Vectors,
) -> Result<Option<ColumnarValue>> {
    call.check_cancelled()?;
    let given: Vec<&T> = values.iter().copied().flatten().collect();
    let mut vectors = embed(&given)
        .map_err(|refused| match refused.place {
            Some(place) => {
                let row = values.iter().enumerate().filter(|(_, value)| value.is_some()).nth(place);
                let row = row.map_or(place, |(row, _)| row);
                refused.error.with_context(format!("row {} of those embedded together", row + 1))
            }
            None => refused.error,
        })?
        .into_iter();
    let datums: Vec<Datum> =
        values.iter().map(|value| value.and_then(|_| vectors.next()).map_or(Datum::Null, Datum::Vector)).collect();
    Ok(Some(ColumnarValue::Array(datums_to_array(&datums, TypeWithModifier::plain(ScalarType::Vector))?)))
}

fn texts_of(array: &ArrayRef) -> Option<Vec<Option<&str>>> {
    if let Some(array) = array.as_string_opt::<i32>() {
        return Some(array.iter().collect());
    }
    array.as_string_view_opt().map(|array| array.iter().collect())
}

fn images_of(array: &ArrayRef) -> Option<Vec<Option<&[u8]>>> {
    if let Some(array) = array.as_binary_opt::<i32>() {
        return Some(array.iter().collect());
    }
    array.as_binary_view_opt().map(|array| array.iter().collect())
}

/// The texts of a column after one model, and one prompt where it is given.
fn embed_texts(call: &Call<'_>, args: &[ColumnarValue], _: usize) -> Result<Option<ColumnarValue>> {
    let (Some(model), Some(ColumnarValue::Array(texts))) = (constant(args.first()), args.get(1)) else {
        return Ok(None);
    };
    let prompt = constant(args.get(2));
    if args.len() > 2 && prompt.is_none() {
        return Ok(None);
    }
    let Some(texts) = texts_of(texts) else { return Ok(None) };
    column(call, texts, |texts| of_texts(call, model, prompt, texts))
}

fn embed_images(call: &Call<'_>, args: &[ColumnarValue], _: usize) -> Result<Option<ColumnarValue>> {
    let (Some(model), Some(ColumnarValue::Array(images))) = (constant(args.first()), args.get(1)) else {
        return Ok(None);
    };
    let Some(images) = images_of(images) else { return Ok(None) };
    column(call, images, |images| of_images(call, model, images))
}

fn image_info(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Some(Datum::Bytea(bytes)) = args.first() else { return Ok(Datum::Null) };
    let info = lodedb_embed::image_info(bytes)
        .map_err(|error| SqlError::new(SqlState::InvalidBinaryRepresentation, error.to_string()))?;
    let (format, width, height) = (info.format, info.width, info.height);
    Ok(Datum::Jsonb(format!("{{\"width\": {width}, \"format\": \"{format}\", \"height\": {height}}}")))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("embed", &[TEXT, TEXT], TO_VECTOR, |call, args| one_text(call, args, None))
        .stable()
        .with_kernel(embed_texts),
    function("embed", &[TEXT, TEXT, TEXT], TO_VECTOR, |call, args| one_text(call, args, Some(text(args, 2)?)))
        .stable()
        .with_kernel(embed_texts),
    function("embed", &[TEXT, TEXT_ARRAY], TO_VECTOR_ARRAY, |call, args| each(call, args, None)).stable(),
    function("embed", &[TEXT, TEXT_ARRAY, TEXT], TO_VECTOR_ARRAY, |call, args| each(call, args, Some(text(args, 2)?)))
        .stable(),
    function("embed_image", &[TEXT, BYTEA], TO_VECTOR, one_image).stable().with_kernel(embed_images),
    function("image_info", &[BYTEA], TO_JSONB, image_info),
];
