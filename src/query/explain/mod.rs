//! EXPLAIN: a plan as PostgreSQL shows one, and what running it took.

mod tree;

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::physical_plan::{ExecutionPlan, collect};
use lodedb_sql::Datum;
use lodedb_sql::error::Result;
use lodedb_sql::statement::{ExplainFormat, ExplainOptions};

use super::cancel::CancelToken;
use super::plan::query::{bind, physical};
use super::plan::{Body, Planned};
use super::statement_state::{Registry, Run, sql};
use crate::commit::{Reader, Transaction};
use crate::db::settings::Environment;
use tree::Node;

/// The lines of an EXPLAIN; one document where JSON was asked for.
#[expect(clippy::too_many_arguments, reason = "a statement's whole surroundings")]
pub(crate) async fn explain(
    registry: &Arc<Registry>,
    planned: &Planned,
    options: &ExplainOptions,
    reader: Reader,
    tx: Option<&mut Transaction>,
    environment: Arc<Environment>,
    params: &[Datum],
    cancel: CancelToken,
) -> Result<Vec<String>> {
    let started = Instant::now();
    let (label, plan) = match &planned.body {
        Body::Query(plan) => (None, Some(plan)),
        Body::Insert(insert) => (Some(format!("Insert on {}", insert.table.name)), insert.query()),
        Body::Update(update) => (Some(format!("Update on {}", update.table.name)), Some(&update.plan)),
        Body::Delete(delete) => (Some(format!("Delete on {}", delete.table.name)), Some(&delete.plan)),
        // EXPLAIN of such a statement is planned like any other.
        Body::Lock(lock) => (Some("LockRows".to_owned()), Some(&lock.plan)),
        Body::Hot(_) => (None, None),
    };
    let run = Run::new(registry, reader, environment.clone(), cancel.clone());
    let params: Vec<Datum> = if params.len() == planned.parameters.len() {
        params.to_vec()
    } else {
        // A generic plan: what is not known yet is NULL.
        vec![Datum::Null; planned.parameters.len()]
    };
    let operators: Option<Arc<dyn ExecutionPlan>> = match plan {
        Some(plan) => Some(sql(physical(&run, bind(plan.clone(), &planned.parameters, &params)?).await)?),
        None => None,
    };
    let planning = started.elapsed();
    let mut execution = None;
    if options.analyze {
        let started = Instant::now();
        let mut rows = 0;
        match (tx, &label) {
            (Some(tx), Some(_)) => {
                let outcome = super::dml::write(registry, planned, tx, environment, &params, cancel.clone()).await?;
                rows = outcome.tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
            }
            _ => {
                if let Some(operators) = &operators {
                    let running = collect(operators.clone(), run.state.task_ctx());
                    let batches = tokio::select! {
                        biased;
                        batches = running => sql(batches)?,
                        () = cancel.cancelled() => return Err(cancel.error()),
                    };
                    rows = batches.iter().map(|batch| batch.num_rows()).sum();
                }
            }
        }
        execution = Some((started.elapsed(), rows));
    }
    let measured = options.analyze && label.is_none();
    let mut node = match operators {
        Some(operators) => Some(Node::of(operators.as_ref(), &run, measured).await),
        None => None,
    };
    if let Some(label) = label {
        let mut above = Node::named(label);
        above.rows = execution.map(|(_, rows)| rows);
        above.elapsed = execution.map(|(elapsed, _)| elapsed);
        above.children.extend(node);
        node = Some(above);
    }
    let node = node.unwrap_or_else(|| Node::named("Result"));
    match options.format {
        ExplainFormat::Json => Ok(vec![json(&node, options, planning, execution.map(|(elapsed, _)| elapsed))]),
        ExplainFormat::Text => {
            let mut lines = Vec::new();
            node.write(0, options, &mut lines);
            if options.summary.unwrap_or(options.analyze) {
                lines.push(format!("Planning Time: {:.3} ms", milliseconds(planning)));
                if let Some((elapsed, _)) = execution {
                    lines.push(format!("Execution Time: {:.3} ms", milliseconds(elapsed)));
                }
            }
            Ok(lines)
        }
    }
}

fn json(node: &Node, options: &ExplainOptions, planning: Duration, execution: Option<Duration>) -> String {
    let mut document = serde_json::Map::new();
    document.insert("Plan".into(), node.to_json(options));
    if options.summary.unwrap_or(options.analyze) {
        document.insert("Planning Time".into(), milliseconds(planning).into());
        if let Some(execution) = execution {
            document.insert("Execution Time".into(), milliseconds(execution).into());
        }
    }
    let document = serde_json::Value::Array(vec![serde_json::Value::Object(document)]);
    // A tree of strings and numbers always has a text.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
