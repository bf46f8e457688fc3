//! Bounds on a statement, found before it is parsed: no text may exhaust the stack, the memory or the clock.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::source::{Source, too_complex};
use crate::error::{Result, SqlError, SqlState};

/// The longest text, in bytes.
pub const TEXT_LENGTH_MAX: usize = 16 << 20;
/// The deepest nesting of brackets.
pub const NESTING_MAX: usize = 50;
/// The most operators, casts, subscripts and set operations that may hang on each other, each counted by its
/// [`weight`]. Parsing, printing and dropping what they make recurses that deep and fits a stack of 2 MiB. Copying
/// and planning it takes more; see [`PLANNING_STACK_LENGTH_MIN`].
pub const CHAIN_MAX: usize = 5_000;
/// The most queries of WITH.
const WITH_QUERIES_MAX: usize = 2_000;
/// The least stack, in bytes, for a thread that copies or plans statements: copying takes up to 1.5 KiB a level, and
/// up to 6 KiB a level of calls.
pub const PLANNING_STACK_LENGTH_MIN: usize = 64 << 20;
/// The most tokens outside of strings, roughly counted before tokenizing.
const TOKENS_MAX: usize = 3_000_000;

/// Refuses a text that is too long, or would become too many tokens.
pub(crate) fn check_text(text: &str) -> Result<()> {
    if text.len() > TEXT_LENGTH_MAX {
        let message = format!("statement is longer than {TEXT_LENGTH_MAX} bytes");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    if text.len() > TOKENS_MAX {
        let (mut quoted, mut in_word, mut tokens) = (false, false, 0usize);
        for byte in text.bytes() {
            quoted ^= byte == b'\'';
            let word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
            if !quoted && !byte.is_ascii_whitespace() && (!word || !in_word) {
                tokens += 1;
            }
            in_word = word;
        }
        if tokens > TOKENS_MAX {
            return Err(too_complex());
        }
    }
    Ok(())
}

/// What one bracket holds so far: operators since its last comma, and the deepest bracket among them.
#[derive(Clone, Copy, Default)]
struct Level {
    chained: usize,
    deepest: usize,
    /// Since the last word between expressions there was a comparison: another one hangs on it.
    compared: bool,
}

/// Refuses tokens that would parse into a tree too deep.
pub(crate) fn check_depth(source: Source<'_>, tokens: &[TokenWithSpan]) -> Result<()> {
    let is_as = |token: &Token| matches!(token, Token::Word(word) if word.keyword == Keyword::AS);
    let queries = tokens.windows(2).filter(|pair| is_as(&pair[0].token) && pair[1].token == Token::LParen);
    if queries.count() > WITH_QUERIES_MAX {
        return Err(too_complex());
    }
    let mut levels = vec![Level::default()];
    for token in tokens {
        let Some(level) = levels.last_mut() else { return Err(too_complex()) };
        match &token.token {
            Token::LParen | Token::LBracket => {
                if token.token == Token::LBracket {
                    level.chained += HEAVY;
                }
                levels.push(Level::default());
                if levels.len() > NESTING_MAX + 1 {
                    return Err(too_complex());
                }
            }
            Token::RParen | Token::RBracket => {
                let depth = level.chained + level.deepest;
                levels.pop();
                let Some(outer) = levels.last_mut() else { return Err(source.error_near(token)) };
                outer.deepest = outer.deepest.max(depth);
            }
            // One item of a list does not hang on the one before it.
            Token::Comma => *level = Level { chained: 0, deepest: level.deepest.max(level.chained), compared: false },
            Token::Word(word) if word.quote_style.is_some() => {}
            other if is_comparison(other) => {
                level.chained += if level.compared { ARITHMETIC } else { weight(other) };
                level.compared = true;
            }
            other => {
                level.compared &= !separates(other);
                level.chained += weight(other);
            }
        }
        if levels.last().is_some_and(|level| level.chained + level.deepest > CHAIN_MAX) {
            return Err(too_complex());
        }
    }
    Ok(())
}

/// The weight of what becomes a call of a function, or a query.
const HEAVY: usize = 5;
/// The weight of what is typed by its operands: finding the type of a chain takes the square of its length.
const ARITHMETIC: usize = 25;

/// Whether a token compares two operands, whose types have to be found first.
fn is_comparison(token: &Token) -> bool {
    match token {
        Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq | Token::Tilde => true,
        Token::Word(word) => word.keyword == Keyword::BETWEEN,
        _ => false,
    }
}

/// Whether what follows a token is an expression of its own.
fn separates(token: &Token) -> bool {
    let Token::Word(word) = token else { return false };
    !matches!(
        word.keyword,
        Keyword::NoKeyword
            | Keyword::TRUE
            | Keyword::FALSE
            | Keyword::NULL
            | Keyword::IS
            | Keyword::NOT
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
    )
}

/// How much a token adds to the depth of the tree.
fn weight(token: &Token) -> usize {
    match token {
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::Placeholder(_)
        | Token::Period => 0,
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::DoubleColon => ARITHMETIC,
        Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq | Token::Tilde => 1,
        Token::Word(word) => match word.keyword {
            Keyword::AND | Keyword::OR | Keyword::IN => 2,
            Keyword::NOT
            | Keyword::IS
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::NOTNULL => 1,
            Keyword::COLLATE
            | Keyword::AT
            | Keyword::OPERATOR
            | Keyword::OVERLAPS
            | Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::MINUS
            | Keyword::ARRAY => HEAVY,
            _ => 0,
        },
        _ => HEAVY,
    }
}
