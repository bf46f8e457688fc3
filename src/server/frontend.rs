//! What a client says: the body of each message, decoded without trust in any count or length.
//!
//! pgwire has decoders too; they panic on short bodies and mend bad UTF-8 silently, so only its message types are used
//! (docs/decisions/040-own-framing.md).

use bytes::Bytes;
use lodedb_sql::error::{Result, SqlError, SqlState};
use smallvec::SmallVec;

use super::wire::violation;

#[cfg(test)]
mod tests;

/// Text or binary, for each of a row of values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Formats {
    /// The same for all: whether binary.
    All(bool),
    /// Each its own: whether binary.
    Each(SmallVec<[bool; 16]>),
}

impl Formats {
    /// Whether value `index` is binary.
    pub(super) fn is_binary(&self, index: usize) -> bool {
        match self {
            Self::All(binary) => *binary,
            Self::Each(each) => each.get(index).copied().unwrap_or(false),
        }
    }
    /// How many values this speaks of, if it says so.
    pub(super) fn count(&self) -> Option<usize> {
        match self {
            Self::All(_) => None,
            Self::Each(each) => Some(each.len()),
        }
    }
}

/// Parse: a statement to make ready.
#[derive(Debug, PartialEq)]
pub(super) struct Parse<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) types: SmallVec<[u32; 16]>,
}

/// Bind: values for a statement's parameters.
#[derive(Debug, PartialEq)]
pub(super) struct Bind<'a> {
    pub(super) portal: &'a str,
    pub(super) statement: &'a str,
    pub(super) parameter_formats: Formats,
    pub(super) parameters: SmallVec<[Option<&'a [u8]>; 16]>,
    pub(super) result_formats: Formats,
}

/// What Describe and Close speak of.
#[derive(Debug, PartialEq)]
pub(super) enum Target<'a> {
    Statement(&'a str),
    Portal(&'a str),
}

/// Execute: run a portal.
#[derive(Debug, PartialEq)]
pub(super) struct Execute<'a> {
    pub(super) portal: &'a str,
    /// At most this many rows now; `None` for all.
    pub(super) rows_max: Option<usize>,
}

/// The text of a Query, or the message of a CopyFail.
pub(super) fn decode_text(body: &[u8]) -> Result<&str> {
    let mut reader = Reader(body);
    let text = reader.text()?;
    reader.end()?;
    Ok(text)
}

pub(super) fn decode_parse(body: &[u8]) -> Result<Parse<'_>> {
    let mut reader = Reader(body);
    let (name, text) = (reader.text()?, reader.text()?);
    let count = reader.count(4)?;
    let types = (0..count).map(|_| reader.u32()).collect::<Result<_>>()?;
    reader.end()?;
    Ok(Parse { name, text, types })
}

pub(super) fn decode_bind(body: &[u8]) -> Result<Bind<'_>> {
    let mut reader = Reader(body);
    let (portal, statement) = (reader.text()?, reader.text()?);
    let parameter_formats = reader.formats()?;
    let count = reader.count(4)?;
    let parameters = (0..count).map(|_| reader.value()).collect::<Result<SmallVec<_>>>()?;
    if let Some(formats) = parameter_formats.count()
        && formats != parameters.len()
    {
        let count = parameters.len();
        return Err(violation(format!("bind message has {formats} parameter formats but {count} parameters")));
    }
    let result_formats = reader.formats()?;
    reader.end()?;
    Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
}

/// Describe and Close.
pub(super) fn decode_target<'a>(what: &str, body: &'a [u8]) -> Result<Target<'a>> {
    let mut reader = Reader(body);
    let kind = reader.take(1)?[0];
    let name = reader.text()?;
    reader.end()?;
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        _ => Err(violation(format!("invalid {what} message subtype {kind}"))),
    }
}

pub(super) fn decode_execute(body: &[u8]) -> Result<Execute<'_>> {
    let mut reader = Reader(body);
    let portal = reader.text()?;
    let rows_max = reader.u32()? as i32;
    reader.end()?;
    Ok(Execute { portal, rows_max: usize::try_from(rows_max).ok().filter(|&rows| rows > 0) })
}

/// Flush, Sync, Terminate and CopyDone have no body.
pub(super) fn decode_empty(body: &[u8]) -> Result<()> {
    Reader(body).end()
}

/// The names and values of a start-up packet, behind its protocol number.
pub(super) fn decode_startup(body: &[u8]) -> Result<Vec<(String, String)>> {
    let mut reader = Reader(body);
    let mut parameters = Vec::new();
    loop {
        let name = reader.text()?;
        if name.is_empty() {
            break;
        }
        parameters.push((name.to_owned(), reader.text()?.to_owned()));
    }
    if !reader.0.is_empty() {
        return Err(violation("invalid startup packet layout: expected terminator as last byte"));
    }
    Ok(parameters)
}

/// The first message of a client that shows who it is: the mechanism, and what it says.
pub(super) fn decode_sasl(body: &[u8]) -> Result<(&str, &[u8])> {
    let mut reader = Reader(body);
    let mechanism = reader.text()?;
    let said = reader.value()?.ok_or_else(|| violation("the first message of the client is missing"))?;
    reader.end()?;
    Ok((mechanism, said))
}

/// The process number and the key of a CancelRequest.
pub(super) fn decode_cancel(body: Bytes) -> Result<(i32, Bytes)> {
    if !(8..=260).contains(&body.len()) {
        return Err(violation("invalid length of cancel request packet"));
    }
    let mut reader = Reader(&body);
    let pid = reader.u32()? as i32;
    Ok((pid, body.slice(4..)))
}

/// `22021`: not UTF-8.
pub(super) fn check_text(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let bad = &bytes[at..bytes.len().min(at + error.error_len().unwrap_or(4))];
        not_in_repertoire(bad)
    })?;
    if text.as_bytes().contains(&0) { Err(not_in_repertoire(&[0])) } else { Ok(text) }
}

fn not_in_repertoire(bytes: &[u8]) -> SqlError {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    SqlError::new(
        SqlState::CharacterNotInRepertoire,
        format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" ")),
    )
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or_else(|| violation("insufficient data left in message"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn u16(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
    /// A count of things that take at least `bytes_min` each, of which there cannot be more than the message holds.
    fn count(&mut self, bytes_min: usize) -> Result<usize> {
        let count = usize::from(self.u16()?);
        if count * bytes_min > self.0.len() {
            return Err(violation("insufficient data left in message"));
        }
        Ok(count)
    }
    fn text(&mut self) -> Result<&'a str> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or_else(|| violation("invalid string in message"))?;
        let bytes = self.take(end)?;
        self.take(1)?;
        check_text(bytes)
    }
    fn formats(&mut self) -> Result<Formats> {
        let count = self.count(2)?;
        let each = (0..count)
            .map(|_| match self.u16()? as i16 {
                0 => Ok(false),
                1 => Ok(true),
                code => {
                    let message = format!("unsupported format code: {code}");
                    Err(SqlError::new(SqlState::InvalidParameterValue, message))
                }
            })
            .collect::<Result<SmallVec<[bool; 16]>>>()?;
        Ok(match each.len() {
            0 => Formats::All(false),
            1 => Formats::All(each[0]),
            _ => Formats::Each(each),
        })
    }
    fn value(&mut self) -> Result<Option<&'a [u8]>> {
        match self.u32()? as i32 {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| violation("invalid value length in message"))?;
                self.take(length).map(Some)
            }
        }
    }
    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(violation("invalid message format")) }
    }
}
