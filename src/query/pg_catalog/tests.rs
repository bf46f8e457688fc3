//! Tests of the system schemas: psql's own queries, and every relation at least once.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::prelude::SessionContext;
use lodedb_sql::vector::Metric;
use lodedb_sql::{ScalarType, TypeWithModifier};

use super::relations::RELATIONS;
use super::*;
use crate::catalog::{Catalog, Change, Check, Column, Index, IndexKind, KeyConstraint, Sequence, Table};
use crate::query::functions::Hooks;
use crate::query::functions::tests::{context, query};
use crate::segment::IndexSpec;

fn column(id: u32, name: &str, ty: TypeWithModifier, not_null: bool, default: Option<&str>) -> Column {
    Column {
        id,
        name: name.to_owned(),
        ty,
        not_null,
        default: default.map(str::to_owned),
        identity: None,
        presence: crate::catalog::Presence::Shown,
    }
}

/// `CREATE TABLE items (id serial PRIMARY KEY, name varchar(20) NOT NULL UNIQUE, price numeric(10,2) CHECK (price > 0),
/// embedding vector(3))` and an hnsw index on it.
fn items() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.apply(&Change::PutTable(Table {
        id: 16_400,
        name: "items".to_owned(),
        columns: vec![
            column(1, "id", TypeWithModifier::plain(ScalarType::Int4), true, Some("nextval('items_id_seq')")),
            column(2, "name", TypeWithModifier { ty: ScalarType::Varchar.into(), modifier: 24 }, true, None),
            column(3, "price", TypeWithModifier { ty: ScalarType::Numeric.into(), modifier: 655_366 }, false, None),
            column(4, "embedding", TypeWithModifier { ty: ScalarType::Vector.into(), modifier: 3 }, false, None),
        ],
        checks: vec![Check { name: "items_price_check".to_owned(), condition: "price > 0".to_owned() }],
    }));
    catalog.apply(&Change::PutSequence(Sequence {
        id: 16_401,
        name: "items_id_seq".to_owned(),
        start: 1,
        increment: 1,
        min: 1,
        max: i64::from(i32::MAX),
        owner: Some((16_400, 1)),
    }));
    let key = |id, name: &str, column, constraint| {
        let kind = IndexKind::Btree { columns: vec![column], unique: true, constraint: Some(constraint) };
        Change::PutIndex(Index { id, name: name.to_owned(), table: 16_400, kind })
    };
    catalog.apply(&key(16_402, "items_pkey", 1, KeyConstraint::Primary));
    catalog.apply(&key(16_403, "items_name_key", 2, KeyConstraint::Unique));
    catalog.apply(&Change::PutIndex(Index {
        id: 16_404,
        name: "items_embedding_idx".to_owned(),
        table: 16_400,
        kind: IndexKind::Vector {
            spec: IndexSpec {
                id: 16_404,
                column: 4,
                kind: crate::segment::IndexKind::Hnsw,
                metric: Metric::Cosine,
                options: vec![("m".to_owned(), "8".to_owned())],
            },
            opclass: "vector_cosine_ops".to_owned(),
            method: "hnsw".to_owned(),
        },
    }));
    catalog
}

fn session() -> SessionContext {
    let context = context(items(), Hooks::default());
    let database = context.catalog("datafusion").unwrap();
    for schema in [PG_CATALOG, INFORMATION_SCHEMA] {
        let provider = MemorySchemaProvider::new();
        for name in relation_names(schema) {
            provider.register_table(name.to_owned(), table(schema, name).unwrap()).unwrap();
        }
        database.register_schema(schema, Arc::new(provider)).unwrap();
    }
    context
}

fn rows(sql: &str) -> Vec<Vec<String>> {
    query(&session(), sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[test]
fn every_relation_can_be_read() {
    let session = session();
    for relation in RELATIONS.iter() {
        let sql = format!("SELECT * FROM {}.{}", relation.schema, relation.name);
        if let Err(error) = query(&session, &sql) {
            panic!("{}: {error}", relation.name);
        }
    }
}

#[test]
fn psql_finds_a_table_by_name() {
    let found = rows(
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname OPERATOR(pg_catalog.~) '^(items)$' COLLATE pg_catalog.default \
         AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3",
    );
    assert_eq!(found, [["16400", "public", "items"]]);
}

#[test]
fn psql_lists_tables_indexes_and_sequences() {
    let list = |kinds: &str| {
        rows(&format!(
            "SELECT n.nspname as \"Schema\", c.relname as \"Name\", \
             CASE c.relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' END as \"Type\", \
             pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\", c2.relname as \"Table\" \
             FROM pg_catalog.pg_class c \
             LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
             LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
             LEFT JOIN pg_catalog.pg_class c2 ON i.indrelid = c2.oid \
             WHERE c.relkind IN ({kinds}) AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' \
             AND n.nspname <> 'information_schema' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2"
        ))
    };
    assert_eq!(list("'r','p',''"), [["public", "items", "table", "lodedb", "∅"]]);
    assert_eq!(list("'S',''"), [["public", "items_id_seq", "sequence", "lodedb", "∅"]]);
    assert_eq!(
        list("'i','I',''"),
        [
            ["public", "items_embedding_idx", "index", "lodedb", "items"],
            ["public", "items_name_key", "index", "lodedb", "items"],
            ["public", "items_pkey", "index", "lodedb", "items"],
        ]
    );
}

#[test]
fn psql_describes_the_columns_of_a_table() {
    let found = rows(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         pg_catalog.pg_get_expr(d.adbin, d.adrelid, true), a.attnotnull, a.attidentity, a.attgenerated \
         FROM pg_catalog.pg_attribute a \
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef \
         WHERE a.attrelid = 16400 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    );
    assert_eq!(
        found,
        [
            ["id", "integer", "nextval('items_id_seq'::regclass)", "t", "", ""],
            ["name", "character varying(20)", "∅", "t", "", ""],
            ["price", "numeric(10,2)", "∅", "f", "", ""],
            ["embedding", "vector(3)", "∅", "f", "", ""],
        ]
    );
}

#[test]
fn psql_describes_the_indexes_and_constraints_of_a_table() {
    let found = rows(
        "SELECT c2.relname, i.indisprimary, i.indisunique, i.indisvalid, \
         pg_catalog.pg_get_indexdef(i.indexrelid, 0, true), pg_catalog.pg_get_constraintdef(con.oid, true), contype \
         FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i \
         LEFT JOIN pg_catalog.pg_constraint con \
         ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x')) \
         WHERE c.oid = 16400 AND c.oid = i.indrelid AND i.indexrelid = c2.oid \
         ORDER BY i.indisprimary DESC, c2.relname",
    );
    let definition =
        "CREATE INDEX items_embedding_idx ON public.items USING hnsw (embedding vector_cosine_ops) WITH (m='8')";
    let name_key = "CREATE UNIQUE INDEX items_name_key ON public.items USING btree (name)";
    let key = "CREATE UNIQUE INDEX items_pkey ON public.items USING btree (id)";
    assert_eq!(
        found,
        [
            ["items_pkey", "t", "t", "t", key, "PRIMARY KEY (id)", "p"],
            ["items_embedding_idx", "f", "f", "t", definition, "∅", "∅"],
            ["items_name_key", "f", "t", "t", name_key, "UNIQUE (name)", "u"],
        ]
    );
    let checks = rows(
        "SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true) FROM pg_catalog.pg_constraint r \
         WHERE r.conrelid = 16400 AND r.contype = 'c' ORDER BY 1",
    );
    assert_eq!(checks, [["items_price_check", "CHECK ((price > 0))"]]);
}

#[test]
fn drivers_find_the_vector_type() {
    assert_eq!(
        rows("SELECT typname, oid, typarray, typdelim FROM pg_catalog.pg_type WHERE oid = to_regtype('vector')"),
        [["vector", "16385", "16386", ","]]
    );
    assert_eq!(
        rows(
            "SELECT typname, oid FROM pg_catalog.pg_type WHERE oid IN (to_regtype('vector'), to_regtype('_vector')) ORDER BY 2"
        ),
        [["vector", "16385"], ["_vector", "16386"]]
    );
    assert_eq!(
        rows(
            "SELECT t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid \
             FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid \
             INNER JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 16385"
        ),
        [["vector", "b", "0", "∅", "0", "public", "0"]]
    );
    assert_eq!(rows("SELECT typinput FROM pg_catalog.pg_type WHERE typname = '_vector'"), [["array_in"]]);
}

#[test]
fn a_sequence_depends_on_its_column() {
    let found = rows(
        "SELECT pg_catalog.quote_ident(relname) || '.' || pg_catalog.quote_ident(attname), d.deptype \
         FROM pg_catalog.pg_class c \
         INNER JOIN pg_catalog.pg_depend d ON c.oid=d.refobjid \
         INNER JOIN pg_catalog.pg_attribute a ON (a.attrelid=c.oid AND a.attnum=d.refobjsubid) \
         WHERE d.classid='pg_catalog.pg_class'::pg_catalog.regclass \
         AND d.refclassid='pg_catalog.pg_class'::pg_catalog.regclass AND d.objid=16401 AND d.deptype IN ('a', 'i')",
    );
    assert_eq!(found, [["items.id", "a"]]);
}

#[test]
fn the_standard_views_tell_of_tables_and_keys() {
    assert_eq!(
        rows(
            "SELECT column_name, data_type, udt_name, is_nullable, character_maximum_length, numeric_precision \
             FROM information_schema.columns WHERE table_schema = 'public' ORDER BY ordinal_position"
        ),
        [
            ["id", "integer", "int4", "NO", "∅", "32"],
            ["name", "character varying", "varchar", "NO", "20", "∅"],
            ["price", "numeric", "numeric", "YES", "∅", "10"],
            ["embedding", "USER-DEFINED", "vector", "YES", "∅", "∅"],
        ]
    );
    assert_eq!(
        rows(
            "SELECT k.column_name FROM information_schema.table_constraints c \
             JOIN information_schema.key_column_usage k ON k.constraint_name = c.constraint_name \
             WHERE c.table_name = 'items' AND c.constraint_type = 'PRIMARY KEY'"
        ),
        [["id"]]
    );
    assert_eq!(rows("SELECT table_type FROM information_schema.tables WHERE table_name = 'items'"), [["BASE TABLE"]]);
}

#[test]
fn the_key_of_an_index_is_found_in_its_vector() {
    assert_eq!(
        rows(
            "SELECT a.attname FROM pg_catalog.pg_index i, pg_catalog.pg_attribute a \
             WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND i.indisprimary"
        ),
        [["id"]]
    );
}
