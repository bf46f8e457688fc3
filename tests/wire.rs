//! Black-box tests over the Postgres wire protocol: the real program, real drivers, real sockets.
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

#[path = "wire/advisory.rs"]
mod advisory;
#[path = "wire/auth.rs"]
mod auth;
#[path = "wire/concurrency.rs"]
mod concurrency;
#[path = "wire/copy.rs"]
mod copy;
#[path = "wire/crowd.rs"]
mod crowd;
#[path = "wire/cursors.rs"]
mod cursors;
#[path = "wire/embedded_columns.rs"]
mod embedded_columns;
#[path = "wire/errors.rs"]
mod errors;
#[path = "wire/files.rs"]
mod files;
#[path = "wire/histories.rs"]
mod histories;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/isolation.rs"]
mod isolation;
#[path = "wire/lifetime.rs"]
mod lifetime;
#[path = "wire/limits.rs"]
mod limits;
#[path = "wire/load.rs"]
mod load;
#[path = "wire/locking.rs"]
mod locking;
#[path = "wire/models.rs"]
mod models;
#[path = "wire/notify.rs"]
mod notify;
#[path = "wire/page.rs"]
mod page;
#[path = "wire/privileges.rs"]
mod privileges;
#[path = "wire/programs.rs"]
mod programs;
#[path = "wire/protocol.rs"]
mod protocol;
#[path = "wire/readme.rs"]
mod readme;
#[path = "wire/refill.rs"]
mod refill;
#[path = "wire/roles.rs"]
mod roles;
#[path = "wire/search.rs"]
mod search;
#[path = "wire/search_examples.rs"]
mod search_examples;
#[path = "wire/sessions.rs"]
mod sessions;
#[path = "wire/side.rs"]
mod side;
#[path = "wire/tls.rs"]
mod tls;
#[path = "wire/transactions.rs"]
mod transactions;
#[path = "wire/types.rs"]
mod types;
#[path = "wire/writes.rs"]
mod writes;
