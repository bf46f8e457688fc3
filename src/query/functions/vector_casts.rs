//! The functions that pgvector's casts are: between arrays and vectors of every kind. Their second argument is the
//! modifier of the type wanted, -1 for none, and their third whether the cast was asked for.

use lodedb_sql::cast::{CastContext, cast};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use super::definition::{Call, Definition, Parameter, function};
use super::types::{
    ANY_ARRAY, BOOL, HALFVEC, INT4, SPARSEVEC, TO_FLOAT4_ARRAY, TO_HALFVEC, TO_SPARSEVEC, TO_VECTOR, VECTOR,
};
use super::vector::int;

fn to(call: &Call<'_>, args: &[Datum], ty: PgType) -> Result<Datum> {
    let modifier = if matches!(ty, PgType::Array(_)) { -1 } else { int(args, 1) };
    cast(args[0].clone(), call.ty(0), TypeWithModifier { ty, modifier }, CastContext::Explicit, call.environment())
}

fn to_vector(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    to(call, args, ScalarType::Vector.into())
}

fn to_halfvec(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    to(call, args, ScalarType::Halfvec.into())
}

fn to_sparsevec(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    to(call, args, ScalarType::Sparsevec.into())
}

fn to_float4(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    to(call, args, PgType::Array(ScalarType::Float4))
}

const FROM_ARRAY: &[Parameter] = &[ANY_ARRAY, INT4, BOOL];
const FROM_VECTOR: &[Parameter] = &[VECTOR, INT4, BOOL];
const FROM_HALFVEC: &[Parameter] = &[HALFVEC, INT4, BOOL];
const FROM_SPARSEVEC: &[Parameter] = &[SPARSEVEC, INT4, BOOL];

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("vector", FROM_VECTOR, TO_VECTOR, to_vector),
    function("halfvec", FROM_HALFVEC, TO_HALFVEC, to_halfvec),
    function("sparsevec", FROM_SPARSEVEC, TO_SPARSEVEC, to_sparsevec),
    function("array_to_vector", FROM_ARRAY, TO_VECTOR, to_vector),
    function("array_to_halfvec", FROM_ARRAY, TO_HALFVEC, to_halfvec),
    function("array_to_sparsevec", FROM_ARRAY, TO_SPARSEVEC, to_sparsevec),
    function("vector_to_float4", FROM_VECTOR, TO_FLOAT4_ARRAY, to_float4),
    function("halfvec_to_float4", FROM_HALFVEC, TO_FLOAT4_ARRAY, to_float4),
    function("vector_to_halfvec", FROM_VECTOR, TO_HALFVEC, to_halfvec),
    function("vector_to_sparsevec", FROM_VECTOR, TO_SPARSEVEC, to_sparsevec),
    function("halfvec_to_vector", FROM_HALFVEC, TO_VECTOR, to_vector),
    function("halfvec_to_sparsevec", FROM_HALFVEC, TO_SPARSEVEC, to_sparsevec),
    function("sparsevec_to_vector", FROM_SPARSEVEC, TO_VECTOR, to_vector),
    function("sparsevec_to_halfvec", FROM_SPARSEVEC, TO_HALFVEC, to_halfvec),
];
