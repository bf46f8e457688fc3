//! The stand-in for RocksDB in tests over a simulated disk: ordered maps in memory, and what a crash leaves of them.
//!
//! It promises what RocksDB does with atomic flushes and without its log, and no more: after a crash the store is as it was after some
//! batch between the last flush that completed and the last batch that was written, all families together. Which one is for the test to
//! choose: RocksDB may flush by itself after any batch.
//!
//! The states are kept beside the simulated disk, in [`Volume`], by a number that a file in the store's folder holds; so that they follow
//! the folder where it is renamed, copied or lost. A flush writes and syncs one small file there, which is what a disk that fails, is
//! full or loses its power strikes.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lodedb_wal::fs::{self, File, FileSystem, OpenMode};
use parking_lot::Mutex;

use super::address::{APPLIED_LSN, Family};
use super::batch::{Batch, Change};
use super::{Result, StoreError};
use crate::simulation::Machine;

/// The file that says which store of the volume a folder is.
const IDENTITY: &str = "IDENTITY";
/// The file that each flush writes.
const FLUSHES: &str = "FLUSHES";
/// The file of a checkpoint: the whole state.
const STATE: &str = "STATE";

type Bytes = Arc<[u8]>;
type Map = BTreeMap<Bytes, Bytes>;
type Flat = Vec<(Vec<u8>, Vec<u8>)>;

/// All families at one point. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    sequence: u64,
    families: [Arc<Map>; Family::ALL.len()],
}

impl State {
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.families[family as usize].get(key).cloned()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.families.iter().flat_map(|map| map.iter()).map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    pub(super) fn walk(&self, family: Family, from: Vec<u8>, to: Option<Vec<u8>>) -> Walker {
        Walker { map: self.families[family as usize].clone(), from, to, at: None }
    }

    /// The LSN it was brought to.
    pub(crate) fn lsn(&self) -> u64 {
        let bytes = self.get(Family::Meta, APPLIED_LSN);
        bytes.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes)
    }

    fn map(&mut self, family: Family) -> &mut Map {
        Arc::make_mut(&mut self.families[family as usize])
    }

    fn apply(&mut self, batch: &Batch) {
        for change in batch.changes() {
            self.sequence += 1;
            match change {
                Change::Put(family, key, value) => {
                    self.map(family).insert(key.into(), value.into());
                }
                Change::Delete(family, key) => {
                    self.map(family).remove(key);
                }
                Change::DeleteRange(family, from, to) => {
                    self.map(family).retain(|key, _| !(from..to).contains(&&**key));
                }
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let flat: Vec<Flat> =
            self.families.iter().map(|map| map.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()).collect();
        let encoded = bincode::serde::encode_to_vec((self.sequence, flat), bincode::config::standard());
        let mut bytes = encoded.unwrap_or_default();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || StoreError::damaged("a checkpoint fails its checksum");
        let (bytes, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32fast::hash(bytes) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let ((sequence, flat), _): ((u64, Vec<Flat>), usize) =
            bincode::serde::decode_from_slice(bytes, bincode::config::standard()).map_err(|_| damaged())?;
        let mut state = Self { sequence, ..Self::default() };
        for (family, entries) in state.families.iter_mut().zip(flat) {
            *family = Arc::new(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect());
        }
        Ok(state)
    }
}

/// A walk over one family of a state.
pub(super) struct Walker {
    map: Arc<Map>,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    at: Option<(Bytes, Bytes)>,
}

impl Walker {
    fn upper(&self) -> Bound<&[u8]> {
        self.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
    }

    fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }

    fn take(found: Option<(&Bytes, &Bytes)>) -> Option<(Bytes, Bytes)> {
        found.map(|(key, value)| (key.clone(), value.clone()))
    }

    pub(super) fn seek_to_first(&mut self) {
        let range = (Bound::Included(self.from.as_slice()), self.upper());
        self.at = if self.is_empty() { None } else { Self::take(self.map.range::<[u8], _>(range).next()) };
    }

    pub(super) fn seek_to_last(&mut self) {
        let range = (Bound::Included(self.from.as_slice()), self.upper());
        self.at = if self.is_empty() { None } else { Self::take(self.map.range::<[u8], _>(range).next_back()) };
    }

    pub(super) fn next(&mut self) {
        let Some((key, _)) = self.at.take() else { return };
        self.at = Self::take(self.map.range::<[u8], _>((Bound::Excluded(&*key), self.upper())).next());
    }

    pub(super) fn prev(&mut self) {
        let Some((key, _)) = self.at.take() else { return };
        let range = (Bound::Included(self.from.as_slice()), Bound::Excluded(&*key));
        self.at = Self::take(self.map.range::<[u8], _>(range).next_back());
    }

    pub(super) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.at.as_ref().map(|(key, value)| (&**key, &**value))
    }
}

/// What the stores beside one simulated disk would be after a crash at any time, and at which of its calls each state came to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volume {
    stores: BTreeMap<u64, History>,
}

#[derive(Clone, Debug)]
struct History {
    /// The states after each batch, each with the number of calls that the disk had seen.
    points: Vec<(u64, State)>,
    /// The flushes that completed: the number of calls, and which state.
    flushes: Vec<(u64, usize)>,
}

impl History {
    fn starting_with(state: State) -> Self {
        Self { points: vec![(0, state)], flushes: vec![(0, 0)] }
    }

    /// The states that a crash after so many calls may leave.
    fn left_after(&self, calls: u64) -> &[(u64, State)] {
        let flushed = self.flushes.iter().rev().find(|(at, _)| *at <= calls).map_or(0, |(_, point)| *point);
        let until = self.points.partition_point(|(at, _)| *at <= calls);
        self.points.get(flushed..until).unwrap_or_default()
    }
}

impl Volume {
    /// The volumes that a crash after so many calls may leave, at most `limit` (at least two): with the oldest and the newest state of each
    /// store, and some between.
    pub(crate) fn left_after(&self, calls: u64, limit: usize) -> Vec<Volume> {
        let most = self.stores.values().map(|history| history.left_after(calls).len()).max().unwrap_or(0);
        let count = most.clamp(1, limit.max(2));
        let choose = |nth: usize| {
            let chosen = self.stores.iter().filter_map(|(&id, history)| {
                let left = history.left_after(calls);
                let at = if count == 1 { 0 } else { nth * left.len().saturating_sub(1) / (count - 1) };
                Some((id, History::starting_with(left.get(at)?.1.clone())))
            });
            Volume { stores: chosen.collect() }
        };
        (0..count).map(choose).collect()
    }

    /// The LSNs its stores have been brought to.
    pub(crate) fn lsns(&self) -> Vec<u64> {
        self.stores.values().filter_map(|history| history.points.last()).map(|(_, state)| state.lsn()).collect()
    }
}

/// An open store.
pub(super) struct Database {
    machine: Machine,
    dir: PathBuf,
    /// `None` for a checkpoint that is only read.
    id: Option<u64>,
    now: Mutex<State>,
    /// After a flush that failed nothing is written any more, as RocksDB has it.
    failed: AtomicBool,
    flushes: Option<Arc<dyn File>>,
}

impl Database {
    pub(super) fn open(machine: &Machine, dir: &Path) -> Result<Self> {
        if !machine.exists(dir).map_err(failed)? {
            machine.create_dir(dir).map_err(failed)?;
        }
        let identity = dir.join(IDENTITY);
        let (id, state) = if machine.exists(&identity).map_err(failed)? {
            let bytes = fs::read_file(machine, &identity).map_err(failed)?;
            let id = decode_identity(&bytes).ok_or_else(|| StoreError::damaged("the file of a store's identity"))?;
            let mut volume = machine.volume();
            let missing = || StoreError::damaged("a store that is not there");
            let history = volume.stores.get_mut(&id).ok_or_else(missing)?;
            let state = history.points.last().ok_or_else(missing)?.1.clone();
            // What is opened was flushed when it was closed.
            history.flushes.push((machine.disk.calls(), history.points.len() - 1));
            drop(volume);
            (id, state)
        } else {
            let copied = dir.join(STATE);
            let state = if machine.exists(&copied).map_err(failed)? {
                State::decode(&fs::read_file(machine, &copied).map_err(failed)?)?
            } else {
                State::default()
            };
            let id = {
                let mut volume = machine.volume();
                let id = volume.stores.last_key_value().map_or(1, |(last, _)| last + 1);
                volume.stores.insert(id, History::starting_with(state.clone()));
                id
            };
            fs::publish(machine, &identity, &encode_identity(id)).map_err(failed)?;
            (id, state)
        };
        let flushes = dir.join(FLUSHES);
        let mode = if machine.exists(&flushes).map_err(failed)? { OpenMode::ReadWrite } else { OpenMode::CreateNew };
        let flushes = Some(machine.open(&flushes, mode).map_err(failed)?);
        let now = Mutex::new(state);
        Ok(Self {
            machine: machine.clone(),
            dir: dir.into(),
            id: Some(id),
            now,
            failed: AtomicBool::new(false),
            flushes,
        })
    }

    /// Opens a checkpoint to read it.
    pub(super) fn open_copy(machine: &Machine, dir: &Path) -> Result<Self> {
        let state = State::decode(&fs::read_file(machine, &dir.join(STATE)).map_err(failed)?)?;
        let (machine, dir) = (machine.clone(), dir.to_owned());
        Ok(Self { machine, dir, id: None, now: Mutex::new(state), failed: AtomicBool::new(false), flushes: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    pub(super) fn now(&self) -> State {
        self.now.lock().clone()
    }

    /// What a crash now would leave at least.
    pub(super) fn persisted(&self) -> State {
        let volume = self.machine.volume();
        let history = self.id.and_then(|id| volume.stores.get(&id));
        let flushed = history.and_then(|history| Some(&history.points.get(history.flushes.last()?.1)?.1));
        flushed.cloned().unwrap_or_else(|| self.now())
    }

    pub(super) fn background_errors(&self) -> u64 {
        u64::from(self.failed.load(Ordering::Acquire))
    }

    fn check(&self) -> Result<()> {
        if self.machine.disk.has_crashed() {
            return Err(StoreError::Engine("the power is off".into()));
        }
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Engine("a flush failed before".into()));
        }
        Ok(())
    }

    pub(super) fn write(&self, batch: &Batch, key: &[u8], value: &[u8]) -> Result<()> {
        self.check()?;
        let mut now = self.now.lock();
        now.apply(batch);
        now.map(Family::Meta).insert(key.into(), value.into());
        let mut volume = self.machine.volume();
        let Some(history) = self.id.and_then(|id| volume.stores.get_mut(&id)) else {
            return Err(StoreError::Engine("a checkpoint is only read".into()));
        };
        history.points.push((self.machine.disk.calls(), now.clone()));
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.check()?;
        let (Some(id), Some(file)) = (self.id, &self.flushes) else { return Ok(()) };
        let newest = {
            let volume = self.machine.volume();
            let Some(history) = volume.stores.get(&id) else { return Ok(()) };
            let newest = history.points.len() - 1;
            if history.flushes.last().is_some_and(|(_, flushed)| *flushed == newest) {
                return Ok(());
            }
            newest
        };
        let written = fs::write_all_at(&**file, &newest.to_le_bytes(), 0).and_then(|()| file.sync_data());
        if let Err(error) = written {
            self.failed.store(true, Ordering::Release);
            return Err(failed(error));
        }
        let calls = self.machine.disk.calls();
        if let Some(history) = self.machine.volume().stores.get_mut(&id) {
            history.flushes.push((calls, newest));
        }
        Ok(())
    }

    pub(super) fn checkpoint(&self, into: &Path) -> Result<()> {
        self.check()?;
        let write = || -> io::Result<()> {
            self.machine.create_dir(into)?;
            let file = self.machine.open(&into.join(STATE), OpenMode::CreateNew)?;
            fs::write_all_at(&*file, &self.persisted().encode(), 0)?;
            file.sync_all()?;
            self.machine.sync_dir(into)
        };
        write().map_err(failed)
    }
}

/// The number and, so that damage is noticed, its complement.
fn encode_identity(id: u64) -> Vec<u8> {
    [id.to_le_bytes(), (!id).to_le_bytes()].concat()
}

fn decode_identity(bytes: &[u8]) -> Option<u64> {
    let (id, complement) = bytes.split_first_chunk()?;
    let id = u64::from_le_bytes(*id);
    (complement == (!id).to_le_bytes()).then_some(id)
}

fn failed(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => StoreError::NoSpace(error.to_string()),
        _ => StoreError::Engine(error.to_string()),
    }
}
