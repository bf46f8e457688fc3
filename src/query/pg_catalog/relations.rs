//! The relations of the system schemas as PostgreSQL 15 defines them: names, OIDs and columns, read from a table of
//! text taken from one; and LodeDB's own, `lodedb_...`, from OID 13600 on.

use std::collections::HashMap;
use std::sync::LazyLock;

use lodedb_sql::{PgType, ScalarType, TypeWithModifier};

use crate::query::arrow::type_of_typname;

/// A relation of a system schema.
#[derive(Debug)]
pub(crate) struct Relation {
    pub oid: u32,
    pub schema: &'static str,
    pub name: &'static str,
    pub is_view: bool,
    pub columns: Vec<RelationColumn>,
}

/// A column of a system relation.
#[derive(Debug)]
pub(crate) struct RelationColumn {
    pub name: &'static str,
    pub ty: TypeWithModifier,
    pub not_null: bool,
}

/// `oid schema name kind column:type! ...`, by schema and name.
const RELATIONS_TEXT: &str = include_str!("data/relations.tsv");

/// Every relation of `pg_catalog` and `information_schema`.
pub(crate) static RELATIONS: LazyLock<Vec<Relation>> =
    LazyLock::new(|| RELATIONS_TEXT.lines().filter_map(parse_relation).collect());

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), usize>> = LazyLock::new(|| {
    RELATIONS.iter().enumerate().map(|(place, relation)| ((relation.schema, relation.name), place)).collect()
});

static BY_OID: LazyLock<HashMap<u32, usize>> =
    LazyLock::new(|| RELATIONS.iter().enumerate().map(|(place, relation)| (relation.oid, place)).collect());

fn parse_relation(line: &'static str) -> Option<Relation> {
    let mut fields = line.split('\t');
    let oid = fields.next()?.parse().ok()?;
    let (schema, name, kind) = (fields.next()?, fields.next()?, fields.next()?);
    let columns = fields.next()?.split(' ').filter_map(parse_column).collect();
    Some(Relation { oid, schema, name, is_view: kind == "v", columns })
}

fn parse_column(text: &'static str) -> Option<RelationColumn> {
    let (name, ty) = text.split_once(':')?;
    let (ty, not_null) = ty.strip_suffix('!').map_or((ty, false), |ty| (ty, true));
    // Types that only the catalogs of PostgreSQL use are text here; arrays of them are arrays of text.
    let text = if ty.starts_with('_') || ty == "anyarray" {
        PgType::Array(ScalarType::Text)
    } else {
        PgType::Scalar(ScalarType::Text)
    };
    let ty = match ty {
        "bpchar" => PgType::Scalar(ScalarType::Varchar),
        ty => type_of_typname(ty).unwrap_or(text),
    };
    Some(RelationColumn { name, ty: TypeWithModifier::plain(ty), not_null })
}

/// Whether only superusers read a relation: what passwords are verified by, and who may come from where.
pub(crate) fn is_secret(relation: &Relation) -> bool {
    relation.schema == "pg_catalog" && matches!(relation.name, "pg_authid" | "pg_shadow" | "pg_hba_file_rules")
}

/// The relation of this name in a system schema.
pub(crate) fn by_name(schema: &str, name: &str) -> Option<&'static Relation> {
    BY_NAME.get(&(schema, name)).map(|&place| &RELATIONS[place])
}

/// The relation with this OID.
pub(crate) fn by_oid(oid: u32) -> Option<&'static Relation> {
    BY_OID.get(&oid).map(|&place| &RELATIONS[place])
}
