//! Models and inputs that are not what they should be: an error that says so, and the process lives.

use std::fs;

use lodedb_embed::{EmbedError, Model};

use super::{copied, open, open_copy, options, place};

fn refused(directory: &tempfile::TempDir) -> String {
    let error = open_copy(directory).expect_err("it is refused");
    assert!(matches!(error, EmbedError::BadModel { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_network_that_is_damaged_is_refused() {
    let directory = copied("clip");
    let path = directory.path().join("onnx/vision_model.onnx");
    let whole = fs::read(&path).expect("the network");
    for bytes in [&b""[..], b"not a network", &whole[..whole.len() / 2], &[0xff; 10_000]] {
        fs::write(&path, bytes).expect("a file");
        let reason = refused(&directory);
        assert!(reason.contains("vision_model.onnx"), "{reason}");
    }
    // Whatever single byte is another: an error or a model that still works, never a crash.
    for at in (0..whole.len()).step_by(whole.len() / 200) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x5a;
        fs::write(&path, &damaged).expect("a file");
        if let Ok(model) = open_copy(&directory) {
            assert_eq!(model.dims(), 512);
        }
    }
    fs::write(&path, &whole).expect("a file");
    assert_eq!(open_copy(&directory).expect("it is whole again").dims(), 512);
}

#[test]
fn a_tokenizer_that_is_damaged_or_anothers_is_refused() {
    let directory = copied("gte-zh");
    let path = directory.path().join("tokenizer.json");
    let whole = fs::read(&path).expect("the tokenizer");
    fs::write(&path, &whole[..whole.len() / 2]).expect("a file");
    assert!(refused(&directory).contains("tokenizer.json"));
    fs::write(&path, b"{\"model\": {\"type\": \"Unheard\"}}").expect("a file");
    assert!(refused(&directory).contains("not a tokenizer"), "{}", refused(&directory));
    // That of another model knows more words than the network.
    fs::copy(place::model("minilm").join("tokenizer.json"), &path).expect("copied");
    assert!(
        refused(&directory).contains("cannot be run with the last token, 30521, of tokenizer.json"),
        "{}",
        refused(&directory)
    );
    fs::write(&path, &whole).expect("a file");
    fs::write(directory.path().join("sentence_bert_config.json"), b"{\"max_seq_length\": 2}").expect("a file");
    assert!(
        refused(&directory).contains("it adds 2 tokens to every text, and the model takes 2 in all"),
        "{}",
        refused(&directory)
    );
}

#[test]
fn networks_that_do_not_fit_are_refused() {
    let reason = |name: &str| Model::open(&place::model(name), &options()).expect_err("it is refused").to_string();
    let loose = reason("unfit/no-fixed-dims");
    assert!(loose.contains("its output features has no fixed number of dimensions"), "{loose}");
    let outside = reason("unfit/reaching-out");
    assert!(outside.contains("ONNX Runtime refuses it"), "{outside}");
    assert_eq!(
        Model::open(&place::model("unfit/two-files"), &options()).expect("it has its weights beside it").dims(),
        16
    );
    // Pictures prepared for another network.
    let directory = copied("resnet50");
    let config =
        r#"{"image": {"model": "model.onnx", "resize": {"shorter_side": 96}, "crop": {"width": 96, "height": 96}}}"#;
    fs::write(directory.path().join("lodedb.json"), config).expect("a file");
    assert!(refused(&directory).contains("floats by picture and [3, 96, 96]"), "{}", refused(&directory));
    let config = r#"{"text": {"model": "model.onnx", "tokenizer": "preprocessor_config.json", "max_tokens": 8}}"#;
    fs::write(directory.path().join("lodedb.json"), config).expect("a file");
    assert!(refused(&directory).contains("not a tokenizer"), "{}", refused(&directory));
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let model = open("unfit/not-finite");
    let picture = |name: &str| fs::read(place::model("pictures").join(name)).expect("a picture");
    // It takes the logarithm of what is above the middle of the range: of green there is, of red and blue there is not.
    let failed = model.embed_images(&[&picture("green.png")]).expect_err("not finite");
    assert!(matches!(failed, EmbedError::Failed(_)) && failed.to_string().contains("not finite"), "{failed}");
}

#[test]
fn what_a_model_does_not_take_is_refused() {
    let (texts, pictures) = (open("gte-zh"), open("resnet50"));
    assert_eq!(texts.embed_images(&[b""]).expect_err("refused").to_string(), "the model embeds texts, not pictures");
    assert_eq!(pictures.embed_texts(&["x"]).expect_err("refused").to_string(), "the model embeds pictures, not texts");
    assert!(pictures.split_text("x", 1, 0).is_err());
    assert!(texts.embed_texts(&[]).expect("none").vectors.is_empty());
    assert!(pictures.embed_images(&[]).expect("none").is_empty());
}

#[test]
fn a_megabyte_of_text_is_cut_and_told() {
    let model = open("minilm");
    for text in ["word ".repeat(200_000), "很".repeat(350_000), " \n".repeat(500_000), "x".repeat(1_000_000)] {
        let begun = std::time::Instant::now();
        let found = model.embed_texts(&["short", &text]).expect("vectors");
        println!("{:?}...: {:.2?}, {:?}", text.chars().take(5).collect::<String>(), begun.elapsed(), found.truncated);
        let cut = text.starts_with(['w', '很']);
        assert_eq!(
            found.truncated.iter().map(|text| (text.index, text.used)).collect::<Vec<_>>(),
            if cut { vec![(1, 256)] } else { vec![] }
        );
        assert_eq!(found.vectors.len(), 2);
    }
}
