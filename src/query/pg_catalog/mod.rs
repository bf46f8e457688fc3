//! The schemas `pg_catalog` and `information_schema`: every relation of PostgreSQL 15, with the rows that are true here.

pub(crate) mod describe;
pub(crate) mod names;
pub(crate) mod procedures;
pub(crate) mod relations;
