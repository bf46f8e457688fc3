//! Statements over tokio-postgres, with failures that say what was asked.

use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

type Problem = Box<dyn std::error::Error + Sync + Send>;

/// An error in words: code, sentence, detail, position.
pub(crate) fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!(
            "{} {} [detail {:?}, hint {:?}, position {:?}, where {:?}]",
            error.code().code(),
            error.message(),
            error.detail(),
            error.hint(),
            error.position(),
            error.where_()
        ),
        None => error.to_string(),
    }
}

/// The value, or a panic that names the statement.
#[track_caller]
pub(crate) fn ok<T>(result: Result<T, tokio_postgres::Error>, sql: &str) -> T {
    result.unwrap_or_else(|error| panic!("{sql}\n  failed: {}", told(&error)))
}

/// Runs statements without parameters.
pub(crate) async fn run(client: &Client, sql: &str) {
    ok(client.batch_execute(sql).await, sql);
}

/// The rows of a simple query in text; NULL is `NULL`.
pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for message in ok(client.simple_query(sql).await, sql) {
        if let SimpleQueryMessage::Row(row) = message {
            all.push((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect());
        }
    }
    all
}

/// The only value of the only row.
pub(crate) async fn one(client: &Client, sql: &str) -> String {
    let rows = rows(client, sql).await;
    match &rows[..] {
        [row] if row.len() == 1 => row[0].clone(),
        _ => panic!("{sql}\n  gave {rows:?} instead of one value"),
    }
}

/// The error a statement ends with.
pub(crate) async fn error(client: &Client, sql: &str) -> DbError {
    match client.simple_query(sql).await {
        Ok(_) => panic!("{sql}\n  succeeded, and should not"),
        Err(error) => match error.as_db_error() {
            Some(error) => error.clone(),
            None => panic!("{sql}\n  broke the connection: {error}"),
        },
    }
}

/// Where in the statement an error points: characters, counted from 1.
pub(crate) fn position(error: &DbError) -> Option<u32> {
    match error.position() {
        Some(ErrorPosition::Original(position)) => Some(*position),
        _ => None,
    }
}

/// A parameter sent in text.
#[derive(Clone, Debug)]
pub(crate) struct AsText(pub String);

impl ToSql for AsText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Problem> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
    tokio_postgres::types::to_sql_checked!();
}

/// Bytes of the binary format, whatever the type: sent as they are, received as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary(pub(crate) Vec<u8>);

impl ToSql for Binary {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Problem> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Binary {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Problem> {
        Ok(Self(raw.to_vec()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A vector in pgvector's binary form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vector(pub(crate) Vec<f32>);

impl ToSql for Vector {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Problem> {
        out.extend_from_slice(&(self.0.len() as u16).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        for component in &self.0 {
            out.extend_from_slice(&component.to_be_bytes());
        }
        Ok(IsNull::No)
    }
    fn accepts(ty: &Type) -> bool {
        ty.name() == "vector"
    }
    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Vector {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Problem> {
        let count = usize::from(u16::from_be_bytes([raw[0], raw[1]]));
        if raw.len() != 4 + count * 4 || raw[2..4] != [0, 0] {
            return Err(format!("a vector of {count} in {} bytes", raw.len()).into());
        }
        let part = |bytes: &[u8]| f32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok(Self(raw[4..].chunks_exact(4).map(part).collect()))
    }
    fn accepts(ty: &Type) -> bool {
        ty.name() == "vector"
    }
}
