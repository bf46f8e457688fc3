//! The rewriting of expressions, each after its parts.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Interval, ObjectName, ObjectNamePart, Subscript, UnaryOperator, Value, ValueWithSpan,
};
use sqlparser::tokenizer::Span;

use super::names::is_call_without_brackets;
use super::operators::{function_of, operator_named, quantified_name, written};
use super::{Rewriter, as_cast, call, cast, queries, records};
use crate::error::{Result, SqlError, SqlState};
use crate::type_name::{array_of, fold, resolve_type};
use crate::types::{ScalarType, TypeWithModifier};

/// Moves an expression out, leaving NULL.
fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()))
}

/// What the input function of `bit` reads for `B'101'` and `X'5F'`.
fn bit_literal(value: &Value) -> Option<String> {
    match value {
        Value::SingleQuotedByteStringLiteral(digits) => Some(format!("b{digits}")),
        Value::HexStringLiteral(digits) => Some(format!("x{digits}")),
        _ => None,
    }
}

/// Gives strings without a type the type that the elements beside them are cast to.
fn type_elements(elements: &mut [Expr]) {
    let Some(ty) = elements.iter().find_map(|element| as_cast(element).map(|(_, to)| to.ty)) else { return };
    for element in elements {
        if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), span }) = element {
            let span = *span;
            *element = cast(take(element), TypeWithModifier::plain(ty), span);
        }
    }
}

/// Where an expression stands, if a glance tells.
pub(super) fn span_of(expr: &Expr) -> Span {
    match expr {
        Expr::Value(value) => value.span,
        Expr::Identifier(ident) => ident.span,
        Expr::CompoundIdentifier(idents) => idents.first().map_or(Span::empty(), |ident| ident.span),
        Expr::Function(function) => match function.name.0.first() {
            Some(ObjectNamePart::Identifier(ident)) => ident.span,
            _ => Span::empty(),
        },
        Expr::TypedString(typed) => typed.value.span,
        _ => Span::empty(),
    }
}

impl Rewriter<'_> {
    /// Rewrites one expression whose parts are rewritten already.
    pub(super) fn rewrite(&mut self, expr: &mut Expr) -> Result<()> {
        match expr {
            Expr::Value(value) => {
                if let Some(digits) = bit_literal(&value.value) {
                    let (digits, span) = (Value::SingleQuotedString(digits), value.span);
                    let bits = TypeWithModifier::plain(ScalarType::Bit);
                    *expr = cast(Expr::Value(digits.with_span(span)), bits, span);
                }
            }
            Expr::CompoundIdentifier(_) => {}
            Expr::Array(array) => type_elements(&mut array.elem),
            Expr::Identifier(ident) => {
                if is_call_without_brackets(ident) {
                    *expr = call(&ident.value.to_ascii_lowercase(), Vec::new(), ident.span);
                }
            }
            Expr::BinaryOp { .. } => self.binary(expr)?,
            Expr::Cast { expr: value, data_type, array, format: None, .. } => {
                let span = span_of(value);
                let mut to = resolve_type(data_type).map_err(|refused| {
                    let span =
                        if refused.location.line > 0 { Span::new(refused.location, refused.location) } else { span };
                    self.place(refused.error, span)
                })?;
                if *array {
                    to = array_of(to).map_err(|refused| refused.error)?;
                }
                *expr = cast(take(value), to, span);
            }
            Expr::TypedString(typed) => {
                let span = typed.value.span;
                let to = resolve_type(&typed.data_type).map_err(|refused| self.place(refused.error, span))?;
                *expr = cast(Expr::Value(typed.value.clone()), to, span);
            }
            Expr::Interval(interval) => *expr = self.interval(interval)?,
            Expr::Function(function) => {
                let rewritten = self.function(function)?;
                if let Some(rewritten) = rewritten {
                    *expr = rewritten;
                }
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                let (left, right) = (take(left), take(right));
                *expr = self.quantified(left, compare_op.clone(), right, false)?;
            }
            Expr::AllOp { left, compare_op, right } => {
                let (left, right) = (take(left), take(right));
                *expr = self.quantified(left, compare_op.clone(), right, true)?;
            }
            Expr::Like { any: true, negated, expr: left, pattern, escape_char: None } => {
                let operator = if *negated { BinaryOperator::PGNotLikeMatch } else { BinaryOperator::PGLikeMatch };
                let (left, right) = (take(left), take(pattern));
                *expr = self.quantified(left, operator, right, false)?;
            }
            Expr::ILike { any: true, negated, expr: left, pattern, escape_char: None } => {
                let operator = if *negated { BinaryOperator::PGNotILikeMatch } else { BinaryOperator::PGILikeMatch };
                let (left, right) = (take(left), take(pattern));
                *expr = self.quantified(left, operator, right, false)?;
            }
            Expr::UnaryOp { op, expr: operand } => {
                let name = match op {
                    UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not => return Ok(()),
                    UnaryOperator::BitwiseNot => "pg_bitwise_not",
                    UnaryOperator::PGAbs => "abs",
                    UnaryOperator::PGSquareRoot => "sqrt",
                    UnaryOperator::PGCubeRoot => "cbrt",
                    other => return Err(SqlError::unsupported(format!("operator {other}"))),
                };
                let span = span_of(operand);
                *expr = call(name, vec![take(operand)], span);
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                let span = span_of(timestamp);
                *expr = call("timezone", vec![take(time_zone), take(timestamp)], span);
            }
            Expr::Collate { expr: value, collation } => {
                self.check_collation(collation)?;
                *expr = take(value);
            }
            Expr::CompoundFieldAccess { .. } => {
                let plain = match records::field_of_column(expr) {
                    None => slice(expr)?,
                    column => column,
                };
                if let Some(plain) = plain {
                    *expr = plain;
                }
            }
            other => refuse_foreign(other)?,
        }
        Ok(())
    }

    /// Brackets without ARRAY are an array only within one.
    pub(super) fn check_array(&self, expr: &mut Expr) -> Result<()> {
        let Expr::Array(array) = expr else { return Ok(()) };
        if !array.named {
            return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"[\""));
        }
        for element in &mut array.elem {
            if let Expr::Array(nested) = element {
                nested.named = true;
            }
        }
        Ok(())
    }

    /// Makes every form of string a plain one.
    pub(super) fn value(&self, value: &mut ValueWithSpan) -> Result<()> {
        let text = match &mut value.value {
            Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => std::mem::take(text),
            Value::DollarQuotedString(text) => std::mem::take(&mut text.value),
            _ => return Ok(()),
        };
        value.value = Value::SingleQuotedString(text);
        Ok(())
    }

    fn binary(&self, expr: &mut Expr) -> Result<()> {
        let Expr::BinaryOp { left, op, right } = expr else { return Ok(()) };
        if let BinaryOperator::PGCustomBinaryOperator(parts) = op {
            let named = match parts.as_slice() {
                [name] => operator_named(name),
                [schema, name] if schema == "pg_catalog" || schema == "public" => operator_named(name),
                _ => None,
            };
            *op = named.ok_or_else(|| unknown_operator(op))?;
        }
        if let Some(name) = function_of(op) {
            let span = span_of(left);
            *expr = call(name, vec![take(left), take(right)], span);
            return Ok(());
        }
        match op {
            BinaryOperator::Custom(_)
            | BinaryOperator::Xor
            | BinaryOperator::DoubleHash
            | BinaryOperator::AndLt
            | BinaryOperator::AndGt
            | BinaryOperator::LtLtPipe
            | BinaryOperator::PipeGtGt
            | BinaryOperator::AndLtPipe
            | BinaryOperator::PipeAndGt
            | BinaryOperator::LtCaret
            | BinaryOperator::GtCaret
            | BinaryOperator::QuestionHash
            | BinaryOperator::QuestionDash
            | BinaryOperator::QuestionDashPipe
            | BinaryOperator::QuestionDoublePipe
            | BinaryOperator::At
            | BinaryOperator::TildeEq
            | BinaryOperator::Assignment => Err(unknown_operator(op)),
            BinaryOperator::Overlaps => Err(SqlError::unsupported("OVERLAPS")),
            _ => Ok(()),
        }
    }

    /// `left operator ANY (right)` or ALL.
    fn quantified(&self, left: Expr, operator: BinaryOperator, right: Expr, all: bool) -> Result<Expr> {
        match right {
            Expr::Subquery(subquery) => {
                let negated = match (&operator, all) {
                    (BinaryOperator::Eq, false) => false,
                    (BinaryOperator::NotEq, true) => true,
                    _ => {
                        let (left, right) = (Box::new(left), Box::new(Expr::Subquery(subquery)));
                        return Ok(if all {
                            Expr::AllOp { left, compare_op: operator, right }
                        } else {
                            Expr::AnyOp { left, compare_op: operator, right, is_some: false }
                        });
                    }
                };
                Ok(Expr::InSubquery { expr: Box::new(left), subquery, negated })
            }
            right => {
                let Some(name) = quantified_name(&operator, all) else { return Err(unknown_operator(&operator)) };
                let right = match right {
                    Expr::Nested(array) => *array,
                    other => other,
                };
                let span = span_of(&left);
                Ok(call(&name, vec![left, right], span))
            }
        }
    }

    fn interval(&self, interval: &mut Interval) -> Result<Expr> {
        let span = span_of(&interval.value);
        let mut value = take(&mut interval.value);
        let unit = interval.last_field.as_ref().or(interval.leading_field.as_ref());
        if let (Some(unit), Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. })) =
            (unit, &mut value)
            && !text.contains(|c: char| c.is_ascii_alphabetic() || c == ':')
        {
            let unit = match unit {
                DateTimeField::Year => "year",
                DateTimeField::Month => "month",
                DateTimeField::Day => "day",
                DateTimeField::Hour => "hour",
                DateTimeField::Minute => "minute",
                DateTimeField::Second => "second",
                other => return Err(self.place(SqlError::unsupported(format!("INTERVAL .. {other}")), span)),
            };
            text.push(' ');
            text.push_str(unit);
        }
        Ok(cast(value, TypeWithModifier::plain(ScalarType::Interval), span))
    }

    /// Drops the schema of a built-in function; `ARRAY(query)` becomes a query.
    fn function(&self, function: &mut Function) -> Result<Option<Expr>> {
        if function.uses_odbc_syntax {
            return Err(SqlError::unsupported("the escape {fn ..}"));
        }
        drop_schema(&mut function.name);
        if !matches!(function.parameters, FunctionArguments::None) {
            return Err(SqlError::unsupported("a function with two lists of arguments"));
        }
        place_named(function)?;
        if let FunctionArguments::Subquery(query) = &mut function.args {
            let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
                return Err(SqlError::new(SqlState::SyntaxError, "syntax error in a subquery as an argument"));
            };
            if name.quote_style.is_some() || !name.value.eq_ignore_ascii_case("array") {
                let error = SqlError::new(SqlState::SyntaxError, "syntax error at or near \"SELECT\"");
                return Err(self.place(error, name.span));
            }
            return queries::array_of_query(query).map(Some);
        }
        Ok(None)
    }

    fn check_collation(&self, collation: &ObjectName) -> Result<()> {
        let (mut name, mut span) = (String::new(), Span::empty());
        if let Some(ObjectNamePart::Identifier(ident)) = collation.0.last() {
            (name, span) = (fold(ident), ident.span);
        }
        if is_byte_order(&name) {
            return Ok(());
        }
        Err(self.place(SqlError::unsupported(format!("collation \"{name}\"")), span))
    }
}

/// `root[from:to]` as a call; either may be missing.
fn slice(expr: &mut Expr) -> Result<Option<Expr>> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return Ok(None) };
    // `t.c[1]` is a column of a table and its subscript.
    let mut names = match root.as_ref() {
        Expr::Identifier(name) => vec![name.clone()],
        Expr::CompoundIdentifier(names) => names.clone(),
        _ => Vec::new(),
    };
    let is_column = |access: &&AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
    let qualified = if names.is_empty() { 0 } else { access_chain.iter().take_while(is_column).count() };
    if access_chain[qualified..].iter().any(|access| matches!(access, AccessExpr::Dot(_))) {
        return Err(SqlError::unsupported("a field of a record"));
    }
    let is_slice = |access: &AccessExpr| matches!(access, AccessExpr::Subscript(Subscript::Slice { .. }));
    if !access_chain.iter().any(is_slice) {
        return Ok(None);
    }
    names.extend(access_chain.drain(..qualified).filter_map(|access| match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(name),
        _ => None,
    }));
    if names.len() > 1 {
        **root = Expr::CompoundIdentifier(names);
    }
    let [AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride: None })] =
        access_chain.as_mut_slice()
    else {
        return Err(SqlError::unsupported("a slice with more than one subscript"));
    };
    let span = span_of(root);
    let number = |value: i32| Expr::Value(Value::Number(value.to_string(), false).with_span(span));
    let lower = match lower_bound {
        Some(bound) => take(bound),
        None => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(i32::MAX)) },
    };
    let upper = upper_bound.as_mut().map_or_else(|| number(i32::MAX), take);
    Ok(Some(call("pg_array_slice", vec![take(root), lower, upper], span)))
}

/// The functions whose arguments may be named, with the names.
const NAMED: &[(&str, &[&str])] = &[
    ("make_date", &["year", "month", "day"]),
    ("make_interval", &["years", "months", "weeks", "days", "hours", "mins", "secs"]),
    ("make_time", &["hour", "min", "sec"]),
    ("make_timestamp", &["year", "month", "mday", "hour", "min", "sec"]),
    ("make_timestamptz", &["year", "month", "mday", "hour", "min", "sec", "timezone"]),
];

/// Puts arguments that are named into their places. Those of `make_interval` are zero where they are missing.
fn place_named(function: &mut Function) -> Result<()> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let Some(positional) = list.args.iter().position(|arg| !matches!(arg, FunctionArg::Unnamed(_))) else {
        return Ok(());
    };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return Ok(()) };
    let (name, span) = (fold(name), name.span);
    let Some((_, names)) = NAMED.iter().find(|(of, _)| *of == name) else {
        return Err(SqlError::unsupported(format!("a named argument of {name}")));
    };
    let given = std::mem::take(&mut list.args);
    let undefined = || SqlError::new(SqlState::UndefinedFunction, format!("function {name} has no such arguments"));
    let mut placed: Vec<Option<FunctionArg>> = names.iter().map(|_| None).collect();
    for (at, arg) in given.into_iter().enumerate() {
        let (at, value) = match arg {
            FunctionArg::Named { name, arg, .. } | FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. }
                if at >= positional =>
            {
                (names.iter().position(|of| *of == fold(&name)).ok_or_else(undefined)?, arg)
            }
            FunctionArg::Unnamed(arg) if at < positional => (at, arg),
            FunctionArg::Unnamed(_) => {
                let message = "positional argument cannot follow named argument";
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
            _ => return Err(undefined()),
        };
        match placed.get_mut(at) {
            Some(place @ None) => *place = Some(FunctionArg::Unnamed(value)),
            _ => return Err(undefined()),
        }
    }
    let zero = || {
        let zero = Value::Number("0".into(), false).with_span(span);
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(zero)))
    };
    list.args = if name == "make_interval" {
        placed.into_iter().map(|arg| arg.unwrap_or_else(zero)).collect()
    } else {
        let missing = placed.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        placed.truncate(missing);
        placed.into_iter().collect::<Option<_>>().ok_or_else(undefined)?
    };
    Ok(())
}

/// Whether a collation orders by code point, as all text here is ordered.
pub(crate) fn is_byte_order(collation: &str) -> bool {
    matches!(collation, "default" | "C" | "POSIX" | "ucs_basic" | "C.UTF-8" | "C.utf8")
}

/// Drops `pg_catalog.` and `public.` from the name of a function.
pub(super) fn drop_schema(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(_)] = name.0.as_slice()
        && matches!(fold(schema).as_str(), "pg_catalog" | "public")
    {
        name.0.remove(0);
    }
}

fn unknown_operator(operator: &BinaryOperator) -> SqlError {
    SqlError::new(SqlState::UndefinedFunction, format!("operator does not exist: {}", written(operator)))
}

/// Forms of other dialects that the parser takes, and PostgreSQL's that nothing behind it does.
fn refuse_foreign(expr: &Expr) -> Result<()> {
    let name = match expr {
        Expr::Cast { .. } => "CAST .. FORMAT",
        Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => "LIKE ANY .. ESCAPE",
        Expr::JsonAccess { .. } => "access by colon",
        Expr::IsNormalized { .. } => "IS NORMALIZED",
        Expr::InUnnest { .. } => "IN UNNEST",
        Expr::RLike { .. } => "RLIKE",
        Expr::Convert { .. } => "CONVERT",
        Expr::Prefixed { .. } => "a literal with a prefix",
        Expr::Struct { .. } | Expr::Named { .. } => "STRUCT",
        Expr::Dictionary(_) | Expr::Map(_) => "MAP",
        Expr::MatchAgainst { .. } => "MATCH .. AGAINST",
        Expr::OuterJoin(_) => "the operator (+)",
        Expr::Prior(_) => "PRIOR",
        Expr::Lambda(_) => "a lambda",
        Expr::MemberOf(_) => "MEMBER OF",
        _ => return Ok(()),
    };
    Err(SqlError::unsupported(name))
}
