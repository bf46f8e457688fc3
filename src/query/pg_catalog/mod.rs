//! The schemas `pg_catalog` and `information_schema`: every relation of PostgreSQL 15 with its columns and types, and
//! the rows that are true here.
//!
//! [`table`] gives DataFusion a relation by name. It costs nothing until a statement scans it: a relation's columns
//! are known from a table of text, its rows are made from the statement's scope when it is first scanned. What LodeDB
//! has none of (triggers, policies, publications, ..) is an empty relation.
//!
//! After the columns of PostgreSQL each catalog has `tableoid`, a column there too that `*` does not show.

pub(crate) mod describe;
pub(crate) mod names;
pub(crate) mod procedures;
mod provider;
pub(crate) mod relations;
mod rows;
mod table;
#[cfg(test)]
mod tests;

pub use provider::{INFORMATION_SCHEMA, PG_CATALOG, is_system_relation, relation_names, table};
