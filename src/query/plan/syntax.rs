//! The syntax tree made ready for DataFusion's planner: columns named as PostgreSQL names them, integers typed, forms
//! rewritten that it would type otherwise.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, Ident, LimitClause, ObjectNamePart, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, WindowFrameBound, WindowType, visit_relations,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use lodedb_sql::parse::Places;
use lodedb_sql::resolve::function_parameter_types;
use lodedb_sql::rewrite::{as_cast, call, cast};
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::choice;
use super::forms;
use super::operators::{IS_DISTINCT, IS_NOT_DISTINCT};
use super::parameters::Parameters;

/// What stands before the number that tells columns of one name apart; it is cut off before a client sees it.
pub(crate) const TWIN_MARK: char = '\u{1f}';

/// The name of a column as a client sees it.
pub(crate) fn shown_name(name: &str) -> &str {
    lodedb_sql::rewrite::visible_name(name.split(TWIN_MARK).next().unwrap_or(name))
}

/// Prepares syntax trees, noting the types that parameters must have.
pub(crate) struct Preparation<'a> {
    pub(crate) parameters: &'a Parameters,
    /// To tell an operator from a call of the function it became.
    pub(crate) places: &'a Places,
    /// The tables and WITH queries met so far.
    pub(crate) relations: usize,
}

/// The most tables below a query of WITH, each counted as often as it is named.
const WITH_SIZE_MAX: usize = 5_000;
/// The most tables and WITH queries in a statement: a plan nests as deep as they follow on each other.
const RELATIONS_MAX: usize = 2_000;

impl Preparation<'_> {
    /// Prepares a query.
    pub(crate) fn query(&mut self, query: &mut Query) -> Result<(), SqlError> {
        self.walk(query)
    }

    /// Prepares an expression.
    pub(crate) fn expr(&mut self, expr: &mut Expr) -> Result<(), SqlError> {
        self.walk(expr)
    }

    /// Prepares the tables of a FROM, or the items of a RETURNING.
    pub(crate) fn walk<V: VisitMut>(&mut self, node: &mut V) -> Result<(), SqlError> {
        match node.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    fn count_relations(&mut self, count: usize) -> ControlFlow<SqlError> {
        self.relations += count;
        if self.relations > RELATIONS_MAX {
            return ControlFlow::Break(lodedb_sql::parse::too_complex());
        }
        ControlFlow::Continue(())
    }

    fn note(&self, expr: &Expr, ty: PgType) {
        if let Some(name) = placeholder(expr) {
            self.parameters.note_named(name, ty);
        }
    }

    fn function(&self, function: &mut Function) {
        if let Some(WindowType::WindowSpec(window)) = &mut function.over
            && let Some(frame) = &mut window.window_frame
        {
            // The bounds of a frame must be plain numbers.
            for bound in std::iter::once(&mut frame.start_bound).chain(frame.end_bound.as_mut()) {
                if let WindowFrameBound::Preceding(Some(rows)) | WindowFrameBound::Following(Some(rows)) = bound {
                    untype(rows);
                }
            }
        }
        let FunctionArguments::List(list) = &mut function.args else { return };
        let Some(ObjectNamePart::Identifier(name)) = function.name.0.last() else { return };
        if name.value == "pg_cast" {
            // The OID and the modifier are for whoever plans the cast.
            for arg in list.args.iter_mut().skip(1) {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg {
                    untype(expr);
                }
            }
            return;
        }
        let name = name.value.to_ascii_lowercase();
        let Some(types) = function_parameter_types(&name, list.args.len()) else { return };
        for (arg, ty) in list.args.iter().zip(types) {
            // Which kind of vector it is depends on what it stands beside.
            if let (FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)), Some(ty)) = (arg, ty)
                && !ty.has_distances()
            {
                self.note(expr, ty);
            }
        }
    }

    fn name_items(&self, items: &mut [SelectItem]) {
        let mut seen: Vec<String> = Vec::new();
        let wildcard =
            items.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        for (at, item) in items.iter_mut().enumerate() {
            let SelectItem::UnnamedExpr(expr) = item else {
                if let SelectItem::ExprWithAlias { alias, .. } = item {
                    let name = folded(alias);
                    if seen.contains(&name) {
                        *alias = Ident::with_quote('"', format!("{name}{TWIN_MARK}{at}"));
                    } else {
                        seen.push(name);
                    }
                }
                continue;
            };
            let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            let name = self.column_name(expr).unwrap_or_else(|| "?column?".to_owned());
            let twin = seen.contains(&name) || (plain && wildcard);
            if plain && !twin {
                // The planner keeps the table a plain column is of.
                seen.push(name);
                continue;
            }
            let alias = if twin { format!("{name}{TWIN_MARK}{at}") } else { name.clone() };
            seen.push(name);
            let expr = std::mem::replace(expr, null());
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) };
        }
    }

    /// The name PostgreSQL gives to a column without one; `None` for `?column?`.
    pub(crate) fn column_name(&self, expr: &Expr) -> Option<String> {
        self.name_and_strength(expr).map(|(name, _)| name)
    }

    /// The name, and whether it is better than that of a type around it.
    fn name_and_strength(&self, expr: &Expr) -> Option<(String, bool)> {
        let strong = |name: &str| Some((name.to_owned(), true));
        match expr {
            Expr::Identifier(name) => Some((folded(name), true)),
            Expr::CompoundIdentifier(names) => names.last().map(|name| (folded(name), true)),
            Expr::CompoundFieldAccess { root, .. } => self.name_and_strength(root),
            Expr::Nested(within) | Expr::Collate { expr: within, .. } => self.name_and_strength(within),
            Expr::Cast { expr: within, data_type: DataType::Int4(None), .. } if is_number(within) => None,
            Expr::Function(function) => match as_cast(expr) {
                Some((value, to)) => {
                    Some(self.name_and_strength(value).filter(|(_, strong)| *strong).unwrap_or((type_name(to), false)))
                }
                None => match (sliced(function), otherwise(function)) {
                    (Some(root), _) => self.name_and_strength(root),
                    (None, Some(result)) => self
                        .name_and_strength(result)
                        .filter(|(_, strong)| *strong)
                        .or(Some(("case".to_owned(), false))),
                    (None, None) => self.function_name(function).map(|name| (name, true)),
                },
            },
            Expr::Array(_) => strong("array"),
            Expr::Tuple(_) => strong("row"),
            Expr::Exists { .. } => strong("exists"),
            Expr::Subquery(query) => self.subquery_name(query),
            Expr::Extract { .. } => strong("extract"),
            Expr::Ceil { .. } => strong("ceil"),
            Expr::Floor { .. } => strong("floor"),
            Expr::Position { .. } => strong("position"),
            Expr::Substring { shorthand, .. } => strong(if *shorthand { "substr" } else { "substring" }),
            Expr::Trim { .. } => strong("btrim"),
            Expr::Overlay { .. } => strong("overlay"),
            Expr::Value(ValueWithSpan { value: Value::Boolean(_), .. }) => Some(("bool".to_owned(), false)),
            _ => None,
        }
    }

    fn subquery_name(&self, query: &Query) -> Option<(String, bool)> {
        let mut body = query.body.as_ref();
        while let SetExpr::Query(query) = body {
            body = query.body.as_ref();
        }
        match body {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => self.name_and_strength(expr),
                SelectItem::ExprWithAlias { alias, .. } if shown_name(&alias.value) == "?column?" => None,
                SelectItem::ExprWithAlias { alias, .. } => Some((shown_name(&folded(alias)).to_owned(), true)),
                _ => None,
            },
            SetExpr::Values(_) => Some(("column1".to_owned(), true)),
            _ => None,
        }
    }

    fn function_name(&self, function: &Function) -> Option<String> {
        let ObjectNamePart::Identifier(name) = function.name.0.last()? else { return None };
        let lower = folded(name);
        match lower.as_str() {
            // ARRAY[..] and ARRAY(query) came this way.
            "make_array" | "pg_array_or_empty" => return Some("array".into()),
            "timezone" if !self.is_written(name) => return Some("timezone".into()),
            "l2_distance" | "cosine_distance" | "l1_distance" | "starts_with" | "power" | "abs" | "sqrt" | "cbrt"
                if !self.is_written(name) =>
            {
                return None;
            }
            "vector_negative_inner_product" if !self.is_written(name) => return None,
            _ => {}
        }
        let operator = matches!(
            lower.as_str(),
            "json_get"
                | "json_get_text"
                | "json_get_path"
                | "json_get_path_text"
                | "contains_op"
                | "contained_op"
                | "overlap_op"
                | "json_exists"
                | "json_exists_any"
                | "json_exists_all"
                | "json_delete_path"
                | "json_path_exists_op"
                | "match_op"
                | "hamming_distance"
                | "jaccard_distance"
        ) || lower.starts_with("pg_any_")
            || lower.starts_with("pg_all_");
        if operator && !self.is_written(name) { None } else { Some(lower) }
    }

    /// Whether the client wrote the name of the function, rather than an operator that became a call.
    fn is_written(&self, name: &Ident) -> bool {
        self.places.is_written(&name.value, name.span.start)
    }
}

/// The array, if a call is what `array[from:to]` became.
fn sliced(function: &Function) -> Option<&Expr> {
    unnamed(arguments_of(function, &["pg_array_slice"]).first()?)
}

/// The value of ELSE, if a call is what CASE became.
fn otherwise(function: &Function) -> Option<&Expr> {
    unnamed(arguments_of(function, &[choice::CASE, choice::CASE_OF]).last()?)
}

/// The arguments of a call, if it is one of these functions of ours.
fn arguments_of<'f>(function: &'f Function, names: &[&str]) -> &'f [FunctionArg] {
    match (function.name.0.as_slice(), &function.args) {
        ([ObjectNamePart::Identifier(name)], FunctionArguments::List(list)) if names.contains(&&*name.value) => {
            &list.args
        }
        _ => &[],
    }
}

fn unnamed(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    }
}

impl VisitorMut for Preparation<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        // DataFusion would pass over it.
        if let Some(lock) = query.locks.first() {
            return ControlFlow::Break(SqlError::unsupported(format!("{lock} within a statement")));
        }
        let Some(with) = &query.with else { return ControlFlow::Continue(()) };
        // A query of WITH is planned wherever it is named, and each may name the one before it twice.
        let mut sizes: HashMap<String, usize> = HashMap::new();
        for query in &with.cte_tables {
            let mut size = 1usize;
            let _ = visit_relations(&query.query, |name| {
                size = size.saturating_add(*sizes.get(&name.to_string()).unwrap_or(&1));
                ControlFlow::<()>::Continue(())
            });
            if size > WITH_SIZE_MAX {
                return ControlFlow::Break(lodedb_sql::parse::too_complex());
            }
            sizes.insert(query.alias.name.to_string(), size);
        }
        self.count_relations(with.cte_tables.len())
    }

    fn pre_visit_table_factor(&mut self, _: &mut TableFactor) -> ControlFlow<SqlError> {
        self.count_relations(1)
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        if let SetExpr::Values(values) = query.body.as_mut() {
            forms::type_values(values);
        }
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order_by.kind
        {
            // A number there is the place of a column.
            keys.iter_mut().for_each(|key| untype(&mut key.expr));
            if let Some(number) = keys.iter().find_map(|key| below_zero(&key.expr)) {
                let message = format!("ORDER BY position {number} is not in select list");
                return ControlFlow::Break(SqlError::new(SqlState::InvalidColumnReference, message));
            }
            if let SetExpr::Select(select) = query.body.as_ref()
                && let Some(name) = keys.iter().find_map(|key| ambiguous(&key.expr, &select.projection))
            {
                let message = format!("ORDER BY \"{name}\" is ambiguous");
                return ControlFlow::Break(SqlError::new(SqlState::AmbiguousColumn, message));
            }
        }
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            for expr in limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value)) {
                untype(expr);
                self.note(expr, PgType::Scalar(ScalarType::Int8));
                strip_cast(expr);
            }
            if matches!(limit, Some(Expr::Value(ValueWithSpan { value: Value::Null, .. }))) {
                *limit = None;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let rows = select.selection.as_mut().map_or(Ok(()), forms::rows_in_condition);
        match rows.and_then(|()| forms::make_lateral(select)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            keys.iter_mut().for_each(untype);
        }
        if let Some(Distinct::On(keys)) = &mut select.distinct {
            keys.iter_mut().for_each(untype);
        }
        self.name_items(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match expr {
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
                if digits.parse::<i32>().is_ok() {
                    let within = std::mem::replace(expr, null());
                    *expr = integer(within);
                } else if digits.contains(['e', 'E'])
                    || (digits.parse::<i64>().is_err() && digits.bytes().all(|byte| byte.is_ascii_digit()))
                {
                    let value = Value::SingleQuotedString(std::mem::take(digits)).with_empty_span();
                    let numeric = TypeWithModifier::plain(ScalarType::Numeric);
                    *expr = cast(Expr::Value(value), numeric, Span::empty());
                }
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: within } => {
                if let Expr::Cast { expr: number, data_type: DataType::Int4(None), .. } = within.as_mut()
                    && is_number(number)
                {
                    let number = std::mem::replace(number.as_mut(), null());
                    *expr = integer(Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number) });
                } else if is_least_integer(within) {
                    *expr = integer(std::mem::replace(expr, null()));
                }
            }
            Expr::Between { expr: value, negated, low, high } => {
                let take = |expr: &mut Box<Expr>| Box::new(std::mem::replace(expr.as_mut(), null()));
                let (low, high) = (take(low), take(high));
                let value = take(value);
                let (below, above, join) = if *negated {
                    (BinaryOperator::Lt, BinaryOperator::Gt, BinaryOperator::Or)
                } else {
                    (BinaryOperator::GtEq, BinaryOperator::LtEq, BinaryOperator::And)
                };
                let left = Expr::BinaryOp { left: value.clone(), op: below, right: low };
                let right = Expr::BinaryOp { left: value, op: above, right: high };
                *expr =
                    Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(left), op: join, right: Box::new(right) }));
            }
            Expr::BinaryOp { left, op, right } => {
                if let (Expr::Tuple(left), Expr::Tuple(right)) = (unnested(left), unnested(right))
                    && left.len() == right.len()
                    && let Some(compared) = compare_rows(left, op, right)
                {
                    *expr = compared;
                }
            }
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                let (left, right) = (std::mem::replace(&mut **left, null()), std::mem::replace(&mut **right, null()));
                // An operator is planned with the types of its operands.
                let name = if matches!(expr, Expr::IsDistinctFrom(..)) { IS_DISTINCT } else { IS_NOT_DISTINCT };
                let op = BinaryOperator::Custom(name.to_owned());
                let by_field = match (unnested(&left), unnested(&right)) {
                    (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == right.len() => {
                        compare_rows(left, &op, right)
                    }
                    _ => None,
                };
                *expr = by_field.unwrap_or_else(|| binary(left, op, right));
            }
            Expr::InSubquery { expr: value, subquery, negated } => {
                if let Expr::Tuple(fields) = unnested(value) {
                    match forms::row_in_query(fields, subquery, *negated) {
                        Ok(found) => *expr = found,
                        Err(error) => return ControlFlow::Break(error),
                    }
                }
            }
            Expr::InList { expr: value, list, negated } => {
                if let Expr::Tuple(fields) = unnested(value)
                    && let Some(found) = row_in_list(fields, list)
                {
                    let found = Expr::Nested(Box::new(found));
                    *expr =
                        if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) } } else { found };
                }
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let (name, mut args) = match operand.take() {
                    Some(operand) => (choice::CASE_OF, vec![*operand]),
                    None => (choice::CASE, Vec::new()),
                };
                args.extend(conditions.drain(..).flat_map(|branch| [branch.condition, branch.result]));
                args.push(else_result.take().map_or_else(null, |otherwise| *otherwise));
                *expr = call(name, args, Span::empty());
            }
            // DataFusion plans its elements as if there were no query around this one.
            Expr::Array(array) if !array.elem.is_empty() => {
                *expr = call("make_array", std::mem::take(&mut array.elem), Span::empty());
            }
            Expr::Function(function) => {
                if let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice()
                    && name.value == "pg_cast"
                {
                    self.function(function);
                    if let Some((value, to)) = as_cast(expr) {
                        self.note(value, to.ty);
                    }
                } else {
                    self.function(function);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

fn integer(number: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(number),
        data_type: DataType::Int4(None),
        array: false,
        format: None,
    }
}

fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(..), .. }) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => is_number(expr),
        _ => false,
    }
}

/// Whether this is the one number that fits an integer only with its sign.
fn is_least_integer(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) if digits == "2147483648")
}

/// The number that a key is, if it is a plain one with a minus.
fn below_zero(key: &Expr) -> Option<String> {
    match key {
        Expr::UnaryOp { op: UnaryOperator::Minus, .. } if is_number(key) => Some(key.to_string()),
        _ => None,
    }
}

/// The name that a key of ORDER BY is, if two columns of the result have it that are not the same expression.
fn ambiguous(key: &Expr, items: &[SelectItem]) -> Option<String> {
    let Expr::Identifier(ident) = unnested(key) else { return None };
    let name = folded(ident);
    let is_plain = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    let named: Vec<&Expr> = items
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if shown_name(&alias.value) == name => Some(expr),
            SelectItem::UnnamedExpr(expr @ Expr::Identifier(column)) if folded(column) == name => Some(expr),
            SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(names)) => {
                names.last().is_some_and(|column| folded(column) == name).then_some(expr)
            }
            _ => None,
        })
        .collect();
    let (first, others) = named.split_first()?;
    // Of two plain columns it takes their tables to know whether they are one.
    others.iter().any(|other| *other != *first && !(is_plain(first) && is_plain(other))).then_some(name)
}

/// Takes back the type given to an integer, and the brackets around it.
fn untype(expr: &mut Expr) {
    if let within @ Expr::Cast { data_type: DataType::Int4(None), .. } = unnested(expr) {
        *expr = within.clone();
    }
    if let Expr::Cast { expr: number, data_type: DataType::Int4(None), .. } = expr
        && is_number(number)
    {
        *expr = std::mem::replace(number.as_mut(), null());
    }
}

/// A LIMIT is a number whatever it is cast to.
fn strip_cast(expr: &mut Expr) {
    while let Expr::Nested(within) = expr {
        *expr = std::mem::replace(within.as_mut(), null());
    }
    if let Some((
        value,
        TypeWithModifier { ty: PgType::Scalar(ScalarType::Int2 | ScalarType::Int4 | ScalarType::Int8), .. },
    )) = as_cast(expr)
    {
        let mut value = value.clone();
        untype(&mut value);
        *expr = value;
    }
}

/// The name of a parameter that stands alone.
pub(crate) fn placeholder(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => Some(name),
        Expr::Nested(within) => placeholder(within),
        _ => None,
    }
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

fn type_name(ty: TypeWithModifier) -> String {
    match ty.ty {
        PgType::Scalar(scalar) | PgType::Array(scalar) => scalar.typname().to_owned(),
    }
}

pub(super) fn unnested(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(within) => unnested(within),
        other => other,
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }))
}

/// `(a, b) op (c, d)`, field by field.
pub(super) fn compare_rows(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    let pairs = || left.iter().cloned().zip(right.iter().cloned());
    match op {
        BinaryOperator::Eq => {
            pairs().map(|(l, r)| binary(l, BinaryOperator::Eq, r)).reduce(|l, r| binary(l, BinaryOperator::And, r))
        }
        BinaryOperator::NotEq => {
            pairs().map(|(l, r)| binary(l, BinaryOperator::NotEq, r)).reduce(|l, r| binary(l, BinaryOperator::Or, r))
        }
        BinaryOperator::Custom(name) => {
            let join = || if name == IS_DISTINCT { BinaryOperator::Or } else { BinaryOperator::And };
            pairs().map(|(l, r)| binary(l, op.clone(), r)).reduce(|l, r| binary(l, join(), r))
        }
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
            let strict = match op {
                BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
                _ => BinaryOperator::Gt,
            };
            let mut pairs: Vec<_> = pairs().collect();
            let (last_left, last_right) = pairs.pop()?;
            let mut compared = binary(last_left, op.clone(), last_right);
            for (l, r) in pairs.into_iter().rev() {
                let less = binary(l.clone(), strict.clone(), r.clone());
                let equal = binary(binary(l, BinaryOperator::Eq, r), BinaryOperator::And, compared);
                compared = binary(less, BinaryOperator::Or, equal);
            }
            Some(compared)
        }
        _ => None,
    }
}

fn row_in_list(fields: &[Expr], list: &[Expr]) -> Option<Expr> {
    list.iter()
        .map(|item| match unnested(item) {
            Expr::Tuple(values) if values.len() == fields.len() => compare_rows(fields, &BinaryOperator::Eq, values),
            _ => None,
        })
        .try_fold(None, |so_far: Option<Expr>, next| {
            let next = next?;
            Some(Some(match so_far {
                None => next,
                Some(so_far) => binary(so_far, BinaryOperator::Or, next),
            }))
        })?
}
