//! `stddev`, `variance` and their kind: exact over numerics, as PostgreSQL has it, and in floats over floats.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use bigdecimal::num_traits::{Signed, Zero};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use lodedb_sql::{Datum, ScalarType, SqlError, TypeWithModifier};

use super::definition::scalar_of;
use super::errors::to_datafusion;
use super::quotient::{divided, quotient};
use crate::query::arrow::{ColumnReader, NUMERIC_SCALE, QUOTIENT};

/// One of these aggregates.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Deviation {
    name: &'static str,
    how: How,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct How {
    /// Of the whole population rather than a sample of it.
    population: bool,
    /// The standard deviation rather than the variance.
    root: bool,
}

/// The aggregates of this file.
pub(super) fn aggregates() -> impl Iterator<Item = Arc<AggregateUDF>> {
    [
        ("stddev", false, true),
        ("stddev_samp", false, true),
        ("stddev_pop", true, true),
        ("variance", false, false),
        ("var_samp", false, false),
        ("var_pop", true, false),
    ]
    .into_iter()
    .map(|(name, population, root)| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Deviation { name, how: How { population, root }, signature }))
    })
}

impl AggregateUDFImpl for Deviation {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(if types.first() == Some(&DataType::Float64) { DataType::Float64 } else { QUOTIENT })
    }
    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DataFusionResult<Vec<FieldRef>> {
        let field = |name: &str, ty| Arc::new(Field::new(format_state_name(args.name, name), ty, true));
        let sums =
            if args.input_fields[0].data_type() == &DataType::Float64 { DataType::Float64 } else { DataType::Utf8 };
        Ok(vec![field("count", DataType::Int64), field("sum", sums.clone()), field("squares", sums)])
    }
    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(to_datafusion(SqlError::unsupported(format!("{}(DISTINCT ..)", self.name))));
        }
        let how = self.how;
        Ok(if args.expr_fields[0].data_type() == &DataType::Float64 {
            Box::new(Floats { how, count: 0, sum: 0.0, squares: 0.0 })
        } else {
            Box::new(Numerics { how, count: 0, sum: BigDecimal::zero(), squares: BigDecimal::zero() })
        })
    }
}

/// The squares are those of the distances from the mean, kept up as Youngs and Cramer do.
#[derive(Debug)]
struct Floats {
    how: How,
    count: i64,
    sum: f64,
    squares: f64,
}

impl Floats {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        if self.count > 1 {
            let n = self.count as f64;
            let distance = value * n - self.sum;
            self.squares += distance * distance / (n * (n - 1.0));
        }
    }
}

impl Accumulator for Floats {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        values[0].as_primitive::<Float64Type>().iter().flatten().for_each(|value| self.add(value));
        Ok(())
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let (sums, squares) = (states[1].as_primitive::<Float64Type>(), states[2].as_primitive::<Float64Type>());
        for (row, count) in states[0].as_primitive::<Int64Type>().values().iter().enumerate().filter(|(_, n)| **n > 0) {
            let (n, m) = (self.count as f64, *count as f64);
            if self.count > 0 {
                let apart = self.sum / n - sums.value(row) / m;
                self.squares += n * m * apart * apart / (n + m);
            }
            self.count += count;
            self.sum += sums.value(row);
            self.squares += squares.value(row);
        }
        Ok(())
    }
    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        Ok(vec![self.count.into(), self.sum.into(), self.squares.into()])
    }
    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let degrees = self.count - i64::from(!self.how.population);
        let variance = (degrees > 0).then(|| self.squares / degrees as f64);
        Ok(ScalarValue::Float64(if self.how.root { variance.map(f64::sqrt) } else { variance }))
    }
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

#[derive(Debug)]
struct Numerics {
    how: How,
    count: i64,
    sum: BigDecimal,
    squares: BigDecimal,
}

impl Accumulator for Numerics {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        let column = &values[0];
        let reader = ColumnReader::new(column, TypeWithModifier::plain(ScalarType::Numeric)).map_err(to_datafusion)?;
        for row in 0..column.len() {
            if let Datum::Numeric(value) = reader.datum(row).map_err(to_datafusion)? {
                self.count += 1;
                self.squares += &value * &value;
                self.sum += value;
            }
        }
        Ok(())
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let decimal = |state: &ArrayRef, row| {
            let text = state.as_string::<i32>().value(row);
            text.parse::<BigDecimal>().map_err(|error| to_datafusion(SqlError::internal(error)))
        };
        for (row, count) in states[0].as_primitive::<Int64Type>().values().iter().enumerate() {
            self.count += count;
            self.sum += decimal(&states[1], row)?;
            self.squares += decimal(&states[2], row)?;
        }
        Ok(())
    }
    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        Ok(vec![self.count.into(), self.sum.to_string().into(), self.squares.to_string().into()])
    }
    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let n = BigDecimal::from(self.count);
        let degrees = BigDecimal::from(self.count - i64::from(!self.how.population));
        if !degrees.is_positive() {
            return ScalarValue::try_from(QUOTIENT);
        }
        let distances = &n * &self.squares - &self.sum * &self.sum;
        let divisor = n * degrees;
        let mut result = quotient(&distances, &divisor);
        if self.how.root {
            let scale = result.fractional_digit_count();
            let root = divided(&distances, &divisor, 2 * i64::from(NUMERIC_SCALE)).sqrt();
            result = root.unwrap_or_default().with_scale_round(scale, bigdecimal::RoundingMode::HalfUp);
        }
        scalar_of(&Datum::Numeric(result), &QUOTIENT).map_err(to_datafusion)
    }
    fn size(&self) -> usize {
        size_of::<Self>() + 128
    }
}
