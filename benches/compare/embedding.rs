//! Texts and pictures embedded through SQL, beside the same networks in Python.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::{Map, Value};

use crate::report::{Line, Section, grouped, spread};
use crate::sections::Bench;
use crate::wire::Result;

/// What embedding takes.
#[derive(Args, Clone)]
pub(crate) struct Embedding {
    /// The folder of models that tools/models/make.sh makes; its environment of Python is beside it.
    #[arg(long, default_value = "target/models")]
    models: PathBuf,
    /// WordNet, as Debian's wordnet-base unpacks.
    #[arg(long, default_value = "target/example-data/wordnet-base")]
    wordnet: PathBuf,
    /// Pictures, as Debian's openclipart-png unpacks.
    #[arg(long, default_value = "target/example-data/openclipart-png")]
    openclipart: PathBuf,
}

impl Bench {
    /// Runs tools/bench/embedding.py on a server without a cache of embeddings.
    pub(crate) fn embedding(&mut self) -> Result<Value> {
        let Embedding { models, wordnet, openclipart } = &self.embedding;
        let environment = models.with_file_name("models-env");
        let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        let mut server = self.lodedb.apart()?;
        server.stop()?;
        server.give(&[
            "--model-dir",
            &models.display().to_string(),
            "--onnx-runtime",
            &environment.display().to_string(),
            "--model-threads",
            &threads,
            "--embedding-cache-mib",
            "0",
        ])?;
        drop(server.start()?);
        let pid = server.pid().ok_or("the server does not run")?.to_string();
        let output = Command::new(environment.join("bin/python"))
            .args([
                "tools/bench/embedding.py",
                "--port",
                &server.port().to_string(),
                "--pid",
                &pid,
                "--threads",
                &threads,
            ])
            .arg("--models")
            .arg(models)
            .arg("--wordnet")
            .arg(wordnet)
            .arg("--openclipart")
            .arg(openclipart)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("tools/bench/embedding.py: {error}"))?;
        if !output.status.success() {
            return Err(format!("tools/bench/embedding.py: {}", output.status));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("tools/bench/embedding.py: {error}"))
    }
}

/// The lines of the table.
pub(crate) fn lines(results: &Map<String, Value>) -> Vec<Line> {
    let embedding = Section::of(results, "embedding");
    let mut all = Vec::new();
    for (kind, peer, target) in
        [("texts", "onnxruntime and tokenizers", 0.9), ("images", "onnxruntime and Pillow", 0.8)]
    {
        let section = embedding.inner(kind);
        let shown = |who: &str| spread(section.get(&format!("{who}_per_s")), 0, "");
        let ratio = section.middle("lodedb_per_s") / section.middle("python_per_s");
        let what = format!("{kind}/s embedded by INSERT .. SELECT, against Python's {peer}");
        all.push(Line::new(&what, shown("lodedb"), shown("python"), ratio).at_least(
            &format!(">= {target}x"),
            ratio,
            target,
        ));
    }
    let latency = embedding.inner("latency");
    let beyond = latency.middle("search_ms") - latency.middle("embed_ms");
    let ours = format!(
        "{:.2} ms: {:.2} ms with the search, {:.2} ms without",
        beyond,
        latency.middle("search_ms"),
        latency.middle("embed_ms")
    );
    let theirs = format!("{:.2} ms to embed", latency.middle("python_ms"));
    let what = "ORDER BY emb <=> embed(..) LIMIT 10: beyond embedding";
    all.push(Line::new(what, ours, theirs, f64::NAN).at_most("<= 1 ms", beyond, 1.0));
    let memory = embedding.inner("memory");
    let most = memory.get("most_mib");
    let part = |at: usize| most.get(at).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let (before, grown) = (memory.middle("before_mib"), part(3) / part(1));
    let ours = format!(
        "{before:.0} MiB before; at most {} MiB in each quarter",
        (0..4).map(|at| format!("{:.0}", part(at))).collect::<Vec<_>>().join(", ")
    );
    let what =
        format!("memory while {} rows are embedded: the last quarter to the second", grouped(memory.middle("rows"), 0));
    all.push(Line::new(&what, ours, String::new(), grown).at_most("<= 1.2x", grown, 1.2));
    all
}

/// How they were measured.
pub(crate) fn how(results: &Map<String, Value>) -> String {
    let embedding = Section::of(results, "embedding");
    let of = |kind: &str, name: &str| embedding.inner(kind).middle(name);
    format!(
        "- Embedding: all-MiniLM-L6-v2 and EfficientNet-Lite0 by one library of ONNX Runtime with as many threads, no cache of embeddings, in turns; {} \
         of WordNet's glosses and {} pictures of openclipart, decoding included. Python takes 64 at once, texts longest first. The least cosine \
         between its vectors and ours: {:.6} of texts, {:.6} of pictures.",
        grouped(of("texts", "inputs"), 0),
        grouped(of("images", "inputs"), 0),
        of("texts", "least_cosine"),
        of("images", "least_cosine"),
    )
}
