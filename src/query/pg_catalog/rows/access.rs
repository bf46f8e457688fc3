//! Access methods and their operator classes.

use lodedb_sql::error::Result;
use lodedb_sql::resolve::{VECTOR_CLASSES, VectorClass};
use lodedb_sql::{Datum, ScalarType};

use super::OWNER;
use super::types::{EXTENSION_TYPES, function, vector_operator};
use crate::query::pg_catalog::names::{PG_CATALOG_OID, PUBLIC_OID};
use crate::query::pg_catalog::table::{Rows, letter, text};

/// The OID of the access method `btree`.
const BTREE: u32 = 403;

/// The access methods: OID, name, handler, and whether it is for indexes or tables.
pub(super) const METHODS: &[(u32, &str, &str, char)] = &[
    (2, "heap", "heap_tableam_handler", 't'),
    (BTREE, "btree", "bthandler", 'i'),
    (15_401, "ivfflat", "ivfflathandler", 'i'),
    (15_402, "hnsw", "hnswhandler", 'i'),
    (15_403, "ivfpq", "ivfpqhandler", 'i'),
    (15_404, "flat", "flathandler", 'i'),
];

/// The class by which a btree orders vectors of a kind.
pub(super) fn btree_class(ty: ScalarType) -> u32 {
    15_100 + EXTENSION_TYPES.iter().position(|of| *of == ty).unwrap_or(0) as u32
}

/// The btree classes: OID, name and type.
fn btree_classes() -> impl Iterator<Item = (u32, String, ScalarType)> {
    EXTENSION_TYPES.into_iter().map(|ty| (btree_class(ty), format!("{}_ops", ty.typname()), ty))
}

/// Every class of every vector method: its OID and its method's.
fn vector_classes() -> impl Iterator<Item = (u32, u32, &'static str, &'static VectorClass)> {
    METHODS.iter().filter(|(oid, ..)| *oid > 15_000).enumerate().flat_map(|(place, (method, name, ..))| {
        VECTOR_CLASSES.iter().enumerate().filter_map(move |(class, of)| {
            let oid = 15_110 + (place * VECTOR_CLASSES.len() + class) as u32;
            of.methods.contains(name).then_some((oid, *method, *name, of))
        })
    })
}

/// The OID of an operator class of a vector method; 0 if there is none.
pub(super) fn class_oid(method: &str, class: &str) -> u32 {
    let method = super::objects::method_oid(method);
    vector_classes().find(|(_, of, _, known)| *of == method && known.name == class).map_or(0, |(oid, ..)| oid)
}

/// The family of a class of ours: every class has its own.
fn family(class: u32) -> u32 {
    class + 100
}

/// `pg_am`.
pub(super) fn methods(rows: &mut Rows) -> Result<()> {
    for (oid, name, handler, kind) in METHODS {
        rows.push([
            ("oid", Datum::Oid(*oid)),
            ("amname", text(*name)),
            ("amhandler", function(handler)),
            ("amtype", letter(*kind)),
        ])?;
    }
    Ok(())
}

/// `pg_opclass`.
pub(super) fn classes(rows: &mut Rows) -> Result<()> {
    let common = [("opcnamespace", Datum::Oid(PG_CATALOG_OID)), ("opcowner", Datum::Oid(OWNER))];
    rows.push_text(include_str!("../data/pg_opclass.tsv"), &common)?;
    let mut push = |oid: u32, method: u32, name: &str, ty: ScalarType, default: bool| {
        rows.push([
            ("oid", Datum::Oid(oid)),
            ("opcmethod", Datum::Oid(method)),
            ("opcname", text(name)),
            ("opcnamespace", Datum::Oid(PUBLIC_OID)),
            ("opcowner", Datum::Oid(OWNER)),
            ("opcfamily", Datum::Oid(family(oid))),
            ("opcintype", Datum::Oid(ty.oid())),
            ("opcdefault", Datum::Bool(default)),
        ])
    };
    for (oid, name, ty) in btree_classes() {
        push(oid, BTREE, &name, ty, true)?;
    }
    for (oid, method, method_name, class) in vector_classes() {
        push(oid, method, class.name, class.ty, class.is_default(method_name))?;
    }
    Ok(())
}

/// `pg_opfamily`.
pub(super) fn families(rows: &mut Rows) -> Result<()> {
    let common = [("opfnamespace", Datum::Oid(PG_CATALOG_OID)), ("opfowner", Datum::Oid(OWNER))];
    rows.push_text(include_str!("../data/pg_opfamily.tsv"), &common)?;
    let mut push = |oid: u32, method: u32, name: &str| {
        rows.push([
            ("oid", Datum::Oid(family(oid))),
            ("opfmethod", Datum::Oid(method)),
            ("opfname", text(name)),
            ("opfnamespace", Datum::Oid(PUBLIC_OID)),
            ("opfowner", Datum::Oid(OWNER)),
        ])
    };
    for (oid, name, _) in btree_classes() {
        push(oid, BTREE, &name)?;
    }
    for (oid, method, _, class) in vector_classes() {
        push(oid, method, class.name)?;
    }
    Ok(())
}

/// `pg_amop`: the operators by which vectors are ordered.
pub(super) fn operators(rows: &mut Rows) -> Result<()> {
    for (oid, method, _, class) in vector_classes() {
        rows.push([
            ("oid", Datum::Oid(oid + 200)),
            ("amopfamily", Datum::Oid(family(oid))),
            ("amoplefttype", Datum::Oid(class.ty.oid())),
            ("amoprighttype", Datum::Oid(class.ty.oid())),
            ("amopstrategy", Datum::Int2(1)),
            ("amoppurpose", letter('o')),
            ("amopopr", Datum::Oid(vector_operator(class.metric.operator(), class.ty))),
            ("amopmethod", Datum::Oid(method)),
            ("amopsortfamily", Datum::Oid(1970)),
        ])?;
    }
    for (place, (class, _, ty)) in btree_classes().enumerate() {
        for (strategy, operator) in ["<", "<=", "=", ">=", ">"].into_iter().enumerate() {
            rows.push([
                ("oid", Datum::Oid(15_400 + (place * 5 + strategy) as u32)),
                ("amopfamily", Datum::Oid(family(class))),
                ("amoplefttype", Datum::Oid(ty.oid())),
                ("amoprighttype", Datum::Oid(ty.oid())),
                ("amopstrategy", Datum::Int2(strategy as i16 + 1)),
                ("amoppurpose", letter('s')),
                ("amopopr", Datum::Oid(vector_operator(operator, ty))),
                ("amopmethod", Datum::Oid(BTREE)),
            ])?;
        }
    }
    Ok(())
}

/// `pg_amproc`: the comparison of vectors in a btree.
pub(super) fn procedures(rows: &mut Rows) -> Result<()> {
    for (place, (class, _, ty)) in btree_classes().enumerate() {
        rows.push([
            ("oid", Datum::Oid(15_290 + place as u32)),
            ("amprocfamily", Datum::Oid(family(class))),
            ("amproclefttype", Datum::Oid(ty.oid())),
            ("amprocrighttype", Datum::Oid(ty.oid())),
            ("amprocnum", Datum::Int2(1)),
            ("amproc", function(&format!("{}_cmp", ty.typname()))),
        ])?;
    }
    Ok(())
}
