//! The text and binary forms of every type.

use arbitrary::{Result, Unstructured};

use super::{any_column_type, any_environment, rest_as_text};
use crate::binary::{parse_binary, write_binary};
use crate::cast::CastEnvironment;
use crate::compare::compare;
use crate::datum::Datum;
use crate::text::{parse_text_in, to_text};
use crate::types::{PgType, ScalarType, TypeWithModifier};
use crate::vector::MAX_DIMENSIONS;

/// What reads as a value is one its type may have, and reads back from both of its forms.
pub fn values(data: &[u8]) {
    let _ = read(&mut Unstructured::new(data));
}

fn read(u: &mut Unstructured<'_>) -> Result<()> {
    let (ty, environment) = (any_column_type(u)?, any_environment(u)?);
    let value = if u.arbitrary()? {
        parse_binary(u.bytes(u.len())?, ty)
    } else {
        parse_text_in(&rest_as_text(u), ty, &environment)
    };
    if let Ok(value) = value {
        check(&value, ty, &environment);
    }
    Ok(())
}

/// Checks a value of a column's type.
pub(super) fn check(value: &Datum, ty: TypeWithModifier, environment: &CastEnvironment) {
    if value.is_null() {
        return;
    }
    is_possible(value, ty);
    if matches!(ty.ty, PgType::Scalar(ScalarType::Void | ScalarType::Record)) {
        return;
    }
    let text = to_text(value, ty.ty, environment.zone);
    let mut binary = Vec::new();
    write_binary(value, ty.ty, &mut binary);
    let from_text = parse_text_in(&text, ty, environment).unwrap_or_else(|error| panic!("{error}: {value:?}"));
    assert_eq!(to_text(&from_text, ty.ty, environment.zone), text, "the text form of {value:?}");
    let from_binary = parse_binary(&binary, ty).unwrap_or_else(|error| panic!("{error}: {value:?}"));
    let mut again = Vec::new();
    write_binary(&from_binary, ty.ty, &mut again);
    assert_eq!(again, binary, "the binary form of {value:?}");
    for same in [&from_text, &from_binary] {
        assert!(compare(value, same).is_eq(), "{value:?} is not {same:?}");
    }
}

fn is_possible(value: &Datum, ty: TypeWithModifier) {
    match value {
        Datum::Vector(vector) => {
            assert!((1..=MAX_DIMENSIONS).contains(&vector.len()));
            assert!(ty.vector_dims().is_none_or(|dimensions| dimensions == vector.len()));
            assert!(vector.iter().all(|component| component.is_finite()));
        }
        Datum::Halfvec(vector) => {
            assert!((1..=MAX_DIMENSIONS).contains(&vector.len()));
            assert!(ty.dimensions().is_none_or(|dimensions| dimensions == vector.len()));
            assert!(vector.iter().all(|&component| crate::halfvec::widened(component).is_finite()));
        }
        Datum::Sparsevec(vector) => {
            assert!(ty.dimensions().is_none_or(|dimensions| dimensions == vector.dimensions() as usize));
            let words = vector.sort_words();
            assert_eq!(crate::sparsevec::SparseVector::from_sort_words(&words).as_ref(), Some(vector.as_ref()));
        }
        Datum::Bits(bits) => {
            assert_eq!(bits.bytes().len(), bits.len().div_ceil(8));
            assert_eq!(bits.iter().filter(|bit| *bit).count() as u64, bits.count_ones());
        }
        Datum::Numeric(decimal) => assert!(decimal.digits() <= 76, "{decimal}"),
        Datum::Array(array) => {
            let (PgType::Array(_) | PgType::Scalar(ScalarType::Int2vector | ScalarType::Oidvector)) = ty.ty else {
                panic!("an array in a {}", ty.ty.sql_name());
            };
            let count: usize = array.dimensions.iter().map(|(length, _)| *length as usize).product();
            assert_eq!(array.elements.len(), if array.dimensions.is_empty() { 0 } else { count });
            let element = TypeWithModifier { ty: PgType::Scalar(array.element), modifier: ty.modifier };
            array.elements.iter().for_each(|value| is_possible(value, element));
        }
        _ => {}
    }
}
