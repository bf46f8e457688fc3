//! The examples of README.md, run as they are written there, but for the port.

use std::path::PathBuf;

use crate::harness::{Server, python};
use crate::programs::{node_modules, output, root};

/// The first example in a language.
fn example(language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let fence = format!("\n```{language}\n");
    let start = readme.find(&fence).unwrap_or_else(|| panic!("README.md has no example in {language}")) + fence.len();
    let length = readme[start..].find("\n```").expect("the end of the example");
    readme[start..start + length].to_owned()
}

/// Puts an example where it can be run, with the port of this server.
fn written(server: &Server, language: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
    let text = example(language);
    assert!(text.contains("5433"), "the example in {language} names the port");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join(name);
    std::fs::write(&file, text.replace("5433", &server.address().port().to_string())).expect("a file");
    (dir, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_readme_run() {
    let server = Server::start();
    let mut psql = server.command("psql");
    psql.args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--tuples-only", "--no-align"]);
    let shown = output(psql, &example("sql"));
    assert!(
        shown.contains("\napple|0.0194193") && shown.contains("\npear|0.0565436") && !shown.contains("hammer|"),
        "{shown}"
    );

    let (_dir, script) = written(&server, "python", "near.py");
    let mut command = server.command(&python().display().to_string());
    command.arg(script);
    assert_eq!(output(command, "").trim(), "[('apple',), ('pear',), ('hammer',)]");

    let (_dir, script) = written(&server, "js", "near.js");
    let mut command = server.command("node");
    command.arg(script).env("NODE_PATH", node_modules());
    assert_eq!(output(command, "").trim(), "[ { title: 'apple' }, { title: 'pear' }, { title: 'hammer' } ]");

    let (_dir, source) = written(&server, "java", "Near.java");
    let mut command = server.command("java");
    command.args(["-cp", "/usr/share/java/postgresql.jar"]).arg(source);
    assert_eq!(output(command, "").trim(), "apple\npear\nhammer");
}
