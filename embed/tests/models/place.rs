//! Where `tools/models/make.sh` puts models and ONNX Runtime.

use std::path::{Path, PathBuf};

fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The folder with the models, the pictures and the references, or what lies in it.
pub(crate) fn model(name: &str) -> PathBuf {
    let path = std::env::var_os("LODEDB_TEST_MODELS").map_or_else(|| target().join("models"), PathBuf::from).join(name);
    assert!(path.exists(), "there is no {}; run tools/install-test-deps.sh", path.display());
    path
}

/// ONNX Runtime: what `ORT_DYLIB_PATH` names, or the environment in which the models were made.
pub(crate) fn runtime() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| target().join("models-env"), PathBuf::from)
}
