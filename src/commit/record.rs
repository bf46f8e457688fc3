//! What the log says of a commit: resolved effects, so that replay needs no decision.
//!
//! The operations of a commit are one bincode stream. A commit that fits one frame is a `WHOLE` record; a larger
//! one is `PART` records followed by an `END` record that says how long the stream is. A commit is there when
//! its `WHOLE` or `END` record is; parts without an end are the remains of a crash and are skipped.
//! docs/file-format.md has every byte.

use bincode::config::{Configuration, standard};
use lodedb_sql::Datum;
use serde::{Deserialize, Serialize};

use super::{Row, RowId};
use crate::bounded::decode_front;
use crate::catalog::{Change, IndexId, SequenceId, TableId};
use crate::segment::{FileEntry, SegmentFiles, SegmentId, StagedFiles};
use crate::snapshot::manifest::QuantizerFiles;

const FORMAT: u8 = 1;
const WHOLE: u8 = 1;
const PART: u8 = 2;
const END: u8 = 3;
/// How much of a commit's stream goes into one record; little in tests, so that commits of several records are common.
const PART_BYTES: usize = if cfg!(test) { 2 << 10 } else { 1 << 20 };

/// One effect of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// What exists changes.
    Catalog(Change),
    /// New rows; their ids follow on from the base the commit names for the table.
    Insert {
        /// The table.
        table: TableId,
        /// The rows, vectors included.
        rows: Vec<Row>,
    },
    /// A row has new values.
    Update {
        /// The table.
        table: TableId,
        /// The row.
        row: RowId,
        /// All its values.
        values: Row,
        /// Whether a vector changed: the row moves to the end of the mutable segment.
        moved: bool,
    },
    /// A row is gone.
    Delete {
        /// The table.
        table: TableId,
        /// The row.
        row: RowId,
    },
    /// All rows committed before are gone.
    Truncate {
        /// The table.
        table: TableId,
    },
    /// A sequence reached a value.
    Sequence {
        /// The sequence.
        id: SequenceId,
        /// The last value given out; `None` if none was since its start.
        value: Option<i64>,
    },
    /// The mutable segment takes no more rows; a new one follows it. Also makes a table's first segment.
    Freeze {
        /// The table.
        table: TableId,
        /// The id of the new mutable segment.
        segment: SegmentId,
    },
    /// Segments are replaced by one sealed segment with the rows that were live in them.
    Seal {
        /// The table.
        table: TableId,
        /// The segments it replaces: one frozen segment, or sealed ones that were merged.
        inputs: Vec<SegmentId>,
        /// The sealed segment; `None` if no row was live.
        output: Option<SegmentFiles>,
        /// Its codes for the indexes of the table.
        codes: Vec<(IndexId, FileEntry)>,
    },
    /// A vector index has a new generation.
    BuildIndex {
        /// The table.
        table: TableId,
        /// The index.
        index: IndexId,
        /// Its quantizer and calibration.
        quantizer: QuantizerFiles,
        /// Its codes for the sealed segments.
        codes: Vec<(SegmentId, FileEntry)>,
    },
    /// New rows, written out before; their ids follow on from the base the commit names for the table.
    InsertStaged {
        /// The table.
        table: TableId,
        /// The files.
        files: StagedFiles,
        /// Rows, by their place, that have other values by now, or (`None`) are gone.
        replaced: Vec<(u32, Option<Row>)>,
    },
    /// A sealed segment has codes for indexes.
    Encode {
        /// The table.
        table: TableId,
        /// The segment.
        segment: SegmentId,
        /// Its codes.
        codes: Vec<(IndexId, FileEntry)>,
    },
}

impl Op {
    /// How many row ids it takes, and of which table.
    pub fn new_rows(&self) -> Option<(TableId, u64)> {
        match self {
            Self::Insert { table, rows } => Some((*table, rows.len() as u64)),
            Self::InsertStaged { table, files, .. } => Some((*table, u64::from(files.count))),
            _ => None,
        }
    }
}

/// What a commit adds to its effects when its turn comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The id of the first row it inserts into each table.
    pub bases: Vec<(TableId, RowId)>,
    /// When: microseconds since 1970 UTC. A label, never used for order.
    pub time_us: i64,
}

/// The effects of a commit in the form the log has them.
#[derive(Debug, Default)]
pub struct EncodedOps {
    bytes: Vec<u8>,
}

/// A whole commit as the log gave it back.
#[derive(Debug, PartialEq)]
pub struct CommitRecord {
    /// The LSN of its last record: the commit's own.
    pub lsn: u64,
    /// What was settled at commit.
    pub header: Header,
    /// Its effects.
    pub ops: Vec<Op>,
}

/// A record that passed its checksum and still makes no sense.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("log record {lsn} cannot be read: {reason}")]
pub struct RecordError {
    /// The record.
    pub lsn: u64,
    /// What is wrong with it.
    pub reason: String,
}

fn config() -> Configuration {
    standard()
}

impl EncodedOps {
    /// How many bytes they take.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Encodes the effects of a commit.
    pub fn encode(ops: &[Op]) -> Self {
        let mut bytes = Vec::with_capacity(ops.iter().map(estimated_bytes).sum());
        for op in ops {
            // Writing into a Vec cannot fail, and every type here can be serialised.
            if let Err(error) = bincode::serde::encode_into_std_write(op, &mut bytes, config()) {
                unreachable!("an operation could not be encoded: {error}");
            }
        }
        Self { bytes }
    }

    /// The records of this commit, in order.
    pub fn records(&self, tx: u64, header: &Header) -> Vec<Vec<u8>> {
        let mut header_bytes = Vec::new();
        if let Err(error) = bincode::serde::encode_into_std_write(header, &mut header_bytes, config()) {
            unreachable!("a commit header could not be encoded: {error}");
        }
        let start = |kind: u8, capacity: usize| {
            let mut record = Vec::with_capacity(capacity + 10);
            record.extend([FORMAT, kind]);
            record.extend(tx.to_le_bytes());
            record
        };
        if self.bytes.len() <= PART_BYTES {
            let mut record = start(WHOLE, header_bytes.len() + self.bytes.len());
            record.extend(header_bytes);
            record.extend(&self.bytes);
            return vec![record];
        }
        let mut records: Vec<Vec<u8>> = self
            .bytes
            .chunks(PART_BYTES)
            .map(|part| {
                let mut record = start(PART, part.len());
                record.extend(part);
                record
            })
            .collect();
        let mut end = start(END, header_bytes.len() + 8);
        end.extend((self.bytes.len() as u64).to_le_bytes());
        end.extend(header_bytes);
        records.push(end);
        records
    }
}

/// Puts the records of the log together into commits.
#[derive(Debug, Default)]
pub struct Assembler {
    open: Option<(u64, Vec<u8>)>,
}

impl Assembler {
    /// Takes the next record; gives the commit it completes.
    pub fn push(&mut self, lsn: u64, record: &[u8]) -> Result<Option<CommitRecord>, RecordError> {
        let damaged = |reason: &str| RecordError { lsn, reason: reason.to_owned() };
        let Some((&[format, kind], rest)) = record.split_first_chunk::<2>() else {
            return Err(damaged("it is shorter than its header"));
        };
        if format != FORMAT {
            return Err(damaged(&format!("format {format} is not one this version knows")));
        }
        let Some((tx, body)) = rest.split_first_chunk::<8>() else {
            return Err(damaged("it is shorter than its header"));
        };
        let tx = u64::from_le_bytes(*tx);
        match kind {
            PART => {
                match &mut self.open {
                    Some((open, bytes)) if *open == tx => bytes.extend(body),
                    _ => self.open = Some((tx, body.to_vec())),
                }
                Ok(None)
            }
            WHOLE => {
                self.open = None;
                let (header, used) = decode(lsn, body)?;
                Ok(Some(CommitRecord { lsn, header, ops: decode_ops(lsn, &body[used..])? }))
            }
            END => {
                let Some((len, header)) = body.split_first_chunk::<8>() else {
                    return Err(damaged("its end is cut"));
                };
                let bytes = match self.open.take() {
                    Some((open, bytes)) if open == tx && bytes.len() as u64 == u64::from_le_bytes(*len) => bytes,
                    _ => return Err(damaged("its parts are missing")),
                };
                let (header, _) = decode(lsn, header)?;
                Ok(Some(CommitRecord { lsn, header, ops: decode_ops(lsn, &bytes)? }))
            }
            _ => Err(damaged(&format!("kind {kind} is not one this version knows"))),
        }
    }
}

fn decode<T: serde::de::DeserializeOwned>(lsn: u64, bytes: &[u8]) -> Result<(T, usize), RecordError> {
    decode_front(bytes).map_err(|error| RecordError { lsn, reason: error.to_string() })
}

fn decode_ops(lsn: u64, mut bytes: &[u8]) -> Result<Vec<Op>, RecordError> {
    let mut ops = Vec::new();
    while !bytes.is_empty() {
        let (op, used) = decode(lsn, bytes)?;
        ops.push(op);
        bytes = &bytes[used..];
    }
    Ok(ops)
}

fn estimated_bytes(op: &Op) -> usize {
    match op {
        Op::Insert { rows, .. } => 16 + rows.iter().map(|row| estimated_row_bytes(row)).sum::<usize>(),
        Op::Update { values, .. } => 32 + estimated_row_bytes(values),
        _ => 64,
    }
}

/// About the bytes that a row takes.
pub fn estimated_row_bytes(values: &[Datum]) -> usize {
    16 + values.iter().map(estimated_datum_bytes).sum::<usize>()
}

fn estimated_datum_bytes(datum: &Datum) -> usize {
    match datum {
        Datum::Text(text) | Datum::Jsonb(text) => text.len() + 4,
        Datum::Bytea(bytes) => bytes.len() + 4,
        Datum::Vector(vector) => vector.len() * 4 + 4,
        Datum::Halfvec(vector) => vector.len() * 2 + 4,
        Datum::Sparsevec(vector) => vector.len() * 8 + 8,
        Datum::Bits(bits) => bits.bytes().len() + 8,
        _ => 12,
    }
}

#[cfg(test)]
mod tests;
