//! `/health`: whether the database answers, and why not.

use std::time::Duration;

use serde::Serialize;

use super::Stage;
use super::http::Answer;
use crate::db::engine::Refusal;

/// The body of an answer, as JSON.
#[derive(Debug, PartialEq, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    version: &'static str,
    uptime_seconds: u64,
}

/// What `/health` answers: 200 while queries are answered, 503 otherwise.
pub(super) fn answer(stage: &Stage, uptime: Duration) -> Answer {
    let (status, code, reason) = match stage {
        Stage::Recovering => ("recovering", 503, Some("the database is being opened and its log replayed".to_owned())),
        Stage::Open { shared } => judged(shared.db.engine().refusal()),
        Stage::Closing => ("stopping", 503, Some("the server is shutting down".to_owned())),
    };
    let health = Health { status, reason, version: env!("CARGO_PKG_VERSION"), uptime_seconds: uptime.as_secs() };
    match serde_json::to_string(&health) {
        Ok(body) => Answer::new(code, "application/json", body + "\n"),
        Err(error) => Answer::text(500, &error.to_string()),
    }
}

/// A database that takes no writes is still good for queries, unless it is about to end.
fn judged(refusal: Option<Refusal>) -> (&'static str, u16, Option<String>) {
    match refusal {
        None => ("ready", 200, None),
        Some(Refusal { is_final: false, reason }) => ("read-only", 200, Some(reason)),
        Some(Refusal { is_final: true, reason }) => ("failed", 503, Some(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_without_writes_is_healthy_unless_it_is_about_to_end() {
        let refusal = |is_final| Some(Refusal { reason: "the disk is full".into(), is_final });
        let reason = Some("the disk is full".to_owned());
        assert_eq!(judged(None), ("ready", 200, None));
        assert_eq!(judged(refusal(false)), ("read-only", 200, reason.clone()));
        assert_eq!(judged(refusal(true)), ("failed", 503, reason));
    }
}
