//! What the black-box tests share: a real server, clients of it, and vectors whose neighbours are known.
#![allow(dead_code, reason = "each integration binary uses its part of this")]
#![allow(unused_imports, reason = "each integration binary uses its part of this")]

pub mod client;
pub mod raw;
pub mod server;
pub mod vectors;

pub use client::{error, ok, one, rows, run};
pub use server::Server;
