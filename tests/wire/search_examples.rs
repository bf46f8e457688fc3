//! The examples of semantic search, on a share of their data: they end with an error where they find too little.

use std::path::PathBuf;
use std::process::Command;

use super::models::server;
use super::programs::{output, root};
use crate::harness::models;

/// Runs a script of examples/search on a server of its own.
fn example(name: &str, package: &str, rows: usize, more: &[&str]) -> String {
    let server = server();
    let data = models::target().join("example-data").join(package);
    assert!(data.exists(), "there is no {}; run tools/install-test-deps.sh", data.display());
    let mut command = Command::new(models::target().join("models-env/bin/python"));
    let script: PathBuf = root().join("examples/search").join(name);
    command.arg(script).args(["--port", &server.address().port().to_string(), "--rows", &rows.to_string()]);
    command.arg("--data").arg(data).arg("--models").arg(models::folder()).args(more);
    output(command, "")
}

#[test]
fn questions_find_their_answers() {
    let said = example("questions.py", "wordnet-base", 5_000, &["--ask", "a vehicle that flies"]);
    assert!(said.contains("MRR@10") && said.contains("a vehicle that flies"), "{said}");
}

#[test]
fn a_text_file_is_asked() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = "Exams are written in July. The library opens at nine! Who misses a lecture finds its notes online. \
                Dr. Smith gives the course on databases.";
    std::fs::write(file.path(), text).expect("written");
    let path = file.path().display().to_string();
    let said = example("questions.py", "wordnet-base", 0, &["--file", &path, "--ask", "when can I borrow books?"]);
    let first = said.lines().skip_while(|line| !line.starts_with("when can I borrow books?")).nth(1);
    assert!(first.is_some_and(|line| line.contains("The library opens at nine!")), "{said}");
}

#[test]
fn pictures_find_themselves() {
    let said = example("images.py", "openclipart-png", 500, &[]);
    assert!(said.contains("pictures were added, replaced and removed; 500 are there"), "{said}");
}
