//! Columns computed from the others of their row: what is left of them after a crash, and rows by the thousand.

use lodedb_sql::{Datum, ScalarType};

use super::check;
use super::shell::Shell;

const ROWS: &str = "SELECT id, twice, v FROM t ORDER BY id";
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, twice int GENERATED ALWAYS AS (n * 2) STORED, \
                     v vector(2) GENERATED ALWAYS AS (ARRAY[n, 1]::vector) STORED, note text)";

fn made() -> Shell {
    let mut shell = Shell::new();
    check(&mut shell, &[(TABLE, "CREATE TABLE"), ("INSERT INTO t VALUES (1, 5), (2, 6)", "INSERT 0 2")]);
    shell
}

/// A computed column is one: nothing can be given for it, and changes are followed.
fn check_computed(shell: &mut Shell, id: u32) {
    let insert = format!("INSERT INTO t (id, n) VALUES ({id}, {id})");
    let update = format!("UPDATE t SET n = n + 1 WHERE id = {id} RETURNING twice, v");
    let answer = format!("twice:integer|v:vector\n{}|[{},1]\nUPDATE 1", 2 * id + 2, id + 1);
    let given = "ERROR 428C9: cannot insert a non-DEFAULT value into column \"twice\"\nDETAIL: Column \"twice\" is a generated column.";
    check(
        shell,
        &[
            (&insert, "INSERT 0 1"),
            (&update, &answer),
            ("INSERT INTO t (id, n, twice) VALUES (0, 1, 2)", given),
            (&format!("DELETE FROM t WHERE id = {id}"), "DELETE 1"),
        ],
    );
}

#[test]
fn a_computed_column_is_known_after_a_crash_and_after_a_checkpoint() {
    let mut shell = made();
    let rows = "id:integer|twice:integer|v:vector\n1|10|[5,1]\n2|12|[6,1]";
    check(&mut shell, &[(ROWS, rows)]);
    let mut crashed = shell.crash();
    check(&mut crashed, &[(ROWS, rows)]);
    check_computed(&mut crashed, 7);
    crashed.checkpoint();
    let mut again = crashed.crash();
    check(&mut again, &[(ROWS, rows)]);
    check_computed(&mut again, 8);
    check(&mut again, &[("ALTER TABLE t ALTER twice DROP EXPRESSION", "ALTER TABLE")]);
    let free =
        [("INSERT INTO t (id, n, twice) VALUES (3, 3, 3)", "INSERT 0 1"), ("DELETE FROM t WHERE id = 3", "DELETE 1")];
    check(&mut again.crash(), &free);
    again.checkpoint();
    check(&mut again.crash(), &free);
}

#[test]
fn thousands_of_rows_are_computed_and_staged() {
    let mut shell = made();
    let many = "INSERT INTO t (id, n) SELECT i, i FROM generate_series(100, 20099) i";
    let found = [
        ("SELECT count(*), sum(twice) FROM t WHERE id >= 100", "count:bigint|sum:bigint\n20000|403980000"),
        ("SELECT id FROM t ORDER BY v <-> '[17000,1]' LIMIT 2", "id:integer\n17000\n16999"),
    ];
    check(&mut shell, &[(many, "INSERT 0 20000")]);
    check(&mut shell, &found);
    let mut crashed = shell.crash();
    check(&mut crashed, &found);
    check(
        &mut crashed,
        &[
            ("UPDATE t SET n = n + 1 WHERE id >= 100", "UPDATE 20000"),
            ("SELECT count(*), sum(twice) FROM t WHERE id >= 100", "count:bigint|sum:bigint\n20000|404020000"),
            ("SELECT id FROM t ORDER BY v <-> '[17000,1]' LIMIT 2", "id:integer\n16999\n16998"),
        ],
    );
}

#[test]
fn the_row_that_cannot_be_computed_fails_its_statement() {
    let mut shell = Shell::new();
    let table =
        "CREATE TABLE t (id int NOT NULL, share int GENERATED ALWAYS AS (100 / (id - 900)) STORED CHECK (share <> 5))";
    let from = |from: u32, to: u32| format!("INSERT INTO t SELECT i FROM generate_series({from}, {to}) i");
    let zero = "ERROR 22012: division by zero";
    check(
        &mut shell,
        &[
            (table, "CREATE TABLE"),
            (&from(0, 899), "INSERT 0 900"),
            (&from(800, 1500), zero),
            (
                // The row that breaks the CHECK comes before the one that cannot be computed.
                "INSERT INTO t SELECT 920 - i FROM generate_series(0, 100) i",
                "ERROR 23514: new row for relation \"t\" violates check constraint \"t_share_check\"\nDETAIL: Failing row contains (920, 5).",
            ),
            ("UPDATE t SET id = id + 1", zero),
            ("SELECT count(*), sum(share) FROM t WHERE id = 0", "count:bigint|sum:bigint\n1|0"),
        ],
    );
}

#[test]
fn a_statement_made_ready_before_a_column_changes_sees_it_change() {
    let mut shell = made();
    let int = Some(ScalarType::Int4.into());
    let update = "UPDATE t SET n = n + $1 WHERE id = 1";
    assert_eq!(shell.ask_with(update, &[int], vec![Datum::Int4(1)]), "UPDATE 1");
    check(
        &mut shell,
        &[
            ("PREPARE note AS UPDATE t SET note = $1 WHERE id = 1", "PREPARE"),
            ("PREPARE add AS INSERT INTO t (id, n) VALUES ($1, $2)", "PREPARE"),
            ("EXECUTE note('x')", "UPDATE 1"),
            ("EXECUTE add(3, 4)", "INSERT 0 1"),
            ("SELECT id, twice FROM t ORDER BY id", "id:integer|twice:integer\n1|12\n2|12\n3|8"),
            ("ALTER TABLE t ALTER twice DROP EXPRESSION", "ALTER TABLE"),
            ("EXECUTE note('y')", "UPDATE 1"),
            ("EXECUTE add(4, 5)", "INSERT 0 1"),
            (
                "SELECT id, twice, v FROM t WHERE id IN (1, 4) ORDER BY id",
                "id:integer|twice:integer|v:vector\n1|12|[6,1]\n4|NULL|[5,1]",
            ),
        ],
    );
}
