//! Random steps, each done to the engine and to the model, and what must agree after it.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::engine::{Answer, Engine, Fault, ask};
use crate::harness::vectors::{Metric, Source, close, nearest, recall, text};
use crate::plain::{Conflict, DIMS, End, Model, Row, Table, delete, insert, literal, shown, taken, update};

/// How often each kind of step was done.
#[derive(Debug, Default)]
pub(crate) struct Counts(std::collections::BTreeMap<&'static str, u64>);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&parts.join(", "))
    }
}

struct Play {
    engine: Option<Engine>,
    model: Model,
    random: StdRng,
    vectors: Source,
    fault: Fault,
    next: i64,
    /// The vector index there is: its metric, and whether it is `flat`.
    index: Option<Metric>,
    counts: Counts,
    /// The last statements, for the report.
    history: Vec<String>,
    last_insert: Option<(i64, Row)>,
    last_delete: Option<(i64, Row)>,
}

/// Plays `steps` random steps. An error tells the first difference.
pub(crate) async fn play(seed: u64, steps: u64, fault: Fault) -> Result<Counts, String> {
    let mut play = Play {
        engine: Some(Engine::new()?),
        model: Model::default(),
        random: StdRng::seed_from_u64(seed),
        vectors: Source::new(seed ^ 0x5eed, DIMS),
        fault,
        next: 1,
        index: None,
        counts: Counts::default(),
        history: Vec::new(),
        last_insert: None,
        last_delete: None,
    };
    let table = format!(
        "CREATE TABLE t (id bigint PRIMARY KEY, grp int NOT NULL, note text, code int UNIQUE, v vector({DIMS}))"
    );
    play.quietly(&table).await?;
    for step in 0..steps {
        if let Err(difference) = play.step().await {
            let history = play.history.iter().rev().take(12).rev().cloned().collect::<Vec<_>>().join("\n  ");
            return Err(format!("step {step}: {difference}\n  after\n  {history}"));
        }
    }
    play.check_all().await.map_err(|difference| format!("at the end: {difference}"))?;
    Ok(play.counts)
}

impl Play {
    fn engine(&mut self) -> Result<&mut Engine, String> {
        self.engine.as_mut().ok_or_else(|| "the database is closed".to_owned())
    }

    fn note(&mut self, kind: &'static str, sql: &str) {
        *self.counts.0.entry(kind).or_default() += 1;
        let mut shown = sql.to_owned();
        if shown.len() > 300 {
            let end = (0..=300).rev().find(|&at| shown.is_char_boundary(at)).unwrap_or(0);
            shown.truncate(end);
            shown.push_str("...");
        }
        self.history.push(shown);
        if self.history.len() > 40 {
            self.history.remove(0);
        }
    }

    /// Runs a statement the model takes no part in.
    async fn quietly(&mut self, sql: &str) -> Result<Answer, String> {
        let engine = self.engine()?;
        ask(&mut engine.writer, sql).await.map_err(|error| format!("{sql}\n  failed: {error}"))
    }

    /// Runs a change on both sides; they must end alike. `planted`: what the engine is given instead.
    async fn change(
        &mut self,
        kind: &'static str,
        sql: &str,
        planted: Option<String>,
        change: impl FnOnce(&mut Table) -> End,
    ) -> Result<End, String> {
        self.note(kind, sql);
        let expected = self.model.change(change);
        let sent = planted.as_deref().unwrap_or(sql);
        let answer = ask(&mut self.engine()?.writer, sent).await;
        if planted.is_some() {
            return Ok(expected);
        }
        let end = match &answer {
            Ok(answer) => End::Rows(answer.count),
            Err(error) => {
                let state = error.state().code();
                match expected {
                    End::Error(expected) if expected == state => End::Error(expected),
                    _ => return Err(format!("{sql}\n  ended with {error} instead of {expected:?}")),
                }
            }
        };
        if end == expected { Ok(end) } else { Err(format!("{sql}\n  ended with {end:?} instead of {expected:?}")) }
    }

    fn is_planted(&mut self, fault: Fault) -> bool {
        self.fault == fault && self.random.random_bool(0.3)
    }

    fn row(&mut self) -> Row {
        let note = match self.random.random_range(0..4) {
            0 => None,
            1 => Some(String::new()),
            _ => Some(format!("n'{}", self.random.random_range(0..100))),
        };
        Row {
            grp: self.random.random_range(0..10),
            note,
            code: self.random.random_bool(0.3).then(|| self.random.random_range(0..100_000)),
            v: self.random.random_bool(0.9).then(|| self.vectors.next()),
        }
    }

    fn some_id(&mut self) -> i64 {
        let ids: Vec<i64> = self.model.table().keys().copied().collect();
        if self.random.random_bool(0.05) { self.next + 7 } else { ids.choose(&mut self.random).copied().unwrap_or(1) }
    }

    async fn step(&mut self) -> Result<(), String> {
        let full = self.model.table().len() > 2500;
        match self.random.random_range(0..100) {
            0..14 => self.insert(1).await,
            14..22 => {
                let count = self.random.random_range(2..9);
                self.insert(count).await
            }
            22..25 if !full => {
                let count = self.random.random_range(50..250);
                self.insert(count).await
            }
            25..28 => self.upsert().await,
            28..36 => self.update_scalar().await,
            36..43 => self.update_vector().await,
            43..46 => self.update_code().await,
            46..52 => self.delete_some().await,
            52..53 => self.delete_near().await,
            53..54 if self.random.random_bool(0.15) => self.truncate().await,
            54..60 => self.begin_or_end().await,
            60..78 => self.search().await,
            78..84 => self.look_up().await,
            84..88 => self.check_all().await,
            88..90 => self.change_index().await,
            90..92 => self.settle().await,
            92..93 => self.checkpoint().await,
            93..95 if self.random.random_bool(0.3) => self.reopen().await,
            _ => self.look_aside().await,
        }
    }

    async fn insert(&mut self, count: usize) -> Result<(), String> {
        let mut rows = Vec::new();
        for _ in 0..count {
            let id = if self.random.random_bool(0.03) { self.some_id() } else { self.next };
            self.next = self.next.max(id) + 1;
            let mut row = self.row();
            if self.random.random_bool(0.02)
                && let Some(code) = self.model.table().values().find_map(|row| row.code)
            {
                row.code = Some(code);
            }
            rows.push((id, row));
        }
        let values: Vec<String> = rows.iter().map(|(id, row)| literal(*id, row)).collect();
        let mut planted = None;
        if count > 1 && self.is_planted(Fault::LostRow) {
            planted = Some(format!("INSERT INTO t VALUES {}", values[..count - 1].join(", ")));
        }
        if self.is_planted(Fault::TornView) {
            // The rows without their vectors.
            let torn: Vec<String> =
                rows.iter().map(|(id, row)| literal(*id, &Row { v: None, ..row.clone() })).collect();
            planted = Some(format!("INSERT INTO t VALUES {}", torn.join(", ")));
        }
        if self.is_planted(Fault::UncheckedKey)
            && rows
                .iter()
                .any(|(id, row)| taken(self.model.table(), *id, row.code) || self.model.table().contains_key(id))
        {
            let changed: Vec<String> =
                rows.iter().map(|(id, row)| literal(*id + 1_000_000, &Row { code: None, ..row.clone() })).collect();
            planted = Some(format!("INSERT INTO t VALUES {}", changed.join(", ")));
        }
        let sql = format!("INSERT INTO t VALUES {}", values.join(", "));
        let end = self.change("insert", &sql, planted, |table| insert(table, &rows, Conflict::Error)).await?;
        if matches!(end, End::Rows(_)) && self.model.open.is_none() {
            self.last_insert = rows.first().cloned();
        }
        Ok(())
    }

    async fn upsert(&mut self) -> Result<(), String> {
        let conflict = if self.random.random_bool(0.5) { Conflict::Nothing } else { Conflict::Update };
        let mut rows = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            let id = self.some_id();
            rows.push((id, Row { code: None, ..self.row() }));
        }
        self.next = rows.iter().map(|(id, _)| id + 1).max().unwrap_or(0).max(self.next);
        let values: Vec<String> = rows.iter().map(|(id, row)| literal(*id, row)).collect();
        let action = match conflict {
            Conflict::Update => "UPDATE SET grp = EXCLUDED.grp, v = EXCLUDED.v",
            _ => "NOTHING",
        };
        let sql = format!("INSERT INTO t VALUES {} ON CONFLICT (id) DO {action}", values.join(", "));
        let planted = (conflict == Conflict::Update && self.is_planted(Fault::IgnoredConflict))
            .then(|| format!("INSERT INTO t VALUES {} ON CONFLICT (id) DO NOTHING", values.join(", ")));
        self.change("upsert", &sql, planted, |table| insert(table, &rows, conflict)).await.map(|_| ())
    }

    /// A condition in SQL and as a function.
    fn condition(&mut self) -> (String, Box<dyn Fn(i64, &Row) -> bool + Send>) {
        match self.random.random_range(0..6) {
            0 | 1 => {
                let id = self.some_id();
                (format!("id = {id}"), Box::new(move |of, _| of == id))
            }
            2 => {
                let from = self.some_id();
                (format!("id BETWEEN {from} AND {}", from + 5), Box::new(move |of, _| (from..=from + 5).contains(&of)))
            }
            3 => {
                let (grp, part) = (self.random.random_range(0..10), self.random.random_range(0..7));
                (format!("grp = {grp} AND id % 7 = {part}"), Box::new(move |of, row| row.grp == grp && of % 7 == part))
            }
            4 => {
                let note = format!("n'{}", self.random.random_range(0..100));
                (
                    format!("note = '{}'", note.replace('\'', "''")),
                    Box::new(move |_, row| row.note.as_ref() == Some(&note)),
                )
            }
            _ => {
                let code = self.model.table().values().find_map(|row| row.code).unwrap_or(0);
                (format!("code = {code}"), Box::new(move |_, row| row.code == Some(code)))
            }
        }
    }

    async fn update_scalar(&mut self) -> Result<(), String> {
        let (condition, keep) = self.condition();
        let (grp, note) = (self.random.random_range(0..10), format!("u{}", self.random.random_range(0..9)));
        let sql = format!("UPDATE t SET grp = {grp}, note = '{note}' WHERE {condition}");
        let planted = self.is_planted(Fault::StaleColumn).then(|| "SELECT 1".to_owned());
        let set = |row: &mut Row| {
            row.grp = grp;
            row.note = Some(note.clone());
        };
        self.change("update", &sql, planted, |table| update(table, &keep, set)).await.map(|_| ())
    }

    async fn update_vector(&mut self) -> Result<(), String> {
        let (condition, keep) = self.condition();
        let vector = self.random.random_bool(0.95).then(|| self.vectors.next());
        let value = vector.as_deref().map_or_else(|| "NULL".to_owned(), |vector| format!("'{}'", text(vector)));
        let sql = format!("UPDATE t SET v = {value} WHERE {condition}");
        let planted = self.is_planted(Fault::StaleVector).then(|| "SELECT 1".to_owned());
        self.change("update of a vector", &sql, planted, |table| update(table, &keep, |row| row.v.clone_from(&vector)))
            .await
            .map(|_| ())
    }

    async fn update_code(&mut self) -> Result<(), String> {
        let (condition, keep) = self.condition();
        let code = if self.random.random_bool(0.5) {
            Some(self.random.random_range(0..100_000))
        } else {
            self.model.table().values().filter_map(|row| row.code).nth(self.random.random_range(0..5))
        };
        let value = code.map_or_else(|| "NULL".to_owned(), |code| code.to_string());
        let sql = format!("UPDATE t SET code = {value} WHERE {condition}");
        self.change("update of a key", &sql, None, |table| update(table, &keep, |row| row.code = code))
            .await
            .map(|_| ())
    }

    async fn delete_some(&mut self) -> Result<(), String> {
        let (condition, keep) = self.condition();
        let ended = self.model.table().iter().find(|(id, row)| keep(**id, row)).map(|(id, row)| (*id, row.clone()));
        let sql = format!("DELETE FROM t WHERE {condition}");
        let mut planted = self.is_planted(Fault::LostDelete).then(|| "SELECT 1".to_owned());
        if let Some((id, row)) = &ended
            && self.is_planted(Fault::ZombieVector)
        {
            let again = literal(-id - 1, &Row { code: None, ..row.clone() });
            planted = Some(format!("{sql}; INSERT INTO t VALUES {again} ON CONFLICT DO NOTHING"));
        }
        let end = self.change("delete", &sql, planted, |table| delete(table, &keep)).await?;
        if matches!(end, End::Rows(1..)) && self.model.open.is_none() {
            self.last_delete = ended;
        }
        Ok(())
    }

    async fn delete_near(&mut self) -> Result<(), String> {
        let query = self.vectors.next();
        let near = nearest(Metric::L2, &query, with_vectors(self.model.table(), &|_, _| true), 6);
        // Where distances are nearly equal, which rows go is open; so only clear cases are done.
        if near.len() < 6 || close(near[4].1, near[5].1) {
            return Ok(());
        }
        let gone: Vec<i64> = near[..5].iter().map(|(id, _)| *id).collect();
        let nearest = format!("SELECT id FROM t WHERE v IS NOT NULL ORDER BY v <-> '{}' LIMIT 5", text(&query));
        let sql = format!("DELETE FROM t WHERE id IN ({nearest})");
        if !self.model.failed {
            self.quietly("SET lodedb.exact = on").await?;
        }
        self.change("delete of the nearest", &sql, None, |table| delete(table, |id, _| gone.contains(&id))).await?;
        if !self.model.failed {
            self.quietly("SET lodedb.exact = off").await?;
        }
        Ok(())
    }

    async fn truncate(&mut self) -> Result<(), String> {
        let keep = self.model.table().keys().next().copied().unwrap_or(0);
        let planted = self.is_planted(Fault::KeptByTruncate).then(|| format!("DELETE FROM t WHERE id <> {keep}"));
        let truncated = |table: &mut Table| {
            table.clear();
            End::Rows(0)
        };
        self.change("truncate", "TRUNCATE t", planted, truncated).await.map(|_| ())
    }

    async fn begin_or_end(&mut self) -> Result<(), String> {
        if self.model.open.is_none() {
            self.note("begin", "BEGIN");
            self.quietly("BEGIN").await?;
            self.model.open = Some(self.model.committed.clone());
            return Ok(());
        }
        let mut commits = self.random.random_bool(0.6);
        self.note(if commits { "commit" } else { "rollback" }, if commits { "COMMIT" } else { "ROLLBACK" });
        if commits {
            self.model.commit();
        } else {
            self.model.rollback();
        }
        self.last_insert = None;
        self.last_delete = None;
        if self.is_planted(Fault::LostCommit) || self.is_planted(Fault::KeptRollback) {
            commits = !commits;
        }
        self.quietly(if commits { "COMMIT" } else { "ROLLBACK" }).await?;
        Ok(())
    }

    async fn search(&mut self) -> Result<(), String> {
        if self.model.failed {
            return Ok(());
        }
        let metric = *Metric::ALL.choose(&mut self.random).unwrap_or(&Metric::L2);
        let metric = match self.index {
            Some(indexed) if self.random.random_bool(0.7) => indexed,
            _ => metric,
        };
        let query = self.vectors.next();
        let k = *[1, 5, 20, 100, 5000].choose(&mut self.random).unwrap_or(&5);
        let grp = self.random.random_range(0..10);
        let from = self.some_id();
        let (filter, keep): (String, Box<dyn Fn(i64, &Row) -> bool>) = match self.random.random_range(0..5) {
            0 | 1 => ("true".to_owned(), Box::new(|_, _| true)),
            2 => (format!("grp = {grp}"), Box::new(move |_, row| row.grp == grp)),
            3 => (format!("grp < {grp} AND id > {from}"), Box::new(move |id, row| row.grp < grp && id > from)),
            _ => (format!("note = 'u{grp}'"), Box::new(move |_, row| row.note.as_deref() == Some(&format!("u{grp}")))),
        };
        // Exact, or everything probed and re-ranked, or as it comes.
        let way = self.random.random_range(0..3);
        let settings = match way {
            0 => "SET lodedb.exact = on",
            1 => "SET lodedb.exact = off; SET lodedb.probes = 1048576; SET lodedb.candidates = 16777216",
            _ => "SET lodedb.exact = off; SET lodedb.probes = 0; SET lodedb.candidates = 0",
        };
        let operator = metric.operator();
        let sql = format!(
            "SELECT id, v {operator} '{}' AS d FROM t WHERE v IS NOT NULL AND {filter} ORDER BY d LIMIT {k}",
            text(&query)
        );
        self.note("search", &format!("{settings}; {sql}"));
        let in_block = self.model.open.is_some();
        self.quietly(settings).await?;
        let answer = self.quietly(&sql).await?;
        // The other session sees what is committed.
        if in_block {
            let engine = self.engine()?;
            let other = ask(&mut engine.reader, &format!("SET lodedb.exact = on; {sql}")).await;
            let other = other.map_err(|error| format!("{sql}\n  beside a transaction failed: {error}"))?;
            compare(&other, &self.model.committed, metric, &query, k, &keep, true)
                .map_err(|difference| format!("{sql}\n  beside a transaction: {difference}"))?;
        }
        compare(&answer, self.model.table(), metric, &query, k, &keep, way < 2)
            .map_err(|difference| format!("{settings}; {sql}\n  {difference}"))
    }

    async fn look_up(&mut self) -> Result<(), String> {
        if self.model.failed {
            return Ok(());
        }
        let (condition, keep) = self.condition();
        let sql = format!("SELECT id, grp, note, code, v FROM t WHERE {condition} ORDER BY id");
        self.note("look-up", &sql);
        let answer = self.quietly(&sql).await?;
        same(&answer, rows_of(self.model.table(), &*keep)).map_err(|difference| format!("{sql}\n  {difference}"))?;
        let grp = self.random.random_range(0..10);
        let sql = format!("SELECT count(*), count(v), count(DISTINCT note), max(id) FROM t WHERE grp = {grp}");
        let answer = self.quietly(&sql).await?;
        let rows: Vec<(&i64, &Row)> = self.model.table().iter().filter(|(_, row)| row.grp == grp).collect();
        let notes: std::collections::BTreeSet<_> = rows.iter().filter_map(|(_, row)| row.note.as_ref()).collect();
        let expected = vec![
            rows.len().to_string(),
            rows.iter().filter(|(_, row)| row.v.is_some()).count().to_string(),
            notes.len().to_string(),
            rows.last().map_or_else(|| "NULL".to_owned(), |(id, _)| id.to_string()),
        ];
        same(&answer, vec![expected]).map_err(|difference| format!("{sql}\n  {difference}"))
    }

    /// The other session sees the committed rows, whatever this one is doing.
    async fn look_aside(&mut self) -> Result<(), String> {
        let (condition, keep) = self.condition();
        let sql = format!("SELECT id, grp, note, code, v FROM t WHERE {condition} ORDER BY id");
        self.note("look aside", &sql);
        let answer =
            ask(&mut self.engine()?.reader, &sql).await.map_err(|error| format!("{sql}\n  failed: {error}"))?;
        same(&answer, rows_of(&self.model.committed, &*keep))
            .map_err(|difference| format!("beside, {sql}\n  {difference}"))
    }

    async fn check_all(&mut self) -> Result<(), String> {
        let sql = "SELECT id, grp, note, code, v FROM t ORDER BY id";
        self.note("check", sql);
        let beside = ask(&mut self.engine()?.reader, sql).await.map_err(|error| format!("{sql}\n  failed: {error}"))?;
        same(&beside, rows_of(&self.model.committed, &|_, _| true))
            .map_err(|difference| format!("beside: {difference}"))?;
        if self.model.failed {
            return Ok(());
        }
        let answer = self.quietly(sql).await?;
        same(&answer, rows_of(self.model.table(), &|_, _| true))
    }

    async fn change_index(&mut self) -> Result<(), String> {
        if self.model.open.is_some() {
            return Ok(());
        }
        if self.index.take().is_some() {
            self.note("drop index", "DROP INDEX t_v");
            self.quietly("DROP INDEX t_v").await?;
            return Ok(());
        }
        let kind = *["ivfpq", "ivfpq", "ivfpq", "ivfflat", "hnsw", "flat"].choose(&mut self.random).unwrap_or(&"ivfpq");
        let metric =
            *[Metric::L2, Metric::Cosine, Metric::InnerProduct].choose(&mut self.random).unwrap_or(&Metric::L2);
        let sql = format!("CREATE INDEX t_v ON t USING {kind} (v {})", metric.opclass());
        self.note("create index", &sql);
        self.quietly(&sql).await?;
        self.index = Some(metric);
        if self.random.random_bool(0.5) {
            self.quietly("DROP INDEX IF EXISTS t_grp").await?;
            self.quietly("CREATE INDEX t_grp ON t (grp)").await?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        self.note("settle", "-- settle");
        let db = self.engine()?.db.clone();
        tokio::task::spawn_blocking(move || db.settle()).await.map_err(|error| format!("settling: {error}"))?;
        if self.fault == Fault::LostBySealing && self.model.open.is_none() {
            self.quietly("DELETE FROM t WHERE id = (SELECT max(id) FROM t)").await?;
        }
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<(), String> {
        self.note("checkpoint", "-- checkpoint");
        let db = self.engine()?.db.clone();
        let taken = tokio::task::spawn_blocking(move || db.checkpoint()).await;
        taken.map_err(|error| format!("checkpoint: {error}"))?.map_err(|error| format!("checkpoint: {error}"))
    }

    async fn reopen(&mut self) -> Result<(), String> {
        // An open transaction goes with its session.
        self.model.rollback();
        let crash = self.random.random_bool(0.6);
        self.note(if crash { "crash" } else { "reopen" }, if crash { "-- crash" } else { "-- reopen" });
        let engine = self.engine.take().ok_or("the database is closed")?;
        let opened = tokio::task::spawn_blocking(move || if crash { engine.crash() } else { engine.reopen() }).await;
        self.engine = Some(opened.map_err(|error| format!("reopening: {error}"))??);
        if self.fault == Fault::ReplayedTwice
            && let Some((_, row)) = self.last_insert.clone()
        {
            let again = literal(self.next + 1_000_000, &Row { code: None, ..row });
            self.quietly(&format!("INSERT INTO t VALUES {again} ON CONFLICT DO NOTHING")).await?;
        }
        if self.fault == Fault::LostAtReopen
            && let Some((id, row)) = self.last_delete.clone()
        {
            let again = literal(id, &Row { code: None, ..row });
            self.quietly(&format!("INSERT INTO t VALUES {again} ON CONFLICT DO NOTHING")).await?;
        }
        self.check_all().await
    }
}

fn with_vectors<'a>(table: &'a Table, keep: &dyn Fn(i64, &Row) -> bool) -> Vec<(i64, &'a [f32])> {
    table
        .iter()
        .filter(|(id, row)| keep(**id, row))
        .filter_map(|(id, row)| row.v.as_deref().map(|vector| (*id, vector)))
        .collect()
}

fn rows_of(table: &Table, keep: &dyn Fn(i64, &Row) -> bool) -> Vec<Vec<String>> {
    table.iter().filter(|(id, row)| keep(**id, row)).map(|(id, row)| shown(*id, row)).collect()
}

fn same(answer: &Answer, expected: Vec<Vec<String>>) -> Result<(), String> {
    if answer.rows == expected {
        return Ok(());
    }
    let different: Vec<String> = (0..answer.rows.len().max(expected.len()))
        .filter(|&at| answer.rows.get(at) != expected.get(at))
        .take(3)
        .map(|at| format!("row {at}: {:?} instead of {:?}", answer.rows.get(at), expected.get(at)))
        .collect();
    Err(format!("{} rows instead of {}: {}", answer.rows.len(), expected.len(), different.join("; ")))
}

/// An exact answer is compared distance by distance; any other must hold true distances, in order, k of them, near ones.
fn compare(
    answer: &Answer,
    table: &Table,
    metric: Metric,
    query: &[f32],
    k: usize,
    keep: &dyn Fn(i64, &Row) -> bool,
    exact: bool,
) -> Result<(), String> {
    let expected = nearest(metric, query, with_vectors(table, keep), k);
    let mut found = Vec::new();
    for row in &answer.rows {
        let (Some(Ok(id)), Some(Ok(distance))) =
            (row.first().map(|text| text.parse::<i64>()), row.get(1).map(|text| text.parse::<f64>()))
        else {
            return Err(format!("an answer of {row:?}"));
        };
        found.push((id, distance));
    }
    if found.len() != expected.len() {
        return Err(format!("{} neighbours instead of {}", found.len(), expected.len()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (at, &(id, distance)) in found.iter().enumerate() {
        let own = table.get(&id).filter(|row| keep(id, row)).and_then(|row| row.v.as_deref());
        let Some(own) = own.map(|vector| metric.distance(query, vector)) else {
            return Err(format!("row {id} is no neighbour"));
        };
        if !seen.insert(id) {
            return Err(format!("row {id} comes twice"));
        }
        if !close(own, distance) {
            return Err(format!("row {id} is at {own}, and the answer says {distance}"));
        }
        if at > 0 && found[at - 1].1 > distance {
            return Err(format!("row {id} stands behind a farther one"));
        }
        if exact && !close(distance, expected[at].1) {
            return Err(format!("place {at} is row {id} at {distance}, and {:?} is nearest", expected[at]));
        }
    }
    let recalled = recall(&found, &expected);
    // One search may fall short; the tests of recall say what holds on average.
    if !exact && recalled < 0.4 {
        return Err(format!("recall is {recalled} of {}", expected.len()));
    }
    Ok(())
}
