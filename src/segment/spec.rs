//! What an index is: its kind, metric and tuning words, checked once, when it is created.

use lodedb_sql::ScalarType;
use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_sql::vector::Metric;
use serde::{Deserialize, Serialize};

use super::{ColumnId, IndexId};

/// The kinds of vector index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IndexKind {
    /// Inverted lists over 4-bit product codes, re-ranked exactly. The default.
    IvfPq,
    /// Inverted lists over 8-bit scalar codes, re-ranked exactly.
    IvfFlat,
    /// A navigable small-world graph over 8-bit scalar codes, re-ranked exactly.
    Hnsw,
    /// No codes: every search is exact.
    Flat,
}

/// One tuning word: name, smallest, largest value.
type Word = (&'static str, i64, i64);

impl IndexKind {
    /// Its name after `USING`.
    pub fn name(self) -> &'static str {
        match self {
            Self::IvfPq => "ivfpq",
            Self::IvfFlat => "ivfflat",
            Self::Hnsw => "hnsw",
            Self::Flat => "flat",
        }
    }

    /// The kind of a name, lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::IvfPq, Self::IvfFlat, Self::Hnsw, Self::Flat].into_iter().find(|kind| kind.name() == name)
    }

    /// The most dimensions a column of a type may have under this index.
    pub fn dimension_limit(self, ty: ScalarType) -> u32 {
        match (self, ty) {
            (Self::IvfPq | Self::Flat, _) => 16_000,
            (_, ScalarType::Halfvec) => 4_000,
            (_, ScalarType::Bit | ScalarType::Varbit) => 64_000,
            (_, ScalarType::Sparsevec) => 1_000_000_000,
            (Self::IvfFlat | Self::Hnsw, _) => 2_000,
        }
    }

    fn words(self) -> &'static [Word] {
        match self {
            Self::IvfPq => &[("lists", 1, 65_536), ("subquantizers", 1, 8_000)],
            Self::IvfFlat => &[("lists", 1, 32_768)],
            Self::Hnsw => &[("m", 2, 100), ("ef_construction", 4, 1_000)],
            Self::Flat => &[],
        }
    }
}

/// An index, as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// Its number.
    pub id: IndexId,
    /// The vector column it serves.
    pub column: ColumnId,
    /// Its kind.
    pub kind: IndexKind,
    /// The distance it orders by.
    pub metric: Metric,
    /// The tuning words given, as [`IndexSpec::validate`] left them.
    pub options: Vec<(String, String)>,
}

impl IndexSpec {
    /// Checks the kind and tuning words of a CREATE INDEX over a column of a type with `dims` dimensions; gives the words back in the
    /// form the spec keeps (names lower case, numbers plain). Errors are PostgreSQL's and pgvector's. Every kind
    /// nominates for every metric, since the exact distances come from the raw vectors.
    pub fn validate(
        kind: IndexKind,
        ty: ScalarType,
        dims: Option<u32>,
        options: &[(String, String)],
    ) -> Result<Vec<(String, String)>> {
        let invalid = |message: String| SqlError::new(SqlState::InvalidParameterValue, message);
        let Some(dims) = dims else { return Err(invalid("column does not have dimensions".into())) };
        let most = kind.dimension_limit(ty);
        if dims > most {
            let message = format!("column cannot have more than {most} dimensions for {} index", kind.name());
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
        }
        let mut kept: Vec<(String, String)> = Vec::with_capacity(options.len());
        for (name, text) in options {
            let name = name.to_ascii_lowercase();
            let Some((_, least, most)) = kind.words().iter().find(|word| word.0 == name) else {
                return Err(invalid(format!("unrecognized parameter \"{name}\"")));
            };
            let Ok(value) = text.trim().parse::<i64>() else {
                return Err(invalid(format!("invalid value for integer option \"{name}\": {text}")));
            };
            if !(*least..=*most).contains(&value) {
                return Err(invalid(format!("value {value} out of bounds for option \"{name}\""))
                    .with_detail(format!("Valid values are between \"{least}\" and \"{most}\".")));
            }
            if kept.iter().any(|(earlier, _)| *earlier == name) {
                return Err(invalid(format!("parameter \"{name}\" specified more than once")));
            }
            kept.push((name, value.to_string()));
        }
        let number = |name: &str, default: i64| {
            kept.iter().find(|(word, _)| word == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(default)
        };
        if kind == IndexKind::Hnsw && number("ef_construction", 64) < 2 * number("m", 16) {
            return Err(invalid("ef_construction must be greater than or equal to 2 * m".into()));
        }
        if number("subquantizers", 1) > i64::from(dims) {
            return Err(invalid("subquantizers must not be greater than the dimensions of the column".into()));
        }
        Ok(kept)
    }

    /// The value of a tuning word, if it was given.
    pub fn option(&self, name: &str) -> Option<u32> {
        self.options.iter().find(|(word, _)| word == name).and_then(|(_, value)| value.parse().ok())
    }

    /// How many inverted lists an index over about `rows` rows gets: what was asked for, else twice the root; 0 for kinds without
    /// lists. Never so many that a list would be trained on fewer than 39 rows.
    pub fn choose_lists(&self, rows: u64) -> u32 {
        if !matches!(self.kind, IndexKind::IvfPq | IndexKind::IvfFlat) {
            return 0;
        }
        let by_rows = (2.0 * (rows as f64).sqrt()) as u64;
        let wanted = self.option("lists").map_or(by_rows.clamp(1, 32_768), u64::from);
        wanted.min(rows / 39).max(1) as u32
    }

    /// How many rows to sample for training a quantizer over about `rows` rows.
    pub fn sample_rows(&self, rows: u64) -> usize {
        let wanted = match self.kind {
            IndexKind::Flat => 0,
            IndexKind::Hnsw => 20_000,
            IndexKind::IvfPq | IndexKind::IvfFlat => (u64::from(self.choose_lists(rows)) * 64).max(8_192),
        };
        wanted.min(rows) as usize
    }

    /// How many sub-vectors a product code has: what was asked for, else one for every two dimensions up to 512.
    pub(super) fn choose_subquantizers(&self, dims: u32) -> u32 {
        self.option("subquantizers").unwrap_or_else(|| {
            let mut width = 2;
            while dims.div_ceil(width) > 512 {
                width *= 2;
            }
            dims.div_ceil(width)
        })
    }
}
