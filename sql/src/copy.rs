//! COPY's three formats: text, CSV and binary, read as the bytes arrive and written row by row.

use crate::error::{Result, SqlError, SqlState};
use crate::types::TypeWithModifier;

mod binary;
mod decoder;
mod encoder;
mod lines;

#[cfg(test)]
mod tests;

pub use decoder::CopyDecoder;
pub use encoder::CopyEncoder;

/// The most bytes one row may take.
pub const MAX_ROW_BYTES: usize = 256 << 20;

/// Which of the three formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyFormat {
    /// A line a row, tabs between values, backslash escapes.
    #[default]
    Text,
    /// Comma-separated values.
    Csv,
    /// Length-prefixed binary values.
    Binary,
}

/// What the first line of a text or CSV file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyHeader {
    /// A row.
    #[default]
    None,
    /// The names of the columns; on input it is skipped.
    Names,
    /// The names of the columns; on input they must be the right ones (`HEADER MATCH`).
    Match,
}

/// One column of a COPY.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyColumn {
    /// Its name, for headers and errors.
    pub name: String,
    /// Its type.
    pub ty: TypeWithModifier,
}

/// The options as the statement has them; what it leaves out is `None` or empty and [`CopyOptions::check`] fills in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CopyOptions {
    /// `FORMAT`.
    pub format: CopyFormat,
    /// `HEADER`.
    pub header: CopyHeader,
    /// `DELIMITER`: tab in text, comma in CSV.
    pub delimiter: Option<String>,
    /// `NULL`: `\N` in text, nothing at all in CSV.
    pub null: Option<String>,
    /// `QUOTE`: `"`.
    pub quote: Option<String>,
    /// `ESCAPE`: the quote.
    pub escape: Option<String>,
    /// `FORCE_QUOTE`.
    pub force_quote: ForceColumns,
    /// `FORCE_NOT_NULL`.
    pub force_not_null: Vec<String>,
    /// `FORCE_NULL`.
    pub force_null: Vec<String>,
    /// `ENCODING`: only UTF8 is known.
    pub encoding: Option<String>,
}

/// The columns of `FORCE_QUOTE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ForceColumns {
    /// None.
    #[default]
    None,
    /// `*`.
    All,
    /// These.
    Named(Vec<String>),
}

/// Which way the rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    /// Into the table.
    From,
    /// Out of it.
    To,
}

/// Options that were checked, with every default in place.
#[derive(Clone, Debug)]
struct Settled {
    format: CopyFormat,
    header: CopyHeader,
    delimiter: u8,
    null: Vec<u8>,
    quote: u8,
    escape: u8,
    force_quote: Vec<bool>,
    force_not_null: Vec<bool>,
    force_null: Vec<bool>,
}

impl CopyOptions {
    /// Refuses what PostgreSQL refuses, before a byte is copied.
    pub fn check(&self, direction: CopyDirection, columns: &[CopyColumn]) -> Result<()> {
        self.settle(direction, columns).map(|_| ())
    }

    fn settle(&self, direction: CopyDirection, columns: &[CopyColumn]) -> Result<Settled> {
        let syntax = |message: &str| Err(SqlError::new(SqlState::SyntaxError, message));
        let unsupported = |message: &str| Err(SqlError::new(SqlState::FeatureNotSupported, message));
        let invalid = |message: &str| Err(SqlError::new(SqlState::InvalidParameterValue, message));
        let (binary, csv) = (self.format == CopyFormat::Binary, self.format == CopyFormat::Csv);
        if binary && self.delimiter.is_some() {
            return syntax("cannot specify DELIMITER in BINARY mode");
        }
        if binary && self.null.is_some() {
            return syntax("cannot specify NULL in BINARY mode");
        }
        let delimiter = self.delimiter.as_deref().unwrap_or(if csv { "," } else { "\t" });
        let null = self.null.as_deref().unwrap_or(if csv { "" } else { "\\N" });
        let quote = self.quote.as_deref().unwrap_or("\"");
        let escape = self.escape.as_deref().unwrap_or(quote);
        let &[delimiter_byte] = delimiter.as_bytes() else {
            return unsupported("COPY delimiter must be a single one-byte character");
        };
        if matches!(delimiter_byte, b'\n' | b'\r') {
            return invalid("COPY delimiter cannot be newline or carriage return");
        }
        if null.contains(['\n', '\r']) {
            return invalid("COPY null representation cannot use newline or carriage return");
        }
        if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter_byte) {
            return Err(SqlError::new(
                SqlState::InvalidParameterValue,
                format!("COPY delimiter cannot be \"{delimiter}\""),
            ));
        }
        if binary && self.header != CopyHeader::None {
            return unsupported("cannot specify HEADER in BINARY mode");
        }
        if direction == CopyDirection::To && self.header == CopyHeader::Match {
            return invalid("cannot use \"match\" with HEADER in COPY TO");
        }
        if !csv && self.quote.is_some() {
            return unsupported("COPY quote available only in CSV mode");
        }
        let &[quote_byte] = quote.as_bytes() else {
            return unsupported("COPY quote must be a single one-byte character");
        };
        if csv && delimiter_byte == quote_byte {
            return invalid("COPY delimiter and quote must be different");
        }
        if !csv && self.escape.is_some() {
            return unsupported("COPY escape available only in CSV mode");
        }
        let &[escape_byte] = escape.as_bytes() else {
            return unsupported("COPY escape must be a single one-byte character");
        };
        if self.force_quote != ForceColumns::None {
            if !csv {
                return unsupported("COPY force quote available only in CSV mode");
            }
            if direction == CopyDirection::From {
                return unsupported("COPY force quote only available using COPY TO");
            }
        }
        for (list, what) in [(&self.force_not_null, "force not null"), (&self.force_null, "force null")] {
            if list.is_empty() {
                continue;
            }
            if !csv {
                return unsupported(&format!("COPY {what} available only in CSV mode"));
            }
            if direction == CopyDirection::To {
                return unsupported(&format!("COPY {what} only available using COPY FROM"));
            }
        }
        if null.as_bytes().contains(&delimiter_byte) && !binary {
            return unsupported("COPY delimiter must not appear in the NULL specification");
        }
        if csv && null.as_bytes().contains(&quote_byte) {
            return unsupported("CSV quote character must not appear in the NULL specification");
        }
        if let Some(encoding) = &self.encoding {
            let plain: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
            if !matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode") {
                return Err(SqlError::unsupported(format_args!("COPY encoding \"{encoding}\"")));
            }
        }
        let marked = |names: &[String], option: &str| {
            let mut result = vec![false; columns.len()];
            for name in names {
                match columns.iter().position(|column| column.name == *name) {
                    Some(at) => result[at] = true,
                    None => {
                        return Err(SqlError::new(
                            SqlState::InvalidColumnReference,
                            format!("{option} column \"{name}\" not referenced by COPY"),
                        ));
                    }
                }
            }
            Ok(result)
        };
        Ok(Settled {
            format: self.format,
            header: self.header,
            delimiter: delimiter_byte,
            null: null.as_bytes().to_vec(),
            quote: quote_byte,
            escape: escape_byte,
            force_quote: match &self.force_quote {
                ForceColumns::None => vec![false; columns.len()],
                ForceColumns::All => vec![true; columns.len()],
                ForceColumns::Named(names) => marked(names, "FORCE_QUOTE")?,
            },
            force_not_null: marked(&self.force_not_null, "FORCE_NOT_NULL")?,
            force_null: marked(&self.force_null, "FORCE_NULL")?,
        })
    }
}

/// `22P04`: the bytes are not in the format they should be in.
fn bad_format(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BadCopyFileFormat, message)
}

/// `54000`: a row longer than any row may be.
fn row_too_long() -> SqlError {
    SqlError::new(SqlState::ProgramLimitExceeded, format!("COPY row exceeds the maximum of {MAX_ROW_BYTES} bytes"))
}
