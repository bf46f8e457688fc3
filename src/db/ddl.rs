//! Statements that change what exists: tables, columns, indexes, sequences.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_sql::error::Result;
use lodedb_sql::resolve::{ClassMetric, vector_class};
use lodedb_sql::rewrite::columns_named;
use lodedb_sql::statement::{
    ColumnDefinition, ConstraintKind, CreateIndex, CreateTable, Generated, IndexKey as KeyClause, ObjectName,
    Privilege, SequenceOptions, TableConstraint,
};
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::authorize::Need;
use super::engine::Engine;
use super::session::Session;
use crate::catalog::rights::{ObjectKind, Privileges};
use crate::catalog::{
    Catalog, Change, Check, Column, ColumnId, Identity, Index, IndexKind, KeyConstraint, Presence, Sequence, Table,
};
use crate::commit::Transaction;
use crate::commit::locks::LockMode;
use crate::commit::row_writer::{IndexKey, index_key};
use crate::compaction::{Progress, jobs};
use crate::query::{CancelToken, IndexedExpression};
use crate::segment::{IndexKind as SegmentIndexKind, IndexSpec};

/// PostgreSQL's limit of columns in a table.
const COLUMNS_MAX: usize = 1600;
/// PostgreSQL's limit of bytes in a name.
const NAME_BYTES_MAX: usize = 63;

/// Refuses one more column than a table may have. Those that were dropped count, as in PostgreSQL: their numbers are not used again.
pub(super) fn check_room_for_column(table: &Table) -> Result<()> {
    if table.columns.len() < COLUMNS_MAX {
        return Ok(());
    }
    Err(SqlError::new(SqlState::TooManyColumns, format!("tables can have at most {COLUMNS_MAX} columns")))
}

/// The name of a relation in the one schema there is.
pub(super) fn relation_name(name: &ObjectName) -> Result<&str> {
    match name.schema.as_deref() {
        None | Some("public") => Ok(&name.name),
        Some("pg_catalog" | "information_schema") => Err(SqlError::new(
            SqlState::InsufficientPrivilege,
            format!("permission denied: \"{}\" is a system catalog", name.name),
        )),
        Some(schema) => Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{schema}\" does not exist"))),
    }
}

/// A name no relation has: `base`, or `base` with a number.
fn free_name(catalog: &Catalog, taken: &HashSet<String>, base: &str) -> String {
    let cut = |text: &str, room: usize| {
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    };
    let first = cut(base, NAME_BYTES_MAX);
    if !catalog.has_relation(&first) && !taken.contains(&first) {
        return first;
    }
    (1u32..)
        .map(|number| {
            let suffix = number.to_string();
            cut(base, NAME_BYTES_MAX - suffix.len()) + &suffix
        })
        .find(|name| !catalog.has_relation(name) && !taken.contains(name))
        .unwrap_or(first)
}

/// What one key of an index is to be on.
struct IndexedKey {
    /// What it adds to the name of an index that is given none.
    name: String,
    /// The column, if it is one.
    column: Option<ColumnId>,
    ty: TypeWithModifier,
    /// The columns it names.
    uses: Vec<ColumnId>,
}

/// Builds a table's definition with what belongs to it.
struct TableBuilder<'a> {
    engine: &'a Engine,
    catalog: &'a Catalog,
    taken: HashSet<String>,
    table: Table,
    indexes: Vec<Index>,
    sequences: Vec<Sequence>,
    /// The columns that are computed, and how.
    generated: Vec<(ColumnId, String)>,
}

impl TableBuilder<'_> {
    fn add_column(&mut self, definition: &ColumnDefinition) -> Result<()> {
        let ty = definition.ty;
        if let PgType::Scalar(ScalarType::Unknown | ScalarType::Void | ScalarType::Record) = ty.ty {
            return Err(SqlError::new(
                SqlState::InvalidTableDefinition,
                format!("column \"{}\" has pseudo-type {}", definition.name, ty.ty.sql_name()),
            ));
        }
        if self.table.position(&definition.name).is_some() {
            return Err(SqlError::new(
                SqlState::DuplicateColumn,
                format!("column \"{}\" specified more than once", definition.name),
            ));
        }
        check_room_for_column(&self.table)?;
        let id = self.table.columns.len() as ColumnId + 1;
        let mut column = Column {
            id,
            name: definition.name.clone(),
            ty,
            not_null: definition.not_null,
            default: definition.default_text.clone(),
            identity: None,
            presence: Presence::Shown,
        };
        match &definition.generated {
            None => {}
            Some(Generated::Serial) => self.add_sequence(&mut column, &SequenceOptions::default())?,
            Some(Generated::Identity { always, options }) => {
                column.identity = Some(if *always { Identity::Always } else { Identity::ByDefault });
                self.add_sequence(&mut column, options)?;
            }
            Some(Generated::Stored { text }) => self.generated.push((id, text.clone())),
        }
        self.table.columns.push(column);
        Ok(())
    }

    /// Gives a column a sequence of its own.
    fn add_sequence(&mut self, column: &mut Column, options: &SequenceOptions) -> Result<()> {
        let name = free_name(self.catalog, &self.taken, &format!("{}_{}_seq", self.table.name, column.name));
        self.taken.insert(name.clone());
        let mut sequence = sequence_of(self.engine.next_oid(), name, options, Some(column.ty.ty))?;
        sequence.owner = Some((self.table.id, column.id));
        column.default = Some(format!("nextval('{}'::regclass)", quoted(&sequence.name)));
        column.not_null = true;
        self.sequences.push(sequence);
        Ok(())
    }

    fn add_constraint(&mut self, constraint: &TableConstraint) -> Result<()> {
        let named = |builder: &Self, base: String| match &constraint.name {
            Some(name) if builder.catalog.has_relation(name) || builder.taken.contains(name) => {
                Err(SqlError::new(SqlState::DuplicateTable, format!("relation \"{name}\" already exists")))
            }
            Some(name) => Ok(name.clone()),
            None => Ok(free_name(builder.catalog, &builder.taken, &base)),
        };
        match &constraint.kind {
            ConstraintKind::PrimaryKey(columns) => {
                let primary = |index: &Index| index.is_primary();
                if self.indexes.iter().any(primary) || self.catalog.primary_key(self.table.id).is_some() {
                    return Err(SqlError::new(
                        SqlState::InvalidTableDefinition,
                        format!("multiple primary keys for table \"{}\" are not allowed", self.table.name),
                    ));
                }
                let name = named(self, format!("{}_pkey", self.table.name))?;
                let ids = self.key_columns(columns)?;
                for &id in &ids {
                    self.table.columns[id as usize - 1].not_null = true;
                }
                self.add_key(name, ids, KeyConstraint::Primary);
            }
            ConstraintKind::Unique(columns) => {
                let name = named(self, format!("{}_{}_key", self.table.name, columns.join("_")))?;
                let ids = self.key_columns(columns)?;
                self.add_key(name, ids, KeyConstraint::Unique);
            }
            ConstraintKind::Check { text, condition } => {
                // A condition on one column is called after it, wherever it is written.
                let base = match columns_named(condition).as_slice() {
                    [column] => format!("{}_{column}_check", self.table.name),
                    _ => format!("{}_check", self.table.name),
                };
                let mut name = constraint.name.clone().unwrap_or_else(|| base.clone());
                let mut number = 0;
                while self.table.checks.iter().any(|check| check.name == name) {
                    if constraint.name.is_some() {
                        return Err(SqlError::new(
                            SqlState::DuplicateObject,
                            format!("constraint \"{name}\" for relation \"{}\" already exists", self.table.name),
                        ));
                    }
                    number += 1;
                    name = format!("{base}{number}");
                }
                self.table.checks.push(Check { name, condition: text.clone() });
            }
        }
        Ok(())
    }

    fn key_columns(&self, names: &[String]) -> Result<Vec<ColumnId>> {
        let mut ids = Vec::new();
        for name in names {
            let Some(position) = self.table.position(name) else {
                return Err(SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column \"{name}\" named in key does not exist"),
                ));
            };
            let id = self.table.columns[position].id;
            if ids.contains(&id) {
                return Err(SqlError::new(
                    SqlState::DuplicateColumn,
                    format!("column \"{name}\" appears twice in key constraint"),
                ));
            }
            if self.table.columns[position].ty.is_vector() {
                return Err(SqlError::unsupported("a key with a vector column"));
            }
            if let PgType::Scalar(ScalarType::Json) = self.table.columns[position].ty.ty {
                return Err(SqlError::new(
                    SqlState::UndefinedObject,
                    "data type json has no default operator class for access method \"btree\"",
                ));
            }
            ids.push(id);
        }
        Ok(ids)
    }

    fn add_key(&mut self, name: String, columns: Vec<ColumnId>, constraint: KeyConstraint) {
        self.taken.insert(name.clone());
        self.indexes.push(Index {
            id: self.engine.next_oid(),
            name,
            table: self.table.id,
            kind: IndexKind::Btree { columns, unique: true, constraint: Some(constraint) },
        });
    }
}

fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A sequence from its options.
pub(super) fn sequence_of(id: u32, name: String, options: &SequenceOptions, ty: Option<PgType>) -> Result<Sequence> {
    if options.cycle == Some(true) {
        return Err(SqlError::unsupported("CYCLE"));
    }
    let increment = options.increment.unwrap_or(1);
    let (least, greatest) = match options.ty.map(|ty| ty.ty).or(ty) {
        Some(PgType::Scalar(ScalarType::Int2)) => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Some(PgType::Scalar(ScalarType::Int4)) => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let wrong = |message: String| Err(SqlError::new(SqlState::InvalidParameterValue, message));
    if increment == 0 {
        return wrong("INCREMENT must not be zero".into());
    }
    let min = options.min_value.flatten().unwrap_or(if increment > 0 { 1 } else { least });
    let max = options.max_value.flatten().unwrap_or(if increment > 0 { greatest } else { -1 });
    if min >= max {
        return wrong(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})"));
    }
    let start = options.start.unwrap_or(if increment > 0 { min } else { max });
    if start < min {
        return wrong(format!("START value ({start}) cannot be less than MINVALUE ({min})"));
    }
    if start > max {
        return wrong(format!("START value ({start}) cannot be greater than MAXVALUE ({max})"));
    }
    Ok(Sequence { id, name, start, increment, min, max, owner: None })
}

impl Session {
    /// Notes that something was skipped; `IF [NOT] EXISTS` was written.
    fn skipped(&mut self, state: SqlState, message: String) {
        self.notice("NOTICE", SqlError::new(state, message));
    }

    /// The table a statement changes, locked, if the session may do that to it.
    pub(super) async fn locked_table(&mut self, name: &str, mode: LockMode, need: Need) -> Result<Option<Arc<Table>>> {
        let Some(found) = self.transaction_for(mode)?.reader().catalog().table(name).cloned() else { return Ok(None) };
        // ORDER: before the lock, so that who may not do it keeps nobody waiting.
        self.check_table(&found, need)?;
        let tx = self.transaction_for(mode)?;
        tx.lock_table(found.id, mode).await?;
        // It may be gone, or another one, or not the session's any more, if the lock was waited for.
        let now = tx.reader().catalog().table(name).cloned();
        now.iter().try_for_each(|now| self.check_table(now, need))?;
        Ok(now)
    }

    /// The transaction to lock a table in: one that only reads may do it for reading.
    fn transaction_for(&mut self, mode: LockMode) -> Result<&mut Transaction> {
        if mode <= LockMode::RowShare { self.open_transaction() } else { self.transaction() }
    }

    /// The same, if the lock can be had at once; `55P03` if not.
    pub(super) fn locked_table_now(&mut self, name: &str, mode: LockMode, need: Need) -> Result<Option<Arc<Table>>> {
        let Some(found) = self.transaction_for(mode)?.reader().catalog().table(name).cloned() else { return Ok(None) };
        self.check_table(&found, need)?;
        let tx = self.transaction_for(mode)?;
        tx.lock_table_now(&found, mode)?;
        let now = tx.reader().catalog().table(name).cloned();
        now.iter().try_for_each(|now| self.check_table(now, need))?;
        Ok(now)
    }

    async fn required_table(&mut self, name: &ObjectName, mode: LockMode, need: Need) -> Result<Arc<Table>> {
        let name = relation_name(name)?;
        self.locked_table(name, mode, need)
            .await?
            .ok_or_else(|| SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist")))
    }

    /// CREATE TABLE. Gives the table, or `None` if one of that name was there and that is no error.
    pub(super) async fn create_table(&mut self, create: &CreateTable) -> Result<Option<Arc<Table>>> {
        let name = relation_name(&create.name)?.to_owned();
        let engine = self.engine().clone();
        let tx = self.transaction()?;
        tx.start_statement();
        tx.lock_name(&name).await?;
        let catalog = tx.reader().catalog();
        if catalog.has_relation(&name) {
            let message = format!("relation \"{name}\" already exists");
            if create.if_not_exists {
                self.skipped(SqlState::DuplicateTable, format!("{message}, skipping"));
                return Ok(None);
            }
            return Err(SqlError::new(SqlState::DuplicateTable, message));
        }
        let mut builder = TableBuilder {
            engine: &engine,
            catalog: &catalog,
            taken: HashSet::from([name.clone()]),
            table: Table { id: engine.next_oid(), name, columns: Vec::new(), checks: Vec::new() },
            indexes: Vec::new(),
            sequences: Vec::new(),
            generated: Vec::new(),
        };
        for column in &create.columns {
            builder.add_column(column)?;
        }
        for constraint in &create.constraints {
            builder.add_constraint(constraint)?;
        }
        let TableBuilder { table, indexes, sequences, generated, .. } = builder;
        let made: Vec<(u32, ObjectKind)> = std::iter::once((table.id, ObjectKind::Table))
            .chain(sequences.iter().map(|sequence| (sequence.id, ObjectKind::Sequence)))
            .collect();
        for sequence in sequences {
            engine.add_sequence(sequence.clone(), None);
            tx.change_catalog(Change::PutSequence(sequence));
        }
        tx.change_catalog(Change::PutTable(table.clone()));
        for index in indexes {
            tx.change_catalog(Change::PutIndex(index));
        }
        let table = Arc::new(table);
        self.put_generated(&table, generated).await?;
        let reader = self.transaction()?.reader();
        engine.query.check_expressions(&reader, &self.environment(), &table).await?;
        self.own(&made)?;
        Ok(Some(table))
    }

    /// Notes how columns of a table are computed.
    pub(super) async fn put_generated(&mut self, table: &Arc<Table>, columns: Vec<(ColumnId, String)>) -> Result<()> {
        let (engine, environment) = (self.engine().clone(), self.environment());
        let reader = self.transaction()?.reader();
        let catalog = reader.catalog();
        let before = catalog.generated_of(table.id).map(|generated| generated.column);
        let computed: Vec<ColumnId> = before.chain(columns.iter().map(|(column, _)| *column)).collect();
        for column in columns {
            let generated = engine.query.generated(&reader, &environment, table, &computed, column)?;
            self.keep_models(&generated.models).await?;
            self.transaction()?.change_catalog(Change::PutGenerated(generated));
        }
        Ok(())
    }

    /// DROP TABLE.
    pub(super) async fn drop_tables(&mut self, names: &[ObjectName], if_exists: bool) -> Result<()> {
        self.transaction()?.start_statement();
        for name in names {
            let name = relation_name(name)?;
            match self.locked_table(name, LockMode::AccessExclusive, Need::Owner).await? {
                Some(table) => self.transaction()?.change_catalog(Change::DropTable(table.id)),
                None if self.transaction()?.reader().catalog().has_relation(name) => {
                    return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a table")));
                }
                None if if_exists => {
                    self.skipped(SqlState::SuccessfulCompletion, format!("table \"{name}\" does not exist, skipping"));
                }
                None => {
                    return Err(SqlError::new(SqlState::UndefinedTable, format!("table \"{name}\" does not exist")));
                }
            }
        }
        Ok(())
    }

    /// TRUNCATE.
    pub(super) async fn truncate(&mut self, names: &[ObjectName], restart_identity: bool) -> Result<()> {
        self.transaction()?.start_statement();
        for name in names {
            let need = Need::All(Privileges::of(&[Privilege::Truncate]));
            let table = self.required_table(name, LockMode::AccessExclusive, need).await?;
            if restart_identity {
                let catalog = self.catalog();
                for sequence in
                    catalog.sequences().filter(|sequence| sequence.owner.is_some_and(|(of, _)| of == table.id))
                {
                    self.check_owner("sequence", sequence.id, &sequence.name)?;
                }
            }
            let engine = self.engine().clone();
            let tx = self.transaction()?;
            tx.truncate(table.id);
            if restart_identity {
                let catalog = tx.reader().catalog();
                for sequence in
                    catalog.sequences().filter(|sequence| sequence.owner.is_some_and(|(of, _)| of == table.id))
                {
                    engine.restart_sequence(sequence.id);
                    tx.advance_sequence(sequence.id, sequence.start.wrapping_sub(sequence.increment));
                }
            }
        }
        Ok(())
    }

    /// CREATE INDEX.
    pub(super) async fn create_index(&mut self, create: &CreateIndex) -> Result<()> {
        self.transaction()?.start_statement();
        let table = self.required_table(&create.table, LockMode::Share, Need::Owner).await?;
        self.check_create()?;
        if !create.include.is_empty() {
            return Err(SqlError::unsupported("INCLUDE"));
        }
        let mut keys = Vec::new();
        for column in &create.columns {
            let (name, column, ty, uses) = match &column.key {
                KeyClause::Column(name) => {
                    let position = table.position(name).ok_or_else(|| {
                        SqlError::new(SqlState::UndefinedColumn, format!("column \"{name}\" does not exist"))
                    })?;
                    let column = &table.columns[position];
                    (name.clone(), Some(column.id), column.ty, vec![column.id])
                }
                KeyClause::Expr { .. } if create.method == "btree" => {
                    return Err(SqlError::unsupported("a btree index on an expression"));
                }
                KeyClause::Expr { text, .. } => {
                    let IndexedExpression { name, ty, uses } =
                        self.index_expression(&table, "index expression", text)?;
                    (name.unwrap_or_else(|| "expr".to_owned()), None, ty, uses)
                }
            };
            keys.push(IndexedKey { name, column, ty, uses });
        }
        let base = {
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            format!("{}_{}_idx", table.name, names.join("_"))
        };
        let engine = self.engine().clone();
        let tx = self.transaction()?;
        let name = match &create.name {
            Some(name) => name.clone(),
            None => free_name(&tx.reader().catalog(), &HashSet::new(), &base),
        };
        tx.lock_name(&name).await?;
        if tx.reader().catalog().has_relation(&name) {
            let message = format!("relation \"{name}\" already exists");
            if create.if_not_exists {
                self.skipped(SqlState::DuplicateTable, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::DuplicateTable, message));
        }
        let id = engine.next_oid();
        if create.method == "btree" {
            return self.create_btree(create, &table, id, name, &keys);
        }
        self.create_vector_index(create, &table, id, name, &keys).await
    }

    fn create_btree(
        &mut self,
        create: &CreateIndex,
        table: &Arc<Table>,
        id: u32,
        name: String,
        keys: &[IndexedKey],
    ) -> Result<()> {
        if create.predicate.is_some() {
            return Err(SqlError::unsupported("a partial btree index (WHERE)"));
        }
        let known = |key: &String| key == "fillfactor" || key == "deduplicate_items";
        if let Some((key, _)) = create.options.iter().find(|(key, _)| !known(key)) {
            let message = format!("unrecognized parameter \"{key}\"");
            return Err(SqlError::new(SqlState::InvalidParameterValue, message));
        }
        if create.columns.iter().any(|column| column.descending || column.nulls_first) {
            return Err(SqlError::unsupported("a descending index column")
                .with_hint("An ascending index is read backwards for ORDER BY ... DESC."));
        }
        let columns: Vec<ColumnId> = keys.iter().filter_map(|key| key.column).collect();
        if !keys.iter().any(|key| key.ty.is_vector()) {
            let kind = IndexKind::Btree { columns, unique: create.unique, constraint: None };
            return self.fill_btree(table, Index { id, name, table: table.id, kind });
        }
        // Vectors lie in segments, not with the keys.
        if create.unique || keys.len() > 1 {
            return Err(SqlError::unsupported("a unique or multicolumn btree index on a vector column"));
        }
        let kind = IndexKind::Exact {
            method: create.method.clone(),
            column: columns.first().copied(),
            expression: None,
            opclass: None,
            options: Vec::new(),
            predicate: None,
            uses: columns,
        };
        self.transaction()?.change_catalog(Change::PutIndex(Index { id, name, table: table.id, kind }));
        Ok(())
    }

    /// What an index asks of an expression.
    fn index_expression(&mut self, table: &Arc<Table>, what: &str, text: &str) -> Result<IndexedExpression> {
        let (engine, environment) = (self.engine().clone(), self.environment());
        engine.query.index_expression(&self.transaction()?.reader(), &environment, table, (what, text))
    }

    /// Enters the rows there are into a new btree index, as far as this transaction will read it.
    pub(super) fn fill_btree(&mut self, table: &Arc<Table>, index: Index) -> Result<()> {
        let cancel = self.cancel.clone();
        fill_btree(self.transaction()?, table, index, &cancel)
    }

    async fn create_vector_index(
        &mut self,
        create: &CreateIndex,
        table: &Arc<Table>,
        id: u32,
        name: String,
        keys: &[IndexedKey],
    ) -> Result<()> {
        if create.unique {
            return Err(SqlError::new(
                SqlState::FeatureNotSupported,
                format!("access method \"{}\" does not support unique indexes", create.method),
            ));
        }
        let ([key], [clause]) = (keys, &create.columns[..]) else {
            return Err(SqlError::new(
                SqlState::FeatureNotSupported,
                format!("access method \"{}\" does not support multicolumn indexes", create.method),
            ));
        };
        let class = vector_class(&create.method, clause.opclass.as_deref(), key.ty.ty)?;
        let kind = SegmentIndexKind::from_name(&create.method).ok_or_else(|| {
            SqlError::new(SqlState::UndefinedObject, format!("access method \"{}\" does not exist", create.method))
        })?;
        let dims = u32::try_from(key.ty.modifier).ok().filter(|&dims| dims > 0);
        let options = IndexSpec::validate(kind, class.ty, dims, &create.options)?;
        let (ClassMetric::Vectors(metric), Some(column), true, None) =
            (class.metric, key.column, key.ty.is_vector(), &create.predicate_text)
        else {
            return self.create_exact_index(create, table, id, name, key, (class.name, options));
        };
        let spec = IndexSpec { id, column, kind, metric, options };
        let kind =
            IndexKind::Vector { spec: spec.clone(), opclass: class.name.to_owned(), method: create.method.clone() };
        let index = Index { id, name, table: table.id, kind };
        let (engine, session, stop) = (self.engine().clone(), self.number(), Arc::new(AtomicBool::new(false)));
        let table_id = table.id;
        let stopped = StopOnDrop(stop.clone());
        // The build takes both cores for seconds: it runs beside the executor, and stops if the statement does.
        let built = tokio::task::spawn_blocking(move || build(&engine, session, table_id, id, spec, &stop))
            .await
            .map_err(SqlError::internal)??;
        stopped.disarm();
        let tx = self.transaction()?;
        tx.change_catalog(Change::PutIndex(index));
        if let Some(op) = built {
            tx.attach(op);
        }
        Ok(())
    }

    /// A vector index that no codes are made for: of another type than `vector`, on an expression, or under a condition.
    fn create_exact_index(
        &mut self,
        create: &CreateIndex,
        table: &Arc<Table>,
        id: u32,
        name: String,
        key: &IndexedKey,
        (opclass, options): (&str, Vec<(String, String)>),
    ) -> Result<()> {
        let mut uses = key.uses.clone();
        if let Some(text) = &create.predicate_text {
            let IndexedExpression { ty, uses: named, .. } = self.index_expression(table, "index predicate", text)?;
            if ty.ty != PgType::Scalar(ScalarType::Bool) {
                let message = format!("argument of WHERE must be type boolean, not type {}", ty.ty.sql_name());
                return Err(SqlError::new(SqlState::DatatypeMismatch, message));
            }
            uses.extend(named);
            uses.sort_unstable();
            uses.dedup();
        }
        let expression = match create.columns.first().map(|column| &column.key) {
            Some(KeyClause::Expr { text, .. }) => Some(text.clone()),
            _ => None,
        };
        let kind = IndexKind::Exact {
            method: create.method.clone(),
            column: key.column,
            expression,
            opclass: Some(opclass.to_owned()),
            options,
            predicate: create.predicate_text.clone(),
            uses,
        };
        self.transaction()?.change_catalog(Change::PutIndex(Index { id, name, table: table.id, kind }));
        Ok(())
    }

    /// DROP INDEX.
    pub(super) async fn drop_indexes(&mut self, names: &[ObjectName], if_exists: bool) -> Result<()> {
        self.transaction()?.start_statement();
        for name in names {
            let name = relation_name(name)?;
            let Some(index) = self.transaction()?.reader().catalog().index(name).cloned() else {
                if if_exists {
                    self.skipped(SqlState::SuccessfulCompletion, format!("index \"{name}\" does not exist, skipping"));
                    continue;
                }
                return Err(SqlError::new(SqlState::UndefinedObject, format!("index \"{name}\" does not exist")));
            };
            self.check_owner("index", index.table, &index.name)?;
            if let IndexKind::Btree { constraint: Some(_), .. } = index.kind {
                let catalog = self.transaction()?.reader().catalog();
                let table = catalog.table_by_id(index.table).map_or("", |table| &table.name);
                return Err(SqlError::new(
                    SqlState::DependentObjectsStillExist,
                    format!("cannot drop index {name} because constraint {name} on table {table} requires it"),
                )
                .with_hint("Drop the constraint instead."));
            }
            let tx = self.transaction()?;
            tx.lock_table(index.table, LockMode::AccessExclusive).await?;
            tx.change_catalog(Change::DropIndex(index.id));
        }
        Ok(())
    }

    /// CREATE SEQUENCE.
    pub(super) async fn create_sequence(
        &mut self,
        name: &ObjectName,
        if_not_exists: bool,
        options: &SequenceOptions,
    ) -> Result<()> {
        let name = relation_name(name)?.to_owned();
        let engine = self.engine().clone();
        let tx = self.transaction()?;
        tx.start_statement();
        tx.lock_name(&name).await?;
        if tx.reader().catalog().has_relation(&name) {
            let message = format!("relation \"{name}\" already exists");
            if if_not_exists {
                self.skipped(SqlState::DuplicateTable, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::DuplicateTable, message));
        }
        let mut sequence = sequence_of(engine.next_oid(), name, options, None)?;
        if let Some(Some((table, column))) = &options.owned_by {
            let catalog = tx.reader().catalog();
            let table = catalog.require_table(relation_name(table)?)?;
            let position = table.position(column).ok_or_else(|| {
                SqlError::new(SqlState::UndefinedColumn, format!("column \"{column}\" does not exist"))
            })?;
            sequence.owner = Some((table.id, table.columns[position].id));
            let (table, id) = (table.clone(), table.id);
            self.check_table(&table, Need::Owner)?;
            let own = self.identity().role;
            if catalog.rights().owner(id) != own {
                let message = "sequence must have same owner as table it is linked to";
                return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
            }
        }
        engine.add_sequence(sequence.clone(), None);
        let made = [(sequence.id, ObjectKind::Sequence)];
        self.transaction()?.change_catalog(Change::PutSequence(sequence));
        self.own(&made)
    }

    /// DROP SEQUENCE.
    pub(super) fn drop_sequences(&mut self, names: &[ObjectName], if_exists: bool) -> Result<()> {
        self.transaction()?.start_statement();
        for name in names {
            let name = relation_name(name)?;
            let catalog = self.transaction()?.reader().catalog();
            let Some(sequence) = catalog.sequence(name).cloned() else {
                if if_exists {
                    self.skipped(
                        SqlState::SuccessfulCompletion,
                        format!("sequence \"{name}\" does not exist, skipping"),
                    );
                    continue;
                }
                return Err(SqlError::new(SqlState::UndefinedTable, format!("sequence \"{name}\" does not exist")));
            };
            self.check_owner("sequence", sequence.id, &sequence.name)?;
            if let Some(table) = sequence.owner.and_then(|(table, _)| catalog.table_by_id(table)) {
                return Err(SqlError::new(
                    SqlState::DependentObjectsStillExist,
                    format!("cannot drop sequence {name} because other objects depend on it"),
                )
                .with_detail(format!("A default value of table {} depends on sequence {name}", table.name)));
            }
            self.transaction()?.change_catalog(Change::DropSequence(sequence.id));
        }
        Ok(())
    }
}

/// Enters the rows there are into a new btree index of a table that nobody else writes, as far as a transaction will read it.
pub(super) fn fill_btree(tx: &mut Transaction, table: &Arc<Table>, index: Index, cancel: &CancelToken) -> Result<()> {
    let mut owners: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
    let mut entries = Vec::new();
    for row in tx.reader().scan(table, false)? {
        cancel.check()?;
        let row = row?;
        match index_key(&index, &row.values) {
            Some(IndexKey::Unique(key)) => {
                if owners.insert(key.clone(), ()).is_some() {
                    let violation = tx.unique_violation_of(table, &index, &row.values);
                    return Err(SqlError::new(
                        SqlState::UniqueViolation,
                        format!("could not create unique index \"{}\"", index.name),
                    )
                    .with_detail(violation.detail().unwrap_or_default().replace("already exists", "is duplicated"))
                    .with_table(&table.name)
                    .with_constraint(&index.name));
                }
                entries.push((key, row.id, true));
            }
            Some(IndexKey::Entry(key)) => entries.push((key, row.id, false)),
            None => {}
        }
    }
    let id = index.id;
    tx.change_catalog(Change::PutIndex(index));
    tx.enter_keys(id, entries);
    Ok(())
}

/// Tells a build to stop when the statement that waits for it is dropped.
pub(super) struct StopOnDrop(pub(super) Arc<AtomicBool>);

impl StopOnDrop {
    pub(super) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// Seals every row of a table, then trains an index over them. Rows that come meanwhile get their codes later.
pub(super) fn build(
    engine: &Arc<Engine>,
    session: i32,
    table: u32,
    index: u32,
    spec: IndexSpec,
    stop: &AtomicBool,
) -> Result<Option<crate::commit::record::Op>> {
    let report = |phase: &'static str, done: u64, total: u64| {
        engine.progress.lock().insert(u64::from(index), Progress { session, table, index, phase, done, total });
    };
    let guard = engine.maintenance.lock();
    let view = engine.view();
    let rows = view.tables.get(&table).map_or(0, |view| view.live_rows);
    let result = if rows < engine.options.train_rows || spec.kind == SegmentIndexKind::Flat {
        // So few rows are searched exactly; the background trains the index when there are more.
        Ok(None)
    } else {
        report("initializing", 0, rows);
        jobs::seal_all(engine, table, stop)
            .and_then(|()| jobs::build_index(engine, &engine.view(), table, index, Arc::new(spec), &report, stop))
    };
    engine.progress.lock().remove(&u64::from(index));
    drop(guard);
    result
}
