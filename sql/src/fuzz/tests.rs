//! What fuzzing has found so far, replayed: the corpora, and the inputs that once failed.

use std::path::Path;

fn replay_all(target: &str, run: fn(&[u8])) {
    let mut count = 0;
    for kind in ["corpus", "regress"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind).join(target);
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "{target} has a corpus");
}

#[test]
fn statements_of_the_corpus_parse_or_are_refused() {
    replay_all("sql_parsing", super::parsing);
}

#[test]
fn values_of_the_corpus_read_back() {
    replay_all("sql_values", super::values);
}

#[test]
fn casts_of_the_corpus_keep_their_promises() {
    replay_all("sql_casts", super::casts);
}

#[test]
fn copies_of_the_corpus_do_not_depend_on_their_pieces() {
    replay_all("sql_copying", super::copying);
}
