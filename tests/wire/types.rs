//! Every type, in text and in binary, as parameter and as result.

use tokio_postgres::types::{ToSql, Type};

use crate::harness::client::{AsText, Binary, Vector};
use crate::harness::raw::{RawClient, bind, describe, execute, parse, shown, sync};
use crate::harness::{Server, ok, one, run};

/// A type, its OID (0 where it is the server's to choose), and values: what is sent, what comes back in text, and what
/// comes back in binary where that is written down (in hexadecimal).
type Case = (&'static str, u32, &'static [(&'static str, &'static str, &'static str)]);

const CASES: &[Case] = &[
    ("smallint", 21, &[("-32768", "-32768", "8000"), ("7", "7", "0007")]),
    ("integer", 23, &[("2147483647", "2147483647", "7fffffff"), (" -5 ", "-5", "fffffffb")]),
    ("bigint", 20, &[("-9223372036854775808", "-9223372036854775808", "8000000000000000")]),
    (
        "real",
        700,
        &[("1.5", "1.5", "3fc00000"), ("0.1", "0.1", ""), ("NaN", "NaN", ""), ("-Infinity", "-Infinity", "ff800000")],
    ),
    (
        "double precision",
        701,
        &[
            ("-2.25", "-2.25", "c002000000000000"),
            ("1e300", "1e+300", ""),
            ("0.1", "0.1", ""),
            ("Infinity", "Infinity", ""),
        ],
    ),
    (
        "numeric",
        1700,
        &[
            ("0", "0", "0000000000000000"),
            ("-12345.678", "-12345.678", "0003000140000003000109291a7c"),
            ("1.5", "1.5", "000200000000000100011388"),
            ("123456789012345678901234567890.5", "123456789012345678901234567890.5", ""),
            ("0.000001", "0.000001", ""),
        ],
    ),
    (
        "numeric(8,2)",
        1700,
        &[("1.005", "1.01", ""), ("1.5", "1.50", "000200000000000200011388"), ("999999.99", "999999.99", "")],
    ),
    ("boolean", 16, &[("true", "t", "01"), ("off", "f", "00")]),
    ("text", 25, &[("héllo\tworld", "héllo\tworld", ""), ("", "", ""), ("a'b\\c", "a'b\\c", "6127625c63")]),
    ("varchar(5)", 1043, &[("abcde", "abcde", "6162636465")]),
    (
        "bytea",
        17,
        &[("\\xdeadbeef", "\\xdeadbeef", "deadbeef"), ("\\x", "\\x", ""), ("a\\000b", "\\x610062", "610062")],
    ),
    (
        "date",
        1082,
        &[
            ("2024-02-29", "2024-02-29", "00002279"),
            ("0001-01-01", "0001-01-01", ""),
            ("infinity", "infinity", "7fffffff"),
        ],
    ),
    ("time", 1083, &[("12:34:56.789", "12:34:56.789", "0000000a8be62608"), ("24:00", "24:00:00", "")]),
    (
        "timestamp",
        1114,
        &[
            ("2000-01-01 00:00:01", "2000-01-01 00:00:01", "00000000000f4240"),
            ("2024-02-29T12:34:56.789012", "2024-02-29 12:34:56.789012", ""),
            ("1969-12-31 23:59:59.5", "1969-12-31 23:59:59.5", ""),
            ("-infinity", "-infinity", "8000000000000000"),
        ],
    ),
    (
        "timestamptz",
        1184,
        &[
            ("2000-01-01 02:00:01+02", "2000-01-01 00:00:01+00", "00000000000f4240"),
            ("2024-06-01 00:00:00Z", "2024-06-01 00:00:00+00", ""),
        ],
    ),
    (
        "interval",
        1186,
        &[
            (
                "1 year 2 months 3 days 04:05:06.7",
                "1 year 2 mons 3 days 04:05:06.7",
                "000000036c966ee0000000030000000e",
            ),
            ("-1 day", "-1 days", "0000000000000000ffffffff00000000"),
            ("0", "00:00:00", "00000000000000000000000000000000"),
        ],
    ),
    (
        "uuid",
        2950,
        &[(
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        )],
    ),
    ("json", 114, &[("{\"b\" : 1,  \"a\": 2}", "{\"b\" : 1,  \"a\": 2}", "")]),
    (
        "jsonb",
        3802,
        &[("{\"b\" : 1,  \"a\": [2, null]}", "{\"a\": [2, null], \"b\": 1}", ""), ("\"x\"", "\"x\"", "01227822")],
    ),
    (
        "vector",
        0,
        &[("[1, 2.5,-3]", "[1,2.5,-3]", "000300003f80000040200000c0400000"), ("[0.1]", "[0.1]", "000100003dcccccd")],
    ),
    ("vector(2)", 0, &[("[1,2]", "[1,2]", "000200003f80000040000000")]),
    ("integer[]", 1007, &[("{1,NULL,3}", "{1,NULL,3}", ""), ("{}", "{}", "000000000000000000000017")]),
    ("bigint[]", 1016, &[("{-1,2}", "{-1,2}", "")]),
    ("smallint[]", 1005, &[("{1}", "{1}", "0000000100000000000000150000000100000001000000020001")]),
    ("real[]", 1021, &[("{1.5,-2}", "{1.5,-2}", "")]),
    ("double precision[]", 1022, &[("{0.1,1e100}", "{0.1,1e+100}", "")]),
    ("numeric[]", 1231, &[("{1.1,2}", "{1.1,2}", "")]),
    ("boolean[]", 1000, &[("{t,f,NULL}", "{t,f,NULL}", "")]),
    ("text[]", 1009, &[("{a,\"b c\",\"d\\\"e\",NULL,\"NULL\",\"\"}", "{a,\"b c\",\"d\\\"e\",NULL,\"NULL\",\"\"}", "")]),
    ("varchar[]", 1015, &[("{x,y}", "{x,y}", "")]),
    ("bytea[]", 1001, &[("{\"\\\\x01ff\"}", "{\"\\\\x01ff\"}", "")]),
    ("date[]", 1182, &[("{2024-02-29,NULL}", "{2024-02-29,NULL}", "")]),
    ("time[]", 1183, &[("{01:02:03}", "{01:02:03}", "")]),
    ("timestamp[]", 1115, &[("{\"2024-02-29 01:02:03\"}", "{\"2024-02-29 01:02:03\"}", "")]),
    ("timestamptz[]", 1185, &[("{\"2024-02-29 01:02:03+00\"}", "{\"2024-02-29 01:02:03+00\"}", "")]),
    ("interval[]", 1187, &[("{\"1 day\",02:00:00}", "{\"1 day\",02:00:00}", "")]),
    ("uuid[]", 2951, &[("{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "")]),
    ("json[]", 199, &[("{\"{\\\"a\\\": 1}\"}", "{\"{\\\"a\\\": 1}\"}", "")]),
    ("jsonb[]", 3807, &[("{\"{\\\"a\\\": 1}\",NULL}", "{\"{\\\"a\\\": 1}\",NULL}", "")]),
    ("vector[]", 0, &[("{\"[1,2]\",\"[3]\"}", "{\"[1,2]\",[3]}", "")]),
];

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_text_and_binary_both_ways() {
    let server = Server::shared();
    let client = server.connect().await;
    let mut wrong = Vec::new();
    for (number, (ty, oid, values)) in CASES.iter().enumerate() {
        let table = format!("round_trip_{number}");
        run(&client, &format!("CREATE TABLE {table} (id integer, v {ty})")).await;
        let insert = format!("INSERT INTO {table} VALUES ($1, $2)");
        let insert = ok(client.prepare(&insert).await, &insert);
        let described = insert.params()[1].clone();
        if *oid != 0 && described.oid() != *oid {
            wrong.push(format!("{ty}: the parameter is said to be {described:?}"));
        }
        for (at, (sent, text, binary)) in values.iter().enumerate() {
            let (first, second) = (at as i32 * 2, at as i32 * 2 + 1);
            let parameters: [&(dyn ToSql + Sync); 2] = [&first, &AsText((*sent).to_owned())];
            if let Err(error) = client.execute(&insert, &parameters).await {
                wrong.push(format!("{ty} {sent:?} in text: {}", crate::harness::client::told(&error)));
                continue;
            }
            let select = format!("SELECT v FROM {table} WHERE id = $1");
            let row = match client.query_one(&select, &[&first]).await {
                Ok(row) => row,
                Err(error) => {
                    wrong.push(format!("{ty} {sent:?} as a result: {}", crate::harness::client::told(&error)));
                    continue;
                }
            };
            let received: Binary = row.get(0);
            if !binary.is_empty() && received.0 != bytes(binary) {
                wrong.push(format!("{ty} {sent:?} in binary: {:02x?} instead of {binary}", received.0));
            }
            if row.columns()[0].type_() != &described {
                wrong.push(format!("{ty}: sent as {described:?}, received as {:?}", row.columns()[0].type_()));
            }
            // What came back goes in again as it is, and is the same value.
            let parameters: [&(dyn ToSql + Sync); 2] = [&second, &received];
            if let Err(error) = client.execute(&insert, &parameters).await {
                wrong.push(format!("{ty} {sent:?} in binary: {}", crate::harness::client::told(&error)));
                continue;
            }
            for id in [first, second] {
                let shown = one(&client, &format!("SELECT v FROM {table} WHERE id = {id}")).await;
                if shown != *text {
                    wrong.push(format!("{ty} {sent:?}: {shown:?} instead of {text:?} (row {id})"));
                }
            }
        }
        // NULL goes in and comes out as NULL.
        let parameters: [&(dyn ToSql + Sync); 2] = [&1000, &Option::<Binary>::None];
        if let Err(error) = client.execute(&insert, &parameters).await {
            wrong.push(format!("{ty} NULL: {}", crate::harness::client::told(&error)));
        } else {
            let null = one(&client, &format!("SELECT v IS NULL FROM {table} WHERE id = 1000")).await;
            if null != "t" {
                wrong.push(format!("{ty}: NULL came back as something"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} failures:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_results_in_text_read_as_simple_ones_do() {
    let server = Server::shared();
    let client = server.connect().await;
    let mut raw = RawClient::connect(server.address());
    for (ty, _, values) in CASES {
        for (sent, text, _) in *values {
            let sql = format!("SELECT $1::{ty} AS v");
            let messages = [parse("", &sql), bind("", "", &[Some(sent)], 0), execute("", 0), sync()].concat();
            let answer = raw.ask_shown(&messages);
            assert_eq!(answer, format!("1 2 D({text}) C(SELECT 1) ZI"), "{sql} with {sent:?}");
            let literal = sent.replace('\'', "''");
            assert_eq!(&one(&client, &format!("SELECT '{literal}'::{ty}")).await, text, "{ty} {sent:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_types_arrive_as_themselves() {
    let server = Server::shared();
    let client = server.connect().await;
    let sql = "SELECT $1::smallint, $2::int, $3::bigint, $4::real, $5::double precision, $6::boolean, $7::text, \
               $8::bytea, $9::int[], $10::text[], $11::vector";
    let vector = Vector(vec![1.0, -2.5, 1e-7]);
    let row = ok(
        client
            .query_one(
                sql,
                &[
                    &-3i16,
                    &70_000i32,
                    &(1i64 << 40),
                    &1.25f32,
                    &-1e100f64,
                    &true,
                    &"grün",
                    &&b"\x00\xff"[..],
                    &vec![Some(1i32), None],
                    &vec!["a", "b,c"],
                    &vector,
                ],
            )
            .await,
        sql,
    );
    assert_eq!((row.get::<_, i16>(0), row.get::<_, i32>(1), row.get::<_, i64>(2)), (-3, 70_000, 1 << 40));
    assert_eq!((row.get::<_, f32>(3), row.get::<_, f64>(4), row.get::<_, bool>(5)), (1.25, -1e100, true));
    assert_eq!((row.get::<_, &str>(6), row.get::<_, &[u8]>(7)), ("grün", &b"\x00\xff"[..]));
    assert_eq!(row.get::<_, Vec<Option<i32>>>(8), [Some(1), None]);
    assert_eq!(row.get::<_, Vec<String>>(9), ["a", "b,c"]);
    assert_eq!(row.get::<_, Vector>(10), vector);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_take_the_type_of_their_surroundings() {
    let server = Server::shared();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE surroundings (id bigint, small smallint, name varchar(9), at timestamptz, doc jsonb, v vector(2), ids int[])",
    )
    .await;
    let cases: [(&str, &[&str]); 13] = [
        ("SELECT id FROM surroundings ORDER BY v <-> $1 LIMIT $2", &["vector", "int8"]),
        ("SELECT v <=> $1, $2 <-> v FROM surroundings", &["vector", "vector"]),
        (
            "SELECT 1 FROM surroundings WHERE id = $1 AND small = $2 AND name = $3 AND at < $4",
            &["int8", "int2", "text", "timestamptz"],
        ),
        (
            "INSERT INTO surroundings VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &["int8", "int2", "varchar", "timestamptz", "jsonb", "vector", "_int4"],
        ),
        ("UPDATE surroundings SET small = $1, v = $2 WHERE id = $3", &["int2", "vector", "int8"]),
        ("DELETE FROM surroundings WHERE id = ANY($1)", &["_int8"]),
        ("SELECT 1 FROM surroundings WHERE id IN ($1, $2)", &["int8", "int8"]),
        ("SELECT 1 FROM surroundings WHERE doc @> $1 AND doc->>$2 = $3", &["jsonb", "text", "text"]),
        ("SELECT 1 FROM surroundings WHERE id BETWEEN $1 AND $2 LIMIT 3 OFFSET $3", &["int8", "int8", "int8"]),
        ("SELECT $1 + 1, $2 || 'x', $3::date", &["int4", "text", "date"]),
        ("SELECT coalesce(small, $1), CASE WHEN $2 THEN id ELSE $3 END FROM surroundings", &["int2", "bool", "int8"]),
        ("SELECT $1", &["text"]),
        ("SELECT l2_distance(v, $1) FROM surroundings", &["vector"]),
    ];
    let mut wrong = Vec::new();
    for (sql, expected) in cases {
        match client.prepare(sql).await {
            Ok(statement) => {
                let types: Vec<&str> = statement.params().iter().map(Type::name).collect();
                if types != expected {
                    wrong.push(format!("{sql}\n  takes {types:?} instead of {expected:?}"));
                }
            }
            Err(error) => wrong.push(format!("{sql}\n  {}", crate::harness::client::told(&error))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn described_columns_name_their_table_and_modifier() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE described (id int, name varchar(7), v vector(3), n numeric(5,1))").await;
    let oid: u32 = one(&client, "SELECT 'described'::regclass::oid").await.parse().expect("an OID");
    let mut raw = RawClient::connect(server.address());
    let messages =
        [parse("d", "SELECT v, n AS amount, id + 1, name FROM described"), describe('S', "d"), sync()].concat();
    let answers = raw.ask(&messages);
    let Some((_, body)) = answers.iter().find(|(tag, _)| *tag == 'T') else {
        panic!("no RowDescription in {}", shown(&answers))
    };
    let mut columns = Vec::new();
    let mut rest = &body[2..];
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == 0).expect("a name");
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let fields = &rest[end + 1..];
        let table = u32::from_be_bytes(fields[..4].try_into().expect("4 bytes"));
        let number = i16::from_be_bytes(fields[4..6].try_into().expect("2 bytes"));
        let modifier = i32::from_be_bytes(fields[12..16].try_into().expect("4 bytes"));
        columns.push((name, table, number, modifier));
        rest = &fields[18..];
    }
    let expected = [
        ("v".to_owned(), oid, 3, 3),
        ("amount".to_owned(), oid, 4, ((5 << 16) | 1) + 4),
        ("?column?".to_owned(), 0, 0, -1),
        ("name".to_owned(), oid, 2, 11),
    ];
    assert_eq!(columns, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_values_that_are_none_are_refused() {
    let server = Server::shared();
    let client = server.connect().await;
    let cases: [(&str, &[u8], &str); 9] = [
        ("SELECT $1::vector", &[0, 2, 0, 0, 0x3f, 0x80, 0, 0], "22P03 08P01"),
        ("SELECT $1::vector", &[0, 0, 0, 0], "22000"),
        ("SELECT $1::vector", &[0, 1, 0, 0, 0x7f, 0xc0, 0, 0], "22000"),
        ("SELECT $1::vector", &[0, 1, 0, 0, 0x7f, 0x80, 0, 0], "22000"),
        ("SELECT $1::integer", &[0, 0, 1], "22P03 08P01"),
        ("SELECT $1::text", &[0xff, 0xfe], "22021"),
        ("SELECT $1::text", b"a\0b", "22021"),
        ("SELECT $1::jsonb", b"\x01{", "22P02"),
        ("SELECT $1::uuid", &[1, 2, 3], "22P03 08P01"),
    ];
    for (sql, value, states) in cases {
        let result = client.query(sql, &[&Binary(value.to_vec())]).await;
        let Err(error) = result else { panic!("{sql} took {value:02x?}") };
        let state = error.code().unwrap_or_else(|| panic!("{sql} broke the connection")).code().to_owned();
        assert!(states.contains(&state), "{sql} with {value:02x?}: {state} instead of {states}");
    }
    assert_eq!(one(&client, "SELECT 1").await, "1");
}
