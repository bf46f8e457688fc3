//! Finding and loading ONNX Runtime. A test binary of its own, whose tests load it in one process each: a process loads it once.

#[path = "models/place.rs"]
mod place;

use std::env;
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

/// What a process of this environment finds, in words: this test again, which then opens a model and says how that went.
fn in_environment(variables: &[(&str, &Path)]) -> String {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", "the_environment_tells_where_the_runtime_is", "--nocapture"]);
    command
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("VIRTUAL_ENV")
        .env("HOME", "/nonexistent")
        .env(CHILD, place::model("clip"));
    let output = command.envs(variables.iter().copied()).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CHILD: &str = "LODEDB_TEST_OPENS";

#[test]
fn the_environment_tells_where_the_runtime_is() {
    if let Some(model) = env::var_os(CHILD) {
        return println!("{:?}", Model::open(Path::new(&model), &Options::default()).map(|model| model.dims()));
    }
    let runtime = place::runtime();
    assert!(in_environment(&[("ORT_DYLIB_PATH", &runtime)]).contains("Ok(512)"));
    // Who names a place does not get another instead.
    let named = in_environment(&[("ORT_DYLIB_PATH", Path::new("/nowhere")), ("VIRTUAL_ENV", &runtime)]);
    assert!(named.contains(r#"Err(RuntimeMissing { looked_in: ["/nowhere"] })"#), "{named}");
    if runtime.join("bin/python").exists() {
        assert!(in_environment(&[("VIRTUAL_ENV", &runtime)]).contains("Ok(512)"));
    }
}
