//! Character strings: lengths in characters, blanks at their end, bytes that are no UTF-8.

use crate::error::{Result, SqlError, SqlState};
use crate::types::ScalarType;

/// The longest `name`, in bytes.
const NAME_BYTES: usize = 63;

/// The form a string has in a column of `ty`: cut, padded, or refused with 22001 when it is too long and
/// `explicit` does not ask for cutting.
pub(crate) fn apply_modifier(mut text: String, ty: ScalarType, modifier: i32, explicit: bool) -> Result<String> {
    match ty {
        ScalarType::Name => {
            text.truncate(text.floor_char_boundary(NAME_BYTES));
            Ok(text)
        }
        ScalarType::Char => first_char(&text),
        ScalarType::Varchar | ScalarType::Bpchar if modifier >= 4 => {
            let limit = (modifier - 4) as usize;
            // Bytes bound characters, so most strings need no count.
            if text.len() > limit
                && let Some((end, _)) = text.char_indices().nth(limit)
            {
                if !explicit && text[end..].bytes().any(|byte| byte != b' ') {
                    return Err(SqlError::new(
                        SqlState::StringDataRightTruncation,
                        format!("value too long for type {}({limit})", ty.sql_name()),
                    ));
                }
                text.truncate(end);
            }
            if ty == ScalarType::Bpchar {
                let length = text.chars().count();
                text.extend(std::iter::repeat_n(' ', limit.saturating_sub(length)));
            }
            Ok(text)
        }
        _ => Ok(text),
    }
}

/// What `"char"` keeps of a string: one byte. A character of several is refused: its first alone is no text.
pub(crate) fn first_char(text: &str) -> Result<String> {
    match text.chars().next() {
        Some(first) if !first.is_ascii() => Err(SqlError::unsupported("a \"char\" that is not ASCII")),
        first => Ok(first.into_iter().collect()),
    }
}

/// What leaves a `char(n)`: the blanks at the end do not belong to the value.
pub(crate) fn without_padding(mut text: String) -> String {
    text.truncate(text.trim_end_matches(' ').len());
    text
}

/// The zero byte is no character of any PostgreSQL string.
pub(crate) fn check_no_nul(text: &str) -> Result<()> {
    if memchr::memchr(0, text.as_bytes()).is_some() { Err(invalid_bytes(&[0])) } else { Ok(()) }
}

/// The bytes as text, or 22021 naming the bytes that are none.
pub(crate) fn from_utf8(bytes: &[u8]) -> Result<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            check_no_nul(text)?;
            Ok(text)
        }
        Err(error) => {
            let rest = &bytes[error.valid_up_to()..];
            let length = match rest[0] {
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf7 => 4,
                _ => 1,
            };
            Err(invalid_bytes(&rest[..rest.len().min(length)]))
        }
    }
}

fn invalid_bytes(bytes: &[u8]) -> SqlError {
    let list: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    SqlError::new(
        SqlState::CharacterNotInRepertoire,
        format!("invalid byte sequence for encoding \"UTF8\": {}", list.join(" ")),
    )
}
