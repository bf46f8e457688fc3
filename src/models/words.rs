//! What is said of models in SQL: the options of CREATE MODEL, and errors.

use lodedb_embed::{Description, EmbedError, Pooling};
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

/// The options of CREATE MODEL, as an error lists them.
const OPTIONS: &str = "background, dims, lowercase, max_tokens, normalize, output, pooling, default_prompt, and <name>_prefix such as query_prefix";
/// What follows the name of a prompt.
const PREFIX: &str = "_prefix";

/// Describes a model as the options of CREATE MODEL say.
pub(super) fn describe(description: &mut Description, options: &[(String, String)]) -> Result<()> {
    for (at, (name, value)) in options.iter().enumerate() {
        if options[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(SqlError::new(SqlState::SyntaxError, format!("option \"{name}\" is given more than once")));
        }
        let wrong = |right: &str| {
            let message = format!("invalid value for option \"{name}\": \"{value}\"");
            SqlError::new(SqlState::InvalidParameterValue, message).with_hint(format!("It is {right}."))
        };
        let number = || value.parse::<usize>().ok().filter(|number| *number > 0).ok_or_else(|| wrong("1 or more"));
        let truth = || match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Ok(true),
            "off" | "false" | "no" | "0" => Ok(false),
            _ => Err(wrong("on or off")),
        };
        match name.as_str() {
            "normalize" => {
                description.normalize = truth()?;
                continue;
            }
            "dims" => {
                description.dims = Some(number()?);
                continue;
            }
            "background" => {
                let Some(image) = &mut description.image else {
                    let message = format!("option \"{name}\" is for models that embed pictures");
                    return Err(SqlError::new(SqlState::InvalidParameterValue, message));
                };
                image.background =
                    Some(colour(value).ok_or_else(|| wrong("white, black, or a colour such as '#ff8800'"))?);
                continue;
            }
            _ => {}
        }
        let is_known = matches!(name.as_str(), "pooling" | "max_tokens" | "lowercase" | "output" | "default_prompt")
            || name.len() > PREFIX.len() && name.ends_with(PREFIX);
        if !is_known {
            let message = format!("unrecognized option \"{name}\" of a model");
            return Err(
                SqlError::new(SqlState::InvalidParameterValue, message).with_hint(format!("There are {OPTIONS}."))
            );
        }
        let Some(text) = &mut description.text else {
            let message = format!("option \"{name}\" is for models that embed texts");
            return Err(SqlError::new(SqlState::InvalidParameterValue, message));
        };
        match name.as_str() {
            "pooling" => {
                text.pooling = Some(match value.to_ascii_lowercase().as_str() {
                    "mean" => Pooling::Mean,
                    "cls" => Pooling::Cls,
                    "last" => Pooling::Last,
                    _ => return Err(wrong("mean, cls or last")),
                });
            }
            "max_tokens" => text.max_tokens = number()?,
            "lowercase" => text.lowercase = truth()?,
            "output" => text.output = Some(value.clone()),
            "default_prompt" => text.default_prompt = Some(value.clone()),
            other => {
                let prompt = other.trim_end_matches(PREFIX).to_owned();
                text.prompts.insert(prompt, value.clone());
            }
        }
    }
    Ok(())
}

/// A colour in the words of CSS: its red, green and blue.
fn colour(text: &str) -> Option<[u8; 3]> {
    match text.to_ascii_lowercase().as_str() {
        "white" => return Some([255; 3]),
        "black" => return Some([0; 3]),
        _ => {}
    }
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes();
    Some([red, green, blue])
}

/// Which of what was given an error is about.
pub(super) fn place(error: &EmbedError) -> Option<usize> {
    match error {
        EmbedError::Text { index, .. } | EmbedError::Image { index, .. } => Some(*index),
        _ => None,
    }
}

/// An error of a model as a client sees it.
pub(crate) fn sql_error(model: &str, error: &EmbedError) -> SqlError {
    let (state, message) = match error {
        EmbedError::RuntimeMissing { .. } => {
            let message = "ONNX Runtime was not found: models cannot be used";
            return SqlError::new(SqlState::ObjectNotInPrerequisiteState, message).with_hint(error.to_string());
        }
        EmbedError::RuntimeUnusable { .. } => (SqlState::ObjectNotInPrerequisiteState, error.to_string()),
        EmbedError::Io { source, .. } => (SqlState::of_io(source), format!("model \"{model}\": {error}")),
        EmbedError::BadModel { .. } => (SqlState::InvalidParameterValue, format!("model \"{model}\": {error}")),
        EmbedError::WrongKind { takes, given } => {
            (SqlState::WrongObjectType, format!("model \"{model}\" embeds {takes}, not {given}"))
        }
        EmbedError::Text { reason, .. } => {
            (SqlState::InvalidParameterValue, format!("model \"{model}\" cannot embed the text: {reason}"))
        }
        EmbedError::Image { source, .. } => (SqlState::InvalidBinaryRepresentation, source.to_string()),
        EmbedError::Failed(_) => (SqlState::InternalError, format!("model \"{model}\": {error}")),
        error => (SqlState::InvalidParameterValue, format!("model \"{model}\": {error}")),
    };
    SqlError::new(state, message)
}
