//! A model: opening its directory, and turning texts and pictures into vectors with it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::picture::prepare;
use crate::pool::{Shape, normalize, pool};
use crate::runtime::{Element, Network, Port, Values};
use crate::split::{choose_pieces, sentence_starts};
use crate::text::{Encoder, Tokens};
use crate::{Description, EmbedError, ImageError, ImageLimits, ImageTower, Layout, Pooling, TextTower, layout};

/// How models are opened and run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// ONNX Runtime: its library, or a folder, prefix or environment of Python that has it. Without it `ORT_DYLIB_PATH` is asked, then the
    /// usual places. Only the first model of a process loads it.
    pub runtime: Option<PathBuf>,
    /// Threads that work on one run of a network; 0 takes as many as there are cores.
    pub intra_threads: usize,
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

    fn get_mut(&mut self, index: usize) -> &mut [f32] {
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

/// What one network gives for an input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Output {
    name: String,
    shape: Shape,
    dims: usize,
}

struct Text {
    tower: TextTower,
    encoder: Encoder,
    network: Network,
    output: Output,
    /// The number of tokens that every text has, where the network or the description demands one.
    width: Option<usize>,
    /// Whether the network is told what is padding.
    masked: bool,
    max_rows: usize,
}

struct Pictures {
    tower: ImageTower,
    network: Network,
    input: String,
    output: Output,
    max_rows: usize,
}

/// Texts that are run at once, and their tokens with padding. The attention of a network takes memory by the square of the longest
/// text: at 512 tokens these are 8 texts and about 100 MB.
const MAX_TEXTS: usize = 64;
const MAX_TOKENS: usize = 4_096;
/// Pictures that are run at once: the maps between a network's layers take some 20 MB each.
const MAX_PICTURES: usize = 8;

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
        let description = layout::read(directory)?;
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
        let prompt =
            |text: &Text| text.tower.default_prompt.as_ref().and_then(|name| text.tower.prompts.get(name)).cloned();
        self.embed(texts, |text| Ok(prompt(text).unwrap_or_default()))
    }

    /// Embeds texts, each after the prompt of this name, such as `query`.
    ///
    /// # Errors
    ///
    /// As [`Model::embed_texts`], and if there is no such prompt.
    pub fn embed_texts_as(&self, prompt: &str, texts: &[&str]) -> Result<TextEmbeddings, EmbedError> {
        self.embed(texts, |text| {
            text.tower.prompts.get(prompt).cloned().ok_or_else(|| EmbedError::UnknownPrompt {
                name: prompt.to_owned(),
                known: text.tower.prompts.keys().cloned().collect(),
            })
        })
    }

    fn embed(
        &self,
        texts: &[&str],
        prompt: impl FnOnce(&Text) -> Result<String, EmbedError>,
    ) -> Result<TextEmbeddings, EmbedError> {
        let tower = self.text_tower()?;
        let prompt = prompt(tower)?;
        let encoded = texts.iter().enumerate().map(|(index, text)| {
            tower.encoder.encode(&prompt, text).map_err(|reason| EmbedError::Text { index, reason })
        });
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        let mut vectors = Vectors::zeros(texts.len(), self.dims);
        let lengths: Vec<usize> = encoded.iter().map(|tokens| tower.width.unwrap_or(tokens.ids.len())).collect();
        for batch in choose_batches(&lengths, tower.max_rows, MAX_TOKENS, tower.masked) {
            tower.run(&encoded, &batch, &mut vectors).map_err(EmbedError::Failed)?;
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

/// The files of a model, read once each.
struct Files<'a> {
    directory: &'a Path,
    read: Vec<ModelFile>,
}

impl Files<'_> {
    /// Reads a file and takes down its hash: what was hashed is what is used.
    fn read(&mut self, name: &str) -> Result<(PathBuf, Vec<u8>), EmbedError> {
        let path = self.directory.join(name);
        let bytes = std::fs::read(&path).map_err(EmbedError::io("read", &path))?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        self.read.push(ModelFile { name: name.to_owned(), bytes: bytes.len() as u64, hash });
        Ok((path, bytes))
    }

    /// Reads and loads a network, with the file of weights that large ones have beside them.
    fn network(&mut self, name: &str, options: &Options) -> Result<Network, EmbedError> {
        let (path, bytes) = self.read(name)?;
        let mut weights = Vec::new();
        for beside in [format!("{name}_data"), format!("{name}.data")] {
            if self.directory.join(&beside).is_file() {
                let (path, bytes) = self.read(&beside)?;
                let inside = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                weights.push((inside, Arc::from(bytes)));
            }
        }
        Network::load(&path, &bytes, weights, options.runtime.as_deref(), options.intra_threads)
    }
}

/// The inputs of networks for texts, by the names that exports give them.
const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";

impl Text {
    fn open(
        files: &mut Files<'_>,
        tower: &TextTower,
        description: &Description,
        options: &Options,
    ) -> Result<Self, EmbedError> {
        let (path, bytes) = files.read(&tower.tokenizer)?;
        let encoder = Encoder::load(&path, &bytes, tower)?;
        let network = files.network(&tower.model, options)?;
        let path = files.directory.join(&tower.model);
        let bad = |reason: String| EmbedError::bad_model(&path, reason);
        if !network.inputs.iter().any(|input| input.name == IDS) {
            return Err(bad(format!("it has no input {IDS}; its inputs are {}", names(&network.inputs))));
        }
        let mut width = tower.pad_to;
        let mut max_rows = MAX_TEXTS;
        for input in &network.inputs {
            if ![IDS, MASK, TYPES].contains(&input.name.as_str()) {
                return Err(bad(format!("it has an input {}; only {IDS}, {MASK} and {TYPES} are known", input.name)));
            }
            if !matches!(input.element, Element::Int64 | Element::Int32) || input.shape.len() != 2 {
                return Err(bad(format!("its input {} must be integers by text and token", input.name)));
            }
            max_rows = max_rows.min(rows(input).map_err(bad)?);
            width = input.shape[1].or(width);
        }
        if let Some(width) = width.filter(|width| *width < tower.max_tokens) {
            return Err(bad(format!(
                "it takes {width} tokens, and texts may have {}; lower the limit of the texts",
                tower.max_tokens
            )));
        }
        // The pooled output of BERT was trained for another task; that of a two-tower model is its embedding.
        let two_towers = description.image.is_some();
        let usual: &[&str] = match two_towers {
            true => &["text_embeds", "sentence_embedding", "pooler_output"],
            false => &["sentence_embedding", "text_embeds", "last_hidden_state", "token_embeddings"],
        };
        let output = choose_output(&network.outputs, tower.output.as_deref(), usual, tower.pooling, description.dims)
            .map_err(bad)?;
        let masked = network.inputs.iter().any(|input| input.name == MASK);
        Ok(Self { tower: tower.clone(), encoder, network, output, width, masked, max_rows })
    }

    /// Runs those of `encoded` that `batch` numbers, and puts their vectors in their places.
    fn run(&self, encoded: &[Tokens], batch: &[usize], vectors: &mut Vectors) -> Result<(), String> {
        let longest = batch.iter().map(|index| encoded[*index].ids.len()).max().unwrap_or(0);
        let width = self.width.unwrap_or(longest);
        let padded = |row: fn(&Tokens) -> Vec<i64>, pad: i64| {
            let mut values = Vec::with_capacity(batch.len() * width);
            for (number, index) in batch.iter().enumerate() {
                values.extend(row(&encoded[*index]));
                values.resize((number + 1) * width, pad);
            }
            values
        };
        let inputs = self.network.inputs.iter().map(|input| {
            let values = match input.name.as_str() {
                IDS => padded(
                    |tokens| tokens.ids.iter().map(|id| i64::from(*id)).collect(),
                    i64::from(self.tower.pad_token),
                ),
                MASK => padded(|tokens| vec![1; tokens.ids.len()], 0),
                _ => padded(|tokens| tokens.types.iter().map(|kind| i64::from(*kind)).collect(), 0),
            };
            let values = match input.element {
                Element::Int32 => Values::Int32(values.into_iter().map(|value| value as i32).collect()),
                _ => Values::Int64(values),
            };
            (input.name.as_str(), vec![batch.len(), width], values)
        });
        self.network.run(inputs.collect(), &self.output.name, |shape, values| {
            let tokens = matches!(self.output.shape, Shape::Tokens(_)).then_some(width);
            let rows = self.output.rows(shape, values, batch.len(), tokens)?;
            for (index, values) in batch.iter().zip(rows) {
                pool(self.output.shape, values, encoded[*index].ids.len(), vectors.get_mut(*index));
            }
            Ok(())
        })
    }
}

impl Pictures {
    fn open(
        files: &mut Files<'_>,
        tower: &ImageTower,
        description: &Description,
        options: &Options,
    ) -> Result<Self, EmbedError> {
        let network = files.network(&tower.model, options)?;
        let path = files.directory.join(&tower.model);
        let bad = |reason: String| EmbedError::bad_model(&path, reason);
        let [input] = &network.inputs[..] else {
            return Err(bad(format!(
                "a network for pictures must have one input; its inputs are {}",
                names(&network.inputs)
            )));
        };
        let (width, height) = (tower.crop.width as usize, tower.crop.height as usize);
        let wanted = match tower.layout {
            Layout::Nchw => [3, height, width],
            Layout::Nhwc => [height, width, 3],
        };
        let fits = input.shape.len() == 4
            && input.shape[1..].iter().zip(wanted).all(|(dim, size)| dim.is_none_or(|dim| dim == size));
        if input.element != Element::Float32 || !fits {
            let reason = format!(
                "its input {} must be floats by picture and {wanted:?}, as pictures are prepared for it",
                input.name
            );
            return Err(bad(reason));
        }
        let max_rows = MAX_PICTURES.min(rows(input).map_err(bad)?);
        let usual = ["image_embeds", "pooler_output", "features"];
        let output = choose_output(&network.outputs, tower.output.as_deref(), &usual, tower.pooling, description.dims)
            .map_err(bad)?;
        Ok(Self { tower: tower.clone(), input: input.name.clone(), network, output, max_rows })
    }

    /// Numbers that a prepared picture has.
    fn numbers(&self) -> usize {
        3 * self.tower.crop.width as usize * self.tower.crop.height as usize
    }

    /// Runs `count` prepared pictures and puts their vectors in the places from `first` on.
    fn run(&self, pixels: Vec<f32>, first: usize, count: usize, vectors: &mut Vectors) -> Result<(), String> {
        let (width, height) = (self.tower.crop.width as usize, self.tower.crop.height as usize);
        let shape = match self.tower.layout {
            Layout::Nchw => vec![count, 3, height, width],
            Layout::Nhwc => vec![count, height, width, 3],
        };
        self.network.run(
            vec![(self.input.as_str(), shape, Values::Float32(pixels))],
            &self.output.name,
            |shape, values| {
                for (offset, values) in self.output.rows(shape, values, count, None)?.enumerate() {
                    pool(self.output.shape, values, values.len() / self.output.dims, vectors.get_mut(first + offset));
                }
                Ok(())
            },
        )
    }
}

impl Output {
    /// What a network gave, input by input, if it is what it declared: a network may declare one thing and give another.
    fn rows<'a>(
        &self,
        shape: &[i64],
        values: &'a [f32],
        count: usize,
        tokens: Option<usize>,
    ) -> Result<impl Iterator<Item = &'a [f32]>, String> {
        let dims = self.dims as i64;
        let right = match self.shape {
            Shape::Vector => shape.len() >= 2 && shape[1] == dims && shape[2..].iter().all(|dim| *dim == 1),
            Shape::Tokens(_) => {
                shape.len() == 3
                    && shape[1] >= 1
                    && tokens.is_none_or(|tokens| shape[1] == tokens as i64)
                    && shape[2] == dims
            }
            Shape::Maps => shape.len() == 4 && shape[1] == dims && shape[2] >= 1 && shape[3] >= 1,
        };
        if !right || shape[0] != count as i64 {
            return Err(format!(
                "its output {} has the shape {shape:?} for {count} inputs of {dims} dimensions",
                self.name
            ));
        }
        Ok(values.chunks_exact(values.len() / count))
    }
}

/// How many inputs a network takes at once, by its first dimension.
fn rows(input: &Port) -> Result<usize, String> {
    match input.shape.first() {
        Some(None) => Ok(usize::MAX),
        Some(Some(1)) => Ok(1),
        _ => Err(format!("its input {} must take any number of inputs at once, or one", input.name)),
    }
}

fn names(ports: &[Port]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Chooses the output that is the embedding: the one that is named, or the first of those that are usual, or the only one; and how its
/// shape becomes a vector. `dims` is what the description says, for a network that declares nothing.
fn choose_output(
    outputs: &[Port],
    named: Option<&str>,
    usual: &[&str],
    pooling: Option<Pooling>,
    dims: Option<usize>,
) -> Result<Output, String> {
    let by_name = |name: &str| outputs.iter().find(|output| output.name == name);
    let output = match (named, outputs) {
        (Some(name), _) => {
            by_name(name).ok_or_else(|| format!("it has no output {name}; its outputs are {}", names(outputs)))?
        }
        (None, [only]) => only,
        (None, _) => usual.iter().find_map(|name| by_name(name)).ok_or_else(|| {
            format!(
                "none of its outputs {} is called {}; name the one to take in a lodedb.json",
                names(outputs),
                usual.join(" or ")
            )
        })?,
    };
    let name = &output.name;
    if name.is_empty() {
        return Err("its output has no name".to_owned());
    }
    if output.element != Element::Float32 {
        return Err(format!("its output {name} is not of 32-bit floats; export the model as float32"));
    }
    let (shape, declared) = match output.shape[..] {
        [_, dims] => (Shape::Vector, dims),
        [_, _, dims] => {
            let reason = "has a vector for each token, and nothing tells how they become one; add 1_Pooling/config.json or a lodedb.json";
            (Shape::Tokens(pooling.ok_or_else(|| format!("its output {name} {reason}"))?), dims)
        }
        [_, dims, Some(1), Some(1)] => (Shape::Vector, dims),
        [_, dims, _, _] if pooling == Some(Pooling::Mean) => (Shape::Maps, dims),
        [_, _, _, _] => {
            return Err(format!(
                "its output {name} is a map for each number; cut the network after its pooling, or ask for the mean in a lodedb.json"
            ));
        }
        _ => {
            return Err(format!("its output {name} has {} dimensions; 2 to 4 can be an embedding", output.shape.len()));
        }
    };
    let dims = match (declared, dims) {
        (Some(declared), Some(told)) if declared != told => {
            return Err(format!("its output {name} has {declared} dimensions, and lodedb.json says {told}"));
        }
        (Some(0), _) => return Err(format!("its output {name} has no dimensions")),
        (Some(dims), _) | (None, Some(dims)) => dims,
        (None, None) => {
            return Err(format!(
                "its output {name} has no fixed number of dimensions; export it with one, or say it in a lodedb.json"
            ));
        }
    };
    Ok(Output { name: name.clone(), shape, dims })
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
