//! Nearest neighbours: recognised in a plan, and searched.
//!
//! `recognise` looks for `ORDER BY distance LIMIT k` over one table and puts a `NeighborReader` in the place of the
//! table and its condition; it gives just the k nearest rows. The sort above stays: it orders k rows by distances it
//! computes itself, so that what a client sees never depends on what was recognised. [`search`] is the search itself,
//! which the hot road shares.

mod index_rows;
mod operator;
mod reader;
mod recognise;
pub(crate) mod search;

pub(crate) use index_rows::{class_metric, only_rows_of_indexes};
pub(crate) use operator::{NeighborOperator, is_search};
pub(crate) use reader::vector_of;
pub(crate) use recognise::{metric_of, recognise};
