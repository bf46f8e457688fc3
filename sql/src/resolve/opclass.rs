//! The operator classes of vector indexes.

use crate::error::{Result, SqlError, SqlState};
use crate::types::{PgType, ScalarType};
use crate::vector::Metric;

use ScalarType::{Bit, Halfvec, Sparsevec, Vector};

/// What an operator class orders by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassMetric {
    /// A distance that every kind of vector has.
    Vectors(Metric),
    /// `<~>`.
    Hamming,
    /// `<%>`.
    Jaccard,
}

impl ClassMetric {
    /// The operator that orders by it.
    pub fn operator(self) -> &'static str {
        match self {
            Self::Vectors(metric) => metric.operator(),
            Self::Hamming => "<~>",
            Self::Jaccard => "<%>",
        }
    }
}

/// An operator class of vector indexes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorClass {
    /// Its name.
    pub name: &'static str,
    /// The type it indexes.
    pub ty: ScalarType,
    /// What it orders by.
    pub metric: ClassMetric,
    /// The access methods that have it.
    pub methods: &'static [&'static str],
}

const L2: ClassMetric = ClassMetric::Vectors(Metric::L2);
const PRODUCT: ClassMetric = ClassMetric::Vectors(Metric::InnerProduct);
const COSINE: ClassMetric = ClassMetric::Vectors(Metric::Cosine);
const L1: ClassMetric = ClassMetric::Vectors(Metric::L1);

const fn class(
    name: &'static str,
    ty: ScalarType,
    metric: ClassMetric,
    methods: &'static [&'static str],
) -> VectorClass {
    VectorClass { name, ty, metric, methods }
}

/// pgvector's classes; our own access methods have those of `vector`.
pub const VECTOR_CLASSES: &[VectorClass] = &[
    class("vector_l2_ops", Vector, L2, &["ivfflat", "hnsw", "ivfpq", "flat"]),
    class("vector_ip_ops", Vector, PRODUCT, &["ivfflat", "hnsw", "ivfpq", "flat"]),
    class("vector_cosine_ops", Vector, COSINE, &["ivfflat", "hnsw", "ivfpq", "flat"]),
    class("vector_l1_ops", Vector, L1, &["hnsw", "ivfpq", "flat"]),
    class("halfvec_l2_ops", Halfvec, L2, &["ivfflat", "hnsw"]),
    class("halfvec_ip_ops", Halfvec, PRODUCT, &["ivfflat", "hnsw"]),
    class("halfvec_cosine_ops", Halfvec, COSINE, &["ivfflat", "hnsw"]),
    class("halfvec_l1_ops", Halfvec, L1, &["hnsw"]),
    class("bit_hamming_ops", Bit, ClassMetric::Hamming, &["ivfflat", "hnsw"]),
    class("bit_jaccard_ops", Bit, ClassMetric::Jaccard, &["hnsw"]),
    class("sparsevec_l2_ops", Sparsevec, L2, &["hnsw"]),
    class("sparsevec_ip_ops", Sparsevec, PRODUCT, &["hnsw"]),
    class("sparsevec_cosine_ops", Sparsevec, COSINE, &["hnsw"]),
    class("sparsevec_l1_ops", Sparsevec, L1, &["hnsw"]),
];

impl VectorClass {
    /// Whether an access method takes this class where none is named.
    pub fn is_default(&self, method: &str) -> bool {
        self.name == "vector_l2_ops" && method != "hnsw"
    }
}

/// The operator class of an index by this method on a key of this type.
pub fn vector_class(method: &str, opclass: Option<&str>, ty: PgType) -> Result<VectorClass> {
    let undefined = |message: String| SqlError::new(SqlState::UndefinedObject, message);
    let no_default = || {
        let name = ty.sql_name();
        undefined(format!("data type {name} has no default operator class for access method \"{method}\"")).with_hint(
            "You must specify an operator class for the index or define a default operator class for the data type.",
        )
    };
    if !matches!(method, "hnsw" | "ivfflat" | "ivfpq" | "flat") {
        return Err(match (method, opclass) {
            ("btree" | "hash" | "gin" | "gist" | "spgist" | "brin", Some(opclass)) => undefined(format!(
                "operator class \"{opclass}\" does not accept a distance for access method \"{method}\""
            )),
            ("btree" | "hash" | "gin" | "gist" | "spgist" | "brin", None) => no_default(),
            _ => undefined(format!("access method \"{method}\" does not exist")),
        });
    }
    let mut classes = VECTOR_CLASSES.iter().filter(|class| class.methods.contains(&method));
    let Some(opclass) = opclass else {
        let default = classes.find(|class| class.is_default(method) && PgType::Scalar(class.ty) == ty);
        return default.copied().ok_or_else(no_default);
    };
    let class = classes.find(|class| class.name == opclass).ok_or_else(|| {
        undefined(format!("operator class \"{opclass}\" does not exist for access method \"{method}\""))
    })?;
    // PostgreSQL takes a class of `bit` for `bit varying`, and pgvector then refuses the type.
    if class.ty == Bit && ty == PgType::Scalar(ScalarType::Varbit) {
        let message = format!("type not supported for {method} index");
        return Err(SqlError::new(SqlState::FeatureNotSupported, message));
    }
    if PgType::Scalar(class.ty) != ty {
        let message = format!("operator class \"{opclass}\" does not accept data type {}", ty.sql_name());
        return Err(SqlError::new(SqlState::DatatypeMismatch, message));
    }
    Ok(*class)
}
