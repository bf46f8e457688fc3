//! The name of a call as a column of a plan.

use std::hash::{DefaultHasher, Hash, Hasher};

use datafusion::logical_expr::Expr;

/// The longest text that is written into a name.
const TEXT_BYTES_MAX: usize = 64;

/// The name of a call. DataFusion writes it into the name of every call around it, and asks for all of them again and
/// again while it plans: that of a call of calls is a digest, or planning a chain of them would take its length cubed.
pub(crate) fn call_name(function: &str, args: &[Expr]) -> String {
    let is_short = |arg: &Expr| match arg {
        Expr::Literal(value, _) => value.try_as_str().flatten().is_none_or(|text| text.len() <= TEXT_BYTES_MAX),
        other => matches!(other, Expr::Column(_) | Expr::Placeholder(_)),
    };
    if args.iter().all(is_short) {
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        return format!("{function}({})", names.join(","));
    }
    let mut digest = DefaultHasher::new();
    args.hash(&mut digest);
    format!("{function}(#{:016x})", digest.finish())
}
