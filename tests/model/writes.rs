//! The steps that write rows: each is planned, which changes the model, and then sent to the engine.

use rand::Rng;

use crate::engine::ask_with;
use crate::harness::vectors::{Metric, close, nearest, text};
use crate::plain::{Conflict, End, Row, Table, delete, insert, line, literal, renumber, update};
use crate::reads::with_vectors;
use crate::steps::{Play, is_of};

/// A statement and how it must end.
pub(crate) struct Write {
    kind: &'static str,
    sql: String,
    lines: String,
    expected: End,
}

/// Which rows a statement is about.
pub(crate) type Keep = Box<dyn Fn(i64, &Row) -> bool + Send>;

/// Compares how a statement ended.
pub(crate) fn check_end(sql: &str, ended: Result<u64, lodedb_sql::SqlError>, expected: End) -> Result<(), String> {
    match (ended, expected) {
        (Ok(count), End::Rows(rows)) if count == rows => Ok(()),
        (Err(error), End::Error(state)) if error.state().code() == state => Ok(()),
        (Ok(count), _) => Err(format!("{sql}\n  ended with {count} rows instead of {expected:?}")),
        (Err(error), _) => Err(format!("{sql}\n  ended with {error} instead of {expected:?}")),
    }
}

impl Play {
    fn planned(&mut self, kind: &'static str, sql: String, change: impl FnOnce(&mut Table) -> End) -> Write {
        let expected = self.model.change(self.who, change);
        Write { kind, sql, lines: String::new(), expected }
    }

    /// A change of some rows.
    pub(crate) fn plan_write(&mut self) -> Write {
        let full = self.model.seen(self.who).len() > 2000;
        match self.random.random_range(0..44) {
            0..12 => self.insert(1),
            12..18 => {
                let count = self.random.random_range(2..9);
                self.insert(count)
            }
            18..21 if full => self.delete_many(),
            18..21 => {
                let count = self.random.random_range(50..250);
                self.insert(count)
            }
            21..24 => self.upsert(),
            24..31 => self.update_scalar(),
            31..36 => self.update_vector(),
            36..38 => self.update_code(),
            38..40 => self.update_id(),
            _ => self.delete_some(),
        }
    }

    /// Sends a change that was planned.
    pub(crate) async fn perform(&mut self, write: Write) -> Result<(), String> {
        self.note(write.kind, &write.sql);
        let who = self.who;
        send(&mut self.engine()?.writers[who], write).await
    }

    /// Both sessions write at once, and the engine seals, trains and merges meanwhile.
    pub(crate) async fn write_at_once(&mut self) -> Result<(), String> {
        if self.model.any_open() {
            return Ok(());
        }
        self.apart = true;
        let mut writes = [Vec::new(), Vec::new()];
        for (who, writes) in writes.iter_mut().enumerate() {
            self.who = who;
            for _ in 0..self.random.random_range(3..12) {
                let write = self.plan_write();
                self.note(write.kind, &write.sql);
                writes.push(write);
            }
        }
        self.apart = false;
        self.note("at once", "-- the last ones at once, and settle");
        let engine = self.engine()?;
        let db = engine.db.clone();
        let settled = tokio::task::spawn_blocking(move || db.settle());
        let ([first, second], [a, b]) = (&mut engine.writers, writes);
        let (first, second) = tokio::join!(send_all(first, a), send_all(second, b));
        settled.await.map_err(|error| format!("settling: {error}"))?;
        first.and(second)?;
        self.check_all().await
    }

    fn row(&mut self, id: i64) -> Row {
        let note = match self.random.random_range(0..4) {
            0 => None,
            1 => Some(String::new()),
            _ => Some(format!("n'{}", self.random.random_range(0..100))),
        };
        Row {
            grp: self.random.random_range(0..10),
            note,
            code: self.random.random_bool(0.3).then(|| self.new_code(id)),
            v: self.random.random_bool(0.9).then(|| self.vectors.next()),
        }
    }

    /// A code of the parity of an id.
    fn new_code(&mut self, id: i64) -> i32 {
        self.random.random_range(0..50_000) * 2 + id.rem_euclid(2) as i32
    }

    /// A code that a row this session may write has.
    fn some_code(&mut self) -> Option<i32> {
        let parity = self.parity();
        let seen = self.model.seen(self.who);
        let mut codes = seen.iter().filter(|(id, _)| is_of(**id, parity)).filter_map(|(_, row)| row.code);
        codes.nth(self.random.random_range(0..5))
    }

    fn insert(&mut self, count: usize) -> Write {
        let mut rows = Vec::new();
        for _ in 0..count {
            let id = if self.random.random_bool(0.03) { self.some_id() } else { self.new_id() };
            let mut row = self.row(id);
            if self.random.random_bool(0.02)
                && let Some(code) = self.some_code()
                && code.rem_euclid(2) == id.rem_euclid(2) as i32
            {
                row.code = Some(code);
            }
            rows.push((id, row));
        }
        if self.random.random_bool(0.15) {
            let lines = rows.iter().map(|(id, row)| line(*id, row)).collect();
            let sql = "COPY t FROM STDIN".to_owned();
            return Write { lines, ..self.planned("copy", sql, |table| insert(table, &rows, Conflict::Error)) };
        }
        let values: Vec<String> = rows.iter().map(|(id, row)| literal(*id, row)).collect();
        let sql = format!("INSERT INTO t VALUES {}", values.join(", "));
        self.planned("insert", sql, |table| insert(table, &rows, Conflict::Error))
    }

    fn upsert(&mut self) -> Write {
        let conflict = if self.random.random_bool(0.5) { Conflict::Nothing } else { Conflict::Update };
        let mut rows = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            let id = self.some_id();
            rows.push((id, Row { code: None, ..self.row(id) }));
        }
        let values: Vec<String> = rows.iter().map(|(id, row)| literal(*id, row)).collect();
        let action = match conflict {
            Conflict::Update => "UPDATE SET grp = EXCLUDED.grp, v = EXCLUDED.v",
            _ => "NOTHING",
        };
        let sql = format!("INSERT INTO t VALUES {} ON CONFLICT (id) DO {action}", values.join(", "));
        self.planned("upsert", sql, |table| insert(table, &rows, conflict))
    }

    /// A condition in SQL and as a function, of rows this session may write.
    pub(crate) fn condition(&mut self) -> (String, Keep) {
        let parity = self.parity();
        let also = parity.map_or_else(String::new, |parity| format!(" AND id % 2 = {parity}"));
        let (text, keep): (String, Keep) = match self.random.random_range(0..6) {
            0 | 1 => {
                let id = self.some_id();
                return (format!("id = {id}"), Box::new(move |of, _| of == id));
            }
            2 => {
                let from = self.some_id();
                (format!("id BETWEEN {from} AND {}", from + 9), Box::new(move |of, _| (from..from + 10).contains(&of)))
            }
            3 => {
                let (grp, part) = (self.random.random_range(0..10), self.random.random_range(0..7));
                (format!("grp = {grp} AND id % 7 = {part}"), Box::new(move |of, row| row.grp == grp && of % 7 == part))
            }
            4 => {
                let note = format!("n'{}", self.random.random_range(0..100));
                let text = format!("note = '{}'", note.replace('\'', "''"));
                (text, Box::new(move |_, row| row.note.as_ref() == Some(&note)))
            }
            _ => {
                let code = self.some_code().unwrap_or(-1);
                return (format!("code = {code}"), Box::new(move |_, row| row.code == Some(code)));
            }
        };
        (text + &also, Box::new(move |id, row| is_of(id, parity) && keep(id, row)))
    }

    fn update_scalar(&mut self) -> Write {
        let (condition, keep) = self.condition();
        let (grp, note) = (self.random.random_range(0..10), format!("u{}", self.random.random_range(0..9)));
        let sql = format!("UPDATE t SET grp = {grp}, note = '{note}' WHERE {condition}");
        self.planned("update", sql, |table| {
            update(table, &keep, |row| {
                row.grp = grp;
                row.note = Some(note.clone());
            })
        })
    }

    fn update_vector(&mut self) -> Write {
        let (condition, keep) = self.condition();
        let vector = self.random.random_bool(0.95).then(|| self.vectors.next());
        let value = vector.as_deref().map_or_else(|| "NULL".to_owned(), |vector| format!("'{}'", text(vector)));
        let sql = format!("UPDATE t SET v = {value} WHERE {condition}");
        self.planned("update of a vector", sql, |table| update(table, &keep, |row| row.v.clone_from(&vector)))
    }

    fn update_code(&mut self) -> Write {
        let id = self.some_id();
        let code = match self.random.random_range(0..3) {
            0 => None,
            1 => Some(self.new_code(id)),
            _ => self.some_code().filter(|code| code.rem_euclid(2) == id.rem_euclid(2) as i32),
        };
        let value = code.map_or_else(|| "NULL".to_owned(), |code| code.to_string());
        let sql = format!("UPDATE t SET code = {value} WHERE id BETWEEN {id} AND {id} + 2 AND id % 2 = {id} % 2");
        let keep = |of: i64, _: &Row| of == id || of == id + 2;
        self.planned("update of a key", sql, |table| update(table, keep, |row| row.code = code))
    }

    fn update_id(&mut self) -> Write {
        let from = self.some_id();
        let mut to = if self.random.random_bool(0.1) { self.some_id() } else { self.new_id() };
        if to.rem_euclid(2) != from.rem_euclid(2) {
            to = self.next + ((self.next ^ from) & 1);
            self.next = to + 1;
        }
        let sql = format!("UPDATE t SET id = {to} WHERE id = {from}");
        self.planned("update of the primary key", sql, |table| renumber(table, from, to))
    }

    fn delete_some(&mut self) -> Write {
        let (condition, keep) = self.condition();
        self.planned("delete", format!("DELETE FROM t WHERE {condition}"), |table| delete(table, &keep))
    }

    fn delete_many(&mut self) -> Write {
        let (part, parity) = (self.random.random_range(0..3), self.parity());
        let also = parity.map_or_else(String::new, |parity| format!(" AND id % 2 = {parity}"));
        let sql = format!("DELETE FROM t WHERE id % 3 = {part}{also}");
        self.planned("big delete", sql, |table| delete(table, |id, _| id % 3 == part && is_of(id, parity)))
    }

    /// Deletes what a search finds.
    pub(crate) async fn delete_near(&mut self) -> Result<(), String> {
        if self.model.has_failed(self.who) {
            return Ok(());
        }
        let (query, parity) = (self.vectors.next(), self.parity());
        let seen = self.model.seen(self.who);
        let near = nearest(Metric::L2, &query, with_vectors(&seen, &|id, _| is_of(id, parity)), 6);
        // Where distances are nearly equal, which rows go is open; so only clear cases are done.
        if near.len() < 6 || close(near[4].1, near[5].1) {
            return Ok(());
        }
        let gone: Vec<i64> = near[..5].iter().map(|(id, _)| *id).collect();
        let also = parity.map_or_else(String::new, |parity| format!(" AND id % 2 = {parity}"));
        let query = text(&query);
        let sql = format!(
            "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE v IS NOT NULL{also} ORDER BY v <-> '{query}' LIMIT 5)"
        );
        self.quietly("SET lodedb.exact = on").await?;
        let write = self.planned("delete of the nearest", sql, |table| delete(table, |id, _| gone.contains(&id)));
        self.perform(write).await?;
        self.quietly("SET lodedb.exact = off").await.map(|_| ())
    }

    /// TRUNCATE; in a transaction its session is alone from here to the end.
    pub(crate) async fn truncate(&mut self) -> Result<(), String> {
        if self.model.is_open(1 - self.who) || self.model.has_failed(self.who) {
            return Ok(());
        }
        self.note("truncate", "TRUNCATE t");
        self.model.truncate(self.who);
        if self.model.is_open(self.who) {
            self.alone = Some(self.who);
        }
        self.quietly("TRUNCATE t").await.map(|_| ())
    }

    /// BEGIN, COMMIT or ROLLBACK.
    pub(crate) async fn begin_or_end(&mut self) -> Result<(), String> {
        let sql = if !self.model.is_open(self.who) {
            self.model.begin(self.who);
            "BEGIN"
        } else {
            self.alone = None;
            if self.random.random_bool(0.6) {
                self.model.commit(self.who);
                "COMMIT"
            } else {
                self.model.rollback(self.who);
                "ROLLBACK"
            }
        };
        self.note("begin, commit, rollback", sql);
        self.quietly(sql).await.map(|_| ())
    }
}

async fn send(session: &mut lodedb::Session, write: Write) -> Result<(), String> {
    let ended = ask_with(session, &write.sql, &write.lines).await;
    check_end(&write.sql, ended.map(|answer| answer.count), write.expected)
}

async fn send_all(session: &mut lodedb::Session, writes: Vec<Write>) -> Result<(), String> {
    for write in writes {
        send(session, write).await?;
    }
    Ok(())
}
