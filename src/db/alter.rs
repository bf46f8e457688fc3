//! ALTER TABLE.

use std::sync::Arc;

use lodedb_sql::cast::{CastContext, CastEnvironment, cast};
use lodedb_sql::error::Result;
use lodedb_sql::rewrite::{rename_column, rename_table};
use lodedb_sql::statement::{AlterTable, ColumnDefinition, ConstraintKind, Generated, TableAction};
use lodedb_sql::{Datum, SqlError, SqlState};

use super::authorize::Need;
use super::clock::now_us;
use super::ddl::{check_room_for_column, relation_name};
use super::refill;
use super::session::Session;
use crate::catalog::{
    Change, Column, ColumnId, Generated as Computed, Index, IndexKind, KeyConstraint, Presence, Refill, RefillState,
    Table,
};
use crate::commit::Row;
use crate::commit::locks::LockMode;
use crate::commit::view::ScannedRow;

impl Session {
    /// ALTER TABLE.
    pub(super) async fn alter_table(&mut self, alter: &AlterTable) -> Result<()> {
        self.transaction()?.start_statement();
        let name = relation_name(&alter.name)?.to_owned();
        let Some(table) = self.locked_table(&name, LockMode::AccessExclusive, Need::Owner).await? else {
            let message = format!("relation \"{name}\" does not exist");
            if alter.if_exists {
                self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, format!("{message}, skipping")));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::UndefinedTable, message));
        };
        let mut table = table;
        for action in &alter.actions {
            table = self.alter_one(table, action).await?;
        }
        Ok(())
    }

    async fn alter_one(&mut self, table: Arc<Table>, action: &TableAction) -> Result<Arc<Table>> {
        let mut next = Table::clone(&table);
        match action {
            TableAction::AddColumn { if_not_exists, column, constraints } => {
                if next.position(&column.name).is_some() {
                    let message = format!("column \"{}\" of relation \"{}\" already exists", column.name, next.name);
                    if *if_not_exists {
                        self.notice("NOTICE", SqlError::new(SqlState::DuplicateColumn, format!("{message}, skipping")));
                        return Ok(table);
                    }
                    return Err(SqlError::new(SqlState::DuplicateColumn, message));
                }
                if matches!(column.generated, Some(Generated::Serial | Generated::Identity { .. })) {
                    return Err(SqlError::unsupported("ADD COLUMN with a serial or identity column"));
                }
                if !constraints.is_empty() {
                    return Err(SqlError::unsupported("ADD COLUMN with a constraint"));
                }
                next = self.add_column(&table, next, column).await?;
            }
            TableAction::DropColumn { if_exists, name, cascade } => {
                let Some(position) = next.position(name) else {
                    let message = format!("column \"{name}\" of relation \"{}\" does not exist", next.name);
                    if *if_exists {
                        self.notice(
                            "NOTICE",
                            SqlError::new(SqlState::SuccessfulCompletion, format!("{message}, skipping")),
                        );
                        return Ok(table);
                    }
                    return Err(SqlError::new(SqlState::UndefinedColumn, message));
                };
                if !next.checks.is_empty() {
                    return Err(SqlError::unsupported("DROP COLUMN of a table with CHECK constraints")
                        .with_hint("Drop the constraints first."));
                }
                let id = next.columns[position].id;
                let computed = self.computed_from(&next, id, *cascade)?;
                for id in computed.into_iter().chain([id]) {
                    self.drop_column(&mut next, id)?;
                }
                self.transaction()?.change_catalog(Change::PutTable(next.clone()));
            }
            TableAction::RenameTo { name } => {
                self.check_create()?;
                let tx = self.transaction()?;
                tx.lock_name(name).await?;
                if tx.reader().catalog().has_relation(name) {
                    return Err(SqlError::new(SqlState::DuplicateTable, format!("relation \"{name}\" already exists")));
                }
                let from = std::mem::replace(&mut next.name, name.clone());
                self.put_renamed(&mut next, |text| rename_table(text, &from, name))?;
            }
            TableAction::RenameColumn { from, to } => {
                let position = next.position(from).ok_or_else(|| {
                    SqlError::new(SqlState::UndefinedColumn, format!("column \"{from}\" does not exist"))
                })?;
                if next.position(to).is_some() {
                    return Err(SqlError::new(
                        SqlState::DuplicateColumn,
                        format!("column \"{to}\" of relation \"{}\" already exists", next.name),
                    ));
                }
                let from = std::mem::replace(&mut next.columns[position].name, to.clone());
                // A column that is to take its place has its name.
                let of_same_name = next.columns.iter_mut().filter(|column| column.name == from);
                of_same_name.for_each(|column| column.name.clone_from(to));
                self.put_renamed(&mut next, |text| rename_column(text, &from, to))?;
            }
            TableAction::SetNotNull { column, not_null } => {
                let position = self.column_of(&next, column)?;
                if *not_null {
                    self.check_not_refilled(&next, &next.columns[position])?;
                    for row in self.transaction()?.reader().scan(&table, next.columns[position].ty.is_vector())? {
                        if row?.values[position].is_null() {
                            return Err(contains_null(&next, column));
                        }
                    }
                }
                next.columns[position].not_null = *not_null;
                self.transaction()?.change_catalog(Change::PutTable(next.clone()));
            }
            TableAction::SetDefault { column, default_text, .. } => {
                let position = self.column_of(&next, column)?;
                if self.catalog().generated(next.id, next.columns[position].id).is_some() {
                    let message = format!("column \"{column}\" of relation \"{}\" is a generated column", next.name);
                    let error = SqlError::new(SqlState::SyntaxError, message);
                    return Err(match default_text {
                        Some(_) => error,
                        None => error.with_hint("Use ALTER TABLE ... ALTER COLUMN ... DROP EXPRESSION instead."),
                    });
                }
                next.columns[position].default.clone_from(default_text);
                let tx = self.transaction()?;
                tx.change_catalog(Change::PutTable(next.clone()));
                let reader = tx.reader();
                let (engine, environment) = (self.engine().clone(), self.environment());
                engine.query.check_expressions(&reader, &environment, &Arc::new(next.clone())).await?;
            }
            TableAction::SetExpression { column, text } => return self.set_expression(next, column, text).await,
            TableAction::DropExpression { column, if_exists } => {
                let id = next.columns[self.column_of(&next, column)?].id;
                let tx = self.transaction()?;
                if tx.reader().catalog().generated(next.id, id).is_some() {
                    refill::withdraw(tx, &mut next, id);
                    tx.change_catalog(Change::DropGenerated(next.id, id));
                    return Ok(Arc::new(next));
                }
                let message =
                    format!("column \"{column}\" of relation \"{}\" is not a stored generated column", next.name);
                if !*if_exists {
                    return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
                }
                self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, format!("{message}, skipping")));
            }
            TableAction::AddConstraint(constraint) => {
                let (columns, key, suffix) = match &constraint.kind {
                    ConstraintKind::PrimaryKey(columns) => (columns, KeyConstraint::Primary, "pkey".to_owned()),
                    ConstraintKind::Unique(columns) => {
                        (columns, KeyConstraint::Unique, format!("{}_key", columns.join("_")))
                    }
                    ConstraintKind::Check { .. } => return Err(SqlError::unsupported("ADD CONSTRAINT ... CHECK")),
                };
                let name = constraint.name.clone().unwrap_or_else(|| format!("{}_{suffix}", next.name));
                let mut ids = Vec::new();
                for column in columns {
                    let position = self.column_of(&next, column)?;
                    ids.push(next.columns[position].id);
                    if key == KeyConstraint::Primary && !next.columns[position].not_null {
                        let set = TableAction::SetNotNull { column: column.clone(), not_null: true };
                        next = Table::clone(&*Box::pin(self.alter_one(Arc::new(next), &set)).await?);
                    }
                }
                let tx = self.transaction()?;
                let catalog = tx.reader().catalog();
                if key == KeyConstraint::Primary && catalog.primary_key(next.id).is_some() {
                    return Err(SqlError::new(
                        SqlState::InvalidTableDefinition,
                        format!("multiple primary keys for table \"{}\" are not allowed", next.name),
                    ));
                }
                if catalog.has_relation(&name) {
                    return Err(SqlError::new(SqlState::DuplicateTable, format!("relation \"{name}\" already exists")));
                }
                let kind = IndexKind::Btree { columns: ids, unique: true, constraint: Some(key) };
                let index = Index { id: self.engine().next_oid(), name, table: next.id, kind };
                self.fill_btree(&Arc::new(next.clone()), index)?;
            }
            TableAction::DropConstraint { if_exists, name, .. } => {
                let tx = self.transaction()?;
                let catalog = tx.reader().catalog();
                let index = catalog.index(name).filter(|index| index.table == next.id);
                let checks = next.checks.len();
                next.checks.retain(|check| check.name != *name);
                if let Some(index) = index {
                    tx.change_catalog(Change::DropIndex(index.id));
                } else if next.checks.len() < checks {
                    tx.change_catalog(Change::PutTable(next.clone()));
                } else if !*if_exists {
                    return Err(SqlError::new(
                        SqlState::UndefinedObject,
                        format!("constraint \"{name}\" of relation \"{}\" does not exist", next.name),
                    ));
                }
            }
            // Storage and planner options have no meaning here, and programs set them as a matter of course.
            TableAction::SetStorage { column, .. } => {
                self.column_of(&next, column)?;
            }
            TableAction::SetOptions(_) => {}
            TableAction::OwnerTo { role } => {
                let catalog = self.catalog();
                let sequences = catalog.sequences().filter(|one| one.owner.is_some_and(|(of, _)| of == next.id));
                let all: Vec<u32> = std::iter::once(next.id).chain(sequences.map(|sequence| sequence.id)).collect();
                self.give_away(&all, role).await?;
            }
            TableAction::SetType { .. } => return Err(SqlError::unsupported("ALTER COLUMN ... TYPE")),
            TableAction::RenameConstraint { .. } => return Err(SqlError::unsupported("RENAME CONSTRAINT")),
        }
        Ok(Arc::new(next))
    }

    /// Puts a table in which a name has changed, and the expressions that name it.
    fn put_renamed(&mut self, table: &mut Table, renamed: impl Fn(&str) -> Result<String>) -> Result<()> {
        for check in &mut table.checks {
            check.condition = renamed(&check.condition)?;
        }
        let tx = self.transaction()?;
        tx.change_catalog(Change::PutTable(table.clone()));
        let catalog = tx.reader().catalog();
        for generated in catalog.generated_of(table.id) {
            let expression = renamed(&generated.expression)?;
            tx.change_catalog(Change::PutGenerated(Computed { expression, ..generated.as_ref().clone() }));
        }
        for refill in catalog.refills().filter(|refill| refill.table == table.id) {
            let expression = renamed(&refill.expression)?;
            tx.change_catalog(Change::PutRefill(Refill { expression, ..refill.as_ref().clone() }));
        }
        for index in catalog.indexes_of(table.id) {
            let mut index = index.as_ref().clone();
            let IndexKind::Exact { expression, predicate, .. } = &mut index.kind else { continue };
            for text in [expression, predicate].into_iter().flatten() {
                *text = renamed(text)?;
            }
            tx.change_catalog(Change::PutIndex(index));
        }
        Ok(())
    }

    /// The columns that are computed from one that is to be dropped: they go with it, if that was asked for.
    fn computed_from(&mut self, table: &Table, column: ColumnId, cascade: bool) -> Result<Vec<ColumnId>> {
        let catalog = self.catalog();
        let computed = catalog.generated_of(table.id).filter(|generated| generated.uses.contains(&column));
        let mut computed: Vec<ColumnId> = computed.map(|generated| generated.column).collect();
        // What gathers the new values of a column goes with it.
        let refills = catalog.refills().filter(|refill| refill.table == table.id && computed.contains(&refill.column));
        let with_others: Vec<RefillState> = refills.map(|refill| refill.state.clone()).collect();
        computed.retain(|&id| !with_others.contains(&RefillState::Filling(id)));
        let shown = |id: ColumnId| format!("column {} of table {}", table.columns[id as usize - 1].name, table.name);
        let lines =
            |line: &dyn Fn(String) -> String| computed.iter().map(|&id| line(shown(id))).collect::<Vec<_>>().join("\n");
        if computed.is_empty() {
            return Ok(computed);
        }
        if !cascade {
            let message = format!("cannot drop {} because other objects depend on it", shown(column));
            return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
                .with_detail(lines(&|other| format!("{other} depends on {}", shown(column))))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let notice = |message: String| SqlError::new(SqlState::SuccessfulCompletion, message);
        let notice = match computed.as_slice() {
            [one] => notice(format!("drop cascades to {}", shown(*one))),
            many => notice(format!("drop cascades to {} other objects", many.len()))
                .with_detail(lines(&|other| format!("drop cascades to {other}"))),
        };
        self.notice("NOTICE", notice);
        Ok(computed)
    }

    /// Drops a column and what belongs to it, but does not put the table back.
    fn drop_column(&mut self, table: &mut Table, id: ColumnId) -> Result<()> {
        let tx = self.transaction()?;
        let catalog = tx.reader().catalog();
        for index in catalog.indexes_of(table.id).filter(|index| uses(index, id)) {
            tx.change_catalog(Change::DropIndex(index.id));
        }
        for sequence in catalog.sequences().filter(|sequence| sequence.owner == Some((table.id, id))) {
            tx.change_catalog(Change::DropSequence(sequence.id));
        }
        // It may itself be one that new values of another gather in.
        let refill =
            catalog.refills().find(|refill| refill.table == table.id && refill.state == RefillState::Filling(id));
        refill::withdraw(tx, table, refill.map_or(id, |refill| refill.column));
        if catalog.generated(table.id, id).is_some() {
            tx.change_catalog(Change::DropGenerated(table.id, id));
        }
        table.columns[id as usize - 1].become_dropped();
        Ok(())
    }

    /// `55000` for a change that rows would have to be looked at for which a column that is being computed anew does not have yet.
    fn check_not_refilled(&self, table: &Table, column: &Column) -> Result<()> {
        match self.catalog().refill(table.id, column.id).map(|refill| &refill.state) {
            Some(RefillState::Filling(_)) => {
                let message =
                    format!("column \"{}\" of relation \"{}\" is being computed anew", column.name, table.name);
                Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
                    .with_hint("The view lodedb_progress tells how far it is."))
            }
            Some(RefillState::Failed(_)) | None => Ok(()),
        }
    }

    /// ALTER COLUMN .. SET EXPRESSION: few rows are computed at once, many by the background.
    async fn set_expression(&mut self, mut next: Table, column: &str, text: &str) -> Result<Arc<Table>> {
        let position = self.column_of(&next, column)?;
        let id = next.columns[position].id;
        let (engine, environment, cancel) = (self.engine().clone(), self.environment(), self.cancel.clone());
        let tx = self.transaction()?;
        let reader = tx.reader();
        let catalog = reader.catalog();
        let Some(current) = catalog.generated(next.id, id) else {
            let message = format!("column \"{column}\" of relation \"{}\" is not a generated column", next.name);
            return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
        };
        let computed: Vec<ColumnId> = catalog.generated_of(next.id).map(|generated| generated.column).collect();
        let definition = Arc::new(next.clone());
        let wanted = engine.query.generated(&reader, &environment, &definition, &computed, (id, text.to_owned()))?;
        let is_current = wanted == **current;
        self.keep_models(&wanted.models).await?;
        let tx = self.transaction()?;
        refill::withdraw(tx, &mut next, id);
        if is_current {
            return Ok(Arc::new(next));
        }
        check_room_for_column(&next)?;
        let into = next.columns.len() as ColumnId + 1;
        next.columns.push(Column {
            id: into,
            presence: Presence::Filling,
            not_null: false,
            ..next.columns[position].clone()
        });
        let refill = Refill {
            table: next.id,
            column: id,
            expression: text.to_owned(),
            models: wanted.models.clone(),
            started_us: now_us(),
            state: RefillState::Filling(into),
        };
        tx.change_catalog(Change::PutTable(next.clone()));
        tx.change_catalog(Change::PutGenerated(Computed { column: into, ..wanted }));
        tx.change_catalog(Change::PutRefill(refill.clone()));
        let next = Arc::new(next);
        engine.query.check_expressions(&tx.reader(), &environment, &next).await?;
        refill::at_once(tx, &environment, &next, &refill, &cancel).await
    }

    fn column_of(&self, table: &Table, name: &str) -> Result<usize> {
        table.position(name).ok_or_else(|| {
            SqlError::new(
                SqlState::UndefinedColumn,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            )
        })
    }

    async fn add_column(&mut self, table: &Arc<Table>, mut next: Table, column: &ColumnDefinition) -> Result<Table> {
        check_room_for_column(&next)?;
        let id = next.columns.len() as ColumnId + 1;
        next.columns.push(Column {
            id,
            name: column.name.clone(),
            ty: column.ty,
            not_null: column.not_null,
            default: column.default_text.clone(),
            identity: None,
            presence: Presence::Shown,
        });
        let (engine, environment) = (self.engine().clone(), self.environment());
        let tx = self.transaction()?;
        let rows: Vec<_> = tx.reader().scan(table, true)?.collect::<Result<_>>()?;
        tx.change_catalog(Change::PutTable(next.clone()));
        let definition = Arc::new(next.clone());
        if let Some(Generated::Stored { text }) = &column.generated {
            self.put_generated(&definition, vec![(id, text.clone())]).await?;
        }
        let reader = self.transaction()?.reader();
        engine.query.check_expressions(&reader, &environment, &definition).await?;
        let value = match &column.default {
            None => Datum::Null,
            Some(expr) => {
                let value = engine
                    .query
                    .evaluate(&reader, &environment, std::slice::from_ref(expr), &[column.ty.ty])
                    .await?
                    .pop()
                    .unwrap_or(Datum::Null);
                let cast_environment =
                    CastEnvironment { zone: environment.zone, now_us: environment.transaction_time_us };
                cast(value, column.ty.ty, column.ty, CastContext::Assignment, &cast_environment)?
            }
        };
        if rows.is_empty() {
            return Ok(next);
        }
        let is_computed = matches!(column.generated, Some(Generated::Stored { .. }));
        if value.is_null() && !is_computed {
            return if column.not_null { Err(contains_null(&next, &column.name)) } else { Ok(next) };
        }
        let widened = |row: &ScannedRow, value: &Datum| -> Row {
            let mut values = row.values.to_vec();
            values.resize(next.columns.len(), Datum::Null);
            values[id as usize - 1] = value.clone();
            values.into()
        };
        let mut changed: Vec<Row> = rows.iter().map(|row| widened(row, &value)).collect();
        if is_computed {
            let computed = engine.query.compute(&reader, &environment, &definition, id, &mut changed);
            computed.map_err(|refused| match refused.error.state() {
                SqlState::NotNullViolation => contains_null(&next, &column.name),
                _ => refused.error,
            })?;
        }
        let tx = self.transaction()?;
        for (row, new) in rows.iter().zip(changed) {
            tx.update(&definition, row.id, &widened(row, &Datum::Null), new).await?;
        }
        Ok(next)
    }
}

fn contains_null(table: &Table, column: &str) -> SqlError {
    let message = format!("column \"{column}\" of relation \"{}\" contains null values", table.name);
    SqlError::new(SqlState::NotNullViolation, message).with_table(&table.name).with_column(column)
}

/// Whether an index is on a column, or goes by it.
pub(super) fn uses(index: &Index, column: ColumnId) -> bool {
    match &index.kind {
        IndexKind::Btree { columns, .. } => columns.contains(&column),
        IndexKind::Vector { spec, .. } => spec.column == column,
        IndexKind::Exact { uses, .. } => uses.contains(&column),
    }
}
