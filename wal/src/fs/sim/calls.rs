//! The simulated calls: [`FileSystem`] and [`File`] over the simulated disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{DirNode, Disk, FileNode, Node, NodeId};
use super::{CallKind, FaultKind, SECTOR_BYTES, SimFileSystem};
use crate::fs::{DirEntry, File, FileSystem, Lock, OpenMode};

impl FileSystem for SimFileSystem {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        let call = if mode == OpenMode::CreateNew { CallKind::Create } else { CallKind::Open };
        disk.step(call, || format!("create {}", path.display()))?;
        let node = if mode == OpenMode::CreateNew {
            disk.create(path, Node::File(FileNode::default()))?
        } else {
            let node = disk.find(path)?;
            disk.file(node)?;
            node
        };
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Arc::new(SimFile { disk: Arc::clone(&self.disk), node, name, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Rename, || format!("rename {} {}", from.display(), to.display()))?;
        let node = disk.find(from)?;
        let (from_dir, from_name) = disk.find_parent(from)?;
        let (to_dir, to_name) = disk.find_parent(to)?;
        if let Ok(replaced) = disk.find(to)
            && matches!(&disk.nodes[replaced], Node::Dir(dir) if !dir.live.is_empty())
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if (from_dir, &from_name) == (to_dir, &to_name) {
            return Ok(());
        }
        if from_dir == to_dir {
            // Within a directory a rename is one change: journals keep it whole.
            disk.change_names(from_dir, vec![(from_name, None), (to_name, Some(node))])
        } else {
            disk.change_names(to_dir, vec![(to_name, Some(node))])?;
            disk.change_names(from_dir, vec![(from_name, None)])
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Remove, || format!("remove {}", path.display()))?;
        let node = disk.find(path)?;
        disk.file(node)?;
        let (dir, name) = disk.find_parent(path)?;
        disk.change_names(dir, vec![(name, None)])
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Remove, || format!("remove tree {}", path.display()))?;
        let node = disk.find(path)?;
        disk.empty_dir(node)?;
        let (dir, name) = disk.find_parent(path)?;
        disk.change_names(dir, vec![(name, None)])
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::CreateDir, || format!("create directory {}", path.display()))?;
        disk.create(path, Node::Dir(DirNode::default()))?;
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Look, String::new)?;
        let node = disk.find(path)?;
        let names = disk.dir(node)?.live.clone();
        Ok(names
            .into_iter()
            .map(|(name, id)| match &disk.nodes[id] {
                Node::File(file) => DirEntry { name, is_dir: false, len: file.live.len() as u64 },
                Node::Dir(_) => DirEntry { name, is_dir: true, len: 0 },
            })
            .collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Look, String::new)?;
        Ok(disk.find(path).is_ok())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::SyncDir, || format!("sync directory {}", path.display()))?;
        let node = disk.find(path)?;
        disk.sync_dir(node)
    }

    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Look, String::new)?;
        let used = disk.used();
        Ok(disk.capacity.map_or(1 << 40, |capacity| capacity.saturating_sub(used)))
    }

    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Lock> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Create, || format!("lock {}", path.display()))?;
        let node = match disk.find(path) {
            Ok(node) => node,
            Err(_) => disk.create(path, Node::File(FileNode::default()))?,
        };
        if !disk.locked.insert(node) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} is locked", path.display())));
        }
        disk.resize(node, 0)?;
        disk.write(node, contents.as_bytes(), 0)?;
        Ok(Lock::new(HeldNode { disk: Arc::clone(&self.disk), node }))
    }
}

struct HeldNode {
    disk: Arc<Mutex<Disk>>,
    node: NodeId,
}

impl Drop for HeldNode {
    fn drop(&mut self) {
        self.disk.lock().locked.remove(&self.node);
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    node: NodeId,
    name: String,
    writable: bool,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let fault = disk.step(CallKind::Sync, || format!("sync {}", self.name))?;
        disk.sync_file(self.node, matches!(fault, Some(FaultKind::Io | FaultKind::NoSpace)))
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        let fault = disk.step(CallKind::Read, String::new)?;
        let live = Arc::clone(&disk.file(self.node)?.live);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(live.len());
        let mut n = buf.len().min(live.len() - start);
        if fault == Some(FaultKind::Short) && n > 1 {
            n = 1 + disk.dice.below(n as u64 - 1) as usize;
        }
        buf[..n].copy_from_slice(&live[start..start + n]);
        if fault == Some(FaultKind::BitFlip) && n > 0 {
            buf[disk.dice.below(n as u64) as usize] ^= 1 << disk.dice.below(8);
        }
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        let fault = disk.step(CallKind::Write, || format!("write {} {offset} {}", self.name, buf.len()))?;
        let mut n = buf.len();
        match fault {
            Some(FaultKind::Io) => return Err(io::Error::other("simulated EIO of a write")),
            Some(FaultKind::NoSpace) => {
                let part = disk.dice.below(n as u64 + 1) as usize;
                disk.write(self.node, &buf[..part], offset)?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(FaultKind::Short) if n > 1 => n = 1 + disk.dice.below(n as u64 - 1) as usize,
            _ => {}
        }
        let end = offset + n as u64;
        let grows = end.saturating_sub(disk.file(self.node)?.live.len() as u64);
        let free = disk.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used()));
        if grows > free {
            n = n.saturating_sub((grows - free) as usize);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        disk.write(self.node, &buf[..n], offset)?;
        Ok(n)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        disk.step(CallKind::SetLen, || format!("set length {} {len}", self.name))?;
        let grows = len.saturating_sub(disk.file(self.node)?.live.len() as u64);
        if disk.capacity.is_some_and(|capacity| disk.used() + grows > capacity && grows > 0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.resize(self.node, len as usize)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.step(CallKind::Look, String::new)?;
        Ok(disk.file(self.node)?.live.len() as u64)
    }
}

impl Disk {
    fn create(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (dir, name) = self.find_parent(path)?;
        if self.dir(dir)?.live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.change_names(dir, vec![(name, Some(id))])?;
        Ok(id)
    }

    /// Removes all names below a directory, each its own change, so a crash leaves any part.
    fn empty_dir(&mut self, dir: NodeId) -> io::Result<()> {
        for (name, id) in self.dir(dir)?.live.clone() {
            if matches!(self.nodes[id], Node::Dir(_)) {
                self.empty_dir(id)?;
            }
            self.change_names(dir, vec![(name, None)])?;
        }
        Ok(())
    }

    fn resize(&mut self, id: NodeId, len: usize) -> io::Result<()> {
        let file = self.file(id)?;
        let old = file.live.len();
        if len == old {
            return Ok(());
        }
        Arc::make_mut(&mut file.live).resize(len, 0);
        file.len_dirty = true;
        let sectors = len.div_ceil(SECTOR_BYTES);
        file.dirty.retain(|&sector| sector < sectors);
        // Bytes that come back after a cut read as zero, on disk too.
        file.dirty.extend(len.min(old) / SECTOR_BYTES..sectors);
        Ok(())
    }

    fn write(&mut self, id: NodeId, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start + bytes.len();
        let file = self.file(id)?;
        if end > file.live.len() {
            file.len_dirty = true;
        }
        let live = Arc::make_mut(&mut file.live);
        if end > live.len() {
            live.resize(end, 0);
        }
        live[start..end].copy_from_slice(bytes);
        file.dirty.extend(start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
        Ok(())
    }
}
