//! The data: GloVe's words and vectors, a column to filter by, the held-out queries, and what an exact scan answers.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::thread;

use serde::Deserialize;

use crate::wire::{self, Result};

/// How many neighbours every search asks for.
pub(crate) const K: usize = 10;
/// How many words are held out as queries.
pub(crate) const QUERIES: usize = 1_000;
/// The filter column holds numbers below this, evenly.
pub(crate) const SPREAD: i32 = 1_000_000;

#[derive(Deserialize)]
struct File {
    dimensions: usize,
    words: Vec<String>,
    vectors: HashMap<String, Vec<f32>>,
}

/// The rows of the table and the queries.
pub(crate) struct Glove {
    pub(crate) d: usize,
    pub(crate) words: Vec<String>,
    /// The vectors of the rows, one after the other.
    pub(crate) rows: Vec<f32>,
    /// The same, of length 1.
    pub(crate) unit: Vec<f32>,
    /// The filter column.
    pub(crate) numbers: Vec<i32>,
    /// The queries, and the same of length 1.
    pub(crate) queries: Vec<Vec<f32>>,
    pub(crate) unit_queries: Vec<Vec<f32>>,
}

/// A number that looks random, from a number.
pub(crate) fn scattered(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Rows as ready-made CopyData messages of binary COPY.
fn copy_stream<const COLUMNS: usize>(rows: impl Iterator<Item = [Vec<u8>; COLUMNS]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let mut flush = |body: &mut Vec<u8>| {
        out.push(b'd');
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.append(body);
    };
    for row in rows {
        body.extend_from_slice(&(COLUMNS as u16).to_be_bytes());
        for value in row {
            body.extend_from_slice(&(value.len() as u32).to_be_bytes());
            body.extend_from_slice(&value);
        }
        if body.len() > 60_000 {
            flush(&mut body);
        }
    }
    body.extend_from_slice(&[0xff, 0xff]);
    flush(&mut body);
    out
}

/// The inner product.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 32];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum = x.mul_add(*y, *sum);
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    vector.iter().map(|x| (f64::from(*x) / length.max(1e-30)) as f32).collect()
}

impl Glove {
    /// Reads the package's file.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut file: File = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        let d = file.dimensions;
        let mut order: Vec<usize> = (0..file.words.len()).collect();
        order.sort_by_key(|&word| scattered(word as u64));
        let mut held_out = vec![false; order.len()];
        order.iter().take(QUERIES).for_each(|&word| held_out[word] = true);
        let mut glove = Self {
            d,
            words: Vec::new(),
            rows: Vec::new(),
            unit: Vec::new(),
            numbers: Vec::new(),
            queries: Vec::new(),
            unit_queries: Vec::new(),
        };
        for (at, word) in file.words.into_iter().enumerate() {
            let mut vector = file.vectors.remove(&word).ok_or_else(|| format!("no vector for {word:?}"))?;
            vector.truncate(d); // what follows is the length and a number
            if vector.len() != d {
                return Err(format!("the vector of {word:?} has {} dimensions", vector.len()));
            }
            if held_out[at] {
                glove.unit_queries.push(unit(&vector));
                glove.queries.push(vector);
            } else {
                glove.numbers.push((scattered(!(at as u64)) % SPREAD as u64) as i32);
                glove.unit.extend(unit(&vector));
                glove.rows.extend(vector);
                glove.words.push(word);
            }
        }
        Ok(glove)
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The k-th best similarity for each of some queries, over the rows whose number is in the query's range: with two threads.
    pub(crate) fn kth_best(&self, asked: &[(usize, Range<i32>)]) -> Vec<f32> {
        let kth = |asked: &[(usize, Range<i32>)]| {
            let mut best = vec![[f32::NEG_INFINITY; K]; asked.len()];
            // Blocks of rows that stay in the cache while every query passes over them.
            for (block, numbers) in self.unit.chunks(self.d * 256).zip(self.numbers.chunks(256)) {
                for ((query, range), best) in asked.iter().zip(&mut best) {
                    let query = &self.unit_queries[*query];
                    for (vector, number) in block.chunks_exact(self.d).zip(numbers) {
                        if range.contains(number) {
                            let near = dot(query, vector);
                            if near > best[K - 1] {
                                let at = best.partition_point(|&b| b >= near);
                                best[at..].rotate_right(1);
                                best[at] = near;
                            }
                        }
                    }
                }
            }
            best.iter().map(|best| best[K - 1]).collect::<Vec<_>>()
        };
        let (first, second) = asked.split_at(asked.len() / 2);
        thread::scope(|scope| {
            let second = scope.spawn(|| kth(second));
            let mut all = kth(first);
            all.extend(second.join().unwrap_or_default());
            all
        })
    }

    /// How many of the returned rows are among the k nearest, a tie with the k-th counting as one of them.
    pub(crate) fn hits(&self, query: usize, kth: f32, found: &[u32]) -> usize {
        let query = &self.unit_queries[query];
        let near = |&&row: &&u32| {
            let at = row as usize * self.d;
            self.unit.get(at..at + self.d).is_some_and(|vector| dot(query, vector) >= kth - 1e-6)
        };
        found.iter().filter(near).count().min(K)
    }

    /// Some rows as ready-made CopyData messages of binary COPY: id, word, number, vector.
    pub(crate) fn copy_stream(&self, rows: Range<usize>) -> Vec<u8> {
        copy_stream(rows.map(|row| self.values(row)))
    }

    /// The values of a row in binary. Rows beyond the last one are the same words once more, with ids of their own.
    pub(crate) fn values(&self, row: usize) -> [Vec<u8>; 4] {
        let word = row % self.len();
        [
            (row as i32).to_be_bytes().to_vec(),
            self.words[word].as_bytes().to_vec(),
            self.numbers[word].to_be_bytes().to_vec(),
            wire::vector(&self.rows[word * self.d..(word + 1) * self.d]),
        ]
    }

    /// Some rows of an id and a vector made of those of `words` words, as messages of binary COPY.
    pub(crate) fn wide_copy_stream(&self, rows: Range<usize>, words: usize) -> Vec<u8> {
        let last = self.len() - words;
        copy_stream(rows.map(|row| {
            let from = row % last * self.d;
            [(row as i32).to_be_bytes().to_vec(), wire::vector(&self.rows[from..from + words * self.d])]
        }))
    }
}
