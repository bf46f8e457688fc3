//! What programs made for PostgreSQL find: pgbench as it comes, connections with a password and TLS, and COPY to the client.

use std::process::{Command, Stdio};
use std::slice::from_mut;

use serde_json::{Map, Value, json};

use crate::durability::Figures;
use crate::rates::{ROUNDS, rate};
use crate::sections::{Bench, NEAREST, say};
use crate::servers::{PASSWORD, Server};
use crate::wire::Result;

/// pgbench's own measure: each has 100,000 accounts, ten tellers and a branch.
pub(crate) const SCALE: usize = 10;
/// How many clients pgbench has, and how many of its threads serve them.
pub(crate) const CLIENTS: [usize; 2] = [1, 8];
const THREADS: usize = 2;
/// Clients that search, as elsewhere.
pub(crate) const SEARCHERS: usize = 2;
/// pgbench takes up to 128 scripts. Each asks for the neighbours of a vector of its own.
pub(crate) const SEARCHES: usize = 100;
/// A turn of pgbench is so much longer than other rates are measured for: it counts whole seconds.
const TURN: f64 = 2.5;

/// An ordinary table without vectors.
pub(crate) const READINGS: usize = 1_000_000;
const READINGS_COLUMNS: &str = "(id bigint PRIMARY KEY, station integer NOT NULL, at timestamptz NOT NULL, value double precision, \
                                price numeric(10, 2), label text, is_valid boolean)";
const READINGS_ROWS: &str = "g, g % 1000, to_timestamp(1700000000 + g), CASE WHEN g % 10 = 0 THEN NULL ELSE g / 7::double precision END, \
                             (g % 100000) / 100.0, 'reading ' || g, g % 3 = 0";

/// What the first row of a binary COPY comes behind.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl Bench {
    /// pgbench's two best known scripts.
    pub(crate) fn pgbench(&mut self) -> Result<Value> {
        let ours = self.lodedb.apart()?;
        drop(self.postgres15.start()?);
        let servers = [&ours, &self.postgres15];
        for server in servers {
            say(&format!("pgbench fills {}", server.name()));
            report(self.postgres15.pgbench(server)?.args(["-i", "-q", "-s", &SCALE.to_string()]))?;
            server.connect()?.simple("CHECKPOINT")?;
        }
        let mut out = Map::new();
        for script in ["select-only", "tpcb-like"] {
            let mut each = Map::new();
            for clients in CLIENTS {
                let figures = turns(servers, "tps", |server| {
                    let threads = clients.min(THREADS).to_string();
                    self.transactions(server, clients, |pgbench| {
                        pgbench.args(["-M", "prepared", "-b", script, "-j", &threads]);
                    })
                })?;
                each.insert(clients.to_string(), figures);
            }
            out.insert(script.into(), Value::Object(each));
        }
        servers.into_iter().try_for_each(check_books)?;
        Ok(Value::Object(out))
    }

    /// Searches by pgbench, whose parameters are text.
    pub(crate) fn pgbench_search(&mut self) -> Result<Value> {
        self.index_both()?;
        let (mut ours, mut theirs) =
            (self.sessions(&self.lodedb, SEARCHERS)?, self.sessions(&self.postgres, SEARCHERS)?);
        let (recall, ef, peer_recall) = self.tune(&mut ours, &mut theirs)?;
        let folder = self.lodedb.data().with_file_name("searches");
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut arguments = ["-M", "prepared", "-j", &THREADS.to_string()].map(String::from).to_vec();
        for (at, query) in self.glove.queries.iter().take(SEARCHES).enumerate() {
            let script = folder.join(format!("{at}.sql"));
            std::fs::write(&script, format!("{};\n", NEAREST.replace("$1", &format!(":q{at}"))))
                .map_err(|error| format!("{}: {error}", script.display()))?;
            let numbers: Vec<String> = query.iter().map(f32::to_string).collect();
            let value = format!("q{at}=[{}]", numbers.join(","));
            arguments.extend(["-f".into(), script.display().to_string(), "-D".into(), value]);
        }
        let servers = [&self.lodedb, &self.postgres];
        let mut figures = turns(servers, "tps", |server| {
            self.transactions(server, SEARCHERS, |pgbench| {
                pgbench.args(&arguments);
                if server.name() == "postgres" {
                    pgbench.env("PGOPTIONS", format!("-c hnsw.ef_search={ef}"));
                }
            })
        })?;
        for (name, value) in
            [("recall", json!(recall)), ("postgres_recall", json!(peer_recall)), ("ef_search", json!(ef))]
        {
            figures[name] = value;
        }
        Ok(figures)
    }

    /// Connections that are encrypted and show a password, each for one small query.
    pub(crate) fn connect(&mut self) -> Result<Value> {
        let mut ours = self.lodedb.apart()?;
        let mut client = self.postgres15.start()?;
        client.simple(&format!("ALTER ROLE bench PASSWORD '{PASSWORD}'"))?;
        let kept = client.simple("SELECT rolpassword FROM pg_authid WHERE rolname = 'bench'")?;
        let kept = kept.first().ok_or("PostgreSQL keeps no password")?;
        // How often a password is hashed is written in what is kept of it, and it is the client that does it.
        ours.connect()?.simple(&format!("CREATE ROLE bench SUPERUSER LOGIN PASSWORD '{kept}'"))?;
        for server in [&mut ours, &mut self.postgres15] {
            server.stop()?;
            server.guard()?;
            drop(server.start()?);
        }
        let script = ours.data().with_extension("sql");
        std::fs::write(&script, "SELECT 1;\n").map_err(|error| format!("{}: {error}", script.display()))?;
        let connecting = |clients: usize| {
            turns([&ours, &self.postgres15], "per_s", |server| {
                self.transactions(server, clients, |pgbench| {
                    // A thread of pgbench waits for each of its connections in turn.
                    pgbench.args(["-C", "-j", &clients.to_string(), "-f"]).arg(&script).env("PGSSLMODE", "require");
                })
            })
        };
        let mut out = Map::new();
        for clients in CLIENTS {
            out.insert(clients.to_string(), connecting(clients)?);
        }
        ours.connect()?.simple(&format!("ALTER ROLE bench PASSWORD '{PASSWORD}'"))?;
        out.insert("own_passwords".into(), connecting(CLIENTS[1])?);
        Ok(Value::Object(out))
    }

    /// COPY to the client, binary: of scalars, and of the words with their vectors.
    pub(crate) fn copy_out(&mut self) -> Result<Value> {
        drop(self.postgres15.start()?);
        for server in [&self.lodedb, &self.postgres15] {
            let mut client = server.connect()?;
            client.simple("DROP TABLE IF EXISTS readings")?;
            client.simple(&format!("CREATE TABLE readings {READINGS_COLUMNS}"))?;
            client.simple(&format!(
                "INSERT INTO readings SELECT {READINGS_ROWS} FROM generate_series(1, {READINGS}) g"
            ))?;
            client.simple("VACUUM ANALYZE readings")?;
            client.simple("CHECKPOINT")?;
        }
        let scalars = self.copy_table([&self.lodedb, &self.postgres15], "readings", READINGS)?;
        for server in [&self.lodedb, &self.postgres15] {
            server.connect()?.simple("DROP TABLE readings")?;
        }
        self.load(&self.lodedb)?;
        self.load(&self.postgres)?;
        let words = self.copy_table([&self.lodedb, &self.postgres], "words (id, word, embedding)", self.glove.len())?;
        Ok(json!({ "scalars": scalars, "vectors": words }))
    }

    fn copy_table(&self, servers: [&Server; 2], table: &str, rows: usize) -> Result<Value> {
        let sql = format!("COPY {table} TO STDOUT (FORMAT BINARY)");
        let mut came = Vec::new();
        for server in servers {
            // Each piece is a row, and each server has an order of its own.
            let (mut bytes, mut sum) = (0, 0u64);
            server.connect()?.copy_out(&sql, |piece| {
                bytes += piece.len();
                sum += u64::from(crc32fast::hash(piece.strip_prefix(COPY_HEADER).unwrap_or(piece)));
            })?;
            came.push((bytes, sum));
        }
        if came[0] != came[1] {
            return Err(format!("{sql}: {came:?} bytes and sums of checksums"));
        }
        let mut figures = turns(servers, "rows_per_s", |server| {
            let copying = rate(from_mut(&mut server.connect()?), self.seconds, |client, _| {
                let mut bytes = 0;
                client.copy_out(&sql, |piece| bytes += piece.len())?;
                if bytes == came[0].0 { Ok(()) } else { Err(format!("{sql}: {bytes} bytes")) }
            })?;
            Ok(copying * rows as f64)
        })?;
        figures["rows"] = json!(rows);
        figures["mb"] = json!(came[0].0 as f64 / 1e6);
        Ok(figures)
    }

    /// Lets pgbench's clients do transactions for a while; gives how many they did in a second.
    fn transactions(&self, server: &Server, clients: usize, configure: impl FnOnce(&mut Command)) -> Result<f64> {
        let mut pgbench = self.postgres15.pgbench(server)?;
        let [seconds, clients] = [(TURN * self.seconds).ceil() as usize, clients].map(|number| number.to_string());
        configure(pgbench.args(["-n", "-T", &seconds, "-c", &clients]));
        let report = report(&mut pgbench)?;
        match figure(&report, "number of failed transactions:")? {
            0.0 => figure(&report, "tps ="),
            _ => Err(format!("transactions failed:\n{report}")),
        }
    }
}

/// The servers take turns at something; gives the numbers that came of it.
fn turns(servers: [&Server; 2], what: &str, turn: impl Fn(&Server) -> Result<f64>) -> Result<Value> {
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        for server in servers {
            figures.add(server, what, turn(server)?);
        }
    }
    Ok(Value::Object(figures.0))
}

/// Runs pgbench to its end; gives what it reports.
fn report(pgbench: &mut Command) -> Result<String> {
    let output = pgbench.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", pgbench.get_program().display()))?;
    let [report, said] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if output.status.success() { Ok(report) } else { Err(format!("pgbench: {}:\n{said}", output.status)) }
}

/// The number behind a name in what pgbench reports.
fn figure(report: &str, name: &str) -> Result<f64> {
    let rest = report.split_once(name).map_or("", |(_, rest)| rest.trim_start());
    let number = rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or_default();
    number.parse().map_err(|_| format!("no {name:?} in what pgbench reports:\n{report}"))
}

/// What was moved is the same in all four tables.
fn check_books(server: &Server) -> Result<()> {
    let mut client = server.connect()?;
    let mut sums = Vec::new();
    for (column, table) in
        [("abalance", "accounts"), ("tbalance", "tellers"), ("bbalance", "branches"), ("delta", "history")]
    {
        sums.extend(client.simple(&format!("SELECT sum({column}) FROM pgbench_{table}"))?);
    }
    if sums.iter().all(|sum| *sum == sums[0]) { Ok(()) } else { Err(format!("{} moved {sums:?}", server.name())) }
}
