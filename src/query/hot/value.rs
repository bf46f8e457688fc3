//! Values that a statement writes plainly: constants and parameters.

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, ValueWithSpan};
use lodedb_sql::cast::{CastContext, CastEnvironment, cast};
use lodedb_sql::error::Result;
use lodedb_sql::rewrite::as_cast;
use lodedb_sql::text::parse_text_in;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use crate::query::plan::Planner;
use crate::query::plan::position::mark_literal;
use crate::query::plan::syntax::placeholder;
use crate::query::scan::access::as_type;
use crate::query::statement_state::cast_environment;

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// It is written out.
    Constant(Datum),
    /// It is the parameter at this place, of this type.
    Parameter(usize, PgType),
}

impl Source {
    /// The value, of whatever type it is given in.
    pub(crate) fn given<'a>(&'a self, params: &'a [Datum]) -> &'a Datum {
        match self {
            Self::Constant(datum) => datum,
            Self::Parameter(at, _) => params.get(*at).unwrap_or(&Datum::Null),
        }
    }

    /// The value as one to compare a column of a type with; `None` if no value of that type is equal to it.
    pub(crate) fn comparable(&self, params: &[Datum], ty: PgType) -> Option<Datum> {
        let given = self.given(params);
        if given.is_null() { None } else { as_type(given.clone(), ty) }
    }

    /// The value as a vector; `None` for NULL.
    pub(crate) fn vector(
        &self,
        params: &[Datum],
        environment: &CastEnvironment,
    ) -> Result<Option<std::sync::Arc<[f32]>>> {
        let vector = TypeWithModifier::plain(ScalarType::Vector);
        let datum = match self {
            Self::Constant(datum) => datum.clone(),
            Self::Parameter(_, ty) if *ty == vector.ty => self.given(params).clone(),
            Self::Parameter(_, ty) => {
                let given = self.given(params);
                if given.is_null() {
                    return Ok(None);
                }
                cast(given.clone(), *ty, vector, CastContext::Explicit, environment)?
            }
        };
        Ok(match datum {
            Datum::Vector(vector) => Some(vector),
            _ => None,
        })
    }
}

fn is_integer(ty: PgType) -> bool {
    matches!(ty, PgType::Scalar(ScalarType::Int2 | ScalarType::Int4 | ScalarType::Int8))
}

/// The type of `$number` beside something of type `ty`; `None` if it has another type than would be chosen for it.
pub(crate) fn parameter(planner: &Planner, name: &str, ty: PgType) -> Option<Source> {
    let number: usize = name.strip_prefix('$')?.parse().ok()?;
    planner.parameters.note(number, ty);
    let known = planner.parameters.get(number)?;
    (known == ty || (is_integer(known) && is_integer(ty))).then_some(Source::Parameter(number.checked_sub(1)?, known))
}

/// A value to compare a column of a type with; `None` if it takes more to know it.
pub(crate) fn compared(planner: &Planner, expr: &Expr, ty: PgType) -> Result<Option<Source>> {
    if let Some(name) = placeholder(expr) {
        return Ok(parameter(planner, name, ty));
    }
    Ok(match expr {
        Expr::Nested(within) => return compared(planner, within, ty),
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            let environment = cast_environment(&planner.environment);
            let datum = parse_text_in(text, TypeWithModifier::plain(ty), &environment)
                .map_err(|error| mark_literal(error, text))?;
            Some(Source::Constant(datum))
        }
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) if is_integer(ty) => {
            digits.parse::<i64>().ok().map(|value| Source::Constant(Datum::Int8(value)))
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if is_integer(ty) => match expr.as_ref() {
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
                format!("-{digits}").parse::<i64>().ok().map(|value| Source::Constant(Datum::Int8(value)))
            }
            _ => None,
        },
        other => match as_cast(other) {
            Some((value, to)) if to.modifier < 0 && (to.ty == ty || (is_integer(to.ty) && is_integer(ty))) => {
                return compared(planner, value, to.ty);
            }
            _ => None,
        },
    })
}

/// A vector to be near to; `None` if it takes more to know it.
pub(crate) fn query_vector(planner: &Planner, expr: &Expr) -> Result<Option<Source>> {
    let vector = PgType::Scalar(ScalarType::Vector);
    if let Some(name) = placeholder(expr) {
        return Ok(parameter(planner, name, vector));
    }
    Ok(match expr {
        Expr::Nested(within) => return query_vector(planner, within),
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            let datum = parse_text_in(text, TypeWithModifier::plain(vector), &cast_environment(&planner.environment))
                .map_err(|error| mark_literal(error, text))?;
            Some(Source::Constant(datum))
        }
        other => match as_cast(other) {
            Some((value, to)) if to.modifier < 0 && to.ty == vector => match placeholder(value) {
                Some(name) => {
                    // A driver may send the text of a vector, or an array.
                    let Some(number) = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()) else {
                        return Ok(None);
                    };
                    planner.parameters.note(number, vector);
                    let known = planner.parameters.get(number);
                    let fits = known.is_some_and(|known| {
                        known == vector || lodedb_sql::cast::can_cast(known, vector, CastContext::Explicit)
                    });
                    known.filter(|_| fits && number > 0).map(|known| Source::Parameter(number - 1, known))
                }
                None => return query_vector(planner, value),
            },
            _ => None,
        },
    })
}

/// A whole number that a LIMIT is; `None` if it takes more to know it.
pub(crate) fn count(planner: &Planner, expr: &Expr) -> Option<Source> {
    let bigint = PgType::Scalar(ScalarType::Int8);
    if let Some(name) = placeholder(expr) {
        return parameter(planner, name, bigint);
    }
    match expr {
        Expr::Nested(within) => count(planner, within),
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
            digits.parse::<i64>().ok().map(|value| Source::Constant(Datum::Int8(value)))
        }
        other => match as_cast(other) {
            Some((value, to)) if is_integer(to.ty) => count(planner, value),
            _ => None,
        },
    }
}
