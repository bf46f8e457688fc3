//! The command line: what it takes, and the runtime its commands run on.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use lodedb::db::admission::Load;
use lodedb::db::options::Keep;
use lodedb::server::side::{SearchOptions, SideOptions};
use lodedb::server::{ServerOptions, TlsFiles};
use lodedb::snapshot::backup::archive::Until;
use tracing::Level;
use tracing_subscriber::EnvFilter;

mod backup;
mod check;
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
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Command {
    /// Serve a database to psql and every Postgres driver.
    ///
    /// The directory is made if it is not there. SIGTERM or Ctrl-C stops cleanly: statements finish, a checkpoint is
    /// taken, and the next start replays nothing. After a crash the log brings back every commit that was
    /// acknowledged. Clients on this machine are trusted; those on others need --tls-cert, --tls-key and a role with a password
    /// (CREATE ROLE ann LOGIN PASSWORD '...').
    ///
    /// Example: lodedb serve --data ./data, then: psql -h 127.0.0.1 -p 5433
    Serve {
        /// The directory of the database.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The address to listen on; may be given more than once. Port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5433")]
        listen: Vec<SocketAddr>,
        /// The certificate that connections are encrypted with, and those that lead up from it (PEM). Read again when it changes.
        #[arg(long, value_name = "FILE", requires = "tls_key")]
        tls_cert: Option<PathBuf>,
        /// Its private key (PEM); its mode must be 0600, or 0640 if it is root's.
        #[arg(long, value_name = "FILE", requires = "tls_cert")]
        tls_key: Option<PathBuf>,
        /// Rules in the form of pg_hba.conf that say who may come from where, and whether by a password. Read again when they change
        /// [default: this machine's clients are trusted, others show a password over TLS]
        #[arg(long, value_name = "FILE")]
        hba: Option<PathBuf>,
        /// Let clients of other machines in without TLS, and without a password where a rule says so.
        #[arg(long)]
        insecure: bool,
        /// The folder below which roles with pg_write_server_files may write files (BACKUP TO); superusers may anywhere [default: nowhere]
        #[arg(long, value_name = "FOLDER")]
        file_dir: Option<PathBuf>,
        /// The folder below which superusers may have models read (CREATE MODEL) [default: nowhere]
        #[arg(long, value_name = "FOLDER")]
        model_dir: Option<PathBuf>,
        /// ONNX Runtime, which models need: its library, or a folder or environment of Python that has it [default: ORT_DYLIB_PATH, or
        /// the usual places]
        #[arg(long, value_name = "PATH")]
        onnx_runtime: Option<PathBuf>,
        /// Threads that work on one run of a model; 0 is one for each core.
        #[arg(long, value_name = "N", default_value_t = 0)]
        model_threads: usize,
        /// Have models run by a GPU, if ONNX Runtime has a provider for one and it can be used (lodedb_models shows it).
        #[arg(long)]
        model_gpu: bool,
        /// Disk for vectors that models computed, so that the same text or picture is embedded once; 0 keeps none.
        #[arg(long, value_name = "MIB", default_value_t = 256)]
        embedding_cache_mib: u64,
        /// The most sessions at once.
        #[arg(long, value_name = "N", default_value_t = 100)]
        max_connections: usize,
        /// The most statements that run at once; commits, waits for locks and open transactions aside [default: 4 for each core]
        #[arg(long, value_name = "N")]
        max_running: Option<usize>,
        /// The most statements that wait for their turn; more are refused with SQLSTATE 53400 [default: 10 times --max-running]
        #[arg(long, value_name = "N")]
        max_queue: Option<usize>,
        /// How long a statement waits for its turn before it is refused, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        queue_timeout: u64,
        /// Answer `/health` and `/metrics` over HTTP on this address; port 0 takes a free one [default: not]
        #[arg(long, value_name = "ADDRESS")]
        http: Option<SocketAddr>,
        /// Allow --http on an address that other machines can reach; whoever asks is answered.
        #[arg(long, requires = "http")]
        http_any_address: bool,
        /// Answer searches over HTTP too: a page for people, JSON for programs. Clients come in as --hba says; those that give no name and
        /// password are this role.
        #[arg(long, value_name = "ROLE", requires = "http", num_args = 0..=1, require_equals = true, default_missing_value = "lodedb")]
        search_page: Option<String>,
        /// A name under which --search-page may be asked for, such as that of a proxy before it; may be given more than once
        /// [default: addresses and localhost]
        #[arg(long, value_name = "NAME", requires = "search_page")]
        search_host: Vec<String>,
        /// Log statements that take this many milliseconds or longer, with their plans; 0 is all of them [default: none]
        ///
        /// A session chooses for itself by SET log_min_duration_statement.
        #[arg(long, value_name = "MS")]
        log_min_duration: Option<u64>,
        /// The form of what is logged, on standard error.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
        /// Memory for the whole database, in MiB [default: three quarters of the machine's]
        ///
        /// Queries get what the row cache, growing segments and the codes of indexes leave; where that is less than an eighth, statements that
        /// make the database larger are refused with SQLSTATE 53200. What is mapped from files is not counted.
        #[arg(long, value_name = "MIB")]
        memory_limit: Option<usize>,
        /// Memory for the row cache, in MiB; at most a quarter of --memory-limit.
        #[arg(long, value_name = "MIB", default_value_t = 256)]
        row_cache: usize,
        /// Memory queries may use to sort, join and group, in MiB, as long as so much is left.
        #[arg(long, value_name = "MIB", default_value_t = 2048)]
        query_memory: usize,
        /// While less than this is free on the disk, in MiB, statements that make the database larger are refused with SQLSTATE 53100.
        #[arg(long, value_name = "MIB", default_value_t = 384)]
        disk_reserve: u64,
        /// Size of one file of the log, in MiB; there are two at least.
        #[arg(long, value_name = "MIB", default_value_t = 64)]
        log_segment: u64,
        /// How often all files are read in search of rot, in minutes or as 90s, 5m, 24h; 0 is never.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_interval)]
        scrub_interval: Duration,
        /// How often a backup is taken when something has changed, in minutes or as 90s, 5m, 1h; 0 is never.
        #[arg(long, value_name = "TIME", default_value = "60", value_parser = parse_interval)]
        backup_interval: Duration,
        /// The folder these backups go to, better on another disk [default: DIR/backups]
        #[arg(long, value_name = "FOLDER")]
        backup_dir: Option<PathBuf>,
        /// How many of the newest backups are kept, and of how many days the last one.
        #[arg(long, value_name = "NEWEST,DAYS", default_value = "24,7", value_parser = parse_keep)]
        backup_keep: Keep,
    },
    /// Take a backup of a database, in use or not.
    ///
    /// Writers go on meanwhile. The folder is made if it is not there, and holds any number of backups of one database:
    /// what has not changed since an earlier one is not copied again, and what is copied is read back.
    ///
    /// Example: lodedb backup ./data --to /mnt/other/backups
    Backup {
        /// The directory of the database.
        #[arg(value_name = "DIR")]
        data: PathBuf,
        /// The folder of backups.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Check a database, in use or not: every byte on disk, and whether rows, keys and vectors fit together.
    ///
    /// Nothing is changed unless asked for. Faults are printed with the file and the place in it; the exit status is 3 if there are any, and 1 if the
    /// database could not be checked.
    ///
    /// Example: lodedb check ./data
    Check {
        /// The directory of the database.
        #[arg(value_name = "DIR")]
        data: PathBuf,
        /// Print the faults as a JSON array.
        #[arg(long)]
        json: bool,
        /// First put damaged files back from a backup, and remove those that can be built again; nobody may have the database open.
        #[arg(long)]
        repair: bool,
        /// The folder of backups to repair from [default: DIR/backups]
        #[arg(long, value_name = "FOLDER", requires = "repair")]
        backups: Option<PathBuf>,
    },
    /// Make a new database out of a backup.
    ///
    /// Every file is compared with its checksum, and the database is opened once, before it gets its name. A backup that is
    /// damaged is not used: the one before it is.
    ///
    /// Example: lodedb restore /mnt/other/backups --to ./data
    Restore {
        /// The folder of backups.
        #[arg(value_name = "FOLDER")]
        from: PathBuf,
        /// The directory of the new database; it must not exist, or be empty.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// The number of the backup [default: the newest]
        #[arg(long, value_name = "N")]
        backup: Option<u64>,
        /// Go on with the archived log up to this commit or moment (UTC unless it names a zone), from the last backup before it.
        #[arg(long, value_name = "LSN|TIMESTAMP", value_parser = backup::parse_until)]
        until: Option<Until>,
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

/// The form of what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// For programs: a JSON object a line.
    Json,
}

impl LogFormat {
    /// Sets up logging; call it once.
    fn start(self) {
        let filter = EnvFilter::try_from_env("LODEDB_LOG").unwrap_or_else(|_| "warn,lodedb=info".into());
        let colours = std::io::stderr().is_terminal();
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
        match self {
            Self::Text => logs.init(),
            Self::Json => logs.json().flatten_event(true).init(),
        }
    }

    /// Says something on standard error that is no event of the database.
    fn say(self, level: Level, line: &str) {
        match (self, level) {
            (Self::Text, _) => eprintln!("{line}"),
            (Self::Json, Level::ERROR) => tracing::error!("{line}"),
            (Self::Json, _) => tracing::info!("{line}"),
        }
    }
}

/// Minutes, or a number with its unit.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let (number, seconds) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 60),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no time such as 90s, 5m or 1h"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| format!("{text:?} is too long"))
}

fn parse_keep(text: &str) -> Result<Keep, String> {
    let wrong = || format!("{text:?} is not two numbers such as 24,7");
    let (newest, days) = text.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse().map_err(|_| wrong());
    Ok(Keep { newest: number(newest)?, days: number(days)? })
}

/// What every file and folder made here is kept from: everybody but its owner.
const MASK: libc::mode_t = 0o077;

/// Runs the command that was asked for.
pub(crate) fn run() -> ExitCode {
    // Our own files ask for private modes; RocksDB's, and those that queries spill to, ask for whatever this leaves.
    // SAFETY: it sets a number of the process, and fails never.
    unsafe { libc::umask(MASK) };
    if let Err(message) = lodedb_wal::killpoint::arm_from_environment() {
        eprintln!("lodedb: {message}");
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    let format = match arguments.command {
        Command::Serve { log_format, .. } => log_format,
        _ => LogFormat::Text,
    };
    format.start();
    let result = match lodedb::runtime() {
        Ok(runtime) => match arguments.command {
            Command::Serve {
                data,
                listen,
                tls_cert,
                tls_key,
                hba,
                insecure,
                file_dir,
                model_dir,
                onnx_runtime,
                model_threads,
                model_gpu,
                embedding_cache_mib,
                max_connections,
                max_running,
                max_queue,
                queue_timeout,
                http,
                http_any_address,
                search_page,
                search_host,
                log_min_duration,
                log_format,
                memory_limit,
                row_cache,
                query_memory,
                disk_reserve,
                log_segment,
                scrub_interval,
                backup_interval,
                backup_dir,
                backup_keep,
            } => {
                let running = max_running.unwrap_or_else(|| Load::default().running);
                let waiting = max_queue.unwrap_or(running.saturating_mul(10));
                let options = lodedb::Options {
                    load: Load { running, waiting, patience: Duration::from_secs(queue_timeout) },
                    memory_limit_bytes: memory_limit.unwrap_or(0) << 20,
                    row_cache_bytes: row_cache << 20,
                    query_memory_bytes: query_memory << 20,
                    disk_reserve_bytes: disk_reserve << 20,
                    log_segment_bytes: log_segment << 20,
                    scrub_interval: (!scrub_interval.is_zero()).then_some(scrub_interval),
                    log_min_duration: log_min_duration.map(Duration::from_millis),
                    backup_interval: (!backup_interval.is_zero()).then_some(backup_interval),
                    backup_dir,
                    backup_keep,
                    file_dir,
                    model_dir,
                    onnx_runtime,
                    model_threads,
                    model_gpu,
                    embedding_cache_bytes: embedding_cache_mib.saturating_mul(1 << 20),
                    ..lodedb::Options::default()
                };
                let tls = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
                let server = ServerOptions { listen, max_connections, tls, hba, insecure, ..ServerOptions::default() };
                let search = search_page.map(|role| SearchOptions { role, hosts: search_host });
                let side = http.map(|address| SideOptions { address, any_address: http_any_address, search });
                serve::serve(&runtime, &data, options, server, side, log_format)
            }
            Command::Backup { data, to } => backup::backup(&runtime, &data, &to),
            Command::Check { data, json, repair, backups } => {
                match check::check(&runtime, &data, json, repair, backups) {
                    Ok(0) => Ok(()),
                    Ok(_) => return ExitCode::from(3),
                    Err(message) => Err(message),
                }
            }
            Command::Restore { from, to, backup, until } => backup::restore(&from, &to, backup, until),
            Command::Sql { data, statements } => sql::sql(&runtime, &data, &statements),
        },
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            format.say(Level::ERROR, &format!("lodedb: {message}"));
            ExitCode::FAILURE
        }
    }
}
