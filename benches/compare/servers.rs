//! The two servers: how each is started, stopped and connected to.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::{Client, Result};

/// What is set for PostgreSQL beyond its defaults.
pub(crate) const POSTGRES_SETTINGS: [&str; 8] = [
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=1GB",
    "maintenance_work_mem=1GB",
    "max_parallel_maintenance_workers=2",
    "max_wal_size=8GB",
    "unix_socket_directories=",
    "logging_collector=off",
];

/// Whom a server with a certificate lets in: both read the form of `pg_hba.conf`.
const RULES: &str =
    "local all all trust\nhostnossl all all 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
/// The certificate and the key that both show: RSA of 2,048 bits.
const CERTIFICATE: &[u8] = include_bytes!("../../tests/fixtures/tls/rsa.crt");
const KEY: &[u8] = include_bytes!("../../tests/fixtures/tls/rsa.key");
/// The password of the client's role, where one is asked for.
pub(crate) const PASSWORD: &str = "right";

/// A server of this run. Both variants have what it is started with beyond the usual: arguments of `lodedb serve`, settings of PostgreSQL.
pub(crate) enum Server {
    /// `lodedb serve`.
    Lodedb { program: PathBuf, data: PathBuf, address: SocketAddr, process: Option<Child>, more: Vec<String> },
    /// PostgreSQL, as an unprivileged user when we are root.
    /// `spent` are the ticks of those processes of it that have ended.
    Postgres {
        programs: PathBuf,
        data: PathBuf,
        address: SocketAddr,
        user: Option<String>,
        spent: u64,
        more: Vec<String>,
    },
}

impl Server {
    /// Its name in the results.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Lodedb { .. } => "lodedb",
            Self::Postgres { .. } => "postgres",
        }
    }

    /// Its directory.
    pub(crate) fn data(&self) -> &Path {
        match self {
            Self::Lodedb { data, .. } | Self::Postgres { data, .. } => data,
        }
    }

    /// Whether a step of preparation was done on this directory, now or by an earlier run on the same one.
    pub(crate) fn is_done(&self, step: &str) -> bool {
        self.data().with_extension(step).exists()
    }

    /// Notes that it was, or is no more.
    pub(crate) fn set_done(&self, step: &str, done: bool) -> Result<()> {
        let mark = self.data().with_extension(step);
        let written = if done { std::fs::write(&mark, b"") } else { std::fs::remove_file(&mark) };
        written.map_err(|error| error.to_string())
    }

    /// The folder beside its directory for another database, which a section has for itself.
    fn apart_folder(&self) -> PathBuf {
        self.data().with_file_name("apart")
    }

    /// Starts another LodeDB in an empty directory of its own.
    pub(crate) fn apart(&self) -> Result<Self> {
        let Self::Lodedb { program, .. } = self else { return Err("not LodeDB".into()) };
        self.remove_apart()?;
        let folder = self.apart_folder();
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (program, data) = (program.clone(), folder.join("data"));
        let mut apart = Self::Lodedb { program, data, address: free_address()?, process: None, more: Vec::new() };
        apart.start()?;
        Ok(apart)
    }

    /// Removes what that one left.
    pub(crate) fn remove_apart(&self) -> Result<()> {
        remove_folder(&self.apart_folder())
    }

    fn postgres_command(&self, program: &str) -> Result<Command> {
        let Self::Postgres { programs, user, .. } = self else { return Err("not PostgreSQL".into()) };
        let program = programs.join(program);
        // Its user may not enter the folder we are in.
        let mut command = match user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir("/");
        Ok(command)
    }

    /// From its next start on it asks clients that come encrypted for a password; the others come in as before.
    pub(crate) fn guard(&mut self) -> Result<()> {
        let [rules, certificate, key] =
            ["rules", "server.crt", "server.key"].map(|name| self.data().with_extension(name));
        let write = |path: &Path, bytes: &[u8], mode: u32| {
            let written = std::fs::write(path, bytes)
                .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
                .and_then(|()| std::fs::metadata(self.data()))
                // It reads its key only where that is its own user's.
                .and_then(|owner| chown(path, Some(owner.uid()), Some(owner.gid())));
            written.map_err(|error| format!("{}: {error}", path.display()))
        };
        write(&rules, RULES.as_bytes(), 0o644)?;
        write(&certificate, CERTIFICATE, 0o644)?;
        write(&key, KEY, 0o600)?;
        let [rules, certificate, key] = [rules, certificate, key].map(|path| path.display().to_string());
        match self {
            Self::Lodedb { more, .. } => {
                *more = ["--hba", &rules, "--tls-cert", &certificate, "--tls-key", &key].map(String::from).into();
            }
            Self::Postgres { more, .. } => {
                let files = [("hba_file", rules), ("ssl_cert_file", certificate), ("ssl_key_file", key)];
                *more = files.map(|(setting, file)| format!("{setting}={file}")).into();
                more.push("ssl=on".into());
            }
        }
        Ok(())
    }

    /// LodeDB is started with these arguments from now on.
    pub(crate) fn give(&mut self, arguments: &[&str]) -> Result<()> {
        let Self::Lodedb { more, .. } = self else { return Err("not LodeDB".into()) };
        *more = arguments.iter().copied().map(String::from).collect();
        Ok(())
    }

    /// Starts it, making its directory when there is none, and gives a session once it answers.
    pub(crate) fn start(&mut self) -> Result<Client> {
        if let Self::Postgres { data, address, more, .. } = self {
            let (data, port, more) = (data.clone(), address.port(), more.join(" -c "));
            if !data.join("PG_VERSION").exists() {
                let mut initdb = self.postgres_command("initdb")?;
                run(initdb.arg("-D").arg(&data).args(["-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale"]))?;
            }
            let mut options = format!("-p {port} -h 127.0.0.1");
            let more = Some(more.as_str()).filter(|more| !more.is_empty());
            POSTGRES_SETTINGS.into_iter().chain(more).for_each(|setting| options.push_str(&format!(" -c {setting}")));
            let log = data.with_extension("log");
            let mut start = self.postgres_command("pg_ctl")?;
            run(start.arg("-D").arg(&data).arg("-l").arg(log).args(["-w", "-o", &options, "start"]))?;
        }
        if let Self::Lodedb { program, data, address, process, more } = self {
            let child = Command::new(&*program)
                .args(["serve", "--listen", &address.to_string(), "--data"])
                .arg(&*data)
                .args(&*more)
                .stdout(Stdio::null())
                .stderr(log_file(&data.with_extension("log"))?)
                .spawn();
            *process = Some(child.map_err(|error| format!("{}: {error}", program.display()))?);
        }
        let from = Instant::now();
        loop {
            match self.connect() {
                Ok(client) => return Ok(client),
                Err(error) if from.elapsed() > Duration::from_secs(60) => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
            if let Self::Lodedb { process: Some(child), .. } = self
                && let Ok(Some(status)) = child.try_wait()
            {
                return Err(format!("lodedb serve ended: {status}"));
            }
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Lodedb { address, .. } | Self::Postgres { address, .. } => *address,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    fn database(&self) -> &'static str {
        match self {
            Self::Lodedb { .. } => "lodedb",
            Self::Postgres { .. } => "postgres",
        }
    }

    /// Another session.
    pub(crate) fn connect(&self) -> Result<Client> {
        Client::connect(self.address(), self.database())
    }

    /// PostgreSQL's pgbench, which is going to talk to `server`, unencrypted unless it is told otherwise.
    pub(crate) fn pgbench(&self, server: &Self) -> Result<Command> {
        let Self::Postgres { programs, .. } = self else { return Err("not PostgreSQL".into()) };
        let mut pgbench = Command::new(programs.join("pgbench"));
        pgbench.env("PGHOST", "127.0.0.1").env("PGPORT", server.address().port().to_string());
        pgbench.env("PGUSER", "bench").env("PGPASSWORD", PASSWORD).env("PGDATABASE", server.database());
        pgbench.env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
        Ok(pgbench)
    }

    /// Several.
    pub(crate) fn connect_some(&self, sessions: usize) -> Result<Vec<Client>> {
        (0..sessions).map(|_| self.connect()).collect()
    }

    /// The process that serves.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Lodedb { process, .. } => process.as_ref().map(Child::id),
            Self::Postgres { .. } => None,
        }
    }

    /// Processor time that its processes have used, in ticks; what they have waited for counts as theirs. That of a LodeDB that has ended
    /// is ours.
    pub(crate) fn ticks(&self) -> u64 {
        match self {
            Self::Lodedb { .. } => self.pid().map_or(0, ticks),
            Self::Postgres { data, spent, .. } => {
                let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
                let pid = text.lines().next().unwrap_or_default().trim();
                let Ok(processes) = std::fs::read_dir("/proc") else { return *spent };
                let stats = processes.flatten().filter_map(|process| stat_of(&process.path().join("stat")));
                let own = stats.filter(|stat| stat.pid == pid || stat.parent == pid).map(|stat| stat.ticks);
                spent + own.sum::<u64>()
            }
        }
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        match self {
            Self::Lodedb { process, .. } => {
                let mut child = process.take().ok_or("it does not run")?;
                child.kill().and_then(|()| child.wait()).map(drop).map_err(|error| error.to_string())
            }
            Self::Postgres { .. } => self.stop_postgres("immediate"),
        }
    }

    /// Stops it cleanly and waits.
    pub(crate) fn stop(&mut self) -> Result<()> {
        match self {
            Self::Lodedb { process, .. } => {
                let Some(mut child) = process.take() else { return Ok(()) };
                run(Command::new("kill").arg("-TERM").arg(child.id().to_string()))?;
                let status = child.wait().map_err(|error| error.to_string())?;
                if status.success() { Ok(()) } else { Err(format!("lodedb serve ended: {status}")) }
            }
            Self::Postgres { data, .. } if !data.join("postmaster.pid").exists() => Ok(()),
            Self::Postgres { .. } => self.stop_postgres("fast"),
        }
    }

    fn stop_postgres(&mut self, mode: &str) -> Result<()> {
        let ticks = self.ticks();
        run(self.postgres_command("pg_ctl")?.arg("-D").arg(self.data()).args(["-m", mode, "-w", "stop"]))?;
        if let Self::Postgres { spent, .. } = self {
            *spent = ticks;
        }
        Ok(())
    }

    /// Runs `lodedb check` on its directory; it finds nothing.
    pub(crate) fn check(&self) -> Result<()> {
        let Self::Lodedb { program, data, .. } = self else { return Err("not LodeDB".into()) };
        run(Command::new(program).arg("check").arg(data))
    }

    /// Takes a backup of all of it into a new folder, with the log that belongs to it.
    pub(crate) fn base_backup(&self, into: &Path) -> Result<()> {
        let Self::Postgres { address, .. } = self else { return Err("not PostgreSQL".into()) };
        let mut backup = self.postgres_command("pg_basebackup")?;
        backup.args(["-h", "127.0.0.1", "-U", "bench", "-p", &address.port().to_string()]);
        run(backup.args(["--checkpoint=fast", "--wal-method=fetch", "-D"]).arg(into))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping {}: {error}", self.name());
        }
    }
}

struct Stat {
    pid: String,
    parent: String,
    ticks: u64,
}

fn stat_of(path: &Path) -> Option<Stat> {
    let text = std::fs::read_to_string(path).ok()?;
    let (pid, _) = text.split_once(' ')?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Stat { pid: pid.into(), parent: (*fields.get(1)?).into(), ticks })
}

/// Processor time of a process and of the children it has waited for, in ticks.
pub(crate) fn ticks(pid: u32) -> u64 {
    stat_of(Path::new(&format!("/proc/{pid}/stat"))).map_or(0, |stat| stat.ticks)
}

/// Ticks of the machine: those that were used, and all.
pub(crate) fn machine_ticks() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    (all - ticks.iter().skip(3).take(2).sum::<u64>(), all)
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// Removes a folder and all in it, if it is there.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

fn log_file(path: &Path) -> Result<std::fs::File> {
    std::fs::File::options().create(true).append(true).open(path).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match done.map_err(|error| format!("{command:?}: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{command:?}: {status}")),
    }
}
