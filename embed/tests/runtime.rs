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

    library_of_version(folder.path(), "1.20.1");
    let old = open(folder.path()).expect_err("it is too old");
    assert!(old.to_string().contains("version 1.20.1, and 1.21 or later is needed"), "{old}");

    // None of this stands in the way of the right one, and afterwards nothing does.
    assert_eq!(open(&place::runtime()).expect("it opens").dims(), 512);
    assert_eq!(open(&folder.path().join("nowhere")).expect("it is loaded already").dims(), 512);
}

/// What a process finds that opens the model in `directory`, in words: one of these tests again, alone.
fn in_a_process(test: &str, directory: &Path, variables: &[(&str, &Path)], started_in: &Path) -> String {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture"]).current_dir(started_in);
    command.env_remove("ORT_DYLIB_PATH").env_remove("VIRTUAL_ENV").env("HOME", "/nonexistent").env(CHILD, directory);
    let output = command.envs(variables.iter().copied()).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Names the directory to such a process.
const CHILD: &str = "LODEDB_TEST_OPENS";

/// In such a process opens the model and says how that went.
fn is_child() -> bool {
    let Some(directory) = env::var_os(CHILD) else { return false };
    println!("{:?}", Model::open(Path::new(&directory), &Options::default()).map(|model| model.dims()));
    true
}

#[test]
fn the_environment_tells_where_the_runtime_is() {
    if is_child() {
        return;
    }
    let found = |variables: &[(&str, &Path)]| {
        in_a_process("the_environment_tells_where_the_runtime_is", &place::model("clip"), variables, Path::new("/"))
    };
    let runtime = place::runtime();
    assert!(found(&[("ORT_DYLIB_PATH", &runtime)]).contains("Ok(512)"));
    // Who names a place does not get another instead.
    let named = found(&[("ORT_DYLIB_PATH", Path::new("/nowhere")), ("VIRTUAL_ENV", &runtime)]);
    assert!(named.contains(r#"Err(RuntimeMissing { looked_in: ["/nowhere"] })"#), "{named}");
    if runtime.join("bin/python").exists() {
        assert!(found(&[("VIRTUAL_ENV", &runtime)]).contains("Ok(512)"));
    }
}

#[test]
fn a_network_reads_no_files() {
    if is_child() {
        return;
    }
    let unfit = place::model("unfit");
    let found = |directory: &Path| {
        // Started where the weights lie that both networks name: one by its name, the other from the folder beside.
        in_a_process(
            "a_network_reads_no_files",
            directory,
            &[("ORT_DYLIB_PATH", &place::runtime())],
            &unfit.join("two-files"),
        )
    };
    assert!(found(&unfit.join("two-files")).contains("Ok(16)"));
    let alone = tempfile::tempdir().expect("a folder");
    for name in ["model.onnx", "lodedb.json"] {
        fs::copy(unfit.join("two-files").join(name), alone.path().join(name)).expect("copied");
    }
    for directory in [alone.path(), &unfit.join("reaching-out")] {
        let refused = found(directory);
        assert!(refused.contains("Err(BadModel") && refused.contains("ONNX Runtime refuses it"), "{refused}");
    }
}
