//! A model: opening its directory, and turning texts and pictures into vectors with it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::picture::prepare;
use crate::pool::normalize;
use crate::runtime::{Network, Port};
use crate::split::{choose_pieces, sentence_starts};
use crate::text::Tokens;
use crate::tower::{Files, MAX_TOKENS, Pictures, Text};
use crate::{Description, Device, EmbedError, ImageError, ImageLimits};

/// How models are opened and run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// ONNX Runtime: its library, or a folder, prefix or environment of Python that has it. Without it `ORT_DYLIB_PATH` is asked, then the
    /// usual places. Only the first model of a process loads it.
    pub runtime: Option<PathBuf>,
    /// Threads that work on one run of a network; 0 takes as many as there are cores.
    pub intra_threads: usize,
    /// A GPU runs networks, if the runtime has a provider for one and it can be used.
    pub gpu: bool,
    /// How large a picture may be.
    pub image_limits: ImageLimits,
}

/// What a model embeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Texts.
    Text,
    /// Pictures.
    Image,
    /// Both, into one space.
    TextImage,
}

impl Kind {
    /// The kind in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "texts",
            Self::Image => "pictures",
            Self::TextImage => "texts and pictures",
        }
    }
}

/// A file of a model, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its path from the model's directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its content, in hexadecimal.
    pub hash: String,
}

/// Vectors of the same number of dimensions, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    dims: usize,
    values: Vec<f32>,
}

impl Vectors {
    fn zeros(count: usize, dims: usize) -> Self {
        Self { dims, values: vec![0.0; count * dims] }
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.values[index * self.dims..][..self.dims]
    }

    /// Numbers in each.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The vectors, in the order of what they were made of.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dims)
    }

    /// All numbers, `len` times `dims`.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// The vectors of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbeddings {
    /// One for each text, in their order.
    pub vectors: Vectors,
    /// The texts that were longer than the model takes, in their order. Their vectors stand for their beginnings.
    pub truncated: Vec<Truncated>,
}

/// A text that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Which of those given, from 0.
    pub index: usize,
    /// How many tokens it has, those included that the tokenizer adds.
    pub tokens: usize,
    /// How many of them were used.
    pub used: usize,
}

/// A model that is open. It may be used by many threads; its networks run for one at a time.
pub struct Model {
    description: Description,
    text: Option<Text>,
    image: Option<Pictures>,
    dims: usize,
    files: Vec<ModelFile>,
    limits: ImageLimits,
}

impl fmt::Debug for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Model")
            .field("description", &self.description)
            .field("dims", &self.dims)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Opens the model in `directory`: reads its description and its files, loads its networks and runs each once.
    ///
    /// The directory may have the layout of a sentence-transformers model with an ONNX export, of a text-image model with two networks
    /// (CLIP, SigLIP), of a network for pictures with `preprocessor_config.json` or timm's `config.json`, or a `lodedb.json` with a
    /// [`Description`].
    ///
    /// # Errors
    ///
    /// If ONNX Runtime is missing or too old; if the directory is no model that is understood; if a file is damaged; if a network's
    /// vectors have no fixed number of dimensions; if the tokenizer does not belong to the network.
    pub fn open(directory: &Path, options: &Options) -> Result<Self, EmbedError> {
        Self::open_as(directory, Description::read(directory)?, options)
    }

    /// As [`Model::open`], where it is known what the directory holds.
    ///
    /// # Errors
    ///
    /// As [`Model::open`], and if the description makes no sense.
    pub fn open_as(directory: &Path, description: Description, options: &Options) -> Result<Self, EmbedError> {
        description.check(directory)?;
        let mut files = Files { directory, read: Vec::new() };
        let text =
            description.text.as_ref().map(|tower| Text::open(&mut files, tower, &description, options)).transpose()?;
        let image = description
            .image
            .as_ref()
            .map(|tower| Pictures::open(&mut files, tower, &description, options))
            .transpose()?;
        let dims = match (&text, &image) {
            (Some(text), Some(image)) if text.output.dims != image.output.dims => {
                let (texts, pictures) = (text.output.dims, image.output.dims);
                let reason =
                    format!("its texts have {texts} dimensions and its pictures {pictures}: they do not share a space");
                return Err(EmbedError::bad_model(directory, reason));
            }
            (Some(Text { output, .. }), _) | (None, Some(Pictures { output, .. })) => output.dims,
            (None, None) => return Err(EmbedError::bad_model(directory, "there is neither a text nor an image tower")),
        };
        let model = Self { description, text, image, dims, files: files.read, limits: options.image_limits };
        model.try_out(directory)?;
        Ok(model)
    }

    /// Runs each network once: what it gives is checked before anything relies on it.
    fn try_out(&self, directory: &Path) -> Result<(), EmbedError> {
        if let Some(text) = &self.text {
            // A network has a vector for each token it knows, and fails for one beyond.
            let highest = text.encoder.highest();
            let tokens = Tokens { ids: vec![highest], types: vec![0], total: 1 };
            let mut vectors = Vectors::zeros(1, self.dims);
            text.run(&[tokens], &[0], &mut vectors).map_err(|reason| {
                let reason = format!(
                    "the network cannot be run with the last token, {highest}, of {}: {reason}",
                    text.tower.tokenizer
                );
                EmbedError::bad_model(&directory.join(&text.tower.model), reason)
            })?;
        }
        if let Some(image) = &self.image {
            let black = vec![0.0; image.numbers()];
            let mut vectors = Vectors::zeros(1, self.dims);
            let ran = image.run(black, 0, 1, &mut vectors);
            ran.map_err(|reason| EmbedError::bad_model(&directory.join(&image.tower.model), reason))?;
        }
        Ok(())
    }

    /// What it embeds.
    pub fn kind(&self) -> Kind {
        match (&self.text, &self.image) {
            (Some(_), Some(_)) => Kind::TextImage,
            (Some(_), None) => Kind::Text,
            _ => Kind::Image,
        }
    }

    /// What runs it: a GPU only where that runs all of its networks.
    pub fn device(&self) -> Device {
        match self.networks().all(|network| network.device == Device::Cuda) {
            true => Device::Cuda,
            false => Device::Cpu,
        }
    }

    /// What its networks take, that for texts first.
    pub fn inputs(&self) -> Vec<&Port> {
        self.networks().flat_map(|network| &network.inputs).collect()
    }

    /// What its networks give, that for texts first.
    pub fn outputs(&self) -> Vec<&Port> {
        self.networks().flat_map(|network| &network.outputs).collect()
    }

    fn networks(&self) -> impl Iterator<Item = &Network> {
        let of_text = self.text.iter().map(|text| &text.network);
        of_text.chain(self.image.iter().map(|image| &image.network))
    }

    /// Numbers in each of its vectors.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// What it was opened as.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The files it consists of, its description aside.
    pub fn files(&self) -> &[ModelFile] {
        &self.files
    }

    /// Embeds texts, each after the model's default prompt if it has one.
    ///
    /// # Errors
    ///
    /// If it is no model for texts, if a text has no tokens, or if the network fails.
    pub fn embed_texts(&self, texts: &[&str]) -> Result<TextEmbeddings, EmbedError> {
        self.embed_tokens(&self.tokens(None, texts)?)
    }

    /// The tokens of texts, each after the prompt of this name, such as `query`, or after the model's default one.
    ///
    /// # Errors
    ///
    /// If it is no model for texts, if there is no such prompt, or if a text has no tokens.
    pub fn tokens(&self, prompt: Option<&str>, texts: &[&str]) -> Result<Vec<Tokens>, EmbedError> {
        let tower = self.text_tower()?;
        let prompts = &tower.tower.prompts;
        let prompt = match prompt {
            Some(name) => prompts.get(name).map(String::as_str).ok_or_else(|| EmbedError::UnknownPrompt {
                name: name.to_owned(),
                known: prompts.keys().cloned().collect(),
            })?,
            None => tower.tower.default_prompt.as_ref().and_then(|name| prompts.get(name)).map_or("", String::as_str),
        };
        let encoded = texts.iter().enumerate().map(|(index, text)| {
            tower.encoder.encode(prompt, text).map_err(|reason| EmbedError::Text { index, reason })
        });
        encoded.collect()
    }

    /// Embeds texts whose [`Model::tokens`] these are.
    ///
    /// # Errors
    ///
    /// If it is no model for texts, or if the network fails.
    pub fn embed_tokens(&self, encoded: &[Tokens]) -> Result<TextEmbeddings, EmbedError> {
        let tower = self.text_tower()?;
        let mut vectors = Vectors::zeros(encoded.len(), self.dims);
        let lengths: Vec<usize> = encoded.iter().map(|tokens| tower.width.unwrap_or(tokens.ids.len())).collect();
        for batch in choose_batches(&lengths, tower.max_rows, MAX_TOKENS, tower.masked) {
            tower.run(encoded, &batch, &mut vectors).map_err(EmbedError::Failed)?;
        }
        self.finish(&mut vectors)?;
        let cut = encoded.iter().enumerate().filter(|(_, tokens)| tokens.total > tokens.ids.len());
        let truncated =
            cut.map(|(index, tokens)| Truncated { index, tokens: tokens.total, used: tokens.ids.len() }).collect();
        Ok(TextEmbeddings { vectors, truncated })
    }

    /// Embeds pictures, each the bytes of a JPEG, PNG, GIF, WebP or BMP file. Of an animation the first frame is taken.
    ///
    /// # Errors
    ///
    /// If it is no model for pictures, if one cannot be decoded or is too large, or if the network fails.
    pub fn embed_images(&self, images: &[&[u8]]) -> Result<Vectors, EmbedError> {
        let Some(tower) = &self.image else {
            return Err(EmbedError::WrongKind { takes: self.kind().name(), given: Kind::Image.name() });
        };
        let mut vectors = Vectors::zeros(images.len(), self.dims);
        for (number, batch) in images.chunks(tower.max_rows).enumerate() {
            let first = number * tower.max_rows;
            let mut pixels = Vec::with_capacity(batch.len() * tower.numbers());
            for (offset, bytes) in batch.iter().enumerate() {
                let prepared: Result<(), ImageError> = prepare(bytes, &tower.tower, &self.limits, &mut pixels);
                prepared.map_err(|source| EmbedError::Image { index: first + offset, source })?;
            }
            tower.run(pixels, first, batch.len(), &mut vectors).map_err(EmbedError::Failed)?;
        }
        self.finish(&mut vectors)?;
        Ok(vectors)
    }

    /// Scales vectors to length 1 where the model says so, and refuses those that are no vectors.
    fn finish(&self, vectors: &mut Vectors) -> Result<(), EmbedError> {
        for vector in vectors.values.chunks_exact_mut(self.dims) {
            if self.description.normalize {
                normalize(vector);
            }
            if !vector.iter().all(|value| value.is_finite()) {
                return Err(EmbedError::Failed("it gave numbers that are not finite".to_owned()));
            }
        }
        Ok(())
    }

    /// Cuts a text into pieces of at most `max_tokens` of the model's tokens, those aside that the tokenizer adds; at the ends of
    /// sentences where it can, else between words. Each piece repeats up to `overlap` tokens of the one before it, by whole sentences or,
    /// within a sentence, words. A word of more tokens than that is cut too; what is left of it may be other tokens by itself.
    ///
    /// # Errors
    ///
    /// If it is no model for texts, if `max_tokens` is 0 or more than the model takes, or if `overlap` is not below it.
    pub fn split_text<'a>(&self, text: &'a str, max_tokens: usize, overlap: usize) -> Result<Vec<&'a str>, EmbedError> {
        let tower = self.text_tower()?;
        let room = tower.encoder.room();
        if !(1..=room).contains(&max_tokens) {
            return Err(EmbedError::Argument(format!(
                "max_tokens is {max_tokens}; for this model it must be 1 to {room}"
            )));
        }
        if overlap >= max_tokens {
            return Err(EmbedError::Argument(format!(
                "overlap is {overlap}; it must be below max_tokens, {max_tokens}"
            )));
        }
        let places = tower.encoder.places(text).map_err(|reason| EmbedError::Text { index: 0, reason })?;
        let pieces = choose_pieces(&places, &sentence_starts(text), max_tokens, overlap);
        let cut = |piece: std::ops::Range<usize>| {
            let tokens = &places[piece];
            let (start, end) =
                (tokens.iter().map(|place| place.start).min()?, tokens.iter().map(|place| place.end).max()?);
            // A token may be a part of a character; its piece has the whole.
            Some(&text[text.floor_char_boundary(start)..text.ceil_char_boundary(end)])
        };
        Ok(pieces.into_iter().filter_map(cut).collect())
    }

    fn text_tower(&self) -> Result<&Text, EmbedError> {
        self.text.as_ref().ok_or_else(|| EmbedError::WrongKind { takes: self.kind().name(), given: Kind::Text.name() })
    }
}

/// Puts inputs of these lengths together to be run at once: long with long, so that little is padding; at most `max_rows`, and
/// `max_tokens` with padding unless one alone is longer. Where nothing may be padded, those of one length only.
fn choose_batches(lengths: &[usize], max_rows: usize, max_tokens: usize, may_pad: bool) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for index in order {
        // The first of a batch is its longest.
        let fits = |batch: &Vec<usize>| {
            let longest = lengths[batch[0]];
            batch.len() < max_rows
                && (batch.len() + 1) * longest <= max_tokens
                && (may_pad || lengths[index] == longest)
        };
        match batches.last_mut() {
            Some(batch) if fits(batch) => batch.push(index),
            _ => batches.push(vec![index]),
        }
    }
    batches
}

#[cfg(test)]
mod tests;
