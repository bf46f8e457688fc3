//! Sentences of two languages, and pieces of every size.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::{choose_pieces, sentence_starts, split_sentences, split_words};
use crate::text::Place;

#[test]
fn english_ends_where_it_ends() {
    let text = "Dr. Smith met J. R. Tolkien at 5 p.m. on the U.S. coast. \"Was it 3.14?\" he asked. See Fig. 2 for more! \
                The answer is no. Then, e.g. Paris, etc. came up…";
    assert_eq!(
        split_sentences(text),
        [
            "Dr. Smith met J. R. Tolkien at 5 p.m. on the U.S. coast.",
            "\"Was it 3.14?\" he asked.",
            "See Fig. 2 for more!",
            "The answer is no.",
            "Then, e.g. Paris, etc. came up…",
        ]
    );
}

#[test]
fn chinese_ends_without_spaces() {
    let text = "今天天气很好。我们去公园吧！他说：“好的。”然后走了？\n第二行还是同一段。";
    assert_eq!(
        split_sentences(text),
        ["今天天气很好。", "我们去公园吧！", "他说：“好的。”", "然后走了？", "第二行还是同一段。"]
    );
}

#[test]
fn lines_go_on_and_empty_lines_end() {
    let text = "A title\r\n\r\nA sentence that is\nbroken into lines. Another\none.\n  \t\nThe end";
    assert_eq!(
        split_sentences(text),
        ["A title", "A sentence that is\nbroken into lines.", "Another\none.", "The end"]
    );
}

#[test]
fn nothing_has_no_sentences() {
    assert!(split_sentences("").is_empty());
    assert!(split_sentences(" \n\t \n").is_empty());
    assert_eq!(split_sentences("?!"), ["?!"]);
}

/// Every word is a token; a word of more than three letters is two.
fn places(text: &str) -> Vec<Place> {
    let mut found = Vec::new();
    for word in text.split_whitespace() {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let end = start + word.len();
        if word.len() > 3 {
            found.push(Place { start, end: start + 3, begins_word: true });
            found.push(Place { start: start + 3, end, begins_word: false });
        } else {
            found.push(Place { start, end, begins_word: true });
        }
    }
    found
}

fn pieces(text: &str, max: usize, overlap: usize) -> Vec<&str> {
    let places = places(text);
    let pieces = choose_pieces(&places, &sentence_starts(text), max, overlap);
    pieces.into_iter().map(|piece| &text[places[piece.start].start..places[piece.end - 1].end]).collect()
}

#[test]
fn pieces_end_with_sentences_and_repeat_whole_ones() {
    let text = "A b c. D e f. G h. I j k l m.";
    assert_eq!(pieces(text, 6, 0), ["A b c. D e f.", "G h.", "I j k l m."]);
    assert_eq!(pieces(text, 8, 3), ["A b c. D e f. G h.", "G h. I j k l m."]);
    // With what is repeated the last sentence would not fit.
    assert_eq!(pieces(text, 6, 3), ["A b c. D e f.", "D e f. G h.", "I j k l m."]);
}

#[test]
fn long_sentences_are_cut_between_words() {
    let text = "a bb wordy cc dd eee ff";
    assert_eq!(pieces(text, 3, 0), ["a bb", "wordy cc", "dd eee ff"]);
    assert_eq!(pieces(text, 4, 1), ["a bb wordy", "cc dd eee ff"]);
    // No word begins within the limit: then within one.
    assert_eq!(pieces("wordy", 1, 0), ["wor", "dy"]);
}

#[test]
fn pieces_keep_their_limits_and_lose_nothing() {
    let text = "One two, three fourteen. Five! Six seven eight nine ten eleven twelve thirteen. 十四。 Fifteen sixteen? \
                Seventeen eighteen nineteen twenty twentyone twentytwo. End";
    let places = places(text);
    let starts = sentence_starts(text);
    for max in 1..places.len() + 2 {
        for overlap in 0..max {
            let pieces = choose_pieces(&places, &starts, max, overlap);
            assert_eq!(pieces[0].start, 0);
            assert_eq!(pieces.last().unwrap().end, places.len());
            for piece in &pieces {
                assert!(!piece.is_empty() && piece.len() <= max, "{piece:?} of at most {max}");
            }
            for pair in pieces.windows(2) {
                let repeated = pair[0].end.checked_sub(pair[1].start);
                assert!(repeated.is_some_and(|tokens| tokens <= overlap), "{pair:?} repeating at most {overlap}");
                assert!(pair[0].start < pair[1].start && pair[0].end < pair[1].end, "{pair:?} does not go on");
            }
        }
    }
    assert!(choose_pieces(&[], &[], 3, 1).is_empty());
}

#[test]
fn pieces_of_words_keep_their_punctuation_and_overlap() {
    let text = "One two three. Four five! (Six seven) eight nine ten.";
    assert_eq!(split_words(text, 5, 0).unwrap(), ["One two three. Four five!", "(Six seven) eight nine ten."]);
    assert_eq!(split_words(text, 4, 0).unwrap(), ["One two three.", "Four five!", "(Six seven) eight nine", "ten."]);
    assert_eq!(split_words("a b c d", 2, 1).unwrap(), ["a b", "b c", "c d"]);
    assert_eq!(split_words("今天天气很好。我们去公园。", 6, 0).unwrap(), ["今天天气很好。", "我们去公园。"]);
    assert!(split_words("", 5, 0).unwrap().is_empty());
    assert!(split_words("one", 0, 0).is_err() && split_words("one", 2, 2).is_err());
}
