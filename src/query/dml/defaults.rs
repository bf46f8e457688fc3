//! The values of columns that a statement leaves out.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr};
use lodedb_sql::error::Result;
use lodedb_sql::parse::parse;
use lodedb_sql::statement::{Privilege, Statement};
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState};

use super::evaluate::{column_in_default, one_row, value_of};
use super::insert::{Cell, bare_call, now, plain_value};
use super::inserter::is_immutable;
use crate::auth::privilege::Actor;
use crate::catalog::rights::Privileges;
use crate::catalog::{Column, SequenceId, Table};
use crate::db::settings::Environment;
use crate::query::arrow::pg_type;
use crate::query::filter::physical_expr;
use crate::query::plan::Planner;
use crate::query::plan::operators::{assign_datum, operand_type};
use crate::query::statement_state::{cast_environment, sql};

/// What `nextval` needs one of.
const NEXT: Privileges = Privileges::of(&[Privilege::Usage, Privilege::Update]);

/// Where the value of a column comes from that a statement leaves out.
#[derive(Clone, Debug)]
pub(crate) enum DefaultValue {
    /// Always the same.
    Constant(Datum),
    /// The same for every row of one statement.
    Momentary(Datum),
    /// The start of the transaction.
    Now { column: usize },
    /// A random UUID.
    RandomUuid,
    /// The next of a sequence.
    Next { sequence: SequenceId, column: usize },
    /// An expression that may give each row another value.
    Volatile { expr: Arc<dyn PhysicalExpr>, column: usize },
}

/// The expression that a text is.
pub(crate) fn parse_expr(text: &str) -> Result<Expr> {
    let wrong = || SqlError::new(SqlState::SyntaxError, format!("\"{text}\" is not an expression"));
    let mut statements = parse(&format!("SELECT {text}"))?;
    let (Some(parsed), true) = (statements.pop(), statements.is_empty()) else { return Err(wrong()) };
    let Statement::Query(query) = parsed.statement else { return Err(wrong()) };
    let SetExpr::Select(mut select) = *query.body else { return Err(wrong()) };
    match (select.projection.pop(), select.projection.is_empty()) {
        (Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }), true) => Ok(expr),
        _ => Err(wrong()),
    }
}

/// The name of the sequence, if a default is `nextval('sequence')` and nothing more.
fn sequence_name(text: &str) -> Option<&str> {
    let within = text.trim().strip_prefix("nextval('")?;
    let name = within.strip_suffix("')").or_else(|| within.strip_suffix("'::regclass)"))?;
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) if !quoted.contains('"') => Some(quoted),
        _ => plain.then_some(name),
    }
}

/// Whether it is a call so common as a default that it is known by name.
fn is_random_uuid(ast: &Expr) -> bool {
    matches!(bare_call(ast).as_deref(), Some("gen_random_uuid" | "uuid_generate_v4"))
}

impl DefaultValue {
    /// The default of the column at a place in a table's rows.
    pub(crate) fn of(planner: &Planner, table: &Table, at: usize) -> Result<Self> {
        let column = &table.columns[at];
        let Some(text) = &column.default else { return Self::of_identity(planner, table, at) };
        if let Some(sequence) = sequence_name(text).and_then(|name| planner.catalog.sequence(name)) {
            return Ok(Self::Next { sequence: sequence.id, column: at });
        }
        let mut ast = parse_expr(text)?;
        if is_random_uuid(&ast) && column.ty.ty == PgType::Scalar(ScalarType::Uuid) {
            return Ok(Self::RandomUuid);
        }
        match plain_value(planner, &ast, &column.name, column.ty).map_err(of_default)? {
            Some(Cell::Value(datum)) => return Ok(Self::Constant(datum)),
            Some(Cell::Now) => return Ok(Self::Now { column: at }),
            _ => {}
        }
        planner.preparation().expr(&mut ast)?;
        let none = DFSchema::empty();
        let expr = planner.expr(&ast, &none).map_err(|error| planner.placed(error))?;
        if expr.any_column_refs() {
            return Err(column_in_default());
        }
        let from = sql(operand_type(&expr, &none))?.map(|ty| ty.ty);
        let expr = planner.typing().assign(expr, from, &column.name, column.ty.ty).map_err(of_default)?;
        let (volatile, lasting) = (expr.is_volatile(), is_immutable(&expr));
        let physical = sql(physical_expr(planner.state.as_ref(), expr, &none))?;
        if volatile {
            return Ok(Self::Volatile { expr: physical, column: at });
        }
        let datum = evaluate(&planner.environment, physical.as_ref(), column)?;
        Ok(if lasting { Self::Constant(datum) } else { Self::Momentary(datum) })
    }

    /// Whether it may be kept from one run of a statement to the next.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Momentary(_) | Self::Volatile { .. })
    }

    fn of_identity(planner: &Planner, table: &Table, at: usize) -> Result<Self> {
        let column = &table.columns[at];
        if column.identity.is_none() {
            return Ok(Self::Constant(Datum::Null));
        }
        let owned = planner.catalog.sequences().find(|sequence| sequence.owner == Some((table.id, column.id)));
        match owned {
            Some(sequence) => Ok(Self::Next { sequence: sequence.id, column: at }),
            None => Err(SqlError::internal(format!("the identity column \"{}\" has no sequence", column.name))),
        }
    }

    /// The value for one row.
    pub(crate) fn value(&self, table: &Table, environment: &Environment) -> Result<Datum> {
        match self {
            Self::Constant(datum) | Self::Momentary(datum) => Ok(datum.clone()),
            Self::Now { column } => now(environment, table.columns[*column].ty),
            Self::RandomUuid => Ok(Datum::Uuid(uuid::Uuid::new_v4().into_bytes())),
            Self::Next { sequence, column } => {
                let Some(sequences) = &environment.hooks.sequences else {
                    return Err(SqlError::internal("no sequences are at hand"));
                };
                // The table's owner may have left the sequence to somebody else.
                let catalog = &environment.catalog;
                let Some(definition) = catalog.sequence_by_id(*sequence) else {
                    return Err(SqlError::new(SqlState::UndefinedTable, "the sequence does not exist"));
                };
                Actor::new(catalog, environment.role).check_sequence(definition, NEXT)?;
                let next = Datum::Int8(sequences.next(*sequence)?);
                let from = PgType::Scalar(ScalarType::Int8);
                assign_datum(next, from, table.columns[*column].ty, &cast_environment(environment))
            }
            Self::Volatile { expr, column } => evaluate(environment, expr.as_ref(), &table.columns[*column]),
        }
    }
}

/// The error of a default that its column does not take, in PostgreSQL's words.
pub(super) fn of_default(error: SqlError) -> SqlError {
    if error.state() != SqlState::DatatypeMismatch {
        return error;
    }
    let message = error.message().replace("but expression is", "but default expression is");
    SqlError::new(error.state(), message).with_hint("You will need to rewrite or cast the expression.")
}

fn evaluate(environment: &Environment, expr: &dyn PhysicalExpr, column: &Column) -> Result<Datum> {
    let row = one_row();
    let field = sql(expr.return_field(row.schema_ref()))?;
    let datum = value_of(expr, &row)?;
    assign_datum(datum, pg_type(&field).ty, column.ty, &cast_environment(environment))
}
