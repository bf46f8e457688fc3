//! Operators and functions on `json` and `jsonb`.

use std::cmp::Ordering;
use std::fmt::Write as _;

use lodedb_sql::compare::compare;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::array::array_of;
use super::definition::{Call, Definition, Returns, function};
use super::json_text::{Json, Kind, write_string};
use super::types::*;

fn string(args: &[Datum], place: usize) -> &str {
    match args.get(place) {
        Some(Datum::Text(text) | Datum::Jsonb(text)) => text,
        _ => "",
    }
}

fn json(args: &[Datum], place: usize) -> Json<'_> {
    Json::new(string(args, place))
}

/// The datum of a JSON text, in the type of an argument.
fn like_argument(call: &Call<'_>, place: usize, text: &str) -> Datum {
    if call.ty(place) == PgType::Scalar(ScalarType::Jsonb) {
        Datum::Jsonb(text.to_owned())
    } else {
        Datum::Text(text.to_owned())
    }
}

/// A text as `jsonb` in its canonical form.
pub(super) fn canonical(text: &str) -> Result<Datum> {
    lodedb_sql::text::parse_text(text, TypeWithModifier::plain(ScalarType::Jsonb))
}

fn steps(args: &[Datum], place: usize) -> Vec<&str> {
    match args.get(place) {
        Some(Datum::Array(array)) => array
            .elements
            .iter()
            .filter_map(|element| match element {
                Datum::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn get<'a>(args: &'a [Datum]) -> Option<Json<'a>> {
    let value = json(args, 0);
    match &args[1] {
        // A scalar of `jsonb` is an array of one element to these operators, and not to those of `json`.
        Datum::Int8(0 | -1) | Datum::Int4(0 | -1) if matches!(args[0], Datum::Jsonb(_)) && is_scalar(value) => {
            Some(value)
        }
        Datum::Text(key) => value.field(key),
        Datum::Int8(place) => value.element(*place),
        Datum::Int4(place) => value.element(i64::from(*place)),
        Datum::Array(_) => value.path(steps(args, 1)),
        _ => None,
    }
}

fn get_json(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(get(args).map_or(Datum::Null, |value| like_argument(call, 0, value.text())))
}

fn get_text(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(get(args).and_then(Json::as_text).map_or(Datum::Null, Datum::Text))
}

fn path_steps(args: &[Datum]) -> impl Iterator<Item = &str> {
    args.iter().skip(1).filter_map(|arg| match arg {
        Datum::Text(step) => Some(step.as_str()),
        _ => None,
    })
}

fn extract_path(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let found = json(args, 0).path(path_steps(args));
    Ok(found.map_or(Datum::Null, |value| like_argument(call, 0, value.text())))
}

fn extract_path_text(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(json(args, 0).path(path_steps(args)).and_then(Json::as_text).map_or(Datum::Null, Datum::Text))
}

/// `@>` on `jsonb`.
pub(crate) fn contains(args: &[Datum], whole: usize, part: usize) -> Result<Datum> {
    Ok(Datum::Bool(json(args, whole).contains(json(args, part))))
}

fn exists(value: Json<'_>, key: &str) -> bool {
    match value.kind() {
        Kind::Object => value.field(key).is_some(),
        Kind::Array => value.elements().any(|element| element.string().is_some_and(|text| text == key)),
        Kind::String => value.string().is_some_and(|text| text == key),
        _ => false,
    }
}

/// How a value of any type is written in JSON.
fn write_json(call: &Call<'_>, datum: &Datum, ty: PgType, spaced: bool, out: &mut String) {
    match (datum, ty) {
        (Datum::Null, _) => out.push_str("null"),
        (Datum::Bool(value), _) => {
            let _ = write!(out, "{value}");
        }
        (Datum::Jsonb(text), _) => out.push_str(text),
        (Datum::Text(text), PgType::Scalar(ScalarType::Json)) => out.push_str(text),
        (Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) | Datum::Numeric(_), _) => {
            out.push_str(&lodedb_sql::text::to_text(datum, ty, call.environment().zone));
        }
        (Datum::Float4(_) | Datum::Float8(_), _) => {
            let text = lodedb_sql::text::to_text(datum, ty, call.environment().zone);
            if text.bytes().any(|byte| byte.is_ascii_alphabetic() && byte != b'e') {
                write_string(&text, out);
            } else {
                out.push_str(&text);
            }
        }
        (Datum::Vector(vector), _) => {
            let parts: Vec<String> = vector
                .iter()
                .map(|component| {
                    let component = Datum::Float4(*component);
                    lodedb_sql::text::to_text(&component, ScalarType::Float4.into(), chrono_tz::UTC)
                })
                .collect();
            let _ = write!(out, "[{}]", parts.join(","));
        }
        (Datum::Halfvec(vector), _) => {
            let components = lodedb_sql::halfvec::widen(vector);
            write_json(call, &Datum::Vector(components.into()), ScalarType::Vector.into(), spaced, out);
        }
        (Datum::Array(array), _) => {
            let element = PgType::Scalar(array.element);
            write_elements(call, &array.dimensions, &array.elements, element, spaced, out);
        }
        (Datum::Timestamp(_) | Datum::Timestamptz(_), _) => {
            // ISO 8601, with a T and the minutes of the zone.
            let text = lodedb_sql::text::to_text(datum, ty, call.environment().zone).replacen(' ', "T", 1);
            let short = matches!(datum, Datum::Timestamptz(_))
                && text.len() > 3
                && matches!(text.as_bytes()[text.len() - 3], b'+' | b'-');
            write_string(&if short { text + ":00" } else { text }, out);
        }
        _ => write_string(
            &super::system::text_of(
                call.scope().ok().map(|scope| scope.catalog.as_ref()),
                datum,
                ty,
                call.environment().zone,
            ),
            out,
        ),
    }
}

fn write_elements(
    call: &Call<'_>,
    dimensions: &[(u32, i32)],
    elements: &[Datum],
    element: PgType,
    spaced: bool,
    out: &mut String,
) {
    out.push('[');
    if dimensions.len() > 1 {
        let width = (elements.len() / (dimensions[0].0 as usize).max(1)).max(1);
        for (place, part) in elements.chunks(width).enumerate() {
            if place > 0 {
                out.push(',');
            }
            write_elements(call, &dimensions[1..], part, element, spaced, out);
        }
    } else {
        for (place, datum) in elements.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            write_json(call, datum, element, spaced, out);
        }
    }
    out.push(']');
}

/// The JSON text of a value: for aggregates as well.
pub(crate) fn json_of(datum: &Datum, ty: PgType, zone: chrono_tz::Tz) -> String {
    let call = Call::detached(zone);
    let mut out = String::new();
    write_json(&call, datum, ty, false, &mut out);
    out
}

fn to_json(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let mut out = String::new();
    write_json(call, &args[0], call.ty(0), false, &mut out);
    Ok(Datum::Text(out))
}

fn build_array(call: &Call<'_>, args: &[Datum]) -> Result<String> {
    let mut out = String::from("[");
    for (place, datum) in args.iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        write_json(call, datum, call.ty(place), true, &mut out);
    }
    out.push(']');
    Ok(out)
}

fn build_object(call: &Call<'_>, args: &[Datum]) -> Result<String> {
    if args.len() % 2 == 1 {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "argument list must have even number of elements")
            .with_hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let mut out = String::from("{");
    for place in (0..args.len()).step_by(2) {
        if args[place].is_null() {
            return Err(SqlError::new(
                SqlState::InvalidParameterValue,
                format!("argument {} must not be null", place + 1),
            ));
        }
        if place > 0 {
            out.push_str(", ");
        }
        write_string(&call.text(place, &args[place]), &mut out);
        out.push_str(" : ");
        write_json(call, &args[place + 1], call.ty(place + 1), true, &mut out);
    }
    out.push('}');
    Ok(out)
}

fn not_array(value: Json<'_>, what: &str) -> Result<()> {
    match value.kind() {
        Kind::Array => Ok(()),
        Kind::Object => Err(SqlError::new(SqlState::InvalidParameterValue, format!("cannot {what} a non-array"))),
        _ => Err(SqlError::new(SqlState::InvalidParameterValue, format!("cannot {what} a scalar"))),
    }
}

fn array_length(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let value = json(args, 0);
    not_array(value, "get array length of")?;
    Ok(Datum::Int4(value.elements().count() as i32))
}

/// The elements of an array, as values or as text.
pub(crate) fn array_elements(args: &[Datum], jsonb: bool, as_text: bool) -> Result<Vec<Datum>> {
    let value = json(args, 0);
    match value.kind() {
        Kind::Array => {}
        Kind::Object => {
            return Err(SqlError::new(SqlState::InvalidParameterValue, "cannot extract elements from an object"));
        }
        _ => return Err(SqlError::new(SqlState::InvalidParameterValue, "cannot extract elements from a scalar")),
    }
    Ok(value
        .elements()
        .map(|element| match (as_text, jsonb) {
            (true, _) => element.as_text().map_or(Datum::Null, Datum::Text),
            (false, true) => Datum::Jsonb(element.text().to_owned()),
            (false, false) => Datum::Text(element.text().to_owned()),
        })
        .collect())
}

fn not_object(value: Json<'_>, function: &str) -> Result<()> {
    if value.kind() == Kind::Object {
        return Ok(());
    }
    let what = if value.kind() == Kind::Array { "an array" } else { "a scalar" };
    Err(SqlError::new(SqlState::InvalidParameterValue, format!("cannot call {function} on {what}")))
}

/// The keys of an object.
pub(crate) fn object_keys(args: &[Datum]) -> Result<Vec<Datum>> {
    let value = json(args, 0);
    not_object(value, "jsonb_object_keys")?;
    Ok(value.entries().map(|(key, _)| Datum::Text(key.into_owned())).collect())
}

/// The entries of an object: keys, and values as they are or as text.
pub(crate) fn each(args: &[Datum], jsonb: bool, as_text: bool) -> Result<Vec<(Datum, Datum)>> {
    let value = json(args, 0);
    not_object(value, "jsonb_each")?;
    Ok(value
        .entries()
        .map(|(key, value)| {
            let value = match (as_text, jsonb) {
                (true, _) => value.as_text().map_or(Datum::Null, Datum::Text),
                (false, true) => Datum::Jsonb(value.text().to_owned()),
                (false, false) => Datum::Text(value.text().to_owned()),
            };
            (Datum::Text(key.into_owned()), value)
        })
        .collect())
}

fn write_entries<'a>(entries: impl Iterator<Item = (std::borrow::Cow<'a, str>, String)>) -> String {
    let mut out = String::from("{");
    for (place, (key, value)) in entries.enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        write_string(&key, &mut out);
        out.push_str(": ");
        out.push_str(&value);
    }
    out.push('}');
    out
}

fn write_list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

fn concat(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (a, b) = (json(args, 0), json(args, 1));
    if a.kind() == Kind::Object && b.kind() == Kind::Object {
        let entries = a.entries().chain(b.entries()).map(|(key, value)| (key, value.text().to_owned()));
        return canonical(&write_entries(entries));
    }
    let parts = |value: Json<'_>| -> Vec<String> {
        match value.kind() {
            Kind::Array => value.elements().map(|element| element.text().to_owned()).collect(),
            _ => vec![value.text().to_owned()],
        }
    };
    canonical(&write_list(parts(a).into_iter().chain(parts(b))))
}

fn delete(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let value = json(args, 0);
    if !matches!(value.kind(), Kind::Object | Kind::Array) {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "cannot delete from scalar"));
    }
    let keys: Vec<&str> = match &args[1] {
        Datum::Text(key) => vec![key],
        Datum::Array(_) => steps(args, 1),
        Datum::Int4(place) => {
            if value.kind() == Kind::Object {
                return Err(SqlError::new(
                    SqlState::InvalidParameterValue,
                    "cannot delete from object using integer index",
                ));
            }
            let elements: Vec<_> = value.elements().collect();
            let at = if *place < 0 { elements.len() as i64 + i64::from(*place) } else { i64::from(*place) };
            let kept = elements.iter().enumerate().filter(|(place, _)| *place as i64 != at);
            return canonical(&write_list(kept.map(|(_, element)| element.text().to_owned())));
        }
        _ => return Ok(args[0].clone()),
    };
    if value.kind() == Kind::Array {
        let kept = value.elements().filter(|element| !element.string().is_some_and(|text| keys.contains(&&*text)));
        return canonical(&write_list(kept.map(|element| element.text().to_owned())));
    }
    let kept = value.entries().filter(|(key, _)| !keys.contains(&&**key));
    canonical(&write_entries(kept.map(|(key, value)| (key, value.text().to_owned()))))
}

/// What happens at the end of a path.
#[derive(Clone, Copy)]
enum Change<'a> {
    Set { new: &'a str, create: bool },
    Insert { new: &'a str, after: bool },
    Delete,
}

/// A value with a change at the end of a path.
fn changed(value: Json<'_>, path: &[&str], change: Change<'_>) -> String {
    let Some((step, rest)) = path.split_first() else { return value.text().to_owned() };
    let last = rest.is_empty();
    match value.kind() {
        Kind::Object => {
            let mut entries: Vec<(std::borrow::Cow<'_, str>, String)> = Vec::new();
            let mut found = false;
            for (key, entry) in value.entries() {
                if key != *step {
                    entries.push((key, entry.text().to_owned()));
                    continue;
                }
                found = true;
                match change {
                    Change::Delete if last => {}
                    Change::Set { new, .. } if last => entries.push((key, new.to_owned())),
                    _ => entries.push((key, changed(entry, rest, change))),
                }
            }
            if let (false, true, Change::Set { new, create: true } | Change::Insert { new, .. }) = (found, last, change)
            {
                entries.push(((*step).into(), new.to_owned()));
            }
            write_entries(entries.into_iter())
        }
        Kind::Array => {
            let mut elements: Vec<String> = value.elements().map(|element| element.text().to_owned()).collect();
            let Ok(place) = step.trim().parse::<i64>() else { return value.text().to_owned() };
            let length = elements.len() as i64;
            let at = if place < 0 { length + place } else { place };
            let inside = (0..length).contains(&at);
            match change {
                Change::Delete if last && inside => {
                    elements.remove(at as usize);
                }
                Change::Set { new, .. } if last && inside => elements[at as usize] = new.to_owned(),
                Change::Set { new, create: true } if last => {
                    let end = if at < 0 { 0 } else { elements.len() };
                    elements.insert(end, new.to_owned());
                }
                Change::Insert { new, after } if last => {
                    let place = (at + i64::from(after)).clamp(0, length) as usize;
                    elements.insert(place, new.to_owned());
                }
                _ if !last && inside => {
                    elements[at as usize] = changed(Json::new(&elements[at as usize]), rest, change);
                }
                _ => {}
            }
            write_list(elements.into_iter())
        }
        _ => value.text().to_owned(),
    }
}

fn set(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let create = args.get(3) != Some(&Datum::Bool(false));
    canonical(&changed(json(args, 0), &steps(args, 1), Change::Set { new: string(args, 2), create }))
}

fn insert(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let after = args.get(3) == Some(&Datum::Bool(true));
    canonical(&changed(json(args, 0), &steps(args, 1), Change::Insert { new: string(args, 2), after }))
}

fn strip_nulls(value: Json<'_>) -> String {
    match value.kind() {
        Kind::Object => write_entries(
            value
                .entries()
                .filter(|(_, value)| value.kind() != Kind::Null)
                .map(|(key, value)| (key, strip_nulls(value))),
        ),
        Kind::Array => write_list(value.elements().map(strip_nulls)),
        _ => value.text().to_owned(),
    }
}

fn pretty(value: Json<'_>, depth: usize, out: &mut String) {
    let indent = |depth: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&" ".repeat(depth * 4));
    };
    match value.kind() {
        Kind::Object => {
            out.push('{');
            for (place, (key, value)) in value.entries().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                indent(depth + 1, out);
                write_string(&key, out);
                out.push_str(": ");
                pretty(value, depth + 1, out);
            }
            indent(depth, out);
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for (place, value) in value.elements().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                indent(depth + 1, out);
                pretty(value, depth + 1, out);
            }
            indent(depth, out);
            out.push(']');
        }
        _ => out.push_str(value.text()),
    }
}

fn is_scalar(value: Json<'_>) -> bool {
    !matches!(value.kind(), Kind::Object | Kind::Array)
}

fn compared(args: &[Datum], test: fn(Ordering) -> bool) -> Result<Datum> {
    Ok(Datum::Bool(test(compare(&args[0], &args[1]))))
}

/// Both types of JSON for a function that takes either and gives its own.
macro_rules! either {
    ($name:literal, [$($more:expr),*], $evaluate:expr) => {
        [
            function($name, &[JSONB $(, $more)*], Returns::SameAs(0), $evaluate),
            function($name, &[JSON $(, $more)*], Returns::SameAs(0), $evaluate),
        ]
    };
}

macro_rules! either_text {
    ($name:literal, [$($more:expr),*], $evaluate:expr) => {
        [
            function($name, &[JSONB $(, $more)*], TO_TEXT, $evaluate),
            function($name, &[JSON $(, $more)*], TO_TEXT, $evaluate),
        ]
    };
}

const ACCESS: &[[Definition; 2]] = &[
    either!("json_get", [TEXT], get_json),
    either!("json_get", [INT8], get_json),
    either!("json_get_path", [TEXT_ARRAY], get_json),
    either_text!("json_get_text", [TEXT], get_text),
    either_text!("json_get_text", [INT8], get_text),
    either_text!("json_get_path_text", [TEXT_ARRAY], get_text),
];

const OPERATIONS: &[Definition] = &[
    function("json_exists", &[JSONB, TEXT], TO_BOOL, |_, args| Ok(Datum::Bool(exists(json(args, 0), string(args, 1))))),
    function("jsonb_exists", &[JSONB, TEXT], TO_BOOL, |_, args| {
        Ok(Datum::Bool(exists(json(args, 0), string(args, 1))))
    }),
    function("json_exists_any", &[JSONB, TEXT_ARRAY], TO_BOOL, |_, args| {
        Ok(Datum::Bool(steps(args, 1).iter().any(|key| exists(json(args, 0), key))))
    }),
    function("json_exists_all", &[JSONB, TEXT_ARRAY], TO_BOOL, |_, args| {
        Ok(Datum::Bool(steps(args, 1).iter().all(|key| exists(json(args, 0), key))))
    }),
    function("jsonb_concat", &[JSONB, JSONB], TO_JSONB, concat),
    function("jsonb_delete", &[JSONB, TEXT], TO_JSONB, delete),
    function("jsonb_delete", &[JSONB, TEXT_ARRAY], TO_JSONB, delete),
    function("jsonb_delete", &[JSONB, INT4], TO_JSONB, delete),
    function("json_delete_path", &[JSONB, TEXT_ARRAY], TO_JSONB, |_, args| {
        canonical(&changed(json(args, 0), &steps(args, 1), Change::Delete))
    }),
    function("jsonb_set", &[JSONB, TEXT_ARRAY, JSONB, BOOL], TO_JSONB, set).optional(1),
    function("jsonb_insert", &[JSONB, TEXT_ARRAY, JSONB, BOOL], TO_JSONB, insert).optional(1),
    function("jsonb_strip_nulls", &[JSONB], TO_JSONB, |_, args| canonical(&strip_nulls(json(args, 0)))),
    function("json_strip_nulls", &[JSON], TO_JSON, |_, args| Ok(Datum::Text(strip_nulls(json(args, 0))))),
    function("jsonb_pretty", &[JSONB], TO_TEXT, |_, args| {
        let mut out = String::new();
        pretty(json(args, 0), 0, &mut out);
        Ok(Datum::Text(out))
    }),
    function("jsonb_typeof", &[JSONB], TO_TEXT, |_, args| Ok(Datum::Text(json(args, 0).kind().name().to_owned()))),
    function("json_typeof", &[JSON], TO_TEXT, |_, args| Ok(Datum::Text(json(args, 0).kind().name().to_owned()))),
    function("jsonb_array_length", &[JSONB], TO_INT4, array_length),
    function("json_array_length", &[JSON], TO_INT4, array_length),
    function("jsonb_extract_path", &[JSONB, TEXT], TO_JSONB, extract_path).variadic(),
    function("json_extract_path", &[JSON, TEXT], TO_JSON, extract_path).variadic(),
    function("jsonb_extract_path_text", &[JSONB, TEXT], TO_TEXT, extract_path_text).variadic(),
    function("json_extract_path_text", &[JSON, TEXT], TO_TEXT, extract_path_text).variadic(),
    function("to_json", &[ANY], TO_JSON, to_json).stable(),
    function("array_to_json", &[ANY_ARRAY], TO_JSON, to_json).stable(),
    function("to_jsonb", &[ANY], TO_JSONB, |call, args| match to_json(call, args)? {
        Datum::Text(text) => canonical(&text),
        other => Ok(other),
    })
    .stable(),
    function("json_build_array", &[ANY], TO_JSON, |call, args| build_array(call, args).map(Datum::Text))
        .variadic()
        .null_allowed()
        .stable(),
    function("jsonb_build_array", &[ANY], TO_JSONB, |call, args| canonical(&build_array(call, args)?))
        .variadic()
        .null_allowed()
        .stable(),
    function("json_build_object", &[ANY], TO_JSON, |call, args| build_object(call, args).map(Datum::Text))
        .variadic()
        .null_allowed()
        .stable(),
    function("jsonb_build_object", &[ANY], TO_JSONB, |call, args| canonical(&build_object(call, args)?))
        .variadic()
        .null_allowed()
        .stable(),
    function("jsonb_array_elements", &[JSONB], Returns::ArrayOf(0), |_, args| {
        Ok(array_of(ScalarType::Jsonb, array_elements(args, true, false)?))
    }),
    function("json_array_elements", &[JSON], Returns::ArrayOf(0), |_, args| {
        Ok(array_of(ScalarType::Json, array_elements(args, false, false)?))
    }),
    function("jsonb_array_elements_text", &[JSONB], TO_TEXT_ARRAY, |_, args| {
        Ok(array_of(ScalarType::Text, array_elements(args, true, true)?))
    }),
    function("json_array_elements_text", &[JSON], TO_TEXT_ARRAY, |_, args| {
        Ok(array_of(ScalarType::Text, array_elements(args, false, true)?))
    }),
    function("jsonb_object_keys", &[JSONB], TO_TEXT_ARRAY, |_, args| {
        Ok(array_of(ScalarType::Text, object_keys(args)?))
    }),
    function("json_object_keys", &[JSON], TO_TEXT_ARRAY, |_, args| Ok(array_of(ScalarType::Text, object_keys(args)?))),
    function("jsonb_eq", &[JSONB, JSONB], TO_BOOL, |_, args| compared(args, Ordering::is_eq)),
    function("jsonb_ne", &[JSONB, JSONB], TO_BOOL, |_, args| compared(args, Ordering::is_ne)),
    function("jsonb_lt", &[JSONB, JSONB], TO_BOOL, |_, args| compared(args, Ordering::is_lt)),
    function("jsonb_le", &[JSONB, JSONB], TO_BOOL, |_, args| compared(args, Ordering::is_le)),
    function("jsonb_gt", &[JSONB, JSONB], TO_BOOL, |_, args| compared(args, Ordering::is_gt)),
    function("jsonb_ge", &[JSONB, JSONB], TO_BOOL, |_, args| compared(args, Ordering::is_ge)),
];

/// The functions of this file.
pub(super) fn functions() -> impl Iterator<Item = Definition> {
    ACCESS.iter().flatten().chain(OPERATIONS).cloned()
}
