//! The state of the simulated disk: nodes with live and durable sides, pending directory changes, planned faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::moments::Moments;
use super::{CallKind, Fault, FaultKind, SECTOR_BYTES};

pub(super) type NodeId = usize;
pub(super) const ROOT: NodeId = 0;

/// A small deterministic generator (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (`n` > 0).
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode {
    pub(super) live: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) dirty: BTreeSet<usize>,
    pub(super) len_dirty: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct DirNode {
    pub(super) live: BTreeMap<String, NodeId>,
    pub(super) durable: BTreeMap<String, NodeId>,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// One directory's part of a create, rename or remove: kept or lost as a whole.
#[derive(Debug, Clone)]
pub(super) struct DirChange {
    pub(super) dir: NodeId,
    pub(super) names: Vec<(String, Option<NodeId>)>,
}

#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) nodes: Vec<Node>,
    pub(super) pending: Vec<DirChange>,
    pub(super) locked: BTreeSet<NodeId>,
    pub(super) calls: u64,
    pub(super) counts: HashMap<CallKind, u64>,
    pub(super) trace: Vec<String>,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity: Option<u64>,
    pub(super) ragged: bool,
    pub(super) dice: Dice,
    /// The disk before each changing call, while it is recorded.
    pub(super) moments: Option<Moments>,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Disk {
        Disk::with_nodes(vec![Node::Dir(DirNode::default())], seed)
    }

    pub(super) fn with_nodes(nodes: Vec<Node>, seed: u64) -> Disk {
        Disk {
            nodes,
            pending: Vec::new(),
            locked: BTreeSet::new(),
            calls: 0,
            counts: HashMap::new(),
            trace: Vec::new(),
            crash_at: None,
            crashed: false,
            faults: Vec::new(),
            capacity: None,
            ragged: false,
            dice: Dice(seed),
            moments: None,
        }
    }

    /// Counts a call; says which fault it shall have, or fails because the power is off.
    pub(super) fn step(&mut self, call: CallKind, what: impl FnOnce() -> String) -> io::Result<Option<FaultKind>> {
        if call.changes() {
            self.crashed |= self.crash_at.is_some_and(|at| self.calls + 1 >= at);
        }
        if self.crashed {
            return Err(io::Error::other("the power is off"));
        }
        if call.changes() {
            if let Some(mut moments) = self.moments.take() {
                moments.offer(call, || self.moment());
                self.moments = Some(moments);
            }
            self.calls += 1;
            self.trace.push(what());
        }
        let count = self.counts.entry(call).or_insert(0);
        *count += 1;
        let count = *count;
        let planned = self
            .faults
            .iter()
            .find(|f| f.call == call && (f.nth == count || (f.sticky && count > f.nth)))
            .map(|f| f.fault);
        let planned = match planned {
            // Interrupted for ever would be a hang, which no kernel does.
            Some(FaultKind::Interrupted) => {
                self.faults.retain(|f| !(f.call == call && f.fault == FaultKind::Interrupted));
                planned
            }
            Some(_) => planned,
            None if self.ragged && matches!(call, CallKind::Read | CallKind::Write) => match self.dice.below(8) {
                0 => Some(FaultKind::Interrupted),
                1..=4 => Some(FaultKind::Short),
                _ => None,
            },
            None => None,
        };
        match planned {
            Some(FaultKind::Interrupted) if matches!(call, CallKind::Read | CallKind::Write) => {
                Err(io::ErrorKind::Interrupted.into())
            }
            Some(FaultKind::Denied) => Err(io::ErrorKind::PermissionDenied.into()),
            // Reads need no space.
            Some(FaultKind::NoSpace) if !call.changes() => Ok(None),
            // A sync loses data, a write may write a part: the call itself fails.
            Some(FaultKind::Io | FaultKind::NoSpace) if matches!(call, CallKind::Sync | CallKind::Write) => Ok(planned),
            Some(FaultKind::Io) => Err(io::Error::other("simulated EIO")),
            Some(FaultKind::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            other => Ok(other),
        }
    }

    /// The disk as it is, what is not yet durable included, with nothing planned.
    pub(super) fn moment(&self) -> Disk {
        let (nodes, pending) = (self.nodes.clone(), self.pending.clone());
        Disk { pending, calls: self.calls, ..Disk::with_nodes(nodes, self.dice.0) }
    }

    pub(super) fn file(&mut self, id: NodeId) -> io::Result<&mut FileNode> {
        match &mut self.nodes[id] {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn dir(&mut self, id: NodeId) -> io::Result<&mut DirNode> {
        match &mut self.nodes[id] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut id = ROOT;
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    let Node::Dir(dir) = &self.nodes[id] else {
                        return Err(io::ErrorKind::NotADirectory.into());
                    };
                    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                    id = *dir.live.get(name).ok_or(io::ErrorKind::NotFound)?;
                }
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
        }
        Ok(id)
    }

    /// The directory a path is in, and the last name.
    pub(super) fn find_parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.find(super::super::parent_of(path))?;
        match &self.nodes[parent] {
            Node::Dir(_) => Ok((parent, name.to_owned())),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Changes names of one directory, live now, durable when synced.
    pub(super) fn change_names(&mut self, dir: NodeId, names: Vec<(String, Option<NodeId>)>) -> io::Result<()> {
        let live = &mut self.dir(dir)?.live;
        apply_names(live, &names);
        self.pending.push(DirChange { dir, names });
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: NodeId) -> io::Result<()> {
        self.dir(dir)?;
        for change in std::mem::take(&mut self.pending) {
            if change.dir == dir {
                apply_names(&mut self.dir(dir)?.durable, &change.names);
            } else {
                self.pending.push(change);
            }
        }
        Ok(())
    }

    pub(super) fn sync_file(&mut self, id: NodeId, failing: bool) -> io::Result<()> {
        let mut dice = self.dice.clone();
        let file = self.file(id)?;
        let live_len = file.live.len();
        if file.len_dirty && !(failing && dice.below(2) == 0) {
            Arc::make_mut(&mut file.durable).resize(live_len, 0);
        }
        for sector in std::mem::take(&mut file.dirty) {
            if !(failing && dice.below(2) == 0) {
                copy_sector(&file.live, Arc::make_mut(&mut file.durable).as_mut_slice(), sector, SECTOR_BYTES);
            }
        }
        file.len_dirty = false;
        self.dice = dice;
        if failing { Err(io::Error::other("simulated EIO of a sync")) } else { Ok(()) }
    }

    pub(super) fn evict(&mut self) {
        for node in &mut self.nodes {
            let Node::File(file) = node else { continue };
            // What is dirty stays: only clean pages can be dropped.
            let mut seen = file.durable.as_ref().clone();
            if file.len_dirty {
                seen.resize(file.live.len(), 0);
            }
            for &sector in &file.dirty {
                copy_sector(&file.live, &mut seen, sector, SECTOR_BYTES);
            }
            file.live = Arc::new(seen);
        }
    }

    /// Bytes of all files that have a live name.
    pub(super) fn used(&self) -> u64 {
        let mut used = 0;
        let mut left = vec![ROOT];
        while let Some(id) = left.pop() {
            match &self.nodes[id] {
                Node::File(file) => used += file.live.len() as u64,
                Node::Dir(dir) => left.extend(dir.live.values()),
            }
        }
        used
    }

    /// The disk after an orderly power-off.
    pub(super) fn settled(&self) -> Disk {
        let mut nodes = self.nodes.clone();
        for node in &mut nodes {
            match node {
                Node::File(file) => {
                    file.durable = Arc::clone(&file.live);
                    file.dirty.clear();
                    file.len_dirty = false;
                }
                Node::Dir(dir) => dir.durable = dir.live.clone(),
            }
        }
        Disk::with_nodes(nodes, self.dice.0)
    }

    pub(super) fn damage(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let id = self.find(path).ok()?;
        let file = self.file(id).ok()?;
        let mut bytes = file.live.as_ref().clone();
        change(&mut bytes);
        file.live = Arc::new(bytes);
        file.durable = Arc::clone(&file.live);
        file.dirty.clear();
        file.len_dirty = false;
        Some(())
    }

    pub(super) fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        match &self.nodes[self.find(path).ok()?] {
            Node::File(file) => Some(file.live.as_ref().clone()),
            Node::Dir(_) => None,
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut left = vec![ROOT];
        while let Some(id) = left.pop() {
            match &self.nodes[id] {
                Node::File(file) => {
                    file.live.len().hash(&mut hasher);
                    crc32fast::hash(&file.live).hash(&mut hasher);
                }
                Node::Dir(dir) => {
                    for (name, &child) in &dir.live {
                        name.hash(&mut hasher);
                        left.push(child);
                    }
                }
            }
        }
        hasher.finish()
    }
}

pub(super) fn apply_names(entries: &mut BTreeMap<String, NodeId>, names: &[(String, Option<NodeId>)]) {
    for (name, node) in names {
        match node {
            Some(id) => entries.insert(name.clone(), *id),
            None => entries.remove(name),
        };
    }
}

/// Copies the first `bytes` bytes of a sector, as far as both sides reach.
pub(super) fn copy_sector(from: &[u8], to: &mut [u8], sector: usize, bytes: usize) {
    let start = sector * SECTOR_BYTES;
    let end = (start + bytes).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}
