//! Texts: the vectors, what is cut, prompts, pieces.

use lodedb_embed::{EmbedError, Kind, Truncated};

use super::{copied, cosine, numbers, open, open_copy, reference};

/// The texts of a reference, and for each the vector under `pooling`.
fn expected(name: &str, pooling: &str) -> (Vec<String>, Vec<Vec<f64>>, Vec<Truncated>) {
    let reference = reference(name);
    let (mut texts, mut vectors, mut truncated) = (Vec::new(), Vec::new(), Vec::new());
    for (index, entry) in reference["texts"].as_array().expect("texts").iter().enumerate() {
        texts.push(entry["text"].as_str().expect("a text").to_owned());
        vectors.push(numbers(&entry[pooling]));
        if entry["cut"].as_bool().expect("a flag") {
            let used = entry["tokens"].as_u64().expect("a number") as usize;
            // Each word of the long texts is a token, and two are added.
            let words = texts[index]
                .split_whitespace()
                .count()
                .max(texts[index].chars().filter(|letter| *letter == '夜').count());
            truncated.push(Truncated { index, tokens: words + 2, used });
        }
    }
    (texts, vectors, truncated)
}

fn largest_difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs()).fold(0.0, f64::max)
}

/// Embeds the texts of a reference together and each alone, and compares.
fn compare(model: &lodedb_embed::Model, name: &str, pooling: &str) {
    let (texts, vectors, truncated) = expected(name, pooling);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(truncated.len(), 1, "the reference has one long text");
    let together = model.embed_texts(&texts).expect("vectors");
    assert_eq!(together.truncated, truncated);
    let mut largest: f64 = 0.0;
    for (index, (found, expected)) in together.vectors.iter().zip(&vectors).enumerate() {
        let difference = largest_difference(found, expected);
        assert!(difference <= 1e-4, "{name} by {pooling}: {:?} differs by {difference}", texts[index]);
        largest = largest.max(difference);
        let alone = model.embed_texts(&texts[index..=index]).expect("a vector");
        assert!(
            largest_difference(alone.vectors.iter().next().expect("one"), expected) <= 1e-4,
            "{:?} alone",
            texts[index]
        );
    }
    println!("{name} by {pooling}: {} texts, largest difference {largest:.1e}", texts.len());
}

#[test]
fn minilm_gives_what_float64_arithmetic_gives() {
    let model = open("minilm");
    assert_eq!((model.kind(), model.dims()), (Kind::Text, 384));
    compare(&model, "minilm.json", "mean");
    // And means what it should: who asks for one thing finds it before another.
    let reference = reference("minilm.json");
    let (texts, ..) = expected("minilm.json", "mean");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = model.embed_texts(&texts).expect("vectors");
    let vectors: Vec<&[f32]> = found.vectors.iter().collect();
    for triple in reference["ordered"].as_array().expect("triples") {
        let [anchor, near, far] = numbers(triple)[..] else { panic!("three") };
        let to = |other: f64| {
            cosine(
                vectors[anchor as usize],
                &vectors[other as usize].iter().map(|value| f64::from(*value)).collect::<Vec<_>>(),
            )
        };
        assert!(to(near) > to(far), "{triple}");
    }
}

#[test]
fn chinese_gte_is_pooled_as_its_config_says() {
    compare(&open("gte-zh"), "gte-zh.json", "cls");
    for (switch, pooling) in [("mean_tokens", "mean"), ("lasttoken", "last")] {
        let directory = copied("gte-zh");
        let config = format!("{{\"pooling_mode_{switch}\": true}}");
        std::fs::write(directory.path().join("1_Pooling/config.json"), config).expect("a file");
        compare(&open_copy(&directory).expect("it opens"), "gte-zh.json", pooling);
    }
}

#[test]
fn prompts_are_put_before_texts() {
    let directory = copied("gte-zh");
    let plain = open_copy(&directory).expect("it opens");
    let prompts = r#"{"prompts": {"query": "问：", "passage": "文："}, "default_prompt_name": "passage"}"#;
    std::fs::write(directory.path().join("config_sentence_transformers.json"), prompts).expect("a file");
    let prompted = open_copy(&directory).expect("it opens");
    let by_hand = plain.embed_texts(&["问：天气", "文：天气", "天气"]).expect("vectors");
    let by_hand: Vec<&[f32]> = by_hand.vectors.iter().collect();
    let one = |found: Result<lodedb_embed::TextEmbeddings, EmbedError>| found.expect("a vector").vectors.into_values();
    let difference = |left: &[f32], right: &[f32]| {
        largest_difference(left, &right.iter().map(|value| f64::from(*value)).collect::<Vec<_>>())
    };
    let (query, passage) = (
        one(prompted.embed_tokens(&prompted.tokens(Some("query"), &["天气"]).expect("tokens"))),
        one(prompted.embed_texts(&["天气"])),
    );
    assert!(difference(&query, by_hand[0]) < 1e-5 && difference(&passage, by_hand[1]) < 1e-5);
    assert!(difference(&query, by_hand[2]) > 1e-3, "a prompt changes the vector");
    let unknown = prompted.tokens(Some("title"), &["天气"]).expect_err("there is none").to_string();
    assert_eq!(unknown, r#"the model has no prompt "title"; it has: passage, query"#);
}

#[test]
fn many_threads_get_what_one_gets() {
    let model = open("gte-zh");
    let (texts, vectors, _) = expected("gte-zh.json", "cls");
    std::thread::scope(|scope| {
        for turn in 0..4 {
            let (model, texts, vectors) = (&model, &texts, &vectors);
            scope.spawn(move || {
                for round in 0..5 {
                    let index = (turn + round) % texts.len();
                    let found = model.embed_texts(&[&texts[index]]).expect("a vector");
                    assert!(largest_difference(found.vectors.iter().next().expect("one"), &vectors[index]) <= 1e-4);
                }
            });
        }
    });
}

#[test]
fn pieces_have_at_most_as_many_tokens_as_asked_for() {
    let model = open("minilm");
    let text = "The cat sat on the mat. It purred, unbelievably, supercalifragilistically! 数据库把向量存放在一起。今天天气很好。 \
                A last sentence that is considerably longer than all of those before it, and that must be cut somewhere.";
    // The longest word has nine tokens: none must be cut.
    for max in [10, 12, 30, 254] {
        for overlap in [0, max / 3] {
            let pieces = model.split_text(text, max, overlap).expect("pieces");
            // Cut again, a piece is one.
            for piece in &pieces {
                assert_eq!(model.split_text(piece, max, 0).expect("a piece"), [*piece], "of at most {max} tokens");
            }
            assert!(pieces.len() > 1 || max == 254, "{max} tokens do not hold the text");
        }
    }
    assert_eq!(model.split_text("One. Two.", 3, 0).expect("pieces"), ["One.", "Two."]);
    assert!(model.split_text("", 10, 0).expect("pieces").is_empty());
    assert!(model.split_text(text, 255, 0).is_err_and(|error| error.to_string().contains("must be 1 to 254")));
    assert!(model.split_text(text, 10, 10).is_err_and(|error| error.to_string().contains("overlap is 10")));
}
