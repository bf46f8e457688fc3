//! How a segment is searched: a pure decision over numbers known before the search.

use super::IndexKind;

/// How one segment is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Not at all: it has no row that could be returned.
    Skip,
    /// Exact distances to every row that may be returned.
    Exact,
    /// Candidates by codes, then exact distances to those.
    Index {
        /// Inverted lists visited.
        probes: u32,
        /// Candidates asked for.
        candidates: u32,
        /// Whether the codes of other rows are passed over (a bitmap), or taken out of the candidates afterwards.
        selective: bool,
    },
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) kind: IndexKind,
    pub(super) dims: u32,
    /// Bytes that a code takes.
    pub(super) code_bytes: f64,
    /// Vectors that have codes.
    pub(super) coded: u64,
    /// Inverted lists; 0 without.
    pub(super) lists: u32,
    /// Rows that may be returned.
    pub(super) survivors: u64,
    /// Whether a filter decides what may be returned.
    pub(super) filtered: bool,
    pub(super) k: usize,
    /// The effort for an unfiltered search of the whole index.
    pub(super) probes: u32,
    pub(super) candidates: u32,
    /// Whether the caller has named the effort: then the index is used, whatever it costs.
    pub(super) named: bool,
}

/// Nanoseconds of one exact distance: a line or two from memory, then arithmetic.
pub(super) fn exact_cost(dims: u32) -> f64 {
    18.0 + 0.14 * f64::from(dims)
}

/// Nanoseconds of nominating by codes.
pub(super) fn index_cost(facts: &Facts, probes: u32, candidates: u32) -> f64 {
    match facts.kind {
        IndexKind::Flat => f64::INFINITY,
        // Each candidate of a graph has its neighbours compared.
        IndexKind::Hnsw => f64::from(candidates) * 16.0 * (20.0 + 0.05 * f64::from(facts.dims)),
        IndexKind::IvfPq | IndexKind::IvfFlat => {
            let lists = f64::from(facts.lists.max(1));
            // One core shuffles about 40 bytes of 4-bit codes in a nanosecond, and decodes 4 of 8-bit ones.
            let byte = if facts.kind == IndexKind::IvfPq { 0.025 } else { 0.25 };
            let scanned = facts.coded as f64 * f64::from(probes) / lists;
            lists * f64::from(facts.dims) * 0.06
                + f64::from(probes) * 180.0
                + scanned * facts.code_bytes * byte
                + f64::from(candidates) * 12.0
        }
    }
}

/// Chooses how to search one segment.
pub(super) fn choose(facts: &Facts) -> Strategy {
    if facts.survivors == 0 {
        return Strategy::Skip;
    }
    if facts.kind == IndexKind::Flat || facts.coded == 0 || facts.survivors <= facts.k as u64 {
        return Strategy::Exact;
    }
    let share = (facts.survivors as f64 / facts.coded as f64).clamp(1e-9, 1.0);
    // Over-fetching is cheaper than a bitmap while few rows are in the way; the lists hold fewer rows that count, so more are visited.
    let selective = facts.filtered || share < 0.9;
    let widened = |number: u32, by: f64| (f64::from(number) * by).ceil().min(f64::from(u32::MAX)) as u32;
    let (probes, candidates) = match facts.kind {
        IndexKind::Hnsw => (1, widened(facts.candidates, 1.0 / share)),
        _ => {
            // Of rows chosen by chance, those that pass are thinner by `share`: as many neighbours lie in more lists. Against that, the
            // same number of candidates reaches deeper among them. Seen on GloVe, shares from 0.5 to 0.05: -0.2 to -0.35 keeps the recall.
            let probes = widened(facts.probes, share.powf(-0.4)).clamp(1, facts.lists.max(1));
            (probes, if selective { facts.candidates } else { widened(facts.candidates, 1.0 / share) })
        }
    };
    let candidates =
        candidates.clamp(1, u32::try_from(facts.coded).unwrap_or(u32::MAX)).max(facts.k.min(1 << 24) as u32);
    // A graph may have nodes that no path leads to: who asks it for every row is to get every row.
    if facts.kind == IndexKind::Hnsw && u64::from(candidates) >= facts.coded {
        return Strategy::Exact;
    }
    let exact = facts.survivors as f64 * exact_cost(facts.dims);
    let index = index_cost(facts, probes, candidates) + f64::from(candidates) * exact_cost(facts.dims)
        // The bitmap is made and asked.
        + if selective { facts.coded as f64 * 0.02 } else { 0.0 };
    if exact <= index && !facts.named {
        return Strategy::Exact;
    }
    Strategy::Index { probes, candidates, selective }
}
