//! Reading COPY data as it arrives, in pieces of any size.

use std::borrow::Cow;

use super::binary::{self, Part};
use super::lines::{self, Ending, LineScanner};
use super::{
    CopyColumn, CopyDirection, CopyFormat, CopyHeader, CopyOptions, MAX_ROW_BYTES, Settled, bad_format, row_too_long,
};
use crate::cast::CastEnvironment;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::text::{parse_text_in, shortened, string};

/// Turns the bytes of a COPY FROM into rows. However the bytes are cut into pieces, the rows and errors are the same.
#[derive(Debug)]
pub struct CopyDecoder {
    table: String,
    columns: Vec<CopyColumn>,
    options: Settled,
    environment: CastEnvironment,
    /// The bytes of a row whose end has not come.
    pending: Vec<u8>,
    /// Binary: no use to look at `pending` before it has so many bytes.
    needed: usize,
    scanner: LineScanner,
    /// The line, or binary row, being read; counted from 1.
    line: u64,
    /// The lines of the rows since they were last taken.
    lines: Vec<u64>,
    expects_header: bool,
    ended: bool,
}

impl CopyDecoder {
    /// A decoder for the named columns of a table.
    pub fn new(
        table: impl Into<String>,
        options: &CopyOptions,
        columns: Vec<CopyColumn>,
        environment: CastEnvironment,
    ) -> Result<Self> {
        let options = options.settle(CopyDirection::From, &columns)?;
        Ok(Self {
            table: table.into(),
            expects_header: options.format == CopyFormat::Binary || options.header != CopyHeader::None,
            columns,
            options,
            environment,
            pending: Vec::new(),
            needed: 0,
            scanner: LineScanner::default(),
            line: 0,
            lines: Vec::new(),
            ended: false,
        })
    }

    /// Takes the next bytes and appends the rows they complete.
    pub fn push(&mut self, bytes: &[u8], rows: &mut Vec<Vec<Datum>>) -> Result<()> {
        self.take(bytes, false, rows)
    }

    /// Ends the data: the last line needs no line end. Appends the last row.
    pub fn finish(&mut self, rows: &mut Vec<Vec<Datum>>) -> Result<()> {
        self.take(&[], true, rows)?;
        if self.options.format == CopyFormat::Binary && !self.ended {
            if self.expects_header {
                return Err(bad_format(match self.pending.len() {
                    ..11 => "COPY file signature not recognized",
                    11..15 => "invalid COPY file header (missing flags)",
                    15..19 => "invalid COPY file header (missing length)",
                    _ => "invalid COPY file header (wrong length)",
                }));
            }
            // PostgreSQL takes the end of the data between rows for the trailer, and half a field count too.
            if self.pending.len() > 1 {
                self.line += 1;
                return Err(self.in_context(bad_format("unexpected EOF in COPY data"), None, None));
            }
        }
        Ok(())
    }

    /// The lines of the rows appended since the last call.
    pub fn take_lines(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.lines)
    }

    fn take(&mut self, bytes: &[u8], last: bool, rows: &mut Vec<Vec<Datum>>) -> Result<()> {
        if self.pending.is_empty() {
            // The common case: whole rows, read where they are.
            let consumed = self.decode(bytes, last, rows)?;
            self.pending.extend_from_slice(&bytes[consumed..]);
        } else {
            self.pending.extend_from_slice(bytes);
            if self.pending.len() < self.needed && !last {
                return Ok(());
            }
            let mut pending = std::mem::take(&mut self.pending);
            let consumed = self.decode(&pending, last, rows)?;
            pending.drain(..consumed);
            self.pending = pending;
        }
        if self.pending.len() > MAX_ROW_BYTES { Err(self.in_context(row_too_long(), None, None)) } else { Ok(()) }
    }

    /// Appends every row that `bytes` holds whole, and says how many bytes those took.
    fn decode(&mut self, bytes: &[u8], last: bool, rows: &mut Vec<Vec<Datum>>) -> Result<usize> {
        match self.options.format {
            CopyFormat::Binary => self.decode_binary(bytes, rows),
            CopyFormat::Text | CopyFormat::Csv => self.decode_lines(bytes, last, rows),
        }
    }

    fn decode_binary(&mut self, bytes: &[u8], rows: &mut Vec<Vec<Datum>>) -> Result<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if self.ended {
                return match rest.is_empty() {
                    true => Ok(at),
                    false => {
                        self.line += 1;
                        Err(self.in_context(bad_format("received copy data after EOF marker"), None, None))
                    }
                };
            }
            let part = if self.expects_header {
                binary::header(rest)?
            } else {
                binary::row(rest, &self.columns).map_err(|(error, column)| {
                    self.line += 1;
                    self.in_context(error, column, None)
                })?
            };
            match part {
                Part::Incomplete(needed) => {
                    self.needed = needed;
                    return Ok(at);
                }
                Part::Skip(length) => {
                    self.expects_header = false;
                    at += length;
                }
                Part::Row(row, length) => {
                    self.line += 1;
                    self.lines.push(self.line);
                    rows.push(row);
                    at += length;
                }
                Part::End(length) => {
                    self.ended = true;
                    at += length;
                }
            }
        }
    }

    fn decode_lines(&mut self, bytes: &[u8], last: bool, rows: &mut Vec<Vec<Datum>>) -> Result<usize> {
        let csv = self.options.format == CopyFormat::Csv;
        let mut at = 0;
        while at < bytes.len() && !self.ended {
            let rest = &bytes[at..];
            let before = self.scanner.ending;
            let found = self.scanner.next(rest, &self.options, csv, last).map_err(|error| {
                self.line += 1;
                self.in_context(error, None, None)
            })?;
            let line = match found {
                Some(line) if line.length > MAX_ROW_BYTES => {
                    self.line += 1;
                    return Err(self.in_context(row_too_long(), None, None));
                }
                Some(line) => line,
                None if last => {
                    if csv && self.scanner.is_quoted() {
                        self.line += 1 + Ending::count_embedded(before, rest);
                        let error = bad_format("unterminated CSV quoted field");
                        return Err(self.in_context(error, None, Some(rest)));
                    }
                    self.scanner = LineScanner::default();
                    lines::Line { length: rest.len(), consumed: rest.len() }
                }
                None => return Ok(at),
            };
            at += line.consumed;
            self.line += 1;
            let mut content = &rest[..line.length];
            if csv {
                self.line += Ending::count_embedded(before, content);
            }
            let marked =
                if csv { (content == b"\\.").then_some(&content[..0]) } else { lines::before_end_marker(content) };
            if let Some(before) = marked {
                self.ended = true;
                if before.is_empty() {
                    break;
                }
                content = before;
            }
            string::from_utf8(content).map_err(|error| self.in_context(error, None, None))?;
            if std::mem::take(&mut self.expects_header) {
                if self.options.header == CopyHeader::Match {
                    self.check_header(content)?;
                }
                continue;
            }
            let row = if csv { self.csv_row(content) } else { self.text_row(content) }?;
            self.lines.push(self.line);
            rows.push(row);
        }
        // Behind the end marker everything is ignored.
        Ok(if self.ended { bytes.len() } else { at })
    }

    fn text_row(&self, line: &[u8]) -> Result<Vec<Datum>> {
        let mut row = Vec::with_capacity(self.columns.len());
        let mut next = (!self.columns.is_empty() || !line.is_empty()).then_some(0);
        for at in 0..self.columns.len() {
            let Some(start) = next else { return Err(self.missing(at, line)) };
            let (field, after) = self.text_field(line, start)?;
            next = after;
            row.push(match field {
                None => Datum::Null,
                Some(value) => {
                    self.value(&value, at, line).or_else(|error| self.unless_extra(error, line, at, next))?
                }
            });
        }
        if next.is_some() { Err(self.extra(line)) } else { Ok(row) }
    }

    fn text_field<'a>(&self, line: &'a [u8], at: usize) -> Result<(lines::Field<'a>, Option<usize>)> {
        lines::text_field(line, at, &self.options).map_err(|error| self.in_context(error, None, Some(line)))
    }

    fn csv_row(&self, line: &[u8]) -> Result<Vec<Datum>> {
        let mut row = Vec::with_capacity(self.columns.len());
        let mut next = (!self.columns.is_empty() || !line.is_empty()).then_some(0);
        for at in 0..self.columns.len() {
            let Some(start) = next else { return Err(self.missing(at, line)) };
            let (value, quoted, after) = self.csv_field(line, start)?;
            next = after;
            let is_null = *value == *self.options.null
                && if quoted { self.options.force_null[at] } else { !self.options.force_not_null[at] };
            row.push(match is_null {
                true => Datum::Null,
                false => self.value(&value, at, line).or_else(|error| self.unless_extra(error, line, at, next))?,
            });
        }
        if next.is_some() { Err(self.extra(line)) } else { Ok(row) }
    }

    fn csv_field<'a>(&self, line: &'a [u8], at: usize) -> Result<(Cow<'a, [u8]>, bool, Option<usize>)> {
        lines::csv_field(line, at, &self.options).map_err(|error| self.in_context(error, None, Some(line)))
    }

    /// The error of the value at `at`, unless the line has too many values: PostgreSQL cuts the whole line before it
    /// looks at a value.
    fn unless_extra(&self, error: SqlError, line: &[u8], at: usize, mut next: Option<usize>) -> Result<Datum> {
        for _ in at + 1..self.columns.len() {
            let Some(start) = next else { return Err(error) };
            next = match self.options.format {
                CopyFormat::Csv => self.csv_field(line, start)?.2,
                _ => self.text_field(line, start)?.1,
            };
        }
        Err(if next.is_some() { self.extra(line) } else { error })
    }

    fn value(&self, bytes: &[u8], at: usize, line: &[u8]) -> Result<Datum> {
        // An escape may have made bytes that are no text.
        let text = string::from_utf8(bytes).map_err(|error| self.in_context(error, None, Some(line)))?;
        parse_text_in(text, self.columns[at].ty, &self.environment)
            .map_err(|error| self.in_context(error, Some(at), Some(bytes)))
    }

    fn missing(&self, at: usize, line: &[u8]) -> SqlError {
        let message = format!("missing data for column \"{}\"", self.columns[at].name);
        self.in_context(bad_format(message), None, Some(line))
    }

    fn extra(&self, line: &[u8]) -> SqlError {
        self.in_context(bad_format("extra data after last expected column"), None, Some(line))
    }

    fn check_header(&self, line: &[u8]) -> Result<()> {
        let mut names: Vec<Option<Cow<'_, [u8]>>> = Vec::new();
        let mut next = Some(0);
        while let Some(start) = next {
            if self.options.format == CopyFormat::Csv {
                let (value, quoted, after) = self.csv_field(line, start)?;
                names.push((quoted || *value != *self.options.null).then_some(value));
                next = after;
            } else {
                let (field, after) = self.text_field(line, start)?;
                names.push(field);
                next = after;
            }
        }
        if names.len() != self.columns.len() {
            let message =
                format!("wrong number of fields in header line: got {}, expected {}", names.len(), self.columns.len());
            return Err(self.in_context(bad_format(message), None, Some(line)));
        }
        for (i, (name, column)) in names.iter().zip(&self.columns).enumerate() {
            let message = match name {
                None => format!(
                    "column name mismatch in header line field {}: got null value (\"{}\"), expected \"{}\"",
                    i + 1,
                    String::from_utf8_lossy(&self.options.null),
                    column.name
                ),
                Some(name) if **name != *column.name.as_bytes() => format!(
                    "column name mismatch in header line field {}: got \"{}\", expected \"{}\"",
                    i + 1,
                    String::from_utf8_lossy(name),
                    column.name
                ),
                Some(_) => continue,
            };
            return Err(self.in_context(bad_format(message), None, Some(line)));
        }
        Ok(())
    }

    /// The error with `COPY t, line N, column c: "value"`, or the whole line where no column is at fault.
    fn in_context(&self, error: SqlError, column: Option<usize>, text: Option<&[u8]>) -> SqlError {
        let mut context = format!("COPY {}, line {}", self.table, self.line.max(1));
        if let Some(column) = column {
            context.push_str(", column ");
            context.push_str(&self.columns[column].name);
        }
        if let Some(text) = text {
            let text = String::from_utf8_lossy(&text[..text.len().min(1024)]).into_owned();
            let short = shortened(&text);
            // PostgreSQL shows a hundred bytes.
            let cut = &short[..short.floor_char_boundary(100)];
            let dots = if cut.len() < short.len() { "..." } else { "" };
            context.push_str(&format!(": \"{cut}{dots}\""));
        }
        // A JSON error names its own line first.
        let context = match error.context() {
            Some(own) => format!("{own}\n{context}"),
            None => context,
        };
        error.with_context(context)
    }
}
