//! The steps that read, and how answers are compared.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::engine::{Answer, ask};
use crate::harness::vectors::{Metric, close, nearest, recall, text};
use crate::plain::{Row, Table, shown};
use crate::steps::Play;

/// How much of what they should find searches by indexes found.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    found: f64,
    expected: f64,
}

impl Recalled {
    /// The share found; 1 while there is too little to tell.
    pub(crate) fn mean(&self) -> f64 {
        if self.expected < 500.0 { 1.0 } else { self.found / self.expected }
    }
}

impl Play {
    /// A search for neighbours, exact or not, with a filter or without.
    pub(crate) async fn search(&mut self) -> Result<(), String> {
        if self.model.has_failed(self.who) {
            return Ok(());
        }
        let indexed: Vec<Metric> = self.indexes.into_iter().flatten().collect();
        let metric = match indexed.choose(&mut self.random) {
            Some(metric) if self.random.random_bool(0.7) => *metric,
            _ => *Metric::ALL.choose(&mut self.random).unwrap_or(&Metric::L2),
        };
        let query = self.vectors.next();
        let k = *[1, 5, 20, 100, 5000].choose(&mut self.random).unwrap_or(&5);
        let (grp, from) = (self.random.random_range(0..10), self.some_id());
        type Keep = Box<dyn Fn(i64, &Row) -> bool>;
        let (filter, keep): (String, Keep) = match self.random.random_range(0..6) {
            0 | 1 => (String::new(), Box::new(|_, _| true)),
            2 => (format!("grp = {grp}"), Box::new(move |_, row| row.grp == grp)),
            3 => (format!("grp < {grp} AND id > {from}"), Box::new(move |id, row| row.grp < grp && id > from)),
            4 => (format!("note = 'u{grp}'"), Box::new(move |_, row| row.note.as_deref() == Some(&format!("u{grp}")))),
            _ => (format!("code > {}", grp * 10_000), Box::new(move |_, row| row.code > Some(grp * 10_000))),
        };
        // Rows with a NULL vector come last, unless they are left out.
        let nulls = self.random.random_bool(0.3);
        let mut conditions = Vec::new();
        conditions.extend((!nulls).then_some("v IS NOT NULL"));
        conditions.extend((!filter.is_empty()).then_some(filter.as_str()));
        let condition =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        // Exact, or everything probed and re-ranked, or as it comes.
        let way = self.random.random_range(0..3);
        let settings = match way {
            0 => "SET lodedb.exact = on",
            1 => "SET lodedb.exact = off; SET lodedb.probes = 1048576; SET lodedb.candidates = 16777216",
            _ => "SET lodedb.exact = off; SET lodedb.probes = 0; SET lodedb.candidates = 0",
        };
        let operator = metric.operator();
        let sql = format!("SELECT id, v {operator} '{}' AS d FROM t{condition} ORDER BY d LIMIT {k}", text(&query));
        self.note("search", &format!("{settings}; {sql}"));
        self.quietly(settings).await?;
        let answer = self.quietly(&sql).await?;
        let asked = Asked { metric, query: &query, k, keep: &*keep, nulls, exact: way < 2 };
        let table = self.model.seen(self.who);
        let (found, expected) =
            asked.compare(&answer, &table).map_err(|difference| format!("{settings}; {sql}\n  {difference}"))?;
        if way == 2 {
            self.counts.recalled.found += found;
            self.counts.recalled.expected += expected;
            if self.counts.recalled.mean() < 0.85 {
                return Err(format!("recall has fallen to {:.3}", self.counts.recalled.mean()));
            }
        }
        // Another session sees what is committed.
        if self.alone.is_none() && self.model.is_open(self.who) {
            let other = ask(&mut self.engine()?.reader, &format!("SET lodedb.exact = on; {sql}")).await;
            let other = other.map_err(|error| format!("{sql}\n  beside a transaction failed: {error}"))?;
            Asked { exact: true, ..asked }
                .compare(&other, &self.model.committed)
                .map_err(|difference| format!("{sql}\n  beside a transaction: {difference}"))?;
        }
        Ok(())
    }

    /// Rows by a condition, and aggregates over an index.
    pub(crate) async fn look_up(&mut self) -> Result<(), String> {
        if self.model.has_failed(self.who) {
            return Ok(());
        }
        let (condition, keep) = self.condition();
        let seen = self.model.seen(self.who);
        let sql = format!("SELECT id, grp, note, code, v FROM t WHERE {condition} ORDER BY id");
        self.note("look-up", &sql);
        let answer = self.quietly(&sql).await?;
        same(&answer, rows_of(&seen, &*keep)).map_err(|difference| format!("{sql}\n  {difference}"))?;
        let grp = self.random.random_range(0..10);
        let sql = format!("SELECT count(*), count(v), count(DISTINCT note), max(id) FROM t WHERE grp = {grp}");
        let answer = self.quietly(&sql).await?;
        let rows: Vec<_> = seen.iter().filter(|(_, row)| row.grp == grp).collect();
        let notes: BTreeSet<_> = rows.iter().filter_map(|(_, row)| row.note.as_ref()).collect();
        let expected = vec![
            rows.len().to_string(),
            rows.iter().filter(|(_, row)| row.v.is_some()).count().to_string(),
            notes.len().to_string(),
            rows.last().map_or_else(|| "NULL".to_owned(), |(id, _)| id.to_string()),
        ];
        same(&answer, vec![expected]).map_err(|difference| format!("{sql}\n  {difference}"))
    }

    /// The third session sees the committed rows, whatever the others are doing.
    pub(crate) async fn look_aside(&mut self) -> Result<(), String> {
        if self.alone.is_some() {
            return Ok(());
        }
        let (condition, keep) = self.condition();
        let sql = format!("SELECT id, grp, note, code, v FROM t WHERE {condition} ORDER BY id");
        self.note("look aside", &sql);
        let answer =
            ask(&mut self.engine()?.reader, &sql).await.map_err(|error| format!("{sql}\n  failed: {error}"))?;
        same(&answer, rows_of(&self.model.committed, &*keep))
            .map_err(|difference| format!("beside, {sql}\n  {difference}"))
    }

    /// The whole table, as each session sees it.
    pub(crate) async fn check_all(&mut self) -> Result<(), String> {
        let sql = "SELECT id, grp, note, code, v FROM t ORDER BY id";
        self.note("check", sql);
        if self.alone.is_none() {
            let beside =
                ask(&mut self.engine()?.reader, sql).await.map_err(|error| format!("{sql}\n  failed: {error}"))?;
            same(&beside, rows_of(&self.model.committed, &|_, _| true))
                .map_err(|difference| format!("beside: {difference}"))?;
        }
        for who in [self.who, 1 - self.who] {
            if self.model.has_failed(who) || self.alone.is_some_and(|alone| alone != who) {
                continue;
            }
            let answer = ask(&mut self.engine()?.writers[who], sql).await;
            let answer = answer.map_err(|error| format!("{sql}\n  failed: {error}"))?;
            same(&answer, rows_of(&self.model.seen(who), &|_, _| true))
                .map_err(|difference| format!("as {who} sees it: {difference}"))?;
        }
        Ok(())
    }
}

/// The rows that have a vector and pass.
pub(crate) fn with_vectors<'a>(table: &'a Table, keep: &dyn Fn(i64, &Row) -> bool) -> Vec<(i64, &'a [f32])> {
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

/// What a search was asked for.
struct Asked<'a> {
    metric: Metric,
    query: &'a [f32],
    k: usize,
    keep: &'a dyn Fn(i64, &Row) -> bool,
    /// Whether rows with a NULL vector count.
    nulls: bool,
    exact: bool,
}

impl Asked<'_> {
    /// An exact answer is compared distance by distance; any other must hold true distances, in order, of as many rows.
    /// Gives how many of the expected neighbours were found, and how many there are.
    fn compare(&self, answer: &Answer, table: &Table) -> Result<(f64, f64), String> {
        let expected = nearest(self.metric, self.query, with_vectors(table, self.keep), self.k);
        let without = table.iter().filter(|(id, row)| (self.keep)(**id, row) && row.v.is_none()).count();
        let nulls = if self.nulls { without.min(self.k - expected.len()) } else { 0 };
        if answer.rows.len() != expected.len() + nulls {
            return Err(format!("{} neighbours instead of {} and {nulls}", answer.rows.len(), expected.len()));
        }
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, row) in answer.rows.iter().enumerate() {
            let Some(Ok(id)) = row.first().map(|text| text.parse::<i64>()) else {
                return Err(format!("an answer of {row:?}"));
            };
            let Some(own) = table.get(&id).filter(|row| (self.keep)(id, row)) else {
                return Err(format!("row {id} is no neighbour"));
            };
            if !seen.insert(id) {
                return Err(format!("row {id} comes twice"));
            }
            let distance = row.get(1).map(String::as_str).unwrap_or_default();
            let Some(own) = own.v.as_deref().map(|vector| self.metric.distance(self.query, vector)) else {
                if at >= expected.len() && distance == "NULL" {
                    continue;
                }
                return Err(format!("row {id} has no vector, and the answer says {distance} at place {at}"));
            };
            let Some(distance) = distance.parse::<f64>().ok().filter(|distance| close(own, *distance)) else {
                return Err(format!("row {id} is at {own}, and the answer says {distance}"));
            };
            if found.last().is_some_and(|(_, before)| *before > distance) {
                return Err(format!("row {id} stands behind a farther one"));
            }
            if self.exact && expected.get(at).is_none_or(|wanted| !close(distance, wanted.1)) {
                return Err(format!("place {at} is row {id} at {distance}, and {:?} is nearest", expected.get(at)));
            }
            found.push((id, distance));
        }
        let expected_count = expected.len() as f64;
        Ok((recall(&found, &expected) * expected_count, expected_count))
    }
}
