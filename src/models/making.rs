//! Making a model: its directory is read, opened and tried out; then its files are copied below the database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_embed::{Description, Kind};
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use lodedb_wal::fs;
use parking_lot::Mutex;

use super::words::{describe, sql_error};
use super::{Models, running::Running};
use crate::catalog::{Model, ModelFile, ModelId};

/// The models being made, and by how many: none of them is removed, though no catalog names it.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<BTreeMap<String, usize>>>);

impl UnderWay {
    pub(super) fn begin(&self, hash: &str) -> Making {
        *self.0.lock().entry(hash.to_owned()).or_insert(0) += 1;
        Making { under_way: self.clone(), hash: hash.to_owned() }
    }

    /// Those there are.
    pub(super) fn hashes(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}

/// Keeps the files of a model that no catalog names yet. Whoever makes the model holds it until its transaction has ended.
pub struct Making {
    under_way: UnderWay,
    hash: String,
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Making").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let mut makers = self.under_way.0.lock();
        if let Some(count) = makers.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                makers.remove(&self.hash);
            }
        }
    }
}

impl Models {
    /// Makes a model of what a directory holds, described otherwise where `options` say so. Its files are durable when this returns.
    pub fn make(&self, id: ModelId, name: &str, from: &Path, options: &[(String, String)]) -> Result<(Model, Making)> {
        let failed = |error| sql_error(name, &error);
        let mut description = Description::read(from).map_err(failed)?;
        describe(&mut description, options)?;
        let opened = lodedb_embed::Model::open_as(from, description, &self.options).map_err(failed)?;
        let described = serde_json::to_string(opened.description()).map_err(SqlError::internal)?;
        let mut files: Vec<ModelFile> = opened
            .files()
            .iter()
            .map(|file| ModelFile { name: file.name.clone(), bytes: file.bytes, hash: file.hash.clone() })
            .collect();
        files.push(ModelFile {
            name: Description::FILE.to_owned(),
            bytes: described.len() as u64,
            hash: blake3::hash(described.as_bytes()).to_hex().to_string(),
        });
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup();
        let mut hasher = blake3::Hasher::new();
        for file in &files {
            // A name has no line end: a folder with one could not be told from two.
            hasher.update(format!("{} {}\n", file.hash, file.name.escape_default()).as_bytes());
        }
        let hash = hasher.finalize().to_hex().to_string();
        let making = self.making.begin(&hash);
        for file in &files {
            let to = self.folder(&hash).join(&file.name);
            let failed = |path: PathBuf| {
                move |error: std::io::Error| {
                    SqlError::new(SqlState::of_io(&error), format!("could not copy {}: {error}", path.display()))
                }
            };
            let bytes = if file.name == Description::FILE {
                described.clone().into_bytes()
            } else {
                std::fs::read(from.join(&file.name)).map_err(failed(from.join(&file.name)))?
            };
            if blake3::hash(&bytes).to_hex().as_str() != file.hash {
                let path = from.join(&file.name);
                let message = format!("{} changed while the model was made of it", path.display());
                return Err(SqlError::new(SqlState::ObjectInUse, message));
            }
            let parent = to.parent().unwrap_or(&to);
            fs::create_dirs(&*self.fs, parent).map_err(failed(to.clone()))?;
            fs::publish(&*self.fs, &to, &bytes).map_err(failed(to.clone()))?;
        }
        let kind = match opened.kind() {
            Kind::Text => "text",
            Kind::Image => "image",
            Kind::TextImage => "text_image",
        };
        let model = Model {
            id,
            name: name.to_owned(),
            kind: kind.to_owned(),
            dims: opened.dims() as u32,
            description: described,
            hash: hash.clone(),
            files,
        };
        let running = Running::start(opened).map_err(SqlError::internal)?;
        self.open.lock().entry(hash).or_insert_with(|| Arc::new(running));
        Ok((model, making))
    }
}
