//! `jsonb` in keys, in PostgreSQL's order: objects above arrays above booleans above numbers above strings above null,
//! but an empty array that stands alone below all; of two containers the longer is greater, then members decide in the
//! order PostgreSQL keeps them (shorter names first).
//!
//! The text is `jsonb`'s canonical one. It is read here once more, since `numeric` digits must not pass through floats.

use super::{number, put_bytes};

const EMPTY_ARRAY_ALONE: u8 = 1;
const NULL: u8 = 2;
const STRING: u8 = 3;
const NUMBER: u8 = 4;
const FALSE: u8 = 5;
const TRUE: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;
/// Text that is no document sorts above all: it can only come from damage, and must not be lost from an index.
const OTHER: u8 = 9;

/// Deeper than any document that is let in.
const DEPTH_MAX: usize = 600;

pub(super) fn put_json(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    let mut reader = Reader { rest: text };
    if reader.value(out, 0).is_none() || !reader.rest.trim_start().is_empty() {
        out.truncate(start);
        out.push(OTHER);
        put_bytes(text.as_bytes(), out);
    } else if out[start..] == [ARRAY, 0, 0, 0, 0] {
        out.truncate(start);
        out.push(EMPTY_ARRAY_ALONE);
    }
}

/// What of the document has not been read. Every step is `None` where the text is no document.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.rest = self.rest.trim_start();
        match self.rest.as_bytes().first()? {
            b'n' => self.word("null", NULL, out),
            b'f' => self.word("false", FALSE, out),
            b't' => self.word("true", TRUE, out),
            b'"' => {
                out.push(STRING);
                put_bytes(self.string()?.as_bytes(), out);
                Some(())
            }
            b'[' => self.array(out, depth),
            b'{' => self.object(out, depth),
            _ => self.number(out),
        }
    }

    fn word(&mut self, word: &str, mark: u8, out: &mut Vec<u8>) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        out.push(mark);
        Some(())
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        out.push(ARRAY);
        let place = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut count = 0u32;
        self.skip("[")?;
        while !self.ends("]", count > 0)? {
            self.value(out, depth + 1)?;
            count += 1;
        }
        out[place..place + 4].copy_from_slice(&count.to_be_bytes());
        Some(())
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        let mut members = Vec::new();
        self.skip("{")?;
        while !self.ends("}", !members.is_empty())? {
            let name = self.string()?;
            self.skip(":")?;
            let mut value = Vec::new();
            self.value(&mut value, depth + 1)?;
            members.push((name.len() as u32, name, value));
        }
        members.sort();
        out.push(OBJECT);
        out.extend_from_slice(&(members.len() as u32).to_be_bytes());
        for (len, name, value) in members {
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&value);
        }
        Some(())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let of_number = |c: char| matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
        let (text, rest) = self.rest.split_at(self.rest.find(|c| !of_number(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let scale = (fraction.len() as i64).checked_sub(exponent.parse::<i64>().ok()?)?;
        let digits = [whole, fraction].concat();
        let figures = digits.strip_prefix('-').unwrap_or(&digits);
        if figures.is_empty() || !figures.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        out.push(NUMBER);
        number::put_long_decimal(&digits, scale, out);
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        self.skip("\"")?;
        let mut string = String::new();
        loop {
            let (plain, rest) = self.rest.split_at(self.rest.find(['"', '\\'])?);
            string.push_str(plain);
            if let Some(rest) = rest.strip_prefix('"') {
                self.rest = rest;
                return Some(string);
            }
            let mut rest = rest.strip_prefix('\\')?.chars();
            string.push(match rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let (code, after) = rest.as_str().split_at_checked(4)?;
                    rest = after.chars();
                    char::from_u32(u32::from_str_radix(code, 16).ok()?)?
                }
                plain => plain,
            });
            self.rest = rest.as_str();
        }
    }

    fn skip(&mut self, what: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(what)?;
        Some(())
    }

    /// Whether the container ends here; if not, and it has members already, a comma must stand here.
    fn ends(&mut self, end: &str, begun: bool) -> Option<bool> {
        if self.skip(end).is_some() {
            return Some(true);
        }
        if begun {
            self.skip(",")?;
        }
        Some(false)
    }
}
