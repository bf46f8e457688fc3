//! Aggregates with PostgreSQL's types: DataFusion's own behind other conversions of arguments and results.
//!
//! `string_agg` is text, and `json_agg` is an array aggregated as DataFusion does it (order and DISTINCT included) and
//! then written down. What `sum` and `avg` take was converted before ([`super::aggregate_input`]).

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use super::average::{self, Average, DistinctAverage, Sums};
use super::errors::{to_datafusion, undefined_function};
use super::vector_aggregates::{self, VectorAggregate};
use crate::query::arrow::{QUOTIENT, pg_type, structural_type, vector_type};

/// What one of these aggregates makes of DataFusion's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// `sum`: of vectors our own.
    Sum,
    /// `avg`: of vectors and of numerics our own.
    Average,
    /// `string_agg`: text, not the large form of it.
    StringAggregate,
    /// `array_agg`: an array that knows the type of its elements.
    Array,
    /// `json_agg` and `jsonb_agg`: an array written as JSON.
    Json { binary: bool },
}

/// An aggregate of DataFusion's with other types around it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Adapted {
    name: &'static str,
    form: Form,
    behind: Arc<AggregateUDF>,
    signature: Signature,
}

/// The aggregates of this file.
pub(super) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let adapted = |name, form, behind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Adapted { name, form, behind, signature }))
    };
    vec![
        adapted("sum", Form::Sum, sum_udaf()),
        adapted("avg", Form::Average, avg_udaf()),
        adapted("string_agg", Form::StringAggregate, string_agg_udaf()),
        adapted("array_agg", Form::Array, array_agg_udaf()),
        adapted("json_agg", Form::Json { binary: false }, array_agg_udaf()),
        adapted("jsonb_agg", Form::Json { binary: true }, array_agg_udaf()),
    ]
}

/// Whether this is a dense vector, which sums and averages are made of.
fn is_vector(data_type: &DataType) -> bool {
    matches!(structural_type(data_type), PgType::Scalar(ScalarType::Vector | ScalarType::Halfvec))
}

fn is_decimal(fields: &[FieldRef]) -> bool {
    matches!(fields.first().map(|field| field.data_type()), Some(DataType::Decimal128(..) | DataType::Decimal256(..)))
}

impl Adapted {
    /// Whether this is the average of numerics.
    fn is_numeric_average(&self, fields: &[FieldRef]) -> bool {
        self.form == Form::Average && is_decimal(fields)
    }

    /// The aggregate of vectors this is for arguments of these types.
    fn vector_aggregate(&self, fields: &[FieldRef]) -> Option<VectorAggregate> {
        let first = fields.first().map(|field| field.data_type()).filter(|data_type| is_vector(data_type))?;
        let half = *first != vector_type();
        match self.form {
            Form::Sum => Some(VectorAggregate { sum: true, half }),
            Form::Average => Some(VectorAggregate { sum: false, half }),
            _ => None,
        }
    }

    /// The type the aggregate behind this one gives.
    fn behind_type(&self, arg_types: &[DataType]) -> DataFusionResult<DataType> {
        match (self.form, arg_types) {
            (Form::Average, [DataType::Decimal128(..) | DataType::Decimal256(..)]) => Ok(QUOTIENT),
            _ => self.behind.return_type(arg_types),
        }
    }

    /// The arguments of an accumulator behind this one.
    fn behind_args<'a>(&self, args: &AccumulatorArgs<'a>) -> DataFusionResult<AccumulatorArgs<'a>> {
        let types: Vec<DataType> = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = Field::new(args.name, self.behind_type(&types)?, true);
        Ok(AccumulatorArgs { return_field: Arc::new(field), ..args.clone() })
    }

    fn undefined(&self, arg_types: &[DataType]) -> datafusion::error::DataFusionError {
        let types: Vec<_> =
            arg_types.iter().map(|data_type| TypeWithModifier::plain(structural_type(data_type))).collect();
        to_datafusion(undefined_function(self.name, &types))
    }
}

impl AggregateUDFImpl for Adapted {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        use DataType as D;
        let [first, rest @ ..] = arg_types else { return Err(self.undefined(arg_types)) };
        let wanted = match (self.form, first) {
            (Form::Sum | Form::Average, vector) if is_vector(vector) => vector.clone(),
            (Form::Sum | Form::Average, D::Null) => D::Float64,
            (
                Form::Sum | Form::Average,
                known @ (D::Int64 | D::Float64 | D::Decimal128(..) | D::Decimal256(..) | D::Interval(_)),
            ) => known.clone(),
            (Form::StringAggregate, D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Null) => D::Utf8,
            (Form::Array | Form::Json { .. }, any) => any.clone(),
            _ => return Err(self.undefined(arg_types)),
        };
        let mut types = vec![wanted];
        match (self.form, rest) {
            (Form::StringAggregate, [_]) => types.push(D::Utf8),
            (Form::StringAggregate, _) => return Err(self.undefined(arg_types)),
            (_, []) => {}
            _ => return Err(self.undefined(arg_types)),
        }
        Ok(types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> DataFusionResult<DataType> {
        match self.form {
            Form::Sum | Form::Average => match arg_types.first().filter(|first| is_vector(first)) {
                Some(vector) => Ok(vector.clone()),
                None => self.behind_type(arg_types),
            },
            Form::Array => self.behind_type(arg_types),
            Form::StringAggregate | Form::Json { binary: false } => Ok(DataType::Utf8),
            Form::Json { binary: true } => Ok(DataType::LargeUtf8),
        }
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> DataFusionResult<FieldRef> {
        let types: Vec<DataType> = arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let mut field = Field::new(self.name, self.return_type(&types)?, true);
        let named = match (self.form, arg_fields.first().map(|field| pg_type(field).ty)) {
            (Form::Json { binary: false }, _) => Some(PgType::Scalar(ScalarType::Json)),
            (Form::Array, Some(PgType::Scalar(element) | PgType::Array(element))) => Some(PgType::Array(element)),
            _ => None,
        };
        if let Some(ty) = named {
            field = field.with_metadata(crate::query::arrow::metadata(TypeWithModifier::plain(ty)));
        }
        Ok(Arc::new(field))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DataFusionResult<Vec<FieldRef>> {
        if self.vector_aggregate(args.input_fields).is_some() {
            return Ok(vector_aggregates::state_fields(args.name));
        }
        if self.is_numeric_average(args.input_fields) {
            let input = args.input_fields[0].data_type();
            return match args.is_distinct {
                true => DistinctAverage::state_fields(args.name, input),
                false => average::state_fields(args.name, input),
            };
        }
        let types: Vec<DataType> = args.input_fields.iter().map(|field| field.data_type().clone()).collect();
        let return_field = Arc::new(Field::new(args.name, self.behind_type(&types)?, true));
        self.behind.state_fields(StateFieldsArgs { return_field, ..args })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn Accumulator>> {
        if let Some(aggregate) = self.vector_aggregate(args.expr_fields) {
            return Ok(aggregate.accumulator(args.is_distinct));
        }
        if self.is_numeric_average(args.expr_fields) {
            let input = args.expr_fields[0].data_type();
            return Ok(match args.is_distinct {
                true => Box::new(DistinctAverage::of(input)?),
                false => Box::new(Average(Sums::of(input)?)),
            });
        }
        let accumulator = self.behind.accumulator(self.behind_args(&args)?)?;
        let element =
            args.expr_fields.first().map_or(TypeWithModifier::plain(ScalarType::Text), |field| pg_type(field));
        Ok(match self.form {
            Form::Sum | Form::Average | Form::Array => accumulator,
            form => Box::new(Converted { form, element, behind: accumulator }),
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.is_numeric_average(args.expr_fields) && !args.is_distinct
            || matches!(self.form, Form::Sum | Form::Average | Form::Array)
                && self.vector_aggregate(args.expr_fields).is_none()
                && self.behind_args(&args).is_ok_and(|args| self.behind.groups_accumulator_supported(args))
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        if self.is_numeric_average(args.expr_fields) {
            return Ok(Box::new(Sums::of(args.expr_fields[0].data_type())?));
        }
        self.behind.create_groups_accumulator(self.behind_args(&args)?)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn Accumulator>> {
        match self.form {
            Form::Sum | Form::Average
                if self.vector_aggregate(args.expr_fields).is_none() && !self.is_numeric_average(args.expr_fields) =>
            {
                self.behind.create_sliding_accumulator(self.behind_args(&args)?)
            }
            _ => self.accumulator(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        match self.form {
            Form::Sum | Form::Average => AggregateOrderSensitivity::Insensitive,
            Form::Array => self.behind.order_sensitivity(),
            Form::StringAggregate | Form::Json { .. } => AggregateOrderSensitivity::HardRequirement,
        }
    }

    fn with_beneficial_ordering(self: Arc<Self>, ordered: bool) -> DataFusionResult<Option<Arc<dyn AggregateUDFImpl>>> {
        let behind = self.behind.as_ref().clone().with_beneficial_ordering(ordered)?;
        let Self { name, form, ref signature, .. } = *self;
        let adapted = |behind| Self { name, form, behind: Arc::new(behind), signature: signature.clone() };
        Ok(behind.map(|behind| Arc::new(adapted(behind)) as Arc<dyn AggregateUDFImpl>))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.form {
            Form::Sum | Form::Average => ReversedUDAF::Identical,
            Form::Array | Form::StringAggregate | Form::Json { .. } => ReversedUDAF::NotSupported,
        }
    }
}

/// An accumulator whose result is converted.
#[derive(Debug)]
struct Converted {
    form: Form,
    element: TypeWithModifier,
    behind: Box<dyn Accumulator>,
}

impl Accumulator for Converted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.behind.update_batch(values)
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        self.behind.merge_batch(states)
    }
    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        self.behind.state()
    }
    fn size(&self) -> usize {
        self.behind.size()
    }
    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let value = self.behind.evaluate()?;
        match self.form {
            Form::Json { binary } => {
                let text = if value.is_null() { None } else { Some(self.json_text(&value, binary)?) };
                Ok(if binary { ScalarValue::LargeUtf8(text) } else { ScalarValue::Utf8(text) })
            }
            _ => Ok(ScalarValue::Utf8(value.try_as_str().flatten().map(str::to_owned))),
        }
    }
}

impl Converted {
    fn json_text(&self, list: &ScalarValue, binary: bool) -> DataFusionResult<String> {
        let ScalarValue::List(list) = list else { return Ok("[]".to_owned()) };
        let values = list.value(0);
        let mut parts = Vec::with_capacity(values.len());
        for row in 0..values.len() {
            let datum = crate::query::arrow::datum_at(&values, row, self.element).map_err(to_datafusion)?;
            parts.push(super::json::json_of(&datum, self.element.ty, chrono_tz::UTC));
        }
        let text = format!("[{}]", parts.join(", "));
        if !binary {
            return Ok(text);
        }
        let ty = TypeWithModifier::plain(ScalarType::Jsonb);
        match lodedb_sql::text::parse_text(&text, ty).map_err(to_datafusion)? {
            Datum::Jsonb(text) => Ok(text),
            _ => Ok(text),
        }
    }
}
