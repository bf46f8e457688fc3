//! Tables, indexes and sequences: `pg_class` and what hangs on it.

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use super::OWNER;
use super::roles::grants;
use crate::catalog::{Identity, IndexKind, KeyConstraint, Table};
use crate::query::functions::Scope;
use crate::query::pg_catalog::describe;
use crate::query::pg_catalog::names::{INFORMATION_SCHEMA_OID, PG_CATALOG_OID, PUBLIC_OID};
use crate::query::pg_catalog::relations::{self, RELATIONS};
use crate::query::pg_catalog::table::{Rows, int2_array, int2_vector, letter, oid_vector, text, text_array};
use crate::query::pg_catalog::{INFORMATION_SCHEMA, PG_CATALOG};

/// The page size by which `relpages` counts.
const PAGE_BYTES: u64 = 8192;
/// The OID of the collation `default`.
const DEFAULT_COLLATION: u32 = 100;
/// The OID of the collation `C`, that of names.
const C_COLLATION: u32 = 950;

/// The OID of an access method.
pub(super) fn method_oid(method: &str) -> u32 {
    super::access::METHODS.iter().find(|(_, name, ..)| *name == method).map_or(0, |(oid, ..)| *oid)
}

fn pages(scope: &Scope, relation: u32) -> i32 {
    let bytes = scope.hooks.server.as_ref().and_then(|server| server.relation_bytes(relation)).unwrap_or(0);
    i32::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(i32::MAX)
}

fn row_count(scope: &Scope, table: u32) -> f32 {
    let count = scope.hooks.server.as_ref().and_then(|server| server.row_count(table));
    count.map_or(-1.0, |count| count as f32)
}

/// `pg_class`.
pub(super) fn classes(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let catalog = &scope.catalog;
    for relation in RELATIONS.iter() {
        let schema = if relation.schema == INFORMATION_SCHEMA { INFORMATION_SCHEMA_OID } else { PG_CATALOG_OID };
        rows.push([
            ("oid", Datum::Oid(relation.oid)),
            ("relname", text(relation.name)),
            ("relnamespace", Datum::Oid(schema)),
            ("relowner", Datum::Oid(OWNER)),
            ("relam", Datum::Oid(if relation.is_view { 0 } else { 2 })),
            ("relfilenode", Datum::Oid(relation.oid)),
            ("relpersistence", letter('p')),
            ("relkind", letter(if relation.is_view { 'v' } else { 'r' })),
            ("relnatts", Datum::Int2(relation.columns.len() as i16)),
            ("relispopulated", Datum::Bool(true)),
            ("relreplident", letter('n')),
        ])?;
    }
    for table in catalog.tables() {
        rows.push([
            ("oid", Datum::Oid(table.id)),
            ("relname", text(&table.name)),
            ("relnamespace", Datum::Oid(PUBLIC_OID)),
            ("relowner", Datum::Oid(catalog.rights().owner(table.id))),
            ("relacl", grants(scope, table.id)),
            ("relam", Datum::Oid(2)),
            ("relfilenode", Datum::Oid(table.id)),
            ("relpages", Datum::Int4(pages(scope, table.id))),
            ("reltuples", Datum::Float4(row_count(scope, table.id))),
            ("relhasindex", Datum::Bool(catalog.indexes_of(table.id).next().is_some())),
            ("relpersistence", letter('p')),
            ("relkind", letter('r')),
            ("relnatts", Datum::Int2(table.columns.len() as i16)),
            ("relchecks", Datum::Int2(table.checks.len() as i16)),
            ("relispopulated", Datum::Bool(true)),
            ("relreplident", letter('d')),
        ])?;
    }
    for index in catalog.indexes() {
        let options = describe::index_options(index);
        let options = options.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        rows.push([
            ("oid", Datum::Oid(index.id)),
            ("relname", text(&index.name)),
            ("relnamespace", Datum::Oid(PUBLIC_OID)),
            ("relowner", Datum::Oid(catalog.rights().owner(index.table))),
            ("relam", Datum::Oid(method_oid(describe::index_method(index)))),
            ("relfilenode", Datum::Oid(index.id)),
            ("relpages", Datum::Int4(pages(scope, index.id))),
            ("reltuples", Datum::Float4(row_count(scope, index.table))),
            ("relpersistence", letter('p')),
            ("relkind", letter('i')),
            ("relnatts", Datum::Int2(describe::index_columns(index).len() as i16)),
            ("relispopulated", Datum::Bool(true)),
            ("relreplident", letter('n')),
            ("reloptions", if options.is_empty() { Datum::Null } else { text_array(options) }),
        ])?;
    }
    for sequence in catalog.sequences() {
        rows.push([
            ("oid", Datum::Oid(sequence.id)),
            ("relname", text(&sequence.name)),
            ("relnamespace", Datum::Oid(PUBLIC_OID)),
            ("relowner", Datum::Oid(catalog.rights().owner(sequence.id))),
            ("relacl", grants(scope, sequence.id)),
            ("relfilenode", Datum::Oid(sequence.id)),
            ("relpages", Datum::Int4(1)),
            ("reltuples", Datum::Float4(1.0)),
            ("relpersistence", letter('p')),
            ("relkind", letter('S')),
            ("relnatts", Datum::Int2(3)),
            ("relispopulated", Datum::Bool(true)),
            ("relreplident", letter('n')),
        ])?;
    }
    Ok(())
}

/// What `pg_type` says of the storage of a type: length, by value, alignment, storage.
pub(super) fn storage(ty: PgType) -> (i16, bool, char, char) {
    let scalar = match ty {
        PgType::Scalar(scalar) => scalar,
        PgType::Array(ScalarType::Int8 | ScalarType::Float8 | ScalarType::Timestamp | ScalarType::Timestamptz) => {
            return (-1, false, 'd', 'x');
        }
        PgType::Array(_) => return (-1, false, 'i', 'x'),
    };
    match scalar {
        ScalarType::Bool | ScalarType::Char => (1, true, 'c', 'p'),
        ScalarType::Int2 => (2, true, 's', 'p'),
        ScalarType::Int4 | ScalarType::Float4 | ScalarType::Date | ScalarType::Oid | ScalarType::Xid => {
            (4, true, 'i', 'p')
        }
        ScalarType::Regclass | ScalarType::Regtype | ScalarType::Regproc | ScalarType::Regnamespace => {
            (4, true, 'i', 'p')
        }
        ScalarType::Int8 | ScalarType::Float8 | ScalarType::Time | ScalarType::Timestamp | ScalarType::Timestamptz => {
            (8, true, 'd', 'p')
        }
        ScalarType::Interval => (16, false, 'd', 'p'),
        ScalarType::Uuid => (16, false, 'c', 'p'),
        ScalarType::Name => (64, false, 'c', 'p'),
        ScalarType::Numeric => (-1, false, 'i', 'm'),
        ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec => (-1, false, 'i', 'e'),
        ScalarType::Int2vector | ScalarType::Oidvector => (-1, false, 'i', 'p'),
        _ => (-1, false, 'i', 'x'),
    }
}

/// The collation of a type; 0 if it has none.
pub(super) fn collation(ty: PgType) -> u32 {
    let (PgType::Scalar(scalar) | PgType::Array(scalar)) = ty;
    match scalar {
        ScalarType::Text | ScalarType::Varchar | ScalarType::Bpchar => DEFAULT_COLLATION,
        ScalarType::Name => C_COLLATION,
        _ => 0,
    }
}

/// A row of `pg_attribute` before what only columns of tables have.
struct Attribute<'a> {
    relation: u32,
    name: &'a str,
    ty: TypeWithModifier,
    number: i16,
    not_null: bool,
    has_default: bool,
    identity: Option<Identity>,
    generated: bool,
    dropped: bool,
}

fn push_attribute(rows: &mut Rows, attribute: &Attribute<'_>) -> Result<()> {
    let (length, by_value, align, storage) = storage(attribute.ty.ty);
    let identity = match attribute.identity {
        None => text(""),
        Some(Identity::Always) => letter('a'),
        Some(Identity::ByDefault) => letter('d'),
    };
    let name = if attribute.dropped {
        format!("........pg.dropped.{}........", attribute.number)
    } else {
        attribute.name.to_owned()
    };
    rows.push([
        ("attrelid", Datum::Oid(attribute.relation)),
        ("attname", text(name)),
        ("atttypid", Datum::Oid(if attribute.dropped { 0 } else { attribute.ty.ty.oid() })),
        ("attstattarget", Datum::Int4(-1)),
        ("attlen", Datum::Int2(length)),
        ("attnum", Datum::Int2(attribute.number)),
        ("attndims", Datum::Int4(i32::from(matches!(attribute.ty.ty, PgType::Array(_))))),
        ("attcacheoff", Datum::Int4(-1)),
        ("atttypmod", Datum::Int4(attribute.ty.modifier)),
        ("attbyval", Datum::Bool(by_value)),
        ("attalign", letter(align)),
        ("attstorage", letter(storage)),
        ("attcompression", text("")),
        ("attnotnull", Datum::Bool(attribute.not_null)),
        ("atthasdef", Datum::Bool(attribute.has_default)),
        ("attidentity", identity),
        ("attgenerated", if attribute.generated { letter('s') } else { text("") }),
        ("attisdropped", Datum::Bool(attribute.dropped)),
        ("attislocal", Datum::Bool(true)),
        ("attcollation", Datum::Oid(collation(attribute.ty.ty))),
    ])
}

/// `pg_attribute`.
pub(super) fn attributes(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let catalog = &scope.catalog;
    for relation in RELATIONS.iter() {
        for (place, column) in relation.columns.iter().enumerate() {
            let attribute = Attribute {
                relation: relation.oid,
                name: column.name,
                ty: column.ty,
                number: place as i16 + 1,
                not_null: column.not_null,
                has_default: false,
                identity: None,
                generated: false,
                dropped: false,
            };
            push_attribute(rows, &attribute)?;
        }
    }
    for table in catalog.tables() {
        for column in &table.columns {
            let dropped = !column.is_visible();
            let generated = !dropped && catalog.generated(table.id, column.id).is_some();
            let attribute = Attribute {
                relation: table.id,
                name: &column.name,
                ty: column.ty,
                number: table.number(column.id) as i16,
                not_null: column.not_null,
                has_default: generated || (column.default.is_some() && !dropped),
                identity: column.identity,
                generated,
                dropped,
            };
            push_attribute(rows, &attribute)?;
        }
    }
    for index in catalog.indexes() {
        let Some(table) = catalog.table_by_id(index.table) else { continue };
        for (place, column) in describe::index_columns(index).into_iter().enumerate() {
            let Some(column) = table.columns.get((column as usize).wrapping_sub(1)) else { continue };
            let attribute = Attribute {
                relation: index.id,
                name: &column.name,
                ty: column.ty,
                number: place as i16 + 1,
                not_null: false,
                has_default: false,
                identity: None,
                generated: false,
                dropped: false,
            };
            push_attribute(rows, &attribute)?;
        }
    }
    for sequence in catalog.sequences() {
        let columns =
            [("last_value", ScalarType::Int8), ("log_cnt", ScalarType::Int8), ("is_called", ScalarType::Bool)];
        for (place, (name, scalar)) in columns.into_iter().enumerate() {
            let attribute = Attribute {
                relation: sequence.id,
                name,
                ty: TypeWithModifier::plain(scalar),
                number: place as i16 + 1,
                not_null: true,
                has_default: false,
                identity: None,
                generated: false,
                dropped: false,
            };
            push_attribute(rows, &attribute)?;
        }
    }
    Ok(())
}

/// `pg_attrdef`.
pub(super) fn defaults(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for table in scope.catalog.tables() {
        for (_, column) in table.visible_columns() {
            let generated = scope.catalog.generated(table.id, column.id).map(|generated| generated.expression.clone());
            let default = column.default.as_deref().map(describe::default_expression);
            let Some(expression) = generated.or(default) else { continue };
            rows.push([
                ("oid", Datum::Oid(describe::default_oid(table.id, column.id))),
                ("adrelid", Datum::Oid(table.id)),
                ("adnum", Datum::Int2(table.number(column.id) as i16)),
                ("adbin", text(expression)),
            ])?;
        }
    }
    Ok(())
}

/// The operator class of a column of a btree index, by its type.
fn btree_class(ty: PgType) -> u32 {
    let scalar = match ty {
        PgType::Array(_) => return 397,
        PgType::Scalar(scalar) => scalar,
    };
    match scalar {
        ScalarType::Bool => 424,
        ScalarType::Int2 => 1979,
        ScalarType::Int4 => 1978,
        ScalarType::Int8 => 3124,
        ScalarType::Oid => 1981,
        ScalarType::Float4 => 1970,
        ScalarType::Float8 => 3123,
        ScalarType::Numeric => 3125,
        ScalarType::Text | ScalarType::Varchar => 3126,
        ScalarType::Bpchar => 426,
        ScalarType::Name => 1986,
        ScalarType::Char => 429,
        ScalarType::Bytea => 428,
        ScalarType::Date => 3122,
        ScalarType::Time => 1996,
        ScalarType::Timestamp => 3128,
        ScalarType::Timestamptz => 3127,
        ScalarType::Interval => 1982,
        ScalarType::Uuid => 2968,
        ScalarType::Jsonb => 4033,
        ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec => super::access::btree_class(scalar),
        ScalarType::Bit => 10_002,
        ScalarType::Varbit => 10_043,
        _ => 0,
    }
}

/// `pg_index`.
pub(super) fn indexes(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let catalog = &scope.catalog;
    for index in catalog.indexes() {
        let Some(table) = catalog.table_by_id(index.table) else { continue };
        let columns = describe::index_columns(index);
        let types: Vec<PgType> = columns
            .iter()
            .map(|column| {
                table
                    .columns
                    .get((*column as usize).wrapping_sub(1))
                    .map_or(PgType::Scalar(ScalarType::Text), |column| column.ty.ty)
            })
            .collect();
        let classes: Vec<u32> = match &index.kind {
            IndexKind::Btree { .. } => types.iter().map(|ty| btree_class(*ty)).collect(),
            IndexKind::Vector { opclass, method, .. } | IndexKind::Exact { opclass: Some(opclass), method, .. } => {
                vec![super::access::class_oid(method, opclass)]
            }
            IndexKind::Exact { opclass: None, .. } => types.iter().map(|ty| btree_class(*ty)).collect(),
        };
        let count = columns.len() as i16;
        rows.push([
            ("indexrelid", Datum::Oid(index.id)),
            ("indrelid", Datum::Oid(index.table)),
            ("indnatts", Datum::Int2(count)),
            ("indnkeyatts", Datum::Int2(count)),
            ("indisunique", Datum::Bool(index.is_unique())),
            ("indisprimary", Datum::Bool(index.is_primary())),
            ("indimmediate", Datum::Bool(true)),
            ("indisvalid", Datum::Bool(true)),
            ("indisready", Datum::Bool(true)),
            ("indislive", Datum::Bool(true)),
            ("indkey", int2_vector(columns.iter().map(|column| table.number(*column) as i16))),
            ("indcollation", oid_vector(types.iter().map(|ty| collation(*ty)))),
            ("indclass", oid_vector(classes)),
            ("indoption", int2_vector(columns.iter().map(|_| 0))),
            ("indexprs", describe::index_expression(index).map_or(Datum::Null, text)),
            ("indpred", describe::index_predicate(index).map_or(Datum::Null, text)),
        ])?;
    }
    Ok(())
}

/// `pg_constraint`.
pub(super) fn constraints(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let catalog = &scope.catalog;
    for index in catalog.indexes() {
        let IndexKind::Btree { columns, constraint: Some(constraint), .. } = &index.kind else { continue };
        let Some(table) = catalog.table_by_id(index.table) else { continue };
        let kind = match constraint {
            KeyConstraint::Primary => 'p',
            KeyConstraint::Unique => 'u',
        };
        rows.push([
            ("oid", Datum::Oid(describe::key_constraint_oid(index.id))),
            ("conname", text(&index.name)),
            ("connamespace", Datum::Oid(PUBLIC_OID)),
            ("contype", letter(kind)),
            ("convalidated", Datum::Bool(true)),
            ("conrelid", Datum::Oid(index.table)),
            ("conindid", Datum::Oid(index.id)),
            ("confupdtype", letter(' ')),
            ("confdeltype", letter(' ')),
            ("confmatchtype", letter(' ')),
            ("conislocal", Datum::Bool(true)),
            ("connoinherit", Datum::Bool(true)),
            ("conkey", int2_array(columns.iter().map(|column| table.number(*column) as i16))),
        ])?;
    }
    for table in catalog.tables() {
        for (place, check) in table.checks.iter().enumerate() {
            rows.push([
                ("oid", Datum::Oid(describe::check_oid(table.id, place))),
                ("conname", text(&check.name)),
                ("connamespace", Datum::Oid(PUBLIC_OID)),
                ("contype", letter('c')),
                ("convalidated", Datum::Bool(true)),
                ("conrelid", Datum::Oid(table.id)),
                ("confupdtype", letter(' ')),
                ("confdeltype", letter(' ')),
                ("confmatchtype", letter(' ')),
                ("conislocal", Datum::Bool(true)),
                ("conkey", int2_array(columns_named_in(table, &check.condition))),
                ("conbin", text(&check.condition)),
            ])?;
        }
    }
    Ok(())
}

/// The columns whose names occur in a condition.
fn columns_named_in(table: &Table, condition: &str) -> Vec<i16> {
    let words: Vec<&str> = condition.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    table
        .visible_columns()
        .filter(|(_, column)| words.contains(&column.name.as_str()))
        .map(|(_, column)| table.number(column.id) as i16)
        .collect()
}

/// `pg_sequence`.
pub(super) fn sequences(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for sequence in scope.catalog.sequences() {
        rows.push([
            ("seqrelid", Datum::Oid(sequence.id)),
            ("seqtypid", Datum::Oid(sequence_type(sequence.max).oid())),
            ("seqstart", Datum::Int8(sequence.start)),
            ("seqincrement", Datum::Int8(sequence.increment)),
            ("seqmax", Datum::Int8(sequence.max)),
            ("seqmin", Datum::Int8(sequence.min)),
            ("seqcache", Datum::Int8(1)),
        ])?;
    }
    Ok(())
}

/// The type of a sequence, by the values it reaches.
pub(super) fn sequence_type(max: i64) -> ScalarType {
    match max {
        32_767 => ScalarType::Int2,
        2_147_483_647 => ScalarType::Int4,
        _ => ScalarType::Int8,
    }
}

/// `pg_depend`: sequences on their columns, indexes and defaults on their tables, the members of the extension.
pub(super) fn dependencies(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let catalog = &scope.catalog;
    let oid = |name: &str| relations::by_name(PG_CATALOG, name).map_or(0, |relation| relation.oid);
    let (class, constraint, default, extension, ty) =
        (oid("pg_class"), oid("pg_constraint"), oid("pg_attrdef"), oid("pg_extension"), oid("pg_type"));
    let number = |table: u32, column: u32| catalog.table_by_id(table).map_or(column, |table| table.number(column));
    let mut push = |from: (u32, u32), to: (u32, u32, u32), kind: char| {
        rows.push([
            ("classid", Datum::Oid(from.0)),
            ("objid", Datum::Oid(from.1)),
            ("refclassid", Datum::Oid(to.0)),
            ("refobjid", Datum::Oid(to.1)),
            ("refobjsubid", Datum::Int4(to.2 as i32)),
            ("deptype", letter(kind)),
        ])
    };
    for sequence in catalog.sequences() {
        let Some((table, column)) = sequence.owner else { continue };
        let identity = catalog
            .table_by_id(table)
            .and_then(|table| table.columns.get(column as usize - 1))
            .is_some_and(|column| column.identity.is_some());
        let column = number(table, column);
        push((class, sequence.id), (class, table, column), if identity { 'i' } else { 'a' })?;
    }
    for index in catalog.indexes() {
        if let IndexKind::Btree { constraint: Some(_), .. } = index.kind {
            push((class, index.id), (constraint, describe::key_constraint_oid(index.id), 0), 'i')?;
            continue;
        }
        for column in describe::index_dependencies(index) {
            push((class, index.id), (class, index.table, number(index.table, column)), 'a')?;
        }
    }
    for table in catalog.tables() {
        for (_, column) in table.visible_columns().filter(|(_, column)| column.default.is_some()) {
            let number = table.number(column.id);
            push((default, describe::default_oid(table.id, column.id)), (class, table.id, number), 'a')?;
        }
    }
    for table in catalog.tables() {
        for (_, column) in
            table.visible_columns().filter(|(_, column)| catalog.generated(table.id, column.id).is_some())
        {
            let expression = (default, describe::default_oid(table.id, column.id));
            push(expression, (class, table.id, table.number(column.id)), 'i')?;
        }
    }
    for vector in super::types::EXTENSION_TYPES {
        push((ty, vector.oid()), (extension, super::cluster::EXTENSION_OID, 0), 'e')?;
    }
    Ok(())
}
