//! The command line: what it takes, and the runtime its commands run on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod serve;
mod sql;
mod table;

/// A vector database: pgvector's SQL over the Postgres wire protocol, FAISS indexes, and a log that loses nothing.
#[derive(Debug, Parser)]
#[command(name = "lodedb", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a database to psql and every Postgres driver.
    ///
    /// The directory is made if it is not there. SIGTERM or Ctrl-C stops cleanly: statements finish, a checkpoint is
    /// taken, and the next start replays nothing. After a crash the log brings back every commit that was
    /// acknowledged. Clients on this machine are trusted; there are no passwords yet, so other addresses are refused.
    ///
    /// Example: lodedb serve --data ./data, then: psql -h 127.0.0.1 -p 5433
    Serve {
        /// The directory of the database.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The address to listen on; may be given more than once. Port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5433")]
        listen: Vec<SocketAddr>,
        /// The most sessions at once.
        #[arg(long, value_name = "N", default_value_t = 100)]
        max_connections: usize,
        /// Memory for the row cache, in MiB.
        #[arg(long, value_name = "MIB", default_value_t = 256)]
        row_cache: usize,
        /// Memory queries may use to sort, join and group, in MiB.
        #[arg(long, value_name = "MIB", default_value_t = 2048)]
        query_memory: usize,
    },
    /// Run SQL on the directory of a database.
    ///
    /// If a server has the directory open, the statements go to it through its socket; otherwise the database is
    /// opened here, and closed again at the end. Without statements they are read from standard input.
    ///
    /// Example: lodedb sql ./data "SELECT count(*) FROM words"
    Sql {
        /// The directory of the database.
        #[arg(value_name = "DIR")]
        data: PathBuf,
        /// What to run; each argument may hold several statements, and is one transaction.
        #[arg(value_name = "SQL")]
        statements: Vec<String>,
    },
}

/// Runs the command that was asked for.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("LODEDB_LOG").unwrap_or_else(|_| "warn,lodedb=info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let result = match lodedb::runtime() {
        Ok(runtime) => match arguments.command {
            Command::Serve { data, listen, max_connections, row_cache, query_memory } => {
                let options = lodedb::Options {
                    row_cache_bytes: row_cache << 20,
                    query_memory_bytes: query_memory << 20,
                    ..lodedb::Options::default()
                };
                serve::serve(&runtime, &data, listen, max_connections, options)
            }
            Command::Sql { data, statements } => sql::sql(&runtime, &data, &statements),
        },
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("lodedb: {message}");
            ExitCode::FAILURE
        }
    }
}
