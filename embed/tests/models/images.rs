//! Pictures: the vectors beside those that Pillow's preparation gives, what pictures are, and words beside pictures.

use std::fs;

use lodedb_embed::{Kind, Model, image_info};

use super::{cosine, numbers, open, place, reference};

/// All pictures by name.
fn pictures() -> Vec<(String, Vec<u8>)> {
    let names = reference("pictures.json");
    let names = names.as_object().expect("names").keys();
    names.map(|name| (name.clone(), fs::read(place::model("pictures").join(name)).expect("a picture"))).collect()
}

/// Embeds all pictures and compares each with its reference.
fn compare(model: &Model, name: &str) {
    let (pictures, expected) = (pictures(), reference(&format!("{name}.json")));
    assert!(pictures.len() > 30);
    let bytes: Vec<&[u8]> = pictures.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let found = model.embed_images(&bytes).expect("vectors");
    let mut furthest = (1.0, "");
    for ((picture, _), vector) in pictures.iter().zip(found.iter()) {
        let cosine = cosine(vector, &numbers(&expected[picture]));
        // Decoders of JPEG differ by a few units a sample; all else is the same to the bit.
        let lossy = picture.ends_with(".jpg") || picture.ends_with(".webp");
        let least = if lossy { 0.999 } else { 0.999_999 };
        assert!(cosine >= least, "{name}: {picture} has a cosine of {cosine}");
        if cosine < furthest.0 {
            furthest = (cosine, picture);
        }
    }
    println!("{name}: {} pictures, the furthest is {} with a cosine of {:.6}", pictures.len(), furthest.1, furthest.0);
}

#[test]
fn efficientnet_sees_what_pillow_shows_it() {
    let model = open("efficientnet-lite0");
    assert_eq!((model.kind(), model.dims()), (Kind::Image, 1280));
    compare(&model, "efficientnet-lite0");
}

#[test]
fn resnet_sees_what_pillow_shows_it() {
    let model = open("resnet50");
    assert_eq!(model.dims(), 2048);
    compare(&model, "resnet50");
}

#[test]
fn clip_sees_what_pillow_shows_it_and_words_find_pictures() {
    let model = open("clip");
    assert_eq!((model.kind(), model.dims()), (Kind::TextImage, 512));
    compare(&model, "clip");
    let colours = ["red", "green", "blue"];
    let files: Vec<Vec<u8>> = colours
        .iter()
        .map(|colour| fs::read(place::model("pictures").join(format!("{colour}.png"))).expect("a picture"))
        .collect();
    let seen = model.embed_images(&files.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("vectors");
    let said = model.embed_texts(&["something RED", "the green one", "blue, blue!"]).expect("vectors");
    for (word, text) in said.vectors.iter().enumerate() {
        let text: Vec<f64> = text.iter().map(|value| f64::from(*value)).collect();
        let cosines: Vec<f64> = seen.iter().map(|picture| cosine(picture, &text)).collect();
        let nearest = (0..3).max_by(|left, right| cosines[*left].total_cmp(&cosines[*right])).expect("three");
        assert_eq!(nearest, word, "{} is nearest to {cosines:?}", colours[word]);
    }
}

#[test]
fn what_a_picture_is_is_told_as_it_is_shown() {
    let expected = reference("pictures.json");
    for (name, bytes) in pictures() {
        let info = image_info(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = serde_json::json!([info.format, info.width, info.height]);
        assert_eq!(found, expected[&name], "{name}");
    }
}

#[test]
fn the_picture_that_is_refused_is_numbered() {
    let model = open("resnet50");
    let good = fs::read(place::model("pictures").join("photo.jpg")).expect("a picture");
    let mut pictures: Vec<&[u8]> = vec![&good; 11];
    pictures[9] = &good[..good.len() / 2];
    let refused = model.embed_images(&pictures).expect_err("one is cut off").to_string();
    assert_eq!(refused, "picture 9: damaged jpeg image: it ends before its end-of-image marker");
}
