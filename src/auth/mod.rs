//! Who may come in, and what they may do then.
//!
//! The server asks [`rules`] how a client is to show who it is, [`scram`] whether it did, and [`delay`] how long to wait after
//! it failed to. A session asks [`privilege`] before it does anything for a role. What there is to decide about, roles and
//! grants, is in the catalog ([`crate::catalog::rights`]); everything here is a decision over plain data, and touches neither
//! sockets nor files.
//!
//! What always holds here:
//!
//! 1. Nothing that is kept lets anybody in: of a password there is a [`verifier`], which shows that a client knows it.
//! 2. What is not allowed by name is refused.
//! 3. A client that fails cannot tell why: a name that is unknown, one without a password and a wrong password take the same
//!    steps and end in the same words.

pub(crate) mod delay;
pub(crate) mod grants;
pub mod privilege;
pub mod rules;
pub(crate) mod scram;
pub mod verifier;

/// Compares in a time that does not depend on where the bytes differ.
pub(crate) fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && std::hint::black_box(left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}
