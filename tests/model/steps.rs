//! A play: random steps, each done to the engine and to the model.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::engine::{Answer, Engine, ask};
use crate::harness::vectors::{Metric, Source};
use crate::plain::{DIMS, Model};
use crate::reads::Recalled;

/// What was done, and how well searches that may miss did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    kinds: BTreeMap<&'static str, u64>,
    /// The recall of searches by indexes.
    pub(crate) recalled: Recalled,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.kinds {
            write!(f, "{name} {count}, ")?;
        }
        write!(f, "recall {:.3}", self.recalled.mean())
    }
}

/// A play.
pub(crate) struct Play {
    engine: Option<Engine>,
    /// The database as it should be.
    pub(crate) model: Model,
    /// Where chance comes from.
    pub(crate) random: StdRng,
    /// Where vectors come from.
    pub(crate) vectors: Source,
    /// The next id nobody has had.
    pub(crate) next: i64,
    /// The session whose step it is.
    pub(crate) who: usize,
    /// The session that holds the whole table until its transaction ends.
    pub(crate) alone: Option<usize>,
    /// Whether both sessions write at once, each in ids of its own.
    pub(crate) apart: bool,
    /// The metrics of the vector indexes `t_v0` and `t_v1`, where they exist.
    pub(crate) indexes: [Option<Metric>; 2],
    /// What is done and how.
    pub(crate) counts: Counts,
    /// The last statements, for the report.
    history: Vec<String>,
}

/// Plays `steps` random steps. An error tells the step and the first difference.
///
/// With an even seed nothing happens in the background but where a step says so; with an odd one the engine seals, trains
/// and merges by itself, so that a run is not repeated exactly.
pub(crate) async fn play(seed: u64, steps: u64) -> Result<Counts, (u64, String)> {
    let engine = Engine::new(seed % 2 == 1).map_err(|error| (0, error))?;
    let mut play = Play {
        engine: Some(engine),
        model: Model::default(),
        random: StdRng::seed_from_u64(seed),
        vectors: Source::new(seed ^ 0x5eed, DIMS),
        next: 1,
        who: 0,
        alone: None,
        apart: false,
        indexes: [None; 2],
        counts: Counts::default(),
        history: Vec::new(),
    };
    play.create_table().await.map_err(|error| (0, error))?;
    for step in 0..=steps {
        let done = tokio::time::timeout(Duration::from_secs(60), async {
            if step < steps { play.step().await } else { play.check_all().await }
        });
        let difference = match done.await {
            Ok(Ok(())) => continue,
            Ok(Err(difference)) => difference,
            Err(_) => "it hangs".to_owned(),
        };
        let recent = play.history.len().saturating_sub(14);
        let is_told = |(at, step): &(usize, &String)| *at >= recent || step.contains("INDEX t_v");
        let told: Vec<&str> = play.history.iter().enumerate().filter(is_told).map(|(_, step)| step.as_str()).collect();
        let history = told.join("\n  ");
        return Err((step, format!("step {step}: {difference}\n  after\n  {history}")));
    }
    Ok(play.counts)
}

impl Play {
    /// The database; there is none only while it is reopened.
    pub(crate) fn engine(&mut self) -> Result<&mut Engine, String> {
        self.engine.as_mut().ok_or_else(|| "the database is closed".to_owned())
    }

    /// Takes the database out, to put it back.
    pub(crate) fn engine_slot(&mut self) -> &mut Option<Engine> {
        &mut self.engine
    }

    /// Counts a step and keeps its statement for the report.
    pub(crate) fn note(&mut self, kind: &'static str, sql: &str) {
        *self.counts.kinds.entry(kind).or_default() += 1;
        let shown: String = sql.chars().take(300).collect();
        self.history.push(format!("{}: {shown}", self.who));
    }

    /// Runs a statement the model takes no part in.
    pub(crate) async fn quietly(&mut self, sql: &str) -> Result<Answer, String> {
        let who = self.who;
        ask(&mut self.engine()?.writers[who], sql).await.map_err(|error| format!("{sql}\n  failed: {error}"))
    }

    /// Creates the table of the play.
    pub(crate) async fn create_table(&mut self) -> Result<(), String> {
        self.indexes = [None; 2];
        let sql = format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, grp int NOT NULL, note text, code int UNIQUE, v vector({DIMS}))"
        );
        self.quietly(&sql).await.map(|_| ())
    }

    /// The parity of the ids this session may write, where it may not write all.
    pub(crate) fn parity(&self) -> Option<i64> {
        ((self.model.any_open() && self.alone.is_none()) || self.apart).then_some(self.who as i64)
    }

    /// The id of a row this session may write, or now and then of none.
    pub(crate) fn some_id(&mut self) -> i64 {
        let parity = self.parity();
        let ids: Vec<i64> = self.model.seen(self.who).into_keys().filter(|id| is_of(*id, parity)).collect();
        match ids.choose(&mut self.random) {
            Some(id) if self.random.random_bool(0.95) => *id,
            _ => self.new_id(),
        }
    }

    /// An id nobody has had.
    pub(crate) fn new_id(&mut self) -> i64 {
        let parity = self.parity();
        while !is_of(self.next, parity) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }

    async fn step(&mut self) -> Result<(), String> {
        self.who = self.alone.unwrap_or_else(|| self.random.random_range(0..2));
        if self.model.written(self.who) > 1000 {
            return self.begin_or_end().await;
        }
        match self.random.random_range(0..100) {
            0..44 => {
                let write = self.plan_write();
                self.perform(write).await
            }
            44..45 => self.delete_near().await,
            45..46 if self.random.random_bool(0.1) => self.truncate().await,
            46..53 => self.begin_or_end().await,
            53..72 => self.search().await,
            72..78 => self.look_up().await,
            78..81 => self.check_all().await,
            81..83 => self.audit(),
            83..86 => self.change_index().await,
            86..88 => self.settle().await,
            88..89 => self.checkpoint().await,
            89..91 if self.random.random_bool(0.3) => self.reopen().await,
            91..93 => self.write_at_once().await,
            93..94 if self.random.random_bool(0.05) => self.recreate().await,
            _ => self.look_aside().await,
        }
    }
}

/// Whether an id is of a parity, if there is one to be of.
pub(crate) fn is_of(id: i64, parity: Option<i64>) -> bool {
    parity.is_none_or(|parity| id.rem_euclid(2) == parity)
}
