//! PostgreSQL's dialect with a bounded amount of work and PostgreSQL's own precedences.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::{ColumnOption, DataType, Expr, Ident, ObjectName, TypedString, UnaryOperator};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::type_name::is_type_name;

const UNARY_SIGN_PREC: u8 = 125;
const OTHER_OPERATOR_PREC: u8 = 70;
const IS_PREC: u8 = 40;

/// PostgreSQL's dialect, refusing to go on when the fuel for this statement is spent.
///
/// The parser backtracks, and some short texts make it do so exponentially. Every primary expression passes
/// `parse_prefix`, so counting there bounds the whole; `RecursionLimitExceeded` is the one error that
/// backtracking does not swallow.
#[derive(Debug)]
pub(crate) struct BoundedDialect {
    postgres: PostgreSqlDialect,
    fuel: Cell<u64>,
}

impl BoundedDialect {
    /// A dialect for one statement of this many tokens.
    pub(crate) fn new(tokens: usize) -> Self {
        Self { postgres: PostgreSqlDialect {}, fuel: Cell::new(20_000 + 4 * tokens as u64) }
    }

    fn spend(&self, units: u64) -> Result<(), ParserError> {
        match self.fuel.get().checked_sub(units) {
            Some(rest) => {
                self.fuel.set(rest);
                Ok(())
            }
            None => {
                self.fuel.set(0);
                Err(ParserError::RecursionLimitExceeded)
            }
        }
    }

    /// The primaries that need no guessing, and the prefix operators, whose precedence PostgreSQL has otherwise.
    fn parse_plain_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [first, second] = parser.peek_tokens_ref();
        let span = first.span;
        let (operator, precedence) = match &first.token {
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) => {
                return Some(parser.parse_value().map(Expr::Value));
            }
            Token::Word(word) => {
                let string_follows = matches!(
                    second.token,
                    Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_)
                );
                if string_follows {
                    let name = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() };
                    if name == "interval" || !is_type_name(&name) {
                        return None;
                    }
                    let ident = Ident { value: word.value.clone(), quote_style: word.quote_style, span };
                    parser.next_token();
                    return Some(parser.parse_value().map(|value| {
                        Expr::TypedString(TypedString {
                            data_type: DataType::Custom(ObjectName::from(vec![ident]), Vec::new()),
                            value,
                            uses_odbc_syntax: false,
                        })
                    }));
                }
                if word.keyword != Keyword::NoKeyword || second.token == Token::LParen {
                    return None;
                }
                let ident = Ident { value: word.value.clone(), quote_style: word.quote_style, span };
                parser.next_token();
                return Some(Ok(Expr::Identifier(ident)));
            }
            Token::Colon => {
                let found = first.clone();
                return Some(parser.expected("an expression", found));
            }
            Token::Minus => (UnaryOperator::Minus, UNARY_SIGN_PREC),
            Token::Plus => (UnaryOperator::Plus, UNARY_SIGN_PREC),
            Token::Tilde => (UnaryOperator::BitwiseNot, OTHER_OPERATOR_PREC),
            Token::AtSign => (UnaryOperator::PGAbs, OTHER_OPERATOR_PREC),
            Token::PGSquareRoot => (UnaryOperator::PGSquareRoot, OTHER_OPERATOR_PREC),
            Token::PGCubeRoot => (UnaryOperator::PGCubeRoot, OTHER_OPERATOR_PREC),
            _ => return None,
        };
        parser.next_token();
        Some(parser.parse_subexpr(precedence).map(|expr| Expr::UnaryOp { op: operator, expr: Box::new(expr) }))
    }
}

/// Whether the next words are these, whatever their case.
fn words_follow(parser: &Parser, words: &[Keyword]) -> bool {
    words.iter().enumerate().all(
        |(n, expected)| matches!(&parser.peek_nth_token_ref(n).token, Token::Word(word) if word.keyword == *expected),
    )
}

macro_rules! as_postgres {
    ($($method:ident)*) => { $(fn $method(&self) -> bool { self.postgres.$method() })* };
}

impl Dialect for BoundedDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.spend(1) {
            Ok(()) => self.parse_plain_prefix(parser),
            Err(spent) => Some(Err(spent)),
        }
    }

    /// `IS [NOT] DISTINCT FROM` binds its right side as tightly as IS does; the parser would take all that follows.
    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        let negated = if words_follow(parser, &[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            false
        } else if words_follow(parser, &[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
            true
        } else {
            return None;
        };
        if matches!(expr, Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..)) {
            // IS does not associate; and without this, a chain would copy its left side over and over.
            let found = parser.peek_token();
            return Some(parser.expected("end of expression", found));
        }
        if let Err(spent) = self.spend(1) {
            return Some(Err(spent));
        }
        for _ in 0..if negated { 4 } else { 3 } {
            parser.next_token();
        }
        Some(parser.parse_subexpr(IS_PREC).map(|right| {
            let (left, right) = (Box::new(expr.clone()), Box::new(right));
            if negated { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }
        }))
    }

    /// All operators but arithmetic and comparison share one precedence in PostgreSQL, `OPERATOR(..)` too.
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::Word(word) if word.keyword == Keyword::OPERATOR => Some(Ok(OTHER_OPERATOR_PREC)),
            Token::Spaceship
            | Token::Tilde
            | Token::TildeAsterisk
            | Token::ExclamationMarkTilde
            | Token::ExclamationMarkTildeAsterisk
            | Token::DoubleTilde
            | Token::DoubleTildeAsterisk
            | Token::ExclamationMarkDoubleTilde
            | Token::ExclamationMarkDoubleTildeAsterisk => Some(Ok(OTHER_OPERATOR_PREC)),
            _ => self.postgres.get_next_precedence(parser),
        }
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.postgres.prec_value(precedence)
    }
    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.postgres.identifier_quote_style(identifier)
    }
    fn is_delimited_identifier_start(&self, c: char) -> bool {
        self.postgres.is_delimited_identifier_start(c)
    }
    fn is_identifier_start(&self, c: char) -> bool {
        self.postgres.is_identifier_start(c)
    }
    fn is_identifier_part(&self, c: char) -> bool {
        self.postgres.is_identifier_part(c)
    }
    fn is_custom_operator_part(&self, c: char) -> bool {
        self.postgres.is_custom_operator_part(c)
    }
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.postgres.is_reserved_for_identifier(keyword)
    }
    fn parse_column_option(
        &self,
        parser: &mut Parser,
    ) -> Result<Option<Result<Option<ColumnOption>, ParserError>>, ParserError> {
        self.postgres.parse_column_option(parser)
    }
    /// `/*+ hints */` are comments.
    fn supports_comment_optimizer_hint(&self) -> bool {
        false
    }

    as_postgres! {
        supports_unicode_string_literal supports_filter_during_aggregation supports_group_by_expr
        allow_extract_custom allow_extract_single_quotes supports_create_index_with_clause
        supports_explain_with_utility_options supports_listen_notify supports_factorial_operator
        supports_bitwise_shift_operators supports_comment_on supports_load_extension
        supports_named_fn_args_with_colon_operator supports_named_fn_args_with_expr_name
        supports_empty_projections supports_nested_comments supports_string_escape_constant
        supports_numeric_literal_underscores supports_array_typedef_with_brackets supports_geometric_types
        supports_set_names supports_alter_column_type_using supports_notnull_operator
        supports_interval_options supports_insert_table_alias supports_create_table_like_parenthesized
        supports_select_wildcard_with_alias supports_comma_separated_trim supports_xml_expressions
    }
}
