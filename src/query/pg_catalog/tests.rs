//! Tests of the system schemas.
