//! Where texts can be cut: at the ends of sentences, between words. Pure functions over text and the places of tokens.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::EmbedError;
use crate::text::Place;

/// The sentences of a text, in English, Chinese and other languages that end sentences by punctuation, without the white space around
/// them.
///
/// Sentences end as Unicode has it (UAX #29), and at empty lines. The end of a line alone ends nothing, since texts are broken into lines
/// of a width. A full stop after an abbreviation that is usual in English, or after an initial, ends nothing either.
pub fn split_sentences(text: &str) -> Vec<&str> {
    sentences(text).into_iter().map(|range| &text[range]).collect()
}

/// Where in the text, in bytes, its sentences begin.
pub(crate) fn sentence_starts(text: &str) -> Vec<usize> {
    sentences(text).into_iter().map(|range| range.start).collect()
}

fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for paragraph in paragraphs(text) {
        // With spaces for ends of lines, which Unicode takes for ends of paragraphs. Both are one byte long.
        let flat = text[paragraph.clone()].replace(['\n', '\r'], " ");
        let mut start = 0;
        let mut bounds = flat.split_sentence_bound_indices().map(|(at, piece)| at + piece.len()).peekable();
        while let Some(end) = bounds.next() {
            let next = bounds.peek().map_or("", |until| &flat[end..*until]);
            if !next.is_empty() && goes_on(&flat[start..end], next) {
                continue;
            }
            let sentence = &flat[start..end];
            let from = paragraph.start + start + (sentence.len() - sentence.trim_start().len());
            let to = from + sentence.trim().len();
            if from < to {
                found.push(from..to);
            }
            start = end;
        }
    }
    found
}

/// The parts of a text between empty lines.
fn paragraphs(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            found.push(start..at);
            start = at + line.len();
        }
        at += line.len();
    }
    found.push(start..at);
    found
}

/// Cuts a text into pieces of at most `max_words` words, as [`Model::split_text`](crate::Model::split_text) does by the tokens of a model.
/// Words are Unicode's (UAX #29): a Chinese character is one, punctuation none. Each piece repeats up to `overlap` words of the one before it.
///
/// # Errors
///
/// If `max_words` is 0, or if `overlap` is not below it.
pub fn split_words(text: &str, max_words: usize, overlap: usize) -> Result<Vec<&str>, EmbedError> {
    if max_words == 0 || overlap >= max_words {
        return Err(EmbedError::Argument(format!(
            "a piece of {max_words} words that repeats {overlap}: it must have 1 or more, and repeat fewer"
        )));
    }
    let places: Vec<Place> = text
        .unicode_word_indices()
        .map(|(start, word)| Place { start, end: start + word.len(), begins_word: true })
        .collect();
    let starts = sentence_starts(text);
    let pieces = choose_pieces(&places, &starts, max_words, overlap);
    let cut = |piece: &Range<usize>| {
        // With the punctuation before the next word, and that before the first one.
        let end = places.get(piece.end).map_or(text.len(), |next| {
            let sentence = starts.iter().copied().rfind(|start| *start <= next.start);
            sentence.filter(|start| *start >= places[piece.end - 1].end).unwrap_or(next.start)
        });
        let start = match piece.start {
            0 => 0,
            at => starts
                .iter()
                .copied()
                .find(|start| (places[at - 1].end..=places[at].start).contains(start))
                .unwrap_or(places[at].start),
        };
        text[start..end].trim()
    };
    Ok(pieces.iter().map(cut).collect())
}

/// After these a full stop does not end a sentence.
const BEFORE_NAMES: [&str; 17] =
    ["mr", "mrs", "ms", "dr", "prof", "st", "mt", "rev", "gen", "col", "capt", "lt", "sgt", "vs", "cf", "al", "approx"];
/// After these it does not where a number follows.
const BEFORE_NUMBERS: [&str; 14] =
    ["no", "nos", "fig", "figs", "eq", "eqs", "sec", "ch", "vol", "p", "pp", "art", "op", "ver"];

/// Whether the sentence that `piece` is the beginning of goes on with `next`, although its punctuation could end one.
fn goes_on(piece: &str, next: &str) -> bool {
    let (piece, next) = (piece.trim_end(), next.trim_start());
    // `"Was it?" he asked.`
    if piece.ends_with(['"', '\'', '”', '’']) {
        return next.starts_with(char::is_lowercase);
    }
    let Some(before) = piece.strip_suffix('.') else { return false };
    let word = before.rsplit(|letter: char| letter.is_whitespace() || "([{\"'“‘".contains(letter)).next().unwrap_or("");
    let lower = word.to_lowercase();
    // `J. R. R.`, but `I` is a word.
    let initial = word != "I" && word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    // `e.g`, `U.S`, `Ph.D`.
    let dotted = word.contains('.')
        && word.split('.').all(|part| (1..=2).contains(&part.len()) && part.chars().all(char::is_alphabetic));
    initial
        || dotted
        || BEFORE_NAMES.contains(&lower.as_str())
        || (BEFORE_NUMBERS.contains(&lower.as_str()) && next.starts_with(|first: char| first.is_ascii_digit()))
}

/// Chooses pieces of at most `max` of the tokens at `places`, as ranges of their numbers; `starts` are the bytes at which sentences
/// begin. A piece ends with a sentence if one ends within it, else before a word; the next begins up to `overlap` tokens before its end,
/// with a sentence or else a word.
pub(crate) fn choose_pieces(places: &[Place], starts: &[usize], max: usize, overlap: usize) -> Vec<Range<usize>> {
    let count = places.len();
    let mut sentences: Vec<usize> =
        starts.iter().map(|start| places.partition_point(|place| place.start < *start)).collect();
    sentences.push(count);
    // The last end of a sentence that a piece from `from` can reach, beyond `done`, where the one before it ended.
    let sentence_end =
        |from: usize, done: usize| sentences.iter().copied().rfind(|end| *end > done && *end <= from + max);
    let (mut pieces, mut from, mut done) = (Vec::new(), 0, 0);
    while done < count {
        let word_end = || {
            let limit = (from + max).min(count);
            (done + 1..=limit).rfind(|end| *end == count || places[*end].begins_word).unwrap_or(limit)
        };
        let end = sentence_end(from, done).unwrap_or_else(word_end);
        pieces.push(from..end);
        done = end;
        if done == count {
            break;
        }
        let earliest = (from + 1).max(end.saturating_sub(overlap));
        let mut candidates: Vec<usize> =
            sentences.iter().copied().filter(|start| (earliest..=end).contains(start)).collect();
        if candidates.is_empty() {
            candidates.extend((earliest..=end).filter(|start| places[*start].begins_word));
        }
        candidates.push(end);
        // What is repeated must leave room for a whole sentence more, if one begins here that is so short.
        let leaves_room = |start: &usize| sentences.contains(&end) && sentence_end(*start, end).is_some();
        from = candidates.iter().copied().find(leaves_room).unwrap_or(candidates[0]);
    }
    pieces
}

#[cfg(test)]
mod tests;
