//! `avg` over numerics: the sum and the count, divided at the end with as many digits as PostgreSQL gives.

use std::collections::HashSet;
use std::sync::Arc;

use bigdecimal::BigDecimal;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal256Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Int64Type, i256};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use lodedb_sql::{Datum, SqlError};

use super::errors::to_datafusion;
use super::quotient::quotient;
use crate::query::arrow::{NUMERIC_PRECISION, QUOTIENT, Shown, array_of, decimal_of, list_of};

/// The state between the stages of an aggregation: how many values, and their sum.
pub(super) fn state_fields(name: &str, input: &DataType) -> DataFusionResult<Vec<FieldRef>> {
    let sum = DataType::Decimal256(NUMERIC_PRECISION, Sums::of(input)?.scale);
    Ok(vec![
        Arc::new(Field::new(format_state_name(name, "count"), DataType::Int64, true)),
        Arc::new(Field::new(format_state_name(name, "sum"), sum, true)),
    ])
}

/// The averages of the groups of an aggregation; without groups, of the first.
#[derive(Debug)]
pub(super) struct Sums {
    counts: Vec<i64>,
    sums: Vec<i256>,
    scale: i8,
    shown: Shown,
}

impl Sums {
    /// Those of values of a decimal type.
    pub(super) fn of(input: &DataType) -> DataFusionResult<Self> {
        let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) = input else {
            return Err(to_datafusion(SqlError::internal("an average of something else than decimals")));
        };
        Ok(Self { counts: Vec::new(), sums: Vec::new(), scale: *scale, shown: Shown::new(*precision, *scale, -1) })
    }

    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups.max(self.counts.len()), 0);
        self.sums.resize(groups.max(self.sums.len()), i256::ZERO);
    }

    /// The values of a column that are not NULL, with their rows.
    fn each(column: &ArrayRef, mut f: impl FnMut(usize, i256)) {
        let valid = |row: &usize| column.is_valid(*row);
        if let Some(values) = column.as_primitive_opt::<Decimal128Type>() {
            (0..column.len()).filter(valid).for_each(|row| f(row, i256::from_i128(values.value(row))));
        } else if let Some(values) = column.as_primitive_opt::<Decimal256Type>() {
            (0..column.len()).filter(valid).for_each(|row| f(row, values.value(row)));
        }
    }

    fn add(&mut self, group: usize, count: i64, sum: i256) {
        self.counts[group] += count;
        self.sums[group] = self.sums[group].wrapping_add(sum);
    }

    fn average(&self, count: i64, sum: i256) -> Datum {
        match count {
            0 => Datum::Null,
            count => {
                let sum = decimal_of(sum, self.scale, self.shown);
                Datum::Numeric(quotient(&sum, &BigDecimal::from(count)))
            }
        }
    }

    fn sum_array(&self, sums: Vec<i256>) -> DataFusionResult<ArrayRef> {
        Ok(Arc::new(Decimal256Array::from(sums).with_precision_and_scale(NUMERIC_PRECISION, self.scale)?))
    }
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> DataFusionResult<()> {
        self.grow(total);
        Self::each(&values[0], |row, value| {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.add(groups[row], 1, value);
            }
        });
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> DataFusionResult<()> {
        self.grow(total);
        let counts = states[0].as_primitive::<Int64Type>();
        Self::each(&states[1], |row, sum| self.add(groups[row], counts.value(row), sum));
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> DataFusionResult<ArrayRef> {
        let (counts, sums) = (emit.take_needed(&mut self.counts), emit.take_needed(&mut self.sums));
        let averages: Vec<Datum> = counts.into_iter().zip(sums).map(|(count, sum)| self.average(count, sum)).collect();
        array_of(&averages, &QUOTIENT).map_err(to_datafusion)
    }

    fn state(&mut self, emit: EmitTo) -> DataFusionResult<Vec<ArrayRef>> {
        let (counts, sums) = (emit.take_needed(&mut self.counts), emit.take_needed(&mut self.sums));
        Ok(vec![Arc::new(Int64Array::from(counts)), self.sum_array(sums)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> DataFusionResult<Vec<ArrayRef>> {
        let mut rows = Self { counts: Vec::new(), sums: Vec::new(), ..*self };
        let each: Vec<usize> = (0..values[0].len()).collect();
        rows.update_batch(values, &each, filter, each.len())?;
        rows.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>() + self.sums.capacity() * size_of::<i256>()
    }
}

/// One average, which values may leave again as a window moves on.
#[derive(Debug)]
pub(super) struct Average(pub(super) Sums);

impl Average {
    fn count(&mut self, values: &[ArrayRef], sign: i64) {
        self.0.grow(1);
        Sums::each(&values[0], |_, value| {
            self.0.add(0, sign, if sign < 0 { value.wrapping_neg() } else { value });
        });
    }
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.count(values, 1);
        Ok(())
    }
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.count(values, -1);
        Ok(())
    }
    fn supports_retract_batch(&self) -> bool {
        true
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        GroupsAccumulator::merge_batch(&mut self.0, states, &vec![0; states[0].len()], 1)
    }
    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        self.0.grow(1);
        let sum = self.0.sum_array(vec![self.0.sums[0]])?;
        Ok(vec![self.0.counts[0].into(), ScalarValue::try_from_array(&sum, 0)?])
    }
    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        self.0.grow(1);
        let average = self.0.average(self.0.counts[0], self.0.sums[0]);
        super::definition::scalar_of(&average, &QUOTIENT).map_err(to_datafusion)
    }
    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

/// The average of the different ones among the values.
#[derive(Debug)]
pub(super) struct DistinctAverage {
    sums: Sums,
    seen: HashSet<i256>,
}

impl DistinctAverage {
    pub(super) fn of(input: &DataType) -> DataFusionResult<Self> {
        Ok(Self { sums: Sums::of(input)?, seen: HashSet::new() })
    }

    /// The state between the stages of an aggregation: the values.
    pub(super) fn state_fields(name: &str, input: &DataType) -> DataFusionResult<Vec<FieldRef>> {
        let value = DataType::Decimal256(NUMERIC_PRECISION, Sums::of(input)?.scale);
        Ok(vec![Arc::new(Field::new(format_state_name(name, "values"), list_of(value), true))])
    }
}

impl Accumulator for DistinctAverage {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        Sums::each(&values[0], |_, value| {
            self.seen.insert(value);
        });
        Ok(())
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        states[0].as_list::<i32>().iter().flatten().try_for_each(|values| self.update_batch(&[values]))
    }
    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        let values = self.sums.sum_array(self.seen.iter().copied().collect())?;
        Ok(vec![ScalarValue::List(Arc::new(SingleRowListArrayBuilder::new(values).build_list_array()))])
    }
    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let sum = self.seen.iter().fold(i256::ZERO, |sum, value| sum.wrapping_add(*value));
        let average = self.sums.average(self.seen.len() as i64, sum);
        super::definition::scalar_of(&average, &QUOTIENT).map_err(to_datafusion)
    }
    fn size(&self) -> usize {
        size_of::<Self>() + self.seen.capacity() * size_of::<i256>()
    }
}
