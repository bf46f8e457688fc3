//! What exists: tables, columns, indexes, sequences, models and roles, and who may do what ([`rights`]).
//!
//! A [`Catalog`] is an immutable value; a [`Change`] makes the next one. It is part of every
//! [`ReadView`](crate::commit::ReadView), so a statement sees one catalog from its start to its end. Changes
//! are logged as whole after-images with the commit that makes them, and the catalog as a whole is in each
//! manifest.
//!
//! INVARIANT 1: object ids come from one counter and are never used again.
//! INVARIANT 2: every index and owned sequence names a table that exists.

pub mod rights;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState, TypeWithModifier};
use serde::{Deserialize, Serialize};

use crate::segment::{IndexSpec, VectorColumn};
use rights::{Access, DATABASE, DefaultAccess, PUBLIC_SCHEMA, Rights, Role, RoleId};

/// The OID of a table.
pub type TableId = u32;
/// The OID of an index.
pub type IndexId = u32;
/// The OID of a sequence.
pub type SequenceId = u32;
/// The OID of a model.
pub type ModelId = u32;
/// The number of a column in its table, from 1, never used again (`attnum`).
pub type ColumnId = u32;

/// The first OID given to objects of users; `vector` and `vector[]` have 16385 and 16386.
pub const FIRST_USER_OID: u32 = 16400;

/// Versions from here on are those of catalogs that were not committed.
const PROVISIONAL: u64 = 1 << 63;

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its OID.
    pub id: TableId,
    /// Its name in schema `public`.
    pub name: String,
    /// Its columns, dropped ones included, in the order of their numbers: `columns[i].id == i + 1`.
    pub columns: Vec<Column>,
    /// CHECK constraints.
    pub checks: Vec<Check>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its number, from 1.
    pub id: ColumnId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TypeWithModifier,
    /// NOT NULL or part of the primary key.
    pub not_null: bool,
    /// The default as SQL text; serial columns say `nextval('t_c_seq')`.
    pub default: Option<String>,
    /// GENERATED ... AS IDENTITY.
    pub identity: Option<Identity>,
    /// Whether users see it, and where.
    pub presence: Presence,
}

/// Whether users see a column, and where.
///
/// Encoded, the first two are what was a flag before there were the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// At the place of its number.
    #[default]
    Shown,
    /// Left by DROP COLUMN, or by a column that took its place: invisible, NULL in every new row.
    Dropped,
    /// It is being filled with what another column is to hold: invisible, and stored with every new row ([`Refill`]).
    Filling,
    /// At the place of the column of this number, which it took.
    ShownAt(ColumnId),
}

/// How an identity column treats given values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// A given value is refused.
    Always,
    /// A given value is taken.
    ByDefault,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// The condition as SQL text.
    pub condition: String,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Its OID.
    pub id: IndexId,
    /// Its name.
    pub name: String,
    /// The table it serves.
    pub table: TableId,
    /// What it is.
    pub kind: IndexKind,
}

/// What an index is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IndexKind {
    /// Ordered keys in RocksDB.
    Btree {
        /// Column numbers, most significant first.
        columns: Vec<ColumnId>,
        /// Whether two rows may not share a key without NULLs.
        unique: bool,
        /// Set where the index is a constraint.
        constraint: Option<KeyConstraint>,
    },
    /// Codes beside the segments.
    Vector {
        /// Column, metric, kind and options.
        spec: IndexSpec,
        /// The operator class as it was declared.
        opclass: String,
        /// The access method as it was declared.
        method: String,
    },
    /// No codes and no keys: rows are compared one by one. What there are no codes for yet, it still says of a
    /// column that it is to be searched.
    Exact {
        /// The access method as it was declared.
        method: String,
        /// The column it is on; none for an expression.
        column: Option<ColumnId>,
        /// The expression it is on, as SQL text, where it is on no column.
        expression: Option<String>,
        /// The operator class as it was declared; none for a btree.
        opclass: Option<String>,
        /// The storage parameters as they were declared.
        options: Vec<(String, String)>,
        /// The condition of the rows in it, as SQL text.
        predicate: Option<String>,
        /// The columns that all of this names: the index goes with any of them.
        uses: Vec<ColumnId>,
    },
}

/// Which constraint a unique index stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyConstraint {
    /// PRIMARY KEY.
    Primary,
    /// UNIQUE.
    Unique,
}

/// A sequence. Its value is not here: it moves outside transactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its OID.
    pub id: SequenceId,
    /// Its name.
    pub name: String,
    /// The first value.
    pub start: i64,
    /// The step.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// The column that owns it, dropped with it.
    pub owner: Option<(TableId, ColumnId)>,
}

/// How a column is computed from the others of its row (`GENERATED ALWAYS AS (..) STORED`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// The table.
    pub table: TableId,
    /// The column.
    pub column: ColumnId,
    /// The expression as SQL text.
    pub expression: String,
    /// The columns that it names.
    pub uses: Vec<ColumnId>,
    /// The models that it names.
    pub models: Vec<ModelId>,
}

/// A computed column that is being computed anew, by an expression it does not have yet (`ALTER COLUMN .. SET EXPRESSION`), or that could
/// not be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refill {
    /// The table.
    pub table: TableId,
    /// The column.
    pub column: ColumnId,
    /// The expression it is to have, as SQL text.
    pub expression: String,
    /// The models that the expression names.
    pub models: Vec<ModelId>,
    /// When it was asked for: microseconds since 1970 UTC.
    pub started_us: i64,
    /// What became of it so far.
    pub state: RefillState,
}

/// What became of a [`Refill`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefillState {
    /// Its values gather in this column, which is [`Presence::Filling`] and has the expression.
    Filling(ColumnId),
    /// A row refused the expression, and this is why; the column stays as it was.
    Failed(String),
}

/// A model that embeds. Its files lie in `models/` of the database, in the folder called [`Model::hash`], and never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its OID.
    pub id: ModelId,
    /// Its name; models have names of their own, beside those of relations.
    pub name: String,
    /// What it embeds: `text`, `image` or `text_image`.
    pub kind: String,
    /// The dimensions of its vectors.
    pub dims: u32,
    /// How it is used: what its `lodedb.json` says.
    pub description: String,
    /// BLAKE3 of all its files, in hexadecimal: another version has another.
    pub hash: String,
    /// Its files, by name.
    pub files: Vec<ModelFile>,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its path in the model's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its content, in hexadecimal.
    pub hash: String,
}

/// One step from a catalog to the next: whole after-images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Creates or replaces a table.
    PutTable(Table),
    /// Drops a table, its indexes and its sequences.
    DropTable(TableId),
    /// Creates or replaces an index.
    PutIndex(Index),
    /// Drops an index.
    DropIndex(IndexId),
    /// Creates or replaces a sequence.
    PutSequence(Sequence),
    /// Drops a sequence.
    DropSequence(SequenceId),
    /// Creates or replaces a role.
    PutRole(Role),
    /// Drops a role.
    DropRole(RoleId),
    /// Sets whose an object is, and the grants on it.
    PutAccess(Access),
    /// Sets or takes away default privileges.
    PutDefault(DefaultAccess),
    /// Creates or replaces a model.
    PutModel(Model),
    /// Drops a model.
    DropModel(ModelId),
    /// Sets how a column is computed.
    PutGenerated(Generated),
    /// A column is computed no more.
    DropGenerated(TableId, ColumnId),
    /// A column is to be computed anew, or could not be.
    PutRefill(Refill),
    /// It is done, or not wanted any more.
    DropRefill(TableId, ColumnId),
}

/// All that exists, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    version: u64,
    next_oid: u32,
    tables: BTreeMap<TableId, Arc<Table>>,
    indexes: BTreeMap<IndexId, Arc<Index>>,
    sequences: BTreeMap<SequenceId, Arc<Sequence>>,
    names: BTreeMap<String, u32>,
    rights: Rights,
    models: BTreeMap<ModelId, Arc<Model>>,
    generated: BTreeMap<(TableId, ColumnId), Arc<Generated>>,
    refills: BTreeMap<(TableId, ColumnId), Arc<Refill>>,
}

/// A catalog as it was before there were models: what manifests of format 3 hold.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(crate) struct CatalogWithoutModels {
    /// Its fields come first, one by one.
    older: CatalogWithoutRights,
    rights: Rights,
}

impl From<CatalogWithoutModels> for Catalog {
    fn from(CatalogWithoutModels { older, rights }: CatalogWithoutModels) -> Self {
        Self { rights, ..older.into() }
    }
}

/// A catalog as it was before there were roles: what manifests of format 2 hold.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(crate) struct CatalogWithoutRights {
    version: u64,
    next_oid: u32,
    tables: BTreeMap<TableId, Arc<Table>>,
    indexes: BTreeMap<IndexId, Arc<Index>>,
    sequences: BTreeMap<SequenceId, Arc<Sequence>>,
    names: BTreeMap<String, u32>,
}

impl From<CatalogWithoutRights> for Catalog {
    fn from(older: CatalogWithoutRights) -> Self {
        let CatalogWithoutRights { version, next_oid, tables, indexes, sequences, names } = older;
        Self { version, next_oid, tables, indexes, sequences, names, ..Self::default() }
    }
}

impl Column {
    /// Whether users see it.
    pub fn is_visible(&self) -> bool {
        matches!(self.presence, Presence::Shown | Presence::ShownAt(_))
    }
    /// Whether rows hold values of it.
    pub fn is_stored(&self) -> bool {
        self.presence != Presence::Dropped
    }
    /// Leaves it as DROP COLUMN does.
    pub fn become_dropped(&mut self) {
        self.presence = Presence::Dropped;
        self.not_null = false;
        self.default = None;
        self.name = format!("........pg.dropped.{}........", self.id);
    }
    fn takes_place_of(&self, other: ColumnId) -> bool {
        self.presence == Presence::ShownAt(other)
    }
}

impl Table {
    /// The columns a user sees, in the order they are shown, each with its place in a row.
    pub fn visible_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter_map(|(place, column)| match column.presence {
            Presence::Shown => Some((place, column)),
            // What took its place came after it.
            _ => self.columns.iter().enumerate().skip(place + 1).find(|(_, later)| later.takes_place_of(column.id)),
        })
    }
    /// The columns that rows hold values of, each with its place in a row.
    pub fn stored_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| column.is_stored())
    }
    /// The place of a column in a row, by name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.is_visible() && column.name == name)
    }
    /// The number that users know a column by (`attnum`): its own, or that of the column whose place it took, which then has its.
    pub fn number(&self, column: ColumnId) -> ColumnId {
        match self.columns.get((column as usize).wrapping_sub(1)).map(|column| column.presence) {
            Some(Presence::ShownAt(number)) => number,
            Some(Presence::Dropped) => {
                self.columns.iter().find(|later| later.takes_place_of(column)).map_or(column, |later| later.id)
            }
            _ => column,
        }
    }
    /// The vector columns, as the segments of this table hold them.
    pub fn vector_columns(&self) -> Vec<VectorColumn> {
        self.stored_columns()
            .filter(|(_, column)| column.ty.is_vector())
            .map(|(_, column)| VectorColumn { id: column.id, dims: column.ty.vector_dims().map(|dims| dims as u32) })
            .collect()
    }
    /// Whether rows of this table live in segments too.
    pub fn has_vectors(&self) -> bool {
        self.stored_columns().any(|(_, column)| column.ty.is_vector())
    }
}

impl Index {
    /// The places in a row of the columns of a btree index.
    pub fn key_positions(&self) -> Option<impl Iterator<Item = usize> + '_> {
        match &self.kind {
            IndexKind::Btree { columns, .. } => Some(columns.iter().map(|&column| column as usize - 1)),
            IndexKind::Vector { .. } | IndexKind::Exact { .. } => None,
        }
    }
    /// Whether two rows may not share a key.
    pub fn is_unique(&self) -> bool {
        matches!(self.kind, IndexKind::Btree { unique: true, .. })
    }
    /// Whether this is a primary key.
    pub fn is_primary(&self) -> bool {
        matches!(self.kind, IndexKind::Btree { constraint: Some(KeyConstraint::Primary), .. })
    }
}

impl Catalog {
    /// Counts the changes since the database was made; equal versions of one open database are equal catalogs.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// Gives the catalog of an open transaction a version that no other one has: what it goes on to commit may differ.
    pub fn make_provisional(&mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(PROVISIONAL);
        self.version = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    /// The OID the next object gets.
    pub fn next_oid(&self) -> u32 {
        self.next_oid.max(FIRST_USER_OID)
    }
    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.names.get(name).and_then(|id| self.tables.get(id))
    }
    /// The table of this name, or `42P01`.
    pub fn require_table(&self, name: &str) -> Result<&Arc<Table>> {
        self.table(name)
            .ok_or_else(|| SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist")))
    }
    /// The table of this id.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }
    /// The index of this name.
    pub fn index(&self, name: &str) -> Option<&Arc<Index>> {
        self.names.get(name).and_then(|id| self.indexes.get(id))
    }
    /// The index of this id.
    pub fn index_by_id(&self, id: IndexId) -> Option<&Arc<Index>> {
        self.indexes.get(&id)
    }
    /// The sequence of this name.
    pub fn sequence(&self, name: &str) -> Option<&Arc<Sequence>> {
        self.names.get(name).and_then(|id| self.sequences.get(id))
    }
    /// The sequence of this id.
    pub fn sequence_by_id(&self, id: SequenceId) -> Option<&Arc<Sequence>> {
        self.sequences.get(&id)
    }
    /// Whether a table, index or sequence has this name.
    pub fn has_relation(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }
    /// Who there is, and who may do what.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }
    /// Every table, by id.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }
    /// Every index, by id.
    pub fn indexes(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.values()
    }
    /// Every sequence, by id.
    pub fn sequences(&self) -> impl Iterator<Item = &Arc<Sequence>> {
        self.sequences.values()
    }
    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models().find(|model| model.name == name)
    }
    /// The model of this id.
    pub fn model_by_id(&self, id: ModelId) -> Option<&Arc<Model>> {
        self.models.get(&id)
    }
    /// Every model, by id.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }
    /// How the columns of a table are computed that are, by their numbers.
    pub fn generated_of(&self, table: TableId) -> impl Iterator<Item = &Arc<Generated>> {
        self.generated.range((table, 0)..=(table, ColumnId::MAX)).map(|(_, generated)| generated)
    }
    /// How a column is computed, if it is.
    pub fn generated(&self, table: TableId, column: ColumnId) -> Option<&Arc<Generated>> {
        self.generated.get(&(table, column))
    }
    /// Every computed column.
    pub fn all_generated(&self) -> impl Iterator<Item = &Arc<Generated>> {
        self.generated.values()
    }
    /// The columns that are being computed anew, or could not be.
    pub fn refills(&self) -> impl Iterator<Item = &Arc<Refill>> {
        self.refills.values()
    }
    /// How a column is being computed anew, if it is, or could not be.
    pub fn refill(&self, table: TableId, column: ColumnId) -> Option<&Arc<Refill>> {
        self.refills.get(&(table, column))
    }
    /// The indexes of a table, by id.
    pub fn indexes_of(&self, table: TableId) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.values().filter(move |index| index.table == table)
    }
    /// The btree indexes of a table, by id.
    pub fn btree_indexes_of(&self, table: TableId) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes_of(table).filter(|index| matches!(index.kind, IndexKind::Btree { .. }))
    }
    /// The primary key of a table.
    pub fn primary_key(&self, table: TableId) -> Option<&Arc<Index>> {
        self.indexes_of(table).find(|index| index.is_primary())
    }

    /// The catalog after `change`.
    pub fn apply(&mut self, change: &Change) {
        self.version += 1;
        match change {
            Change::PutTable(table) => {
                if let Some(old) = self.tables.get(&table.id) {
                    self.names.remove(&old.name);
                }
                self.claim(&table.name, table.id);
                self.tables.insert(table.id, Arc::new(table.clone()));
            }
            Change::PutIndex(index) => {
                if let Some(old) = self.indexes.get(&index.id) {
                    self.names.remove(&old.name);
                }
                self.claim(&index.name, index.id);
                self.indexes.insert(index.id, Arc::new(index.clone()));
            }
            Change::PutSequence(sequence) => {
                if let Some(old) = self.sequences.get(&sequence.id) {
                    self.names.remove(&old.name);
                }
                self.claim(&sequence.name, sequence.id);
                self.sequences.insert(sequence.id, Arc::new(sequence.clone()));
            }
            Change::DropTable(id) => {
                self.release(self.tables.get(id).map(|table| table.name.clone()));
                self.tables.remove(id);
                let indexes: Vec<IndexId> = self.indexes_of(*id).map(|index| index.id).collect();
                for index in indexes {
                    self.drop_index(index);
                }
                let owned: Vec<SequenceId> = self
                    .sequences
                    .values()
                    .filter(|sequence| sequence.owner.is_some_and(|(table, _)| table == *id))
                    .map(|sequence| sequence.id)
                    .collect();
                for sequence in owned {
                    self.drop_sequence(sequence);
                }
                self.generated.retain(|(table, _), _| table != id);
                self.refills.retain(|(table, _), _| table != id);
                self.rights.drop_object(*id);
            }
            Change::DropIndex(id) => self.drop_index(*id),
            Change::DropSequence(id) => self.drop_sequence(*id),
            Change::PutRole(role) => {
                self.next_oid = self.next_oid().max(role.id + 1);
                self.rights.put_role(role);
            }
            Change::DropRole(id) => self.rights.drop_role(*id),
            Change::PutAccess(access) => {
                // What it is about may be gone since the change was made.
                let exists = self.tables.contains_key(&access.object)
                    || self.sequences.contains_key(&access.object)
                    || self.models.contains_key(&access.object);
                if exists || matches!(access.object, PUBLIC_SCHEMA | DATABASE) {
                    self.rights.put_access(access);
                }
            }
            Change::PutDefault(default) => self.rights.put_default(default),
            Change::PutModel(model) => {
                self.next_oid = self.next_oid().max(model.id + 1);
                self.models.insert(model.id, Arc::new(model.clone()));
            }
            Change::DropModel(id) => {
                self.models.remove(id);
                self.rights.drop_object(*id);
            }
            Change::PutGenerated(generated) => {
                self.generated.insert((generated.table, generated.column), Arc::new(generated.clone()));
            }
            Change::DropGenerated(table, column) => {
                self.generated.remove(&(*table, *column));
            }
            Change::PutRefill(refill) => {
                self.refills.insert((refill.table, refill.column), Arc::new(refill.clone()));
            }
            Change::DropRefill(table, column) => {
                self.refills.remove(&(*table, *column));
            }
        }
    }

    fn drop_index(&mut self, id: IndexId) {
        self.release(self.indexes.get(&id).map(|index| index.name.clone()));
        self.indexes.remove(&id);
    }

    fn drop_sequence(&mut self, id: SequenceId) {
        self.release(self.sequences.get(&id).map(|sequence| sequence.name.clone()));
        self.sequences.remove(&id);
        self.rights.drop_object(id);
    }

    fn claim(&mut self, name: &str, id: u32) {
        self.names.insert(name.to_owned(), id);
        self.next_oid = self.next_oid().max(id + 1);
    }

    fn release(&mut self, name: Option<String>) {
        if let Some(name) = name {
            self.names.remove(&name);
        }
    }
}
