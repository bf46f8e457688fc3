//! `lodedb sql`: through the owner's socket if there is one, else in this process.

use std::future::poll_fn;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use lodedb::db::error::OpenError;
use lodedb::server::{Server, ServerOptions};
use lodedb::{Db, Options};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage};

use super::table::print_table;

/// Runs the statements and prints what they answer.
pub(super) fn sql(runtime: &tokio::runtime::Runtime, data: &Path, statements: &[String]) -> Result<(), String> {
    let mut texts = statements.to_vec();
    if texts.is_empty() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
        texts.push(text);
    }
    with_owner(runtime, data, async |socket| run(socket, &texts).await)
}

/// Hands the socket of whoever has the database open to `work`; this process opens it if nobody has.
pub(super) fn with_owner<T>(
    runtime: &tokio::runtime::Runtime,
    data: &Path,
    work: impl AsyncFnOnce(&Path) -> Result<T, String>,
) -> Result<T, String> {
    if !data.join("FORMAT").exists() {
        return Err(format!("{} holds no database; `lodedb serve --data` makes one", data.display()));
    }
    runtime.block_on(async {
        match Db::open(data, Options { backup_interval: None, ..Options::default() }) {
            Ok(db) => {
                let socket = db.engine().dir.join("socket");
                let options =
                    ServerOptions { listen: Vec::new(), socket: Some(socket.clone()), ..ServerOptions::default() };
                let server = Server::start(db.clone(), options).await.map_err(|error| error.message().to_owned())?;
                let result = work(&socket).await;
                server.shutdown(Duration::from_secs(1)).await;
                db.close().map_err(|error| format!("closing: {error}"))?;
                result
            }
            Err(OpenError::InUse { path, .. }) => work(&path.join("socket")).await,
            Err(error) => Err(error.to_string()),
        }
    })
}

/// Connects to a server's socket. What it tells besides answers is printed.
pub(super) async fn connect(socket: &Path) -> Result<(Client, JoinHandle<()>), String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| format!("{}: {error}", socket.display()))?;
    let (client, mut connection) = Config::new()
        .user("lodedb")
        .dbname("lodedb")
        .application_name("lodedb sql")
        .connect_raw(stream, NoTls)
        .await
        .map_err(|error| shown(&error))?;
    let connection = tokio::spawn(async move {
        // How it ends does not matter: whoever waits for an answer hears of it.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                eprintln!("{}: {}", notice.severity(), notice.message());
            }
        }
    });
    Ok((client, connection))
}

/// Runs the statements and prints what they answer.
pub(super) async fn run(socket: &Path, texts: &[String]) -> Result<(), String> {
    let (client, connection) = connect(socket).await?;
    for text in texts {
        let messages = client.simple_query(text).await.map_err(|error| shown(&error))?;
        let mut columns: Option<Vec<String>> = None;
        let mut rows: Vec<Vec<Option<String>>> = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(description) => {
                    columns = Some(description.iter().map(|column| column.name().to_owned()).collect());
                }
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(count) => match columns.take() {
                    Some(names) => print_table(&names, &std::mem::take(&mut rows)),
                    None => println!("OK {count}"),
                },
                _ => {}
            }
        }
    }
    drop(client);
    // The connection ends when the client is gone.
    let _ = connection.await;
    Ok(())
}

pub(super) fn shown(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => {
            let mut text = format!("ERROR {}: {}", error.code().code(), error.message());
            for (name, part) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
                if let Some(part) = part {
                    text.push_str(&format!("\n{name}: {part}"));
                }
            }
            text
        }
        None => error.to_string(),
    }
}
