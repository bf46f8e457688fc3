//! Expressions as they come out, in the parser's own writing.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::statement::Statement;
use crate::types::ScalarType;

fn rewritten(sql: &str) -> String {
    match crate::parse(sql).unwrap().remove(0).statement {
        Statement::Query(query) => query.to_string(),
        other => format!("{other:?}"),
    }
}

/// What becomes of one expression.
fn expression(sql: &str) -> String {
    let whole = rewritten(&format!("SELECT {sql} AS x"));
    whole.trim_start_matches("SELECT ").trim_end_matches(" AS x").to_owned()
}

#[test]
fn casts_become_calls() {
    for (sql, expected) in [
        ("x::int", "pg_cast(x, 23, -1)"),
        ("CAST($1 AS vector(3))", "pg_cast($1, 16385, 3)"),
        ("NULL::text", "pg_cast(NULL, 25, -1)"),
        ("vector '[1,2]'", "pg_cast('[1,2]', 16385, -1)"),
        ("DATE '2020-01-01'", "pg_cast('2020-01-01', 1082, -1)"),
        ("INTERVAL '1 day'", "pg_cast('1 day', 1186, -1)"),
        ("INTERVAL '3' HOUR", "pg_cast('3 hour', 1186, -1)"),
        ("x::text[]", "pg_cast(x, 1009, -1)"),
        ("x::varchar(10)", "pg_cast(x, 1043, 14)"),
        ("'t'::regclass::oid", "pg_cast(pg_cast('t', 2205, -1), 26, -1)"),
        ("x::\"char\"", "pg_cast(x, 18, -1)"),
        ("x::pg_catalog.int4", "pg_cast(x, 23, -1)"),
        ("x::timestamp with time zone", "pg_cast(x, 1184, -1)"),
        ("-1::int", "-pg_cast(1, 23, -1)"),
    ] {
        assert_eq!(expression(sql), expected, "{sql}");
    }
    assert_eq!(crate::parse("SELECT x::nosuch").unwrap_err().message(), "type \"nosuch\" does not exist");
    assert!(crate::parse("SELECT x::vector(0)").is_err() && crate::parse("SELECT x::vector(16001)").is_err());
}

#[test]
fn a_cast_is_read_back() {
    let ty = TypeWithModifier { ty: PgType::Scalar(ScalarType::Vector), modifier: -1 };
    let value = Expr::Value(Value::Placeholder("$1".into()).with_empty_span());
    assert_eq!(as_cast(&cast(value.clone(), ty, Span::empty())), Some((&value, ty)));
    assert_eq!(as_cast(&value), None);
}

#[test]
fn distances_bind_as_postgresql_binds_them() {
    for (sql, expected) in [
        ("a <=> b < 0.5", "cosine_distance(a, b) < 0.5"),
        ("a <-> b + c", "l2_distance(a, b + c)"),
        ("a <#> b * -1", "vector_negative_inner_product(a, b * -1)"),
        ("1 - (a <=> b)", "1 - (cosine_distance(a, b))"),
        ("a <+> b <= 1 AND c", "l1_distance(a, b) <= 1 AND c"),
        ("a <-> $1::vector", "l2_distance(a, pg_cast($1, 16385, -1))"),
        ("a OPERATOR(public.<->) b", "l2_distance(a, b)"),
        ("a ~ b || c", "a ~ b || c"),
        ("a = b ~ c", "a = b ~ c"),
    ] {
        assert_eq!(expression(sql), expected, "{sql}");
    }
}

#[test]
fn the_rest_of_the_table_holds() {
    for (sql, expected) in [
        ("a -> 'b' ->> 'c'", "json_get_text(json_get(a, 'b'), 'c')"),
        ("a @> '{}' AND a ? 'k'", "contains_op(a, '{}') AND json_exists(a, 'k')"),
        ("x = ANY($1)", "pg_any_eq(x, $1)"),
        ("x <> ALL(ARRAY[1, 2])", "pg_all_ne(x, ARRAY[1, 2])"),
        ("x OPERATOR(pg_catalog.=) ANY (ARRAY['r'])", "pg_any_eq(x, ARRAY['r'])"),
        ("x = ANY(SELECT 1 AS y)", "x IN (SELECT 1 AS y)"),
        ("x OPERATOR(pg_catalog.~) 'p' COLLATE pg_catalog.default", "x ~ 'p'"),
        ("pg_catalog.version()", "version()"),
        ("x AT TIME ZONE 'UTC'", "timezone('UTC', x)"),
        ("E'a\\tb'", "'a\tb'"),
        ("$tag$it's$tag$", "'it''s'"),
        ("a IS DISTINCT FROM b AND c", "a IS DISTINCT FROM b AND c"),
        ("2 ^ 3", "power(2, 3)"),
    ] {
        assert_eq!(expression(sql), expected, "{sql}");
    }
    assert_eq!(rewritten("SELECT a FROM t FETCH FIRST 3 ROWS ONLY"), "SELECT a FROM t LIMIT 3");
    assert_eq!(
        expression("ARRAY(SELECT a FROM t ORDER BY b)"),
        "(SELECT pg_array_or_empty(array_agg(a ORDER BY b)) FROM t)"
    );
}

#[test]
fn is_distinct_from_takes_no_more_than_its_operand() {
    let Statement::Query(query) = crate::parse("SELECT a IS DISTINCT FROM b AND c AS x").unwrap().remove(0).statement
    else {
        panic!("not a query");
    };
    let sqlparser::ast::SetExpr::Select(select) = *query.body else { panic!("not a select") };
    let SelectItem::ExprWithAlias { expr: Expr::BinaryOp { op, .. }, .. } = &select.projection[0] else {
        panic!("AND is not on top");
    };
    assert_eq!(*op, sqlparser::ast::BinaryOperator::And);
}

#[test]
fn columns_are_named_as_postgresql_names_them() {
    let named = rewritten("SELECT x::int, 'a'::text, 1 + 1, lower(x), count(*), a <-> b, t.a, a, true, 2 + 2");
    assert_eq!(
        named,
        "SELECT pg_cast(x, 23, -1) AS \"x\", pg_cast('a', 25, -1) AS \"text\", 1 + 1 AS \"?column?\", \
         lower(x) AS \"lower\", count(*) AS \"count\", l2_distance(a, b) AS \"?column?\u{1}5\", t.a, a, \
         true AS \"bool\", 2 + 2 AS \"?column?\u{1}9\""
    );
    assert_eq!(visible_name("?column?\u{1}9"), "?column?");
}

#[test]
fn names_in_expressions_of_order_by_are_those_of_columns() {
    for (sql, wanted) in [
        ("SELECT -a AS a FROM t ORDER BY abs(a), a", "SELECT -a AS \"a\u{1}0\" FROM t ORDER BY abs(a), \"a\u{1}0\""),
        ("SELECT -a AS a FROM t ORDER BY (a)", "SELECT -a AS a FROM t ORDER BY (a)"),
        ("SELECT a FROM t ORDER BY a + 1, a", "SELECT a FROM t ORDER BY a + 1, a"),
        ("SELECT -a AS a FROM t ORDER BY t.a", "SELECT -a AS \"a\u{1}0\" FROM t ORDER BY t.a"),
        ("SELECT -a AS a FROM t GROUP BY a HAVING a > 1", "SELECT -a AS \"a\u{1}0\" FROM t GROUP BY a HAVING a > 1"),
        (
            "SELECT DISTINCT f(a) FROM t ORDER BY f(a)",
            "SELECT DISTINCT f(a) AS \"f\u{1}0\" FROM t ORDER BY \"f\u{1}0\"",
        ),
        (
            "SELECT -a AS a FROM t UNION SELECT b FROM t ORDER BY a",
            "SELECT -a AS a FROM t UNION SELECT b FROM t ORDER BY 1",
        ),
        (
            "SELECT s.a FROM (SELECT -a AS a FROM t ORDER BY abs(a)) AS s",
            "SELECT s.a FROM (SELECT -a AS \"a\u{1}0\" FROM t ORDER BY abs(a)) AS s (\"a\")",
        ),
    ] {
        assert_eq!(rewritten(sql), wanted, "{sql}");
    }
    assert_eq!(
        crate::parse("SELECT a FROM t UNION SELECT b FROM t ORDER BY a + 1").unwrap_err().state().code(),
        "0A000"
    );
}

#[test]
fn what_nothing_behind_would_honour_is_refused() {
    for sql in [
        "SELECT * FROM (SELECT * FROM t FOR UPDATE) AS s",
        "WITH x AS (SELECT * FROM t FOR SHARE) SELECT * FROM x",
        "SELECT * INTO u FROM t",
        "SELECT * FROM t TABLESAMPLE SYSTEM (10)",
        "SELECT a COLLATE \"de_DE\" FROM t",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
    ] {
        assert_eq!(crate::parse(sql).unwrap_err().state().code(), "0A000", "{sql}");
    }
    for sql in ["SELECT [1, 2]", "SELECT :x", "SELECT {a: 1}", "SELECT a FROM t LIMIT 1, 2"] {
        assert_eq!(crate::parse(sql).unwrap_err().state().code(), "42601", "{sql}");
    }
}
