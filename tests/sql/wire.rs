//! SQL logic tests over the wire, by the simple protocol.

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// A failed statement: `SQLSTATE sentence`.
#[derive(Debug)]
pub(crate) struct Failure {
    state: Option<String>,
    text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => Self {
                state: Some(error.code().code().to_owned()),
                text: format!("{} {}", error.code().code(), error.message()),
            },
            None => Self { state: None, text: error.to_string() },
        }
    }
}

/// A client, and the name of what it is a client of.
pub(crate) struct Connection(Option<Client>, &'static str);

impl Connection {
    /// Connects.
    pub(crate) async fn open(config: Config, engine: &'static str) -> Result<Self, Failure> {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(Self(Some(client), engine))
    }
}

/// What an empty value reads like in a file.
pub(crate) fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(value) => value.to_owned(),
    }
}

#[async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let client = self.0.as_ref().ok_or(Failure { state: None, text: "closed".to_owned() })?;
        let mut columns = None;
        let mut rows = Vec::new();
        let mut count = 0;
        for message in client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(description) => {
                    columns = Some(description.len());
                    rows.clear();
                }
                SimpleQueryMessage::Row(row) => rows.push((0..row.len()).map(|at| shown(row.get(at))).collect()),
                SimpleQueryMessage::CommandComplete(rows) => count = rows,
                _ => {}
            }
        }
        Ok(match columns {
            Some(columns) => DBOutput::Rows { types: vec![DefaultColumnType::Text; columns], rows },
            None => DBOutput::StatementComplete(count),
        })
    }

    async fn shutdown(&mut self) {
        self.0 = None;
    }

    fn engine_name(&self) -> &str {
        self.1
    }

    async fn sleep(duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.state.clone()
    }
}
