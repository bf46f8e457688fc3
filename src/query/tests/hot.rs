//! The hot road answers as the planned road does.

use lodedb_sql::{Datum, PgType, ScalarType};

use super::{Shell, check};

/// A condition that keeps a statement off the hot road and changes nothing.
const PLANNED: &str = "(id + 0 = id)";

fn filled() -> Shell {
    let mut shell = Shell::new();
    check(
        &mut shell,
        &[
            ("CREATE TABLE t (id int PRIMARY KEY, name text, n bigint, v vector(2))", "CREATE TABLE"),
            (
                "INSERT INTO t SELECT i, 'n' || i, i * 10, ARRAY[i, i % 7] FROM generate_series(1, 200) i",
                "INSERT 0 200",
            ),
        ],
    );
    shell
}

#[test]
fn look_ups_answer_alike() {
    let mut shell = filled();
    for columns in ["*", "id", "name, n", "t.name AS other, id", "v, id, id"] {
        for value in ["1", "77", "-3", "'12'", "5000000000", "NULL"] {
            let hot = shell.ask(&format!("SELECT {columns} FROM t WHERE id = {value}"));
            let planned = shell.ask(&format!("SELECT {columns} FROM t WHERE id = {value} AND {PLANNED}"));
            assert_eq!(hot, planned, "{columns} where id = {value}");
        }
    }
}

#[test]
fn searches_answer_alike() {
    let mut shell = filled();
    for metric in ["<->", "<#>", "<=>", "<+>"] {
        for condition in ["true", "n > 500", "name = 'n9'", "id IN (3, 4, 5)", "n > 500 AND id < 100"] {
            let list = "SELECT id FROM t";
            let hot = shell.ask(&format!("{list} WHERE {condition} ORDER BY v {metric} '[3,2]' LIMIT 5"));
            let planned =
                shell.ask(&format!("{list} WHERE {condition} AND {PLANNED} ORDER BY v {metric} '[3,2]', id LIMIT 5"));
            assert_eq!(hot, planned, "{metric} where {condition}");
        }
    }
}

#[test]
fn parameters_are_typed_by_what_they_stand_beside() {
    let mut shell = filled();
    let text = shell.ask_with("SELECT name FROM t WHERE id = $1", &[], vec![Datum::Int4(5)]);
    assert_eq!(text, "name:text\nn5");
    let wide = Some(PgType::Scalar(ScalarType::Int8));
    let text = shell.ask_with("SELECT name FROM t WHERE id = $1", &[wide], vec![Datum::Int8(1 << 40)]);
    assert_eq!(text, "name:text");
    let query = Datum::Vector([200.0, 4.0].into());
    let text = shell.ask_with("SELECT id FROM t ORDER BY v <-> $1 LIMIT $2", &[], vec![query, Datum::Int8(1)]);
    assert_eq!(text, "id:integer\n200");
}

#[test]
fn writes_by_key_answer_alike() {
    let mut shell = filled();
    check(
        &mut shell,
        &[
            (
                "UPDATE t SET n = n + 1, name = 'x' WHERE id = 3 RETURNING id, n, name",
                "id:integer|n:bigint|name:text\n3|31|x\nUPDATE 1",
            ),
            ("UPDATE t SET n = 9223372036854775807 WHERE id = 3", "UPDATE 1"),
            ("UPDATE t SET n = n + 1 WHERE id = 3", "ERROR 22003: bigint out of range"),
            ("UPDATE t SET n = 1 WHERE id = 999", "UPDATE 0"),
            ("DELETE FROM t WHERE id = 4 RETURNING name", "name:text\nn4\nDELETE 1"),
            ("DELETE FROM t WHERE id = 4", "DELETE 0"),
            (
                "INSERT INTO t (id, name) VALUES (4, 'again'), (301, DEFAULT) RETURNING id",
                "id:integer\n4\n301\nINSERT 0 2",
            ),
            (
                "INSERT INTO t (id) VALUES (4)",
                "ERROR 23505: duplicate key value violates unique constraint \"t_pkey\"\nDETAIL: Key (id)=(4) already exists.",
            ),
            ("SELECT name FROM t WHERE id = 4", "name:text\nagain"),
        ],
    );
}

#[test]
fn the_start_of_the_transaction_is_one_moment() {
    let mut shell = Shell::new();
    check(
        &mut shell,
        &[
            ("CREATE TABLE m (id int PRIMARY KEY, z timestamptz, p timestamp(0), d date)", "CREATE TABLE"),
            ("SET TIME ZONE 'Asia/Tokyo'", "SET"),
            ("BEGIN", "BEGIN"),
            ("INSERT INTO m VALUES (1, CURRENT_TIMESTAMP, now(), transaction_timestamp())", "INSERT 0 1"),
            ("INSERT INTO m SELECT 2, now(), now(), now()", "INSERT 0 1"),
            ("INSERT INTO m VALUES (3, '2000-01-01', '2000-01-01', '2000-01-01')", "INSERT 0 1"),
            ("UPDATE m SET z = now(), p = CURRENT_TIMESTAMP, d = now() WHERE id = 3", "UPDATE 1"),
            ("SELECT count(*) FROM (SELECT DISTINCT z, p, d FROM m) AS moments", "count:bigint\n1"),
            (
                "SELECT bool_and(z = now() AND p = now()::timestamp(0) AND d = now()::date) FROM m",
                "bool_and:boolean\nt",
            ),
            ("COMMIT", "COMMIT"),
        ],
    );
}
