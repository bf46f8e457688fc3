//! COPY, in the forms of every version of PostgreSQL.

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::utility::boolean;
use super::{Copy, CopyClause, CopyDirection, CopyRelation, Statement};
use crate::error::{Result, SqlError, SqlState};

impl Reader<'_> {
    pub(super) fn copy(&mut self) -> Result<Statement> {
        self.next();
        let mut options = CopyClause::default();
        let relation = if self.take(&Token::LParen) {
            let query = match self.statement()? {
                Statement::Query(query) => query,
                other => return Err(SqlError::unsupported(format!("COPY ({} ..)", other.command_tag()))),
            };
            self.expect(&Token::RParen)?;
            CopyRelation::Query(query)
        } else {
            if self.peek_words("binary") && matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_)) {
                let named = ["from", "to"].iter().any(|word| self.peek_nth_word(1, word));
                if !named {
                    self.next();
                    options.format = Some("binary".into());
                }
            }
            let name = self.object_name()?;
            let columns = if self.peek().token == Token::LParen { self.names_in_parentheses()? } else { Vec::new() };
            CopyRelation::Table { name, columns }
        };
        let direction = match self.take_one_of(&["from", "to"]) {
            Some("from") => CopyDirection::FromStdin,
            Some(_) => CopyDirection::ToStdout,
            None => return Err(self.error_here()),
        };
        let query = matches!(relation, CopyRelation::Query(_));
        if query && direction == CopyDirection::FromStdin {
            return Err(self.error_here());
        }
        let program = self.take_words("program");
        let (way, hint) = match direction {
            CopyDirection::FromStdin => ("from", "Use COPY .. FROM STDIN."),
            CopyDirection::ToStdout => ("to", "Use COPY .. TO STDOUT."),
        };
        // PostgreSQL takes either word for either direction.
        if program || self.take_one_of(&["stdin", "stdout"]).is_none() {
            self.string()?;
            let what = if program { "program" } else { "file" };
            return Err(SqlError::unsupported(format!("COPY {way} a {what}")).with_hint(hint));
        }
        if self.take_words("using delimiters") || self.take_words("delimiters") {
            set(&mut options.delimiter, self.string()?)?;
        }
        let with = self.take_words("with");
        if self.peek().token == Token::LParen {
            self.copy_options_in_parentheses(&mut options)?;
        } else {
            let any = self.copy_options_in_a_row(&mut options)?;
            if with && !any {
                return Err(self.error_here());
            }
        }
        let mut condition = None;
        if direction == CopyDirection::FromStdin && self.take_words("where") {
            condition = Some(self.expr()?);
        }
        check(&options, direction)?;
        Ok(Statement::Copy(Box::new(Copy { relation, direction, options, condition })))
    }

    /// `(FORMAT csv, HEADER true, ..)`.
    fn copy_options_in_parentheses(&mut self, options: &mut CopyClause) -> Result<()> {
        self.expect(&Token::LParen)?;
        loop {
            let here = self.peek().clone();
            let name = self.label()?;
            let bare = matches!(self.peek().token, Token::Comma | Token::RParen);
            match name.as_str() {
                "format" => {
                    let format = self.option_value()?.to_ascii_lowercase();
                    if !matches!(format.as_str(), "text" | "csv" | "binary") {
                        let message = format!("COPY format \"{format}\" not recognized");
                        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
                    }
                    set(&mut options.format, format)?;
                }
                "freeze" => {
                    let value = if bare { "true".into() } else { self.option_value()? };
                    set(&mut options.freeze, boolean_option("freeze", &value)?)?;
                }
                "header" => {
                    let value = if bare { "true".into() } else { self.option_value()? };
                    let value = match (boolean(&value), value.eq_ignore_ascii_case("match")) {
                        (Some(on), _) => on.to_string(),
                        (None, true) => "match".into(),
                        (None, false) => {
                            let message = "header requires a Boolean value or \"match\"";
                            return Err(SqlError::new(SqlState::SyntaxError, message));
                        }
                    };
                    set(&mut options.header, value)?;
                }
                "delimiter" => set(&mut options.delimiter, self.string()?)?,
                "null" => set(&mut options.null, self.string()?)?,
                "quote" => set(&mut options.quote, self.string()?)?,
                "escape" => set(&mut options.escape, self.string()?)?,
                "encoding" => {
                    let encoding = self.option_value()?;
                    set(&mut options.encoding, encoding)?;
                }
                "force_quote" => {
                    let columns = if self.take(&Token::Mul) { Vec::new() } else { self.names_in_parentheses()? };
                    set(&mut options.force_quote, columns)?;
                }
                "force_not_null" => {
                    let columns = self.names_in_parentheses()?;
                    set(&mut options.force_not_null, columns)?;
                }
                "force_null" => {
                    let columns = self.names_in_parentheses()?;
                    set(&mut options.force_null, columns)?;
                }
                "default" | "on_error" | "log_verbosity" | "reject_limit" => {
                    return Err(SqlError::unsupported(format!("COPY ({})", name.to_ascii_uppercase())));
                }
                _ => {
                    let error = SqlError::new(SqlState::SyntaxError, format!("option \"{name}\" not recognized"));
                    return Err(self.place_at(error, &here));
                }
            }
            if !self.take(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen)
    }

    /// `CSV HEADER DELIMITER AS '|' ..`; whether there was any.
    fn copy_options_in_a_row(&mut self, options: &mut CopyClause) -> Result<bool> {
        let mut any = false;
        loop {
            let Some(word) = self.take_one_of(&[
                "binary",
                "csv",
                "text",
                "freeze",
                "header",
                "delimiter",
                "null",
                "quote",
                "escape",
                "encoding",
                "force",
            ]) else {
                return Ok(any);
            };
            any = true;
            match word {
                "binary" | "csv" | "text" => set(&mut options.format, word.to_owned())?,
                "freeze" => set(&mut options.freeze, true)?,
                "header" => set(&mut options.header, "true".to_owned())?,
                "force" => match self.take_one_of(&["quote", "not null", "null"]) {
                    Some("quote") => {
                        let columns = if self.take(&Token::Mul) { Vec::new() } else { self.list(Self::name)? };
                        set(&mut options.force_quote, columns)?;
                    }
                    Some("not null") => {
                        let columns = self.list(Self::name)?;
                        set(&mut options.force_not_null, columns)?;
                    }
                    Some(_) => {
                        let columns = self.list(Self::name)?;
                        set(&mut options.force_null, columns)?;
                    }
                    None => return Err(self.error_here()),
                },
                _ => {
                    let _ = self.take_words("as");
                    let text = self.string()?;
                    let option = match word {
                        "delimiter" => &mut options.delimiter,
                        "null" => &mut options.null,
                        "quote" => &mut options.quote,
                        "escape" => &mut options.escape,
                        _ => &mut options.encoding,
                    };
                    set(option, text)?;
                }
            }
        }
    }
}

fn boolean_option(name: &str, value: &str) -> Result<bool> {
    boolean(value).ok_or_else(|| SqlError::new(SqlState::SyntaxError, format!("{name} requires a Boolean value")))
}

fn set<T>(option: &mut Option<T>, value: T) -> Result<()> {
    if option.replace(value).is_some() {
        return Err(SqlError::new(SqlState::SyntaxError, "conflicting or redundant options"));
    }
    Ok(())
}

/// Which options go together; what their values may be is for the reader of the format.
fn check(options: &CopyClause, direction: CopyDirection) -> Result<()> {
    let refuse = |message: String| Err(SqlError::new(SqlState::FeatureNotSupported, message));
    let format = options.format.as_deref().unwrap_or("text");
    if format == "binary" {
        for (given, name) in [
            (options.delimiter.is_some(), "DELIMITER"),
            (options.null.is_some(), "NULL"),
            (options.header.as_deref().is_some_and(|header| header != "false"), "HEADER"),
        ] {
            if given {
                let message = format!("cannot specify {name} in BINARY mode");
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
        }
    }
    if format != "csv" {
        for (given, name) in [
            (options.quote.is_some(), "quote"),
            (options.escape.is_some(), "escape"),
            (options.force_quote.is_some(), "force quote"),
            (options.force_not_null.is_some(), "force not null"),
            (options.force_null.is_some(), "force null"),
        ] {
            if given {
                return refuse(format!("COPY {name} available only in CSV mode"));
            }
        }
    }
    if direction == CopyDirection::FromStdin && options.force_quote.is_some() {
        return refuse("COPY force quote only available using COPY TO".into());
    }
    if direction == CopyDirection::ToStdout {
        if options.force_not_null.is_some() || options.force_null.is_some() {
            return refuse("COPY force null only available using COPY FROM".into());
        }
        if options.freeze == Some(true) {
            return refuse("COPY freeze only available using COPY FROM".into());
        }
    }
    Ok(())
}
