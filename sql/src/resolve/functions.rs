//! The types of the arguments of functions, for arguments that have none of their own.

use crate::types::{PgType, ScalarType};

use ScalarType::{
    Bit, Bool, Bytea, Float8, Halfvec, Int4, Int8, Jsonb, Numeric, Oid, Regclass, Sparsevec, Text, Timestamptz, Vector,
};

/// The types that a function of this name wants of its `n` arguments; `None` for an argument that may be of any
/// type, and altogether where the function is not known to want any.
pub fn function_parameter_types(name: &str, n: usize) -> Option<Vec<Option<PgType>>> {
    let types: &[Option<ScalarType>] = match (name, n) {
        ("l2_distance" | "inner_product" | "cosine_distance" | "l1_distance", 2) => &[Some(Vector), Some(Vector)],
        ("hamming_distance" | "jaccard_distance", 2) => &[Some(Bit), Some(Bit)],
        ("vector_accum" | "vector_combine" | "halfvec_accum" | "halfvec_combine", _) => return None,
        (name, 2) if name.starts_with("vector_") => &[Some(Vector), Some(Vector)],
        (name, 2) if name.starts_with("halfvec_") => &[Some(Halfvec), Some(Halfvec)],
        (name, 2) if name.starts_with("sparsevec_") => &[Some(Sparsevec), Some(Sparsevec)],
        ("vector_dims" | "vector_norm" | "l2_norm" | "l2_normalize" | "binary_quantize", 1) => &[Some(Vector)],
        ("subvector", 3) => &[Some(Vector), Some(Int4), Some(Int4)],
        (
            "lower" | "upper" | "initcap" | "length" | "char_length" | "character_length" | "octet_length" | "md5"
            | "reverse" | "ascii" | "trim" | "btrim" | "ltrim" | "rtrim" | "quote_ident" | "to_regclass" | "to_regtype"
            | "to_regproc" | "to_regnamespace" | "current_setting" | "nextval" | "currval",
            1,
        ) => &[Some(Text)],
        ("btrim" | "ltrim" | "rtrim" | "trim" | "strpos" | "starts_with" | "regexp_match" | "regexp_matches", 2) => {
            &[Some(Text), Some(Text)]
        }
        ("regexp_replace" | "replace" | "translate", 3) => &[Some(Text), Some(Text), Some(Text)],
        ("split_part", 3) => &[Some(Text), Some(Text), Some(Int4)],
        ("left" | "right" | "repeat", 2) => &[Some(Text), Some(Int4)],
        ("substring" | "substr", 2) => &[Some(Text), Some(Int4)],
        ("substring" | "substr", 3) => &[Some(Text), Some(Int4), Some(Int4)],
        ("lpad" | "rpad", 2) => &[Some(Text), Some(Int4)],
        ("lpad" | "rpad", 3) => &[Some(Text), Some(Int4), Some(Text)],
        ("current_setting", 2) => &[Some(Text), Some(Bool)],
        ("set_config", 3) => &[Some(Text), Some(Text), Some(Bool)],
        ("string_agg", 2) => &[Some(Text), Some(Text)],
        ("format", 1..) => return Some(first_then_any(Text, n)),
        ("concat_ws", 1..) => return Some(first_then_any(Text, n)),
        ("json_get" | "json_get_text", 2) => &[Some(Jsonb), Some(Text)],
        ("json_get_path" | "json_get_path_text" | "json_delete_path" | "json_exists_any" | "json_exists_all", 2) => {
            return Some(vec![Some(PgType::Scalar(Jsonb)), Some(PgType::Array(Text))]);
        }
        ("json_exists", 2) => &[Some(Jsonb), Some(Text)],
        ("jsonb_concat", 2) => &[Some(Jsonb), Some(Jsonb)],
        ("jsonb_set", 3) => {
            return Some(vec![Some(PgType::Scalar(Jsonb)), Some(PgType::Array(Text)), Some(PgType::Scalar(Jsonb))]);
        }
        ("jsonb_typeof" | "jsonb_array_length" | "jsonb_array_elements" | "jsonb_array_elements_text", 1) => {
            &[Some(Jsonb)]
        }
        ("sqrt" | "cbrt" | "exp" | "ln" | "sin" | "cos" | "tan" | "radians" | "degrees", 1) => &[Some(Float8)],
        ("round" | "trunc", 2) => &[Some(Numeric), Some(Int4)],
        ("date_trunc" | "date_part" | "timezone", 2) => &[Some(Text), Some(Timestamptz)],
        ("to_timestamp", 1) => &[Some(Float8)],
        ("generate_series", 2) => &[Some(Int4), Some(Int4)],
        ("generate_series", 3) => &[Some(Int4), Some(Int4), Some(Int4)],
        ("pg_sleep", 1) => &[Some(Float8)],
        ("setval", 2) => &[Some(Regclass), Some(Int8)],
        ("setval", 3) => &[Some(Regclass), Some(Int8), Some(Bool)],
        ("embed", 2) => &[Some(Text), Some(Text)],
        ("embed", 3) => &[Some(Text), Some(Text), Some(Text)],
        ("embed_image", 2) => &[Some(Text), Some(Bytea)],
        ("image_info", 1) => &[Some(Bytea)],
        ("split_sentences", 1) => &[Some(Text)],
        ("split_text", 2) => &[Some(Text), Some(Int4)],
        // Of words, or of the tokens of a model that is named first.
        ("split_text", 3) => &[Some(Text), None, Some(Int4)],
        ("split_text", 4) => &[Some(Text), Some(Text), Some(Int4), Some(Int4)],
        ("pg_notify", 2) => &[Some(Text), Some(Text)],
        (name, 1) if is_advisory(name) => &[Some(Int8)],
        (name, 2) if is_advisory(name) => &[Some(Int4), Some(Int4)],
        ("format_type", 2) => &[Some(Oid), Some(Int4)],
        ("pg_get_indexdef" | "pg_get_constraintdef" | "pg_get_userbyid" | "pg_table_is_visible", 1) => &[Some(Oid)],
        ("pg_relation_size" | "pg_total_relation_size" | "pg_table_size" | "pg_indexes_size", 1) => &[Some(Regclass)],
        _ => return None,
    };
    Some(types.iter().map(|ty| ty.map(PgType::Scalar)).collect())
}

fn is_advisory(name: &str) -> bool {
    let name = name.strip_suffix("_shared").unwrap_or(name);
    matches!(
        name,
        "pg_advisory_lock"
            | "pg_advisory_unlock"
            | "pg_advisory_xact_lock"
            | "pg_try_advisory_lock"
            | "pg_try_advisory_xact_lock"
    )
}

fn first_then_any(first: ScalarType, n: usize) -> Vec<Option<PgType>> {
    let mut types = vec![None; n];
    types[0] = Some(PgType::Scalar(first));
    types
}
