//! Statements that insert more than a mutable segment holds: their rows are in files before the commit.

use super::check;
use super::shell::Shell;

const SUMS: &str = "SELECT count(*), sum(n), count(v) FROM t";

fn empty() -> Shell {
    let mut shell = Shell::new();
    check(
        &mut shell,
        &[
            ("CREATE TABLE t (id int PRIMARY KEY, name text, n bigint, v vector(2))", "CREATE TABLE"),
            ("CREATE INDEX t_name ON t (name)", "CREATE INDEX"),
            ("INSERT INTO t VALUES (0, 'first', 0, '[0,0]')", "INSERT 0 1"),
        ],
    );
    shell
}

fn insert(from: u32, to: u32) -> String {
    format!(
        "INSERT INTO t SELECT i, 'n' || i, i, CASE WHEN i % 10 > 0 THEN ARRAY[i, i % 7]::vector END
         FROM generate_series({from}, {to}) i"
    )
}

/// Folders of segments on disk.
fn folders(shell: &Shell) -> usize {
    let tables = std::fs::read_dir(shell.directory().join("segments")).unwrap();
    tables.map(|table| std::fs::read_dir(table.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn a_transaction_reads_and_changes_its_own_staged_rows() {
    let mut shell = empty();
    check(
        &mut shell,
        &[
            ("BEGIN", "BEGIN"),
            (&insert(1, 1000), "INSERT 0 1000"),
            (SUMS, "count:bigint|sum:numeric|count:bigint\n1001|500500|901"),
            ("SELECT id FROM t WHERE name = 'n777'", "id:integer\n777"),
            ("SELECT n FROM t WHERE id = 130", "n:bigint\n130"),
            ("SELECT id FROM t ORDER BY v <-> '[502,5]' LIMIT 2", "id:integer\n502\n501"),
            (
                "INSERT INTO t VALUES (500, 'again', 0, NULL)",
                "ERROR 23505: duplicate key value violates unique constraint \"t_pkey\"\nDETAIL: Key (id)=(500) already exists.",
            ),
            ("ROLLBACK", "ROLLBACK"),
            (SUMS, "count:bigint|sum:numeric|count:bigint\n1|0|1"),
            ("BEGIN", "BEGIN"),
            (&insert(1, 1000), "INSERT 0 1000"),
            ("UPDATE t SET n = -1 WHERE id = 10", "UPDATE 1"),
            ("UPDATE t SET v = '[9000,0]', id = 2000 WHERE id = 20", "UPDATE 1"),
            ("DELETE FROM t WHERE id BETWEEN 30 AND 39", "DELETE 10"),
            (&insert(1001, 1500), "INSERT 0 500"),
            ("COMMIT", "COMMIT"),
        ],
    );
    let after = [
        (SUMS, "count:bigint|sum:numeric|count:bigint\n1491|1125394|1343"),
        (
            "SELECT id, n FROM t WHERE id IN (10, 20, 35, 2000, 1499) ORDER BY id",
            "id:integer|n:bigint\n10|-1\n1499|1499\n2000|20",
        ),
        ("SELECT id FROM t ORDER BY v <-> '[9000,0]' LIMIT 1", "id:integer\n2000"),
        ("SELECT id FROM t ORDER BY v <-> '[35,0]' LIMIT 1", "id:integer\n29"),
        ("SELECT id FROM t WHERE n > 1490 AND n < 1493 ORDER BY v <-> '[0,0]' LIMIT 5", "id:integer\n1491\n1492"),
        ("SELECT name FROM t WHERE id = 777", "name:text\nn777"),
    ];
    check(&mut shell, &after);
    shell.settle();
    check(&mut shell, &after);
    // What is on the disk without anything being closed.
    let mut crashed = shell.crash();
    check(&mut crashed, &after);
    check(&mut crashed, &[(&insert(3001, 4000), "INSERT 0 1000"), ("DELETE FROM t WHERE id > 3000", "DELETE 1000")]);
    let mut again = crashed.crash();
    check(&mut again, &after);
    again.checkpoint();
    check(&mut again.crash(), &after);
}

#[test]
fn a_failed_statement_leaves_no_file_and_no_row() {
    let mut shell = empty();
    let before = folders(&shell);
    let duplicate =
        "ERROR 23505: duplicate key value violates unique constraint \"t_pkey\"\nDETAIL: Key (id)=(0) already exists.";
    check(
        &mut shell,
        &[
            (&insert(1, 1000).replace("SELECT i,", "SELECT (i + 1) % 1000,"), duplicate),
            (SUMS, "count:bigint|sum:numeric|count:bigint\n1|0|1"),
        ],
    );
    assert_eq!(folders(&shell), before);
    check(
        &mut shell,
        &[(&insert(1, 1000), "INSERT 0 1000"), (SUMS, "count:bigint|sum:numeric|count:bigint\n1001|500500|901")],
    );
}

#[test]
fn staged_rows_after_a_truncate_in_the_same_transaction_stay() {
    let mut shell = empty();
    check(
        &mut shell,
        &[
            (&insert(1, 1000), "INSERT 0 1000"),
            ("BEGIN", "BEGIN"),
            ("TRUNCATE t", "TRUNCATE TABLE"),
            (&insert(1, 500), "INSERT 0 500"),
            ("COMMIT", "COMMIT"),
            (SUMS, "count:bigint|sum:numeric|count:bigint\n500|125250|450"),
        ],
    );
    check(
        &mut shell.crash(),
        &[
            (SUMS, "count:bigint|sum:numeric|count:bigint\n500|125250|450"),
            ("SELECT count(*) FROM t WHERE name >= 'n'", "count:bigint\n500"),
            ("INSERT INTO t VALUES (501, 'x', 0, NULL), (0, 'y', 0, NULL)", "INSERT 0 2"),
        ],
    );
}

#[test]
fn a_table_without_vectors_stages_rows_alone() {
    let mut shell = Shell::new();
    check(
        &mut shell,
        &[
            ("CREATE TABLE p (id int PRIMARY KEY, name text)", "CREATE TABLE"),
            ("INSERT INTO p SELECT i, 'n' || i FROM generate_series(1, 2000) i", "INSERT 0 2000"),
        ],
    );
    let mut crashed = shell.crash();
    check(
        &mut crashed,
        &[
            ("SELECT count(*), sum(id) FROM p", "count:bigint|sum:bigint\n2000|2001000"),
            ("SELECT name FROM p WHERE id = 1999", "name:text\nn1999"),
        ],
    );
    crashed.checkpoint();
    check(&mut crashed, &[("INSERT INTO p VALUES (2001, 'last')", "INSERT 0 1")]);
    crashed.checkpoint();
    assert_eq!(folders(&crashed), 0, "the file of rows goes with the log that needs it");
    check(&mut crashed.crash(), &[("SELECT count(*) FROM p", "count:bigint\n2001")]);
}
