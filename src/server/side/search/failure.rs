//! What a program is told that asked for something it does not get: a status of HTTP, and PostgreSQL's fields as JSON.

use lodedb_sql::{SqlError, SqlState};
use serde::Serialize;

use crate::server::side::http::{Answer, Refused};

/// Why something is not answered.
#[derive(Debug)]
pub(super) struct Failure {
    status: u16,
    told: Told,
}

/// The body of its answer.
#[derive(Debug, Serialize)]
struct Told {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Failure {
    /// An error with the status that says it best, instead of the one of its code.
    pub(super) fn with_status(status: u16, error: SqlError) -> Self {
        Self { status, ..error.into() }
    }

    /// 404: there is no such row or picture.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: 404, told: Told { code: "02000", message: message.into(), detail: None, hint: None } }
    }

    /// Its answer.
    pub(super) fn answer(&self) -> Answer {
        let body = serde_json::to_string(&self.told).unwrap_or_default();
        let answer = Answer::new(self.status, "application/json", body + "\n");
        match self.status {
            401 => answer.with("www-authenticate", "Basic realm=\"LodeDB\", charset=\"UTF-8\""),
            _ => answer,
        }
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Self {
            status: status(error.state()),
            told: Told {
                code: error.state().code(),
                message: error.message().to_owned(),
                detail: own(error.detail()),
                hint: own(error.hint()),
            },
        }
    }
}

impl From<Refused> for Failure {
    fn from(Refused { status, message }: Refused) -> Self {
        let state = match status {
            408 => SqlState::QueryCanceled,
            413 => SqlState::ProgramLimitExceeded,
            _ => SqlState::ProtocolViolation,
        };
        Self::with_status(status, SqlError::new(state, message))
    }
}

/// The status of an SQLSTATE.
fn status(state: SqlState) -> u16 {
    match state {
        SqlState::InvalidPassword => 401,
        SqlState::InvalidAuthorizationSpecification | SqlState::InsufficientPrivilege => 403,
        SqlState::UndefinedTable | SqlState::UndefinedColumn | SqlState::UndefinedObject => 404,
        SqlState::UniqueViolation => 409,
        SqlState::QueryCanceled => 504,
        SqlState::AdminShutdown | SqlState::CannotConnectNow => 503,
        // A prerequisite may come: ONNX Runtime that is found, an index that is trained.
        SqlState::ObjectNotInPrerequisiteState => 503,
        other => match other.code().get(..2) {
            Some("53") => 503,
            Some("58" | "XX") => 500,
            _ => 400,
        },
    }
}
