//! Every layout as its files, and what is refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::read;
use crate::{Channels, Description, Filter, Pooling, Resize, Size};

/// A directory with these files; networks need not be any here.
fn directory(files: &[(&str, Value)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        put(directory.path(), name, content.to_string().as_bytes());
    }
    directory
}

fn put(directory: &Path, name: &str, content: &[u8]) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
    fs::write(path, content).expect("a file");
}

fn good(directory: &TempDir) -> Description {
    read(directory.path()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(directory: &TempDir) -> String {
    read(directory.path()).expect_err("it is refused").to_string()
}

fn modules(names: &[&str]) -> Value {
    let folders = ["", "1_Pooling", "2_Normalize", "3_Dense"];
    names
        .iter()
        .zip(folders)
        .map(|(name, path)| json!({"path": path, "type": format!("sentence_transformers.models.{name}")}))
        .collect()
}

fn sentence_model() -> TempDir {
    directory(&[
        ("onnx/model.onnx", Value::Null),
        ("modules.json", modules(&["Transformer", "Pooling", "Normalize"])),
        (
            "1_Pooling/config.json",
            json!({"word_embedding_dimension": 4, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}),
        ),
        ("sentence_bert_config.json", json!({"max_seq_length": 256, "do_lower_case": true})),
        ("tokenizer.json", json!({"added_tokens": [{"id": 7, "content": "<pad>"}], "padding": {"pad_id": 3}})),
        ("tokenizer_config.json", json!({"model_max_length": 512, "pad_token": {"content": "<pad>"}})),
    ])
}

#[test]
fn sentence_transformers_are_read() {
    let directory = sentence_model();
    let text = good(&directory).text.expect("texts");
    assert_eq!((text.model.as_str(), text.tokenizer.as_str()), ("onnx/model.onnx", "tokenizer.json"));
    assert_eq!((text.pooling, text.max_tokens, text.pad_token, text.lowercase), (Some(Pooling::Mean), 256, 7, true));
    assert!(good(&directory).normalize && text.prompts.is_empty());

    // Prompts as E5 and GTE have them; the limit from elsewhere; another way of pooling; no normalising.
    let prompts = json!({"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "passage"});
    put(directory.path(), "config_sentence_transformers.json", prompts.to_string().as_bytes());
    put(directory.path(), "sentence_bert_config.json", b"{}");
    put(directory.path(), "1_Pooling/config.json", br#"{"pooling_mode": "lasttoken"}"#);
    put(directory.path(), "modules.json", modules(&["Transformer", "Pooling"]).to_string().as_bytes());
    let description = good(&directory);
    let text = description.text.expect("texts");
    assert_eq!((text.pooling, text.max_tokens, description.normalize), (Some(Pooling::Last), 512, false));
    assert_eq!(text.prompts["query"], "query: ");
    assert_eq!(text.default_prompt.as_deref(), Some("passage"));

    // Older ones have the transformer in a folder.
    let older = json!([{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]);
    put(directory.path(), "modules.json", older.to_string().as_bytes());
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::create_dir_all(directory.path().join("0_Transformer")).expect("a folder");
        fs::rename(directory.path().join(name), directory.path().join("0_Transformer").join(name)).expect("moved");
    }
    assert_eq!(good(&directory).text.expect("texts").tokenizer, "0_Transformer/tokenizer.json");
}

#[test]
fn positions_after_the_padding_token_limit_texts() {
    let directory = sentence_model();
    put(directory.path(), "sentence_bert_config.json", b"{}");
    put(directory.path(), "tokenizer_config.json", br#"{"model_max_length": 1000000000000000019884624838656}"#);
    let config = json!({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1});
    put(directory.path(), "config.json", config.to_string().as_bytes());
    let text = good(&directory).text.expect("texts");
    assert_eq!((text.max_tokens, text.pad_token), (512, 3));
}

#[test]
fn sentence_transformers_that_are_not_supported_say_why() {
    let directory = sentence_model();
    put(
        directory.path(),
        "1_Pooling/config.json",
        br#"{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true}"#,
    );
    assert!(
        refused(&directory).contains("pooling by max_tokens and mean_tokens is not supported"),
        "{}",
        refused(&directory)
    );
    put(directory.path(), "1_Pooling/config.json", br#"{"pooling_mode_mean_tokens": true, "include_prompt": false}"#);
    assert!(refused(&directory).contains("include_prompt"));
    put(directory.path(), "1_Pooling/config.json", b"{\"pooling_mode\": \"\xff\"}");
    assert!(refused(&directory).contains("1_Pooling/config.json"), "invalid UTF-8 is told with its file");
    fs::remove_file(directory.path().join("1_Pooling/config.json")).expect("removed");
    assert!(refused(&directory).contains("it is not there"));
    put(
        directory.path(),
        "modules.json",
        modules(&["Transformer", "Pooling", "Normalize", "Dense"]).to_string().as_bytes(),
    );
    put(directory.path(), "1_Pooling/config.json", br#"{"pooling_mode_mean_tokens": true}"#);
    assert!(refused(&directory).contains("models.Dense is not supported"));
    put(directory.path(), "modules.json", br#"[{"path": "../x", "type": "a.Transformer"}]"#);
    assert!(refused(&directory).contains("outside"));
    put(directory.path(), "modules.json", modules(&["Transformer"]).to_string().as_bytes());
    fs::remove_file(directory.path().join("tokenizer.json")).expect("removed");
    assert!(refused(&directory).contains("no tokenizer.json"));
    fs::remove_file(directory.path().join("onnx/model.onnx")).expect("removed");
    assert!(refused(&directory).contains("no model.onnx"));
}

fn clip_preparation() -> Value {
    json!({
        "feature_extractor_type": "CLIPFeatureExtractor", "image_processor_type": "CLIPImageProcessor", "do_resize": true, "size": 224,
        "resample": 3, "do_center_crop": true, "crop_size": 224, "do_normalize": true,
        "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]
    })
}

#[test]
fn two_towers_are_read() {
    let clip = directory(&[
        ("onnx/text_model.onnx", Value::Null),
        ("onnx/vision_model.onnx", Value::Null),
        ("tokenizer.json", json!({})),
        (
            "config.json",
            json!({"model_type": "clip", "text_config": {"max_position_embeddings": 77, "pad_token_id": 1}}),
        ),
        ("preprocessor_config.json", clip_preparation()),
    ]);
    let description = good(&clip);
    let (text, image) = (description.text.expect("texts"), description.image.expect("pictures"));
    assert_eq!((text.max_tokens, text.pad_to, text.pad_token), (77, None, 1));
    assert_eq!(
        (image.resize, image.filter, image.crop),
        (Resize::ShorterSide(224), Filter::Bicubic, Size { width: 224, height: 224 })
    );
    assert_eq!((image.mean, image.channels), ([0.48, 0.46, 0.41], Channels::Rgb));
    assert!(description.normalize);

    // SigLIP: in the directory itself, both sides at once, texts of one length.
    let siglip = directory(&[
        ("text_model.onnx", Value::Null),
        ("vision_model.onnx", Value::Null),
        ("tokenizer.json", json!({})),
        ("config.json", json!({"model_type": "siglip", "text_config": {"max_position_embeddings": 64}})),
        (
            "preprocessor_config.json",
            json!({"image_processor_type": "SiglipImageProcessor", "size": {"height": 224, "width": 224}, "resample": 3,
                   "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}),
        ),
    ]);
    let description = good(&siglip);
    assert_eq!(description.text.expect("texts").pad_to, Some(64));
    assert_eq!(description.image.expect("pictures").resize, Resize::Exact(Size { width: 224, height: 224 }));
}

#[test]
fn classifiers_are_read() {
    let resnet = directory(&[
        ("model.onnx", Value::Null),
        (
            "preprocessor_config.json",
            json!({"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "size": 224, "resample": 3, "do_resize": true,
                   "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
        ),
    ]);
    let image = good(&resnet).image.expect("pictures");
    assert_eq!((image.resize, image.crop.width, good(&resnet).normalize), (Resize::ShorterSide(256), 224, false));
    // A number alone means both sides for ViT.
    put(resnet.path(), "preprocessor_config.json", br#"{"image_processor_type": "ViTImageProcessor", "size": 224}"#);
    assert_eq!(good(&resnet).image.expect("pictures").resize, Resize::Exact(Size { width: 224, height: 224 }));
    put(resnet.path(), "preprocessor_config.json", br#"{"size": {"shortest_edge": 224}}"#);
    assert!(refused(&resnet).contains("every shape"));
    put(resnet.path(), "preprocessor_config.json", br#"{"size": 224, "resample": 9}"#);
    assert!(refused(&resnet).contains("resample is 9"));
    put(resnet.path(), "preprocessor_config.json", br#"{"size": 224, "image_std": [0.5, 0.0, 0.5]}"#);
    assert!(refused(&resnet).contains("std must be finite and not 0"));

    let timm = json!({"pretrained_cfg": {"input_size": [3, 240, 240], "crop_pct": 0.882, "interpolation": "bilinear",
                      "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}});
    let timm = directory(&[("model.onnx", Value::Null), ("config.json", timm)]);
    let image = good(&timm).image.expect("pictures");
    assert_eq!((image.resize, image.filter, image.crop.height), (Resize::ShorterSide(272), Filter::Bilinear, 240));
}

#[test]
fn our_own_description_comes_first_and_is_checked_whole() {
    let directory = sentence_model();
    let description = json!({
        "text": {"model": "onnx/model.onnx", "max_tokens": 64, "pooling": "last", "prompts": {"q": "Q: "}, "default_prompt": "q"},
        "image": {"model": "pictures.onnx", "resize": {"shorter_side": 256}, "crop": {"width": 224, "height": 224}, "channels": "bgr",
                  "layout": "nhwc", "filter": "lanczos", "scale": 1.0, "mean": [104.0, 117.0, 123.0]},
        "normalize": true, "dims": 512
    });
    put(directory.path(), "lodedb.json", description.to_string().as_bytes());
    let found = good(&directory);
    assert_eq!(found.dims, Some(512));
    assert_eq!(found.image.as_ref().expect("pictures").std, [1.0; 3]);
    // What is written is read back the same.
    assert_eq!(
        serde_json::from_str::<Description>(&serde_json::to_string(&found).expect("JSON")).expect("a description"),
        found
    );

    let bad = json!({
        "text": {"model": "../model.onnx", "max_tokens": 0, "default_prompt": "missing"},
        "image": {"model": "/etc/passwd", "resize": {"shorter_side": 100}, "crop": {"width": 224, "height": 0}, "std": [0, 1, 1]}
    });
    put(directory.path(), "lodedb.json", bad.to_string().as_bytes());
    let reason = refused(&directory);
    for part in [
        "text tower must lie",
        "max_tokens",
        "default_prompt",
        "image tower must lie",
        "crop must",
        "leave at least",
        "std must",
    ] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
    put(directory.path(), "lodedb.json", br#"{"text": {"model": "m.onnx", "max_tokens": 8, "poling": "mean"}}"#);
    assert!(refused(&directory).contains("poling"), "a misspelt word is told");
    put(directory.path(), "lodedb.json", b"{}");
    assert!(refused(&directory).contains("neither a text nor an image tower"));
}

#[test]
fn directories_that_are_no_models_say_what_is_missing() {
    let empty = tempfile::tempdir().expect("a folder");
    assert!(refused(&empty).contains("no model.onnx, and no text_model.onnx"));
    assert!(
        read(&empty.path().join("nowhere")).expect_err("refused").to_string().contains("there is no such directory")
    );
    put(empty.path(), "model.onnx", b"");
    assert!(refused(&empty).contains("neither a tokenizer.json"));
    put(empty.path(), "tokenizer.json", b"{}");
    assert!(refused(&empty).contains("how many tokens it takes"));
    put(empty.path(), "tokenizer_config.json", br#"{"model_max_length": 512}"#);
    assert_eq!(good(&empty).text.expect("texts").pooling, None);
}
