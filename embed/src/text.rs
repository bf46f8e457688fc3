//! From texts to tokens. The only file that names `tokenizers`.

use std::borrow::Cow;
use std::path::Path;
use std::str::FromStr;

use tokenizers::{Tokenizer, TruncationDirection};

use crate::error::caught;
use crate::{EmbedError, TextTower};

/// A tokenizer, and how many of its tokens a network takes.
pub(crate) struct Encoder {
    tokenizer: Tokenizer,
    max_tokens: usize,
    /// How many tokens it adds to every text, such as `[CLS]` and `[SEP]`.
    added: usize,
    lowercase: bool,
}

/// The tokens of one text, as a model takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// Which of two texts each belongs to, in the words of BERT. There is one text.
    pub(crate) types: Vec<u32>,
    /// How many there would be, had none been cut off.
    pub(crate) total: usize,
}

impl Tokens {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.ids.len()
    }
}

/// A token of a text, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes of the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether a word begins with it.
    pub(crate) begins_word: bool,
}

impl Encoder {
    /// Makes a tokenizer of `bytes`, the content of the file `path`.
    pub(crate) fn load(path: &Path, bytes: &[u8], tower: &TextTower) -> Result<Self, EmbedError> {
        let malformed = |reason: String| EmbedError::bad_model(path, format!("not a tokenizer: {reason}"));
        let (tokenizer, added) = caught(malformed, || {
            let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
            // By FromStr, the one way to load one that is compiled in its crate and not anew in this one, for more than a minute.
            let mut tokenizer = Tokenizer::from_str(text).map_err(|error| malformed(error.to_string()))?;
            // What files say of these is for training; the model's own configs hold.
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).map_err(|error| malformed(error.to_string()))?;
            let added = tokenizer.encode_fast("", true).map_err(|error| malformed(error.to_string()))?.len();
            Ok((tokenizer, added))
        })?;
        if tower.max_tokens <= added {
            let reason =
                format!("it adds {added} tokens to every text, and the model takes {} in all", tower.max_tokens);
            return Err(EmbedError::bad_model(path, reason));
        }
        Ok(Self { tokenizer, max_tokens: tower.max_tokens, added, lowercase: tower.lowercase })
    }

    /// The tokens of `prompt` and `text`, at most as many as the network takes.
    pub(crate) fn encode(&self, prompt: &str, text: &str) -> Result<Tokens, String> {
        let mut whole = if prompt.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prompt}{text}")) };
        if self.lowercase {
            whole = Cow::Owned(whole.to_lowercase());
        }
        let encoding = caught(std::convert::identity, || {
            let mut encoding = self.tokenizer.encode_fast(&*whole, false).map_err(|error| error.to_string())?;
            let total = encoding.len() + self.added;
            if total > self.max_tokens {
                encoding.truncate(self.max_tokens - self.added, 0, TruncationDirection::Right);
                encoding.set_overflowing(Vec::new());
            }
            let encoding = self.tokenizer.post_process(encoding, None, true).map_err(|error| error.to_string())?;
            Ok((encoding, total))
        });
        let (encoding, total) = encoding?;
        if encoding.is_empty() {
            return Err("it has no tokens".to_owned());
        }
        Ok(Tokens { ids: encoding.get_ids().to_vec(), types: encoding.get_type_ids().to_vec(), total })
    }

    /// All tokens of `text` in their places, without those that are added.
    pub(crate) fn places(&self, text: &str) -> Result<Vec<Place>, String> {
        let encoding =
            caught(std::convert::identity, || self.tokenizer.encode(text, false).map_err(|error| error.to_string()))?;
        let words = encoding.get_word_ids();
        let places = encoding.get_offsets().iter().enumerate().map(|(index, &(start, end))| Place {
            start,
            end,
            begins_word: index == 0 || words[index] != words[index - 1] || words[index].is_none(),
        });
        Ok(places.collect())
    }

    /// How many tokens of a text, beside those that are added, the network takes.
    pub(crate) fn room(&self) -> usize {
        self.max_tokens - self.added
    }

    /// The highest token there is.
    pub(crate) fn highest(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }
}
