//! .

pub mod commit;
pub mod store;
