//! Types, casts, functions and operators: what does not depend on the user's objects.

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, ScalarType};

use super::OWNER;
use crate::query::pg_catalog::names::{PG_CATALOG_OID, PUBLIC_OID};
use crate::query::pg_catalog::procedures::{self, PROCEDURES};
use crate::query::pg_catalog::table::{Rows, letter, oid_vector, text};

/// The first OID of the functions that PostgreSQL keeps in the extension `vector`.
const EXTENSION_FUNCTIONS: u32 = 15_001;

/// The OID of a function of the extension.
pub(super) fn function(name: &str) -> Datum {
    Datum::Oid(procedures::by_name(name).unwrap_or(0))
}

/// `pg_type`.
pub(super) fn types(rows: &mut Rows) -> Result<()> {
    let common = [
        ("typnamespace", Datum::Oid(PG_CATALOG_OID)),
        ("typowner", Datum::Oid(OWNER)),
        ("typisdefined", Datum::Bool(true)),
        ("typtypmod", Datum::Int4(-1)),
    ];
    rows.push_text(include_str!("../data/pg_type.tsv"), &common)?;
    let vector = ScalarType::Vector;
    rows.push([
        ("oid", Datum::Oid(vector.oid())),
        ("typname", text("vector")),
        ("typnamespace", Datum::Oid(PUBLIC_OID)),
        ("typowner", Datum::Oid(OWNER)),
        ("typlen", Datum::Int2(-1)),
        ("typtype", letter('b')),
        ("typcategory", letter('U')),
        ("typisdefined", Datum::Bool(true)),
        ("typdelim", letter(',')),
        ("typarray", Datum::Oid(vector.array_oid())),
        ("typinput", function("vector_in")),
        ("typoutput", function("vector_out")),
        ("typreceive", function("vector_recv")),
        ("typsend", function("vector_send")),
        ("typmodin", function("vector_typmod_in")),
        ("typalign", letter('i')),
        ("typstorage", letter('e')),
        ("typtypmod", Datum::Int4(-1)),
    ])?;
    rows.push([
        ("oid", Datum::Oid(vector.array_oid())),
        ("typname", text("_vector")),
        ("typnamespace", Datum::Oid(PUBLIC_OID)),
        ("typowner", Datum::Oid(OWNER)),
        ("typlen", Datum::Int2(-1)),
        ("typtype", letter('b')),
        ("typcategory", letter('A')),
        ("typisdefined", Datum::Bool(true)),
        ("typdelim", letter(',')),
        ("typsubscript", function("array_subscript_handler")),
        ("typelem", Datum::Oid(vector.oid())),
        ("typinput", function("array_in")),
        ("typoutput", function("array_out")),
        ("typreceive", function("array_recv")),
        ("typsend", function("array_send")),
        ("typmodin", function("vector_typmod_in")),
        ("typalign", letter('i')),
        ("typstorage", letter('x')),
        ("typtypmod", Datum::Int4(-1)),
    ])
}

/// `pg_collation`.
pub(super) fn collations(rows: &mut Rows) -> Result<()> {
    let common = [("collnamespace", Datum::Oid(PG_CATALOG_OID)), ("collowner", Datum::Oid(OWNER))];
    rows.push_text(include_str!("../data/pg_collation.tsv"), &common)
}

/// `pg_language`.
pub(super) fn languages(rows: &mut Rows) -> Result<()> {
    rows.push_text(include_str!("../data/pg_language.tsv"), &[("lanowner", Datum::Oid(OWNER))])
}

/// `pg_cast`, pgvector's among them.
pub(super) fn casts(rows: &mut Rows) -> Result<()> {
    rows.push_text(include_str!("../data/pg_cast.tsv"), &[])?;
    let vector = ScalarType::Vector.oid();
    let arrays = [ScalarType::Int4, ScalarType::Float4, ScalarType::Float8, ScalarType::Numeric];
    let mut oid = 15_300;
    let mut push = |from: u32, to: u32, name: &str, context: char| {
        oid += 1;
        rows.push([
            ("oid", Datum::Oid(oid)),
            ("castsource", Datum::Oid(from)),
            ("casttarget", Datum::Oid(to)),
            ("castfunc", function(name)),
            ("castcontext", letter(context)),
            ("castmethod", letter('f')),
        ])
    };
    push(vector, vector, "vector", 'i')?;
    push(vector, ScalarType::Float4.array_oid(), "vector_to_float4", 'i')?;
    for element in arrays {
        push(element.array_oid(), vector, "array_to_vector", 'a')?;
    }
    Ok(())
}

/// `pg_proc`.
pub(super) fn procedures(rows: &mut Rows) -> Result<()> {
    for procedure in PROCEDURES.iter() {
        let own = procedure.oid >= EXTENSION_FUNCTIONS;
        rows.push([
            ("oid", Datum::Oid(procedure.oid)),
            ("proname", text(procedure.name)),
            ("pronamespace", Datum::Oid(if own { PUBLIC_OID } else { PG_CATALOG_OID })),
            ("proowner", Datum::Oid(OWNER)),
            ("prolang", Datum::Oid(if own { 13 } else { 12 })),
            ("procost", Datum::Float4(1.0)),
            ("prokind", letter(procedure.kind)),
            ("proisstrict", Datum::Bool(procedure.strict)),
            ("proretset", Datum::Bool(procedure.returns_set)),
            ("provolatile", letter(procedure.volatility)),
            ("proparallel", letter('s')),
            ("pronargs", Datum::Int2(procedure.arguments.len() as i16)),
            ("prorettype", Datum::Oid(procedure.returns)),
            ("proargtypes", oid_vector(procedure.arguments.iter().copied())),
            ("prosrc", text(procedure.name)),
        ])?;
    }
    Ok(())
}

/// `pg_aggregate`: which functions are aggregates; how they are computed is DataFusion's business.
pub(super) fn aggregates(rows: &mut Rows) -> Result<()> {
    for procedure in PROCEDURES.iter().filter(|procedure| procedure.kind == 'a') {
        rows.push([
            ("aggfnoid", Datum::Oid(procedure.oid)),
            ("aggkind", letter('n')),
            ("aggfinalmodify", letter('r')),
            ("aggmfinalmodify", letter('r')),
        ])?;
    }
    Ok(())
}

/// Name, function, result, commutator and negator of an operator.
type VectorOperator = (&'static str, &'static str, ScalarType, Option<usize>, Option<usize>);

/// The operators on vectors: name, function, result, commutator and negator by their places in this list.
const VECTOR_OPERATORS: &[VectorOperator] = &[
    ("<->", "l2_distance", ScalarType::Float8, Some(0), None),
    ("<#>", "vector_negative_inner_product", ScalarType::Float8, Some(1), None),
    ("<=>", "cosine_distance", ScalarType::Float8, Some(2), None),
    ("<+>", "l1_distance", ScalarType::Float8, Some(3), None),
    ("+", "vector_add", ScalarType::Vector, Some(4), None),
    ("-", "vector_sub", ScalarType::Vector, None, None),
    ("*", "vector_mul", ScalarType::Vector, Some(6), None),
    ("||", "vector_concat", ScalarType::Vector, None, None),
    ("<", "vector_lt", ScalarType::Bool, Some(13), Some(12)),
    ("<=", "vector_le", ScalarType::Bool, Some(12), Some(13)),
    ("=", "vector_eq", ScalarType::Bool, Some(10), Some(11)),
    ("<>", "vector_ne", ScalarType::Bool, Some(11), Some(10)),
    (">=", "vector_ge", ScalarType::Bool, Some(9), Some(8)),
    (">", "vector_gt", ScalarType::Bool, Some(8), Some(9)),
];

/// The OID of the operator on vectors at a place of [`VECTOR_OPERATORS`].
fn vector_operator_oid(place: usize) -> u32 {
    15_200 + place as u32
}

/// The OID of an operator on vectors by name; 0 if there is none.
pub(super) fn vector_operator(name: &str) -> u32 {
    VECTOR_OPERATORS.iter().position(|(operator, ..)| *operator == name).map_or(0, vector_operator_oid)
}

/// `pg_operator`.
pub(super) fn operators(rows: &mut Rows) -> Result<()> {
    let common = [("oprnamespace", Datum::Oid(PG_CATALOG_OID)), ("oprowner", Datum::Oid(OWNER))];
    rows.push_text(include_str!("../data/pg_operator.tsv"), &common)?;
    let vector = ScalarType::Vector.oid();
    for (place, (name, code, result, commutator, negator)) in VECTOR_OPERATORS.iter().enumerate() {
        rows.push([
            ("oid", Datum::Oid(vector_operator_oid(place))),
            ("oprname", text(*name)),
            ("oprnamespace", Datum::Oid(PUBLIC_OID)),
            ("oprowner", Datum::Oid(OWNER)),
            ("oprkind", letter('b')),
            ("oprleft", Datum::Oid(vector)),
            ("oprright", Datum::Oid(vector)),
            ("oprresult", Datum::Oid(result.oid())),
            ("oprcom", Datum::Oid(commutator.map_or(0, vector_operator_oid))),
            ("oprnegate", Datum::Oid(negator.map_or(0, vector_operator_oid))),
            ("oprcode", function(code)),
        ])?;
    }
    Ok(())
}
