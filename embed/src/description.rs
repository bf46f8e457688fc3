//! What a network expects and gives, as plain data: read from a model's files, or from a `lodedb.json` where those do not tell.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::{EmbedError, layout};

/// A model: a tower for texts, one for pictures, or both into one space. Also the content of `lodedb.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// How texts become vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextTower>,
    /// How pictures become vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageTower>,
    /// Vectors are scaled to length 1 (L2).
    #[serde(default)]
    pub normalize: bool,
    /// Numbers in a vector, for a network that does not declare them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dims: Option<usize>,
}

/// How texts become vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTower {
    /// The ONNX file, from the directory of the model.
    pub model: String,
    /// The tokenizer, in the format of the `tokenizers` library.
    #[serde(default = "tokenizer_file")]
    pub tokenizer: String,
    /// The output of the network to take; without it the one that is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// How the vectors of tokens become one, where the network gives one a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Tokens of a text, those included that the tokenizer adds. What is longer is cut.
    pub max_tokens: usize,
    /// Every text is padded to this many tokens; without it, to the longest it is run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_to: Option<usize>,
    /// The token to pad with.
    #[serde(default)]
    pub pad_token: u32,
    /// Texts are made lower case first.
    #[serde(default)]
    pub lowercase: bool,
    /// What is put before a text, by what the text is for, such as `query` and `passage`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, String>,
    /// The prompt for texts of which nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_prompt: Option<String>,
}

/// How pictures become vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTower {
    /// The ONNX file, from the directory of the model.
    pub model: String,
    /// The output of the network to take; without it the one that is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// How the vectors of places in the picture become one, where the network gives one a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// What is seen through the transparent parts of a picture: red, green and blue. Without it, the colours that those parts have in
    /// the file, as Pillow's `convert("RGB")` gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
    /// To which size a picture is brought first.
    pub resize: Resize,
    /// How.
    #[serde(default)]
    pub filter: Filter,
    /// What the network is given: the middle of the picture, in pixels.
    pub crop: Size,
    /// Samples, 0 to 255, are multiplied by this.
    #[serde(default = "scale")]
    pub scale: f32,
    /// Then this is subtracted, a number for red, green and blue.
    #[serde(default)]
    pub mean: [f32; 3],
    /// And what is left divided by this.
    #[serde(default = "ones")]
    pub std: [f32; 3],
    /// The order of colours that the network expects.
    #[serde(default)]
    pub channels: Channels,
    /// The order of dimensions that the network expects.
    #[serde(default)]
    pub layout: Layout,
}

/// A width and a height, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

/// How many vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean, padding aside.
    Mean,
    /// The first, which BERT calls `[CLS]`.
    Cls,
    /// The last that is not padding.
    Last,
}

/// To which size a picture is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side gets this many pixels, the longer as many as keep the proportions, rounded down.
    ShorterSide(u32),
    /// Exactly this size; proportions may change.
    Exact(Size),
}

/// How pixels are computed from those around. As in Pillow, all filters widen when a picture gets smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of those that fall on it.
    Box,
    /// A triangle.
    #[default]
    Bilinear,
    /// A narrower window than the triangle, sharper.
    Hamming,
    /// Catmull-Rom, which Pillow calls bicubic.
    Bicubic,
    /// Lanczos over three pixels.
    Lanczos,
}

/// The order of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first, as OpenCV has it.
    Bgr,
}

/// The order of dimensions after that of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Colours, rows, columns.
    #[default]
    Nchw,
    /// Rows, columns, colours, as TensorFlow has it.
    Nhwc,
}

fn tokenizer_file() -> String {
    "tokenizer.json".to_owned()
}

fn scale() -> f32 {
    1.0 / 255.0
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

/// The most pixels a side that a network is given: none of those published takes more than a fraction of it.
const MAX_SIDE: u32 = 4_096;

impl Description {
    /// The name of the file that holds one as JSON. Where a directory has it, nothing else of the directory says what it holds.
    pub const FILE: &str = "lodedb.json";

    /// Reads what a directory holds, in any of the layouts that [`Model::open`](crate::Model::open) knows.
    ///
    /// # Errors
    ///
    /// If it is no directory, none of the layouts, or one whose files contradict themselves or ask for what is not implemented.
    pub fn read(directory: &Path) -> Result<Self, EmbedError> {
        layout::read(directory)
    }

    /// Refuses what makes no sense.
    pub(crate) fn check(&self, directory: &Path) -> Result<(), EmbedError> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(EmbedError::bad_model(directory, problems.join("; "))) }
    }

    /// Everything in it that makes no sense, in words; empty where it is good.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut demand = |holds: bool, problem: &str| {
            if !holds {
                found.push(problem.to_owned());
            }
        };
        demand(self.text.is_some() || self.image.is_some(), "there is neither a text nor an image tower");
        demand(self.dims != Some(0), "dims must be at least 1");
        if let Some(text) = &self.text {
            demand(
                is_inside(&text.model) && is_inside(&text.tokenizer),
                "files of the text tower must lie in the directory",
            );
            demand(text.max_tokens >= 1, "max_tokens must be at least 1");
            demand(text.pad_to.is_none_or(|pad_to| pad_to >= text.max_tokens), "pad_to must be at least max_tokens");
            let known = text.default_prompt.as_ref().is_none_or(|name| text.prompts.contains_key(name));
            demand(known, "default_prompt must be the name of one of the prompts");
        }
        if let Some(image) = &self.image {
            demand(is_inside(&image.model), "the file of the image tower must lie in the directory");
            let fits = |size: Size| (1..=MAX_SIDE).contains(&size.width) && (1..=MAX_SIDE).contains(&size.height);
            demand(fits(image.crop), "crop must be 1 to 4096 pixels a side");
            match image.resize {
                Resize::ShorterSide(side) => {
                    demand(side <= MAX_SIDE, "resize must be to at most 4096 pixels a side");
                    demand(
                        side >= image.crop.width.max(image.crop.height),
                        "resize must leave at least what crop takes",
                    );
                }
                Resize::Exact(size) => {
                    demand(fits(size), "resize must be to 1 to 4096 pixels a side");
                    let enough = size.width >= image.crop.width && size.height >= image.crop.height;
                    demand(enough, "resize must leave at least what crop takes");
                }
            }
            let finite = image.mean.iter().chain([&image.scale]).all(|value| value.is_finite());
            demand(finite, "mean and scale must be finite");
            demand(image.std.iter().all(|value| value.is_finite() && *value != 0.0), "std must be finite and not 0");
        }
        found
    }
}

/// Whether a relative path stays in the directory it is relative to.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
