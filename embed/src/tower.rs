//! Towers: a network with what prepares its inputs, for texts and for pictures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{ModelFile, Options, Vectors};
use crate::output::{Output, choose_output, names};
use crate::pool::{Shape, pool};
use crate::runtime::{Element, Network, Port, Values};
use crate::text::{Encoder, Tokens};
use crate::{Description, EmbedError, ImageTower, Layout, TextTower};

/// Texts to vectors.
pub(crate) struct Text {
    pub(crate) tower: TextTower,
    pub(crate) encoder: Encoder,
    pub(crate) network: Network,
    pub(crate) output: Output,
    /// The number of tokens that every text has, where the network or the description demands one.
    pub(crate) width: Option<usize>,
    /// Whether the network is told what is padding.
    pub(crate) masked: bool,
    pub(crate) max_rows: usize,
}

/// Pictures to vectors.
pub(crate) struct Pictures {
    pub(crate) tower: ImageTower,
    pub(crate) network: Network,
    input: String,
    pub(crate) output: Output,
    pub(crate) max_rows: usize,
}

/// Texts that are run at once, and their tokens with padding. The attention of a network takes memory by the square of the longest
/// text: at 512 tokens these are 8 texts and about 100 MB.
const MAX_TEXTS: usize = 64;
pub(crate) const MAX_TOKENS: usize = 4_096;
/// Pictures that are run at once: the maps between a network's layers take some 20 MB each.
const MAX_PICTURES: usize = 8;

/// The files of a model, read once each.
pub(crate) struct Files<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) read: Vec<ModelFile>,
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
        Network::load(&path, &bytes, weights, options)
    }
}

/// The inputs of networks for texts, by the names that exports give them.
const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";

impl Text {
    pub(crate) fn open(
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
    pub(crate) fn run(&self, encoded: &[Tokens], batch: &[usize], vectors: &mut Vectors) -> Result<(), String> {
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
    pub(crate) fn open(
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
    pub(crate) fn numbers(&self) -> usize {
        3 * self.tower.crop.width as usize * self.tower.crop.height as usize
    }

    /// Runs `count` prepared pictures and puts their vectors in the places from `first` on.
    pub(crate) fn run(
        &self,
        pixels: Vec<f32>,
        first: usize,
        count: usize,
        vectors: &mut Vectors,
    ) -> Result<(), String> {
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

/// How many inputs a network takes at once, by its first dimension.
fn rows(input: &Port) -> Result<usize, String> {
    match input.shape.first() {
        Some(None) => Ok(usize::MAX),
        Some(Some(1)) => Ok(1),
        _ => Err(format!("its input {} must take any number of inputs at once, or one", input.name)),
    }
}
