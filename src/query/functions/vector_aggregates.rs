//! `sum` and `avg` of `vector` and `halfvec`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;
use lodedb_sql::error::Result;
use lodedb_sql::vector::VectorAverage;
use lodedb_sql::{Datum, ScalarType, SqlError, SqlState, TypeWithModifier, halfvec};

use super::errors::to_datafusion;
use crate::query::arrow::{list_of, scalar_value};

/// Which aggregate of which vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VectorAggregate {
    /// The sum, not the average.
    pub(super) sum: bool,
    /// Of half precision.
    pub(super) half: bool,
}

/// The state between the stages of an aggregation: how many vectors, and the sum of each component.
pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
    vec![
        Arc::new(Field::new(format_state_name(name, "count"), DataType::Int64, true)),
        Arc::new(Field::new(format_state_name(name, "sums"), list_of(DataType::Float64), true)),
    ]
}

/// The first number that rounds to no finite component of half precision is 65,520.
const HALF_MAX: f32 = 65_519.996;

impl VectorAggregate {
    /// The type of the vectors.
    fn ty(self) -> ScalarType {
        if self.half { ScalarType::Halfvec } else { ScalarType::Vector }
    }
    /// An accumulator of this aggregate.
    pub(super) fn accumulator(self, distinct: bool) -> Box<dyn Accumulator> {
        Box::new(VectorAccumulator {
            aggregate: self,
            average: VectorAverage::default(),
            seen: distinct.then(Vec::new),
        })
    }
}

#[derive(Debug)]
struct VectorAccumulator {
    aggregate: VectorAggregate,
    average: VectorAverage,
    /// The vectors counted so far, for DISTINCT: few in practice, since equal vectors are rare.
    seen: Option<Vec<Vec<f32>>>,
}

impl VectorAccumulator {
    fn add(&mut self, vector: &[f32]) -> Result<()> {
        if let Some(seen) = &mut self.seen {
            if seen.iter().any(|other| other == vector) {
                return Ok(());
            }
            seen.push(vector.to_vec());
        }
        let (count, sums) = self.average.parts();
        if self.aggregate.sum && count > 0 && sums.len() != vector.len() {
            // pgvector adds up sums with the operator `+`, whose error this is.
            let ty = self.aggregate.ty().sql_name();
            let message = format!("different {ty} dimensions {} and {}", sums.len(), vector.len());
            return Err(SqlError::new(SqlState::DataException, message));
        }
        self.average.add(vector)
    }

    fn sum(&self) -> Result<Option<Arc<[f32]>>> {
        let (count, sums) = self.average.parts();
        let components: Arc<[f32]> = sums.iter().map(|sum| *sum as f32).collect();
        let most = if self.aggregate.half { HALF_MAX } else { f32::MAX };
        if components.iter().any(|component| component.abs() > most) {
            return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
        }
        Ok((count > 0).then_some(components))
    }

    fn finish(&self) -> Result<Datum> {
        let VectorAggregate { sum, half } = self.aggregate;
        let components = if sum { self.sum()? } else { self.average.finish()? };
        Ok(match components {
            None => Datum::Null,
            Some(components) if half => Datum::Halfvec(halfvec::narrow(&components)?),
            Some(components) => Datum::Vector(components),
        })
    }
}

impl Accumulator for VectorAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        let vectors = values[0].as_list::<i64>();
        let offsets = vectors.value_offsets();
        let widened: Vec<f32>;
        let components: &[f32] = if self.aggregate.half {
            let halves = vectors.values().as_primitive::<Float16Type>().values();
            widened = halves.iter().map(|half| half.to_f32()).collect();
            &widened
        } else {
            vectors.values().as_primitive::<Float32Type>().values()
        };
        for row in 0..vectors.len() {
            if vectors.is_valid(row) {
                let vector = &components[offsets[row] as usize..offsets[row + 1] as usize];
                self.add(vector).map_err(to_datafusion)?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let counts: &Int64Array = states[0].as_primitive::<Int64Type>();
        let sums: &ListArray = states[1].as_list();
        for row in 0..counts.len() {
            if counts.is_null(row) || counts.value(row) == 0 {
                continue;
            }
            let components = sums.value(row);
            let components: &Float64Array = components.as_primitive::<Float64Type>();
            let part = VectorAverage::from_parts(counts.value(row) as u64, components.values().to_vec());
            self.average.merge(&part).map_err(to_datafusion)?;
        }
        Ok(())
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        let (count, sums) = self.average.parts();
        let values: Vec<ScalarValue> = sums.iter().map(|sum| ScalarValue::Float64(Some(*sum))).collect();
        Ok(vec![
            ScalarValue::Int64(Some(count as i64)),
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float64)),
        ])
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let datum = self.finish().map_err(to_datafusion)?;
        scalar_value(&datum, TypeWithModifier::plain(self.aggregate.ty())).map_err(to_datafusion)
    }

    fn size(&self) -> usize {
        let seen = self.seen.iter().flatten().map(|vector| vector.len() * 4 + 24).sum::<usize>();
        size_of::<Self>() + self.average.parts().1.len() * 8 + seen
    }
}
