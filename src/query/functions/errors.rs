//! Errors across the border to DataFusion: a [`SqlError`] goes through it whole, and its own become one.

use std::error::Error;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use crate::query::arrow::structural_type;

/// Carries an error through DataFusion; [`sql_error`] takes it out again.
pub fn to_datafusion(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The error a client sees for an error of DataFusion: the one carried inside, or the nearest SQLSTATE.
pub fn sql_error(error: DataFusionError) -> SqlError {
    if let Some(carried) = carried(&error) {
        return carried.clone();
    }
    translate(&error)
}

/// The [`SqlError`] within, whatever is wrapped around it.
fn carried(error: &DataFusionError) -> Option<&SqlError> {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    // `source()` of a wrapper is what it wraps, or the source of that; both kinds end here.
    for _ in 0..64 {
        let current = source?;
        if let Some(found) = current.downcast_ref::<SqlError>() {
            return Some(found);
        }
        if let Some(datafusion) = current.downcast_ref::<DataFusionError>() {
            match datafusion {
                DataFusionError::External(inner) => {
                    source = Some(inner.as_ref());
                    continue;
                }
                DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                    source = Some(inner.as_ref());
                    continue;
                }
                DataFusionError::Shared(inner) => {
                    source = Some(inner.as_ref());
                    continue;
                }
                DataFusionError::Collection(errors) => return errors.iter().find_map(carried),
                DataFusionError::ArrowError(inner, _) => {
                    source = Some(inner.as_ref());
                    continue;
                }
                _ => return None,
            }
        }
        if let Some(ArrowError::ExternalError(inner)) = current.downcast_ref::<ArrowError>() {
            source = Some(inner.as_ref());
            continue;
        }
        if let Some(shared) = current.downcast_ref::<std::sync::Arc<DataFusionError>>() {
            source = Some(shared.as_ref());
            continue;
        }
        source = current.source();
    }
    None
}

fn translate(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::ArrowError(inner, _) => arrow_error(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => translate(inner),
        DataFusionError::Shared(inner) => translate(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => translate(first),
            None => SqlError::internal("an empty collection of errors"),
        },
        DataFusionError::External(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => translate(inner),
            None => foreign_error(inner),
        },
        DataFusionError::SchemaError(inner, _) => schema_error(inner),
        DataFusionError::SQL(inner, _) => {
            let text = inner.to_string();
            let text = text.strip_prefix("sql parser error: ").unwrap_or(&text).to_owned();
            SqlError::new(SqlState::SyntaxError, text)
        }
        DataFusionError::NotImplemented(text) => SqlError::new(SqlState::FeatureNotSupported, first_line(text)),
        DataFusionError::Plan(text) => planning_error(text),
        DataFusionError::Execution(text) => execution_error(text),
        DataFusionError::ResourcesExhausted(text) => {
            SqlError::new(SqlState::OutOfMemory, "out of memory").with_detail(first_line(text))
        }
        DataFusionError::Configuration(text) => SqlError::new(SqlState::InvalidParameterValue, first_line(text)),
        DataFusionError::IoError(inner) => SqlError::new(SqlState::of_io(inner), inner.to_string()),
        other => SqlError::internal(first_line(&other.strip_backtrace())),
    }
}

fn arrow_error(error: &ArrowError) -> SqlError {
    match error {
        ArrowError::DivideByZero => SqlError::new(SqlState::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(text) => overflow(text),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => cast_error(text),
        ArrowError::NotYetImplemented(text) => SqlError::new(SqlState::FeatureNotSupported, first_line(text)),
        ArrowError::MemoryError(text) => {
            SqlError::new(SqlState::OutOfMemory, "out of memory").with_detail(first_line(text))
        }
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => translate(inner),
            None => foreign_error(inner),
        },
        ArrowError::ComputeError(text) | ArrowError::InvalidArgumentError(text) => execution_error(text),
        ArrowError::OffsetOverflowError(_) => {
            SqlError::new(SqlState::ProgramLimitExceeded, "the values of one batch are larger than 2 GiB")
        }
        other => foreign_error(other),
    }
}

fn schema_error(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => match &field.relation {
            Some(relation) if !valid_fields.iter().any(|valid| valid.relation.as_ref() == Some(relation)) => {
                SqlError::new(
                    SqlState::UndefinedTable,
                    format!("missing FROM-clause entry for table \"{}\"", relation.table()),
                )
            }
            _ => undefined_column(field),
        },
        SchemaError::AmbiguousReference { field } => {
            SqlError::new(SqlState::AmbiguousColumn, format!("column reference \"{}\" is ambiguous", field.name))
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => SqlError::new(
            SqlState::DuplicateAlias,
            format!("table name \"{}\" specified more than once", qualifier.table()),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(SqlState::DuplicateColumn, format!("column \"{name}\" specified more than once"))
        }
    }
}

/// PostgreSQL's sentence: the name quoted, or with its qualifier and no quotes.
fn undefined_column(field: &Column) -> SqlError {
    let message = match &field.relation {
        Some(relation) => format!("column {}.{} does not exist", relation.table(), field.name),
        None => format!("column \"{}\" does not exist", field.name),
    };
    SqlError::new(SqlState::UndefinedColumn, message)
}

fn planning_error(text: &str) -> SqlError {
    let line = first_line(text);
    if let Some(error) = clause_error(&line) {
        return error;
    }
    if let Some(name) = between(&line, "table '", "' not found").or_else(|| line.strip_prefix("Table not found: ")) {
        return SqlError::new(SqlState::UndefinedTable, format!("relation \"{}\" does not exist", unqualified(name)));
    }
    if let Some(name) =
        between(&line, "table function '", "' not found").or_else(|| between(&line, "Table function '", "' not found"))
    {
        return SqlError::new(SqlState::UndefinedFunction, format!("function {name} does not exist"));
    }
    if let Some(name) = between(&line, "Invalid function '", "'") {
        return SqlError::new(SqlState::UndefinedFunction, format!("function {name} does not exist")).with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        );
    }
    if let Some(name) = between(&line, "Failed to coerce arguments to satisfy a call to '", "' function") {
        return SqlError::new(SqlState::UndefinedFunction, format!("function {name} does not accept these arguments"))
            .with_hint(
                "No function matches the given name and argument types. You might need to add explicit type casts.",
            );
    }
    if let (Some(name), Some(ty)) =
        (between(&line, "Function '", "' requires "), between(&line, "but received ", " (DataType"))
    {
        let message = format!("function {name}({}) does not exist", sql_name_of_arrow(ty));
        return SqlError::new(SqlState::UndefinedFunction, message).with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        );
    }
    if let Some(name) = between(&line, "Function '", "' user-defined coercion failed") {
        let name = name.to_uppercase();
        return SqlError::new(SqlState::DatatypeMismatch, format!("{name} types cannot be matched"));
    }
    if line.starts_with("Unary operator '-' only supports") {
        return SqlError::new(SqlState::UndefinedFunction, "operator does not exist: - of this type");
    }
    if let Some(error) = undefined_operator(&line) {
        return error;
    }
    if line.contains("must appear in the GROUP BY clause") || line.contains("must be part of an aggregate function") {
        let state = SqlState::GroupingError;
        return match between(&line, "column \"", "\"").or_else(|| between(&line, "Column \"", "\"")) {
            Some(name) => SqlError::new(
                state,
                format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"),
            ),
            None => SqlError::new(state, line),
        };
    }
    if line.starts_with("Too many columns! The subquery should only return one column") {
        return SqlError::new(SqlState::SyntaxError, "subquery must return only one column");
    }
    if line.contains("Ambiguous") || line.contains("ambiguous") {
        return SqlError::new(SqlState::AmbiguousColumn, line);
    }
    if line.contains("Failed to coerce") || line.contains("Cannot coerce") || line.contains("not coercible") {
        return SqlError::new(SqlState::DatatypeMismatch, line);
    }
    if let Some(column) = between(&line, "column '", "' not found").or_else(|| between(&line, "No field named ", ".")) {
        return SqlError::new(SqlState::UndefinedColumn, format!("column \"{}\" does not exist", unqualified(column)));
    }
    if line.contains("not supported") || line.contains("Unsupported") || line.contains("not implemented") {
        return SqlError::new(SqlState::FeatureNotSupported, line);
    }
    SqlError::new(SqlState::SyntaxError, line)
}

/// What is wrong with a clause as a whole.
fn clause_error(line: &str) -> Option<SqlError> {
    let error = |state, message: &str| Some(SqlError::new(state, message));
    if line.starts_with("LIMIT must be >= 0") {
        return error(SqlState::InvalidRowCountInLimitClause, "LIMIT must not be negative");
    }
    if line.starts_with("OFFSET must be >=0") {
        return error(SqlState::InvalidRowCountInResultOffsetClause, "OFFSET must not be negative");
    }
    if line.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        return error(SqlState::GroupingError, "aggregate functions are not allowed in WHERE");
    }
    if let Some(place) = between(line, "Order by column out of bounds, specified: ", ",") {
        let message = format!("ORDER BY position {place} is not in select list");
        return error(SqlState::InvalidColumnReference, &message);
    }
    if line.starts_with("For SELECT DISTINCT, ORDER BY expressions ") {
        let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
        return error(SqlState::InvalidColumnReference, message);
    }
    if let Some(operation) = line.strip_suffix(" queries have different number of columns") {
        let message = format!("each {operation} query must have the same number of columns");
        return error(SqlState::SyntaxError, &message);
    }
    if let Some(operation) = between(line, "Incompatible inputs for ", ":")
        && let Some(left) = between(line, "were of type ", ", but")
        && let Some(right) = between(line, "incompatible type ", " on column")
    {
        let (operation, left, right) = (operation.to_uppercase(), sql_name_of_arrow(left), sql_name_of_arrow(right));
        let message = format!("{operation} types {left} and {right} cannot be matched");
        return error(SqlState::DatatypeMismatch, &message);
    }
    if let Some(ty) = line.strip_prefix("Cannot create filter with non-boolean predicate ") {
        let ty = sql_name_of_arrow(ty.rsplit(" returning ").next()?);
        return error(SqlState::DatatypeMismatch, &format!("argument of WHERE must be type boolean, not type {ty}"));
    }
    None
}

/// `Cannot infer common argument type for comparison operation Int64 = Boolean` and its like.
fn undefined_operator(line: &str) -> Option<SqlError> {
    let start = line.find("operation ").map(|at| at + "operation ".len());
    let expression = match (line.find("Cannot coerce arithmetic expression "), start) {
        (Some(at), _) => line[at + "Cannot coerce arithmetic expression ".len()..].split(" to valid types").next()?,
        (None, Some(at)) if line.contains("Cannot infer common") => &line[at..],
        _ => return None,
    };
    let words: Vec<String> = expression.split(' ').map(sql_name_of_arrow).collect();
    if let [left, operator @ ("AND" | "OR"), right] = &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let wrong = if *left == "boolean" { right } else { left };
        let message = format!("argument of {operator} must be type boolean, not type {wrong}");
        return Some(SqlError::new(SqlState::DatatypeMismatch, message));
    }
    let shown = words.join(" ");
    Some(
        SqlError::new(SqlState::UndefinedFunction, format!("operator does not exist: {shown}")).with_hint(
            "No operator matches the given name and argument types. You might need to add explicit type casts.",
        ),
    )
}

/// The SQL name of an Arrow type as it prints, where its name is one word.
fn sql_name_of_arrow(word: &str) -> String {
    use datafusion::arrow::datatypes::DataType;
    match word.parse::<DataType>() {
        Ok(data_type) => structural_type(&data_type).sql_name(),
        Err(_) => word.to_owned(),
    }
}

/// What the library of regular expressions says, several lines of which the last has the reason.
fn regex_error(text: &str) -> Option<SqlError> {
    let (_, rest) = text.split_once("regex parse error")?;
    let reason = rest.lines().find_map(|line| line.trim().strip_prefix("error: ")).unwrap_or("syntax error");
    Some(SqlError::new(SqlState::InvalidRegularExpression, format!("invalid regular expression: {reason}")))
}

/// An error of a library that says no more than its words.
fn foreign_error(error: &impl std::fmt::Display) -> SqlError {
    regex_error(&error.to_string()).unwrap_or_else(|| SqlError::internal(error))
}

fn execution_error(text: &str) -> SqlError {
    if let Some(error) = regex_error(text) {
        return error;
    }
    let line = first_line(text);
    let lower = line.to_ascii_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        SqlError::new(SqlState::DivisionByZero, "division by zero")
    } else if lower.contains("overflow") || lower.contains("out of range") || lower.contains("too large to store") {
        overflow(&line)
    } else if lower.contains("cast error") || lower.contains("cannot cast") {
        cast_error(&line)
    } else if lower.contains("more than one row") {
        SqlError::new(SqlState::CardinalityViolation, "more than one row returned by a subquery used as an expression")
    } else if lower.contains("not implemented") || lower.contains("not supported") || lower.contains("unsupported") {
        SqlError::new(SqlState::FeatureNotSupported, line)
    } else {
        SqlError::new(SqlState::DataException, line)
    }
}

fn overflow(text: &str) -> SqlError {
    let lower = text.to_ascii_lowercase();
    let what = if lower.contains("decimal") || lower.contains("i256") || lower.contains("i128") {
        return SqlError::new(SqlState::NumericValueOutOfRange, "value overflows numeric format");
    } else if lower.contains("date") || lower.contains("timestamp") || lower.contains("interval") {
        return SqlError::new(SqlState::DatetimeFieldOverflow, "timestamp out of range");
    } else if lower.contains("i16") || lower.contains("int16") {
        ScalarType::Int2
    } else if lower.contains("i64") || lower.contains("int64") {
        ScalarType::Int8
    } else {
        ScalarType::Int4
    };
    SqlError::new(SqlState::NumericValueOutOfRange, format!("{} out of range", what.sql_name()))
}

/// Arrow's `Cannot cast string 'x' to value of Int64 type` and `Can't cast value 300 to type Int8`.
fn cast_error(text: &str) -> SqlError {
    let line = first_line(text);
    if let (Some(value), Some(rest)) = (between(&line, "string '", "'"), line.split("to value of ").nth(1)) {
        let type_name = sql_name_of_arrow(rest.trim_end_matches(" type").trim_end_matches(" type."));
        return SqlError::new(
            SqlState::InvalidTextRepresentation,
            format!("invalid input syntax for type {type_name}: \"{value}\""),
        );
    }
    if line.starts_with("Can't cast value") || line.contains("too large to store") {
        return overflow(&line);
    }
    SqlError::new(SqlState::InvalidTextRepresentation, line)
}

fn first_line(text: &str) -> String {
    text.split("\n\nbacktrace:").next().unwrap_or(text).lines().next().unwrap_or("").to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.find(after).map(|end| &rest[..end])
}

/// The last part of `catalog.schema.name`, and the schema if it is not `public`.
fn unqualified(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').map(|part| part.trim_matches('"')).collect();
    match parts.as_slice() {
        [.., schema, name] if *schema != "public" => format!("{schema}.{name}"),
        [.., name] => (*name).to_owned(),
        [] => String::new(),
    }
}

/// `42883`: no function of this name takes these arguments.
pub(crate) fn undefined_function(name: &str, types: &[TypeWithModifier]) -> SqlError {
    if name.starts_with("pg_any_") || name.starts_with("pg_all_") {
        return SqlError::new(SqlState::WrongObjectType, "op ANY/ALL (array) requires array on right side");
    }
    let shown: Vec<String> = types
        .iter()
        .map(|ty| match ty.ty {
            PgType::Scalar(ScalarType::Unknown) => "unknown".to_owned(),
            ty => ty.sql_name(),
        })
        .collect();
    SqlError::new(SqlState::UndefinedFunction, format!("function {name}({}) does not exist", shown.join(", ")))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}
