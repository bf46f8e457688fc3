//! The types of `$1`, `$2`, ...: what the client said, and what their surroundings say of the rest.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use lodedb_sql::{PgType, ScalarType, TypeWithModifier};
use parking_lot::Mutex;

use crate::query::arrow::result_field;

/// The types known so far, the first use of a parameter deciding.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    known: Mutex<Vec<Option<PgType>>>,
}

impl Parameters {
    /// Those of a statement with `count` parameters; `given` are the client's.
    pub(crate) fn new(given: &[Option<PgType>], count: usize) -> Arc<Self> {
        let mut known = given.to_vec();
        for ty in &mut known {
            if matches!(ty, Some(PgType::Scalar(ScalarType::Unknown))) {
                *ty = None;
            }
        }
        known.resize(known.len().max(count), None);
        Arc::new(Self { known: Mutex::new(known) })
    }

    /// Notes the type of `$number` (from 1), unless it has one.
    pub(crate) fn note(&self, number: usize, ty: PgType) {
        if number == 0 || ty == PgType::Scalar(ScalarType::Unknown) {
            return;
        }
        let mut known = self.known.lock();
        if known.len() < number {
            known.resize(number, None);
        }
        known[number - 1].get_or_insert(ty);
    }

    /// As [`Self::note`], for `$1` as it is written; gives the type it has.
    pub(crate) fn note_named(&self, name: &str, ty: PgType) -> PgType {
        let Some(number) = name.strip_prefix('$').and_then(|digits| digits.parse().ok()) else { return ty };
        self.note(number, ty);
        self.get(number).unwrap_or(ty)
    }

    /// The type of `$number`, if it is known.
    pub(crate) fn get(&self, number: usize) -> Option<PgType> {
        self.known.lock().get(number.checked_sub(1)?).copied().flatten()
    }

    /// The types as they are known now.
    pub(crate) fn save(&self) -> Vec<Option<PgType>> {
        self.known.lock().clone()
    }

    /// Forgets what was noted since the types were saved.
    pub(crate) fn restore(&self, saved: &[Option<PgType>]) {
        *self.known.lock() = saved.to_vec();
    }

    /// How many have a type.
    pub(crate) fn known(&self) -> usize {
        self.known.lock().iter().flatten().count()
    }

    /// Gives `text` to those without a type.
    pub(crate) fn settle(&self) {
        for ty in self.known.lock().iter_mut() {
            ty.get_or_insert(PgType::Scalar(ScalarType::Text));
        }
    }

    /// Whether all have a type.
    pub(crate) fn complete(&self) -> bool {
        self.known.lock().iter().all(Option::is_some)
    }

    /// The types, `text` where unknown.
    pub(crate) fn types(&self) -> Arc<[PgType]> {
        self.known.lock().iter().map(|ty| ty.unwrap_or(PgType::Scalar(ScalarType::Text))).collect()
    }

    /// As DataFusion's planner takes them.
    pub(crate) fn fields(&self) -> Vec<Option<FieldRef>> {
        let known = self.known.lock();
        let field = |(at, ty): (usize, &Option<PgType>)| {
            ty.map(|ty| result_field(&format!("${}", at + 1), TypeWithModifier::plain(ty)))
        };
        known.iter().enumerate().map(field).collect()
    }
}
