//! A model without SQL.

use lodedb_sql::error::Result;

use super::value::ToSql;
use crate::db::session::Session;
use crate::query::dml::quoted;

/// Inputs of one statement: as many as a network is given at once.
const INPUTS_AT_ONCE: usize = 64;

/// A model, by name. See [`Session::model`].
#[derive(Debug)]
pub struct Model<'s> {
    pub(super) session: &'s mut Session,
    pub(super) name: String,
}

impl Model<'_> {
    /// Makes it of a directory below [`Options::model_dir`](crate::Options::model_dir), described otherwise where options of CREATE MODEL
    /// say so.
    ///
    /// # Errors
    /// Those of CREATE MODEL, among them `42501` outside of the folder, `55000` without ONNX Runtime, and `22023` for a directory that
    /// is no model.
    pub async fn create(self, directory: &str, options: &[(&str, &str)]) -> Result<()> {
        let options: Vec<String> =
            options.iter().map(|(name, value)| format!("{} = {}", quoted(name), literal(value))).collect();
        let with = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
        let sql = format!("CREATE MODEL {} FROM {}{with}", quoted(&self.name), literal(directory));
        self.session.execute(&sql, &[]).await.map(drop)
    }

    /// Drops it.
    ///
    /// # Errors
    /// `42704` if there is none, `2BP01` while a column is computed by it.
    pub async fn remove(self) -> Result<()> {
        self.session.execute(&format!("DROP MODEL {}", quoted(&self.name)), &[]).await.map(drop)
    }

    /// The vectors of texts, in their order; each has the model's dimensions.
    ///
    /// # Errors
    /// Those of `embed`, among them `42704` if there is no such model and `42809` if it embeds no texts.
    pub async fn embed(self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.each("embed", "text", texts).await
    }

    /// The vectors of pictures, each the bytes of a file.
    ///
    /// # Errors
    /// Those of `embed_image`, among them `22P03` for bytes that are no picture.
    pub async fn embed_images(self, images: &[&[u8]]) -> Result<Vec<Vec<f32>>> {
        self.each("embed_image", "bytea", images).await
    }

    async fn each<T: ToSql + Sync>(self, function: &str, ty: &str, inputs: &[T]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(inputs.len());
        for part in inputs.chunks(INPUTS_AT_ONCE) {
            let values: Vec<String> = (0..part.len()).map(|at| format!("({at}, ${}::{ty})", at + 2)).collect();
            let sql = format!(
                "SELECT {function}($1, content) FROM (VALUES {}) inputs (at, content) ORDER BY at",
                values.join(", ")
            );
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.name];
            parameters.extend(part.iter().map(|input| input as &(dyn ToSql + Sync)));
            let rows = self.session.query(&sql, &parameters).await?;
            for row in rows.iter() {
                vectors.push(row.get::<Vec<f32>>(0)?);
            }
        }
        Ok(vectors)
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
