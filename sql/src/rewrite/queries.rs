//! The rewriting of queries: clauses checked, and forms turned into ones that DataFusion plans.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Distinct, Expr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, JoinOperator, LimitClause,
    OrderByKind, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Statement, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins, Value, ValueWithSpan, VisitorMut,
};
use sqlparser::tokenizer::Span;

use super::expressions::drop_schema;
use super::names::{bare_name, free_columns, free_columns_within, item_name, name_items};
use super::{Rewriter, call, records};
use crate::error::{Result, SqlError, SqlState};

impl VisitorMut for Rewriter<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            free_columns(select, query.order_by.as_mut());
        }
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            free_columns_within(&mut cte.query, &mut cte.alias);
        }
        flow(order_set_operation(query).and_then(|()| check_query(query)))
    }
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        free_columns(select, None);
        flow(
            self.check_aliases(&select.projection)
                .and_then(|()| records::spread(select))
                .and_then(|()| name_items(&mut select.projection))
                .and_then(|()| check_select(select)),
        )
    }
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        flow(check_table_factor(factor))
    }
    fn pre_visit_statement(&mut self, _: &mut Statement) -> ControlFlow<SqlError> {
        ControlFlow::Break(SqlError::unsupported("a data-modifying statement in WITH"))
    }
    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<SqlError> {
        flow(self.value(value))
    }
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        flow(self.check_array(expr))
    }
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        flow(self.rewrite(expr))
    }
}

fn flow(result: Result<()>) -> ControlFlow<SqlError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

fn check_query(query: &mut Query) -> Result<()> {
    if let Some(lock) = query.locks.first() {
        return Err(SqlError::unsupported(format!("{lock} within a statement")));
    }
    if query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() {
        return Err(SqlError::unsupported("FOR XML, FOR JSON, SETTINGS or FORMAT after a query"));
    }
    if !query.pipe_operators.is_empty() {
        return Err(SqlError::unsupported("the operator |>"));
    }
    check_set_operations(&query.body)?;
    if let Some(order_by) = &query.order_by {
        if matches!(order_by.kind, OrderByKind::All(_)) || order_by.interpolate.is_some() {
            return Err(SqlError::unsupported("ORDER BY ALL"));
        }
        if let OrderByKind::Expressions(keys) = &order_by.kind
            && keys.iter().any(|key| key.with_fill.is_some())
        {
            return Err(SqlError::unsupported("WITH FILL"));
        }
    }
    match &query.limit_clause {
        Some(LimitClause::OffsetCommaLimit { .. }) => {
            let error = SqlError::new(SqlState::SyntaxError, "LIMIT #,# syntax is not supported");
            return Err(error.with_hint("Use separate LIMIT and OFFSET clauses."));
        }
        Some(LimitClause::LimitOffset { limit_by, .. }) if !limit_by.is_empty() => {
            return Err(SqlError::unsupported("LIMIT .. BY"));
        }
        _ => {}
    }
    if let Some(fetch) = query.fetch.take() {
        if fetch.with_ties || fetch.percent {
            return Err(SqlError::unsupported("FETCH .. WITH TIES or PERCENT"));
        }
        let one = || Expr::Value(Value::Number("1".into(), false).with_empty_span());
        let quantity = fetch.quantity.unwrap_or_else(one);
        match &mut query.limit_clause {
            None => {
                let (limit, offset, limit_by) = (Some(quantity), None, Vec::new());
                query.limit_clause = Some(LimitClause::LimitOffset { limit, offset, limit_by });
            }
            Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(quantity),
            Some(_) => return Err(SqlError::new(SqlState::SyntaxError, "multiple LIMIT clauses not allowed")),
        }
    }
    Ok(())
}

/// Names the columns that a set operation is ordered by by their places: those of its first query may go by other names.
fn order_set_operation(query: &mut Query) -> Result<()> {
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order_by| &mut order_by.kind) else {
        return Ok(());
    };
    let SetExpr::SetOperation { left, .. } = query.body.as_ref() else { return Ok(()) };
    if keys.iter().any(|key| !is_plain_key(&key.expr)) {
        let error = SqlError::new(SqlState::FeatureNotSupported, "invalid UNION/INTERSECT/EXCEPT ORDER BY clause");
        return Err(error
            .with_detail("Only result column names can be used, not expressions or functions.")
            .with_hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause."));
    }
    let mut body = left;
    let first = loop {
        body = match body.as_ref() {
            SetExpr::SetOperation { left, .. } => left,
            SetExpr::Query(within) => &within.body,
            SetExpr::Select(first) => break first,
            _ => return Ok(()),
        };
    };
    let names: Option<Vec<String>> = first.projection.iter().map(item_name).collect();
    for key in keys {
        let is_key = |name: &&String| bare_name(&key.expr).as_ref() == Some(name);
        let mut places = names.iter().flatten().enumerate().filter(|(_, name)| is_key(name));
        if let (Some((at, _)), None) = (places.next(), places.next()) {
            key.expr = Expr::Value(Value::Number((at + 1).to_string(), false).with_empty_span());
        }
    }
    Ok(())
}

/// Whether a key of ORDER BY is a name or a number.
fn is_plain_key(key: &Expr) -> bool {
    bare_name(key).is_some() || matches!(key, Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::UnaryOp { .. })
}

/// DataFusion's INTERSECT ALL and EXCEPT ALL do not count how often a row is there.
fn check_set_operations(body: &SetExpr) -> Result<()> {
    let mut bodies = vec![body];
    while let Some(body) = bodies.pop() {
        if let SetExpr::SetOperation { op, set_quantifier, left, right } = body {
            if *op != SetOperator::Union && *set_quantifier == SetQuantifier::All {
                return Err(SqlError::unsupported(format!("{op} ALL")));
            }
            bodies.extend([left.as_ref(), right.as_ref()]);
        }
    }
    Ok(())
}

fn check_select(select: &mut Select) -> Result<()> {
    let foreign = [
        (select.into.is_some(), "SELECT INTO"),
        (select.top.is_some(), "TOP"),
        (select.exclude.is_some(), "EXCLUDE"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.qualify.is_some(), "QUALIFY"),
        (select.value_table_mode.is_some(), "SELECT AS VALUE"),
        (matches!(select.group_by, GroupByExpr::All(_)), "GROUP BY ALL"),
        (matches!(&select.group_by, GroupByExpr::Expressions(_, with) if !with.is_empty()), "GROUP BY .. WITH"),
    ];
    if let Some((_, name)) = foreign.iter().find(|(present, _)| *present) {
        return Err(SqlError::unsupported(name));
    }
    if matches!(select.distinct, Some(Distinct::All)) {
        select.distinct = None;
    }
    select.from.iter().try_for_each(check_joins)
}

fn check_joins(table: &TableWithJoins) -> Result<()> {
    for join in &table.joins {
        let plain = matches!(
            join.join_operator,
            JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::FullOuter(_)
                | JoinOperator::CrossJoin(_)
        );
        if join.global || !plain {
            return Err(SqlError::unsupported(format!("the join in \"{join}\"")));
        }
    }
    Ok(())
}

fn check_table_factor(factor: &mut TableFactor) -> Result<()> {
    match factor {
        TableFactor::Table { name, args, with_hints, version, partitions, json_path, sample, index_hints, .. } => {
            if sample.is_some() {
                return Err(SqlError::unsupported("TABLESAMPLE"));
            }
            if !with_hints.is_empty()
                || version.is_some()
                || !partitions.is_empty()
                || json_path.is_some()
                || !index_hints.is_empty()
            {
                return Err(SqlError::unsupported("a hint, version or partition after a table"));
            }
            if args.is_some() {
                drop_schema(name);
            }
            Ok(())
        }
        TableFactor::Function { name, .. } => {
            drop_schema(name);
            Ok(())
        }
        TableFactor::Derived { sample: None, subquery, alias, .. } => {
            if let Some(alias) = alias {
                free_columns_within(subquery, alias);
            }
            Ok(())
        }
        TableFactor::UNNEST { .. } => Ok(()),
        TableFactor::NestedJoin { table_with_joins, .. } => check_joins(table_with_joins),
        TableFactor::Derived { .. } => Err(SqlError::unsupported("TABLESAMPLE")),
        TableFactor::XmlTable { .. } => Err(SqlError::unsupported("XMLTABLE")),
        TableFactor::JsonTable { .. } => Err(SqlError::unsupported("JSON_TABLE")),
        other => Err(SqlError::unsupported(format!("the table expression \"{other}\""))),
    }
}

/// `ARRAY(query)`: the query's one column gathered in its order; empty where it has no rows.
pub(super) fn array_of_query(query: &mut Query) -> Result<Expr> {
    if let SetExpr::Select(select) = query.body.as_mut()
        && query.limit_clause.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty())
        && let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
            select.projection.as_slice()
        && !holds_call(item)
    {
        let keys = match query.order_by.take() {
            None => Vec::new(),
            Some(order_by) => match order_by.kind {
                OrderByKind::Expressions(keys) => keys,
                OrderByKind::All(_) => return Err(SqlError::unsupported("ORDER BY ALL")),
            },
        };
        // A number or an alias as a key would mean something else within the aggregate.
        let alias = match select.projection.first() {
            Some(SelectItem::ExprWithAlias { alias, .. }) => Some(alias.value.clone()),
            _ => None,
        };
        let plain = keys.iter().all(|key| match &key.expr {
            Expr::Value(_) => false,
            Expr::Identifier(name) => alias.as_ref() != Some(&name.value),
            _ => true,
        });
        if plain {
            let item = item.clone();
            select.projection = vec![SelectItem::UnnamedExpr(aggregate(item, keys))];
            return Ok(Expr::Subquery(Box::new(query.clone())));
        }
        let interpolate = None;
        query.order_by = Some(sqlparser::ast::OrderBy { kind: OrderByKind::Expressions(keys), interpolate });
    }
    wrapped(query, aggregate(Expr::Identifier(Ident::new("element")), Vec::new()))
}

/// `(SELECT aggregate FROM (query) AS elements(element))`.
fn wrapped(query: &Query, projection: Expr) -> Result<Expr> {
    let column = TableAliasColumnDef { name: Ident::new("element"), data_type: None };
    let alias = TableAlias { explicit: true, name: Ident::new("elements"), columns: vec![column], at: None };
    let mut outer = query.clone();
    outer.with = None;
    outer.order_by = None;
    outer.limit_clause = None;
    let factor =
        TableFactor::Derived { lateral: false, subquery: Box::new(query.clone()), alias: Some(alias), sample: None };
    let from = vec![TableWithJoins { relation: factor, joins: Vec::new() }];
    outer.body = Box::new(SetExpr::Select(Box::new(plain_select(vec![SelectItem::UnnamedExpr(projection)], from))));
    Ok(Expr::Subquery(Box::new(outer)))
}

fn aggregate(item: Expr, keys: Vec<sqlparser::ast::OrderByExpr>) -> Expr {
    let mut gathered = call("array_agg", vec![item], Span::empty());
    if let Expr::Function(function) = &mut gathered
        && let FunctionArguments::List(list) = &mut function.args
        && !keys.is_empty()
    {
        list.clauses.push(FunctionArgumentClause::OrderBy(keys));
    }
    call("pg_array_or_empty", vec![gathered], Span::empty())
}

/// Whether a call stands in the expression: it might be an aggregate, or make rows.
fn holds_call(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) => false,
        Expr::Nested(inner) => holds_call(inner),
        other => match super::as_cast(other) {
            Some((value, _)) => holds_call(value),
            None => true,
        },
    }
}

fn plain_select(projection: Vec<SelectItem>, from: Vec<TableWithJoins>) -> Select {
    Select {
        select_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: sqlparser::ast::SelectFlavor::Standard,
    }
}
