//! CREATE and DROP MODEL, and what functions ask of models.

use std::path::PathBuf;
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::statement::{AlterTable, ObjectName, TableAction};
use lodedb_sql::{SqlError, SqlState};

use super::hooks::SessionHooks;
use super::session::Session;
use crate::auth::privilege::{Actor, refused};
use crate::catalog::rights::ObjectKind;
use crate::catalog::{Catalog, Change, ColumnId, Generated, Model, ModelId, TableId};
use crate::models::{Embedded, NotEmbedded, Work};
use crate::query::CancelToken;
use crate::query::functions::ModelAccess;

/// The name that whoever makes or drops models locks, so that one does at a time; no relation can have it.
const MODELS: &str = "\0models";
/// Texts that were cut, of which each is told.
const TOLD: usize = 3;

impl Session {
    /// CREATE MODEL.
    pub(super) async fn create_model(
        &mut self,
        name: &str,
        directory: &str,
        options: &[(String, String)],
    ) -> Result<()> {
        self.transaction()?.start_statement();
        if !Actor::new(&self.catalog(), self.role()).is_superuser() {
            return Err(refused("permission denied to create model")
                .with_detail("Only superusers may create models: their files are read by the server."));
        }
        let from = self.model_directory(directory)?;
        self.transaction()?.lock_name(MODELS).await?;
        if self.catalog().model(name).is_some() {
            return Err(SqlError::new(SqlState::DuplicateObject, format!("model \"{name}\" already exists")));
        }
        let engine = self.engine().clone();
        let (id, name, options) = (engine.next_oid(), name.to_owned(), options.to_vec());
        let made = tokio::task::spawn_blocking(move || engine.models.make(id, &name, &from, &options)).await;
        let (model, making) = made.map_err(SqlError::internal)??;
        let tx = self.transaction()?;
        tx.keep_model(making);
        tx.change_catalog(Change::PutModel(model));
        self.own(&[(id, ObjectKind::Model)])
    }

    /// DROP MODEL.
    pub(super) async fn drop_models(&mut self, names: &[String], if_exists: bool, cascade: bool) -> Result<()> {
        self.transaction()?.start_statement();
        self.transaction()?.lock_name(MODELS).await?;
        for name in names {
            let Some(model) = self.catalog().model(name).cloned() else {
                let message = format!("model \"{name}\" does not exist");
                if !if_exists {
                    return Err(SqlError::new(SqlState::UndefinedObject, message));
                }
                self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, format!("{message}, skipping")));
                continue;
            };
            self.check_owner("model", model.id, name)?;
            for Dependent { table, column, before } in dependents(&self.catalog(), model.id) {
                if !cascade {
                    return Err(SqlError::new(
                        SqlState::DependentObjectsStillExist,
                        format!("cannot drop model {name} because other objects depend on it"),
                    )
                    .with_detail(format!("column {column} of table {table} depends on model {name}"))
                    .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
                }
                let (message, action) = match before {
                    None => (
                        format!("drop cascades to column {column} of table {table}"),
                        TableAction::DropColumn { if_exists: true, name: column, cascade },
                    ),
                    Some(text) => (
                        format!("column {column} of table {table} keeps its expression"),
                        TableAction::SetExpression { column, text },
                    ),
                };
                self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, message));
                let alter = AlterTable { name: ObjectName::plain(table), if_exists: true, actions: vec![action] };
                self.alter_table(&alter).await?;
            }
            self.transaction()?.change_catalog(Change::DropModel(model.id));
        }
        Ok(())
    }

    /// Keeps models from being dropped until the transaction has ended: something is being made that names them.
    pub(super) async fn keep_models(&mut self, models: &[ModelId]) -> Result<()> {
        if models.is_empty() {
            return Ok(());
        }
        self.transaction()?.lock_name(MODELS).await?;
        let catalog = self.catalog();
        match models.iter().find(|id| catalog.models().all(|model| model.id != **id)) {
            None => Ok(()),
            Some(_) => {
                let message = "a model was dropped while a column that names it was being made";
                Err(SqlError::new(SqlState::UndefinedObject, message))
            }
        }
    }

    /// The directory that a statement names, which must lie below the folder for models.
    fn model_directory(&self, directory: &str) -> Result<PathBuf> {
        let Some(folder) = &self.engine().options.model_dir else {
            return Err(refused("permission denied to read a model from the server's disk")
                .with_detail("The server was given no folder for models (--model-dir)."));
        };
        let io = |error: std::io::Error| {
            SqlError::new(SqlState::of_io(&error), format!("the folder for models, {}: {error}", folder.display()))
        };
        let folder = folder.canonicalize().map_err(io)?;
        let missing = |error: std::io::Error| {
            let message = format!("could not read the directory \"{directory}\": {error}");
            SqlError::new(SqlState::of_io(&error), message)
        };
        let real = folder.join(directory).canonicalize().map_err(missing)?;
        match real.starts_with(&folder) {
            true => Ok(real),
            false => Err(refused(format!("\"{directory}\" is outside the folder for models"))),
        }
    }
}

/// A column that a model computes, or is to compute.
struct Dependent {
    table: String,
    column: String,
    /// The expression it has until it is computed by the model.
    before: Option<String>,
}

fn dependents(catalog: &Catalog, model: ModelId) -> Vec<Dependent> {
    let names = |table: TableId, column: ColumnId| {
        let table = catalog.table_by_id(table)?;
        let column = table.columns.get((column as usize).checked_sub(1)?).filter(|column| column.is_visible())?;
        Some((table.name.clone(), column.name.clone()))
    };
    let is_by = |generated: &Generated| generated.models.contains(&model);
    let computed = catalog.all_generated().filter(|generated| is_by(generated)).filter_map(|generated| {
        let (table, column) = names(generated.table, generated.column)?;
        Some(Dependent { table, column, before: None })
    });
    let to_be = catalog.refills().filter(|refill| refill.models.contains(&model)).filter_map(|refill| {
        let (table, column) = names(refill.table, refill.column)?;
        let current = catalog.generated(refill.table, refill.column).filter(|current| !is_by(current))?;
        Some(Dependent { table, column, before: Some(current.expression.clone()) })
    });
    computed.chain(to_be).collect()
}

impl ModelAccess for SessionHooks {
    fn embed_texts(
        &self,
        model: &Model,
        prompt: Option<&str>,
        texts: &[&str],
        cancel: &CancelToken,
    ) -> std::result::Result<Vec<Arc<[f32]>>, NotEmbedded> {
        let Embedded { vectors, truncated } = self.engine.models.embed_texts(model, prompt, texts, cancel)?;
        let mut effects = self.effects.lock();
        for cut in truncated {
            effects.cut_texts += 1;
            if effects.cut_texts <= TOLD {
                let message = format!(
                    "a text of {} tokens was cut to {}, the most that model \"{}\" takes",
                    cut.tokens, cut.used, model.name
                );
                effects.warnings.push(SqlError::new(SqlState::StringDataRightTruncation, message));
            }
        }
        Ok(vectors)
    }

    fn embed_images(
        &self,
        model: &Model,
        images: &[&[u8]],
        cancel: &CancelToken,
    ) -> std::result::Result<Vec<Arc<[f32]>>, NotEmbedded> {
        Ok(self.engine.models.embed_images(model, images, cancel)?.vectors)
    }

    fn split_text(&self, model: &Model, text: &str, max_tokens: usize, overlap: usize) -> Result<Vec<String>> {
        self.engine.models.split_text(model, text, max_tokens, overlap)
    }

    fn work(&self, model: &Model) -> Option<Work> {
        self.engine.models.work(model)
    }
}
