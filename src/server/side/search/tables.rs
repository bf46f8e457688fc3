//! `GET /tables`: what the page offers to search.

use lodedb_sql::statement::Privilege;
use serde::Serialize;

use super::failure::Failure;
use super::target::{Input, Target, metric_name};
use super::{Visit, to_json};
use crate::auth::privilege::Actor;
use crate::catalog::Catalog;
use crate::catalog::rights::Privileges;
use crate::server::side::http::Answer;

/// A vector column of a table whose rows have a key.
#[derive(Debug, Serialize)]
struct Searchable {
    table: String,
    column: String,
    dims: Option<usize>,
    metric: &'static str,
    key: String,
    /// Whether whoever adds a row has to give it a key.
    needs_id: bool,
    picture: Option<String>,
    caption: Option<String>,
    /// The models by which words can be searched for, and pictures.
    text_models: Vec<String>,
    image_models: Vec<String>,
    can_add: bool,
    can_remove: bool,
}

/// Answers it: those that the visitor may read.
pub(super) fn answer(visit: &Visit) -> Result<Answer, Failure> {
    let catalog = visit.catalog();
    let actor = Actor::new(&catalog, visit.session.presence().role);
    let searchable: Vec<Searchable> =
        Target::all(&catalog).filter_map(|target| searchable(&catalog, &actor, &target)).collect();
    Ok(to_json(200, &searchable)?)
}

fn searchable(catalog: &Catalog, actor: &Actor<'_>, target: &Target) -> Option<Searchable> {
    let may = |privilege| actor.check_table(&target.table, Privileges::of(&[privilege])).is_ok();
    let name = |at: usize| target.column(at).name.clone();
    let names = |input| target.models(catalog, input).iter().map(|model| model.name.clone()).collect();
    let key = target.column(target.key?);
    if !may(Privilege::Select) {
        return None;
    }
    Some(Searchable {
        table: target.table.name.clone(),
        column: name(target.vector),
        dims: target.column(target.vector).ty.dimensions(),
        metric: metric_name(target.metric),
        key: key.name.clone(),
        needs_id: key.default.is_none() && key.identity.is_none(),
        picture: target.picture.map(name),
        caption: target.caption.map(name),
        text_models: names(Input::Text),
        image_models: names(Input::Image),
        can_add: target.picture.is_some() && may(Privilege::Insert),
        can_remove: target.picture.is_some() && may(Privilege::Delete),
    })
}
