//! The types of columns, parameters and results, with PostgreSQL's OIDs, names and modifiers.

use serde::{Deserialize, Serialize};

macro_rules! scalars {
    ($($name:ident $oid:literal $array:literal $sql:literal $typname:literal,)*) => {
        /// A type that is not an array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum ScalarType { $(#[doc = $sql] $name,)* }
        impl ScalarType {
            /// Every scalar type.
            pub const ALL: &'static [ScalarType] = &[$(Self::$name,)*];
            /// Its OID in `pg_type`.
            pub fn oid(self) -> u32 { match self { $(Self::$name => $oid,)* } }
            /// The OID of the array of it; 0 where there is none.
            pub fn array_oid(self) -> u32 { match self { $(Self::$name => $array,)* } }
            /// Its name as `format_type` prints it.
            pub fn sql_name(self) -> &'static str { match self { $(Self::$name => $sql,)* } }
            /// Its `typname`.
            pub fn typname(self) -> &'static str { match self { $(Self::$name => $typname,)* } }
        }
    };
}

scalars! {
    Bool 16 1000 "boolean" "bool",
    Int2 21 1005 "smallint" "int2",
    Int4 23 1007 "integer" "int4",
    Int8 20 1016 "bigint" "int8",
    Float4 700 1021 "real" "float4",
    Float8 701 1022 "double precision" "float8",
    Numeric 1700 1231 "numeric" "numeric",
    Text 25 1009 "text" "text",
    Varchar 1043 1015 "character varying" "varchar",
    Bpchar 1042 1014 "character" "bpchar",
    Name 19 1003 "name" "name",
    Char 18 1002 "\"char\"" "char",
    Bytea 17 1001 "bytea" "bytea",
    Date 1082 1182 "date" "date",
    Time 1083 1183 "time without time zone" "time",
    Timestamp 1114 1115 "timestamp without time zone" "timestamp",
    Timestamptz 1184 1185 "timestamp with time zone" "timestamptz",
    Interval 1186 1187 "interval" "interval",
    Uuid 2950 2951 "uuid" "uuid",
    Json 114 199 "json" "json",
    Jsonb 3802 3807 "jsonb" "jsonb",
    Oid 26 1028 "oid" "oid",
    Regclass 2205 2210 "regclass" "regclass",
    Regtype 2206 2211 "regtype" "regtype",
    Regproc 24 1008 "regproc" "regproc",
    Regnamespace 4089 4090 "regnamespace" "regnamespace",
    Int2vector 22 1006 "int2vector" "int2vector",
    Oidvector 30 1013 "oidvector" "oidvector",
    Xid 28 1011 "xid" "xid",
    Unknown 705 0 "unknown" "unknown",
    Void 2278 0 "void" "void",
    Record 2249 2287 "record" "record",
    Vector 16385 16386 "vector" "vector",
    Halfvec 16387 16388 "halfvec" "halfvec",
    Sparsevec 16389 16390 "sparsevec" "sparsevec",
    Bit 1560 1561 "bit" "bit",
    Varbit 1562 1563 "bit varying" "varbit",
}

/// The type of a value, modifier aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PgType {
    /// A type that is not an array.
    Scalar(ScalarType),
    /// An array of any number of dimensions.
    Array(ScalarType),
}

impl From<ScalarType> for PgType {
    fn from(scalar: ScalarType) -> Self {
        Self::Scalar(scalar)
    }
}

impl PgType {
    /// The type with this OID, if LodeDB has it.
    pub fn from_oid(oid: u32) -> Option<Self> {
        ScalarType::ALL.iter().find_map(|&scalar| {
            (scalar.oid() == oid)
                .then_some(Self::Scalar(scalar))
                .or((oid != 0 && scalar.array_oid() == oid).then_some(Self::Array(scalar)))
        })
    }
    /// Whether this is a vector of any kind, bits among them: what distances are between.
    pub fn has_distances(self) -> bool {
        use ScalarType::{Bit, Halfvec, Sparsevec, Varbit, Vector};
        matches!(self, Self::Scalar(Vector | Halfvec | Sparsevec | Bit | Varbit))
    }
    /// Its OID.
    pub fn oid(self) -> u32 {
        match self {
            Self::Scalar(scalar) => scalar.oid(),
            Self::Array(scalar) => scalar.array_oid(),
        }
    }
    /// Its name as `format_type(oid, NULL)` prints it.
    pub fn sql_name(self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.sql_name().to_owned(),
            Self::Array(scalar) => format!("{}[]", scalar.sql_name()),
        }
    }
    /// Its `typname`.
    pub fn typname(self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.typname().to_owned(),
            Self::Array(scalar) => format!("_{}", scalar.typname()),
        }
    }
}

/// A type and its modifier, as a column declares it.
///
/// The modifier is PostgreSQL's `atttypmod`: -1 for none; `varchar(n)`/`char(n)`: n + 4; `numeric(p,s)`:
/// ((p << 16) | (s & 0x7ff)) + 4; `vector(n)`, `halfvec(n)`, `sparsevec(n)`, `bit(n)`, `varbit(n)`: n;
/// `time`/`timestamp(p)`: p.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TypeWithModifier {
    /// The type.
    pub ty: PgType,
    /// `atttypmod`.
    pub modifier: i32,
}

impl TypeWithModifier {
    /// A type with no modifier.
    pub fn plain(ty: impl Into<PgType>) -> Self {
        Self { ty: ty.into(), modifier: -1 }
    }
    /// The dimensions a `vector(n)` column demands.
    pub fn vector_dims(self) -> Option<usize> {
        (self.ty == PgType::Scalar(ScalarType::Vector) && self.modifier > 0).then_some(self.modifier as usize)
    }
    /// The dimensions a `vector(n)`, `halfvec(n)` or `sparsevec(n)` column demands.
    pub fn dimensions(self) -> Option<usize> {
        let has_dimensions =
            matches!(self.ty, PgType::Scalar(ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec));
        (has_dimensions && self.modifier > 0).then_some(self.modifier as usize)
    }
    /// Whether this is `vector` or `vector(n)`.
    pub fn is_vector(self) -> bool {
        self.ty == PgType::Scalar(ScalarType::Vector)
    }
}
