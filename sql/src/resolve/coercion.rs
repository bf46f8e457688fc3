//! Implicit casts, categories of types, and the common type of several expressions.

use crate::error::{Result, SqlError, SqlState};
use crate::types::{PgType, ScalarType};

/// PostgreSQL's categories of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Array,
    BitString,
    Boolean,
    DateTime,
    Numeric,
    Pseudo,
    String,
    Timespan,
    User,
    InternalUse,
    Unknown,
}

pub(super) fn category(ty: PgType) -> Category {
    let PgType::Scalar(scalar) = ty else { return Category::Array };
    match scalar {
        ScalarType::Bit | ScalarType::Varbit => Category::BitString,
        ScalarType::Bool => Category::Boolean,
        ScalarType::Int2
        | ScalarType::Int4
        | ScalarType::Int8
        | ScalarType::Float4
        | ScalarType::Float8
        | ScalarType::Numeric
        | ScalarType::Oid
        | ScalarType::Regclass
        | ScalarType::Regtype
        | ScalarType::Regproc
        | ScalarType::Regnamespace => Category::Numeric,
        ScalarType::Text | ScalarType::Varchar | ScalarType::Bpchar | ScalarType::Name => Category::String,
        ScalarType::Date | ScalarType::Time | ScalarType::Timestamp | ScalarType::Timestamptz => Category::DateTime,
        ScalarType::Interval => Category::Timespan,
        ScalarType::Char => Category::InternalUse,
        ScalarType::Int2vector | ScalarType::Oidvector => Category::Array,
        ScalarType::Unknown => Category::Unknown,
        ScalarType::Void | ScalarType::Record => Category::Pseudo,
        _ => Category::User,
    }
}

/// Whether a type is the preferred one of its category.
pub(super) fn is_preferred(ty: PgType) -> bool {
    matches!(
        ty,
        PgType::Scalar(
            ScalarType::Bool
                | ScalarType::Float8
                | ScalarType::Oid
                | ScalarType::Text
                | ScalarType::Timestamptz
                | ScalarType::Interval
                | ScalarType::Varbit
        )
    )
}

/// Whether PostgreSQL casts a type to another without being asked.
pub fn coerces_implicitly(from: PgType, to: PgType) -> bool {
    use ScalarType::*;
    if from == to || from == PgType::Scalar(Unknown) {
        return true;
    }
    match (from, to) {
        (PgType::Scalar(Vector), PgType::Array(Float4)) => true,
        (PgType::Scalar(Int2vector), PgType::Array(Int2)) | (PgType::Scalar(Oidvector), PgType::Array(Oid)) => true,
        // Strings of any kind are stored alike, and so are arrays of them.
        (PgType::Array(from), PgType::Array(to)) => matches!((from, to), (Varchar, Text) | (Text, Varchar)),
        (PgType::Scalar(from), PgType::Scalar(to)) => match from {
            Int2 => matches!(to, Int4 | Int8 | Numeric | Float4 | Float8) || is_identifier(to),
            Int4 => matches!(to, Int8 | Numeric | Float4 | Float8) || is_identifier(to),
            Int8 => matches!(to, Numeric | Float4 | Float8) || is_identifier(to),
            Numeric => matches!(to, Float4 | Float8),
            Float4 => to == Float8,
            Date => matches!(to, Timestamp | Timestamptz),
            Timestamp => to == Timestamptz,
            Time => to == Interval,
            Text | Varchar => matches!(to, Text | Varchar | Bpchar | Name | Regclass),
            Bpchar => matches!(to, Text | Varchar | Name),
            Name | Char => to == Text,
            Oid => is_identifier(to),
            Regclass | Regtype | Regproc | Regnamespace => to == Oid,
            Vector => matches!(to, Halfvec | Sparsevec),
            Halfvec => to == Sparsevec,
            Bit | Varbit => matches!(to, Bit | Varbit),
            _ => false,
        },
        _ => false,
    }
}

fn is_identifier(ty: ScalarType) -> bool {
    use ScalarType::{Oid, Regclass, Regnamespace, Regproc, Regtype};
    matches!(ty, Oid | Regclass | Regtype | Regproc | Regnamespace)
}

/// The type of the column that a UNION, or the rows of a VALUES, make of these; see [`common_type`].
pub fn unify(types: &[Option<PgType>]) -> Result<PgType> {
    common_type("UNION", types)
}

/// The one type for expressions of these types; untyped all of them, it is `text`. The construct (`UNION`, `CASE`,
/// `COALESCE`, `VALUES`, `ARRAY`, `GREATEST`, `IN`) is for the error.
pub fn common_type(construct: &str, types: &[Option<PgType>]) -> Result<PgType> {
    let known = |ty: &&PgType| **ty != PgType::Scalar(ScalarType::Unknown);
    let mut typed = types.iter().flatten().filter(known);
    let Some(&first) = typed.next() else { return Ok(PgType::Scalar(ScalarType::Text)) };
    let mut chosen = first;
    for &next in typed {
        if next == chosen {
            continue;
        }
        if category(next) != category(chosen) {
            let message = format!("{construct} types {} and {} cannot be matched", chosen.sql_name(), next.sql_name());
            return Err(SqlError::new(SqlState::DatatypeMismatch, message));
        }
        if !is_preferred(chosen) && coerces_implicitly(chosen, next) && !coerces_implicitly(next, chosen) {
            chosen = next;
        }
    }
    for &ty in types.iter().flatten() {
        if !coerces_implicitly(ty, chosen) {
            let message = format!("{construct} could not convert type {} to {}", ty.sql_name(), chosen.sql_name());
            return Err(SqlError::new(SqlState::CannotCoerce, message));
        }
    }
    Ok(chosen)
}
