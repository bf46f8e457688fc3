//! The real program, serving a directory of its own on a free port.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, Weak, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

/// Nothing waited for takes this long, unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The `lodedb` program under test: what `LODEDB_TEST_PROGRAM` names, or what cargo built for the test.
pub(crate) static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let named = std::env::var("LODEDB_TEST_PROGRAM").ok();
    named.or(option_env!("CARGO_BIN_EXE_lodedb").map(str::to_owned)).expect("a program to test")
});

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    child: Option<Child>,
    address: SocketAddr,
    dir: PathBuf,
    arguments: &'static [&'static str],
    under: &'static [&'static str],
    lines: Arc<Mutex<Vec<String>>>,
    _temporary: Option<TempDir>,
}

impl Server {
    /// A server on a new directory, which goes with it.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with more arguments.
    pub(crate) fn start_with(arguments: &'static [&'static str]) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let mut server = Self::start_in_with(&temporary.path().join("data"), arguments);
        server._temporary = Some(temporary);
        server
    }

    /// A server on a directory that stays.
    pub(crate) fn start_in(dir: &Path) -> Self {
        Self::start_in_with(dir, &[])
    }

    /// As [`Self::start_in`], with more arguments.
    pub(crate) fn start_in_with(dir: &Path, arguments: &'static [&'static str]) -> Self {
        Self::start_under(&[], dir, arguments)
    }

    /// As [`Self::start_in_with`], by a program that is given the server's command and becomes the server.
    pub(crate) fn start_under(under: &'static [&'static str], dir: &Path, arguments: &'static [&'static str]) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let launched = launch(under, dir, arguments, &[], &lines);
        let (child, address) = launched.unwrap_or_else(|problem| panic!("{problem}"));
        Self { child: Some(child), address, dir: dir.to_owned(), arguments, under, lines, _temporary: None }
    }

    /// One server for all tests that run at this moment and do not stop it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start());
        *shared = Arc::downgrade(&server);
        server
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers HTTP; it was started with `--http`.
    pub(crate) fn http_address(&self) -> SocketAddr {
        let lines = self.lines.lock().expect("the log");
        let told = lines.iter().rev().find_map(|line| address_of(line.split_once(" on http://")?.1));
        told.expect("the server says where it answers HTTP")
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().expect("the server runs").id() as i32
    }

    /// Whether the process lives.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What it wrote to its standard error.
    pub(crate) fn log(&self) -> String {
        self.lines.lock().expect("the log").join("\n")
    }

    /// The same, when it says this: what is written may take a moment to be read.
    pub(crate) fn log_with(&self, said: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if log.contains(said) {
                return log;
            }
            assert!(Instant::now() < deadline, "the server never said {said:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL. The process is gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("SIGKILL is sent");
            child.wait().expect("the server is gone");
        }
    }

    /// A way to kill it from another thread; [`Server::kill`] must still be called.
    pub(crate) fn killer(&self) -> impl FnOnce() + Send + 'static {
        let pid = self.pid();
        move || {
            Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
        }
    }

    /// SIGTERM. Gives how the process ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("the server can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().expect("SIGKILL is sent");
                child.wait().expect("the server is gone");
                panic!("the server did not stop after SIGTERM; it said:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts again on the same directory.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        self.restart_with(&[]).unwrap_or_else(|problem| panic!("{problem}"));
    }

    /// Starts again with more in its environment; the process may be gone before it serves, and says so.
    pub(crate) fn restart_with(&mut self, environment: &[(&str, &str)]) -> Result<(), String> {
        assert!(self.child.is_none(), "the server still runs");
        let (child, address) = launch(self.under, &self.dir, self.arguments, environment, &self.lines)?;
        self.child = Some(child);
        self.address = address;
        Ok(())
    }

    /// How to connect.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(self.address.ip().to_string())
            .port(self.address.port())
            .user("lodedb")
            .dbname("lodedb")
            .connect_timeout(PATIENCE);
        config
    }

    /// A connected client.
    pub(crate) async fn connect(&self) -> Client {
        self.try_connect()
            .await
            .unwrap_or_else(|error| panic!("no connection: {error}; the server said:\n{}", self.log()))
    }

    /// A connected client, unless the server is not there.
    pub(crate) async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config().connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The same as the words a libpq program takes.
    pub(crate) fn conninfo(&self) -> String {
        format!("host={} port={} user=lodedb dbname=lodedb", self.address.ip(), self.address.port())
    }

    /// A command whose environment leads libpq programs here, and nowhere else.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("PGHOST", self.address.ip().to_string())
            .env("PGPORT", self.address.port().to_string())
            .env("PGUSER", "lodedb")
            .env("PGDATABASE", "lodedb")
            .env("PGCONNECT_TIMEOUT", "20")
            .env_remove("PGPASSWORD")
            .env_remove("PGSERVICE")
            .env_remove("PGOPTIONS")
            .env("PSQLRC", "/dev/null")
            .env("PAGER", "")
            .env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Whatever comes of it: the test is over.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server said:\n{}\n---", self.log());
        }
    }
}

/// The address at the beginning of a text: behind it a line of JSON goes on.
fn address_of(text: &str) -> Option<SocketAddr> {
    text.split(['"', ' ']).next()?.parse().ok()
}

/// Starts the program and waits until it says where it serves.
fn launch(
    under: &[&str],
    dir: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    lines: &Arc<Mutex<Vec<String>>>,
) -> Result<(Child, SocketAddr), String> {
    let words = [under, &[PROGRAM.as_str(), "serve", "--listen", "127.0.0.1:0", "--data"]].concat();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .arg(dir)
        .args(arguments)
        .env("LODEDB_LOG", "warn,lodedb=info")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} does not start: {error}", words[0]))?;
    let stderr = child.stderr.take().ok_or("no standard error")?;
    let (sender, receiver) = mpsc::channel();
    let kept = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { break };
            if line.contains(" serves ")
                && let Some(address) = line.rsplit(" on ").next().and_then(address_of)
            {
                // The launch may have given up waiting.
                let _ = sender.send(address);
            }
            if let Ok(mut kept) = kept.lock() {
                kept.push(line);
            }
        }
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(address) => Ok((child, address)),
        Err(_) => {
            let _ = child.kill();
            let status = child.wait();
            let said = lines.lock().map(|lines| lines.join("\n")).unwrap_or_default();
            Err(format!("the server on {} did not start ({status:?}); it said:\n{said}", dir.display()))
        }
    }
}
