//! Files that are read again when they change: certificates and rules.
//!
//! They are looked at whenever somebody asks, which is once for a connection. What cannot be read is logged, and the value that
//! could be stays.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;
/// By what a file is told from the one that was there before: its number, its length and when it changed.
type Stamp = Option<(u64, u64, i64, i64)>;

/// A value read from files.
pub(super) struct Watched<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    now: Mutex<(Vec<Stamp>, Arc<T>)>,
}

impl<T> Watched<T> {
    /// Reads it for the first time, when it must be there.
    pub(super) fn open(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // ORDER: what changes while it is read is read again.
        let stamps = stamps(&paths);
        let value = Arc::new(load()?);
        Ok(Self { paths, load: Box::new(load), now: Mutex::new((stamps, value)) })
    }

    /// What the files say now, or said last.
    pub(super) fn current(&self) -> Arc<T> {
        let mut now = self.now.lock();
        let stamps = stamps(&self.paths);
        if now.0 != stamps {
            // Not tried again until they change once more: two files seldom change at once.
            now.0 = stamps;
            match (self.load)() {
                Ok(value) => {
                    tracing::info!(files = ?self.paths, "read again");
                    now.1 = Arc::new(value);
                }
                Err(error) => {
                    tracing::error!(files = ?self.paths, %error, "not read again: what was read before stays")
                }
            }
        }
        now.1.clone()
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_read_again_unless_it_is_wrong() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("number");
        let write = |text: &str| {
            // As administrators do it: another file under the same name.
            std::fs::write(dir.path().join("next"), text).expect("written");
            std::fs::rename(dir.path().join("next"), &path).expect("renamed");
        };
        write("1");
        let read = path.clone();
        let load = move || {
            let text = std::fs::read_to_string(&read).map_err(|error| error.to_string())?;
            text.parse::<i32>().map_err(|error| error.to_string())
        };
        let watched = Watched::open(vec![path.clone()], load.clone()).expect("read");
        assert_eq!(*watched.current(), 1);
        write("23");
        assert_eq!(*watched.current(), 23);
        write("none");
        assert_eq!(*watched.current(), 23);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(*watched.current(), 23);
        write("456");
        assert_eq!(*watched.current(), 456);
        write("none");
        assert!(Watched::open(vec![path], load).is_err());
    }
}
