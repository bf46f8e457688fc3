//! The functions that pgvector's aggregates are made of there, callable by name: a state is an array of the number of
//! vectors and the sum of each component. The aggregates here do without them ([`super::vector_aggregates`]).

use lodedb_sql::datum::ArrayDatum;
use lodedb_sql::error::Result;
use lodedb_sql::vector::{MAX_DIMENSIONS, check_expected_dimensions};
use lodedb_sql::{Datum, ScalarType, SqlError, SqlState, halfvec, vector};

use super::definition::{Definition, function};
use super::types::{FLOAT8_ARRAY, HALFVEC, TO_FLOAT8_ARRAY, TO_HALFVEC, TO_VECTOR, VECTOR};

/// The numbers of a state: `XX000` for an array that is none.
fn state(args: &[Datum], place: usize, caller: &str) -> Result<Vec<f64>> {
    let expected = || SqlError::internal(format!("{caller}: expected state array"));
    let Some(Datum::Array(array)) = args.get(place) else { return Err(expected()) };
    if array.dimensions.len() != 1 || array.elements.is_empty() {
        return Err(expected());
    }
    let type_name = caller.split('_').next().unwrap_or(caller);
    if array.elements.len() > MAX_DIMENSIONS + 1 {
        let message = format!("{type_name} cannot have more than {MAX_DIMENSIONS} dimensions");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    let number = |datum: &Datum| if let Datum::Float8(value) = datum { Ok(*value) } else { Err(expected()) };
    array.elements.iter().map(number).collect()
}

fn array(numbers: Vec<f64>) -> Result<Datum> {
    if numbers.iter().skip(1).any(|number| number.is_infinite()) {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
    }
    let dimensions = vec![(numbers.len() as u32, 1)];
    let elements = numbers.into_iter().map(Datum::Float8).collect();
    Ok(Datum::Array(Box::new(ArrayDatum { element: ScalarType::Float8, dimensions, elements })))
}

/// A state and one vector more.
fn accumulate(args: &[Datum], caller: &str) -> Result<Datum> {
    let mut state = state(args, 0, caller)?;
    let components = match args.get(1) {
        Some(Datum::Vector(vector)) => vector.to_vec(),
        Some(Datum::Halfvec(vector)) => halfvec::widen(vector),
        other => return Err(SqlError::internal(format!("expected a vector, not {other:?}"))),
    };
    if state.len() == 1 {
        state.resize(components.len() + 1, 0.0);
    } else {
        check_expected_dimensions(Some(state.len() - 1), components.len())?;
    }
    state[0] += 1.0;
    state[1..].iter_mut().zip(&components).for_each(|(sum, component)| *sum += f64::from(*component));
    array(state)
}

/// Two states as one.
fn combine(args: &[Datum], caller: &str) -> Result<Datum> {
    let (mut a, b) = (state(args, 0, caller)?, state(args, 1, caller)?);
    if a[0] == 0.0 {
        return array(b);
    }
    if b[0] != 0.0 {
        check_expected_dimensions(Some(a.len() - 1), b.len() - 1)?;
        a.iter_mut().zip(&b).for_each(|(sum, number)| *sum += number);
    }
    array(a)
}

/// The components of the average; none where no vector was taken in.
fn average(args: &[Datum], caller: &str) -> Result<Option<Vec<f32>>> {
    let state = state(args, 0, caller)?;
    Ok((state[0] != 0.0).then(|| state[1..].iter().map(|sum| (sum / state[0]) as f32).collect()))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("vector_accum", &[FLOAT8_ARRAY, VECTOR], TO_FLOAT8_ARRAY, |_, args| accumulate(args, "vector_accum")),
    function("halfvec_accum", &[FLOAT8_ARRAY, HALFVEC], TO_FLOAT8_ARRAY, |_, args| accumulate(args, "halfvec_accum")),
    function("vector_combine", &[FLOAT8_ARRAY, FLOAT8_ARRAY], TO_FLOAT8_ARRAY, |_, args| {
        combine(args, "vector_combine")
    }),
    function("halfvec_combine", &[FLOAT8_ARRAY, FLOAT8_ARRAY], TO_FLOAT8_ARRAY, |_, args| {
        combine(args, "halfvec_combine")
    }),
    function("vector_avg", &[FLOAT8_ARRAY], TO_VECTOR, |_, args| {
        let Some(components) = average(args, "vector_avg")? else { return Ok(Datum::Null) };
        vector::check_components(&components)?;
        Ok(Datum::Vector(components.into()))
    }),
    function("halfvec_avg", &[FLOAT8_ARRAY], TO_HALFVEC, |_, args| {
        let Some(components) = average(args, "halfvec_avg")? else { return Ok(Datum::Null) };
        halfvec::narrow(&components).map(Datum::Halfvec)
    }),
];
