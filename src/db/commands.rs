//! Statements that neither read tables nor write rows: settings, prepared statements, and the rest.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::error::Result;
use lodedb_sql::parse::{ParsedStatement, Places};
use lodedb_sql::statement::{
    CopyDirection, CreateTableAs, DiscardTarget, InsertSource, Named, SetScope, SetValue, Statement,
};
use lodedb_sql::{Datum, PgType, SqlError, SqlState};

use super::authorize::Need;
use super::ddl::relation_name;
use super::notify::{self, Intention};
use super::outcome::{Field, Outcome, Prepared, RowsTag, text_field};
use super::session::{Session, lock_mode};
use crate::query::arrow::arrow_field;

/// The columns of SHOW.
pub(super) fn show_fields(name: &Named) -> Arc<[Field]> {
    match name {
        Named::Name(name) => Arc::from([text_field(shown_name(name))]),
        Named::All => Arc::from([text_field("name"), text_field("setting"), text_field("description")]),
    }
}

/// How PostgreSQL spells a setting in the column of SHOW.
fn shown_name(name: &str) -> &str {
    match name {
        "timezone" => "TimeZone",
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        other => other,
    }
}

/// Rows of text.
pub(super) fn text_rows(fields: &Arc<[Field]>, rows: &[Vec<String>], tag: &str) -> Result<Outcome> {
    nullable_rows(fields, rows.iter().map(|row| row.iter().map(|text| Some(text.as_str())).collect()).collect(), tag)
}

/// Rows of text, some of which may be NULL.
pub(super) fn nullable_rows(fields: &Arc<[Field]>, rows: Vec<Vec<Option<&str>>>, tag: &str) -> Result<Outcome> {
    let columns: Vec<ArrayRef> = (0..fields.len())
        .map(|column| Arc::new(rows.iter().map(|row| row[column]).collect::<StringArray>()) as ArrayRef)
        .collect();
    let schema = Schema::new(fields.iter().map(|field| arrow_field(&field.name, field.ty, true)).collect::<Vec<_>>());
    let batch = RecordBatch::try_new(Arc::new(schema), columns).map_err(SqlError::internal)?;
    Ok(Outcome::Rows {
        fields: fields.clone(),
        batches: Box::pin(futures::stream::iter([Ok(batch)])),
        tag: RowsTag::Fixed(tag.to_owned()),
    })
}

impl Session {
    /// Runs what is neither a query nor a change of rows.
    pub(super) async fn command(&mut self, prepared: &Prepared, params: &[Datum]) -> Result<Outcome> {
        let statement = &prepared.statement.statement;
        let tag = || Ok(Outcome::Command(statement.command_tag().to_owned()));
        match statement {
            Statement::Copy(copy) => {
                if copy.direction == CopyDirection::FromStdin {
                    // It locks its table, and then most of the time waits for its client.
                    self.take_place();
                }
                self.copy(copy, &prepared.statement.places).await
            }
            Statement::Explain { options, statement: explained } => {
                let (engine, environment, cancel) = (self.engine().clone(), self.environment(), self.cancel.clone());
                let Some(plan) = prepared.plan.clone() else {
                    return Err(SqlError::unsupported(format!("EXPLAIN {}", explained.command_tag())));
                };
                if options.analyze {
                    self.note_reads(&plan)?;
                }
                let reader = self.reader();
                let lines = if options.analyze && !explained.is_read_only() {
                    let place = self.take_place();
                    let tx = self.transaction()?;
                    tx.set_place(place);
                    tx.start_statement();
                    let lines =
                        engine.query.explain(&plan, options, reader, Some(tx), environment, params, cancel).await;
                    tx.set_place(None);
                    lines?
                } else {
                    engine.query.explain(&plan, options, reader, None, environment, params, cancel).await?
                };
                let rows: Vec<Vec<String>> = lines.into_iter().map(|line| vec![line]).collect();
                text_rows(&Arc::from([text_field("QUERY PLAN")]), &rows, "EXPLAIN")
            }
            Statement::CreateTable(create) => {
                self.create_table(create).await?;
                tag()
            }
            Statement::CreateTableAs(create) => self.create_table_as(create, prepared.statement.places.clone()).await,
            Statement::DropTable { names, if_exists, .. } => {
                self.drop_tables(names, *if_exists).await?;
                tag()
            }
            Statement::AlterTable(alter) => {
                self.alter_table(alter).await?;
                tag()
            }
            Statement::Truncate { names, restart_identity, .. } => {
                self.truncate(names, *restart_identity).await?;
                tag()
            }
            Statement::CreateIndex(create) => {
                self.create_index(create).await?;
                tag()
            }
            Statement::DropIndex { names, if_exists, .. } => {
                self.drop_indexes(names, *if_exists).await?;
                tag()
            }
            Statement::CreateSequence { name, if_not_exists, options } => {
                self.create_sequence(name, *if_not_exists, options).await?;
                tag()
            }
            Statement::DropSequence { names, if_exists, .. } => {
                self.drop_sequences(names, *if_exists)?;
                tag()
            }
            Statement::CreateExtension { name, if_not_exists } => {
                self.create_extension(name, *if_not_exists)?;
                tag()
            }
            Statement::Set { scope, name, value } => {
                let value = match value {
                    SetValue::Default => None,
                    SetValue::Values(values) => Some(values.join(", ")),
                };
                self.change_setting(name, value.as_deref(), *scope == SetScope::Local)?;
                tag()
            }
            Statement::SetTransaction { session, modes } => {
                if *session {
                    if let Some(level) = modes.isolation {
                        self.change_setting("default_transaction_isolation", Some(level.name()), false)?;
                    }
                    if let Some(read_only) = modes.read_only {
                        let value = if read_only { "on" } else { "off" };
                        self.change_setting("default_transaction_read_only", Some(value), false)?;
                    }
                } else if self.in_block() {
                    self.set_modes(modes)?;
                } else {
                    self.notice(
                        "WARNING",
                        SqlError::new(
                            SqlState::NoActiveSqlTransaction,
                            "SET TRANSACTION can only be used in transaction blocks",
                        ),
                    );
                }
                tag()
            }
            Statement::SetConstraints { deferred } => {
                if *deferred {
                    return Err(SqlError::unsupported("SET CONSTRAINTS ... DEFERRED"));
                }
                tag()
            }
            Statement::Show(Named::Name(name)) => {
                text_rows(&show_fields(&Named::Name(name.clone())), &[vec![self.setting(name)?]], "SHOW")
            }
            Statement::Show(Named::All) => {
                let rows: Vec<Vec<String>> = self
                    .settings
                    .all()
                    .into_iter()
                    .map(|(name, value)| vec![name.to_owned(), value, String::new()])
                    .collect();
                text_rows(&show_fields(&Named::All), &rows, "SHOW")
            }
            Statement::Reset(Named::Name(name)) => {
                self.change_setting(name, None, false)?;
                tag()
            }
            Statement::Reset(Named::All) => {
                self.reset_settings();
                tag()
            }
            Statement::Prepare { name, types, parameter_count, statement } => {
                if self.prepared_statements().contains_key(name) {
                    return Err(SqlError::new(
                        SqlState::DuplicatePreparedStatement,
                        format!("prepared statement \"{name}\" already exists"),
                    ));
                }
                let types: Vec<Option<PgType>> = types.iter().map(|ty| Some(ty.ty)).collect();
                let inner = ParsedStatement {
                    text: prepared.statement.text.clone(),
                    statement: (**statement).clone(),
                    parameter_count: *parameter_count,
                    places: prepared.statement.places.clone(),
                };
                let ready = Box::pin(self.make_ready(inner, &types)).await?;
                self.prepared_statements().insert(name.clone(), ready);
                tag()
            }
            Statement::Execute { name, args } => {
                let ready = self.prepared_statement(name)?.clone();
                if args.len() != ready.parameters.len() {
                    return Err(SqlError::new(
                        SqlState::SyntaxError,
                        format!("wrong number of parameters for prepared statement \"{name}\""),
                    )
                    .with_detail(format!(
                        "Expected {} parameters but got {}.",
                        ready.parameters.len(),
                        args.len()
                    )));
                }
                let (engine, environment, reader) = (self.engine().clone(), self.environment(), self.reader());
                let values = engine.query.evaluate(&reader, &environment, args, &ready.parameters).await?;
                Box::pin(self.run_ready(&ready, values)).await
            }
            Statement::Deallocate(Named::All) => {
                self.prepared_statements().clear();
                tag()
            }
            Statement::Deallocate(Named::Name(name)) => {
                self.prepared_statement(name)?;
                self.prepared_statements().remove(name);
                tag()
            }
            Statement::Discard(target) => {
                if *target == DiscardTarget::All {
                    if self.in_block() {
                        return Err(SqlError::new(
                            SqlState::ActiveSqlTransaction,
                            "DISCARD ALL cannot run inside a transaction block",
                        ));
                    }
                    self.prepared_statements().clear();
                    self.cursors.clear();
                    self.unlisten_all();
                    self.hooks.advisory.unlock_all();
                    self.reset_settings();
                }
                tag()
            }
            Statement::LockTable { names, mode, no_wait } => {
                if !self.in_block() {
                    return Err(SqlError::new(
                        SqlState::NoActiveSqlTransaction,
                        "LOCK TABLE can only be used in transaction blocks",
                    ));
                }
                for name in names {
                    let name = relation_name(name)?;
                    let table = match no_wait {
                        true => self.locked_table_now(name, lock_mode(*mode), Need::of_lock(*mode))?,
                        false => self.locked_table(name, lock_mode(*mode), Need::of_lock(*mode)).await?,
                    };
                    if table.is_none() {
                        return Err(SqlError::new(
                            SqlState::UndefinedTable,
                            format!("relation \"{name}\" does not exist"),
                        ));
                    }
                }
                tag()
            }
            Statement::Vacuum { tables, full, verbose, .. } => {
                self.vacuum(tables, *full, *verbose).await?;
                tag()
            }
            Statement::Analyze { tables, .. } => {
                self.analyze(tables).await?;
                tag()
            }
            Statement::CreateModel { name, directory, options } => {
                self.create_model(name, directory, options).await?;
                tag()
            }
            Statement::DropModel { names, if_exists, cascade } => {
                self.drop_models(names, *if_exists, *cascade).await?;
                tag()
            }
            Statement::CreateRole { name, options } => {
                self.create_role(name, options).await?;
                tag()
            }
            Statement::AlterRole { role, options } => {
                self.alter_role(role, options).await?;
                tag()
            }
            Statement::RenameRole { role, to } => {
                self.rename_role(role, to).await?;
                tag()
            }
            Statement::DropRole { names, if_exists } => {
                self.drop_roles(names, *if_exists).await?;
                tag()
            }
            Statement::GrantRole(grant) => {
                self.grant_roles(grant).await?;
                tag()
            }
            Statement::Grant(grant) => {
                self.grant(grant).await?;
                tag()
            }
            Statement::DefaultPrivileges(defaults) => {
                self.default_privileges(defaults).await?;
                tag()
            }
            Statement::SequenceOwner { name, if_exists, role } => {
                self.sequence_owner(name, *if_exists, role).await?;
                tag()
            }
            Statement::Reindex { target, .. } => {
                self.reindex(target).await?;
                tag()
            }
            Statement::Checkpoint => {
                self.checkpoint().await?;
                tag()
            }
            Statement::Check { tables } => self.check(tables.as_deref()).await,
            Statement::Backup { to } => {
                self.backup(to).await?;
                tag()
            }
            Statement::Declare(declare) => self.declare(declare, prepared, params).await,
            Statement::Fetch { cursor, direction } => self.fetch(cursor, *direction, false).await,
            Statement::Move { cursor, direction } => self.fetch(cursor, *direction, true).await,
            Statement::Close(which) => self.close_cursors(which),
            Statement::Listen { channel } => {
                self.intend(Intention::Listen(channel.clone()))?;
                tag()
            }
            Statement::Unlisten(channel) => {
                self.intend(Intention::Unlisten(channel.clone()))?;
                tag()
            }
            Statement::Notify { channel, payload } => {
                self.intend(notify::checked(channel, payload.as_deref().unwrap_or_default())?)?;
                tag()
            }
            other => Err(SqlError::unsupported(other.command_tag())),
        }
    }

    fn setting(&self, name: &str) -> Result<String> {
        let value = self.settings.get(name)?;
        Ok(match name {
            "session_authorization" if value.is_empty() => self
                .parameter_status()
                .into_iter()
                .find_map(|(key, value)| (key == "session_authorization").then_some(value))
                .unwrap_or_default(),
            _ => value,
        })
    }

    fn create_extension(&mut self, name: &str, if_not_exists: bool) -> Result<()> {
        if name != "vector" && name != "plpgsql" {
            return Err(SqlError::new(SqlState::FeatureNotSupported, format!("extension \"{name}\" is not available"))
                .with_hint("What the extension vector offers is built in."));
        }
        let message = format!("extension \"{name}\" already exists");
        if !if_not_exists {
            return Err(SqlError::new(SqlState::DuplicateObject, message));
        }
        self.notice("NOTICE", SqlError::new(SqlState::DuplicateObject, format!("{message}, skipping")));
        Ok(())
    }

    async fn create_table_as(&mut self, create: &CreateTableAs, places: Places) -> Result<Outcome> {
        use lodedb_sql::statement::{ColumnDefinition, CreateTable, Insert};
        let source = ParsedStatement { places, ..ParsedStatement::unwritten(Statement::Query(create.query.clone())) };
        let planned = Box::pin(self.make_ready(source, &[])).await?;
        let fields = planned.fields.clone().unwrap_or_default();
        if create.columns.len() > fields.len() {
            return Err(SqlError::new(SqlState::SyntaxError, "too many column names were specified"));
        }
        let columns = fields
            .iter()
            .enumerate()
            .map(|(at, field)| ColumnDefinition {
                name: create.columns.get(at).cloned().unwrap_or_else(|| field.name.clone()),
                ty: match field.ty.ty {
                    PgType::Scalar(lodedb_sql::ScalarType::Unknown) => {
                        lodedb_sql::TypeWithModifier::plain(lodedb_sql::ScalarType::Text)
                    }
                    _ => field.ty,
                },
                not_null: false,
                default: None,
                default_text: None,
                generated: None,
            })
            .collect();
        let table = CreateTable {
            name: create.name.clone(),
            if_not_exists: create.if_not_exists,
            unlogged: create.unlogged,
            columns,
            constraints: Vec::new(),
            options: Vec::new(),
        };
        if self.create_table(&table).await?.is_none() || !create.with_data {
            return Ok(Outcome::Command("CREATE TABLE AS".into()));
        }
        let insert = ParsedStatement::unwritten(Statement::Insert(Box::new(Insert {
            table: create.name.clone(),
            alias: None,
            columns: Vec::new(),
            overriding: None,
            source: InsertSource::Query(create.query.clone()),
            on_conflict: None,
            returning: Vec::new(),
        })));
        let ready = Box::pin(self.make_ready(insert, &[])).await?;
        match Box::pin(self.run_ready(&ready, Vec::new())).await? {
            Outcome::Command(tag) => Ok(Outcome::Command(format!("SELECT {}", tag.rsplit(' ').next().unwrap_or("0")))),
            other => Ok(other),
        }
    }
}
