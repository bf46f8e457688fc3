//! Finding and loading ONNX Runtime. A test binary of its own, with one test: a process loads the library once.

#[path = "models/place.rs"]
mod place;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lodedb_embed::{EmbedError, Model, Options};

fn open(runtime: &Path) -> Result<Model, EmbedError> {
    Model::open(&place::model("clip"), &Options { runtime: Some(runtime.to_owned()), ..Options::default() })
}

/// A library with what is asked of ONNX Runtime first, which says that it is of this version.
fn library_of_version(folder: &Path, version: &str) -> PathBuf {
    let (source, library) = (folder.join("old.c"), folder.join("libonnxruntime.so"));
    let code = format!(
        "static const void *api(unsigned version) {{ return 0; }}\n\
         static const char *version(void) {{ return \"{version}\"; }}\n\
         static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{ api, version }};\n\
         const void *OrtGetApiBase(void) {{ return &base; }}\n"
    );
    fs::write(&source, code).expect("a file");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(compiled.expect("a C compiler").success());
    library
}

#[test]
fn a_runtime_that_is_missing_or_unfit_is_an_error_until_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");

    let missing = open(&folder.path().join("nowhere")).expect_err("there is none");
    assert!(matches!(missing, EmbedError::RuntimeMissing { .. }), "{missing}");
    assert!(
        missing.to_string().contains("pip install onnxruntime") && missing.to_string().contains("ORT_DYLIB_PATH"),
        "{missing}"
    );

    let garbage = folder.path().join("garbage.so");
    fs::write(&garbage, b"not a library").expect("a file");
    let unusable = open(&garbage).expect_err("it is no library");
    assert!(matches!(&unusable, EmbedError::RuntimeUnusable { path, .. } if *path == garbage), "{unusable}");

    let other = folder.path().join("other.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-x", "c", "/dev/null", "-o"]).arg(&other).status();
    assert!(compiled.expect("a C compiler").success());
    let unusable = open(&other).expect_err("it is another library");
    assert!(unusable.to_string().ends_with("it is another library"), "{unusable}");

    library_of_version(folder.path(), "1.17.3");
    let old = open(folder.path()).expect_err("it is too old");
    assert!(old.to_string().contains("version 1.17.3, and 1.18 or later is needed"), "{old}");

    // None of this stands in the way of the right one, and afterwards nothing does.
    assert_eq!(open(&place::runtime()).expect("it opens").dims(), 512);
    assert_eq!(open(&folder.path().join("nowhere")).expect("it is loaded already").dims(), 512);
}
