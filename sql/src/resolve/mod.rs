//! Types and operators chosen as PostgreSQL chooses them: pure data and pure functions, for whoever plans.
//!
//! A type that is `None` is that of an untyped literal or parameter.

mod coercion;
mod functions;
mod opclass;
mod operators;

#[cfg(test)]
mod tests;

use crate::error::{Result, SqlError, SqlState};
use crate::types::{PgType, ScalarType};

pub use coercion::{coerces_implicitly, common_type, unify};
pub use functions::function_parameter_types;
pub use opclass::{ClassMetric, VECTOR_CLASSES, VectorClass, vector_class};

use coercion::{Category, category, is_preferred};
use operators::Candidate;

/// Which operator an expression means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorChoice {
    /// What the left operand is cast to.
    pub left: PgType,
    /// What the right operand is cast to.
    pub right: PgType,
    /// What comes out.
    pub result: PgType,
    /// The function to call instead of an operator of DataFusion.
    pub function: Option<&'static str>,
}

/// Chooses a binary operator for operands of these types.
pub fn resolve_operator(operator: &str, left: Option<PgType>, right: Option<PgType>) -> Result<OperatorChoice> {
    let operator = if operator == "!=" { "<>" } else { operator };
    // A literal whose type is not known is as good as an untyped one.
    let known = |ty: Option<PgType>| ty.filter(|ty| *ty != PgType::Scalar(ScalarType::Unknown));
    let (left, right) = (known(left), known(right));
    if let Some(choice) = operators::polymorphic(operator, left, right) {
        return Ok(choice);
    }
    let candidates = operators::candidates(operator);
    // An exact match; an untyped side is first tried as the type of the other.
    if let (Some(l), Some(r)) = (left.or(right), right.or(left))
        && let Some(exact) = candidates.iter().find(|candidate| candidate.left == l && candidate.right == r)
    {
        return Ok(exact.choice());
    }
    let fits = |input: Option<PgType>, wanted: PgType| input.is_none_or(|from| coerces_implicitly(from, wanted));
    let mut remaining: Vec<&Candidate> =
        candidates.iter().filter(|candidate| fits(left, candidate.left) && fits(right, candidate.right)).collect();
    match remaining.len() {
        0 => return Err(no_operator(operator, left, right)),
        1 => return Ok(remaining[0].choice()),
        _ => {}
    }
    keep_best(&mut remaining, |candidate| matches(left, right, candidate, |input, wanted| input == wanted));
    if let [only] = remaining.as_slice() {
        return Ok(only.choice());
    }
    keep_best(&mut remaining, |candidate| {
        matches(left, right, candidate, |input, wanted| {
            input == wanted || (is_preferred(wanted) && category(wanted) == category(input))
        })
    });
    if let [only] = remaining.as_slice() {
        return Ok(only.choice());
    }
    for (untyped, side) in [(left.is_none(), 0), (right.is_none(), 1)] {
        if untyped {
            keep_for_untyped(&mut remaining, |candidate| if side == 0 { candidate.left } else { candidate.right });
        }
    }
    if let [only] = remaining.as_slice() {
        return Ok(only.choice());
    }
    // The last resort: an untyped side is of the other's type.
    if let (Some(ty), true) = (left.or(right), left.is_none() || right.is_none()) {
        remaining.retain(|candidate| coerces_implicitly(ty, candidate.left) && coerces_implicitly(ty, candidate.right));
        if let [only] = remaining.as_slice() {
            return Ok(only.choice());
        }
    }
    Err(SqlError::new(
        SqlState::AmbiguousFunction,
        format!("operator is not unique: {} {operator} {}", name_of(left), name_of(right)),
    )
    .with_hint("Could not choose a best candidate operator. You might need to add explicit type casts."))
}

/// On how many sides a candidate fits by a rule; untyped sides count for none.
fn matches(
    left: Option<PgType>,
    right: Option<PgType>,
    candidate: &Candidate,
    rule: impl Fn(PgType, PgType) -> bool,
) -> usize {
    [(left, candidate.left), (right, candidate.right)]
        .into_iter()
        .filter(|(input, wanted)| input.is_some_and(|input| rule(input, *wanted)))
        .count()
}

fn keep_best(candidates: &mut Vec<&Candidate>, score: impl Fn(&Candidate) -> usize) {
    let best = candidates.iter().map(|candidate| score(candidate)).max().unwrap_or(0);
    candidates.retain(|candidate| score(candidate) == best);
}

/// An untyped literal is a string where any candidate takes one, else of the one category that all take; preferred
/// types go first.
fn keep_for_untyped(candidates: &mut Vec<&Candidate>, side: impl Fn(&Candidate) -> PgType) {
    let mut wanted = None;
    if candidates.iter().any(|candidate| category(side(candidate)) == Category::String) {
        wanted = Some(Category::String);
    } else if let Some(first) = candidates.first().map(|candidate| category(side(candidate)))
        && candidates.iter().all(|candidate| category(side(candidate)) == first)
    {
        wanted = Some(first);
    }
    let Some(wanted) = wanted else { return };
    candidates.retain(|candidate| category(side(candidate)) == wanted);
    if candidates.iter().any(|candidate| is_preferred(side(candidate))) {
        candidates.retain(|candidate| is_preferred(side(candidate)));
    }
}

fn name_of(ty: Option<PgType>) -> String {
    ty.map_or_else(|| "unknown".to_owned(), PgType::sql_name)
}

fn no_operator(operator: &str, left: Option<PgType>, right: Option<PgType>) -> SqlError {
    let message = format!("operator does not exist: {} {operator} {}", name_of(left), name_of(right));
    SqlError::new(SqlState::UndefinedFunction, message)
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}
