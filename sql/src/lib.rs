//! LodeDB's SQL dialect: text in, checked statement out. It touches no file and knows no engine.
//!
//! - [`types`]: the types of columns and parameters, with PostgreSQL's OIDs, names and modifiers.
//! - [`datum`]: one value of any type; [`text`] and [`binary`] are its two forms on the wire.
//! - [`vector`], [`halfvec`], [`sparsevec`], [`bits`]: the arithmetic of vectors of every kind: distances and what
//!   pgvector calls operators.
//! - [`copy`]: the three formats of COPY.
//! - [`mod@parse`]: a bounded parser; [`statement`]: what it yields.
//! - [`resolve`]: parameter types and operators chosen as PostgreSQL chooses them.
#![forbid(unsafe_code)]

pub mod binary;
pub mod bits;
pub mod cast;
pub mod compare;
pub mod copy;
pub mod datum;
pub mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod halfvec;
pub mod parse;
pub mod resolve;
pub mod rewrite;
pub mod sparsevec;
pub mod statement;
pub mod text;
pub mod type_name;
pub mod types;
pub mod vector;

pub use datum::Datum;
pub use error::{SqlError, SqlState};
pub use parse::{ParsedStatement, parse};
pub use statement::Statement;
pub use types::{PgType, ScalarType, TypeWithModifier};
