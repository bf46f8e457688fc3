//! What the black-box tests share: a real server, clients of it, and vectors whose neighbours are known.
#![allow(dead_code, reason = "each integration binary uses its part of this")]
#![allow(unused_imports, reason = "each integration binary uses its part of this")]

use std::path::{Path, PathBuf};

pub(crate) mod client;
pub(crate) mod ledger;
pub(crate) mod models;
pub(crate) mod raw;
pub(crate) mod reference;
pub(crate) mod server;
pub(crate) mod vectors;

pub(crate) use client::{error, ok, one, rows, run};
pub(crate) use server::Server;

/// The Python that has what the tests need.
pub(crate) fn python() -> PathBuf {
    let python = std::env::var_os("LODEDB_TEST_PYTHON").map_or_else(
        || {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
            target.join("test-env/bin/python")
        },
        PathBuf::from,
    );
    assert!(python.exists(), "there is no {}; run tools/install-test-deps.sh", python.display());
    python
}
