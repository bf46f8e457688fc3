//! Bounds, positions and the mending of tokens.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sqlparser::tokenizer::Location;

use super::*;

/// How long parsing takes at best: other tests run beside this one.
fn best_time(sql: &str) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let _ = parse(sql);
        best = best.min(start.elapsed());
        if best < Duration::from_millis(20) {
            break;
        }
    }
    best
}

/// Runs on the stack that a server's thread has; what is parsed is printed and dropped there too.
fn on_small_stack(sql: String) -> Result<()> {
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let took = best_time(&sql);
        let outcome = parse(&sql);
        for parsed in outcome.iter().flatten() {
            if let Statement::Query(query) = &parsed.statement {
                assert!(!query.to_string().is_empty());
            }
        }
        (outcome.map(drop), took, sql)
    });
    let (outcome, took, sql) = worker.unwrap().join().unwrap();
    if outcome.is_err() {
        assert!(took < Duration::from_millis(100), "refused only after {took:?}: {sql:.40}");
    }
    outcome
}

fn error_of(sql: &str) -> (&'static str, String, Option<u32>) {
    let error = parse(sql).unwrap_err();
    (error.state().code(), error.message().to_owned(), error.position())
}

#[test]
fn chains_and_nests_beyond_the_bounds_are_too_complex() {
    let n = 7_000;
    for sql in [
        format!("SELECT 1{}", "+1".repeat(n)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n)),
        format!("SELECT a{}", "[1]".repeat(n)),
        format!("SELECT 1{}", "::int".repeat(n)),
        format!("SELECT {}true", "NOT ".repeat(n)),
        format!("SELECT {}1", "- ".repeat(n)),
        format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
        format!("SELECT 1{}", " IS NULL".repeat(n)),
        format!("SELECT {} 1", "CASE WHEN ".repeat(n)),
        format!("SELECT x{}", " AT TIME ZONE 'UTC'".repeat(n)),
        format!("SELECT x{}", " COLLATE \"C\"".repeat(n)),
        format!("SELECT {}1", "(SELECT ".repeat(n)),
        format!("SELECT * FROM {}t", "(".repeat(n)),
        format!("SELECT 1{}", "!".repeat(n)),
        format!("SELECT true{}", " IN (true)".repeat(3_000)),
        format!("SELECT true{}", " = true".repeat(300)),
        format!("SELECT a{}", " BETWEEN a AND a".repeat(n)),
    ] {
        let error = on_small_stack(sql.clone()).unwrap_err();
        assert!(matches!(error.state().code(), "54001" | "42601" | "0A000" | "42883"), "{error}: {sql:.40}");
    }
}

#[test]
fn chains_and_nests_within_the_bounds_need_no_large_stack() {
    let n = limits::CHAIN_MAX - 10;
    for sql in [
        format!("SELECT 1{}", "+1".repeat(n / 25)),
        format!("SELECT 1{}", " IS NULL".repeat(n)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n / 5)),
        format!("SELECT 1{}", "::int".repeat(n / 25)),
        format!("SELECT v{}", " <-> v".repeat(n / 5)),
        format!("SELECT a = 1{}", " OR a = 2".repeat(n / 3 - 1)),
        format!("SELECT CASE a{} END", " WHEN b = 1 THEN c = 2".repeat(n / 3)),
        format!("SELECT {}1{}", "(".repeat(50), ")".repeat(50)),
        format!("INSERT INTO t VALUES (1::int + 2){}", ", (1::int + 2)".repeat(20_000)),
    ] {
        on_small_stack(sql.clone()).unwrap();
        // Copying needs more, but far less than the stack that planning is promised.
        let copying = std::thread::Builder::new()
            .stack_size(limits::PLANNING_STACK_LENGTH_MIN / 4)
            .spawn(move || drop(parse(&sql).unwrap().clone()));
        copying.unwrap().join().unwrap();
    }
}

#[test]
fn texts_that_make_the_parser_backtrack_end_soon() {
    let openings = [
        "interval ",
        "interval (",
        "array[",
        "case ",
        "case when ",
        "cast(",
        "not ",
        "exists(",
        "date ",
        "(select ",
        "trim(",
        "position(",
        "extract(year from ",
        "a(",
        "f(x => ",
        "row(",
        "struct<",
        "map(",
        "t.",
        "'a' ",
        "((",
        "[",
        "from (",
        "from ((",
        "from lateral (",
        "a join (",
        "with x as (",
        "values (",
        "substring(",
        "overlay(",
        "ceil(",
        "floor(",
        "timestamp ",
        "time ",
        "if(",
        "array(",
        "x in (",
        "x between ",
        "x like any (",
        "= any(",
        "int ",
        "char(",
        "double precision ",
        "listagg(",
        "convert(",
        "a.b(",
        "prior ",
        "connect_by_root ",
        "match (",
        "- ",
        "@ ",
        "a[",
        "t.*, ",
        "x -> ",
        "unnest(",
        "table(",
        "lateral flatten(",
        "a(select ",
    ];
    for opening in openings {
        for start in ["SELECT ", "SELECT * FROM ", "VALUES (", "INSERT INTO t VALUES (", "UPDATE t SET a = "] {
            for n in [5, 12, 25, 48, 60] {
                let sql = format!("{start}{}", opening.repeat(n));
                let took = best_time(&sql);
                assert!(took < Duration::from_millis(100), "{took:?} for {sql}");
            }
        }
    }
    for (a, b) in
        [("(interval ", "1"), ("(case ", "x"), ("(array[", "x"), ("f(interval ", "'"), ("cast(interval ", "1")]
    {
        let sql = format!("SELECT {}{b}", a.repeat(45));
        let took = best_time(&sql);
        assert!(took < Duration::from_millis(100), "{took:?} for {sql}");
    }
}

#[test]
fn errors_point_at_the_character() {
    assert_eq!(error_of("SELECT 1 1"), ("42601", "syntax error at or near \"1\"".into(), Some(10)));
    assert_eq!(error_of("SELECT 'ü', 1 1").2, Some(15));
    assert_eq!(error_of("SELECT 1\n  FROM t WHERE )").2, Some(25));
    assert_eq!(error_of("SELECT 1 FROM"), ("42601", "syntax error at end of input".into(), Some(14)));
    assert_eq!(error_of("SELECT 1 FROM; SELECT 2").1, "syntax error at or near \";\"");
    assert_eq!(error_of("SELEC 1"), ("42601", "syntax error at or near \"SELEC\"".into(), Some(1)));
    assert_eq!(error_of("SELECT 1; SELEC 2").2, Some(11));
    assert_eq!(error_of("SELECT x::nosuch").0, "42704");
    assert_eq!(error_of("SELECT x::nosuch").2, Some(11));
    assert_eq!(error_of("SELECT 'abc"), ("42601", "unterminated quoted string at or near \"'abc\"".into(), Some(8)));
    assert_eq!(error_of("CREATE TABLE t (a nosuch)").2, Some(19));
    assert_eq!(error_of("CREATE TABLE select (a int)").1, "syntax error at or near \"select\"");
    assert_eq!(error_of("SELECT $0").0, "42P02");
}

#[test]
fn words_are_found_in_their_statement_of_a_message() {
    let parsed =
        parse("SELECT a, 'ü' FROM t;\n /* ü */ SELECT t.a, f(b), a + 'x' FROM t WHERE c + 1 > 'x' -- a").unwrap();
    let (first, second) = (&parsed[0].places, &parsed[1].places);
    assert_eq!((first.name("a"), first.name("t"), first.name("b")), (Some(8), Some(20), None));
    assert_eq!((second.name("a"), second.qualifier("t"), second.name("t")), (Some(50), Some(39), Some(63)));
    assert_eq!(
        (second.call("f"), second.call("b"), first.literal("ü"), second.literal("x")),
        (Some(44), None, Some(11), None)
    );
    let after = Location { line: 2, column: 40 };
    assert_eq!((second.operator("+", None), second.operator("+", Some(after))), (None, Some(73)));
    assert_eq!(second.at(Location { line: 2, column: 2 }), Some(24));
    assert!(second.is_written("SELECT", Location { line: 2, column: 10 }));
    assert_eq!(Places::none().name("a"), None);
}

#[test]
fn nothing_but_a_table_follows_from() {
    assert_eq!(error_of("SELECT FROM WHERE"), ("42601", "syntax error at or near \"WHERE\"".into(), Some(13)));
    assert_eq!(error_of("SELECT 1 FROM t JOIN ON true").1, "syntax error at or near \"ON\"");
    assert!(parse("SELECT extract(year FROM current_date), trim(both 'x' FROM user), a IS DISTINCT FROM NULL").is_ok());
}

#[test]
fn a_message_is_taken_apart_into_statements() {
    let parsed = parse(" SELECT 1 ; ;; SET x = 'a;b' -- rest\n; BEGIN").unwrap();
    let texts: Vec<&str> = parsed.iter().map(|statement| statement.text.as_str()).collect();
    assert_eq!(texts, ["SELECT 1", "SET x = 'a;b'", "BEGIN"]);
    assert!(parse("").unwrap().is_empty() && parse(" ; -- nothing\n").unwrap().is_empty());
    assert_eq!(parse("SELECT $2, $11").unwrap()[0].parameter_count, 11);
}

#[test]
fn operators_end_where_postgresql_ends_them() {
    let shown = |sql: &str| match &parse(sql).unwrap()[0].statement {
        Statement::Query(query) => query.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(
        shown("SELECT * FROM t WHERE x>-5 AND x<-5 AND x>=-1 AND x<>-1 AND x=-1"),
        "SELECT * FROM t WHERE x > -5 AND x < -5 AND x >= -1 AND x <> -1 AND x = -1"
    );
    assert_eq!(shown("SELECT a <+> b AS d"), "SELECT l1_distance(a, b) AS d");
    assert_eq!(shown("SELECT a < + b AS d"), "SELECT a < +b AS d");
    assert_eq!(shown("SELECT 'a'\n 'b' AS d"), "SELECT 'ab' AS d");
    assert_eq!(shown("SELECT a FROM ONLY t"), "SELECT a FROM t");
    assert!(parse("SELECT 'a' 'b'").is_err());
    let long = "x".repeat(100);
    assert_eq!(shown(&format!("SELECT {long}")), format!("SELECT {}", "x".repeat(63)));
}

#[test]
fn a_short_statement_takes_microseconds() {
    let sql = "SELECT id, name FROM items WHERE tag = $1 ORDER BY embedding <-> $2 LIMIT 10";
    let start = Instant::now();
    for _ in 0..2_000 {
        parse(sql).unwrap();
    }
    let each = start.elapsed() / 2_000;
    println!("{each:?} a statement");
    assert!(each < Duration::from_micros(500), "{each:?}");
}

fn word() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "SELECT",
        "FROM",
        "WHERE",
        "(",
        ")",
        "[",
        "]",
        ",",
        ";",
        "1",
        "'a'",
        "$1",
        "a",
        "\"b\"",
        "::",
        "int",
        "vector",
        "+",
        "-",
        "*",
        "<->",
        "<=>",
        "<+>",
        "=",
        "ANY",
        "ARRAY",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "INSERT",
        "INTO",
        "VALUES",
        "DEFAULT",
        "ON",
        "CONFLICT",
        "DO",
        "UPDATE",
        "SET",
        "NOTHING",
        "RETURNING",
        "CREATE",
        "TABLE",
        "INDEX",
        "USING",
        "hnsw",
        "WITH",
        "AS",
        "COPY",
        "STDIN",
        "TO",
        "STDOUT",
        "BINARY",
        "CSV",
        "DELETE",
        "ALTER",
        "ADD",
        "COLUMN",
        "DROP",
        "IF",
        "EXISTS",
        "NOT",
        "NULL",
        "PRIMARY",
        "KEY",
        "CHECK",
        "UNIQUE",
        "EXPLAIN",
        "ANALYZE",
        "SHOW",
        "ALL",
        "BEGIN",
        "COMMIT",
        "FETCH",
        "ORDER",
        "BY",
        "LIMIT",
        "JOIN",
        "LATERAL",
        "INTERVAL",
        "'1 day'",
        "DATE",
        "IS",
        "DISTINCT",
        "OPERATOR",
        ".",
        "pg_catalog",
        "COLLATE",
        "IN",
        "LIKE",
        "AND",
        "OR",
        "UNION",
        "->>",
        "@>",
        "?",
        "~",
        "!",
        ":",
        "{",
        "\\",
        "/*",
        "--\n",
        "$$",
        "E'\\'",
        "timestamp",
        "zone",
        "at",
        "time",
        "PREPARE",
        "EXECUTE",
        "DECLARE",
        "CURSOR",
        "FOR",
        "é",
        "0x1",
        "1e5",
        ".5",
        "<",
        ">",
        "::text[]",
        "GENERATED",
        "ALWAYS",
        "IDENTITY",
        "OVERRIDING",
        "only",
    ];
    prop_oneof![9 => prop::sample::select(WORDS).prop_map(str::to_owned), 1 => ".{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn random_tokens_never_panic(words in prop::collection::vec(word(), 0..40)) {
        let sql = words.join(" ");
        let start = Instant::now();
        let _ = parse(&sql);
        prop_assert!(start.elapsed() < Duration::from_secs(1), "{sql}");
        let _ = parse(&words.concat());
    }

    #[test]
    fn random_text_never_panics(sql in "\\PC{0,80}") {
        let _ = parse(&sql);
        let _ = parse(&format!("SELECT {sql}"));
    }
}
