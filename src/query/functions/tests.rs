//! Tests of the functions: expressions through DataFusion, against what PostgreSQL 15 answers.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datafusion::execution::SessionStateDefaults;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::sqlparser::ast::Statement as SyntaxTree;
use lodedb_sql::error::Result;
use lodedb_sql::{ScalarType, SqlError, SqlState, Statement, TypeWithModifier};

use super::*;
use crate::catalog::{Catalog, Change, Column, Sequence, Table};
use crate::db::settings::{Environment, Settings};
use crate::query::arrow::{batches_to_rows, pg_type};

/// What PostgreSQL 15 answers: `expression → text form`, NULL as ∅ and line ends as ⏎.
const EXPRESSIONS: &str = include_str!("tests/expressions.txt");

#[derive(Default)]
struct Session {
    sequences: Mutex<BTreeMap<u32, i64>>,
    settings: Mutex<Vec<(String, Option<String>, bool)>>,
}

impl SequenceAccess for Session {
    fn next(&self, sequence: u32) -> Result<i64> {
        let mut values = self.sequences.lock().unwrap();
        let value = values.entry(sequence).or_insert(0);
        *value += 1;
        Ok(*value)
    }
    fn current(&self, sequence: u32) -> Result<i64> {
        let undefined = || SqlError::new(SqlState::ObjectNotInPrerequisiteState, "not yet defined");
        self.sequences.lock().unwrap().get(&sequence).copied().ok_or_else(undefined)
    }
    fn last(&self) -> Result<i64> {
        self.current(16_401)
    }
    fn set(&self, sequence: u32, value: i64, _called: bool) -> Result<i64> {
        self.sequences.lock().unwrap().insert(sequence, value);
        Ok(value)
    }
    fn peek(&self, sequence: u32) -> Option<(i64, bool)> {
        self.sequences.lock().unwrap().get(&sequence).map(|value| (*value, true))
    }
}

impl SettingAccess for Session {
    fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<String> {
        self.settings.lock().unwrap().push((name.to_owned(), value.map(str::to_owned), local));
        Ok(value.unwrap_or_default().to_owned())
    }
}

/// A catalog with one table, `t (id serial primary key, v vector(3))`, and its sequence.
fn catalog() -> Catalog {
    let column = |id, name: &str, ty| Column {
        id,
        name: name.to_owned(),
        ty,
        not_null: id == 1,
        default: (id == 1).then(|| "nextval('t_id_seq')".to_owned()),
        identity: None,
        presence: crate::catalog::Presence::Shown,
    };
    let mut catalog = Catalog::default();
    catalog.apply(&Change::PutTable(Table {
        id: 16_400,
        name: "t".to_owned(),
        columns: vec![
            column(1, "id", TypeWithModifier::plain(ScalarType::Int4)),
            column(2, "v", TypeWithModifier { ty: ScalarType::Vector.into(), modifier: 3 }),
        ],
        checks: Vec::new(),
    }));
    catalog.apply(&Change::PutSequence(Sequence {
        id: 16_401,
        name: "t_id_seq".to_owned(),
        start: 1,
        increment: 1,
        min: 1,
        max: i64::from(i32::MAX),
        owner: Some((16_400, 1)),
    }));
    catalog
}

/// A context as the planner makes one, with the scope of one statement.
pub(crate) fn context(catalog: Catalog, hooks: Hooks) -> SessionContext {
    let environment = Arc::new(Environment {
        user: "lodedb".to_owned(),
        session_user: "lodedb".to_owned(),
        role: crate::catalog::rights::BOOTSTRAP,
        login: (crate::catalog::rights::BOOTSTRAP, "lodedb".to_owned()),
        catalog: Arc::new(catalog.clone()),
        database: "postgres".to_owned(),
        session: 42,
        zone: chrono_tz::UTC,
        transaction_time_us: 1_700_000_000_000_000,
        statement_time_us: 1_700_000_001_000_000,
        settings: Arc::new(Settings::default()),
        hooks: hooks.clone(),
    });
    let mut config = SessionConfig::new().with_target_partitions(2).with_information_schema(false);
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    Scope { environment, catalog: Arc::new(catalog), hooks, vectors: Arc::default() }.install(config.options_mut());
    let planners = syntax_planner().into_iter().chain(SessionStateDefaults::default_expr_planners()).collect();
    let mut state =
        SessionStateBuilder::new().with_default_features().with_config(config).with_expr_planners(planners).build();
    register(&mut state).unwrap();
    SessionContext::new_with_state(state)
}

/// The rows of a query as text; NULL is ∅.
pub(crate) fn query(context: &SessionContext, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut statements = lodedb_sql::parse(sql)?;
    let Some(Statement::Query(query)) = statements.pop().map(|parsed| parsed.statement) else {
        return Err(SqlError::internal("not a query"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let run = async {
        let tree = PlannedStatement::Statement(Box::new(SyntaxTree::Query(query)));
        let plan = context.state().statement_to_plan(tree).await?;
        let frame = context.execute_logical_plan(plan).await?;
        let schema = frame.schema().as_arrow().clone();
        Ok((schema, frame.collect().await?))
    };
    let (schema, batches) = runtime.block_on(run).map_err(sql_error)?;
    let state = context.state();
    let scope = Scope::of(state.config_options())?;
    let types: Vec<_> = schema.fields().iter().map(|field| pg_type(field).ty).collect();
    let shown = |rows: Vec<Vec<lodedb_sql::Datum>>| {
        rows.into_iter()
            .map(|row| {
                row.iter()
                    .zip(&types)
                    .map(|(datum, ty)| match datum {
                        lodedb_sql::Datum::Null => "∅".to_owned(),
                        datum => system::text_of(Some(&scope.catalog), datum, *ty, chrono_tz::UTC),
                    })
                    .collect()
            })
            .collect()
    };
    Ok(shown(batches_to_rows(&batches)?))
}

fn one(sql: &str) -> Result<String> {
    let rows = query(&context(catalog(), Hooks::default()), sql)?;
    Ok(rows.into_iter().flatten().next().unwrap_or_default())
}

fn state_of(sql: &str) -> SqlState {
    match one(sql) {
        Ok(value) => panic!("{sql} gave {value}"),
        Err(error) => error.state(),
    }
}

#[test]
fn expressions_answer_as_postgresql_does() {
    let context = context(catalog(), Hooks::default());
    let mut wrong = Vec::new();
    for line in EXPRESSIONS.lines() {
        let (expression, expected) = line.split_once(" → ").unwrap();
        let answer = match query(&context, &format!("SELECT {expression}")) {
            Ok(rows) => rows.into_iter().flatten().next().unwrap_or_default().replace('\n', "⏎"),
            Err(error) => format!("{} {}", error.state().code(), error.message()),
        };
        if answer != expected {
            wrong.push(format!("{expression}\n  expected {expected}\n  answered {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), EXPRESSIONS.lines().count(), wrong.join("\n"));
}

#[test]
fn distances_run_over_columns_and_against_literals() {
    let from = "FROM (VALUES ('[1,2,3]'::vector), ('[4,5,6]'::vector), (NULL)) AS t(v)";
    let context = context(catalog(), Hooks::default());
    let column = |expression: &str| {
        let rows = query(&context, &format!("SELECT {expression} {from}")).unwrap();
        rows.into_iter().flatten().collect::<Vec<_>>()
    };
    assert_eq!(column("l2_distance(v, '[1,2,3]')"), ["0", "5.196152422706632", "∅"]);
    assert_eq!(column("v <-> '[1,2,3]'::vector"), ["0", "5.196152422706632", "∅"]);
    assert_eq!(column("v <#> '[1,1,1]'"), ["-6", "-15", "∅"]);
    assert_eq!(column("inner_product(v, v)"), ["14", "77", "∅"]);
    assert_eq!(column("v <=> '[1,2,3]'"), ["0", "0.025368153802923787", "∅"]);
    assert_eq!(column("'[1,2,3]' <+> v"), ["0", "9", "∅"]);
    assert_eq!(column("v <-> NULL"), ["∅", "∅", "∅"]);
    assert_eq!(column("vector_dims(v)"), ["3", "3", "∅"]);
    assert_eq!(column("v::real[]"), ["{1,2,3}", "{4,5,6}", "∅"]);
    assert_eq!(column("vector_add(v, '[1,1,1]')"), ["[2,3,4]", "[5,6,7]", "∅"]);
    assert_eq!(column("subvector(v, 2, 5)"), ["[2,3]", "[5,6]", "∅"]);
    assert_eq!(column("l2_normalize('[3,4]'::vector)"), ["[0.6,0.8]", "[0.6,0.8]", "[0.6,0.8]"]);
    let error = query(&context, &format!("SELECT v <-> '[1,2]' {from}")).unwrap_err();
    assert_eq!((error.state(), error.message()), (SqlState::DataException, "different vector dimensions 3 and 2"));
}

#[test]
fn vectors_are_summed_and_averaged() {
    let from = "FROM (VALUES ('[1,2]'::vector, 1), ('[3,4]'::vector, 1), ('[5,9]'::vector, 2), (NULL, 2)) AS t(v, g)";
    let context = context(catalog(), Hooks::default());
    let rows = |sql: &str| query(&context, sql).unwrap();
    assert_eq!(rows(&format!("SELECT sum(v), avg(v) {from}")), [["[9,15]", "[3,5]"]]);
    assert_eq!(rows(&format!("SELECT g, avg(v) {from} GROUP BY g ORDER BY g")), [["1", "[2,3]"], ["2", "[5,9]"]]);
    assert_eq!(rows(&format!("SELECT avg(v) {from} WHERE g > 5")), [["∅"]]);
    let mixed = "SELECT avg(v) FROM (VALUES ('[1,2]'::vector), ('[1]'::vector)) AS t(v)";
    assert_eq!(query(&context, mixed).unwrap_err().message(), "expected 2 dimensions, not 1");
}

#[test]
fn aggregates_give_the_types_of_postgresql() {
    let from = "FROM (VALUES (1::int4, 9223372036854775807, 'b'), (2::int4, 1, 'a'), (4::int4, 1, NULL)) AS t(i, l, s)";
    let context = context(catalog(), Hooks::default());
    let one = |expression: &str| query(&context, &format!("SELECT {expression} {from}")).unwrap()[0][0].clone();
    assert_eq!(one("sum(l)"), "9223372036854775809");
    assert_eq!(one("pg_typeof(sum(l))"), "numeric");
    assert_eq!(one("pg_typeof(sum(i))"), "bigint");
    assert_eq!(one("avg(i)"), "2.3333333333333333");
    assert_eq!(one("string_agg(s, '-' ORDER BY s)"), "a-b");
    assert_eq!(one("pg_typeof(string_agg(s, ','))"), "text");
    assert_eq!(one("json_agg(s ORDER BY i)"), "[\"b\", \"a\", null]");
    assert_eq!(one("jsonb_agg(i ORDER BY i DESC)"), "[4, 2, 1]");
    assert_eq!(one("pg_typeof(jsonb_agg(i))"), "jsonb");
    assert_eq!(one("array_agg(i ORDER BY i)"), "{1,2,4}");
}

#[test]
fn functions_in_from_give_rows() {
    let context = context(catalog(), Hooks::default());
    let rows = |sql: &str| query(&context, sql).unwrap();
    assert_eq!(rows("SELECT * FROM generate_series(1, 3)"), [["1"], ["2"], ["3"]]);
    assert_eq!(rows("SELECT * FROM generate_series(5, 1, -2)"), [["5"], ["3"], ["1"]]);
    assert_eq!(
        rows("SELECT * FROM generate_series('2024-01-31'::timestamp, '2024-04-01'::timestamp, '1 month')"),
        [["2024-01-31 00:00:00"], ["2024-02-29 00:00:00"], ["2024-03-29 00:00:00"]]
    );
    assert_eq!(rows("SELECT count(*) FROM generate_series(1, 100000)"), [["100000"]]);
    assert_eq!(rows("SELECT * FROM jsonb_each('{\"a\": 1}')"), [["a", "1"]]);
    assert_eq!(rows("SELECT value FROM jsonb_array_elements_text('[1, \"x\", null]')"), [["1"], ["x"], ["∅"]]);
    assert_eq!(rows("SELECT * FROM regexp_matches('a1b2', '[0-9]', 'g')"), [["{1}"], ["{2}"]]);
    assert_eq!(rows("SELECT * FROM generate_series(3, 1)"), Vec::<Vec<String>>::new());
}

#[test]
fn a_series_with_step_zero_is_refused() {
    assert_eq!(state_of("SELECT * FROM generate_series(1, 3, 0)"), SqlState::InvalidParameterValue);
}

#[test]
fn errors_keep_their_states_through_datafusion() {
    assert_eq!(state_of("SELECT 'x'::int"), SqlState::InvalidTextRepresentation);
    assert_eq!(state_of("SELECT 100000::int2"), SqlState::NumericValueOutOfRange);
    assert_eq!(state_of("SELECT 'nope'::regclass"), SqlState::UndefinedTable);
    assert_eq!(state_of("SELECT 'nope'::regtype"), SqlState::UndefinedObject);
    assert_eq!(state_of("SELECT nope"), SqlState::UndefinedColumn);
    assert_eq!(state_of("SELECT * FROM nope"), SqlState::UndefinedTable);
    assert_eq!(state_of("SELECT nope(1)"), SqlState::UndefinedFunction);
    assert_eq!(state_of("SELECT length(true)"), SqlState::UndefinedFunction);
    assert_eq!(state_of("SELECT 1 / 0"), SqlState::DivisionByZero);
    assert_eq!(state_of("SELECT a FROM (VALUES (1), (2)) AS t(a) GROUP BY 1 HAVING b > 1"), SqlState::UndefinedColumn);
    assert_eq!(state_of("SELECT a, sum(b) FROM (VALUES (1, 2)) AS t(a, b)"), SqlState::GroupingError);
    assert_eq!(state_of("SELECT (SELECT a FROM (VALUES (1), (2)) AS t(a))"), SqlState::CardinalityViolation);
    assert_eq!(state_of("SELECT sqrt(-1::float8)"), SqlState::InvalidArgumentForPowerFunction);
    assert_eq!(state_of("SELECT '[1,2]'::vector(3)"), SqlState::DataException);
    let wording = one("SELECT nope").unwrap_err();
    assert_eq!(wording.message(), "column \"nope\" does not exist");
    assert_eq!(one("SELECT * FROM nope").unwrap_err().message(), "relation \"nope\" does not exist");
    assert_eq!(one("SELECT t.x FROM (SELECT 1) AS t(a)").unwrap_err().message(), "column t.x does not exist");
}

#[test]
fn casts_of_columns_go_value_by_value() {
    let context = context(catalog(), Hooks::default());
    let rows = query(
        &context,
        "SELECT s::int, s::text::numeric(10,2), s::int::float8, pg_typeof(s::varchar(2)), s::varchar(1) \
         FROM (VALUES ('12'), ('7'), (NULL)) AS t(s)",
    )
    .unwrap();
    assert_eq!(rows[0], ["12", "12.00", "12", "character varying", "1"]);
    assert_eq!(rows[1], ["7", "7.00", "7", "character varying", "7"]);
    assert_eq!(rows[2], ["∅", "∅", "∅", "character varying", "∅"]);
}

#[test]
fn names_of_objects_are_read_and_printed() {
    assert_eq!(one("SELECT 't'::regclass").unwrap(), "t");
    assert_eq!(one("SELECT 'public.t'::regclass::oid").unwrap(), "16400");
    assert_eq!(one("SELECT 16400::oid::regclass::text").unwrap(), "t");
    assert_eq!(one("SELECT '\"T\"'::regclass").unwrap_err().message(), "relation \"\"T\"\" does not exist");
    assert_eq!(one("SELECT 'vector'::regtype::oid").unwrap(), "16385");
    assert_eq!(one("SELECT to_regtype('vector(3)')").unwrap(), "vector");
    assert_eq!(one("SELECT 'array_in'::regproc").unwrap(), "array_in");
    assert_eq!(one("SELECT 'pg_catalog'::regnamespace::oid").unwrap(), "11");
    assert_eq!(one("SELECT pg_get_serial_sequence('t', 'id')").unwrap(), "public.t_id_seq");
    assert_eq!(one("SELECT pg_table_is_visible('t'::regclass)").unwrap(), "t");
    assert_eq!(one("SELECT pg_get_userbyid(10)").unwrap(), "lodedb");
}

#[test]
fn the_session_is_known_to_its_functions() {
    assert_eq!(one("SELECT current_database()").unwrap(), "postgres");
    assert_eq!(one("SELECT current_user").unwrap(), "lodedb");
    assert_eq!(one("SELECT pg_backend_pid()").unwrap(), "42");
    assert_eq!(one("SELECT now()").unwrap(), "2023-11-14 22:13:20+00");
    assert_eq!(one("SELECT current_date").unwrap(), "2023-11-14");
    assert_eq!(one("SELECT current_timestamp").unwrap(), "2023-11-14 22:13:20+00");
    assert_eq!(one("SELECT current_setting('search_path')").unwrap(), "\"$user\", public");
    assert_eq!(state_of("SELECT current_setting('nope')"), SqlState::UndefinedObject);
    let version = one("SELECT version()").unwrap();
    assert!(version.starts_with("PostgreSQL 15.") && version.contains(", FAISS 1.") && version.contains(", RocksDB 1"));
}

#[test]
fn sequences_and_settings_reach_the_session() {
    let session = Arc::new(Session::default());
    let hooks = Hooks { sequences: Some(session.clone()), settings: Some(session.clone()), ..Hooks::default() };
    let context = context(catalog(), hooks);
    let from = "FROM (VALUES (1), (2), (3)) AS t(a)";
    let rows = query(&context, &format!("SELECT nextval('t_id_seq') {from}")).unwrap();
    assert_eq!(rows, [["1"], ["2"], ["3"]]);
    assert_eq!(query(&context, "SELECT currval('t_id_seq'::regclass), lastval()").unwrap(), [["3", "3"]]);
    assert_eq!(query(&context, "SELECT setval('t_id_seq', 10), nextval('t_id_seq')").unwrap(), [["10", "11"]]);
    assert_eq!(query(&context, "SELECT nextval('t')").unwrap_err().state(), SqlState::WrongObjectType);
    query(&context, "SELECT set_config('TimeZone', 'UTC', false)").unwrap();
    assert_eq!(*session.settings.lock().unwrap(), [("TimeZone".to_owned(), Some("UTC".to_owned()), false)]);
}

#[test]
fn volatile_functions_are_called_for_each_row() {
    let context = context(catalog(), Hooks::default());
    let rows = query(&context, "SELECT gen_random_uuid(), random() FROM generate_series(1, 3)").unwrap();
    assert_ne!(rows[0][0], rows[1][0]);
    assert_ne!(rows[0][1], rows[1][1]);
}
