//! Functions and operators on arrays.

use std::cmp::Ordering;

use lodedb_sql::compare::compare;
use lodedb_sql::datum::ArrayDatum;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState};

use super::definition::{Call, Definition, Parameter, Returns, function};
use super::types::*;

/// PostgreSQL's limit of elements in an array.
const ELEMENTS_MAX: u64 = 134_217_727;

/// An array of one dimension.
pub(crate) fn array_of(element: ScalarType, elements: Vec<Datum>) -> Datum {
    let dimensions = if elements.is_empty() { Vec::new() } else { vec![(elements.len() as u32, 1)] };
    Datum::Array(Box::new(ArrayDatum { element, dimensions, elements }))
}

fn array(args: &[Datum], place: usize) -> Result<&ArrayDatum> {
    match args.get(place) {
        Some(Datum::Array(array)) => Ok(array),
        other => Err(SqlError::internal(format!("expected an array, not {other:?}"))),
    }
}

fn int(args: &[Datum], place: usize) -> i32 {
    match args.get(place) {
        Some(Datum::Int4(value)) => *value,
        _ => 0,
    }
}

/// Whether two elements are equal and neither is NULL.
fn same(a: &Datum, b: &Datum) -> bool {
    !a.is_null() && !b.is_null() && compare(a, b) == Ordering::Equal
}

fn contains(whole: &ArrayDatum, part: &ArrayDatum) -> bool {
    part.elements.iter().all(|wanted| whole.elements.iter().any(|element| same(element, wanted)))
}

fn contains_op(call: &Call<'_>, args: &[Datum], (whole, part): (usize, usize)) -> Result<Datum> {
    if matches!(call.ty(0), PgType::Array(_)) {
        return Ok(Datum::Bool(contains(array(args, whole)?, array(args, part)?)));
    }
    super::json::contains(args, whole, part)
}

fn dimension(args: &[Datum]) -> Result<Option<(u32, i32)>> {
    let place = usize::try_from(int(args, 1) - 1).ok();
    Ok(place.and_then(|place| array(args, 0).ok().and_then(|array| array.dimensions.get(place).copied())))
}

/// `array_fill(value, dimensions [, lower bounds])`.
fn fill(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let numbers = |place: usize| -> Result<Vec<i32>> {
        let null = |what: &str| SqlError::new(SqlState::NullValueNotAllowed, what.to_owned());
        let Some(Datum::Array(array)) = args.get(place) else {
            return Err(null("dimension array or low bound array cannot be null"));
        };
        if array.dimensions.len() > 1 {
            let error = SqlError::new(SqlState::ArraySubscriptError, "wrong number of array subscripts");
            return Err(error.with_detail("Dimension array must be one dimensional."));
        }
        let number = |datum: &Datum| if let Datum::Int4(value) = datum { Some(*value) } else { None };
        let numbers =
            array.elements.iter().map(|datum| number(datum).ok_or_else(|| null("dimension values cannot be null")));
        numbers.collect()
    };
    let PgType::Scalar(element) = call.ty(0) else {
        return Err(SqlError::unsupported("array_fill with an array"));
    };
    let lengths = numbers(1)?;
    let lowers = if args.len() > 2 { numbers(2)? } else { vec![1; lengths.len()] };
    if lowers.len() != lengths.len() {
        let error = SqlError::new(SqlState::ArraySubscriptError, "wrong number of array subscripts");
        return Err(error.with_detail("Low bound array has different size than dimensions array."));
    }
    if lengths.len() > lodedb_sql::text::MAX_ARRAY_DIMENSIONS {
        let most = lodedb_sql::text::MAX_ARRAY_DIMENSIONS;
        let message = format!("number of array dimensions ({}) exceeds the maximum allowed ({most})", lengths.len());
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    let count = lengths.iter().try_fold(1u64, |count, &length| count.checked_mul(u64::try_from(length).ok()?));
    let count = count.filter(|&count| count <= ELEMENTS_MAX).ok_or_else(|| {
        let message = format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})");
        SqlError::new(SqlState::ProgramLimitExceeded, message)
    })?;
    if lengths.is_empty() || count == 0 {
        return Ok(array_of(element, Vec::new()));
    }
    let dimensions = lengths.iter().zip(lowers).map(|(&length, lower)| (length as u32, lower)).collect();
    Ok(Datum::Array(Box::new(ArrayDatum { element, dimensions, elements: vec![args[0].clone(); count as usize] })))
}

fn one_dimension(array: &ArrayDatum) -> Result<()> {
    if array.dimensions.len() > 1 {
        return Err(SqlError::unsupported("searching for elements in multidimensional arrays"));
    }
    Ok(())
}

fn append(call: &Call<'_>, args: &[Datum], list: usize, value: usize) -> Result<Datum> {
    let element = element_type(call, list);
    let mut elements = match &args[list] {
        Datum::Array(array) => array.elements.clone(),
        _ => Vec::new(),
    };
    let at = if value > list { elements.len() } else { 0 };
    elements.insert(at, convert_to(call, &args[value], value, element)?);
    Ok(array_of(element, elements))
}

fn convert_to(call: &Call<'_>, datum: &Datum, place: usize, element: ScalarType) -> Result<Datum> {
    if call.ty(place) == PgType::Scalar(element) {
        return Ok(datum.clone());
    }
    let to = lodedb_sql::TypeWithModifier::plain(element);
    lodedb_sql::cast::cast(
        datum.clone(),
        call.ty(place),
        to,
        lodedb_sql::cast::CastContext::Explicit,
        call.environment(),
    )
}

fn element_type(call: &Call<'_>, place: usize) -> ScalarType {
    match call.ty(place) {
        PgType::Array(element) => element,
        PgType::Scalar(ScalarType::Int2vector) => ScalarType::Int2,
        PgType::Scalar(ScalarType::Oidvector) => ScalarType::Oid,
        PgType::Scalar(scalar) => scalar,
    }
}

fn concatenate(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(match (&args[0], &args[1]) {
        (Datum::Array(a), Datum::Array(b)) => {
            if a.elements.is_empty() {
                return Ok(args[1].clone());
            }
            if b.elements.is_empty() {
                return Ok(args[0].clone());
            }
            let element = element_type(call, 0);
            let elements: Vec<Datum> = a.elements.iter().chain(&b.elements).cloned().collect();
            if a.dimensions.len() != b.dimensions.len() || a.dimensions.get(1..) != b.dimensions.get(1..) {
                return Err(SqlError::new(SqlState::ArraySubscriptError, "cannot concatenate incompatible arrays"));
            }
            let mut dimensions = a.dimensions.clone();
            if let (Some(first), Some(other)) = (dimensions.first_mut(), b.dimensions.first()) {
                first.0 += other.0;
            }
            Datum::Array(Box::new(ArrayDatum { element, dimensions, elements }))
        }
        (Datum::Null, other) => other.clone(),
        (other, _) => other.clone(),
    })
}

fn to_string(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (Datum::Array(array), Datum::Text(separator)) = (&args[0], &args[1]) else { return Ok(Datum::Null) };
    let null_text = match args.get(2) {
        Some(Datum::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let element = PgType::Scalar(element_type(call, 0));
    let scope = call.scope().ok();
    let mut out = String::new();
    let mut first = true;
    for datum in &array.elements {
        let text = if datum.is_null() {
            match null_text {
                Some(text) => text.to_owned(),
                None => continue,
            }
        } else {
            super::system::text_of(scope.map(|scope| scope.catalog.as_ref()), datum, element, call.environment().zone)
        };
        if !first {
            out.push_str(separator);
        }
        first = false;
        out.push_str(&text);
    }
    Ok(Datum::Text(out))
}

fn from_string(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Text(text) = &args[0] else { return Ok(Datum::Null) };
    let null_text = match args.get(2) {
        Some(Datum::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let parts: Vec<String> = match &args[1] {
        _ if text.is_empty() => Vec::new(),
        Datum::Text(separator) if separator.is_empty() => vec![text.clone()],
        Datum::Text(separator) => text.split(separator.as_str()).map(str::to_owned).collect(),
        _ => text.chars().map(String::from).collect(),
    };
    let elements = parts
        .into_iter()
        .map(|part| if Some(part.as_str()) == null_text { Datum::Null } else { Datum::Text(part) })
        .collect();
    Ok(array_of(ScalarType::Text, elements))
}

fn positions(args: &[Datum]) -> Result<Option<Vec<i32>>> {
    if args[0].is_null() {
        return Ok(None);
    }
    let array = array(args, 0)?;
    one_dimension(array)?;
    let lower = array.dimensions.first().map_or(1, |(_, lower)| *lower);
    let wanted = &args[1];
    let found = array
        .elements
        .iter()
        .enumerate()
        .filter(|(_, element)| same(element, wanted) || (wanted.is_null() && element.is_null()));
    Ok(Some(found.map(|(place, _)| place as i32 + lower).collect()))
}

fn remove(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Array(array) = &args[0] else { return Ok(Datum::Null) };
    one_dimension(array)?;
    let element = element_type(call, 0);
    let wanted = convert_to(call, &args[1], 1, element)?;
    let kept = array.elements.iter().filter(|value| !(same(value, &wanted) || (wanted.is_null() && value.is_null())));
    Ok(array_of(element, kept.cloned().collect()))
}

fn replace(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Array(array) = &args[0] else { return Ok(Datum::Null) };
    let element = element_type(call, 0);
    let (from, to) = (convert_to(call, &args[1], 1, element)?, convert_to(call, &args[2], 2, element)?);
    let elements = array
        .elements
        .iter()
        .map(|value| if same(value, &from) || (value.is_null() && from.is_null()) { to.clone() } else { value.clone() })
        .collect();
    Ok(Datum::Array(Box::new(ArrayDatum { element, dimensions: array.dimensions.clone(), elements })))
}

/// The subscripts of a dimension, as the table function yields them.
pub(crate) fn subscripts(args: &[Datum]) -> Result<Vec<Datum>> {
    let Some((length, lower)) = dimension(args)? else { return Ok(Vec::new()) };
    let mut all: Vec<Datum> = (lower..lower + length as i32).map(Datum::Int4).collect();
    if args.get(2) == Some(&Datum::Bool(true)) {
        all.reverse();
    }
    Ok(all)
}

/// An element by its subscript; NULL outside the bounds.
fn element_at(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let array = array(args, 0)?;
    if args.len() - 1 != array.dimensions.len() {
        return Ok(Datum::Null);
    }
    let mut place = 0;
    for (subscript, (length, lower)) in args[1..].iter().zip(&array.dimensions) {
        let Datum::Int8(subscript) = subscript else { return Ok(Datum::Null) };
        let length = i64::from(*length);
        match subscript.checked_sub(i64::from(*lower)) {
            Some(within) if (0..length).contains(&within) => place = place * length + within,
            _ => return Ok(Datum::Null),
        }
    }
    Ok(array.elements[place as usize].clone())
}

/// The elements between two subscripts, which may be beyond the bounds; none where they are the wrong way round.
fn slice(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let array = array(args, 0)?;
    let element = element_type(call, 0);
    let (Datum::Int8(from), Datum::Int8(to)) = (&args[1], &args[2]) else { return Ok(Datum::Null) };
    let Some((length, lower)) = array.dimensions.first() else { return Ok(array_of(element, Vec::new())) };
    if array.dimensions.len() > 1 {
        return Err(SqlError::unsupported("a slice of an array of several dimensions"));
    }
    let place = |subscript: i64| subscript.saturating_sub(i64::from(*lower)).clamp(0, i64::from(*length)) as usize;
    let (from, to) = (place(*from), place(to.saturating_add(1)));
    Ok(array_of(element, array.elements.get(from..to).unwrap_or_default().to_vec()))
}

const TWO_ARRAYS: &[Parameter] = &[ANY_ARRAY, ANY_ARRAY];

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("contains_op", &[ANY_ARRAY, ANY_ARRAY], TO_BOOL, |call, args| contains_op(call, args, (0, 1))),
    function("contains_op", &[JSONB, JSONB], TO_BOOL, |call, args| contains_op(call, args, (0, 1))),
    function("contained_op", &[ANY_ARRAY, ANY_ARRAY], TO_BOOL, |call, args| contains_op(call, args, (1, 0))),
    function("contained_op", &[JSONB, JSONB], TO_BOOL, |call, args| contains_op(call, args, (1, 0))),
    function("arraycontains", &[ANY_ARRAY, ANY_ARRAY], TO_BOOL, |call, args| contains_op(call, args, (0, 1))),
    function("arraycontained", &[ANY_ARRAY, ANY_ARRAY], TO_BOOL, |call, args| contains_op(call, args, (1, 0))),
    function("jsonb_contains", &[JSONB, JSONB], TO_BOOL, |call, args| contains_op(call, args, (0, 1))),
    function("overlap_op", &[ANY_ARRAY, ANY_ARRAY], TO_BOOL, |_, args| {
        let (a, b) = (array(args, 0)?, array(args, 1)?);
        Ok(Datum::Bool(a.elements.iter().any(|x| b.elements.iter().any(|y| same(x, y)))))
    }),
    function("array_append", &[ANY_ARRAY, ANY], Returns::SameAs(0), |call, args| append(call, args, 0, 1))
        .null_allowed(),
    function("array_prepend", &[ANY, ANY_ARRAY], Returns::SameAs(1), |call, args| append(call, args, 1, 0))
        .null_allowed(),
    function("array_cat", &[ANY_ARRAY, ANY_ARRAY], Returns::SameAs(0), concatenate).null_allowed(),
    function("array_fill", &[ANY, INT4_ARRAY, INT4_ARRAY], Returns::ArrayOf(0), fill).optional(1).null_allowed(),
    function("array_length", &[ANY_ARRAY, INT4], TO_INT4, |_, args| {
        Ok(dimension(args)?.map_or(Datum::Null, |(length, _)| Datum::Int4(length as i32)))
    }),
    function("array_lower", &[ANY_ARRAY, INT4], TO_INT4, |_, args| {
        Ok(dimension(args)?.map_or(Datum::Null, |(_, lower)| Datum::Int4(lower)))
    }),
    function("array_upper", &[ANY_ARRAY, INT4], TO_INT4, |_, args| {
        Ok(dimension(args)?.map_or(Datum::Null, |(length, lower)| Datum::Int4(lower + length as i32 - 1)))
    }),
    function("array_ndims", &[ANY_ARRAY], TO_INT4, |_, args| {
        let dimensions = array(args, 0)?.dimensions.len();
        Ok(if dimensions == 0 { Datum::Null } else { Datum::Int4(dimensions as i32) })
    }),
    function("array_dims", &[ANY_ARRAY], TO_TEXT, |_, args| {
        let array = array(args, 0)?;
        if array.dimensions.is_empty() {
            return Ok(Datum::Null);
        }
        let shown = array.dimensions.iter().map(|(length, lower)| format!("[{lower}:{}]", lower + *length as i32 - 1));
        Ok(Datum::Text(shown.collect()))
    }),
    function("cardinality", &[ANY_ARRAY], TO_INT4, |_, args| Ok(Datum::Int4(array(args, 0)?.elements.len() as i32))),
    function("array_to_string", &[ANY_ARRAY, TEXT, TEXT], TO_TEXT, to_string).optional(1).null_allowed().stable(),
    function("string_to_array", &[TEXT, TEXT, TEXT], TO_TEXT_ARRAY, from_string).optional(1).null_allowed(),
    function("array_position", &[ANY_ARRAY, ANY, INT4], TO_INT4, |_, args| {
        let from = match args.get(2) {
            None => i32::MIN,
            Some(Datum::Int4(from)) => *from,
            Some(_) if args[0].is_null() => return Ok(Datum::Null),
            Some(_) => {
                let message = "initial position must not be null";
                return Err(SqlError::new(SqlState::NullValueNotAllowed, message));
            }
        };
        let found = positions(args)?.unwrap_or_default().into_iter().find(|place| *place >= from);
        Ok(found.map_or(Datum::Null, Datum::Int4))
    })
    .optional(1)
    .null_allowed(),
    function("array_positions", &[ANY_ARRAY, ANY], TO_INT4_ARRAY, |_, args| {
        let places = |found: Vec<i32>| array_of(ScalarType::Int4, found.into_iter().map(Datum::Int4).collect());
        Ok(positions(args)?.map_or(Datum::Null, places))
    })
    .null_allowed(),
    function("array_remove", &[ANY_ARRAY, ANY], Returns::SameAs(0), remove).null_allowed(),
    function("array_replace", &[ANY_ARRAY, ANY, ANY], Returns::SameAs(0), replace).null_allowed(),
    function("generate_subscripts", &[ANY_ARRAY, INT4, BOOL], TO_INT4_ARRAY, |_, args| {
        Ok(array_of(ScalarType::Int4, subscripts(args)?))
    })
    .optional(1),
    function("pg_array_element", &[ANY_ARRAY, INT8], Returns::ElementOf(0), element_at).variadic(),
    function("array_lt", TWO_ARRAYS, TO_BOOL, |_, args| Ok(Datum::Bool(compare(&args[0], &args[1]).is_lt()))),
    function("array_le", TWO_ARRAYS, TO_BOOL, |_, args| Ok(Datum::Bool(compare(&args[0], &args[1]).is_le()))),
    function("array_gt", TWO_ARRAYS, TO_BOOL, |_, args| Ok(Datum::Bool(compare(&args[0], &args[1]).is_gt()))),
    function("array_ge", TWO_ARRAYS, TO_BOOL, |_, args| Ok(Datum::Bool(compare(&args[0], &args[1]).is_ge()))),
    function("pg_array_slice", &[ANY_ARRAY, INT8, INT8], Returns::SameAs(0), slice),
    function("pg_array_or_empty", &[ANY_ARRAY], Returns::SameAs(0), |call, args| {
        Ok(if args[0].is_null() { array_of(element_type(call, 0), Vec::new()) } else { args[0].clone() })
    })
    .null_allowed(),
];
