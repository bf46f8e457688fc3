//! Subqueries that are run once for each row beside them, or for each statement in a place where DataFusion has none.
//!
//! DataFusion turns correlated subqueries into joins, and refuses those it cannot: with a LIMIT, without an aggregate,
//! as a function of the row. `take_out` replaces them by an `ApplyNode`, whose operator runs the subquery's plan for
//! each distinct combination of the values it refers to. A search for neighbours of each row is such a subquery: within
//! it the reference becomes a literal, and [`knn`](super::knn) recognises it.

mod node;
mod operator;
mod take_out;

pub(crate) use node::ApplyPlanner;
pub(crate) use operator::ApplyOperator;
pub(crate) use take_out::{Which, holds_subquery, is_correlated, take_out};
