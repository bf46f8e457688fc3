//! `SELECT ... FOR UPDATE` and `FOR SHARE`: a query whose rows are locked as they are found.
//!
//! The query is planned with the row id and the version of each table that is to be locked behind its own columns. Rows are locked in the
//! order of the result. If one was changed since the view, the query runs again on a fresh one, with the locks it has. `SKIP LOCKED` leaves out
//! rows that others hold, and its LIMIT counts those that are left: where some had to be left out, the query runs without its LIMIT until
//! enough are locked.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, JoinOperator, LimitClause, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SetExpr, TableAlias, TableFactor,
};
use futures::StreamExt;
use lodedb_sql::error::Result;
use lodedb_sql::rewrite::RowLock;
use lodedb_sql::{SqlError, SqlState};

use super::{Writing, bind};
use crate::catalog::Table;
use crate::commit::locks::{LockMode, Wait};
use crate::commit::transaction::RowLocked;
use crate::commit::{RowId, Transaction};
use crate::db::outcome::Field;
use crate::query::plan::context::TARGET_SCHEMA;
use crate::query::plan::{Planner, query, result};
use crate::query::scan::{ROW_ID, VERSION};
use crate::query::statement_state::broken;

/// A query that locks rows.
#[derive(Debug)]
pub(crate) struct LockPlan {
    /// Its own columns, then row id and version of each table to be locked.
    pub(crate) plan: LogicalPlan,
    /// The same without LIMIT, and the values of LIMIT and OFFSET: where rows may be left out.
    whole: Option<(LogicalPlan, LogicalPlan)>,
    tables: Vec<ToLock>,
    /// The columns of the result among those of the plan.
    outputs: Vec<usize>,
}

/// A table whose rows are to be locked.
#[derive(Debug)]
struct ToLock {
    table: Arc<Table>,
    mode: LockMode,
    wait: Option<Wait>,
    /// The column of the row id; that of the version follows.
    column: usize,
}

impl LockPlan {
    /// The tables whose rows it locks.
    pub(crate) fn locked_tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.iter().map(|to_lock| &to_lock.table)
    }
}

/// A table in FROM, by the name it has there.
struct InFrom<'a> {
    name: String,
    factor: &'a mut TableFactor,
    /// Whether an outer join may put NULLs in its place.
    is_nullable: bool,
}

/// Plans a query with its locks, which were taken out of it. `None` if it reads no table whose rows could be locked.
pub(crate) fn plan(planner: &Planner, mut ast: Query, locks: &[RowLock]) -> Result<Option<(LockPlan, Arc<[Field]>)>> {
    let word = if locks[0].exclusive { "FOR UPDATE" } else { "FOR SHARE" };
    let with: HashSet<String> =
        ast.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.clone()).collect();
    let limit = ast.limit_clause.clone();
    if ast.fetch.is_some() {
        return Err(SqlError::unsupported(format!("FETCH with {word}")).with_hint("LIMIT says the same."));
    }
    let SetExpr::Select(select) = ast.body.as_mut() else {
        return Err(refused(format!("{word} is not allowed with UNION/INTERSECT/EXCEPT")));
    };
    check(select, word)?;
    let mut tables = Vec::new();
    let mut named = HashSet::new();
    let mut hidden = Vec::new();
    for found in in_from(select, word)? {
        named.insert(found.name.clone());
        let asked: Vec<&RowLock> =
            locks.iter().filter(|lock| lock.of.as_ref().is_none_or(|of| *of == found.name)).collect();
        let Some(table) = table_of(planner, found.factor, &with).filter(|_| !asked.is_empty()) else { continue };
        if found.is_nullable {
            return Err(refused(format!("{word} cannot be applied to the nullable side of an outer join")));
        }
        let exclusive = asked.iter().any(|lock| lock.exclusive);
        let wait = if asked.iter().any(|lock| lock.no_wait) {
            Some(Wait::NoWait)
        } else {
            asked.iter().any(|lock| lock.skip_locked).then_some(Wait::Skip)
        };
        with_hidden_columns(found.factor, &found.name, &table);
        for column in [ROW_ID, VERSION] {
            hidden.push(SelectItem::ExprWithAlias {
                expr: Expr::CompoundIdentifier(vec![quoted(&found.name), quoted(column)]),
                alias: quoted(&format!("{column}.{}", found.name)),
            });
        }
        let mode = if exclusive { LockMode::ForUpdate } else { LockMode::ForShare };
        tables.push(ToLock { table, mode, wait, column: 0 });
    }
    if let Some(missing) = locks.iter().filter_map(|lock| lock.of.as_ref()).find(|of| !named.contains(*of)) {
        let message = format!("relation \"{missing}\" in {word} clause not found in FROM clause");
        return Err(SqlError::new(SqlState::UndefinedTable, message));
    }
    if tables.is_empty() {
        return Ok(None);
    }
    let SetExpr::Select(select) = ast.body.as_mut() else { return Err(broken("a SELECT is none any more")) };
    select.projection.extend(hidden);
    let planned = |mut ast: Query| {
        planner.preparation().query(&mut ast)?;
        planner.settle(|planner| planner.query(&ast))
    };
    let skips = tables.iter().any(|table| table.wait == Some(Wait::Skip));
    // First, since a parameter may be in its LIMIT alone.
    let plan = planned(ast.clone())?;
    let whole = match limit.filter(|_| skips) {
        Some(limit) => {
            let unlimited = Query { limit_clause: None, ..ast.clone() };
            Some((planned(unlimited)?, planned(limits(limit)?)?))
        }
        None => None,
    };
    let all = plan.schema().fields();
    let own = all.len() - 2 * tables.len();
    for (at, table) in tables.iter_mut().enumerate() {
        table.column = own + 2 * at;
    }
    // What `*` brought along of the hidden columns is nobody's.
    let outputs: Vec<usize> = (0..own).filter(|&at| ![ROW_ID, VERSION].contains(&all[at].name().as_str())).collect();
    let fields = result::fields(&plan);
    let fields = outputs.iter().map(|&at| fields[at].clone()).collect();
    Ok(Some((LockPlan { plan, whole, tables, outputs }, fields)))
}

fn refused(message: String) -> SqlError {
    SqlError::new(SqlState::FeatureNotSupported, message)
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn check(select: &Select, word: &str) -> Result<()> {
    let what = if select.distinct.is_some() {
        "DISTINCT clause"
    } else if !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty()) {
        "GROUP BY clause"
    } else if select.having.is_some() {
        "HAVING clause"
    } else {
        return Ok(());
    };
    Err(refused(format!("{word} is not allowed with {what}")))
}

/// The tables of a FROM clause, those of joins among them.
fn in_from<'a>(select: &'a mut Select, word: &str) -> Result<Vec<InFrom<'a>>> {
    let mut all = Vec::new();
    for item in &mut select.from {
        let mut of_item: Vec<InFrom<'a>> = Vec::new();
        named(&mut item.relation, false, word, &mut of_item)?;
        for join in &mut item.joins {
            let (left, right) = match &join.join_operator {
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => (false, true),
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (true, false),
                JoinOperator::FullOuter(_) => (true, true),
                _ => (false, false),
            };
            of_item.iter_mut().for_each(|found| found.is_nullable |= left);
            named(&mut join.relation, right, word, &mut of_item)?;
        }
        all.extend(of_item);
    }
    Ok(all)
}

fn named<'a>(factor: &'a mut TableFactor, is_nullable: bool, word: &str, into: &mut Vec<InFrom<'a>>) -> Result<()> {
    let name = match &*factor {
        TableFactor::Table { name, alias, args: None, .. } => match (alias, name.0.last()) {
            (Some(alias), _) => alias.name.value.clone(),
            (None, Some(ObjectNamePart::Identifier(name))) => name.value.clone(),
            (None, _) => return Ok(()),
        },
        TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => {
            return Err(SqlError::unsupported(format!("{word} of the rows of a subquery or of joins in brackets")));
        }
        _ => return Ok(()),
    };
    into.push(InFrom { name, factor, is_nullable });
    Ok(())
}

/// The table of the catalog that a name in FROM stands for.
fn table_of(planner: &Planner, factor: &TableFactor, with: &HashSet<String>) -> Option<Arc<Table>> {
    let TableFactor::Table { name, .. } = factor else { return None };
    let parts: Option<Vec<&str>> = name
        .0
        .iter()
        .map(|part| if let ObjectNamePart::Identifier(name) = part { Some(name.value.as_str()) } else { None })
        .collect();
    match parts?.as_slice() {
        [name] if !with.contains(*name) => planner.catalog.table(name).cloned(),
        ["public", name] => planner.catalog.table(name).cloned(),
        _ => None,
    }
}

/// Names a table where it has its hidden columns.
fn with_hidden_columns(factor: &mut TableFactor, called: &str, table: &Table) {
    if let TableFactor::Table { name, alias, .. } = factor {
        let parts = [TARGET_SCHEMA, &table.name].map(|part| ObjectNamePart::Identifier(quoted(part)));
        *name = ObjectName(parts.into());
        alias.get_or_insert_with(|| TableAlias { explicit: true, name: quoted(called), columns: Vec::new(), at: None });
    }
}

/// `SELECT limit::bigint, offset::bigint`.
fn limits(limit: LimitClause) -> Result<Query> {
    let LimitClause::LimitOffset { limit, offset, .. } = limit else {
        return Err(SqlError::unsupported("LIMIT with a comma"));
    };
    let shown = |value: Option<Expr>| value.map_or_else(|| "NULL".to_owned(), |value| value.to_string());
    let text = format!(
        "SELECT CAST({} AS bigint), CAST({} AS bigint)",
        shown(limit),
        shown(offset.map(|offset| offset.value))
    );
    match lodedb_sql::parse::parse(&text)?.pop().map(|parsed| parsed.statement) {
        Some(lodedb_sql::Statement::Query(query)) => Ok(*query),
        _ => Err(broken("a LIMIT could not be written as a query")),
    }
}

/// What became of the rows of one run.
enum Pass {
    Locked(Vec<RecordBatch>),
    Changed,
    /// Some are held by others, and a LIMIT counts those that are not.
    LeftOut,
}

/// Runs the query until all rows it gives are locked and as they are.
pub(crate) async fn run(writing: &Writing<'_>, lock: &LockPlan, tx: &mut Transaction) -> Result<Vec<RecordBatch>> {
    for to_lock in &lock.tables {
        tx.lock_table(to_lock.table.id, LockMode::RowShare).await?;
        super::check_definition(tx, &to_lock.table)?;
    }
    loop {
        writing.cancel.check()?;
        let mut pass = pass(writing, lock, tx, &lock.plan, None).await?;
        if let (Pass::LeftOut, Some((whole, limits))) = (&pass, &lock.whole) {
            let limits = limit_and_offset(writing, tx, limits).await?;
            pass = self::pass(writing, lock, tx, whole, Some(limits)).await?;
        }
        match pass {
            Pass::Locked(batches) => return Ok(batches),
            Pass::Changed => tx.refresh(),
            Pass::LeftOut => return Err(broken("rows were left out without a LIMIT")),
        }
    }
}

async fn limit_and_offset(writing: &Writing<'_>, tx: &Transaction, plan: &LogicalPlan) -> Result<(usize, usize)> {
    let bound = bind(plan.clone(), &writing.planned.parameters, writing.params)?;
    let batches = super::collect(&writing.run(tx), bound).await?;
    let value = |column: usize| {
        let values = batches.first()?.column(column).as_primitive_opt::<Int64Type>()?;
        (!values.is_empty() && !values.is_null(0)).then(|| values.value(0).max(0) as usize)
    };
    Ok((value(0).unwrap_or(usize::MAX), value(1).unwrap_or(0)))
}

/// Locks the rows that a plan gives, until there are `limit` behind `offset`.
async fn pass(
    writing: &Writing<'_>,
    lock: &LockPlan,
    tx: &mut Transaction,
    plan: &LogicalPlan,
    limits: Option<(usize, usize)>,
) -> Result<Pass> {
    let run = writing.run(tx);
    let mut batches = query::run(&run, plan, writing.planned, writing.params).await?.batches;
    let (limit, mut to_skip) = limits.unwrap_or((usize::MAX, 0));
    let (mut given, mut count) = (Vec::new(), 0);
    while count < limit
        && let Some(batch) = batches.next().await
    {
        let batch = batch?;
        let mut kept = Vec::new();
        for row in 0..batch.num_rows() {
            if count == limit {
                break;
            }
            match lock_one(lock, tx, &batch, row).await? {
                RowLocked::Locked if to_skip > 0 => to_skip -= 1,
                RowLocked::Locked => {
                    kept.push(row as u32);
                    count += 1;
                }
                RowLocked::Changed => return Ok(Pass::Changed),
                RowLocked::Held if lock.whole.is_some() && limits.is_none() => return Ok(Pass::LeftOut),
                RowLocked::Held => {}
            }
        }
        let own = batch.project(&lock.outputs).map_err(SqlError::internal)?;
        given.push(take_record_batch(&own, &UInt32Array::from(kept)).map_err(SqlError::internal)?);
    }
    Ok(Pass::Locked(match given.first() {
        Some(first) => vec![concat_batches(&first.schema(), &given).map_err(SqlError::internal)?],
        None => Vec::new(),
    }))
}

/// Locks what one row of the result was made of.
async fn lock_one(lock: &LockPlan, tx: &mut Transaction, batch: &RecordBatch, row: usize) -> Result<RowLocked> {
    for to_lock in &lock.tables {
        let number = |column: usize| {
            let numbers = batch.column(column).as_primitive_opt::<UInt64Type>();
            numbers.map(|numbers| numbers.value(row)).ok_or_else(|| broken("a hidden column is not a number"))
        };
        let (id, version): (RowId, u64) = (number(to_lock.column)?, number(to_lock.column + 1)?);
        match tx.lock_row(&to_lock.table, id, version, to_lock.mode, to_lock.wait).await? {
            RowLocked::Locked => {}
            other => return Ok(other),
        }
    }
    Ok(RowLocked::Locked)
}
