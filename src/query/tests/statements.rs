//! What statements answer on the planned road.

use super::{Shell, check};

fn with_items() -> Shell {
    let mut shell = Shell::new();
    check(
        &mut shell,
        &[
            (
                "CREATE TABLE t (id bigserial PRIMARY KEY, name text NOT NULL, n int, v vector(3), CHECK (n > 0))",
                "CREATE TABLE",
            ),
            (
                "INSERT INTO t (name, n, v) VALUES ('a', 1, '[1,2,3]'), ('b', 2, '[4,5,6]'), ('c', 3, NULL)",
                "INSERT 0 3",
            ),
        ],
    );
    shell
}

#[test]
fn columns_are_named_and_typed_as_in_postgresql() {
    check(
        &mut Shell::new(),
        &[
            ("SELECT 1, 'a', true, NULL", "?column?:integer|?column?:text|bool:boolean|?column?:text\n1|a|t|NULL"),
            ("SELECT 2147483647 + 1", "ERROR 22003: integer out of range"),
            ("SELECT count(*), count(*) FROM pg_class WHERE false", "count:bigint|count:bigint\n0|0"),
        ],
    );
}

#[test]
fn neighbours_come_by_distance_and_rows_without_a_vector_last() {
    let mut shell = with_items();
    check(
        &mut shell,
        &[
            ("SELECT id FROM t ORDER BY v <-> '[9,9,9]' LIMIT 1", "id:bigint\n2"),
            ("SELECT id FROM t ORDER BY v <-> '[0,0,0]' LIMIT 3", "id:bigint\n1\n2\n3"),
            (
                "SELECT id, v <-> '[9,9,9]' AS d FROM t ORDER BY d LIMIT 1",
                "id:bigint|d:double precision\n2|7.0710678118654755",
            ),
            ("SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE name = 'b') LIMIT 1", "id:bigint\n2"),
            ("SELECT id FROM t WHERE n < 2 ORDER BY v <-> '[9,9,9]' LIMIT 2", "id:bigint\n1"),
            (
                "SELECT q.id, x.id FROM t q, LATERAL (SELECT id FROM t WHERE id <> q.id ORDER BY v <-> q.v LIMIT 1) x ORDER BY 1",
                "id:bigint|id:bigint\n1|2\n2|1\n3|1",
            ),
            ("SELECT id FROM t ORDER BY v <-> '[1,2]' LIMIT 1", "ERROR 22000: different vector dimensions 3 and 2"),
        ],
    );
}

#[test]
fn rows_of_the_open_transaction_are_among_the_neighbours() {
    let mut shell = with_items();
    check(
        &mut shell,
        &[
            ("BEGIN", "BEGIN"),
            ("INSERT INTO t (name, n, v) VALUES ('near', 4, '[9,9,9]')", "INSERT 0 1"),
            ("DELETE FROM t WHERE name = 'b'", "DELETE 1"),
            ("SELECT name FROM t ORDER BY v <-> '[9,9,9]' LIMIT 2", "name:text\nnear\na"),
            ("ROLLBACK", "ROLLBACK"),
            ("SELECT name FROM t ORDER BY v <-> '[9,9,9]' LIMIT 1", "name:text\nb"),
        ],
    );
}

#[test]
fn conflicts_are_settled_as_asked() {
    let mut shell = with_items();
    check(
        &mut shell,
        &[
            (
                "INSERT INTO t (id, name, n) VALUES (2, 'x', 5) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, n = t.n + 1 RETURNING name, n",
                "name:text|n:integer\nx|3\nINSERT 0 1",
            ),
            ("INSERT INTO t (id, name) VALUES (2, 'y') ON CONFLICT DO NOTHING", "INSERT 0 0"),
            (
                "INSERT INTO t (id, name) VALUES (2, 'y')",
                "ERROR 23505: duplicate key value violates unique constraint \"t_pkey\"\nDETAIL: Key (id)=(2) already exists.",
            ),
            (
                "INSERT INTO t (id, name) VALUES (7, 'q'), (7, 'r') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                "ERROR 21000: ON CONFLICT DO UPDATE command cannot affect row a second time\nHINT: Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            ),
        ],
    );
}

#[test]
fn refused_rows_are_shown() {
    let mut shell = with_items();
    check(
        &mut shell,
        &[
            (
                "INSERT INTO t (id, name, n) VALUES (9, 'x', -5)",
                "ERROR 23514: new row for relation \"t\" violates check constraint \"t_n_check\"\nDETAIL: Failing row contains (9, x, -5, null).",
            ),
            (
                "INSERT INTO t (id, name, n) VALUES (9, NULL, 5)",
                "ERROR 23502: null value in column \"name\" of relation \"t\" violates not-null constraint\nDETAIL: Failing row contains (9, null, 5, null).",
            ),
            (
                "INSERT INTO t (name, n) VALUES ('q', true)",
                "ERROR 42804: column \"n\" is of type integer but expression is of type boolean\nHINT: You will need to rewrite or cast the expression.\nat 22",
            ),
        ],
    );
}

#[test]
fn returning_sees_the_tables_beside() {
    let mut shell = with_items();
    check(
        &mut shell,
        &[
            (
                "UPDATE t SET name = 'u' || x.i FROM generate_series(1, 1) x(i) WHERE t.n = x.i RETURNING t.id, x.i, name",
                "id:bigint|i:integer|name:text\n1|1|u1\nUPDATE 1",
            ),
            ("DELETE FROM t USING generate_series(2, 3) i WHERE t.n = i RETURNING t.id", "id:bigint\n2\n3\nDELETE 2"),
        ],
    );
}

#[test]
fn subqueries_run_for_each_row_where_they_must() {
    let mut shell = with_items();
    check(
        &mut shell,
        &[
            (
                "SELECT id, (SELECT u.id FROM t u WHERE u.n <= t.n ORDER BY u.id DESC LIMIT 1) FROM t ORDER BY 1",
                "id:bigint|id:bigint\n1|1\n2|2\n3|3",
            ),
            (
                "SELECT id, EXISTS (SELECT 1 FROM t u WHERE u.id > t.id) FROM t ORDER BY id",
                "id:bigint|exists:boolean\n1|t\n2|t\n3|f",
            ),
            (
                "SELECT (SELECT id FROM t)",
                "ERROR 21000: more than one row returned by a subquery used as an expression",
            ),
        ],
    );
}
