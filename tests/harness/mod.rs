//! What the black-box tests share: a real server, clients of it, and vectors whose neighbours are known.
#![allow(dead_code, reason = "each integration binary uses its part of this")]
#![allow(unused_imports, reason = "each integration binary uses its part of this")]

pub(crate) mod client;
pub(crate) mod ledger;
pub(crate) mod raw;
pub(crate) mod reference;
pub(crate) mod server;
pub(crate) mod vectors;

pub(crate) use client::{error, ok, one, rows, run};
pub(crate) use server::Server;
