//! Arrays of one dimension or several, from lists and lists of lists.

use chrono_tz::Tz;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_sql::{PgType, ScalarType, TypeWithModifier};
use smallvec::SmallVec;

use super::column::Column;

/// A column of arrays.
pub(super) struct ArrayColumn<'a> {
    /// The lists from the outermost to the innermost: where each begins, and which are NULL.
    levels: SmallVec<[(&'a [i32], Option<&'a NullBuffer>); 2]>,
    leaf: Box<Column<'a>>,
    element: ScalarType,
    /// `int2vector` and `oidvector` are arrays that count from 0 and are written with blanks.
    plain_vector: bool,
}

impl<'a> ArrayColumn<'a> {
    pub(super) fn bind(array: &'a dyn Array, ty: TypeWithModifier, binary: bool, zone: Tz) -> Option<Self> {
        let (element, plain_vector) = match ty.ty {
            PgType::Array(element) => (element, false),
            PgType::Scalar(ScalarType::Int2vector) => (ScalarType::Int2, true),
            PgType::Scalar(ScalarType::Oidvector) => (ScalarType::Oid, true),
            PgType::Scalar(_) => return None,
        };
        let element_type = TypeWithModifier { ty: element.into(), modifier: ty.modifier };
        let mut levels = SmallVec::new();
        let mut at = array;
        loop {
            let list = at.as_list_opt::<i32>()?;
            levels.push((list.value_offsets(), list.nulls()));
            at = list.values().as_ref();
            let deeper =
                matches!(at.data_type(), DataType::List(_)) && !super::is_readable(at.data_type(), element.into());
            if !deeper {
                let leaf = Box::new(Column::bind(at, element_type, binary, zone)?);
                return Some(Self { levels, leaf, element, plain_vector });
            }
        }
    }

    /// The lengths of a row's dimensions and where its elements lie.
    ///
    /// The lists inside a list lie side by side, so the elements of a row are one range.
    fn shape(&self, row: usize) -> Result<(SmallVec<[usize; 2]>, std::ops::Range<usize>)> {
        let (mut start, mut end) = (row, row + 1);
        let mut lengths: SmallVec<[usize; 2]> = SmallVec::new();
        for (depth, (offsets, nulls)) in self.levels.iter().enumerate() {
            let length = if start < end { (offsets[start + 1] - offsets[start]) as usize } else { 0 };
            let ragged = (start..end).any(|list| (offsets[list + 1] - offsets[list]) as usize != length);
            let has_null = depth > 0 && nulls.is_some_and(|nulls| (start..end).any(|list| nulls.is_null(list)));
            if ragged || has_null {
                return Err(SqlError::new(
                    SqlState::ArraySubscriptError,
                    "multidimensional arrays must have sub-arrays with matching dimensions",
                ));
            }
            lengths.push(length);
            (start, end) = (offsets[start] as usize, offsets[end] as usize);
        }
        if start == end {
            lengths.clear();
        }
        Ok((lengths, start..end))
    }

    /// Appends the text form: `{1,NULL,"a b"}`.
    pub(super) fn write_text(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let (lengths, range) = self.shape(row)?;
        if self.plain_vector {
            for index in range.clone() {
                if index > range.start {
                    out.push(b' ');
                }
                self.leaf.write_text(index, out)?;
            }
            return Ok(());
        }
        if lengths.is_empty() {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        self.write_dimension(&lengths, range.start, out)
    }

    fn write_dimension(&self, lengths: &[usize], start: usize, out: &mut Vec<u8>) -> Result<()> {
        let Some((&length, inside)) = lengths.split_first() else {
            return self.write_element(start, out);
        };
        let stride: usize = inside.iter().product();
        out.push(b'{');
        for index in 0..length {
            if index > 0 {
                out.push(b',');
            }
            self.write_dimension(inside, start + index * stride, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn write_element(&self, index: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.leaf.is_null(index) {
            out.extend_from_slice(b"NULL");
            return Ok(());
        }
        let at = out.len();
        self.leaf.write_text(index, out)?;
        if !needs_quotes(&out[at..]) {
            return Ok(());
        }
        let plain: SmallVec<[u8; 64]> = SmallVec::from_slice(&out[at..]);
        out.truncate(at);
        out.push(b'"');
        for &byte in &plain {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
        Ok(())
    }

    /// Appends the binary form: dimensions, the type of the elements, and each with its length.
    pub(super) fn write_binary(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let (lengths, range) = self.shape(row)?;
        let has_null = range.clone().any(|index| self.leaf.is_null(index));
        out.extend_from_slice(&(lengths.len() as u32).to_be_bytes());
        out.extend_from_slice(&u32::from(has_null).to_be_bytes());
        out.extend_from_slice(&self.element.oid().to_be_bytes());
        let lower: u32 = if self.plain_vector { 0 } else { 1 };
        for length in lengths {
            out.extend_from_slice(&(length as u32).to_be_bytes());
            out.extend_from_slice(&lower.to_be_bytes());
        }
        for index in range {
            self.leaf.write_value(index, out)?;
        }
        Ok(())
    }
}

/// Whether an element must be quoted to read back as itself.
fn needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"NULL")
        || text.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r'))
}
