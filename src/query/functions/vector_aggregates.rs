//! `sum(vector)` and `avg(vector)`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;
use lodedb_sql::error::Result;
use lodedb_sql::vector::VectorAverage;
use lodedb_sql::{Datum, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::errors::to_datafusion;
use crate::query::arrow::{list_of, scalar_value};

/// Which aggregate of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VectorAggregate {
    Sum,
    Average,
}

/// The state between the stages of an aggregation: how many vectors, and the sum of each component.
pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
    vec![
        Arc::new(Field::new(format_state_name(name, "count"), DataType::Int64, true)),
        Arc::new(Field::new(format_state_name(name, "sums"), list_of(DataType::Float64), true)),
    ]
}

impl VectorAggregate {
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
        self.average.add(vector)
    }

    fn finish(&self) -> Result<Datum> {
        match self.aggregate {
            VectorAggregate::Average => Ok(self.average.finish()?.map_or(Datum::Null, Datum::Vector)),
            VectorAggregate::Sum => {
                let (count, sums) = self.average.parts();
                if count == 0 {
                    return Ok(Datum::Null);
                }
                let vector: Arc<[f32]> = sums.iter().map(|sum| *sum as f32).collect();
                if vector.iter().any(|component| component.is_infinite()) {
                    return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
                }
                Ok(Datum::Vector(vector))
            }
        }
    }
}

impl Accumulator for VectorAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        let vectors = values[0].as_list::<i64>();
        let components = vectors.values().as_primitive::<Float32Type>().values();
        let offsets = vectors.value_offsets();
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
        scalar_value(&datum, TypeWithModifier::plain(ScalarType::Vector)).map_err(to_datafusion)
    }

    fn size(&self) -> usize {
        let seen = self.seen.iter().flatten().map(|vector| vector.len() * 4 + 24).sum::<usize>();
        size_of::<Self>() + self.average.parts().1.len() * 8 + seen
    }
}
