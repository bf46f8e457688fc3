//! Models over the wire: made, asked, dropped, lost; texts and pictures in, neighbours out. Real networks, by the real ONNX Runtime.

use std::path::PathBuf;

use serde_json::Value;

use super::auth::arguments;
use super::privileges::connect;
use crate::harness::{Server, error, models, one, rows, run};

/// A server that may read the models of the tests.
pub(super) fn server() -> Server {
    server_with(&[])
}

pub(super) fn server_with(more: &[&str]) -> Server {
    let runtime = models::runtime();
    let (models, runtime) = (models::folder().display().to_string(), runtime.display().to_string());
    Server::start_with(arguments(&[&["--model-dir", &models, "--onnx-runtime", &runtime], more].concat()))
}

fn vector(text: &str) -> Vec<f64> {
    text.trim_matches(['[', ']']).split(',').map(|number| number.parse().expect("a number")).collect()
}

fn reference(name: &str) -> Value {
    let bytes = std::fs::read(models::folder().join("reference").join(name)).expect("a reference");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn bytea(path: PathBuf) -> String {
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("'\\x{hex}'::bytea")
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_get_the_vectors_of_the_reference() {
    let server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL minilm FROM 'minilm'").await;
    let listed = "SELECT kind, dims, pooling, normalize, max_tokens FROM lodedb_models";
    assert_eq!(rows(&client, listed).await, [["text", "384", "mean", "t", "256"]]);

    let ports = "SELECT inputs->'input_ids' = '[null, null]' AND outputs IS NOT NULL, device FROM lodedb_models";
    assert_eq!(rows(&client, ports).await, [["t", "cpu"]]);

    let reference = reference("minilm.json");
    let texts = reference["texts"].as_array().expect("texts");
    run(&client, "CREATE TABLE t (id int PRIMARY KEY, body text, emb vector(384))").await;
    for (id, entry) in texts.iter().enumerate() {
        let body = quoted(entry["text"].as_str().expect("a text"));
        run(&client, &format!("INSERT INTO t (id, body) VALUES ({id}, {body})")).await;
    }
    // A column at once, each text alone, and an array: all the same.
    run(&client, "UPDATE t SET emb = embed('minilm', body)").await;
    run(&client, "CREATE TABLE arrays AS SELECT embed('minilm', array_agg(body ORDER BY id)) AS all_of_them FROM t")
        .await;
    for (id, entry) in texts.iter().enumerate() {
        let expected = numbers(&entry["mean"]);
        let body = quoted(entry["text"].as_str().expect("a text"));
        for sql in [
            format!("SELECT emb FROM t WHERE id = {id}"),
            format!("SELECT embed('minilm', {body})"),
            format!("SELECT all_of_them[{}] FROM arrays", id + 1),
        ] {
            let found = vector(&one(&client, &sql).await);
            assert_eq!(found.len(), expected.len(), "{sql}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-4, "{sql}: {found} instead of {expected}");
            }
        }
    }
    // What is like the question comes first, by any road: a literal, a parameter, an index.
    run(&client, "INSERT INTO t SELECT 100 + g, NULL, array_fill(g, ARRAY[384])::vector FROM generate_series(1, 50) g")
        .await;
    run(&client, "CREATE INDEX ON t USING hnsw (emb vector_cosine_ops)").await;
    let nearest = "SELECT id FROM t ORDER BY emb <=> embed('minilm', 'I cannot log in') LIMIT 2";
    let mut found = rows(&client, nearest).await.concat();
    found.sort();
    assert_eq!(found, ["3", "4"]);
    let explained = rows(&client, &format!("EXPLAIN {nearest}")).await.concat().join("\n");
    assert!(explained.contains("Index Scan using"), "{explained}");
    let prepared =
        client.prepare("SELECT id FROM t ORDER BY emb <=> embed('minilm', $1) LIMIT 1").await.expect("prepared");
    for (question, nearest) in [("a cat upon a carpet", [0, 1]), ("central bank policy", [2, 2])] {
        let row = client.query_one(&prepared, &[&question]).await.expect("a row");
        assert!(nearest.contains(&row.get::<_, i32>(0)), "{question}: {row:?}");
    }
    assert_eq!(one(&client, "SELECT embed('minilm', NULL) IS NULL AND embed(NULL, 'text') IS NULL").await, "t");
    let counted = "SELECT is_open AND calls > 0 AND embedded > calls FROM lodedb_models";
    assert_eq!(one(&client, counted).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_outlives_its_server_and_goes_when_it_is_dropped() {
    let mut server = server();
    let client = server.connect().await;
    let folders = |server: &Server| {
        let entries = std::fs::read_dir(server.dir().join("models"));
        entries.map_or(0, |entries| entries.count())
    };
    // Not made where its transaction is not.
    run(&client, "BEGIN; CREATE MODEL clip FROM 'clip'; SELECT embed('clip', 'red')").await;
    run(&client, "ROLLBACK").await;
    assert_eq!(error(&client, "SELECT embed('clip', 'red')").await.code().code(), "42704");
    run(&client, "CREATE TABLE other (id int); INSERT INTO other VALUES (1)").await;
    run(&client, "CHECKPOINT").await;
    assert_eq!(folders(&server), 0);

    run(&client, "CREATE MODEL clip FROM 'clip'; CREATE MODEL again FROM 'clip'").await;
    let exists = error(&client, "CREATE MODEL clip FROM 'clip'").await;
    assert_eq!(exists.code().code(), "42710");
    let red = one(&client, "SELECT embed('clip', 'red')").await;
    // Two of a kind share their files.
    assert_eq!(folders(&server), 1);
    assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
    let backups = tempfile::tempdir().expect("a folder");
    run(&client, &format!("BACKUP TO '{}'", backups.path().display())).await;
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert_eq!(one(&client, "SELECT embed('clip', 'red')").await, red);

    run(&client, "DROP MODEL clip").await;
    assert_eq!(one(&client, "SELECT embed('again', 'red')").await, red);
    run(&client, "DROP MODEL IF EXISTS clip, again").await;
    assert_eq!(error(&client, "SELECT embed('again', 'red')").await.code().code(), "42704");
    assert_eq!(error(&client, "DROP MODEL again").await.code().code(), "42704");
    // The manifests before name it still.
    for id in 2..5 {
        run(&client, &format!("INSERT INTO other VALUES ({id})")).await;
        run(&client, "CHECKPOINT").await;
    }
    assert_eq!(folders(&server), 0);

    // The backup has it.
    let restored = backups.path().join("restored");
    let status = std::process::Command::new(crate::harness::server::PROGRAM.as_str())
        .args(["restore", &backups.path().display().to_string(), "--to", &restored.display().to_string()])
        .status();
    assert!(status.expect("lodedb runs").success());
    let again =
        Server::start_in_with(&restored, arguments(&["--onnx-runtime", &models::runtime().display().to_string()]));
    let client = again.connect().await;
    assert_eq!(one(&client, "SELECT embed('clip', 'red')").await, red);
    assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_changed_are_not_believed() {
    let mut server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL clip FROM 'clip'").await;
    let folder =
        std::fs::read_dir(server.dir().join("models")).expect("models").next().expect("one").expect("an entry");
    let file = folder.path().join("tokenizer.json");
    let good = std::fs::read(&file).expect("the file");
    let changed = String::from_utf8(good.clone()).expect("text").replacen("red", "rod", 1);
    assert_ne!(changed.as_bytes(), good);
    drop(client);
    server.terminate();
    for damage in [Some(changed.as_bytes()), Some(&good[..good.len() / 2]), None] {
        match damage {
            Some(bytes) => std::fs::write(&file, bytes).expect("written"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        server.restart();
        let client = server.connect().await;
        let refused = error(&client, "SELECT embed('clip', 'red')").await;
        assert_eq!(refused.code().code(), "XX001", "{refused:?}");
        let faults = rows(&client, "CHECK DATABASE").await;
        assert!(faults.len() == 1 && faults[0].join(" ").contains("tokenizer.json"), "{faults:?}");
        // Nothing else is the worse for it.
        assert_eq!(one(&client, "SELECT 1").await, "1");
        drop(client);
        server.terminate();
    }
    std::fs::write(&file, &good).expect("written");
    server.restart();
    let client = server.connect().await;
    one(&client, "SELECT embed('clip', 'red')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_words_share_a_space() {
    let server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL clip FROM 'clip'; CREATE MODEL lite FROM 'efficientnet-lite0'").await;
    let pictures = models::folder().join("pictures");
    for (model, file) in [("clip", "clip.json"), ("lite", "efficientnet-lite0.json")] {
        let reference = reference(file);
        for (name, expected) in reference.as_object().expect("pictures") {
            let sql = format!("SELECT embed_image('{model}', {})", bytea(pictures.join(name)));
            let (found, expected) = (vector(&one(&client, &sql).await), numbers(expected));
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let cosine =
                product(&found, &expected) / (product(&found, &found).sqrt() * product(&expected, &expected).sqrt());
            assert!(cosine >= 0.999, "{model}: {name}: {cosine}");
        }
    }
    for (name, kind) in reference("pictures.json").as_object().expect("pictures") {
        let sql = format!(
            "SELECT i->>'format', i->>'width', i->>'height' FROM (SELECT image_info({}) AS i) s",
            bytea(pictures.join(name))
        );
        let wanted = kind.as_array().expect("a kind");
        let wanted: Vec<String> =
            wanted.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect();
        assert_eq!(rows(&client, &sql).await, [wanted], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_models_and_inputs_are_told_apart() {
    let server = server();
    let client = server.connect().await;
    run(
        &client,
        "CREATE MODEL clip FROM 'clip'; CREATE MODEL lite FROM 'efficientnet-lite0'; CREATE MODEL minilm FROM 'minilm'",
    )
    .await;
    let long = "word ".repeat(200_000);
    let half = {
        let picture = bytea(models::folder().join("pictures").join(a_jpeg()));
        let until = 9 + (picture.len() - 16) / 2 / 2 * 2;
        format!("{}'::bytea", &picture[..until])
    };
    for (sql, code, said) in [
        ("SELECT embed('nothing', 'text')".to_owned(), "42704", "model \"nothing\" does not exist"),
        ("SELECT embed('lite', 'text')".to_owned(), "42809", "embeds pictures, not texts"),
        ("SELECT embed_image('minilm', '\\x00')".to_owned(), "42809", "embeds texts, not pictures"),
        ("SELECT embed_image('lite', '\\x0102')".to_owned(), "22P03", "not an image"),
        (format!("SELECT embed_image('lite', {half})"), "22P03", "damaged"),
        ("SELECT image_info('\\x89504e470d0a1a0a')".to_owned(), "22P03", "damaged"),
        ("SELECT embed('minilm', 'text', 'query')".to_owned(), "22023", "no prompt"),
        ("SELECT * FROM split_text('minilm', 'text', 0)".to_owned(), "22023", ""),
        ("SELECT * FROM split_text('minilm', 'text', 100000)".to_owned(), "22023", "max_tokens"),
        ("SELECT * FROM split_text('text', 5, 5)".to_owned(), "22023", "fewer"),
        ("CREATE MODEL bad FROM 'nowhere'".to_owned(), "58030", "nowhere"),
        ("CREATE MODEL bad FROM '..'".to_owned(), "42501", "outside the folder for models"),
        ("CREATE MODEL bad FROM '/etc'".to_owned(), "42501", "outside the folder for models"),
        ("CREATE MODEL bad FROM 'pictures'".to_owned(), "22023", "no model.onnx"),
        ("CREATE MODEL bad FROM 'minilm' WITH (colour = 'red')".to_owned(), "22023", "unrecognized option"),
        ("CREATE MODEL bad FROM 'minilm' WITH (pooling = 'max')".to_owned(), "22023", "pooling"),
        ("CREATE MODEL bad FROM 'minilm' WITH (max_tokens = 0)".to_owned(), "22023", "max_tokens"),
        ("CREATE MODEL bad FROM 'clip' WITH (background = '#ff')".to_owned(), "22023", "background"),
        ("CREATE MODEL bad FROM 'efficientnet-lite0' WITH (pooling = 'mean')".to_owned(), "22023", "embed texts"),
    ] {
        let refused = error(&client, &sql).await;
        let shown = &sql[..sql.len().min(80)];
        assert_eq!(refused.code().code(), code, "{shown}: {refused:?}");
        assert!(refused.message().contains(said), "{shown}: {refused:?}");
    }
    // One bad row fails its statement, and is named; nothing of it stays.
    run(&client, "CREATE TABLE pictures (id int, data bytea, emb vector(1280))").await;
    let good = bytea(models::folder().join("pictures").join(a_jpeg()));
    run(&client, &format!("INSERT INTO pictures (id, data) VALUES (1, {good}), (2, '\\x00'), (3, {good})")).await;
    let refused = error(&client, "UPDATE pictures SET emb = embed_image('lite', data)").await;
    assert_eq!((refused.code().code(), refused.where_()), ("22P03", Some("row 2 of those embedded together")));
    assert_eq!(one(&client, "SELECT count(*) FROM pictures WHERE emb IS NOT NULL").await, "0");
    run(&client, "UPDATE pictures SET emb = embed_image('lite', data) WHERE id <> 2").await;
    assert_eq!(one(&client, "SELECT count(DISTINCT emb) FROM pictures").await, "1");
    // Long texts are cut; empty ones are texts.
    assert_eq!(one(&client, &format!("SELECT vector_dims(embed('minilm', '{long}'))")).await, "384");
    assert_eq!(one(&client, "SELECT vector_dims(embed('minilm', ''))").await, "384");
    // Another way of pooling is another model.
    run(&client, "CREATE MODEL first_token FROM 'minilm' WITH (pooling = cls, query_prefix = 'ask: ')").await;
    assert_eq!(one(&client, "SELECT embed('minilm', 'text') = embed('first_token', 'text')").await, "f");
    let asked = "SELECT embed('first_token', 'text', 'query') <-> embed('first_token', 'ask: text') < 1e-5";
    assert_eq!(one(&client, asked).await, "t");
}

pub(super) fn a_jpeg() -> String {
    let kinds = reference("pictures.json");
    let (name, _) = kinds.as_object().expect("pictures").iter().find(|(_, kind)| kind[0] == "jpeg").expect("a JPEG");
    name.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_superusers_have_models_read_and_only_where_they_may_be() {
    let server = server();
    let client = server.connect().await;
    run(&client, "CREATE ROLE ann LOGIN; CREATE MODEL clip FROM 'clip'").await;
    let ann = connect(&server, "ann").await;
    assert_eq!(error(&ann, "CREATE MODEL other FROM 'clip'").await.code().code(), "42501");
    assert_eq!(error(&ann, "DROP MODEL clip").await.code().code(), "42501");
    assert_eq!(one(&ann, "SELECT vector_dims(embed('clip', 'red'))").await, "512");
    run(&client, "REVOKE USAGE ON MODEL clip FROM PUBLIC").await;
    for sql in ["SELECT embed('clip', 'red')", "SELECT embed_image('clip', '\\x00')"] {
        let refused = error(&ann, sql).await;
        assert_eq!((refused.code().code(), refused.message()), ("42501", "permission denied for model clip"));
    }
    run(&client, "GRANT USAGE ON MODEL clip TO ann").await;
    assert_eq!(one(&ann, "SELECT vector_dims(embed('clip', 'red'))").await, "512");
    let refused = error(&client, "DROP ROLE ann").await;
    assert_eq!((refused.code().code(), refused.detail()), ("2BP01", Some("privileges for model clip")));
    assert_eq!(error(&client, "GRANT SELECT ON MODEL clip TO ann").await.code().code(), "0LP01");
    assert_eq!(error(&client, "GRANT USAGE ON MODEL nothing TO ann").await.code().code(), "42704");
    // A table may be called so.
    run(&client, "CREATE TABLE model (id int); GRANT SELECT ON model TO ann").await;
    let without = Server::shared();
    let refused = error(&without.connect().await, "CREATE MODEL clip FROM '/tmp'").await;
    assert_eq!(refused.code().code(), "42501");
    assert!(refused.detail().is_some_and(|detail| detail.contains("--model-dir")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_become_rows() {
    let server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL minilm FROM 'minilm'; CREATE TABLE docs (id int, body text)").await;
    run(&client, "INSERT INTO docs VALUES (1, 'Dr. Smith came. He left!'), (2, '今天天气很好。我们去公园。'), (3, ''), (4, NULL)").await;
    let sentences = "SELECT id, s FROM docs, split_sentences(body) s ORDER BY id";
    let expected = [["1", "Dr. Smith came."], ["1", "He left!"], ["2", "今天天气很好。"], ["2", "我们去公园。"]];
    assert_eq!(rows(&client, sentences).await, expected);
    let pieces = "SELECT s FROM split_text('one two three four five', 2, 1) s";
    assert_eq!(rows(&client, pieces).await.concat(), ["one two", "two three", "three four", "four five"]);
    let pieces = "SELECT s FROM split_text('minilm', 'One two three. Four five six.', 4, 0) s";
    assert_eq!(rows(&client, pieces).await.concat(), ["One two three.", "Four five six."]);
    run(&client, "CREATE TABLE pieces (doc int, piece text, emb vector(384))").await;
    run(&client, "INSERT INTO pieces SELECT id, s, embed('minilm', s) FROM docs, split_sentences(body) s").await;
    assert_eq!(one(&client, "SELECT count(*) FROM pieces WHERE emb IS NOT NULL").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ask_at_once_and_a_long_statement_can_be_cancelled() {
    let server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL minilm FROM 'minilm'").await;
    let alone = one(&client, "SELECT embed('minilm', 'the same for all')").await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let client = server.connect().await;
        let alone = vector(&alone);
        tasks.spawn(async move {
            for turn in 0..4 {
                let bad = error(&client, "SELECT embed('minilm', 'text', 'nothing')").await;
                assert_eq!(bad.code().code(), "22023");
                let found = vector(&one(&client, "SELECT embed('minilm', 'the same for all')").await);
                assert!(found.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5), "{number}, {turn}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("it held");
    }
    let long = server.connect().await;
    run(&long, "SET statement_timeout = '300ms'").await;
    let begun = std::time::Instant::now();
    let sql = "SELECT count(embed('minilm', repeat('text ', 100) || g)) FROM generate_series(1, 20000) g";
    assert_eq!(error(&long, sql).await.code().code(), "57014");
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn rust_programs_embed_without_sql() {
    let dir = tempfile::tempdir().expect("a folder");
    lodedb::runtime().expect("a runtime").block_on(async {
        let options = lodedb::Options {
            model_dir: Some(models::folder()),
            onnx_runtime: Some(models::runtime()),
            ..lodedb::Options::default()
        };
        let db = lodedb::Db::open(dir.path(), options).expect("a database");
        let mut session = db.session(lodedb::SessionOptions::default()).expect("a session");
        session.model("Mini LM").create("minilm", &[("max_tokens", "64")]).await.expect("a model");
        let texts: Vec<String> = (0..100).map(|number| format!("text number {number}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = session.model("Mini LM").embed(&texts).await.expect("vectors");
        assert!(vectors.len() == 100 && vectors.iter().all(|vector| vector.len() == 384));
        let sql = "SELECT embed('Mini LM', $1) <-> $2 < 1e-4";
        let same = session.query(sql, &[&texts[70], &vectors[70]]).await.expect("a row");
        assert!(same.first().expect("a row").get::<bool>(0).expect("a truth"));
        let wrong = session.model("Mini LM").embed_images(&[b"no picture"]).await.expect_err("it embeds texts");
        assert_eq!(wrong.state().code(), "42809");
        session.model("Mini LM").remove().await.expect("dropped");
        let gone = session.model("Mini LM").embed(&["text"]).await.expect_err("it is gone");
        assert_eq!(gone.state().code(), "42704");
    });
}
