//! JSON read in place: a value is the slice of text it stands in, so extraction copies nothing and changes nothing.
//!
//! The texts were validated when they became `json` or `jsonb`; on one that is no JSON these functions give nonsense,
//! never a panic.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A JSON value where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Json<'a>(&'a str);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    /// The name `jsonb_typeof` gives it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }
}

/// The end of the value that starts at the beginning of `text`.
fn value_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'"') => string_end(text),
        Some(b'{' | b'[') => {
            let (mut depth, mut at) = (0usize, 0);
            while at < bytes.len() {
                match bytes[at] {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    b'"' => {
                        at += string_end(&text[at..]);
                        continue;
                    }
                    _ => {}
                }
                at += 1;
            }
            bytes.len()
        }
        _ => bytes
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']' | b':') || byte.is_ascii_whitespace())
            .unwrap_or(bytes.len()),
    }
}

fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The string a literal stands for.
fn unescape(literal: &str) -> Cow<'_, str> {
    let body = literal.strip_prefix('"').map_or(literal, |rest| rest.strip_suffix('"').unwrap_or(rest));
    if !body.contains('\\') {
        return Cow::Borrowed(body);
    }
    match serde_json::from_str::<String>(literal) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(body),
    }
}

/// Appends a string as a literal.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl<'a> Json<'a> {
    /// The value that a text is.
    pub(crate) fn new(text: &'a str) -> Self {
        Self(text.trim_matches(|c: char| c.is_ascii_whitespace()))
    }

    /// The text of the value.
    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    /// What the value is.
    pub(crate) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The entries of an object, in the order they are written.
    pub(crate) fn entries(self) -> impl Iterator<Item = (Cow<'a, str>, Json<'a>)> {
        let mut rest = if self.kind() == Kind::Object { self.0[1..].trim_start() } else { "" };
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
            if !rest.starts_with('"') {
                return None;
            }
            let end = string_end(rest);
            let key = unescape(&rest[..end]);
            rest = rest[end..].trim_start_matches(|c: char| c == ':' || c.is_ascii_whitespace());
            let end = value_end(rest);
            let value = Json(&rest[..end]);
            rest = &rest[end..];
            Some((key, value))
        })
    }

    /// The elements of an array.
    pub(crate) fn elements(self) -> impl Iterator<Item = Json<'a>> {
        let mut rest = if self.kind() == Kind::Array { &self.0[1..] } else { "" };
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
            if rest.is_empty() || rest.starts_with(']') {
                return None;
            }
            let end = value_end(rest).max(1);
            let value = Json(&rest[..end]);
            rest = &rest[end..];
            Some(value)
        })
    }

    /// The last value of a key of an object.
    pub(crate) fn field(self, name: &str) -> Option<Json<'a>> {
        self.entries().filter(|(key, _)| key == name).map(|(_, value)| value).last()
    }

    /// An element of an array, from the end if negative.
    pub(crate) fn element(self, place: i64) -> Option<Json<'a>> {
        if place >= 0 {
            return self.elements().nth(usize::try_from(place).ok()?);
        }
        let all: Vec<_> = self.elements().collect();
        all.len().checked_sub(usize::try_from(place.unsigned_abs()).ok()?).and_then(|at| all.get(at).copied())
    }

    /// What a path of keys and places leads to.
    pub(crate) fn path<'p>(self, steps: impl IntoIterator<Item = &'p str>) -> Option<Json<'a>> {
        steps.into_iter().try_fold(self, |value, step| match value.kind() {
            Kind::Object => value.field(step),
            Kind::Array => value.element(step.trim().parse().ok()?),
            _ => None,
        })
    }

    /// The value as text: a string without its quotes, JSON's null as none.
    pub(crate) fn as_text(self) -> Option<String> {
        match self.kind() {
            Kind::Null => None,
            Kind::String => Some(unescape(self.0).into_owned()),
            _ => Some(self.0.to_owned()),
        }
    }

    /// The string a string value is.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| unescape(self.0))
    }

    /// Whether two values are equal: numbers by what they are worth, objects without regard to order.
    pub(crate) fn equals(self, other: Json<'_>) -> bool {
        match (self.kind(), other.kind()) {
            (Kind::Object, Kind::Object) => {
                self.entries().count() == other.entries().count()
                    && self.entries().all(|(key, value)| other.field(&key).is_some_and(|found| value.equals(found)))
            }
            (Kind::Array, Kind::Array) => {
                self.elements().count() == other.elements().count()
                    && self.elements().zip(other.elements()).all(|(a, b)| a.equals(b))
            }
            (Kind::String, Kind::String) => unescape(self.0) == unescape(other.0),
            (Kind::Number, Kind::Number) => {
                self.0 == other.0
                    || matches!(
                        (self.0.parse::<bigdecimal::BigDecimal>(), other.0.parse::<bigdecimal::BigDecimal>()),
                        (Ok(a), Ok(b)) if a == b
                    )
            }
            (a, b) => a == b && self.0 == other.0,
        }
    }

    /// `@>`: whether every part of `other` is found at its place in this value.
    pub(crate) fn contains(self, other: Json<'_>) -> bool {
        self.contains_at(other, true)
    }

    fn contains_at(self, other: Json<'_>, top: bool) -> bool {
        match (self.kind(), other.kind()) {
            (Kind::Object, Kind::Object) => other
                .entries()
                .all(|(key, wanted)| self.field(&key).is_some_and(|value| value.contains_at(wanted, false))),
            (Kind::Array, Kind::Array) => {
                other.elements().all(|wanted| self.elements().any(|value| value.contains_at(wanted, false)))
            }
            // An array at the top contains a bare scalar.
            (Kind::Array, kind) if top && !matches!(kind, Kind::Object | Kind::Array) => {
                self.elements().any(|value| value.equals(other))
            }
            _ => self.equals(other),
        }
    }
}
