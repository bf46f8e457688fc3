//! Casts, operators and what becomes of literals.

use arbitrary::{Result, Unstructured};

use super::values::check;
use super::{any_column_type, any_environment, any_type, rest_as_text};
use crate::cast::{CastContext, can_cast, cast};
use crate::datum::Datum;
use crate::resolve::{function_parameter_types, resolve_operator, unify};
use crate::text::parse_text_in;
use crate::type_name::type_named;
use crate::types::{PgType, ScalarType, TypeWithModifier};
use crate::vector::{self, Metric};

const OPERATORS: [&str; 30] = [
    "=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "^", "&", "|", "#", "<<", ">>", "||", "~", "!~", "~~",
    "<->", "<#>", "<=>", "<+>", "@>", "&&", "->", "^@", "?",
];
const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];

/// A literal takes the types that operators want of it, and every cast that is promised gives a value of its type or says why not.
pub fn casts(data: &[u8]) {
    let _ = try_casts(&mut Unstructured::new(data));
}

fn try_casts(u: &mut Unstructured<'_>) -> Result<()> {
    let (from, to) = (any_column_type(u)?, any_column_type(u)?);
    let environment = any_environment(u)?;
    let context = *u.choose(&[CastContext::Implicit, CastContext::Assignment, CastContext::Explicit])?;
    resolve(u)?;
    let text = rest_as_text(u);
    let _ = type_named(&text);
    let _ = function_parameter_types(&text, data_length(&text));
    let Ok(value) = parse_text_in(&text, from, &environment) else { return Ok(()) };
    if let Datum::Vector(vector) = &value {
        arithmetic(vector);
    }
    match cast(value.clone(), from.ty, to, context, &environment) {
        Ok(result) => {
            assert!(can_cast(from.ty, to.ty, context));
            check(&result, to, &environment);
        }
        Err(error) => assert_ne!(error.state().code(), "XX000", "{error}: {value:?} to {to:?}"),
    }
    Ok(())
}

fn data_length(text: &str) -> usize {
    text.len() % 5
}

/// An operator found for two types takes both, and unifying types is the same in any order that keeps the first.
fn resolve(u: &mut Unstructured<'_>) -> Result<()> {
    let operator = *u.choose(&OPERATORS)?;
    let side = |u: &mut Unstructured<'_>| -> Result<Option<PgType>> {
        Ok(if u.ratio(1, 4)? { None } else { Some(any_type(u)?) })
    };
    let (left, right) = (side(u)?, side(u)?);
    if let Ok(choice) = resolve_operator(operator, left, right) {
        for (given, wanted) in [(left, choice.left), (right, choice.right)] {
            // What has no value is never cast.
            let Some(given) = given.filter(|given| !is_pseudo(*given)) else { continue };
            assert!(can_cast(given, wanted, CastContext::Explicit), "{given:?} {operator} takes {wanted:?}");
        }
    }
    if let Ok(ty) = unify(&[left, right]) {
        for given in [left, right].into_iter().flatten() {
            assert!(can_cast(given, ty, CastContext::Implicit), "{given:?} becomes {ty:?}");
        }
    }
    Ok(())
}

fn is_pseudo(ty: PgType) -> bool {
    matches!(
        ty,
        PgType::Scalar(ScalarType::Void | ScalarType::Record | ScalarType::Unknown) | PgType::Array(ScalarType::Record)
    )
}

fn arithmetic(a: &[f32]) {
    let b: Vec<f32> = a.iter().rev().copied().collect();
    for metric in METRICS {
        let (there, back) = (metric.distance(a, &b), metric.distance(&b, a));
        assert!(there == back || (there.is_nan() && back.is_nan()), "{metric:?} of {a:?}: {there} and {back}");
    }
    let ty = TypeWithModifier::plain(ScalarType::Vector);
    let environment = crate::cast::CastEnvironment { zone: chrono_tz::Tz::UTC, now_us: 0 };
    let results = [vector::add(a, &b), vector::subtract(a, &b), vector::multiply(a, &b), vector::l2_normalize(a)];
    for result in results.into_iter().chain([vector::concat(a, &b), vector::subvector(a, 1, 2)]).flatten() {
        check(&Datum::Vector(result), ty, &environment);
    }
}
