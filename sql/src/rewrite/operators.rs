//! Operators of the syntax tree: their names, and the functions that some of them become.

use sqlparser::ast::BinaryOperator;

/// The operators that become calls of functions.
const FUNCTIONS: &[(&str, &str)] = &[
    ("<->", "l2_distance"),
    ("<=>", "cosine_distance"),
    ("<#>", "vector_negative_inner_product"),
    ("<+>", "l1_distance"),
    ("<~>", "hamming_distance"),
    ("<%>", "jaccard_distance"),
    ("->", "json_get"),
    ("->>", "json_get_text"),
    ("#>", "json_get_path"),
    ("#>>", "json_get_path_text"),
    ("@>", "contains_op"),
    ("<@", "contained_op"),
    ("&&", "overlap_op"),
    ("?", "json_exists"),
    ("?|", "json_exists_any"),
    ("?&", "json_exists_all"),
    ("#-", "json_delete_path"),
    ("@?", "json_path_exists_op"),
    ("@@", "match_op"),
    ("^@", "starts_with"),
    ("^", "power"),
];

/// The function that a binary operator becomes; none where it stays an operator.
pub(super) fn function_of(operator: &BinaryOperator) -> Option<&'static str> {
    let written = operator.to_string();
    FUNCTIONS.iter().find(|(operator, _)| *operator == written).map(|(_, function)| *function)
}

/// The operator that becomes a call of this function.
pub fn operator_of(function: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(_, name)| *name == function).map(|(operator, _)| *operator)
}

/// The operator with this name, where the syntax tree has it.
pub(super) fn operator_named(name: &str) -> Option<BinaryOperator> {
    Some(match name {
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "%" => BinaryOperator::Modulo,
        "^" => BinaryOperator::PGExp,
        "||" => BinaryOperator::StringConcat,
        "|" => BinaryOperator::BitwiseOr,
        "&" => BinaryOperator::BitwiseAnd,
        "#" => BinaryOperator::PGBitwiseXor,
        "<<" => BinaryOperator::PGBitwiseShiftLeft,
        ">>" => BinaryOperator::PGBitwiseShiftRight,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "^@" => BinaryOperator::PGStartsWith,
        "&&" => BinaryOperator::PGOverlap,
        "->" => BinaryOperator::Arrow,
        "->>" => BinaryOperator::LongArrow,
        "#>" => BinaryOperator::HashArrow,
        "#>>" => BinaryOperator::HashLongArrow,
        "@>" => BinaryOperator::AtArrow,
        "<@" => BinaryOperator::ArrowAt,
        "?" => BinaryOperator::Question,
        "?|" => BinaryOperator::QuestionPipe,
        "?&" => BinaryOperator::QuestionAnd,
        "#-" => BinaryOperator::HashMinus,
        "@?" => BinaryOperator::AtQuestion,
        "@@" => BinaryOperator::AtAt,
        "<->" => BinaryOperator::LtDashGt,
        "<=>" => BinaryOperator::Spaceship,
        "<#>" | "<+>" | "<~>" | "<%>" => BinaryOperator::Custom(name.to_owned()),
        _ => return None,
    })
}

/// The function for `x operator ANY (array)`, or ALL where `all`: `pg_any_` or `pg_all_` and one of `eq`, `ne`,
/// `lt`, `le`, `gt`, `ge`, `like`, `not_like`, `ilike`, `not_ilike`, `regex`, `not_regex`, `iregex`, `not_iregex`.
pub fn quantified_name(operator: &BinaryOperator, all: bool) -> Option<String> {
    let suffix = match operator {
        BinaryOperator::Eq => "eq",
        BinaryOperator::NotEq => "ne",
        BinaryOperator::Lt => "lt",
        BinaryOperator::LtEq => "le",
        BinaryOperator::Gt => "gt",
        BinaryOperator::GtEq => "ge",
        BinaryOperator::PGLikeMatch => "like",
        BinaryOperator::PGNotLikeMatch => "not_like",
        BinaryOperator::PGILikeMatch => "ilike",
        BinaryOperator::PGNotILikeMatch => "not_ilike",
        BinaryOperator::PGRegexMatch => "regex",
        BinaryOperator::PGRegexNotMatch => "not_regex",
        BinaryOperator::PGRegexIMatch => "iregex",
        BinaryOperator::PGRegexNotIMatch => "not_iregex",
        _ => return None,
    };
    Some(format!("pg_{}_{suffix}", if all { "all" } else { "any" }))
}

/// The name of an operator as a client writes it.
pub(super) fn written(operator: &BinaryOperator) -> String {
    match operator {
        BinaryOperator::PGCustomBinaryOperator(parts) => parts.join("."),
        other => other.to_string(),
    }
}
