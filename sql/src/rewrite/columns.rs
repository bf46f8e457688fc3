//! The columns that an expression names.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, Visit, Visitor};

use crate::error::{Result, SqlError};
use crate::parse::{Source, parse};
use crate::statement::Statement;
use crate::type_name::fold;

/// The columns that an expression names, each once, as they come.
pub fn columns_named(expression: &Expr) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for ident in identifiers(expression, 0) {
        let name = fold(&ident);
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    columns
}

/// The text of an expression after a column has got another name.
pub fn rename_column(expression: &str, from: &str, to: &str) -> Result<String> {
    renamed(expression, 0, from, to)
}

/// The text of an expression after the table of its columns has got another name.
pub fn rename_table(expression: &str, from: &str, to: &str) -> Result<String> {
    renamed(expression, 1, from, to)
}

fn renamed(expression: &str, part: usize, from: &str, to: &str) -> Result<String> {
    let mut text = format!("SELECT {expression}");
    let Some(Statement::Query(query)) = parse(&text)?.pop().map(|parsed| parsed.statement) else {
        return Err(SqlError::internal("an expression that is kept is none"));
    };
    let mut places: Vec<(usize, usize)> = identifiers(query.as_ref(), part)
        .into_iter()
        .filter(|ident| fold(ident) == from && ident.span.start.line > 0)
        .map(|ident| {
            let source = Source { text: &text };
            (source.offsets(ident.span.start).0, source.offsets(ident.span.end).0)
        })
        .collect();
    places.sort_unstable();
    let name = written(to);
    for (start, end) in places.into_iter().rev() {
        text.replace_range(start..end, &name);
    }
    Ok(text.split_off("SELECT ".len()))
}

/// A name as SQL writes it, in quotes only where it needs them.
fn written(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let as_it_is = plain
        && parse(&format!("SELECT {name}")).ok().and_then(|mut parsed| parsed.pop()).is_some_and(|parsed| {
            matches!(parsed.statement, Statement::Query(query) if identifiers(query.as_ref(), 0).iter().any(|ident| ident.value == name))
        });
    if as_it_is { name.to_owned() } else { Ident::with_quote('"', name).to_string() }
}

/// A part of the names of columns, counted from their end: 0 is the column, 1 what it is of.
fn identifiers(node: &impl Visit, part: usize) -> Vec<Ident> {
    struct Finder(Vec<Ident>, usize);
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let names = match expr {
                Expr::Identifier(ident) => std::slice::from_ref(ident),
                Expr::CompoundIdentifier(idents) => idents.as_slice(),
                _ => &[],
            };
            self.0.extend(names.iter().rev().nth(self.1).cloned());
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(Vec::new(), part);
    let _ = node.visit(&mut finder);
    finder.0
}
