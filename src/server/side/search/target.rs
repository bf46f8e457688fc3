//! A table and its vector column, as something to search: what names its rows, shows them, and turns words and pictures into vectors.

use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::resolve::{ClassMetric, VECTOR_CLASSES};
use lodedb_sql::vector::Metric;
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState};

use crate::catalog::{Catalog, Column, Generated, IndexKind, Model, Table};

/// What a model is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Text,
    Image,
}

/// A vector column to search.
pub(super) struct Target {
    pub(super) table: Arc<Table>,
    /// The place of the column in the table, as all places here.
    pub(super) vector: usize,
    /// The one column of the primary key.
    pub(super) key: Option<usize>,
    /// The pictures.
    pub(super) picture: Option<usize>,
    /// What the rows are called.
    pub(super) caption: Option<usize>,
    /// What near means.
    pub(super) metric: Metric,
    /// How the vectors are computed, if they are.
    pub(super) computed: Option<Arc<Generated>>,
}

/// Whether vectors of a column are dense, so that a model may have made them.
fn is_dense(column: &Column) -> bool {
    matches!(column.ty.ty, PgType::Scalar(ScalarType::Vector | ScalarType::Halfvec))
}

/// Whether a column is of one of these types.
pub(super) fn is_text(column: &Column) -> bool {
    matches!(column.ty.ty, PgType::Scalar(ScalarType::Text | ScalarType::Varchar | ScalarType::Bpchar))
}

/// Whether a column holds bytes.
pub(super) fn is_bytes(column: &Column) -> bool {
    column.ty.ty == PgType::Scalar(ScalarType::Bytea)
}

impl Target {
    /// The column of a table that is named, or the only one there is.
    pub(super) fn find(catalog: &Catalog, table: &str, column: Option<&str>) -> Result<Self> {
        let table = catalog.require_table(table)?;
        let mut dense = table.visible_columns().filter(|(_, column)| is_dense(column));
        let vector = match column {
            Some(name) => {
                let Some(at) = table.position(name) else {
                    let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
                    return Err(SqlError::new(SqlState::UndefinedColumn, message));
                };
                dense.find(|(place, _)| *place == at).ok_or_else(|| {
                    let message = format!("column \"{name}\" of relation \"{}\" is no vector", table.name);
                    SqlError::new(SqlState::WrongObjectType, message)
                })?
            }
            None => match (dense.next(), dense.next()) {
                (Some(only), None) => only,
                (None, _) => {
                    let message = format!("relation \"{}\" has no vectors", table.name);
                    return Err(SqlError::new(SqlState::WrongObjectType, message));
                }
                (Some(_), Some(_)) => {
                    let message = format!("relation \"{}\" has several columns of vectors", table.name);
                    return Err(SqlError::new(SqlState::InvalidParameterValue, message)
                        .with_hint("Name one of them as \"column\"."));
                }
            },
        };
        Ok(Self::of(catalog, table, vector.0))
    }

    /// All there are.
    pub(super) fn all(catalog: &Catalog) -> impl Iterator<Item = Self> {
        catalog.tables().flat_map(move |table| {
            let dense = table.visible_columns().filter(|(_, column)| is_dense(column));
            dense.map(move |(at, _)| Self::of(catalog, table, at))
        })
    }

    fn of(catalog: &Catalog, table: &Arc<Table>, vector: usize) -> Self {
        let id = table.columns[vector].id;
        let computed = catalog.generated(table.id, id).cloned();
        let mut key = catalog.primary_key(table.id).and_then(|key| key.key_positions()).into_iter().flatten();
        let key = key.next().filter(|_| key.next().is_none());
        let uses = |column: &Column| computed.as_ref().is_some_and(|computed| computed.uses.contains(&column.id));
        let pictures = || table.visible_columns().filter(|(_, column)| is_bytes(column));
        let picture = pictures().find(|(_, column)| uses(column)).or_else(|| pictures().next()).map(|(at, _)| at);
        let texts = || {
            table.visible_columns().filter(|&(at, column)| {
                is_text(column) && Some(at) != key && catalog.generated(table.id, column.id).is_none()
            })
        };
        let named = |name: &str| texts().find(|(_, column)| column.name == name);
        let caption = named("name").or_else(|| named("title")).or_else(|| texts().next()).map(|(at, _)| at);
        let metric = metric_of_index(catalog, table, id).unwrap_or(Metric::Cosine);
        Self { table: table.clone(), vector, key, picture, caption, metric, computed }
    }

    /// A column, by its place.
    pub(super) fn column(&self, at: usize) -> &Column {
        &self.table.columns[at]
    }

    /// The column that names rows, and its name.
    pub(super) fn require_key(&self) -> Result<&Column> {
        self.key.map(|at| self.column(at)).ok_or_else(|| {
            let message = format!("relation \"{}\" has no primary key of one column", self.table.name);
            SqlError::new(SqlState::WrongObjectType, message)
        })
    }

    /// The column of the pictures.
    pub(super) fn require_picture(&self) -> Result<&Column> {
        self.picture.map(|at| self.column(at)).ok_or_else(|| {
            let message = format!("relation \"{}\" has no column of type bytea for pictures", self.table.name);
            SqlError::new(SqlState::WrongObjectType, message)
        })
    }

    /// The models that may have made the vectors, and embed such inputs.
    pub(super) fn models<'c>(&self, catalog: &'c Catalog, input: Input) -> Vec<&'c Arc<Model>> {
        let dims = self.column(self.vector).ty.dimensions();
        let takes = |model: &Model| match input {
            Input::Text => matches!(model.kind.as_str(), "text" | "text_image"),
            Input::Image => matches!(model.kind.as_str(), "image" | "text_image"),
        };
        let computing = self.computed.as_ref().map(|computed| &computed.models[..]).unwrap_or_default();
        let fits = |model: &Model| match computing {
            [] => dims.is_none_or(|dims| dims == model.dims as usize),
            some => some.contains(&model.id),
        };
        catalog.models().filter(|model| takes(model) && fits(model)).collect()
    }

    /// The model that is named, or the only one that may be meant.
    pub(super) fn choose_model(&self, catalog: &Catalog, input: Input, named: Option<&str>) -> Result<String> {
        if let Some(name) = named {
            return Ok(name.to_owned());
        }
        let (what, column) = (if input == Input::Text { "texts" } else { "pictures" }, self.column(self.vector));
        match &self.models(catalog, input)[..] {
            [only] => Ok(only.name.clone()),
            [] => {
                let message = format!("no model embeds {what} as column \"{}\" has them", column.name);
                Err(SqlError::new(SqlState::UndefinedObject, message).with_hint("CREATE MODEL makes one."))
            }
            _ => {
                let message = format!("several models embed {what} as column \"{}\" has them", column.name);
                Err(SqlError::new(SqlState::InvalidParameterValue, message).with_hint("Name one of them as \"model\"."))
            }
        }
    }
}

/// What the first index on a column orders by.
fn metric_of_index(catalog: &Catalog, table: &Table, column: u32) -> Option<Metric> {
    catalog.indexes_of(table.id).find_map(|index| {
        let opclass = match &index.kind {
            IndexKind::Vector { spec, opclass, .. } if spec.column == column => opclass,
            IndexKind::Exact { column: Some(of), opclass: Some(opclass), .. } if *of == column => opclass,
            _ => return None,
        };
        match VECTOR_CLASSES.iter().find(|class| class.name == opclass)?.metric {
            ClassMetric::Vectors(metric) => Some(metric),
            ClassMetric::Hamming | ClassMetric::Jaccard => None,
        }
    })
}

/// How programs name a metric.
pub(super) fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::L2 => "l2",
        Metric::InnerProduct => "ip",
        Metric::Cosine => "cosine",
        Metric::L1 => "l1",
    }
}
