//! What can go wrong with models and what is embedded; a kind exists only where the caller acts differently.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Errors of embedding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// There is no ONNX Runtime. Everything but models works without one.
    #[error(
        "ONNX Runtime was not found: install it with `pip install onnxruntime`, or unpack a release of \
         https://github.com/microsoft/onnxruntime, and name its libonnxruntime.so in ORT_DYLIB_PATH; looked in: {}",
        looked_in.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    RuntimeMissing {
        /// The folders looked into.
        looked_in: Vec<PathBuf>,
    },
    /// There is a library, but it is too old, or not ONNX Runtime.
    #[error("cannot use {} as ONNX Runtime: {reason}", path.display())]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A call on the file system failed.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory, or a file in it, is not a model that can be used.
    #[error("{}: {reason}", path.display())]
    BadModel {
        /// The directory or the file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The model does not take what it was given.
    #[error("the model embeds {takes}, not {given}")]
    WrongKind {
        /// What it takes.
        takes: &'static str,
        /// What it was given.
        given: &'static str,
    },
    /// A prompt that the model does not have.
    #[error("the model has no prompt {name:?}; it has: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    UnknownPrompt {
        /// What was asked for.
        name: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// An argument out of its range.
    #[error("{0}")]
    Argument(String),
    /// A text that cannot be embedded.
    #[error("text {index}: {reason}")]
    Text {
        /// Which of those given, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture that cannot be embedded.
    #[error("picture {index}: {source}")]
    Image {
        /// Which of those given, from 0.
        index: usize,
        /// What is wrong with it.
        source: ImageError,
    },
    /// The network failed, or gave what it did not promise.
    #[error("the model failed: {0}")]
    Failed(String),
}

/// What is wrong with the bytes of a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// They do not begin as a picture does.
    #[error("not an image; JPEG, PNG, GIF, WebP and BMP are understood")]
    NotAnImage,
    /// They are a picture in a format, or a variant of one, that is not read.
    #[error("{0} is not supported; JPEG, PNG, GIF, WebP and BMP are")]
    Unsupported(String),
    /// It is larger than the limits allow. It was not decoded.
    #[error("image of {width} x {height} pixels is too large: at most {max_side} a side and {max_pixels} in all")]
    TooLarge {
        /// Its width, in pixels.
        width: u32,
        /// Its height, in pixels.
        height: u32,
        /// The limit for both.
        max_side: u32,
        /// The limit for their product.
        max_pixels: u64,
    },
    /// It ends too early or contradicts itself.
    #[error("damaged {format} image: {reason}")]
    Damaged {
        /// Its format.
        format: &'static str,
        /// What the decoder met.
        reason: String,
    },
}

impl EmbedError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EmbedError {
        move |source| EmbedError::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn bad_model(path: &Path, reason: impl Into<String>) -> EmbedError {
        EmbedError::BadModel { path: path.to_owned(), reason: reason.into() }
    }
}

/// Runs a parser of a library on bytes that may be hostile. A bug of it that panics becomes the error that `malformed` makes of a reason.
pub(crate) fn caught<T, E>(malformed: impl Fn(String) -> E, parse: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // What is left behind by a panic is dropped with the error: nothing of it is used again.
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or_else(|_| Err(malformed("its parser gave up".to_owned())))
}
