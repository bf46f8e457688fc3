//! Texts and pictures in, vectors out: ONNX models, run by an ONNX Runtime that is looked for when the first model is opened.
//!
//! The crate knows no type of the engine.
//!
//! - [`Model`]: a directory with a network, opened: [`Model::embed_texts`], [`Model::embed_images`], [`Model::split_text`].
//! - [`Description`]: what a directory's network expects and gives, read from the files that models are published with.
//! - [`image_info`]: what a picture is, without decoding it.
//! - [`split_sentences`]: where sentences end, in English and Chinese.
//!
//! What always holds:
//!
//! 1. A vector returned has exactly [`Model::dims`] numbers, all finite.
//! 2. Bytes of a client, a file or a network never panic the process; what they cause is an [`EmbedError`] that names the text, the
//!    picture or the file.
//! 3. A picture is refused by its header before anything of its size is allocated.
//! 4. A vector depends on its input alone, rounding aside: not on what it was computed together with.
//!
//! One file names `ort` ([`runtime`]), one `tokenizers` ([`text`]), one `image` ([`picture`]).
#![forbid(unsafe_code)]

mod description;
mod error;
mod layout;
mod model;
mod output;
mod picture;
mod pool;
mod resample;
mod runtime;
mod split;
mod text;
mod tower;

pub use description::{Channels, Description, Filter, ImageTower, Layout, Pooling, Resize, Size, TextTower};
pub use error::{EmbedError, ImageError};
pub use model::{Kind, Model, ModelFile, Options, TextEmbeddings, Truncated, Vectors};
pub use picture::{ImageInfo, ImageLimits, image_info};
pub use runtime::{Device, Port};
pub use split::{split_sentences, split_words};
pub use text::Tokens;
