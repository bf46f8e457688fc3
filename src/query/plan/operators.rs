//! Binary operators: chosen as PostgreSQL chooses them, their operands converted, untyped literals read as what they
//! stand beside.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DECIMAL128_MAX_SCALE, DataType};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{BinaryExpr, Placeholder, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, Operator, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion::sql::sqlparser::tokenizer::Location;
use lodedb_sql::cast::{CastContext, CastEnvironment, can_cast, cast};
use lodedb_sql::error::Result;
use lodedb_sql::parse::Places;
use lodedb_sql::resolve::resolve_operator;
use lodedb_sql::text::parse_text_in;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::checked::checked_name;
use super::keys::{INTERVAL_ORDER, has_floats};
use super::parameters::Parameters;
use super::sets;
use crate::catalog::Catalog;
use crate::query::arrow::{NUMERIC_SCALE, arrow_type, metadata, pg_type, result_field, scalar_value};
use crate::query::functions::KEY_FUNCTION;
use crate::query::statement_state::{broken, carry};

/// What typing an expression takes: the functions there are, and where parameters are noted.
pub(crate) struct Typing<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) parameters: &'a Parameters,
    pub(crate) environment: CastEnvironment,
    /// The models there are.
    pub(crate) catalog: &'a Catalog,
}

/// The same, kept by what DataFusion's planner calls.
#[derive(Clone, Debug)]
pub(crate) struct SharedTyping {
    pub(crate) state: Arc<SessionState>,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) environment: CastEnvironment,
    pub(crate) catalog: Arc<Catalog>,
}

impl SharedTyping {
    pub(crate) fn typing(&self) -> Typing<'_> {
        Typing {
            state: &self.state,
            parameters: &self.parameters,
            environment: self.environment,
            catalog: &self.catalog,
        }
    }
}

/// Plans binary operators; one for each statement that is planned.
#[derive(Debug)]
pub(crate) struct OperatorPlanner {
    pub(crate) typing: SharedTyping,
    pub(crate) places: Places,
}

impl ExprPlanner for OperatorPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        let typing = self.typing.typing();
        if matches!(expr.op, BinaryOperator::And | BinaryOperator::Or) {
            let mut expr = expr;
            expr.left = carry(typing.boolean(expr.left, &expr.op))?;
            expr.right = carry(typing.boolean(expr.right, &expr.op))?;
            return Ok(PlannerResult::Original(expr));
        }
        let Some(name) = operator_name(&expr.op) else { return Ok(PlannerResult::Original(expr)) };
        let expr = RawBinaryExpr {
            left: sets::settle_subquery(expr.left, &typing)?,
            right: sets::settle_subquery(expr.right, &typing)?,
            ..expr
        };
        // A column that is not there is for the planner to report.
        let (Ok(left), Ok(right)) = (operand_type(&expr.left, schema), operand_type(&expr.right, schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let start = start_of(&expr.left);
        let planned = typing
            .binary(name, expr.left, left, expr.right, right)
            .and_then(|planned| typing.within_digits(planned, schema));
        carry(planned.map_err(|error| match error.state() {
            SqlState::UndefinedFunction => match self.places.operator(&expr.op.to_string(), start) {
                Some(position) => error.with_position(position),
                None => error,
            },
            _ => error,
        }))
        .map(PlannerResult::Planned)
    }
}

/// Where the first column of an expression is written.
fn start_of(expr: &Expr) -> Option<Location> {
    let mut start: Option<Location> = None;
    // Nothing in it fails.
    let _ = expr.apply(|expr| {
        if let Expr::Column(column) = expr
            && let Some(span) = column.spans().first()
        {
            start = Some(Location { line: span.start.line, column: span.start.column });
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    start
}

/// The type of an operand; `None` for an untyped literal or parameter.
pub(crate) fn operand_type(expr: &Expr, schema: &DFSchema) -> DataFusionResult<Option<TypeWithModifier>> {
    Ok(match expr {
        Expr::Literal(ScalarValue::Utf8(_), metadata) if metadata.is_none() => None,
        Expr::Literal(value, _) if value.data_type() == DataType::Null => None,
        Expr::Placeholder(Placeholder { field: None, .. }) => None,
        other => {
            let (_, field) = other.to_field(schema)?;
            if *field.data_type() == DataType::Null { None } else { Some(pg_type(&field)) }
        }
    })
}

/// What `IS DISTINCT FROM` and its opposite are called as operators.
pub(super) const IS_DISTINCT: &str = "IS DISTINCT FROM";
pub(super) const IS_NOT_DISTINCT: &str = "IS NOT DISTINCT FROM";

fn operator_name(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::StringConcat => "||",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::PGBitwiseXor => "#",
        BinaryOperator::PGBitwiseShiftLeft => "<<",
        BinaryOperator::PGBitwiseShiftRight => ">>",
        BinaryOperator::PGRegexMatch => "~",
        BinaryOperator::PGRegexIMatch => "~*",
        BinaryOperator::PGRegexNotMatch => "!~",
        BinaryOperator::PGRegexNotIMatch => "!~*",
        BinaryOperator::PGLikeMatch => "~~",
        BinaryOperator::PGILikeMatch => "~~*",
        BinaryOperator::PGNotLikeMatch => "!~~",
        BinaryOperator::PGNotILikeMatch => "!~~*",
        BinaryOperator::Custom(name) if name == IS_DISTINCT => IS_DISTINCT,
        BinaryOperator::Custom(name) if name == IS_NOT_DISTINCT => IS_NOT_DISTINCT,
        _ => return None,
    })
}

fn datafusion_operator(name: &str) -> Option<Operator> {
    Some(match name {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "+" => Operator::Plus,
        "-" => Operator::Minus,
        "*" => Operator::Multiply,
        "/" => Operator::Divide,
        "%" => Operator::Modulo,
        "||" => Operator::StringConcat,
        "|" => Operator::BitwiseOr,
        "&" => Operator::BitwiseAnd,
        "#" => Operator::BitwiseXor,
        "<<" => Operator::BitwiseShiftLeft,
        ">>" => Operator::BitwiseShiftRight,
        "~" => Operator::RegexMatch,
        "~*" => Operator::RegexIMatch,
        "!~" => Operator::RegexNotMatch,
        "!~*" => Operator::RegexNotIMatch,
        "~~" => Operator::LikeMatch,
        "~~*" => Operator::ILikeMatch,
        "!~~" => Operator::NotLikeMatch,
        "!~~*" => Operator::NotILikeMatch,
        _ => return None,
    })
}

impl Typing<'_> {
    /// `left operator right`.
    pub(crate) fn binary(
        &self,
        operator: &'static str,
        left: Expr,
        left_type: Option<TypeWithModifier>,
        right: Expr,
        right_type: Option<TypeWithModifier>,
    ) -> Result<Expr> {
        let plain = |ty: Option<TypeWithModifier>| ty.map(|ty| ty.ty);
        let distinct = match operator {
            IS_DISTINCT => Some(Operator::IsDistinctFrom),
            IS_NOT_DISTINCT => Some(Operator::IsNotDistinctFrom),
            _ => None,
        };
        let operator = if distinct.is_some() { "=" } else { operator };
        let choice = resolve_operator(operator, plain(left_type), plain(right_type))?;
        let left = self.convert_operand(operator, left, plain(left_type), choice.left)?;
        let right = self.convert_operand(operator, right, plain(right_type), choice.right)?;
        if let Some(op) = distinct {
            return self.distinct(left, op, right, choice.left);
        }
        if let Some(name) = choice.function {
            return self.call(name, vec![left, right]);
        }
        // Lists of floating-point numbers are compared by their bits.
        let [left, right] = match choice.left {
            PgType::Array(_) if has_floats(&arrow_type(TypeWithModifier::plain(choice.left))) => {
                [self.call(KEY_FUNCTION, vec![left])?, self.call(KEY_FUNCTION, vec![right])?]
            }
            _ => [left, right],
        };
        if let Some(name) = checked_name(operator, choice.result) {
            return self.call(name, vec![left, right]);
        }
        let op = datafusion_operator(operator).ok_or_else(|| broken("an operator without a name"))?;
        Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
    }

    /// `left IS [NOT] DISTINCT FROM right`, both of this type. Values that are equal may have several forms, which DataFusion tells apart.
    fn distinct(&self, left: Expr, op: Operator, right: Expr, ty: PgType) -> Result<Expr> {
        let data_type = arrow_type(TypeWithModifier::plain(ty));
        let form = match ty {
            PgType::Scalar(ScalarType::Interval) => Some(INTERVAL_ORDER),
            _ if data_type.is_nested() && has_floats(&data_type) => Some(KEY_FUNCTION),
            _ => None,
        };
        let [left, right] = match form {
            Some(form) => [self.call(form, vec![left])?, self.call(form, vec![right])?],
            None => [left, right],
        };
        Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
    }

    /// A product of decimals whose digits after the point add up to more than there is room for is computed by a function, which
    /// keeps as many as a `numeric` has.
    fn within_digits(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        use DataType::{Decimal128, Decimal256};
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Multiply, right }) = &expr else { return Ok(expr) };
        let fits = match (left.get_type(schema), right.get_type(schema)) {
            (Ok(Decimal128(_, left)), Ok(Decimal128(_, right))) => left + right <= DECIMAL128_MAX_SCALE,
            (Ok(Decimal256(_, left)), Ok(Decimal256(_, right))) => left + right <= 2 * NUMERIC_SCALE,
            // Both become the wider one, with the digits of the one that has more.
            (Ok(Decimal128(_, left) | Decimal256(_, left)), Ok(Decimal128(_, right) | Decimal256(_, right))) => {
                left.max(right) <= NUMERIC_SCALE
            }
            _ => true,
        };
        if fits { Ok(expr) } else { self.call("numeric_mul", vec![left.as_ref().clone(), right.as_ref().clone()]) }
    }

    /// An operand as the operator takes it.
    fn convert_operand(&self, operator: &str, expr: Expr, from: Option<PgType>, to: PgType) -> Result<Expr> {
        // Patterns are matched against the blanks that fill a `char(n)` as well.
        if operator.contains('~') && from == Some(PgType::Scalar(ScalarType::Bpchar)) && is_text(to) {
            return Ok(expr);
        }
        self.convert(expr, from, to)
    }

    /// An operand of AND or OR.
    fn boolean(&self, expr: Expr, op: &BinaryOperator) -> Result<Expr> {
        let boolean = PgType::Scalar(ScalarType::Bool);
        match &expr {
            Expr::Literal(ScalarValue::Utf8(_), None) | Expr::Placeholder(Placeholder { field: None, .. }) => {
                self.convert(expr, None, boolean)
            }
            Expr::Literal(value, _) if !matches!(value.data_type(), DataType::Boolean | DataType::Null) => {
                Err(SqlError::new(
                    SqlState::DatatypeMismatch,
                    format!("argument of {op} must be type boolean, not type {}", pg_type_of(value).sql_name()),
                ))
            }
            _ => Ok(expr),
        }
    }

    /// A call of a function by name.
    pub(crate) fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        let function = self
            .state
            .scalar_functions()
            .get(name)
            .ok_or_else(|| SqlError::internal(format!("the function {name} is not there")))?;
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function.clone(), args)))
    }

    /// An expression as a value of another type, unasked. `from` is `None` where it is untyped.
    pub(crate) fn convert(&self, expr: Expr, from: Option<PgType>, to: PgType) -> Result<Expr> {
        self.convert_to(expr, from, TypeWithModifier::plain(to))
    }

    /// As [`Self::convert`], with the modifier of a column.
    pub(crate) fn convert_to(&self, expr: Expr, from: Option<PgType>, to: TypeWithModifier) -> Result<Expr> {
        let Some(from) = from else { return self.type_untyped(expr, to) };
        if from == to.ty && to.modifier < 0 {
            return Ok(expr);
        }
        let (source, target) = (arrow_type(TypeWithModifier::plain(from)), arrow_type(to));
        if to.modifier < 0
            && source == target
            && is_text(from)
            && is_text(to.ty)
            && from != PgType::Scalar(ScalarType::Bpchar)
            && to.ty != PgType::Scalar(ScalarType::Bpchar)
        {
            return Ok(expr);
        }
        if let Expr::Cast(Cast { expr: within, .. }) = &expr
            && let Expr::Literal(value, _) = within.as_ref()
            && let ScalarValue::Int64(Some(value)) = value
            && let Some(folded) = integer_literal(*value, to)
        {
            return Ok(folded);
        }
        if to.modifier < 0 && is_arrow_conversion(from, to.ty) {
            let decimal = integer_as_decimal(&source).filter(|_| to.ty == PgType::Scalar(ScalarType::Numeric));
            let target = decimal.unwrap_or(target);
            return Ok(Expr::Cast(Cast::new(Box::new(expr), target)));
        }
        self.cast_call(expr, to)
    }

    /// `pg_cast(expr, oid, modifier)`.
    pub(crate) fn cast_call(&self, expr: Expr, to: TypeWithModifier) -> Result<Expr> {
        self.call("pg_cast", vec![expr, lit(i64::from(to.ty.oid())), lit(i64::from(to.modifier))])
    }

    /// An untyped literal or parameter as a value of a type.
    fn type_untyped(&self, expr: Expr, to: TypeWithModifier) -> Result<Expr> {
        match expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                if matches!(
                    to.ty,
                    PgType::Scalar(
                        ScalarType::Regclass | ScalarType::Regtype | ScalarType::Regproc | ScalarType::Regnamespace
                    )
                ) {
                    return self.cast_call(lit(text), to);
                }
                let datum = parse_text_in(&text, to, &self.environment)
                    .map_err(|error| super::position::mark_literal(error, &text))?;
                typed_literal(&datum, to)
            }
            Expr::Literal(..) => typed_literal(&Datum::Null, to),
            Expr::Placeholder(placeholder) => {
                let ty = self.parameters.note_named(&placeholder.id, to.ty);
                let field = Some(result_field("parameter", TypeWithModifier::plain(ty)));
                let typed = Expr::Placeholder(Placeholder::new_with_field(placeholder.id, field));
                match to.modifier < 0 && ty == to.ty {
                    true => Ok(typed),
                    // Where it stands before it has another type: it is planned once more as one of that.
                    false => self.cast_call(typed, to),
                }
            }
            other => self.cast_call(other, to),
        }
    }

    /// An expression that is to be stored into a column: `42804` if its type is not one that storing converts. The
    /// conversion itself, and the column's modifier, are for [`assign_datum`].
    pub(crate) fn assign(&self, expr: Expr, from: Option<PgType>, column: &str, to: PgType) -> Result<Expr> {
        match from {
            Some(from) => check_assignment(from, column, to).map(|()| expr),
            None => self.type_untyped(expr, TypeWithModifier::plain(to)),
        }
    }
}

/// `42804` unless a value of a type may be stored into a column of another.
pub(crate) fn check_assignment(from: PgType, column: &str, to: PgType) -> Result<()> {
    if from == to || can_cast(from, to, CastContext::Assignment) {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::DatatypeMismatch,
        format!("column \"{column}\" is of type {} but expression is of type {}", to.sql_name(), from.sql_name()),
    )
    .with_hint("You will need to rewrite or cast the expression."))
}

/// A value as it is stored into a column.
pub(crate) fn assign_datum(
    datum: Datum,
    from: PgType,
    to: TypeWithModifier,
    environment: &CastEnvironment,
) -> Result<Datum> {
    if datum.is_null() || (from == to.ty && to.modifier < 0) {
        return Ok(datum);
    }
    cast(datum, from, to, CastContext::Assignment, environment)
}

/// A literal with the metadata of its type.
pub(crate) fn typed_literal(datum: &Datum, ty: TypeWithModifier) -> Result<Expr> {
    let value = scalar_value(datum, ty)?;
    Ok(Expr::Literal(value, literal_metadata(ty)))
}

/// What a literal of a type carries besides its value. Text carries something too: without it, it would be untyped.
pub(crate) fn literal_metadata(ty: TypeWithModifier) -> Option<FieldMetadata> {
    let mut map = metadata(TypeWithModifier::plain(ty.ty));
    if map.is_empty() && arrow_type(ty) == DataType::Utf8 {
        map.insert(crate::query::arrow::TYPE_KEY.to_owned(), ty.ty.typname());
    }
    (!map.is_empty()).then(|| FieldMetadata::from(map))
}

fn pg_type_of(value: &ScalarValue) -> PgType {
    crate::query::arrow::structural_type(&value.data_type())
}

fn is_text(ty: PgType) -> bool {
    matches!(
        ty,
        PgType::Scalar(
            ScalarType::Text | ScalarType::Varchar | ScalarType::Name | ScalarType::Char | ScalarType::Bpchar
        )
    )
}

/// The type of an integer that becomes a `numeric`.
pub(super) fn integer_as_decimal(integer: &DataType) -> Option<DataType> {
    Some(match integer {
        DataType::Int16 => DataType::Decimal128(5, 0),
        DataType::Int32 => DataType::Decimal128(10, 0),
        DataType::Int64 => DataType::Decimal128(19, 0),
        _ => return None,
    })
}

/// An integer literal as another number.
fn integer_literal(value: i64, to: TypeWithModifier) -> Option<Expr> {
    let scalar = match to.ty {
        _ if to.modifier >= 0 => return None,
        PgType::Scalar(ScalarType::Int2) => ScalarValue::Int16(Some(i16::try_from(value).ok()?)),
        PgType::Scalar(ScalarType::Int4) => ScalarValue::Int32(Some(i32::try_from(value).ok()?)),
        PgType::Scalar(ScalarType::Int8) => ScalarValue::Int64(Some(value)),
        PgType::Scalar(ScalarType::Float4) => ScalarValue::Float32(Some(value as f32)),
        PgType::Scalar(ScalarType::Float8) => ScalarValue::Float64(Some(value as f64)),
        PgType::Scalar(ScalarType::Oid) => ScalarValue::UInt32(Some(u32::try_from(value).ok()?)),
        PgType::Scalar(ScalarType::Numeric) => ScalarValue::Decimal128(Some(i128::from(value)), 19, 0),
        _ => return None,
    };
    Some(Expr::Literal(scalar, None))
}

/// Whether Arrow's own cast is PostgreSQL's.
fn is_arrow_conversion(from: PgType, to: PgType) -> bool {
    use ScalarType::{Date, Float4, Float8, Int2, Int4, Int8, Numeric, Oid, Timestamp};
    let (PgType::Scalar(from), PgType::Scalar(to)) = (from, to) else { return false };
    match (from, to) {
        (Int2 | Int4 | Int8, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric) => true,
        (Int2 | Int4 | Int8, Oid) => true,
        (Float4, Float8) | (Numeric, Float4 | Float8) => true,
        (Date, Timestamp) => false,
        _ => false,
    }
}
