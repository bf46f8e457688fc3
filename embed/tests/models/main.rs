//! Real models and pictures against references that were computed without this crate: `tools/models` says how.

mod bad_input;
mod images;
mod place;
mod texts;

use std::fs;
use std::path::Path;

use lodedb_embed::{EmbedError, Model, Options};
use serde_json::Value;
use tempfile::TempDir;

fn options() -> Options {
    Options { runtime: Some(place::runtime()), ..Options::default() }
}

fn open(name: &str) -> Model {
    Model::open(&place::model(name), &options()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The reference of a model.
fn reference(name: &str) -> Value {
    let bytes = fs::read(place::model("reference").join(name)).expect("a reference");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn cosine(left: &[f32], right: &[f64]) -> f64 {
    assert_eq!(left.len(), right.len());
    let product: f64 = left.iter().zip(right).map(|(left, right)| f64::from(*left) * right).sum();
    let length = |squares: f64| squares.sqrt();
    let left = length(left.iter().map(|value| f64::from(*value).powi(2)).sum());
    product / (left * length(right.iter().map(|value| value.powi(2)).sum()))
}

/// A copy of a model's directory, to be changed.
fn copied(name: &str) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).expect("copied");
            }
        }
    }
    let directory = tempfile::tempdir().expect("a folder");
    copy(&place::model(name), directory.path());
    directory
}

fn open_copy(directory: &TempDir) -> Result<Model, EmbedError> {
    Model::open(directory.path(), &options())
}

#[test]
fn files_are_told_with_their_hashes() {
    let model = open("clip");
    let names: Vec<&str> = model.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["tokenizer.json", "onnx/text_model.onnx", "onnx/vision_model.onnx"]);
    for file in model.files() {
        let bytes = fs::read(place::model("clip").join(&file.name)).expect("the file");
        assert_eq!((file.bytes, &file.hash), (bytes.len() as u64, &blake3::hash(&bytes).to_hex().to_string()));
    }
    let two: Vec<String> = open("unfit/two-files").files().iter().map(|file| file.name.clone()).collect();
    assert_eq!(two, ["model.onnx", "model.onnx_data"]);
}
