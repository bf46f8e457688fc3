//! Access methods and their operator classes.

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, ScalarType};

use super::OWNER;
use super::types::{function, vector_operator};
use crate::query::pg_catalog::names::{PG_CATALOG_OID, PUBLIC_OID};
use crate::query::pg_catalog::table::{Rows, letter, text};

/// The access methods: OID, name, handler, and whether it is for indexes or tables.
pub(super) const METHODS: &[(u32, &str, &str, char)] = &[
    (2, "heap", "heap_tableam_handler", 't'),
    (403, "btree", "bthandler", 'i'),
    (15_401, "ivfflat", "ivfflathandler", 'i'),
    (15_402, "hnsw", "hnswhandler", 'i'),
    (15_403, "ivfpq", "ivfpqhandler", 'i'),
    (15_404, "flat", "flathandler", 'i'),
];

/// The class by which a btree orders vectors.
pub(super) const BTREE_VECTOR_CLASS: u32 = 15_100;

/// The classes of vector indexes: name, operator, and the methods that have it by default.
const VECTOR_CLASSES: &[(&str, &str)] =
    &[("vector_l2_ops", "<->"), ("vector_ip_ops", "<#>"), ("vector_cosine_ops", "<=>"), ("vector_l1_ops", "<+>")];

/// Every class of every vector method: OID, method, name, operator, default.
fn vector_classes() -> impl Iterator<Item = (u32, u32, &'static str, &'static str, bool)> {
    METHODS.iter().filter(|(oid, ..)| *oid > 15_000).enumerate().flat_map(|(place, (method, name, ..))| {
        VECTOR_CLASSES.iter().enumerate().filter_map(move |(class, (class_name, operator))| {
            // pgvector's ivfflat has no class for taxicab distances.
            let exists = *name != "ivfflat" || *class_name != "vector_l1_ops";
            let oid = BTREE_VECTOR_CLASS + 1 + (place * VECTOR_CLASSES.len() + class) as u32;
            exists.then_some((oid, *method, *class_name, *operator, *name != "hnsw" && class == 0))
        })
    })
}

/// The OID of an operator class of a vector method; 0 if there is none.
pub(super) fn class_oid(method: &str, class: &str) -> u32 {
    let method = super::objects::method_oid(method);
    vector_classes().find(|(_, of, name, ..)| *of == method && *name == class).map_or(0, |(oid, ..)| oid)
}

/// The family of a class of ours: every class has its own.
fn family(class: u32) -> u32 {
    class + 50
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
    let btree = (BTREE_VECTOR_CLASS, 403, "vector_ops", "<", true);
    for (oid, method, name, _, default) in std::iter::once(btree).chain(vector_classes()) {
        rows.push([
            ("oid", Datum::Oid(oid)),
            ("opcmethod", Datum::Oid(method)),
            ("opcname", text(name)),
            ("opcnamespace", Datum::Oid(PUBLIC_OID)),
            ("opcowner", Datum::Oid(OWNER)),
            ("opcfamily", Datum::Oid(family(oid))),
            ("opcintype", Datum::Oid(ScalarType::Vector.oid())),
            ("opcdefault", Datum::Bool(default)),
        ])?;
    }
    Ok(())
}

/// `pg_opfamily`.
pub(super) fn families(rows: &mut Rows) -> Result<()> {
    let common = [("opfnamespace", Datum::Oid(PG_CATALOG_OID)), ("opfowner", Datum::Oid(OWNER))];
    rows.push_text(include_str!("../data/pg_opfamily.tsv"), &common)?;
    let btree = (BTREE_VECTOR_CLASS, 403, "vector_ops", "<", true);
    for (oid, method, name, ..) in std::iter::once(btree).chain(vector_classes()) {
        rows.push([
            ("oid", Datum::Oid(family(oid))),
            ("opfmethod", Datum::Oid(method)),
            ("opfname", text(name)),
            ("opfnamespace", Datum::Oid(PUBLIC_OID)),
            ("opfowner", Datum::Oid(OWNER)),
        ])?;
    }
    Ok(())
}

/// `pg_amop`: the operators by which vectors are ordered.
pub(super) fn operators(rows: &mut Rows) -> Result<()> {
    let vector = ScalarType::Vector.oid();
    for (class, method, _, operator, _) in vector_classes() {
        rows.push([
            ("oid", Datum::Oid(class + 100)),
            ("amopfamily", Datum::Oid(family(class))),
            ("amoplefttype", Datum::Oid(vector)),
            ("amoprighttype", Datum::Oid(vector)),
            ("amopstrategy", Datum::Int2(1)),
            ("amoppurpose", letter('o')),
            ("amopopr", Datum::Oid(vector_operator(operator))),
            ("amopmethod", Datum::Oid(method)),
            ("amopsortfamily", Datum::Oid(1970)),
        ])?;
    }
    for (strategy, operator) in ["<", "<=", "=", ">=", ">"].into_iter().enumerate() {
        rows.push([
            ("oid", Datum::Oid(15_280 + strategy as u32)),
            ("amopfamily", Datum::Oid(family(BTREE_VECTOR_CLASS))),
            ("amoplefttype", Datum::Oid(vector)),
            ("amoprighttype", Datum::Oid(vector)),
            ("amopstrategy", Datum::Int2(strategy as i16 + 1)),
            ("amoppurpose", letter('s')),
            ("amopopr", Datum::Oid(vector_operator(operator))),
            ("amopmethod", Datum::Oid(403)),
        ])?;
    }
    Ok(())
}

/// `pg_amproc`: the comparison of vectors in a btree.
pub(super) fn procedures(rows: &mut Rows) -> Result<()> {
    let vector = ScalarType::Vector.oid();
    rows.push([
        ("oid", Datum::Oid(15_290)),
        ("amprocfamily", Datum::Oid(family(BTREE_VECTOR_CLASS))),
        ("amproclefttype", Datum::Oid(vector)),
        ("amprocrighttype", Datum::Oid(vector)),
        ("amprocnum", Datum::Int2(1)),
        ("amproc", function("vector_cmp")),
    ])
}
