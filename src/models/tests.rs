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
        (&[("background", "white")], "is for models that embed pictures"),
        (&[("dims", "3"), ("dims", "4")], "given more than once"),
    ] {
        let refused = described(options).unwrap_err();
        assert!(refused.message().contains(said), "{options:?}: {refused}");
    }
}

#[test]
fn folders_stay_while_they_are_named_or_being_made() {
    let dir = tempfile::tempdir().unwrap();
    let models = Models::new(Arc::new(OsFileSystem), dir.path(), OpenOptions::default(), 0);
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

#[test]
fn what_was_embedded_is_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::new("hash", "text", None);
    let entry = |number: f32| Entry { vector: Arc::from([number; 16]), truncated: None };
    let cut = Entry { truncated: Some(Truncated { tokens: 300, used: 256 }), ..entry(-0.5) };
    let asked = [keys.of(b"one"), keys.of(b"two"), keys.of(b"three")];
    let cache = Cache::new(dir.path().join("cache"), 1 << 20);
    assert_eq!(cache.get(&asked, 16), [None, None, None]);
    cache.put([(asked[0], &entry(1.5)), (asked[2], &cut)].into_iter());
    let known = [Some(entry(1.5)), None, Some(cut.clone())];
    assert_eq!(cache.get(&asked, 16), known);
    // Of a model with other dimensions it is nothing; nor is it of another prompt, kind or model.
    assert_eq!(cache.get(&asked, 15), [None, None, None]);
    for others in
        [Keys::new("hash", "text", Some("")), Keys::new("hash", "image", None), Keys::new("other", "text", None)]
    {
        assert_eq!(cache.get(&[others.of(b"one")], 16), [None]);
    }
    // It outlives the process.
    drop(cache);
    let cache = Cache::new(dir.path().join("cache"), 1 << 20);
    assert_eq!(cache.get(&asked, 16), known);
    drop(cache);
    // Damaged, it is begun anew.
    std::fs::write(dir.path().join("cache/CURRENT"), "damaged").unwrap();
    let cache = Cache::new(dir.path().join("cache"), 1 << 20);
    assert_eq!(cache.get(&asked, 16), [None, None, None]);
    cache.put([(asked[1], &entry(2.0))].into_iter());
    assert_eq!(cache.get(&asked, 16), [None, Some(entry(2.0)), None]);
}

#[test]
fn the_cache_keeps_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, bound) = (Keys::new("hash", "text", None), 2_u64 << 20);
    let cache = Cache::new(dir.path().join("cache"), bound);
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32
    };
    for number in 0..8_000_u32 {
        let entry = Entry { vector: (0..384).map(|_| random()).collect(), truncated: None };
        cache.put([(keys.of(&number.to_le_bytes()), &entry)].into_iter());
    }
    let newest = cache.get(&[keys.of(&7_999_u32.to_le_bytes())], 384);
    assert!(newest[0].is_some());
    assert_eq!(cache.get(&[keys.of(&0_u32.to_le_bytes())], 384), [None]);
    drop(cache);
    let files = std::fs::read_dir(dir.path().join("cache")).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 2 * bound, "{bytes}");
}
