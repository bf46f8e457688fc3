//! Applying a commit: to the store, to the segments, to the catalog. Live commits and recovery both pass here.

use std::collections::BTreeMap;
use std::sync::Arc;

use lodedb_group::{Carried, carry_over};
use lodedb_sql::{SqlError, SqlState};
use lodedb_wal::killpoint::reach;

use super::record::Op;
use super::row_writer::RowWriter;
use super::staging::vector_of;
use super::view::{ReadView, TableView};
use super::{Row, RowId};
use crate::catalog::{Catalog, Change, IndexId, IndexKind, SequenceId, Table, TableId};
use crate::fault::{Fault, planted};
use crate::segment::{Bits, FileEntry, IndexView, Mutable, Sealed, Segment, SegmentFiles, SegmentId, SegmentView};
use crate::snapshot::files::SegmentStore;
use crate::snapshot::manifest::IndexManifest;
use crate::store::{Batch, Store, StoreError};

/// Why a record could not be applied. Every one of them stops the database: its order would be broken.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment file failed.
    #[error(transparent)]
    Segment(#[from] SqlError),
    /// A record names what does not exist.
    #[error("commit {lsn} names {what}, which does not exist")]
    Missing {
        /// The commit.
        lsn: u64,
        /// What it names.
        what: String,
    },
}

/// The newest state. One thread at a time applies to it.
#[derive(Debug)]
pub struct State {
    /// The last commit applied.
    pub lsn: u64,
    /// What exists.
    pub catalog: Arc<Catalog>,
    /// The tables.
    pub tables: Arc<BTreeMap<TableId, Arc<TableView>>>,
    /// The last value each sequence gave out.
    pub sequences: Arc<BTreeMap<SequenceId, i64>>,
    /// The id the next segment gets.
    pub next_segment: SegmentId,
}

impl State {
    /// The state of a new database.
    pub fn empty() -> Self {
        Self {
            lsn: 0,
            catalog: Arc::new(Catalog::default()),
            tables: Arc::new(BTreeMap::new()),
            sequences: Arc::new(BTreeMap::new()),
            next_segment: 1,
        }
    }

    /// A view of this state. The store must stand at the same commit.
    pub fn view(&self, store: &Store) -> ReadView {
        ReadView {
            lsn: self.lsn,
            catalog: self.catalog.clone(),
            rows: store.snapshot(),
            tables: self.tables.clone(),
            sequences: self.sequences.clone(),
        }
    }

    /// Whether no table is lost.
    pub fn is_whole(&self) -> bool {
        self.tables.values().all(|table| table.lost.is_none())
    }

    /// The id the next row of a table gets.
    pub fn next_row(&self, table: TableId) -> RowId {
        self.tables.get(&table).map_or(0, |view| view.next_row)
    }

    /// Applies one commit.
    ///
    /// With `store` the rows go to RocksDB as one batch that carries `lsn`; without it the store has them
    /// already (recovery of a store that was flushed after the last checkpoint).
    pub fn apply(
        &mut self,
        lsn: u64,
        bases: &[(TableId, RowId)],
        ops: &[Op],
        store: Option<&Store>,
        files: &SegmentStore,
    ) -> Result<(), ApplyError> {
        let mut next: BTreeMap<TableId, RowId> = bases.iter().copied().collect();
        let mut writer = store.map(|store| RowWriter::new(lsn, store));
        for op in ops {
            self.apply_one(lsn, op, &mut next, writer.as_mut(), files)?;
        }
        if let (Some(writer), Some(store)) = (writer, store) {
            if planted(Fault::AppliedLsnEarly) {
                store.write(Batch::new(), lsn)?;
            }
            store.write(writer.finish(), lsn)?;
        }
        self.lsn = lsn;
        Ok(())
    }

    fn apply_one(
        &mut self,
        lsn: u64,
        op: &Op,
        next: &mut BTreeMap<TableId, RowId>,
        mut writer: Option<&mut RowWriter<'_>>,
        files: &SegmentStore,
    ) -> Result<(), ApplyError> {
        match op {
            Op::Catalog(change) => self.change_catalog(change, writer)?,
            Op::Insert { table, rows } => {
                let catalog = self.catalog.clone();
                let definition = known(&catalog, lsn, *table)?;
                let first = next.get(table).copied().unwrap_or_else(|| self.next_row(*table));
                let view = self.table_mut(*table);
                for (i, row) in rows.iter().enumerate() {
                    append(view, definition, first + i as RowId, row)?;
                }
                let end = first + rows.len() as RowId;
                view.next_row = view.next_row.max(end);
                view.live_rows += rows.len() as u64;
                next.insert(*table, end);
                if let Some(writer) = writer.as_mut() {
                    let indexes = RowWriter::indexes(&catalog, *table);
                    for (i, row) in rows.iter().enumerate() {
                        writer.insert(definition, &indexes, first + i as RowId, row);
                    }
                }
            }
            Op::Update { table, row, values, moved } => {
                let catalog = self.catalog.clone();
                let definition = known(&catalog, lsn, *table)?;
                let view = self.table_mut(*table);
                if let Some((place, ordinal)) = view.locate(*row) {
                    let segment = &mut view.segments[place];
                    if *moved {
                        if !planted(Fault::MovedRowNotDead) {
                            segment.dead.insert(ordinal);
                        }
                        append(view, definition, *row, values)?;
                    } else if !planted(Fault::ColumnNotOverridden) {
                        segment.overridden.insert(ordinal);
                    }
                } else if *moved {
                    append(view, definition, *row, values)?;
                }
                if let Some(writer) = writer.as_mut() {
                    writer.update(definition, &RowWriter::indexes(&catalog, *table), *row, values)?;
                }
            }
            Op::Delete { table, row } => {
                let catalog = self.catalog.clone();
                let definition = known(&catalog, lsn, *table)?;
                let view = self.table_mut(*table);
                if let Some((place, ordinal)) = view.locate(*row)
                    && !planted(Fault::DeadBitLost)
                {
                    view.segments[place].dead.insert(ordinal);
                }
                view.live_rows = view.live_rows.saturating_sub(1);
                if let Some(writer) = writer.as_mut() {
                    writer.delete(definition, &RowWriter::indexes(&catalog, *table), *row)?;
                }
            }
            Op::Truncate { table } => {
                let catalog = self.catalog.clone();
                let definition = known(&catalog, lsn, *table)?;
                let view = self.table_mut(*table);
                view.live_rows = 0;
                view.lost = None;
                view.segments.clear();
                view.sealed_files.clear();
                view.index_files.clear();
                for index in view.indexes.values_mut() {
                    *index = Arc::new(IndexView::empty(index.spec.clone()));
                }
                if let Some(writer) = writer.as_mut() {
                    writer.drop_rows(definition, &RowWriter::indexes(&catalog, *table));
                }
            }
            Op::Sequence { id, value } => {
                match value {
                    Some(value) => Arc::make_mut(&mut self.sequences).insert(*id, *value),
                    None => Arc::make_mut(&mut self.sequences).remove(id),
                };
            }
            Op::Freeze { table, segment } => {
                let catalog = self.catalog.clone();
                let columns = known(&catalog, lsn, *table)?.vector_columns();
                self.next_segment = self.next_segment.max(segment + 1);
                let view = self.table_mut(*table);
                if view.lost.is_none() {
                    let segment = Segment::Mutable { segment: Mutable::new(*segment, columns), len: 0 };
                    view.segments.push(SegmentView::new(segment));
                }
            }
            Op::Seal { table, inputs, output, codes } => self.seal(*table, inputs, output, codes, files)?,
            Op::InsertStaged { table, files: staged, replaced } => {
                self.next_segment = self.next_segment.max(staged.id + 1);
                let catalog = self.catalog.clone();
                let definition = known(&catalog, lsn, *table)?;
                let first = next.get(table).copied().unwrap_or_else(|| self.next_row(*table));
                let view = self.table_mut(*table);
                if let Some(segment_files) = staged.segment_from(first).filter(|_| view.lost.is_none()) {
                    match files.sealed(*table, &segment_files) {
                        Ok(opened) => {
                            let mut segment = SegmentView::new(Segment::Sealed(opened));
                            replaced.iter().for_each(|(at, _)| {
                                segment.dead.insert(*at);
                            });
                            // The last one is the mutable segment.
                            let place = view.segments.len().saturating_sub(1);
                            view.segments.insert(place, segment);
                            view.sealed_files.insert(staged.id, segment_files);
                        }
                        Err(error) if error.state() == SqlState::DataCorrupted => view.lose(&definition.name, error),
                        Err(error) => return Err(error.into()),
                    }
                }
                for (at, values) in replaced {
                    if let Some(values) = values {
                        append(view, definition, first + RowId::from(*at), values)?;
                    }
                }
                let end = first + RowId::from(staged.count);
                let gone = replaced.iter().filter(|(_, values)| values.is_none()).count() as u64;
                view.next_row = view.next_row.max(end);
                view.live_rows += u64::from(staged.count) - gone;
                next.insert(*table, end);
                if let Some(writer) = writer {
                    let rows = files.staged_rows(*table, staged)?;
                    let indexes = RowWriter::indexes(&catalog, *table);
                    writer.insert_staged(definition, &indexes, first, staged.count, &rows, replaced)?;
                }
            }
            Op::Encode { table, segment, codes } => {
                // Dropped meanwhile: nothing is left to give them to.
                if !self.tables.contains_key(table) {
                    return Ok(());
                }
                let view = self.table_mut(*table);
                let TableView { segments, indexes, index_files, .. } = view;
                // Merged away or truncated meanwhile: the codes are of no use.
                let Some(sealed) = segments.iter().filter_map(sealed_of).find(|sealed| sealed.id() == *segment) else {
                    return Ok(());
                };
                for (index, entry) in codes {
                    let (Some(index_view), Some(manifest)) = (indexes.get_mut(index), index_files.get_mut(index))
                    else {
                        continue;
                    };
                    manifest.codes.retain(|(of, _)| of != segment);
                    if attach(files, Arc::make_mut(index_view), *table, *index, sealed, entry) {
                        manifest.codes.push((*segment, entry.clone()));
                    }
                }
            }
            Op::BuildIndex { table, index, quantizer, codes } => {
                // Generations come from the same counter as segments; replay must not hand one out twice.
                if !planted(Fault::GenerationNotRestored) {
                    self.next_segment = self.next_segment.max(quantizer.generation + 1);
                }
                if !self.tables.contains_key(table) {
                    return Ok(());
                }
                let view = self.table_mut(*table);
                let Some(old) = view.indexes.get(index) else { return Ok(()) };
                let mut built = IndexView::empty(old.spec.clone());
                match files.quantizer(&old.spec, quantizer) {
                    Ok((trained, calibration)) => {
                        built.quantizers.push(trained);
                        built.calibration = calibration;
                        let mut named = Vec::with_capacity(codes.len());
                        for sealed in view.segments.iter().filter_map(sealed_of) {
                            if let Some((segment, entry)) = codes.iter().find(|(segment, _)| *segment == sealed.id())
                                && attach(files, &mut built, *table, *index, sealed, entry)
                            {
                                named.push((*segment, entry.clone()));
                            }
                        }
                        let manifest = IndexManifest { quantizer: Some(quantizer.clone()), codes: named };
                        view.index_files.insert(*index, manifest);
                    }
                    // Derived data: without it the search is exact, and the index is built again.
                    Err(error) => {
                        tracing::warn!(index, %error, "a quantizer cannot be read; the index will be rebuilt");
                        view.index_files.remove(index);
                    }
                }
                view.indexes.insert(*index, Arc::new(built));
            }
        }
        Ok(())
    }

    fn change_catalog(&mut self, change: &Change, writer: Option<&mut RowWriter<'_>>) -> Result<(), ApplyError> {
        match change {
            Change::DropTable(id) => {
                if let (Some(writer), Some(table)) = (writer, self.catalog.table_by_id(*id)) {
                    writer.drop_rows(table, &RowWriter::indexes(&self.catalog, *id));
                }
                Arc::make_mut(&mut self.tables).remove(id);
                let owned: Vec<SequenceId> = self
                    .catalog
                    .sequences()
                    .filter(|sequence| sequence.owner.is_some_and(|(table, _)| table == *id))
                    .map(|sequence| sequence.id)
                    .collect();
                for sequence in owned {
                    Arc::make_mut(&mut self.sequences).remove(&sequence);
                }
            }
            Change::PutIndex(index) => match &index.kind {
                IndexKind::Vector { spec, .. } => {
                    let view = self.table_mut(index.table);
                    view.indexes.entry(index.id).or_insert_with(|| Arc::new(IndexView::empty(Arc::new(spec.clone()))));
                }
                IndexKind::Exact { .. } => {}
                IndexKind::Btree { .. } => {
                    if let (Some(writer), None) = (writer, self.catalog.index_by_id(index.id))
                        && let Some(table) = self.catalog.table_by_id(index.table)
                    {
                        writer.fill_index(table, index)?;
                    }
                }
            },
            Change::DropIndex(id) => {
                if let Some(index) = self.catalog.index_by_id(*id).cloned() {
                    match &index.kind {
                        IndexKind::Vector { .. } => {
                            let view = self.table_mut(index.table);
                            view.indexes.remove(id);
                            view.index_files.remove(id);
                        }
                        IndexKind::Exact { .. } => {}
                        IndexKind::Btree { .. } => {
                            if let Some(writer) = writer {
                                writer.drop_index(*id);
                            }
                        }
                    }
                }
            }
            Change::DropSequence(id) => {
                Arc::make_mut(&mut self.sequences).remove(id);
            }
            Change::PutTable(table) => {
                self.table_mut(table.id);
            }
            Change::PutSequence(_)
            | Change::PutRole(_)
            | Change::DropRole(_)
            | Change::PutAccess(_)
            | Change::PutDefault(_)
            | Change::PutModel(_)
            | Change::DropModel(_)
            | Change::PutGenerated(_)
            | Change::DropGenerated(..)
            | Change::PutRefill(_)
            | Change::DropRefill(..) => {}
        }
        Arc::make_mut(&mut self.catalog).apply(change);
        Ok(())
    }

    /// Puts one sealed segment in the place of its inputs. A row of it is live if it still is in one of them.
    ///
    /// What cannot be done leaves the inputs as they are: all the rows are in them. So a segment that a crash of the disk took, or that a
    /// log was restored without, costs nothing but the work; what was made of it later is then passed over too.
    fn seal(
        &mut self,
        table: TableId,
        inputs: &[SegmentId],
        output: &Option<SegmentFiles>,
        codes: &[(IndexId, FileEntry)],
        files: &SegmentStore,
    ) -> Result<(), ApplyError> {
        let Some(view) = self.tables.get(&table) else { return Ok(()) };
        self.next_segment = self.next_segment.max(output.as_ref().map_or(0, |files| files.id + 1));
        let there = |id: &&SegmentId| view.segments.iter().any(|view| view.segment.id() == **id);
        if inputs.iter().filter(there).count() < inputs.len() {
            // Truncated meanwhile, or an input was never made.
            return Ok(());
        }
        let Some(place) = view.segments.iter().position(|view| inputs.contains(&view.segment.id())) else {
            return Ok(());
        };
        let mut sealed = None;
        let output_id = output.as_ref().map(|files| files.id);
        if let Some(output_files) = output {
            let segment = match files.sealed(table, output_files) {
                Err(error) if error.state() == SqlState::DataCorrupted => {
                    tracing::warn!(table, segment = output_files.id, %error, "a segment is passed over; its rows are in those before it");
                    return Ok(());
                }
                other => other?,
            };
            let (dead, overridden) = taken_over(&segment, view, inputs);
            sealed = Some(SegmentView { segment: Segment::Sealed(segment), dead, overridden });
        }
        reach("seal: before it is applied");
        let view = self.table_mut(table);
        if let Some(sealed) = sealed {
            view.segments[place] = sealed;
        }
        view.sealed_files.retain(|segment, _| !inputs.contains(segment));
        if let Some(output_files) = output {
            view.sealed_files.insert(output_files.id, output_files.clone());
        }
        for index_files in view.index_files.values_mut() {
            index_files.codes.retain(|(segment, _)| !inputs.contains(segment));
        }
        let mut at = 0;
        view.segments.retain(|segment| {
            let keep = (at == place && output_id.is_some()) || !inputs.contains(&segment.segment.id());
            at += 1;
            keep
        });
        let sealed =
            view.segments.get(place).and_then(sealed_of).filter(|sealed| Some(sealed.id()) == output_id).cloned();
        for (index, index_view) in &mut view.indexes {
            let index_view = Arc::make_mut(index_view);
            index_view.segments.retain(|segment, _| !inputs.contains(segment));
            if let (Some(sealed), Some((_, entry))) = (&sealed, codes.iter().find(|(of, _)| of == index))
                && attach(files, index_view, table, *index, sealed, entry)
                && let Some(index_files) = view.index_files.get_mut(index)
            {
                index_files.codes.push((sealed.id(), entry.clone()));
            }
        }
        reach("seal: applied");
        Ok(())
    }

    fn table_mut(&mut self, table: TableId) -> &mut TableView {
        Arc::make_mut(Arc::make_mut(&mut self.tables).entry(table).or_default())
    }
}

/// The bits of a merged segment: of the rows it has, those that died or were changed in its inputs since it was begun.
fn taken_over(merged: &Sealed, view: &TableView, inputs: &[SegmentId]) -> (Bits, Bits) {
    let inputs: Vec<&SegmentView> = view.segments.iter().filter(|input| inputs.contains(&input.segment.id())).collect();
    let (mut dead, mut overridden) = (Bits::new(), Bits::new());
    let died = inputs.iter().filter(|_| !planted(Fault::MergeForgetsTheDead)).flat_map(|input| {
        let ordinals = input.dead.iter().take_while(|&ordinal| ordinal < input.segment.len());
        ordinals.map(|ordinal| input.segment.row_id(ordinal))
    });
    let changed = inputs.iter().flat_map(|input| {
        let ordinals = input.overridden.iter().filter(|&ordinal| !input.dead.contains(ordinal));
        ordinals.map(|ordinal| input.segment.row_id(ordinal))
    });
    let lives = |row| {
        let lives_in = |input: &&SegmentView| input.segment.find(row).is_some_and(|at| !input.dead.contains(at));
        inputs.iter().any(lives_in)
    };
    // What a checkpoint keeps of a growing segment are its live rows: read back, it has no bits of those that died before.
    let is_growing = inputs.iter().any(|input| matches!(input.segment, Segment::Mutable { .. }));
    let asked = if is_growing { merged.len() } else { 0 };
    let left_out = (0..asked).map(|ordinal| merged.row_id(ordinal)).filter(|&row| !lives(row));
    carry_over(
        died.chain(left_out),
        changed,
        lives,
        |row| merged.find(row),
        |ordinal, carried| {
            match carried {
                Carried::Dead => dead.insert(ordinal),
                Carried::Overridden => overridden.insert(ordinal),
            };
        },
    );
    (dead, overridden)
}

fn known(catalog: &Catalog, lsn: u64, table: TableId) -> Result<&Arc<Table>, ApplyError> {
    catalog.table_by_id(table).ok_or_else(|| ApplyError::Missing { lsn, what: format!("table {table}") })
}

fn sealed_of(view: &SegmentView) -> Option<&Arc<Sealed>> {
    match &view.segment {
        Segment::Sealed(sealed) => Some(sealed),
        Segment::Mutable { .. } => None,
    }
}

/// Gives a segment's codes to an index; codes that cannot be read are left out: they are derived. Says whether it has
/// them now.
fn attach(
    files: &SegmentStore,
    view: &mut IndexView,
    table: TableId,
    index: IndexId,
    sealed: &Arc<Sealed>,
    entry: &FileEntry,
) -> bool {
    let Some(quantizer) = view.quantizers.last() else { return false };
    match files.codes(table, sealed, index, entry, quantizer) {
        Ok(codes) => {
            view.segments.insert(sealed.id(), codes);
            true
        }
        Err(error) => {
            tracing::warn!(index, segment = sealed.id(), %error, "the codes of a segment cannot be read; it is searched exactly");
            false
        }
    }
}

/// Adds a row's vectors to the mutable segment.
fn append(view: &mut TableView, table: &Table, row: RowId, values: &Row) -> Result<(), ApplyError> {
    let Some(SegmentView { segment: Segment::Mutable { segment, len }, .. }) = view.segments.last_mut() else {
        return Ok(());
    };
    let vectors: smallvec::SmallVec<[Option<&[f32]>; 4]> =
        segment.columns().iter().map(|column| vector_of(values, column.id)).collect();
    debug_assert!(table.has_vectors());
    segment.append(row, &vectors)?;
    *len += 1;
    Ok(())
}
