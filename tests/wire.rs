//! Black-box tests over the Postgres wire protocol: the real program, real drivers, real sockets.
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

#[path = "wire/concurrency.rs"]
mod concurrency;
#[path = "wire/copy.rs"]
mod copy;
#[path = "wire/errors.rs"]
mod errors;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/lifetime.rs"]
mod lifetime;
#[path = "wire/load.rs"]
mod load;
#[path = "wire/programs.rs"]
mod programs;
#[path = "wire/protocol.rs"]
mod protocol;
#[path = "wire/search.rs"]
mod search;
#[path = "wire/side.rs"]
mod side;
#[path = "wire/transactions.rs"]
mod transactions;
#[path = "wire/types.rs"]
mod types;
#[path = "wire/writes.rs"]
mod writes;
