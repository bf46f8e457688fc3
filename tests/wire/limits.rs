//! Every limit one below it, at it and one beyond it: what fits is done, what does not is refused by its own code, and nobody else
//! notices.

use super::auth::{Guarded, challenged, initial};
use crate::harness::client::Vector;
use crate::harness::raw::{RawClient, bind, execute, field, message, parse, query, shown, startup, sync};
use crate::harness::{Server, ok, one, run};

/// A number that is too high for a limit of `most`, and the two before it, each with whether it fits.
fn around(most: usize) -> [(usize, bool); 3] {
    [(most - 1, true), (most, true), (most + 1, false)]
}

/// `of(1)`, `of(2)` and so on, with commas between them.
fn listed(count: usize, of: impl Fn(usize) -> String) -> String {
    (1..=count).map(of).collect::<Vec<_>>().join(",")
}

fn nested(depth: usize) -> String {
    format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth))
}

fn table_with(columns: usize) -> String {
    format!("CREATE TABLE wide ({}); DROP TABLE wide", listed(columns, |at| format!("c{at} int")))
}

fn index(kind: &str, ty: &str, class: &str, dimensions: usize) -> String {
    format!("CREATE TABLE v (v {ty}({dimensions})); CREATE INDEX ON v USING {kind} (v {class}); DROP TABLE v")
}

fn ones(count: usize) -> String {
    format!("'[{}]'", vec!["1"; count].join(","))
}

/// What a statement is limited in, the limit, the statement for a number, and the code with which it is refused.
type Limit = (&'static str, usize, fn(usize) -> String, &'static str);

const STATEMENTS: &[Limit] = &[
    ("bytes of a text", 16 << 20, |bytes| format!("SELECT 1{}", " ".repeat(bytes - 8)), "54000"),
    ("brackets within one another", 50, nested, "54001"),
    ("operators in a chain", 200, |count| format!("SELECT 1{}", "+1".repeat(count)), "54001"),
    ("conditions in a chain", 1_667, |count| format!("SELECT 1 WHERE 1=1{}", " AND 1=1".repeat(count - 1)), "54001"),
    ("entries of a list", 1_664, |count| format!("SELECT {}", listed(count, |at| at.to_string())), "54011"),
    ("columns of VALUES", 1_664, |count| format!("VALUES ({})", listed(count, |at| at.to_string())), "54011"),
    ("columns of a table", 1_600, table_with, "54011"),
    (
        "columns of a table made from a query",
        1_600,
        |count| format!("CREATE TABLE wide AS SELECT {}; DROP TABLE wide", listed(count, |at| format!("1 AS c{at}"))),
        "54011",
    ),
    (
        "columns with those that are added",
        1_600,
        |count| table_with(count - 1).replace("; DROP", "; ALTER TABLE wide ADD COLUMN more int; DROP"),
        "54011",
    ),
    (
        "columns of *",
        1_664,
        |count| format!("SELECT * FROM half, (SELECT {}) h", listed(count - 832, |at| format!("1 AS d{at}"))),
        "54011",
    ),
    (
        "columns of * in RETURNING",
        1_664,
        |count| {
            let more = listed(count - 832, |at| at.to_string());
            format!("INSERT INTO half (c1) VALUES ({count}) RETURNING *, {more}")
        },
        "54011",
    ),
    (
        "columns by a key",
        1_664,
        |count| format!("SELECT {} FROM half WHERE c1 = 1", vec!["c2"; count].join(",")),
        "54011",
    ),
    (
        "dimensions of an array",
        6,
        |depth| format!("SELECT '{}1{}'::int[]", "{".repeat(depth), "}".repeat(depth)),
        "54000",
    ),
    ("dimensions of a vector", 16_000, |count| format!("SELECT {}::vector", ones(count)), "54000"),
    (
        "dimensions of a vector from an array",
        16_000,
        |count| format!("SELECT array_fill(1, ARRAY[{count}])::vector"),
        "54000",
    ),
    (
        "dimensions of a vector from two",
        16_000,
        |count| format!("SELECT {}::vector || '[1,2]'::vector", ones(count - 2)),
        "54000",
    ),
    ("dimensions in the name of a type", 16_000, |count| format!("SELECT NULL::vector({count})"), "22023"),
    ("dimensions of a halfvec", 16_000, |count| format!("SELECT {}::halfvec", ones(count)), "54000"),
    ("dimensions in halfvec(n)", 16_000, |count| format!("SELECT NULL::halfvec({count})"), "22023"),
    ("dimensions of a sparsevec", 1_000_000_000, |count| format!("SELECT '{{1:1}}/{count}'::sparsevec"), "54000"),
    ("dimensions in sparsevec(n)", 1_000_000_000, |count| format!("SELECT NULL::sparsevec({count})"), "22023"),
    (
        "elements of a sparsevec",
        16_000,
        |count| format!("SELECT '{{{}}}/20000'::sparsevec", listed(count, |at| format!("{at}:1"))),
        "54000",
    ),
    (
        "elements of a sparsevec from an array",
        16_000,
        |count| format!("SELECT array_fill(1, ARRAY[{count}])::sparsevec"),
        "54000",
    ),
    ("bits in bit(n)", 83_886_080, |count| format!("SELECT NULL::bit({count})"), "22023"),
    ("bits in varbit(n)", 83_886_080, |count| format!("SELECT NULL::varbit({count})"), "22023"),
    ("characters in varchar(n)", 10_485_760, |count| format!("SELECT NULL::varchar({count})"), "22023"),
    ("dimensions under hnsw", 2_000, |count| index("hnsw", "vector", "vector_l2_ops", count), "54000"),
    ("dimensions of halfvec under hnsw", 4_000, |count| index("hnsw", "halfvec", "halfvec_l2_ops", count), "54000"),
    ("bits under hnsw", 64_000, |count| index("hnsw", "bit", "bit_hamming_ops", count), "54000"),
    ("dimensions under ivfflat", 2_000, |count| index("ivfflat", "vector", "vector_l2_ops", count), "54000"),
    (
        "dimensions of halfvec under ivfflat",
        4_000,
        |count| index("ivfflat", "halfvec", "halfvec_l2_ops", count),
        "54000",
    ),
    ("bits under ivfflat", 64_000, |count| index("ivfflat", "bit", "bit_hamming_ops", count), "54000"),
    ("dimensions under ivfpq", 16_000, |count| index("ivfpq", "vector", "vector_l2_ops", count), "22023"),
];

#[tokio::test(flavor = "multi_thread")]
async fn statements_keep_their_limits_to_the_last_one() {
    let server = Server::start();
    let client = server.connect().await;
    run(&client, &format!("CREATE TABLE half ({}, PRIMARY KEY (c1))", listed(832, |at| format!("c{at} int")))).await;
    for (what, most, make, code) in STATEMENTS {
        for (number, fits) in around(*most) {
            let sql = make(number);
            let told = match client.simple_query(&sql).await {
                Ok(_) => String::new(),
                Err(error) => {
                    error.as_db_error().map_or("a broken connection".to_owned(), |error| error.code().code().to_owned())
                }
            };
            assert_eq!(told, if fits { "" } else { *code }, "{what}: {number} of {most}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_in_binary_have_the_same_limit() {
    let server = Server::shared();
    let client = server.connect().await;
    let statement = ok(client.prepare("SELECT vector_dims($1::vector)").await, "prepare");
    for (dimensions, fits) in around(16_000) {
        match client.query_one(&statement, &[&Vector(vec![1.0; dimensions])]).await {
            Ok(row) => assert_eq!((row.get::<_, i32>(0) as usize, true), (dimensions, fits)),
            Err(error) => assert_eq!((error.code().map(|code| code.code()), fits), (Some("54000"), false)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_has_as_many_parameters_as_can_be_sent() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    for (count, fits) in around(usize::from(u16::MAX)) {
        let sql = format!("SELECT 1 WHERE 7 IN ({})", listed(count, |at| format!("${at}")));
        if !fits {
            assert_eq!(raw.ask_shown(&[parse("", &sql), sync()].concat()), "E(42P02) ZI");
            continue;
        }
        let mut values = vec![Some("0"); count];
        values[count - 1] = Some("7");
        let sent = [parse("", &sql), bind("", "", &values, 0), execute("", 0), sync()].concat();
        assert_eq!(raw.ask_shown(&sent), "1 2 D(1) C(SELECT 1) ZI", "{count} parameters");
        let sent = [parse("", &sql), bind("", "", &values[1..], 0), sync()].concat();
        assert_eq!(raw.ask_shown(&sent), "1 E(08P01) ZI", "{count} parameters and a value less");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_have_64_mebibytes() {
    let server = Server::start();
    let mut raw = RawClient::connect(server.address());
    assert_eq!(raw.ask_shown(&[parse("length", "SELECT length($1::text)"), sync()].concat()), "1 ZI");
    assert_eq!(raw.ask_shown(&query("CREATE TABLE t (a text)")), "C(CREATE TABLE) ZI");
    // Behind the header, which is five bytes.
    let around_value = bind("", "length", &[Some("")], 0).len() - 5;
    for (length, fits) in around(64 << 20) {
        let value = "x".repeat(length - around_value);
        let sent = [bind("", "length", &[Some(&value)], 0), execute("", 0), sync()].concat();
        let told = raw.ask_shown(&sent);
        match fits {
            true => assert_eq!(told, format!("2 D({}) C(SELECT 1) ZI", value.len())),
            false => assert_eq!(told, "E(54000) ZI"),
        }
        // A row of COPY, which is passed over when it has come.
        let mut row = "x".repeat(length - 1);
        row.push('\n');
        assert_eq!(raw.ask_shown(&query("BEGIN")), "C(BEGIN) ZT");
        raw.send(&query("COPY t FROM STDIN"));
        raw.send(&message('d', row.as_bytes()));
        let told = raw.ask_shown(&message('c', &[]));
        assert_eq!(told, if fits { "G C(COPY 1) ZT" } else { "G E(54000) ZE" }, "a row in {length} bytes");
        assert_eq!(raw.ask_shown(&query("ROLLBACK")), "C(ROLLBACK) ZI");
    }
    assert_eq!(raw.ask_shown(&query("SELECT count(*) FROM t")), "T D(0) C(SELECT 1) ZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_statement_that_is_made_ready_has_the_same_limit() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    for (length, fits) in around(16 << 20) {
        let sql = format!("SELECT 1{}", " ".repeat(length - 8));
        let told = raw.ask_shown(&[parse("", &sql), sync()].concat());
        assert_eq!(told, if fits { "1 ZI" } else { "E(54000) ZI" }, "{length} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_before_a_session_may_have_10000_bytes() {
    let server = Server::shared();
    for (length, fits) in around(10_000) {
        let with = |name: &str| startup(&[("user", "lodedb"), ("database", "lodedb"), ("application_name", name)]);
        let packet = with(&"x".repeat(length - with("").len()));
        assert_eq!(packet.len(), length);
        let mut raw = RawClient::bare(server.address());
        let answers = raw.ask(&packet);
        match fits {
            true => assert!(shown(&answers).ends_with("ZI"), "{length} bytes: {}", shown(&answers)),
            false => assert_eq!(shown(&answers), "E(08P01)", "{length} bytes"),
        }
    }
    let client = server.connect().await;
    assert_eq!(one(&client, "SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_may_have_1024_bytes() {
    let guarded = Guarded::start(&[]);
    run(&guarded.admin().await, "CREATE ROLE ann LOGIN PASSWORD 'right'").await;
    tokio::task::block_in_place(|| {
        for (length, fits) in around(1024) {
            // The first message, filled up by its nonce.
            let first = |nonce: &str| initial("SCRAM-SHA-256", format!("n,,n=,r={nonce}").as_bytes());
            let sent = first(&"x".repeat(length + 5 - first("").len()));
            assert_eq!(sent.len(), length + 5);
            let mut client = challenged(&guarded.server, "ann");
            client.send(&sent);
            let (tag, body) = client.answer().expect("an answer");
            match fits {
                true => assert_eq!(tag, 'R', "{length} bytes"),
                false => assert_eq!((tag, field(&body, 'C').as_str()), ('E', "08P01"), "{length} bytes"),
            }
            // The last message, filled up by an extension, which is passed over.
            let mut client = challenged(&guarded.server, "ann");
            client.send(&first("abc"));
            let (_, body) = client.answer().expect("an answer");
            let answer = String::from_utf8(body[4..].to_vec()).expect("UTF-8");
            let nonce = answer.split(',').next().expect("a nonce");
            let last = |more: &str| format!("c=biws,{nonce},x={more},p={}=", "A".repeat(43));
            let sent = last(&"x".repeat(length - last("").len()));
            client.send(&message('p', sent.as_bytes()));
            let (_, body) = client.answer().expect("an error");
            assert_eq!(field(&body, 'C'), if fits { "28P01" } else { "08P01" }, "{length} bytes");
        }
    });
}
