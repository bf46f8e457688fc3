//! Text into tokens, mended where the tokenizer differs from PostgreSQL's rules for operators.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::dialect::BoundedDialect;
use super::source::Source;
use crate::error::Result;

/// The longest name, in bytes; longer ones are cut, as PostgreSQL does.
const NAME_LENGTH_MAX: usize = 63;

/// The tokens of a text, without white space and comments.
pub(crate) fn tokenize(source: Source<'_>) -> Result<Vec<TokenWithSpan>> {
    let dialect = BoundedDialect::new(0);
    let raw = Tokenizer::new(&dialect, source.text)
        .tokenize_with_location()
        .map_err(|error| source.error_in_token(&error.message, error.location))?;
    let mut tokens: Vec<TokenWithSpan> = Vec::with_capacity(raw.len() / 2 + 1);
    let mut newline_before = false;
    for mut token in raw {
        match &mut token.token {
            Token::Whitespace(space) => {
                newline_before |= matches!(space, Whitespace::Newline | Whitespace::SingleLineComment { .. });
                continue;
            }
            // Strings on successive lines are one string.
            Token::SingleQuotedString(more) if newline_before => {
                if let Some(TokenWithSpan { token: Token::SingleQuotedString(text), span }) = tokens.last_mut() {
                    text.push_str(more);
                    span.end = token.span.end;
                    continue;
                }
            }
            Token::Word(word) if word.value.len() > NAME_LENGTH_MAX => {
                let end = (0..=NAME_LENGTH_MAX).rev().find(|&end| word.value.is_char_boundary(end)).unwrap_or(0);
                word.value.truncate(end);
            }
            Token::CustomBinaryOperator(name) => {
                let kept = operator_length(name);
                if kept < name.len() {
                    split_operator(&name.clone(), kept, token.span, &mut tokens);
                    newline_before = false;
                    continue;
                }
            }
            Token::Gt => join_taxicab(&mut tokens, &mut token),
            Token::Char(_) | Token::LBrace | Token::RBrace | Token::Backslash => return Err(source.error_near(&token)),
            _ => {}
        }
        newline_before = false;
        tokens.push(token);
    }
    name_operators(&mut tokens);
    drop_only(&mut tokens);
    check_from(source, &tokens)?;
    Ok(tokens)
}

/// Words that are reserved and begin neither a table nor an expression: the parser would take them for a table's name.
const NEVER_AFTER_FROM: &[Keyword] = &[
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::ORDER,
    Keyword::HAVING,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FETCH,
    Keyword::FOR,
    Keyword::WINDOW,
    Keyword::UNION,
    Keyword::INTERSECT,
    Keyword::EXCEPT,
    Keyword::FROM,
    Keyword::INTO,
    Keyword::ON,
    Keyword::USING,
    Keyword::AND,
    Keyword::OR,
];

/// Refuses FROM and JOIN without anything after them.
fn check_from(source: Source<'_>, tokens: &[TokenWithSpan]) -> Result<()> {
    let keyword = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let wrong = tokens.windows(2).find(|pair| {
        matches!(keyword(&pair[0]), Keyword::FROM | Keyword::JOIN) && NEVER_AFTER_FROM.contains(&keyword(&pair[1]))
    });
    wrong.map_or(Ok(()), |pair| Err(source.error_near(&pair[1])))
}

/// How much of a run of operator characters is one operator: it may end in `+` or `-` only if it holds one of
/// `~ ! @ # % ^ & | ? \``.
fn operator_length(name: &str) -> usize {
    if name.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']) {
        return name.len();
    }
    name.trim_end_matches(['+', '-']).len().max(1)
}

fn split_operator(name: &str, kept: usize, span: Span, tokens: &mut Vec<TokenWithSpan>) {
    let at = |offset: usize| Location { line: span.start.line, column: span.start.column + offset as u64 };
    let first = operator_token(&name[..kept]);
    tokens.push(TokenWithSpan { token: first, span: Span { start: at(0), end: at(kept) } });
    for (offset, sign) in name.char_indices().skip(kept) {
        let token = if sign == '+' { Token::Plus } else { Token::Minus };
        tokens.push(TokenWithSpan { token, span: Span { start: at(offset), end: at(offset + 1) } });
    }
}

/// `<+>` arrives as three tokens.
fn join_taxicab(tokens: &mut Vec<TokenWithSpan>, last: &mut TokenWithSpan) {
    if let [.., first, second] = tokens.as_slice()
        && first.token == Token::Lt
        && second.token == Token::Plus
        && first.span.end == second.span.start
        && second.span.end == last.span.start
    {
        let start = first.span.start;
        tokens.truncate(tokens.len() - 2);
        last.token = Token::CustomBinaryOperator("<+>".into());
        last.span.start = start;
    }
}

/// The token that an operator's name has where the tokenizer knows it.
fn operator_token(name: &str) -> Token {
    match name {
        "=" => Token::Eq,
        "<" => Token::Lt,
        ">" => Token::Gt,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "<>" | "!=" => Token::Neq,
        "<=>" => Token::Spaceship,
        "<->" => Token::TwoWayArrow,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        "*" => Token::Mul,
        "/" => Token::Div,
        "<<" => Token::ShiftLeft,
        ">>" => Token::ShiftRight,
        "~" => Token::Tilde,
        "!~" => Token::ExclamationMarkTilde,
        "~*" => Token::TildeAsterisk,
        "!~*" => Token::ExclamationMarkTildeAsterisk,
        "~~" => Token::DoubleTilde,
        "!~~" => Token::ExclamationMarkDoubleTilde,
        "~~*" => Token::DoubleTildeAsterisk,
        "!~~*" => Token::ExclamationMarkDoubleTildeAsterisk,
        other => Token::CustomBinaryOperator(other.to_owned()),
    }
}

/// ONLY before a table says that tables inheriting from it are left out; there are none. The parser would take the
/// word for the table's name.
fn drop_only(tokens: &mut Vec<TokenWithSpan>) {
    let keyword_at = |tokens: &[TokenWithSpan], n: usize| match tokens.get(n).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let is_only = |tokens: &[TokenWithSpan], n: usize| {
        keyword_at(tokens, n) == Keyword::ONLY
            && n > 0
            && matches!(keyword_at(tokens, n - 1), Keyword::FROM | Keyword::JOIN)
            && matches!(tokens.get(n + 1).map(|token| &token.token), Some(Token::Word(_) | Token::LParen))
    };
    if (0..tokens.len()).any(|n| is_only(tokens, n)) {
        let kept: Vec<bool> = (0..tokens.len()).map(|n| !is_only(tokens, n)).collect();
        let mut kept = kept.into_iter();
        tokens.retain(|_| kept.next().unwrap_or(true));
    }
}

/// `OPERATOR(pg_catalog.=) ANY` becomes `= ANY`: the parser takes ANY only after an operator of its own. Other uses
/// of OPERATOR stay, since their precedence is another one.
fn name_operators(tokens: &mut Vec<TokenWithSpan>) {
    let is_word = |token: &Token, keyword: Keyword| matches!(token, Token::Word(word) if word.keyword == keyword);
    let mut start = 0;
    while let Some(found) = tokens[start..].iter().position(|token| is_word(&token.token, Keyword::OPERATOR)) {
        let at = start + found;
        start = at + 1;
        let Some(Token::LParen) = tokens.get(at + 1).map(|token| &token.token) else { continue };
        let Some(close) = tokens[at..].iter().take(8).position(|token| token.token == Token::RParen) else { continue };
        let close = at + close;
        let quantified = tokens.get(close + 1).is_some_and(|token| {
            [Keyword::ANY, Keyword::ALL, Keyword::SOME].iter().any(|keyword| is_word(&token.token, *keyword))
        });
        if quantified && close > at + 2 {
            let mut operator = tokens[close - 1].clone();
            operator.span = Span { start: tokens[at].span.start, end: tokens[close].span.end };
            tokens.splice(at..=close, [operator]);
        }
    }
}
