//! What needs no model: options, and which folders stay.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use lodedb_embed::{Description, Pooling};
use lodedb_wal::fs::OsFileSystem;

use super::words::describe;
use super::*;

fn texts() -> Description {
    serde_json::from_str(r#"{"text": {"model": "model.onnx", "max_tokens": 256}}"#).unwrap()
}

fn described(options: &[(&str, &str)]) -> Result<Description> {
    let mut description = texts();
    let options: Vec<(String, String)> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    describe(&mut description, &options).map(|()| description)
}

#[test]
fn options_describe_a_model_otherwise() {
    let found = described(&[("pooling", "CLS"), ("max_tokens", "64"), ("normalize", "on"), ("query_prefix", "q: ")]);
    let found = found.unwrap();
    let text = found.text.unwrap();
    assert!(found.normalize && text.pooling == Some(Pooling::Cls) && text.max_tokens == 64);
    assert_eq!(text.prompts.get("query").map(String::as_str), Some("q: "));
    for (options, said) in [
        (&[("colour", "red")][..], "unrecognized option \"colour\""),
        (&[("_prefix", "red")], "unrecognized option"),
        (&[("max_tokens", "none")], "invalid value for option \"max_tokens\": \"none\""),
        (&[("max_tokens", "-1")], "invalid value"),
        (&[("normalize", "perhaps")], "invalid value"),
        (&[("pooling", "max")], "invalid value"),
        (&[("dims", "3"), ("dims", "4")], "given more than once"),
    ] {
        let refused = described(options).unwrap_err();
        assert!(refused.message().contains(said), "{options:?}: {refused}");
    }
}

#[test]
fn folders_stay_while_they_are_named_or_being_made() {
    let dir = tempfile::tempdir().unwrap();
    let models = Models::new(Arc::new(OsFileSystem), dir.path(), OpenOptions::default());
    let model = |hash: &str| Model {
        id: 16400,
        name: hash.to_owned(),
        kind: "text".to_owned(),
        dims: 3,
        description: "{}".to_owned(),
        hash: hash.to_owned(),
        files: Vec::new(),
    };
    let mut catalog = Catalog::default();
    catalog.apply(&crate::catalog::Change::PutModel(model("named")));
    for hash in ["named", "making", "left"] {
        std::fs::create_dir_all(models.folder(hash)).unwrap();
    }
    let left = || {
        let entries = std::fs::read_dir(dir.path().join("models")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let newest = Arc::new(Catalog::default());
    let (one, other) = (models.making.begin("making"), models.making.begin("making"));
    drop(one);
    models.remove_unnamed(&[&catalog], || newest.clone()).unwrap();
    assert_eq!(left(), ["making", "named"]);
    drop(other);
    models.remove_unnamed(&[], || Arc::new(catalog.clone())).unwrap();
    assert_eq!(left(), ["named"]);
    models.remove_unnamed(&[], || newest.clone()).unwrap();
    assert_eq!(left(), Vec::<String>::new());
}
