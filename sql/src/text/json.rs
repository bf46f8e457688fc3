//! JSON: checking a document, and the canonical text `jsonb` has.

use super::{hex_digit, number, shortened};
use crate::error::{Result, SqlError, SqlState};

/// How deep a document may nest; the reader recurses once a level.
const MAX_DEPTH: usize = 512;
/// The longest canonical text.
const MAX_CANONICAL_BYTES: usize = 256 << 20;

/// One JSON value. Objects are in `jsonb` order: shorter keys first, then by bytes, each key once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As `numeric` prints it.
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Checks that `text` is one JSON document.
pub(crate) fn validate(text: &str) -> Result<()> {
    let mut reader = Reader { text, at: 0, start: 0, build: false };
    reader.document()?;
    Ok(())
}

/// Reads one JSON document with the rules of `jsonb`.
pub(crate) fn parse(text: &str) -> Result<Json> {
    Reader { text, at: 0, start: 0, build: true }.document()
}

/// The text `jsonb` prints for a document.
pub(crate) fn canonical(text: &str) -> Result<String> {
    let json = parse(text)?;
    let mut out = Vec::with_capacity(text.len());
    write(&json, &mut out)?;
    // Only whole strings and ASCII were appended.
    String::from_utf8(out).map_err(|_| SqlError::internal("canonical JSON is not UTF-8"))
}

fn write(json: &Json, out: &mut Vec<u8>) -> Result<()> {
    if out.len() > MAX_CANONICAL_BYTES {
        return Err(SqlError::new(
            SqlState::ProgramLimitExceeded,
            format!("jsonb value exceeds the maximum of {MAX_CANONICAL_BYTES} bytes"),
        ));
    }
    match json {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(true) => out.extend_from_slice(b"true"),
        Json::Bool(false) => out.extend_from_slice(b"false"),
        Json::Number(text) => out.extend_from_slice(text.as_bytes()),
        Json::String(text) => write_string(text, out),
        Json::Array(elements) => {
            out.push(b'[');
            for (i, element) in elements.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                write(element, out)?;
            }
            out.push(b']');
        }
        Json::Object(pairs) => {
            out.push(b'{');
            for (i, (key, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                write_string(key, out);
                out.extend_from_slice(b": ");
                write(value, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends a JSON string with the escapes PostgreSQL uses.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A recursive-descent reader. `start` is where the current token begins, for error messages.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    start: usize,
    /// Whether values are kept; a `json` column only checks, and lets `\u0000` pass.
    build: bool,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Json> {
        let value = self.value(0, "Expected JSON value")?;
        self.skip_spaces();
        if self.at < self.text.len() { Err(self.unexpected("Expected end of input")) } else { Ok(value) }
    }

    fn skip_spaces(&mut self) {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.start = self.at;
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn value(&mut self, depth: usize, expected: &str) -> Result<Json> {
        self.skip_spaces();
        if depth > MAX_DEPTH {
            return Err(SqlError::new(SqlState::StatementTooComplex, "stack depth limit exceeded")
                .with_hint(format!("JSON documents may nest {MAX_DEPTH} levels deep.")));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b']' | b'}' | b',' | b':') | None => Err(self.unexpected(expected)),
            Some(_) => {
                let word = self.word();
                let value = match word {
                    "null" => Json::Null,
                    "true" => Json::Bool(true),
                    "false" => Json::Bool(false),
                    _ => {
                        let detail = format!("Token \"{}\" is invalid.", shortened(word));
                        return Err(self.invalid(detail, self.at + word.len()));
                    }
                };
                self.at += word.len();
                Ok(value)
            }
        }
    }

    /// The letters, digits and non-ASCII characters at the current place, or the one character there.
    fn word(&self) -> &str {
        let rest = &self.text[self.at..];
        let length = rest
            .bytes()
            .take_while(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80)
            .count()
            .max(rest.chars().next().map_or(0, char::len_utf8));
        &rest[..length]
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut pairs: Vec<(String, Json)> = Vec::new();
        self.skip_spaces();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(pairs));
        }
        let mut expected = "Expected string or \"}\"";
        loop {
            self.skip_spaces();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected(expected));
            }
            expected = "Expected string";
            let key = self.string()?;
            self.skip_spaces();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("Expected \":\""));
            }
            self.at += 1;
            let value = self.value(depth + 1, "Expected JSON value")?;
            if self.build {
                pairs.push((key, value));
            }
            self.skip_spaces();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("Expected \",\" or \"}\"")),
            }
        }
        self.at += 1;
        // A stable sort keeps equal keys in the order they came; the last of them wins.
        pairs.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        let mut unique: Vec<(String, Json)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        Ok(Json::Object(unique))
    }

    fn array(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_spaces();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(elements));
        }
        loop {
            let element = self.value(depth + 1, "Expected JSON value")?;
            if self.build {
                elements.push(element);
            }
            self.skip_spaces();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("Expected \",\" or \"]\"")),
            }
        }
        self.at += 1;
        Ok(Json::Array(elements))
    }

    fn number(&mut self) -> Result<Json> {
        let bytes = self.text.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let start = self.at;
        let whole = start + usize::from(bytes[start] == b'-');
        let mut end = if bytes.get(whole) == Some(&b'0') { whole + 1 } else { digits(whole) };
        let mut valid = end > whole;
        if bytes.get(end) == Some(&b'.') {
            let point = end + 1;
            end = digits(point);
            valid &= end > point;
        }
        if valid && matches!(bytes.get(end), Some(b'e' | b'E')) {
            let first = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            end = digits(first);
            valid &= end > first;
        }
        let tail = self.text[end..]
            .bytes()
            .take_while(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80)
            .count();
        if !valid || tail > 0 {
            let token = &self.text[start..end + tail];
            return Err(self.invalid(format!("Token \"{}\" is invalid.", shortened(token)), end + tail));
        }
        self.at = end;
        if !self.build {
            return Ok(Json::Null);
        }
        let mut out = Vec::new();
        number::write_json_number(&self.text[start..end], &mut out)?;
        Ok(Json::Number(String::from_utf8(out).unwrap_or_default()))
    }

    fn string(&mut self) -> Result<String> {
        let bytes = self.text.as_bytes();
        self.start = self.at;
        let mut at = self.at + 1;
        let mut out = String::new();
        loop {
            let plain = at;
            while bytes.get(at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                at += 1;
            }
            if self.build {
                out.push_str(&self.text[plain..at]);
            }
            match bytes.get(at) {
                None => {
                    let token = &self.text[self.start..];
                    return Err(self.invalid(format!("Token \"{}\" is invalid.", shortened(token)), at));
                }
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    let (character, length) = self.escape(at)?;
                    if self.build {
                        out.push(character);
                    }
                    at += length;
                }
                Some(control) => {
                    let detail = format!("Character with value 0x{control:02x} must be escaped.");
                    return Err(self.invalid(detail, at));
                }
            }
        }
    }

    /// The character an escape at `at` stands for, and how many bytes the escape has.
    fn escape(&self, at: usize) -> Result<(char, usize)> {
        let bytes = self.text.as_bytes();
        let character = match bytes.get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(at),
            None => {
                let token = &self.text[self.start..];
                return Err(self.invalid(format!("Token \"{}\" is invalid.", shortened(token)), at + 1));
            }
            Some(_) => {
                let found: String = self.text[at + 1..].chars().take(1).collect();
                let end = at + 1 + found.len();
                return Err(self.invalid(format!("Escape sequence \"\\{found}\" is invalid."), end));
            }
        };
        Ok((character, 2))
    }

    fn unicode_escape(&self, at: usize) -> Result<(char, usize)> {
        let unit = |at: usize| -> Option<u32> {
            let digits = self.text.as_bytes().get(at..at + 4)?;
            digits.iter().try_fold(0, |value, &digit| Some(value * 16 + u32::from(hex_digit(digit)?)))
        };
        let Some(first) = unit(at + 2) else {
            let end = self.text.floor_char_boundary((at + 6).min(self.text.len()));
            return Err(self.invalid("\"\\u\" must be followed by four hexadecimal digits.".to_owned(), end));
        };
        if !self.build {
            // `json` keeps escapes as they are; only surrogates must pair up, and they are checked when used.
            return Ok(('?', 6));
        }
        let untranslatable = |detail: &str| {
            SqlError::new(SqlState::UntranslatableCharacter, "unsupported Unicode escape sequence")
                .with_detail(detail)
                .with_context(self.context(at + 6))
        };
        match first {
            0 => Err(untranslatable("\\u0000 cannot be converted to text.")),
            0xd800..=0xdbff => {
                match self.text.as_bytes().get(at + 6..at + 8) {
                    Some(b"\\u") => match unit(at + 8) {
                        Some(second @ 0xdc00..=0xdfff) => {
                            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                            Ok((char::from_u32(code).unwrap_or('\u{fffd}'), 12))
                        }
                        Some(0xd800..=0xdbff) => Err(self
                            .invalid("Unicode high surrogate must not follow a high surrogate.".to_owned(), at + 12)),
                        _ => Err(self.lone_high_surrogate(at)),
                    },
                    _ => Err(self.lone_high_surrogate(at)),
                }
            }
            0xdc00..=0xdfff => Err(self.lone_low_surrogate(at)),
            code => Ok((char::from_u32(code).unwrap_or('\u{fffd}'), 6)),
        }
    }

    fn lone_high_surrogate(&self, at: usize) -> SqlError {
        // The fault shows in the character behind the escape.
        let next = self.text[at + 6..].chars().next().map_or(0, char::len_utf8);
        self.invalid("Unicode low surrogate must follow a high surrogate.".to_owned(), at + 6 + next)
    }

    fn lone_low_surrogate(&self, at: usize) -> SqlError {
        self.invalid("Unicode low surrogate must follow a high surrogate.".to_owned(), at + 6)
    }

    fn unexpected(&self, expected: &str) -> SqlError {
        if self.at >= self.text.len() {
            return self.invalid("The input string ended unexpectedly.".to_owned(), self.at);
        }
        let token = self.token();
        // A word that is no JSON at all is a fault of its own, wherever it stands.
        let is_word = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii());
        if is_word && !matches!(token, "true" | "false" | "null") {
            return self.invalid(format!("Token \"{}\" is invalid.", shortened(token)), self.at + token.len());
        }
        self.invalid(format!("{expected}, but found \"{}\".", shortened(token)), self.at + token.len())
    }

    /// The token at the current place, for a message.
    fn token(&self) -> &str {
        let rest = &self.text[self.at..];
        if rest.starts_with('"') {
            let mut escaped = false;
            for (i, byte) in rest.bytes().enumerate().skip(1) {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => return &rest[..=i],
                    _ => {}
                }
            }
            return rest;
        }
        self.word()
    }

    fn invalid(&self, detail: String, end: usize) -> SqlError {
        SqlError::new(SqlState::InvalidTextRepresentation, "invalid input syntax for type json")
            .with_detail(detail)
            .with_context(self.context(end))
    }

    /// The line of the document an error is in, up to the error.
    fn context(&self, end: usize) -> String {
        let end = self.text.floor_char_boundary(end.min(self.text.len()));
        let before = &self.text[..end];
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let cut = self.text.ceil_char_boundary(start.max(end.saturating_sub(49)));
        // Three dots would save nothing over three characters.
        let cut = if cut - start <= 3 { start } else { cut };
        let prefix = if cut > start { "..." } else { "" };
        let suffix = if self.text[end..].is_empty() || self.text[end..].starts_with('\n') { "" } else { "..." };
        format!("JSON data, line {line}: {prefix}{}{suffix}", &self.text[cut..end])
    }
}
