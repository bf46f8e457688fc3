//! From a statement to a plan: names and types as PostgreSQL gives them, then DataFusion's planner.
//!
//! A statement is planned until the types of its parameters no longer change: the first pass finds them where they
//! stand beside something typed, the next one plans with them, and what is left without a type is `text`.

pub(crate) mod checked;
pub(crate) mod choice;
pub(crate) mod context;
mod forms;
mod keys;
pub(crate) mod operators;
pub(crate) mod parameters;
pub(crate) mod position;
pub(crate) mod privileges;
pub(crate) mod query;
pub(crate) mod recursive;
pub(crate) mod relations;
pub(crate) mod result;
mod sets;
pub(crate) mod syntax;
pub(crate) mod typing;

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;
use lodedb_sql::error::Result;
use lodedb_sql::parse::{ParsedStatement, Places};
use lodedb_sql::statement::{CopyRelation, Privilege, Statement};
use lodedb_sql::{PgType, SqlError, SqlState};

use crate::auth::privilege::Actor;
use crate::catalog::rights::Privileges;
use crate::catalog::{Catalog, Generated, Index, Table, TableId};
use crate::commit::Reader;
use crate::db::outcome::Field;
use crate::db::settings::Environment;
use crate::query::hot::HotPlan;
use crate::query::interrupt::giving_way;
use crate::query::statement_state::{Registry, carry, cast_environment};
use crate::query::{dml, hot, planned_statement};

use context::{Found, Names};
use operators::Typing;
use parameters::Parameters;
use syntax::Preparation;

/// A statement planned, without anything that belongs to one run.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) parameters: Arc<[PgType]>,
    pub(crate) fields: Option<Arc<[Field]>>,
    pub(crate) body: Body,
    version: u64,
    tables: Vec<Known>,
    /// What whoever runs it must be allowed to do to which table.
    needs: Vec<(Arc<Table>, Privileges)>,
}

/// A table as it was when a statement was planned.
#[derive(Debug)]
struct Known {
    table: Arc<Table>,
    indexes: Vec<Arc<Index>>,
    generated: Vec<Arc<Generated>>,
    /// Whether its rows are looked at; plain rows only go into the target of an INSERT.
    is_looked_at: bool,
}

/// What a statement does.
#[derive(Debug)]
pub(crate) enum Body {
    Query(LogicalPlan),
    Insert(Box<dml::InsertPlan>),
    Update(Box<dml::UpdatePlan>),
    Delete(Box<dml::DeletePlan>),
    /// A query that locks rows.
    Lock(Box<dml::LockPlan>),
    /// Every run takes the hot road.
    Hot(HotPlan),
}

impl Planned {
    /// The tables whose rows it looks at.
    pub(crate) fn tables_read(&self) -> impl Iterator<Item = TableId> {
        self.tables.iter().filter(|known| known.is_looked_at).map(|known| known.table.id)
    }

    /// `42501` unless whoever runs it may do what it does.
    pub(crate) fn check_allowed(&self, catalog: &Catalog, environment: &Environment) -> Result<()> {
        let actor = Actor::new(catalog, environment.role);
        if actor.is_superuser() {
            return Ok(());
        }
        self.needs.iter().try_for_each(|(table, privileges)| actor.check_table(table, *privileges))
    }

    /// An error as whoever runs it may see it: a row that fails a check is shown to those who may read its table.
    pub(crate) fn shown(&self, error: SqlError, catalog: &Catalog, environment: &Environment) -> SqlError {
        let shows_row = matches!(error.state(), SqlState::CheckViolation | SqlState::NotNullViolation);
        let table = error.table().filter(|_| shows_row).and_then(|name| catalog.table(name));
        let select = Privileges::of(&[Privilege::Select]);
        match table {
            Some(table) if Actor::new(catalog, environment.role).check_table(table, select).is_err() => {
                error.without_detail()
            }
            _ => error,
        }
    }

    /// Whether the tables it was planned for are as they were.
    pub(crate) fn is_current(&self, reader: &Reader) -> bool {
        let catalog = reader.catalog();
        let unchanged = |Known { table, indexes, generated, .. }: &Known| {
            catalog.table_by_id(table.id).is_some_and(|now| Arc::ptr_eq(now, table) || **now == **table)
                && (catalog.version() == self.version
                    || (catalog.indexes_of(table.id).eq(indexes) && catalog.generated_of(table.id).eq(generated)))
        };
        self.tables.iter().all(unchanged)
    }
}

/// What planning one statement takes.
pub(crate) struct Planner {
    pub(crate) state: Arc<SessionState>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) environment: Arc<Environment>,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) names: Names,
    places: Places,
}

impl Planner {
    pub(crate) fn new(
        registry: &Registry,
        reader: &Reader,
        environment: &Arc<Environment>,
        parameters: Arc<Parameters>,
        places: Places,
    ) -> Self {
        let state = Arc::new(registry.planning_state(reader, environment));
        let catalog = reader.catalog();
        let names = Names::new(state.clone(), catalog.clone(), environment, parameters.clone(), places.clone());
        Self { state, catalog, environment: environment.clone(), parameters, names, places }
    }

    pub(crate) fn preparation(&self) -> Preparation<'_> {
        Preparation { parameters: &self.parameters, places: &self.places, relations: 0 }
    }

    pub(crate) fn typing(&self) -> Typing<'_> {
        Typing {
            state: &self.state,
            parameters: &self.parameters,
            environment: cast_environment(&self.environment),
            catalog: &self.catalog,
        }
    }

    /// An error of DataFusion's as a client sees it, with its place in the statement.
    pub(crate) fn placed(&self, error: DataFusionError) -> SqlError {
        let refused = error.to_string();
        let error = position::placed(error, &self.places);
        if error.state() == SqlState::DatatypeMismatch
            && let Some(ty) = self.type_of_predicate(&refused)
        {
            let message = format!("argument of WHERE must be type boolean, not type {}", ty.sql_name());
            return SqlError::new(SqlState::DatatypeMismatch, message);
        }
        error
    }

    /// The type of the column that DataFusion says is no predicate: it does not tell text from varchar.
    fn type_of_predicate(&self, refused: &str) -> Option<PgType> {
        let predicate = refused.split("non-boolean predicate '").nth(1)?.split('\'').next()?;
        let (table, column) = predicate.rsplit_once('.')?;
        let table = self.catalog.table(table)?;
        Some(table.columns[table.position(column)?].ty.ty)
    }

    /// Runs `build` until the types of the parameters no longer change.
    pub(crate) fn settle<T>(&self, build: impl Fn(&Self) -> DataFusionResult<T>) -> Result<T> {
        loop {
            let before = self.parameters.known();
            let built = build(self).map_err(|error| self.placed(error))?;
            if self.parameters.known() == before {
                if self.parameters.complete() {
                    return Ok(built);
                }
                self.parameters.settle();
            }
        }
    }

    /// As [`Self::settle`], leaving parameters without a type as they are; for a part of a statement.
    pub(crate) fn settle_partly<T>(&self, build: impl Fn(&Self) -> DataFusionResult<T>) -> Result<T> {
        loop {
            let before = self.parameters.known();
            let built = build(self).map_err(|error| self.placed(error))?;
            if self.parameters.known() == before {
                return Ok(built);
            }
        }
    }

    /// `42501` unless the tables that were named so far may be read: for what runs without a plan of its own.
    pub(crate) fn check_reads(&self) -> Result<()> {
        let actor = Actor::new(&self.catalog, self.environment.role);
        let select = Privileges::of(&[Privilege::Select]);
        self.names.found().iter().try_for_each(|found| actor.check_table(&found.table, select))
    }

    fn planner_context(&self) -> PlannerContext {
        PlannerContext::new().with_prepare_param_data_types(self.parameters.fields())
    }

    /// One pass over a query that is prepared.
    pub(crate) fn query(&self, query: &ast::Query) -> DataFusionResult<LogicalPlan> {
        let planner = SqlToRel::new(&self.names);
        let statement = ast::Statement::Query(Box::new(query.clone()));
        let plan = planner.sql_statement_to_plan_with_context(statement, &mut self.planner_context())?;
        check_size(&plan)?;
        let plan = typing::type_plan(plan, &self.typing())?;
        for (name, field) in plan.get_parameter_fields()? {
            if let Some(field) = field {
                self.parameters.note_named(&name, crate::query::arrow::pg_type(&field).ty);
            }
        }
        Ok(plan)
    }

    /// One pass over an expression that is prepared.
    pub(crate) fn expr(&self, expr: &ast::Expr, schema: &DFSchema) -> DataFusionResult<Expr> {
        let planner = SqlToRel::new(&self.names);
        let expr = planner.sql_to_expr(expr.clone(), schema, &mut self.planner_context())?;
        typing::type_tree(expr, schema, &self.typing())
    }

    fn finish(&self, statement: &Statement, fields: Option<Arc<[Field]>>, body: Body) -> Result<Planned> {
        // What `*` stands for is not counted before.
        lodedb_sql::rewrite::check_column_count(fields.as_ref().map_or(0, |fields| fields.len()))?;
        let mut found = self.names.found();
        if let Body::Hot(hot) = &body {
            found.push(Found { table: hot.table().clone(), is_read: hot.is_query() });
        }
        let needs = privileges::needed(&found, &body, statement);
        let known = |table: Arc<Table>, is_looked_at: bool| Known {
            indexes: self.catalog.indexes_of(table.id).cloned().collect(),
            generated: self.catalog.generated_of(table.id).cloned().collect(),
            table,
            is_looked_at,
        };
        let only_inserts = matches!(body, Body::Hot(HotPlan::Insert(_)));
        let mut tables: Vec<Known> = found.into_iter().map(|found| known(found.table, !only_inserts)).collect();
        if let Body::Insert(insert) = &body
            && !tables.iter().any(|known| known.table.id == insert.table.id)
        {
            tables.push(known(insert.table.clone(), false));
        }
        Ok(Planned {
            parameters: self.parameters.types(),
            fields,
            body,
            version: self.catalog.version(),
            tables,
            needs,
        })
    }
}

/// Planning a statement longer than this may take its time.
const LONG_TEXT_BYTES: usize = 4096;
/// The most nodes of a plan. A WITH query is there as often as it is named, and each may name the one before it twice.
const PLAN_NODES_MAX: usize = 20_000;

fn check_size(plan: &LogicalPlan) -> DataFusionResult<()> {
    let mut nodes = 0;
    plan.apply_with_subqueries(|_| {
        nodes += 1;
        Ok(if nodes > PLAN_NODES_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if nodes > PLAN_NODES_MAX { carry(Err(lodedb_sql::parse::too_complex())) } else { Ok(()) }
}

/// Plans a statement.
pub(crate) async fn prepare(
    registry: &Arc<Registry>,
    reader: &Reader,
    environment: &Arc<Environment>,
    statement: &Arc<ParsedStatement>,
    types: &[Option<PgType>],
) -> Result<Planned> {
    let parameters = Parameters::new(types, statement.parameter_count as usize);
    let planner = Planner::new(registry, reader, environment, parameters, statement.places.clone());
    let explained = matches!(statement.statement, Statement::Explain { .. });
    let plan = || plan_statement(&planner, planned_statement(&statement.statement), !explained);
    let planned = if statement.text.len() > LONG_TEXT_BYTES { giving_way(plan) } else { plan() };
    planned.map_err(|error| position::placed_sql(error, &statement.places))
}

fn plan_statement(planner: &Planner, statement: &Statement, may_be_hot: bool) -> Result<Planned> {
    if may_be_hot && let Some((hot, fields)) = hot::recognise(planner, statement)? {
        return planner.finish(statement, fields, Body::Hot(hot));
    }
    match statement {
        Statement::Query(query) => plan_query(planner, statement, query),
        Statement::Copy(copy) => match &copy.relation {
            CopyRelation::Query(query) => plan_query(planner, statement, query),
            CopyRelation::Table { .. } => Err(SqlError::internal("COPY of a table was to be planned")),
        },
        Statement::CreateTableAs(create) => plan_query(planner, statement, &create.query),
        Statement::Declare(declare) => plan_query(planner, statement, &declare.query),
        Statement::Insert(insert) => {
            let (plan, fields) = dml::insert::plan(planner, insert)?;
            planner.finish(statement, fields, Body::Insert(Box::new(plan)))
        }
        Statement::Update(update) => {
            let (plan, fields) = dml::update::plan(planner, update)?;
            planner.finish(statement, fields, Body::Update(Box::new(plan)))
        }
        Statement::Delete(delete) => {
            let (plan, fields) = dml::delete::plan(planner, delete)?;
            planner.finish(statement, fields, Body::Delete(Box::new(plan)))
        }
        other => Err(SqlError::internal(format!("{} was to be planned", other.command_tag()))),
    }
}

fn plan_query(planner: &Planner, statement: &Statement, query: &ast::Query) -> Result<Planned> {
    let mut query = query.clone();
    let locks = lodedb_sql::rewrite::take_row_locks(&mut query);
    if !locks.is_empty()
        && let Some((plan, fields)) = dml::lock::plan(planner, query.clone(), &locks)?
    {
        return planner.finish(statement, Some(fields), Body::Lock(Box::new(plan)));
    }
    planner.preparation().query(&mut query)?;
    let plan = planner.settle(|planner| planner.query(&query))?;
    let fields = result::fields(&plan);
    planner.finish(statement, Some(fields), Body::Query(plan))
}
