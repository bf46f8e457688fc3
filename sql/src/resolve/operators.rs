//! The operators there are, as data.

use super::OperatorChoice;
use super::coercion::{Category, category, common_type};
use crate::types::{PgType, ScalarType};

use ScalarType::{
    Bit, Bool, Bpchar, Bytea, Char, Date, Float4, Float8, Halfvec, Int2, Int4, Int8, Interval, Jsonb, Name, Numeric,
    Oid, Oidvector, Sparsevec, Text, Time, Timestamp, Timestamptz, Uuid, Varbit, Vector, Xid,
};

/// An operator: the types it is declared for, and how it is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) left: PgType,
    pub(super) right: PgType,
    /// The types that both sides are cast to, where those are not the declared ones.
    runs_as: Option<(PgType, PgType)>,
    result: PgType,
    function: Option<&'static str>,
}

impl Candidate {
    fn new(left: impl Into<PgType>, right: impl Into<PgType>, result: impl Into<PgType>) -> Self {
        Self { left: left.into(), right: right.into(), runs_as: None, result: result.into(), function: None }
    }
    fn both(mut self, ty: ScalarType) -> Self {
        self.runs_as = Some((ty.into(), ty.into()));
        self
    }
    fn run(mut self, left: ScalarType, right: ScalarType) -> Self {
        self.runs_as = Some((left.into(), right.into()));
        self
    }
    fn by(mut self, function: &'static str) -> Self {
        self.function = Some(function);
        self
    }
    pub(super) fn choice(&self) -> OperatorChoice {
        let (left, right) = self.runs_as.unwrap_or((self.left, self.right));
        OperatorChoice { left, right, result: self.result, function: self.function }
    }
}

const INTEGERS: [ScalarType; 3] = [Int2, Int4, Int8];
const FLOATS: [ScalarType; 2] = [Float4, Float8];

/// All operators of this name but the polymorphic ones.
pub(super) fn candidates(operator: &str) -> Vec<Candidate> {
    match operator {
        "=" | "<>" | "<" | "<=" | ">" | ">=" => comparisons(operator),
        "+" | "-" | "*" | "/" | "%" => arithmetic(operator),
        "&" | "|" | "#" => {
            let bits = Candidate::new(Bit, Bit, Bit).by(match operator {
                "&" => "bitand",
                "|" => "bitor",
                _ => "bitxor",
            });
            INTEGERS.iter().map(|&ty| Candidate::new(ty, ty, ty)).chain([bits]).collect()
        }
        "<<" | ">>" => {
            let function = if operator == "<<" { "bitshiftleft" } else { "bitshiftright" };
            let bits = Candidate::new(Bit, Int4, Bit).by(function);
            INTEGERS.iter().map(|&ty| Candidate::new(ty, Int4, ty).both(ty)).chain([bits]).collect()
        }
        "^" => vec![
            Candidate::new(Float8, Float8, Float8).by("power"),
            Candidate::new(Numeric, Numeric, Numeric).by("power"),
        ],
        "||" => vec![
            Candidate::new(Text, Text, Text),
            Candidate::new(Bytea, Bytea, Bytea).by("bytea_concat"),
            Candidate::new(Jsonb, Jsonb, Jsonb).by("jsonb_concat"),
            Candidate::new(Vector, Vector, Vector).by("vector_concat"),
            Candidate::new(Halfvec, Halfvec, Halfvec).by("halfvec_concat"),
            Candidate::new(Varbit, Varbit, Varbit).by("bitcat"),
        ],
        "~~" | "!~~" | "~~*" | "!~~*" | "~" | "!~" | "~*" | "!~*" => {
            [Text, Bpchar, Name].iter().map(|&ty| Candidate::new(ty, Text, Bool).both(Text)).collect()
        }
        "<->" => distances("l2_distance"),
        "<#>" => distances("vector_negative_inner_product"),
        "<=>" => distances("cosine_distance"),
        "<+>" => distances("l1_distance"),
        "<~>" => vec![Candidate::new(Bit, Bit, Float8).by("hamming_distance")],
        "<%>" => vec![Candidate::new(Bit, Bit, Float8).by("jaccard_distance")],
        "^@" => vec![Candidate::new(Text, Text, Bool).by("starts_with")],
        _ => Vec::new(),
    }
}

/// A distance, which every kind of vector has.
fn distances(function: &'static str) -> Vec<Candidate> {
    [Vector, Halfvec, Sparsevec].iter().map(|&ty| Candidate::new(ty, ty, Float8).by(function)).collect()
}

/// The name of a comparison among those given: of `=`, `<>`, `<`, `<=`, `>` and `>=`.
fn comparison(operator: &str, names: [&'static str; 6]) -> &'static str {
    let place = ["=", "<>", "<", "<=", ">"].iter().position(|name| *name == operator);
    names[place.unwrap_or(5)]
}

fn comparisons(operator: &str) -> Vec<Candidate> {
    let mut all = Vec::new();
    for ty in [
        Bool,
        Float4,
        Float8,
        Numeric,
        Text,
        Bpchar,
        Name,
        Char,
        Bytea,
        Date,
        Time,
        Timestamp,
        Timestamptz,
        Uuid,
        Oid,
        Oidvector,
    ] {
        all.push(Candidate::new(ty, ty, Bool));
    }
    for left in INTEGERS {
        for right in INTEGERS {
            all.push(Candidate::new(left, right, Bool).both(left.max(right)));
        }
    }
    all.push(Candidate::new(Float4, Float8, Bool).both(Float8));
    all.push(Candidate::new(Float8, Float4, Bool).both(Float8));
    for (a, b) in [(Date, Timestamp), (Date, Timestamptz), (Timestamp, Timestamptz), (Name, Text)] {
        all.push(Candidate::new(a, b, Bool).both(b));
        all.push(Candidate::new(b, a, Bool).both(b));
    }
    let equality = matches!(operator, "=" | "<>");
    if equality {
        all.push(Candidate::new(Xid, Xid, Bool));
    }
    for (ty, names) in [
        (Interval, ["interval_eq", "interval_ne", "interval_lt", "interval_le", "interval_gt", "interval_ge"]),
        (Jsonb, ["jsonb_eq", "jsonb_ne", "jsonb_lt", "jsonb_le", "jsonb_gt", "jsonb_ge"]),
        (Vector, ["vector_eq", "vector_ne", "vector_lt", "vector_le", "vector_gt", "vector_ge"]),
        (Halfvec, ["halfvec_eq", "halfvec_ne", "halfvec_lt", "halfvec_le", "halfvec_gt", "halfvec_ge"]),
        (Sparsevec, ["sparsevec_eq", "sparsevec_ne", "sparsevec_lt", "sparsevec_le", "sparsevec_gt", "sparsevec_ge"]),
        (Bit, ["biteq", "bitne", "bitlt", "bitle", "bitgt", "bitge"]),
        (Varbit, ["varbiteq", "varbitne", "varbitlt", "varbitle", "varbitgt", "varbitge"]),
    ] {
        all.push(Candidate::new(ty, ty, Bool).by(comparison(operator, names)));
    }
    all
}

fn arithmetic(operator: &str) -> Vec<Candidate> {
    let mut all = Vec::new();
    for left in INTEGERS {
        for right in INTEGERS {
            let wide = left.max(right);
            // There is no remainder of integers of two sizes.
            if operator != "%" || left == right {
                all.push(Candidate::new(left, right, wide).both(wide));
            }
        }
    }
    let numeric = Candidate::new(Numeric, Numeric, Numeric);
    all.push(if operator == "/" { numeric.by("numeric_div") } else { numeric });
    if operator == "%" {
        return all;
    }
    for left in FLOATS {
        for right in FLOATS {
            let wide = left.max(right);
            all.push(Candidate::new(left, right, wide).both(wide));
        }
    }
    match operator {
        "+" => {
            all.push(Candidate::new(Vector, Vector, Vector).by("vector_add"));
            all.push(Candidate::new(Halfvec, Halfvec, Halfvec).by("halfvec_add"));
            all.push(Candidate::new(Date, Int4, Date).by("date_pli"));
            all.push(Candidate::new(Int4, Date, Date).by("integer_pl_date"));
            all.push(Candidate::new(Date, Time, Timestamp).by("datetime_pl"));
            all.push(Candidate::new(Time, Date, Timestamp).by("timedate_pl"));
            for moment in [Date, Timestamp] {
                let (after, before) = ("timestamp_pl_interval", "interval_pl_timestamp");
                all.push(Candidate::new(moment, Interval, Timestamp).run(Timestamp, Interval).by(after));
                all.push(Candidate::new(Interval, moment, Timestamp).run(Interval, Timestamp).by(before));
            }
            all.push(Candidate::new(Timestamptz, Interval, Timestamptz).by("timestamptz_pl_interval"));
            all.push(Candidate::new(Interval, Timestamptz, Timestamptz).by("interval_pl_timestamptz"));
            all.push(Candidate::new(Time, Interval, Time).by("time_pl_interval"));
            all.push(Candidate::new(Interval, Time, Time).by("interval_pl_time"));
            all.push(Candidate::new(Interval, Interval, Interval));
        }
        "-" => {
            all.push(Candidate::new(Vector, Vector, Vector).by("vector_sub"));
            all.push(Candidate::new(Halfvec, Halfvec, Halfvec).by("halfvec_sub"));
            all.push(Candidate::new(Date, Int4, Date).by("date_mii"));
            all.push(Candidate::new(Date, Date, Int4).by("date_mi"));
            all.push(Candidate::new(Timestamp, Timestamp, Interval).by("timestamp_mi"));
            all.push(Candidate::new(Timestamptz, Timestamptz, Interval).by("timestamptz_mi"));
            for moment in [Date, Timestamp] {
                let before = "timestamp_mi_interval";
                all.push(Candidate::new(moment, Interval, Timestamp).run(Timestamp, Interval).by(before));
            }
            all.push(Candidate::new(Timestamptz, Interval, Timestamptz).by("timestamptz_mi_interval"));
            all.push(Candidate::new(Time, Interval, Time).by("time_mi_interval"));
            all.push(Candidate::new(Time, Time, Interval).by("time_mi_time"));
            all.push(Candidate::new(Interval, Interval, Interval));
            all.push(Candidate::new(Jsonb, Text, Jsonb).by("jsonb_delete"));
            all.push(Candidate::new(Jsonb, PgType::Array(Text), Jsonb).by("jsonb_delete"));
            all.push(Candidate::new(Jsonb, Int4, Jsonb).by("jsonb_delete"));
        }
        "*" => {
            all.push(Candidate::new(Vector, Vector, Vector).by("vector_mul"));
            all.push(Candidate::new(Halfvec, Halfvec, Halfvec).by("halfvec_mul"));
            all.push(Candidate::new(Interval, Float8, Interval).by("interval_mul"));
            all.push(Candidate::new(Float8, Interval, Interval).by("mul_d_interval"));
        }
        _ => all.push(Candidate::new(Interval, Float8, Interval).by("interval_div")),
    }
    all
}

/// Operators on arrays of anything, and `||` of a text and anything.
pub(super) fn polymorphic(operator: &str, left: Option<PgType>, right: Option<PgType>) -> Option<OperatorChoice> {
    let text = PgType::Scalar(Text);
    let array = |ty: Option<PgType>| matches!(ty, Some(PgType::Array(_)));
    if !array(left) && !array(right) {
        let string = |ty: Option<PgType>| ty.is_some_and(|ty| category(ty) == Category::String);
        // One side a string and the other of any type but the ones with a `||` of their own.
        let joins = operator == "||"
            && (string(left) || string(right) || (left.is_none() != right.is_none()))
            && ![left, right].iter().flatten().any(|ty| {
                matches!(ty, PgType::Scalar(Bytea | Jsonb | Vector | Halfvec | Bit | Varbit))
                    && !(string(left) || string(right))
            });
        return joins.then_some(OperatorChoice { left: text, right: text, result: text, function: None });
    }
    let element = |ty: PgType| match ty {
        PgType::Array(element) => PgType::Scalar(element),
        scalar => scalar,
    };
    let array_of = |ty: PgType| match ty {
        PgType::Scalar(scalar) => PgType::Array(scalar),
        array => array,
    };
    let common = common_type("ARRAY", &[left.map(element), right.map(element)]).ok()?;
    let whole = array_of(common);
    if whole.oid() == 0 {
        return None;
    }
    let boolean = PgType::Scalar(Bool);
    let same = |function: Option<&'static str>| OperatorChoice { left: whole, right: whole, result: boolean, function };
    let scalar = |ty: Option<PgType>| matches!(ty, Some(PgType::Scalar(_)));
    Some(match operator {
        "||" if scalar(right) => {
            OperatorChoice { left: whole, right: common, result: whole, function: Some("array_append") }
        }
        "||" if scalar(left) => {
            OperatorChoice { left: common, right: whole, result: whole, function: Some("array_prepend") }
        }
        // PostgreSQL takes an untyped literal beside an array for an array.
        "||" => OperatorChoice { left: whole, right: whole, result: whole, function: Some("array_cat") },
        _ if scalar(left) || scalar(right) => return None,
        "=" | "<>" => same(None),
        // An element that is NULL comes after every other.
        "<" => same(Some("array_lt")),
        "<=" => same(Some("array_le")),
        ">" => same(Some("array_gt")),
        ">=" => same(Some("array_ge")),
        "@>" => same(Some("contains_op")),
        "<@" => same(Some("contained_op")),
        "&&" => same(Some("overlap_op")),
        _ => return None,
    })
}
