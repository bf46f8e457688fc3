//! Models as the database keeps them: their files below `DIR/models`, the ones that are open, and what they computed before.
//!
//! Called by CREATE MODEL, by the functions that embed, and by what removes files that nothing names. What a model computes is
//! [`lodedb_embed`]'s business; what exists and may be used, the catalog's.
//!
//! INVARIANT 1: a folder of `DIR/models` is called by the hash of what is in it, and never changes.
//! INVARIANT 2: the catalog names a model only after its files are durable.
//! INVARIANT 3: a model is opened from files with the hashes that the catalog has, or not at all.

mod cache;
mod making;
mod running;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lodedb_embed::{Device, EmbedError, Options as OpenOptions, Port, Tokens};
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use lodedb_wal::fs::FileSystem;
use parking_lot::Mutex;

use crate::catalog::{Catalog, Model};
use crate::query::CancelToken;

use cache::{Cache, Entry};
pub(crate) use cache::{Key, Keys};
pub use making::Making;
use making::UnderWay;
use running::{Inputs, Running};
pub(crate) use words::sql_error;

/// Inputs that are handed to a model at once: it serves others, and a statement may end, between two such calls.
const INPUTS_AT_ONCE: usize = 64;

/// The models of a database.
pub struct Models {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    options: OpenOptions,
    /// By hash.
    open: Mutex<BTreeMap<String, Arc<Running>>>,
    cache: Cache,
    making: UnderWay,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A text of which a model took the beginning only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// How many tokens it has.
    pub tokens: usize,
    /// How many of them were used.
    pub used: usize,
}

/// Vectors, in the order of what they were made of, and what was cut.
#[derive(Debug, Default)]
pub struct Embedded {
    /// The vectors.
    pub vectors: Vec<Arc<[f32]>>,
    /// The texts that were cut.
    pub truncated: Vec<Truncated>,
}

/// What cannot be embedded: which of what was given, and why.
#[derive(Debug)]
pub struct NotEmbedded {
    /// Its place; none where it is no one's fault.
    pub place: Option<usize>,
    /// What is wrong.
    pub error: SqlError,
}

impl From<SqlError> for NotEmbedded {
    fn from(error: SqlError) -> Self {
        Self { place: None, error }
    }
}

impl From<NotEmbedded> for SqlError {
    fn from(refused: NotEmbedded) -> Self {
        refused.error
    }
}

/// The name of an input or an output of a network, and its dimensions.
pub type Shape = (String, Vec<Option<usize>>);

fn shapes(ports: &[&Port]) -> Vec<Shape> {
    ports.iter().map(|port| (port.name.clone(), port.shape.clone())).collect()
}

/// What a model did since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// How often its networks were asked.
    pub calls: u64,
    /// The texts and pictures they were asked about.
    pub embedded: u64,
    /// How long that took.
    pub time: Duration,
    /// What runs them.
    pub device: Device,
    /// What they take and what they give: of each name the dimensions, none for those that vary.
    pub inputs: Vec<Shape>,
    /// Likewise.
    pub outputs: Vec<Shape>,
}

impl Models {
    /// Those of the database in `dir`, with a cache of so many bytes.
    pub fn new(fs: Arc<dyn FileSystem>, dir: &Path, options: OpenOptions, cache_bytes: u64) -> Self {
        let cache = Cache::new(dir.join("cache"), cache_bytes);
        Self { fs, dir: dir.join("models"), options, open: Mutex::default(), cache, making: UnderWay::default() }
    }

    /// The folder of a model.
    pub fn folder(&self, hash: &str) -> PathBuf {
        self.dir.join(hash)
    }

    /// The vectors of texts, each after the prompt of this name, or the model's default one.
    pub fn embed_texts(
        &self,
        model: &Model,
        prompt: Option<&str>,
        texts: &[&str],
        cancel: &CancelToken,
    ) -> std::result::Result<Embedded, NotEmbedded> {
        self.embed(model, &Keys::of_texts(model, prompt), texts, |missing, keep| {
            let running = self.running(model)?;
            let mut tokens = Vec::with_capacity(missing.len());
            for places in missing.chunks(INPUTS_AT_ONCE) {
                cancel.check()?;
                let part: Vec<&str> = places.iter().map(|&place| texts[place]).collect();
                let of_part = running.model().tokens(prompt, &part);
                tokens.extend(places.iter().copied().zip(of_part.map_err(|error| refused(model, places, &error))?));
            }
            // What is as long goes together: a network takes the others of its batch for as long as the longest.
            tokens.sort_by_key(|(_, tokens)| std::cmp::Reverse(tokens.len()));
            let mut tokens = tokens.into_iter().peekable();
            while tokens.peek().is_some() {
                let (places, part): (Vec<usize>, Vec<Tokens>) = tokens.by_ref().take(INPUTS_AT_ONCE).unzip();
                let answer = running.ask(Inputs::Texts(part), cancel)?;
                keep(&places, answer.map_err(|error| refused(model, &places, &error))?);
            }
            Ok(())
        })
    }

    /// The vectors of pictures, each the bytes of a file.
    pub fn embed_images(
        &self,
        model: &Model,
        images: &[&[u8]],
        cancel: &CancelToken,
    ) -> std::result::Result<Embedded, NotEmbedded> {
        self.embed(model, &Keys::of_images(model), images, |missing, keep| {
            let running = self.running(model)?;
            for places in missing.chunks(INPUTS_AT_ONCE) {
                let part = places.iter().map(|&place| images[place].to_owned()).collect();
                let answer = running.ask(Inputs::Images(part), cancel)?;
                keep(places, answer.map_err(|error| refused(model, places, &error))?);
            }
            Ok(())
        })
    }

    /// Has those of `inputs` computed that are not known. `compute` is given their places, and gives their vectors back with places.
    fn embed<T: AsRef<[u8]>>(
        &self,
        model: &Model,
        keys: &Keys,
        inputs: &[T],
        compute: impl FnOnce(&[usize], &mut dyn FnMut(&[usize], Vec<Entry>)) -> std::result::Result<(), NotEmbedded>,
    ) -> std::result::Result<Embedded, NotEmbedded> {
        // What is there several times is embedded once.
        let mut numbers: HashMap<Key, usize> = HashMap::new();
        let (mut distinct, mut first) = (Vec::new(), Vec::new());
        let of: Vec<usize> = inputs
            .iter()
            .enumerate()
            .map(|(place, input)| {
                let key = keys.of(input.as_ref());
                *numbers.entry(key).or_insert_with(|| {
                    distinct.push(key);
                    first.push(place);
                    distinct.len() - 1
                })
            })
            .collect();
        let mut entries = self.cache.get(&distinct, model.dims as usize);
        let missing: Vec<usize> =
            first.into_iter().zip(&entries).filter(|(_, entry)| entry.is_none()).map(|(place, _)| place).collect();
        if !missing.is_empty() {
            compute(&missing, &mut |places, answer| {
                self.cache.put(places.iter().map(|&place| distinct[of[place]]).zip(&answer));
                places.iter().zip(answer).for_each(|(&place, entry)| entries[of[place]] = Some(entry));
            })?;
        }
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        let truncated = entries.iter().filter_map(|entry| entry.truncated).collect();
        Ok(Embedded { vectors: of.into_iter().map(|number| entries[number].vector.clone()).collect(), truncated })
    }

    /// Cuts a text into pieces of so many tokens of a model ([`lodedb_embed::Model::split_text`]).
    pub fn split_text(&self, model: &Model, text: &str, max_tokens: usize, overlap: usize) -> Result<Vec<String>> {
        let running = self.running(model)?;
        let pieces = running.model().split_text(text, max_tokens, overlap);
        let pieces = pieces.map_err(|error| sql_error(&model.name, &error))?;
        Ok(pieces.into_iter().map(str::to_owned).collect())
    }

    /// What a model did since it was opened; `None` if it is not open.
    pub fn work(&self, model: &Model) -> Option<Work> {
        let running = self.open.lock().get(&model.hash).cloned()?;
        let counted = running.counted();
        Some(Work {
            calls: counted.calls.load(Ordering::Relaxed),
            embedded: counted.inputs.load(Ordering::Relaxed),
            time: Duration::from_nanos(counted.nanos.load(Ordering::Relaxed)),
            device: running.model().device(),
            inputs: shapes(&running.model().inputs()),
            outputs: shapes(&running.model().outputs()),
        })
    }

    /// The model, opened if it is not. Who comes while it is being opened waits.
    fn running(&self, model: &Model) -> Result<Arc<Running>> {
        let mut open = self.open.lock();
        if let Some(running) = open.get(&model.hash) {
            return Ok(running.clone());
        }
        let folder = self.folder(&model.hash);
        let opened = lodedb_embed::Model::open(&folder, &self.options).map_err(|error| match error {
            // The files were good when the model was made.
            EmbedError::Io { .. } | EmbedError::BadModel { .. } => damaged(model, &error.to_string()),
            error => sql_error(&model.name, &error),
        })?;
        for file in opened.files() {
            let kept = model.files.iter().find(|kept| kept.name == file.name);
            if kept.is_none_or(|kept| kept.hash != file.hash) {
                return Err(damaged(model, &format!("{} has changed", folder.join(&file.name).display())));
            }
        }
        let running = Arc::new(Running::start(opened).map_err(SqlError::internal)?);
        open.insert(model.hash.clone(), running.clone());
        Ok(running)
    }

    /// Removes the folders of models that neither the manifests that are kept nor the newest catalog names, and that are not being
    /// made; closes those models.
    pub fn remove_unnamed(&self, kept: &[&Catalog], newest: impl FnOnce() -> Arc<Catalog>) -> std::io::Result<()> {
        // Before the newest catalog is looked at: what is committed meanwhile was being made until then.
        let making = self.making.hashes();
        let newest = newest();
        let named: HashSet<&str> =
            hashes(kept.iter().copied().chain([&*newest])).chain(making.iter().map(String::as_str)).collect();
        self.open.lock().retain(|hash, _| named.contains(hash.as_str()));
        remove_folders(&*self.fs, &self.dir, &named)
    }
}

/// The hashes of the models that catalogs name.
pub(crate) fn hashes<'a>(catalogs: impl IntoIterator<Item = &'a Catalog>) -> impl Iterator<Item = &'a str> {
    catalogs.into_iter().flat_map(Catalog::models).map(|model| model.hash.as_str())
}

/// Removes the folders in the folder of models that are not named.
pub(crate) fn remove_folders(fs: &dyn FileSystem, dir: &Path, named: &HashSet<&str>) -> std::io::Result<()> {
    if !fs.exists(dir)? {
        return Ok(());
    }
    for entry in fs.read_dir(dir)?.iter().filter(|entry| entry.is_dir && !named.contains(entry.name.as_str())) {
        fs.remove_dir_all(&dir.join(&entry.name))?;
    }
    Ok(())
}

/// An error about one of what lies at `places`, or about none of it.
fn refused(model: &Model, places: &[usize], error: &EmbedError) -> NotEmbedded {
    let place = words::place(error).and_then(|at| places.get(at)).copied();
    NotEmbedded { place, error: sql_error(&model.name, error) }
}

fn damaged(model: &Model, what: &str) -> SqlError {
    SqlError::new(SqlState::DataCorrupted, format!("the files of model \"{}\" are damaged: {what}", model.name))
        .with_hint("Restore them from a backup, or drop the model and create it again.")
}
