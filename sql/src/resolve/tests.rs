//! Choices compared with PostgreSQL's.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::vector::Metric;
use ScalarType::*;

fn choose(left: impl Into<Option<ScalarType>>, operator: &str, right: impl Into<Option<ScalarType>>) -> OperatorChoice {
    resolve_operator(operator, left.into().map(PgType::Scalar), right.into().map(PgType::Scalar)).unwrap()
}

fn refused(left: Option<PgType>, operator: &str, right: Option<PgType>) -> (&'static str, String) {
    let error = resolve_operator(operator, left, right).unwrap_err();
    (error.state().code(), error.message().to_owned())
}

#[test]
fn numbers_meet_in_the_wider_type() {
    for (left, right, result) in [
        (Int2, Int4, Int4),
        (Int4, Int8, Int8),
        (Int8, Numeric, Numeric),
        (Int4, Float4, Float8),
        (Numeric, Float4, Float8),
        (Float4, Float8, Float8),
        (Int4, Int4, Int4),
    ] {
        let choice = choose(left, "+", right);
        assert_eq!(choice.result, PgType::Scalar(result), "{left:?} + {right:?}");
        assert_eq!((choice.left, choice.right), (choice.result, choice.result));
    }
}

#[test]
fn an_untyped_side_takes_the_other_type() {
    assert_eq!(choose(Int4, "+", None).right, PgType::Scalar(Int4));
    assert_eq!(choose(None, "=", Date).left, PgType::Scalar(Date));
    assert_eq!(choose(Varchar, "=", None).right, PgType::Scalar(Text));
    assert_eq!(choose(Vector, "<->", None).right, PgType::Scalar(Vector));
    assert_eq!(choose(Vector, "+", None).function, Some("vector_add"));
    assert_eq!(choose(None, "||", None).result, PgType::Scalar(Text));
    assert_eq!(choose(Jsonb, "-", None).right, PgType::Scalar(Text));
    assert_eq!(choose(Timestamptz, "-", None).right, PgType::Scalar(Timestamptz));
}

#[test]
fn dates_add_up_as_in_postgresql() {
    assert_eq!(choose(Date, "+", Int4).function, Some("date_pli"));
    assert_eq!(choose(Date, "-", Date).result, PgType::Scalar(Int4));
    assert_eq!(choose(Date, "+", Interval).result, PgType::Scalar(Timestamp));
    assert_eq!(choose(Timestamp, "-", Timestamp).result, PgType::Scalar(Interval));
    assert_eq!(choose(Interval, "*", Int4).function, Some("interval_mul"));
    assert_eq!(choose(Date, "<", Timestamptz).left, PgType::Scalar(Timestamptz));
}

#[test]
fn text_joins_anything() {
    for ty in [Int4, Bool, Date, Uuid, Varchar] {
        assert_eq!(choose(Text, "||", ty).result, PgType::Scalar(Text));
        assert_eq!(choose(ty, "||", Text).left, PgType::Scalar(Text));
    }
    assert_eq!(choose(Jsonb, "||", None).function, Some("jsonb_concat"));
    assert_eq!(choose(Vector, "||", Vector).function, Some("vector_concat"));
    assert_eq!(refused(Some(Int4.into()), "||", Some(Int4.into())).0, "42883");
}

#[test]
fn arrays_take_operators_of_their_own() {
    let ints = Some(PgType::Array(Int4));
    let choice = resolve_operator("||", ints, Some(Int8.into())).unwrap();
    assert_eq!((choice.result, choice.function), (PgType::Array(Int8), Some("array_append")));
    assert_eq!(resolve_operator("=", ints, None).unwrap().right, PgType::Array(Int4));
    assert_eq!(resolve_operator("@>", ints, None).unwrap().function, Some("contains_op"));
    assert_eq!(refused(ints, "=", Some(Int4.into())).0, "42883");
}

#[test]
fn errors_read_as_in_postgresql() {
    let (state, message) = refused(Some(Int4.into()), "+", Some(Text.into()));
    assert_eq!((state, message.as_str()), ("42883", "operator does not exist: integer + text"));
    let (state, message) = refused(None, "+", None);
    assert_eq!((state, message.as_str()), ("42725", "operator is not unique: unknown + unknown"));
    let (_, message) = refused(Some(Vector.into()), "<->", Some(PgType::Array(Int4)));
    assert_eq!(message, "operator does not exist: vector <-> integer[]");
    assert_eq!(refused(Some(Int4.into()), "=", Some(Text.into())).0, "42883");
    assert_eq!(refused(Some(Bool.into()), "=", Some(Int4.into())).0, "42883");
    assert_eq!(refused(Some(Json.into()), "=", None).0, "42883");
}

#[test]
fn branches_find_one_type_or_say_which_do_not_match() {
    let some = |ty: ScalarType| Some(PgType::Scalar(ty));
    assert_eq!(unify(&[None, None]).unwrap(), PgType::Scalar(Text));
    assert_eq!(unify(&[None, some(Int4), some(Numeric)]).unwrap(), PgType::Scalar(Numeric));
    assert_eq!(unify(&[some(Float4), some(Int8)]).unwrap(), PgType::Scalar(Float4));
    assert_eq!(unify(&[some(Date), some(Timestamptz)]).unwrap(), PgType::Scalar(Timestamptz));
    assert_eq!(unify(&[some(Varchar), some(Text)]).unwrap(), PgType::Scalar(Varchar));
    let error = common_type("CASE", &[some(Int4), some(Text)]).unwrap_err();
    assert_eq!(error.message(), "CASE types integer and text cannot be matched");
    assert_eq!(error.state(), SqlState::DatatypeMismatch);
}

#[test]
fn operator_classes_are_those_of_the_method_and_the_type() {
    let failed = |method: &str, class: Option<&str>, ty: ScalarType| {
        let error = vector_class(method, class, ty.into()).unwrap_err();
        format!("{}: {}", error.state().code(), error.message())
    };
    let class =
        |method: &str, class: Option<&str>, ty: ScalarType| vector_class(method, class, ty.into()).unwrap().metric;
    assert_eq!(class("hnsw", Some("vector_cosine_ops"), Vector), ClassMetric::Vectors(Metric::Cosine));
    assert_eq!(class("ivfflat", None, Vector), ClassMetric::Vectors(Metric::L2));
    assert_eq!(class("ivfflat", Some("bit_hamming_ops"), ScalarType::Bit), ClassMetric::Hamming);
    for (method, name, ty, expected) in [
        (
            "ivfflat",
            Some("vector_l1_ops"),
            Vector,
            "42704: operator class \"vector_l1_ops\" does not exist for access method \"ivfflat\"",
        ),
        (
            "ivfflat",
            None,
            ScalarType::Halfvec,
            "42704: data type halfvec has no default operator class for access method \"ivfflat\"",
        ),
        ("hnsw", None, Vector, "42704: data type vector has no default operator class for access method \"hnsw\""),
        (
            "hnsw",
            Some("vector_l2_ops"),
            ScalarType::Halfvec,
            "42804: operator class \"vector_l2_ops\" does not accept data type halfvec",
        ),
        ("hnsw", Some("bit_hamming_ops"), ScalarType::Varbit, "0A000: type not supported for hnsw index"),
        ("nosuch", None, Vector, "42704: access method \"nosuch\" does not exist"),
    ] {
        assert_eq!(failed(method, name, ty), expected);
    }
    assert_eq!(function_parameter_types("l2_distance", 2).unwrap()[1], Some(PgType::Scalar(Vector)));
}
