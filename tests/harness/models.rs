//! The models of the tests, and the ONNX Runtime that they were made with: `tools/models/make.sh` puts both below the target folder.

use std::path::{Path, PathBuf};

/// The folder of what is built, and of what the tests fetch.
pub(crate) fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The folder of models, pictures and references.
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::var_os("LODEDB_TEST_MODELS").map_or_else(|| target().join("models"), PathBuf::from);
    assert!(folder.exists(), "there is no {}; run tools/install-test-deps.sh", folder.display());
    folder
}

/// ONNX Runtime: what `ORT_DYLIB_PATH` names, or the environment in which the models were made.
pub(crate) fn runtime() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| target().join("models-env"), PathBuf::from)
}

/// The Python of the environment in which they were made, beside their folder.
pub(crate) fn python() -> PathBuf {
    let mut environment = folder().into_os_string();
    environment.push("-env");
    let python = PathBuf::from(environment).join("bin/python");
    assert!(python.exists(), "there is no {}; run tools/install-test-deps.sh", python.display());
    python
}
