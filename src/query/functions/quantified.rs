//! `x op ANY (array)` and `x op ALL (array)`: functions `pg_any_eq`, `pg_all_ne`, ... on an array that is a value.

use std::cmp::Ordering;

use lodedb_sql::cast::{CastContext, can_cast};
use lodedb_sql::compare::compare;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use super::definition::{Call, Definition, function};
use super::strings::{like, regex};
use super::types::{ANY, ANY_ARRAY, TEXT, TO_BOOL};

/// The quantified comparison: true or false as soon as one element decides, NULL if a NULL might have.
fn quantified(
    call: &Call<'_>,
    args: &[Datum],
    all: bool,
    test: impl Fn(&Datum, &Datum) -> Result<bool>,
) -> Result<Datum> {
    // An untyped literal is an array of whatever it is compared with.
    let literal = match (&args[1], call.ty(0)) {
        (Datum::Text(text), PgType::Scalar(scalar)) => {
            let ty = TypeWithModifier::plain(PgType::Array(scalar));
            lodedb_sql::text::parse_text_in(text, ty, call.environment())?
        }
        _ => Datum::Null,
    };
    let ((Datum::Array(array), _) | (_, Datum::Array(array))) = (&args[1], &literal) else { return Ok(Datum::Null) };
    if array.elements.is_empty() {
        return Ok(Datum::Bool(all));
    }
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    let element = match call.ty(1) {
        _ if !literal.is_null() => array.element,
        PgType::Array(element) => element,
        PgType::Scalar(ScalarType::Int2vector) => ScalarType::Int2,
        PgType::Scalar(ScalarType::Oidvector) => ScalarType::Oid,
        PgType::Scalar(scalar) => scalar,
    };
    let common = common_type(call.ty(0), PgType::Scalar(element));
    let value = convert(call, args[0].clone(), call.ty(0), common)?;
    let mut unknown = false;
    for candidate in &array.elements {
        if candidate.is_null() {
            unknown = true;
            continue;
        }
        let holds = if common == PgType::Scalar(element) {
            test(&value, candidate)?
        } else {
            test(&value, &convert(call, candidate.clone(), PgType::Scalar(element), common)?)?
        };
        if holds != all {
            return Ok(Datum::Bool(holds));
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
}

fn convert(call: &Call<'_>, datum: Datum, from: PgType, to: PgType) -> Result<Datum> {
    if from == to {
        return Ok(datum);
    }
    let scope = call.scope().ok();
    super::cast::cast_value(datum, from, TypeWithModifier::plain(to), CastContext::Explicit, call.environment(), scope)
}

/// The type in which a value and an element are compared.
fn common_type(value: PgType, element: PgType) -> PgType {
    let is_string = |ty| {
        matches!(
            ty,
            PgType::Scalar(
                ScalarType::Text
                    | ScalarType::Varchar
                    | ScalarType::Bpchar
                    | ScalarType::Name
                    | ScalarType::Char
                    | ScalarType::Unknown
            )
        )
    };
    if value == element {
        value
    } else if is_string(value) && is_string(element) {
        PgType::Scalar(ScalarType::Text)
    } else if is_string(element) {
        // An array of untyped literals is read as what it is compared with.
        value
    } else if is_string(value) || can_cast(value, element, CastContext::Implicit) {
        element
    } else {
        value
    }
}

fn any(call: &Call<'_>, args: &[Datum], test: fn(Ordering) -> bool) -> Result<Datum> {
    quantified(call, args, false, |a, b| Ok(test(compare(a, b))))
}

fn all(call: &Call<'_>, args: &[Datum], test: fn(Ordering) -> bool) -> Result<Datum> {
    quantified(call, args, true, |a, b| Ok(test(compare(a, b))))
}

fn matched(
    call: &Call<'_>,
    args: &[Datum],
    all: bool,
    negated: bool,
    test: impl Fn(&str, &str) -> Result<bool>,
) -> Result<Datum> {
    quantified(call, args, all, |value, pattern| match (value, pattern) {
        (Datum::Text(value), Datum::Text(pattern)) => test(value, pattern).map(|matched| matched != negated),
        _ => Ok(false),
    })
}

macro_rules! ordered {
    ($($any:literal $all:literal $test:expr;)*) => { &[$(
        function($any, &[ANY, ANY_ARRAY], TO_BOOL, |call, args| any(call, args, $test)).null_allowed(),
        function($any, &[ANY, TEXT], TO_BOOL, |call, args| any(call, args, $test)).null_allowed(),
        function($all, &[ANY, ANY_ARRAY], TO_BOOL, |call, args| all(call, args, $test)).null_allowed(),
        function($all, &[ANY, TEXT], TO_BOOL, |call, args| all(call, args, $test)).null_allowed(),
    )*] };
}

macro_rules! patterns {
    ($($any:literal $all:literal $negated:literal $test:expr;)*) => { &[$(
        function($any, &[TEXT, ANY_ARRAY], TO_BOOL, |call, args| matched(call, args, false, $negated, $test)).null_allowed(),
        function($all, &[TEXT, ANY_ARRAY], TO_BOOL, |call, args| matched(call, args, true, $negated, $test)).null_allowed(),
    )*] };
}

const ORDERED: &[Definition] = ordered! {
    "pg_any_eq" "pg_all_eq" Ordering::is_eq;
    "pg_any_ne" "pg_all_ne" Ordering::is_ne;
    "pg_any_lt" "pg_all_lt" Ordering::is_lt;
    "pg_any_le" "pg_all_le" Ordering::is_le;
    "pg_any_gt" "pg_all_gt" Ordering::is_gt;
    "pg_any_ge" "pg_all_ge" Ordering::is_ge;
};

const PATTERNS: &[Definition] = patterns! {
    "pg_any_like" "pg_all_like" false |value, pattern| like(value, pattern, false);
    "pg_any_not_like" "pg_all_not_like" true |value, pattern| like(value, pattern, false);
    "pg_any_ilike" "pg_all_ilike" false |value, pattern| like(value, pattern, true);
    "pg_any_not_ilike" "pg_all_not_ilike" true |value, pattern| like(value, pattern, true);
    "pg_any_regex" "pg_all_regex" false |value, pattern| Ok(regex(pattern, "")?.is_match(value));
    "pg_any_not_regex" "pg_all_not_regex" true |value, pattern| Ok(regex(pattern, "")?.is_match(value));
    "pg_any_iregex" "pg_all_iregex" false |value, pattern| Ok(regex(pattern, "i")?.is_match(value));
    "pg_any_not_iregex" "pg_all_not_iregex" true |value, pattern| Ok(regex(pattern, "i")?.is_match(value));
};

/// The functions of this file.
pub(super) fn functions() -> impl Iterator<Item = Definition> {
    ORDERED.iter().chain(PATTERNS).cloned()
}
