//! Types, casts, functions and operators: what does not depend on the user's objects.

use std::sync::LazyLock;

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
    for ty in EXTENSION_TYPES {
        extension_type(rows, ty)?;
    }
    Ok(())
}

/// The types of the extension.
pub(super) const EXTENSION_TYPES: [ScalarType; 3] = [ScalarType::Vector, ScalarType::Halfvec, ScalarType::Sparsevec];

/// A type of the extension and the array of it.
fn extension_type(rows: &mut Rows, ty: ScalarType) -> Result<()> {
    let name = ty.typname();
    let own = |suffix: &str| function(&format!("{name}_{suffix}"));
    rows.push([
        ("oid", Datum::Oid(ty.oid())),
        ("typname", text(name)),
        ("typnamespace", Datum::Oid(PUBLIC_OID)),
        ("typowner", Datum::Oid(OWNER)),
        ("typlen", Datum::Int2(-1)),
        ("typtype", letter('b')),
        ("typcategory", letter('U')),
        ("typisdefined", Datum::Bool(true)),
        ("typdelim", letter(',')),
        ("typarray", Datum::Oid(ty.array_oid())),
        ("typinput", own("in")),
        ("typoutput", own("out")),
        ("typreceive", own("recv")),
        ("typsend", own("send")),
        ("typmodin", own("typmod_in")),
        ("typalign", letter('i')),
        ("typstorage", letter('e')),
        ("typtypmod", Datum::Int4(-1)),
    ])?;
    rows.push([
        ("oid", Datum::Oid(ty.array_oid())),
        ("typname", text(format!("_{name}"))),
        ("typnamespace", Datum::Oid(PUBLIC_OID)),
        ("typowner", Datum::Oid(OWNER)),
        ("typlen", Datum::Int2(-1)),
        ("typtype", letter('b')),
        ("typcategory", letter('A')),
        ("typisdefined", Datum::Bool(true)),
        ("typdelim", letter(',')),
        ("typsubscript", function("array_subscript_handler")),
        ("typelem", Datum::Oid(ty.oid())),
        ("typinput", function("array_in")),
        ("typoutput", function("array_out")),
        ("typreceive", function("array_recv")),
        ("typsend", function("array_send")),
        ("typmodin", own("typmod_in")),
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
    let arrays = [ScalarType::Int4, ScalarType::Float4, ScalarType::Float8, ScalarType::Numeric];
    let reals = ScalarType::Float4.array_oid();
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
    for ty in EXTENSION_TYPES {
        push(ty.oid(), ty.oid(), ty.typname(), 'i')?;
        for element in arrays {
            push(element.array_oid(), ty.oid(), &format!("array_to_{}", ty.typname()), 'a')?;
        }
    }
    push(ScalarType::Vector.oid(), reals, "vector_to_float4", 'i')?;
    push(ScalarType::Halfvec.oid(), reals, "halfvec_to_float4", 'a')?;
    for (from, to, context) in [
        (ScalarType::Vector, ScalarType::Halfvec, 'i'),
        (ScalarType::Vector, ScalarType::Sparsevec, 'i'),
        (ScalarType::Halfvec, ScalarType::Sparsevec, 'i'),
        (ScalarType::Halfvec, ScalarType::Vector, 'a'),
        (ScalarType::Sparsevec, ScalarType::Vector, 'a'),
        (ScalarType::Sparsevec, ScalarType::Halfvec, 'a'),
    ] {
        push(from.oid(), to.oid(), &format!("{}_to_{}", from.typname(), to.typname()), context)?;
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

/// An operator on two vectors of one type.
struct VectorOperator {
    name: &'static str,
    ty: ScalarType,
    function: &'static str,
    result: ScalarType,
    commutator: Option<&'static str>,
    negator: Option<&'static str>,
}

/// The operators on vectors of a kind: name, end of the function's name, whether it gives a vector or a truth value,
/// commutator and negator.
type OperatorShape = (&'static str, &'static str, Option<&'static str>, Option<&'static str>);

const DISTANCES: &[(&str, [&str; 3])] = &[
    ("<->", ["l2_distance", "l2_distance", "l2_distance"]),
    ("<#>", ["vector_negative_inner_product", "halfvec_negative_inner_product", "sparsevec_negative_inner_product"]),
    ("<=>", ["cosine_distance", "cosine_distance", "cosine_distance"]),
    ("<+>", ["l1_distance", "l1_distance", "l1_distance"]),
];

const ARITHMETIC: &[OperatorShape] = &[
    ("+", "add", Some("+"), None),
    ("-", "sub", None, None),
    ("*", "mul", Some("*"), None),
    ("||", "concat", None, None),
];

const COMPARISONS: &[OperatorShape] = &[
    ("<", "lt", Some(">"), Some(">=")),
    ("<=", "le", Some(">="), Some(">")),
    ("=", "eq", Some("="), Some("<>")),
    ("<>", "ne", Some("<>"), Some("=")),
    (">=", "ge", Some("<="), Some("<")),
    (">", "gt", Some("<"), Some("<=")),
];

/// Every operator of the extension.
static OPERATORS: LazyLock<Vec<VectorOperator>> = LazyLock::new(|| {
    let mut operators = Vec::new();
    for (place, ty) in EXTENSION_TYPES.into_iter().enumerate() {
        for (name, functions) in DISTANCES {
            let (function, result) = (functions[place], ScalarType::Float8);
            operators.push(VectorOperator { name, ty, function, result, commutator: Some(name), negator: None });
        }
        let arithmetic = if ty == ScalarType::Sparsevec { &[] } else { ARITHMETIC };
        for (shapes, result) in [(arithmetic, ty), (COMPARISONS, ScalarType::Bool)] {
            for &(name, suffix, commutator, negator) in shapes {
                let Some(function) = procedures::listed(&format!("{}_{suffix}", ty.typname())) else { continue };
                operators.push(VectorOperator { name, ty, function, result, commutator, negator });
            }
        }
    }
    for (name, function) in [("<~>", "hamming_distance"), ("<%>", "jaccard_distance")] {
        let (ty, result) = (ScalarType::Bit, ScalarType::Float8);
        operators.push(VectorOperator { name, ty, function, result, commutator: Some(name), negator: None });
    }
    operators
});

/// The OID of the operator at a place of [`OPERATORS`].
fn vector_operator_oid(place: usize) -> u32 {
    15_200 + place as u32
}

/// The OID of an operator of the extension by name and type; 0 if there is none.
pub(super) fn vector_operator(name: &str, ty: ScalarType) -> u32 {
    OPERATORS.iter().position(|operator| operator.name == name && operator.ty == ty).map_or(0, vector_operator_oid)
}

/// `pg_operator`.
pub(super) fn operators(rows: &mut Rows) -> Result<()> {
    let common = [("oprnamespace", Datum::Oid(PG_CATALOG_OID)), ("oprowner", Datum::Oid(OWNER))];
    rows.push_text(include_str!("../data/pg_operator.tsv"), &common)?;
    for (place, operator) in OPERATORS.iter().enumerate() {
        let named = |name: Option<&str>| Datum::Oid(name.map_or(0, |name| vector_operator(name, operator.ty)));
        let code = procedures::of_types(operator.function, &[operator.ty.oid(); 2]);
        rows.push([
            ("oid", Datum::Oid(vector_operator_oid(place))),
            ("oprname", text(operator.name)),
            ("oprnamespace", Datum::Oid(PUBLIC_OID)),
            ("oprowner", Datum::Oid(OWNER)),
            ("oprkind", letter('b')),
            ("oprleft", Datum::Oid(operator.ty.oid())),
            ("oprright", Datum::Oid(operator.ty.oid())),
            ("oprresult", Datum::Oid(operator.result.oid())),
            ("oprcom", named(operator.commutator)),
            ("oprnegate", named(operator.negator)),
            ("oprcode", Datum::Oid(code.unwrap_or(0))),
        ])?;
    }
    Ok(())
}
