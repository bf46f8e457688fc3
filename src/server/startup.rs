//! From the first byte of a connection to a session, or to the end of it.

use std::net::SocketAddr;
use std::sync::Arc;

use lodedb_sql::error::{SqlError, SqlState};

use super::listener::Shared;
use super::login::{Arrival, login};
use super::registry::Seat;
use super::wire::{Encryption, Stop, Wire, violation};
use super::{backend, frontend};
use crate::db::Session;
use crate::db::session::SessionOptions;
use crate::query::CancelToken;

#[cfg(test)]
mod tests;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// Protocol 3.0, the version spoken here; a newer minor version is talked down to it.
const VERSION: u32 = 3 << 16;

/// A session that is ready for its first statement.
pub(super) struct Started {
    pub(super) session: Session,
    pub(super) cancel: CancelToken,
    pub(super) seat: Seat,
}

/// What a client asks for at its start.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Request {
    pub(super) user: String,
    /// The user's name if the client gave none.
    pub(super) database: String,
    /// Settings in the order given.
    pub(super) settings: Vec<(String, String)>,
    /// Options of the protocol that are not spoken here.
    pub(super) unsupported: Vec<String>,
}

/// Answers the first packets of a connection; `None` if it only came to cancel a statement.
pub(super) async fn start(
    wire: &mut Wire,
    shared: &Arc<Shared>,
    client: Option<SocketAddr>,
) -> Result<Option<Started>, Stop> {
    let (mut asked_ssl, mut asked_gss) = (false, false);
    let mut encryption: Option<Encryption> = None;
    let mut binding: Option<Vec<u8>> = None;
    let (version, body) = loop {
        let (code, body) = wire.next_startup().await?;
        let asked = match code {
            SSL_REQUEST => &mut asked_ssl,
            GSS_REQUEST => &mut asked_gss,
            CANCEL_REQUEST => {
                let (pid, key) = frontend::decode_cancel(body)?;
                shared.registry.cancel(pid, &key);
                return Ok(None);
            }
            version => break (version, body),
        };
        if std::mem::replace(asked, true) || !body.is_empty() || encryption.is_some() {
            return Err(violation("unexpected request for encryption").into());
        }
        // The Unix socket leaves this machine nowhere.
        match shared.tls.as_ref().filter(|_| code == SSL_REQUEST && client.is_some()) {
            Some(tls) => {
                let tls = tls.current();
                wire.out.push(b'S');
                wire.flush().await?;
                encryption = Some(wire.encrypt(tls.config.clone()).await?);
                binding.clone_from(&tls.binding);
            }
            None => {
                wire.out.push(b'N');
                wire.flush().await?;
            }
        }
    };
    if version >> 16 != VERSION >> 16 {
        let (major, minor) = (version >> 16, version & 0xffff);
        let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
        return Err(SqlError::new(SqlState::FeatureNotSupported, message).into());
    }
    let request = read_request(frontend::decode_startup(&body)?)?;
    let database = choose_database(&request, &shared.options.database)?;
    if version > VERSION || !request.unsupported.is_empty() {
        backend::negotiate_protocol_version(&mut wire.out, VERSION, request.unsupported.clone());
    }
    let arrival = Arrival { client, is_encrypted: encryption.is_some(), binding: binding.as_deref() };
    let authority = login(wire, shared, &request, &database, arrival).await?;
    let mut seat = shared.registry.admit()?;
    let options = SessionOptions {
        user: request.user,
        database,
        parameters: request.settings,
        client: client.map(|client| (client.ip(), client.port())),
        authority,
        encryption: encryption.map(|encryption| (encryption.version, encryption.cipher, encryption.bits)),
    };
    let mut session = shared.db.session(options)?;
    let cancel = session.cancel_token();
    let key = seat.enter(session.number(), cancel.clone())?;

    backend::authentication_ok(&mut wire.out);
    // What the start-up settings changed is in the first report already.
    session.take_parameter_changes();
    for (name, value) in session.parameter_status() {
        backend::parameter_status(&mut wire.out, name, value);
    }
    backend::backend_key_data(&mut wire.out, session.number(), key);
    for notice in session.take_notices() {
        backend::notice(&mut wire.out, notice.severity, &notice.error);
    }
    backend::ready_for_query(&mut wire.out, session.status());
    wire.flush().await?;
    Ok(Some(Started { session, cancel, seat }))
}

/// Sorts the parameters of a start-up packet.
pub(super) fn read_request(parameters: Vec<(String, String)>) -> Result<Request, SqlError> {
    let mut request = Request::default();
    for (name, value) in parameters {
        match name.as_str() {
            "user" => request.user = value,
            "database" => request.database = value,
            "client_encoding" => check_encoding(&value)?,
            "options" => {
                for (name, value) in read_options(&value)? {
                    if name == "client_encoding" {
                        check_encoding(&value)?;
                    } else {
                        request.settings.push((name, value));
                    }
                }
            }
            "replication" => {
                if !matches!(value.to_ascii_lowercase().as_str(), "false" | "off" | "no" | "0") {
                    return Err(SqlError::unsupported("replication"));
                }
            }
            _ if name.starts_with("_pq_.") => request.unsupported.push(name),
            _ => request.settings.push((name, value)),
        }
    }
    if request.user.is_empty() {
        return Err(violation("no PostgreSQL user name specified in startup packet"));
    }
    if request.database.is_empty() {
        request.database.clone_from(&request.user);
    }
    Ok(request)
}

/// The one database there is, if the client asked for it by one of its names.
fn choose_database(request: &Request, own: &str) -> Result<String, SqlError> {
    let names = [own, "lodedb", "postgres", &request.user];
    if names.contains(&request.database.as_str()) {
        return Ok(own.to_owned());
    }
    let message = format!("database \"{}\" does not exist", request.database);
    Err(SqlError::new(SqlState::InvalidCatalogName, message))
}

/// Only UTF-8 is spoken, however it is spelt.
fn check_encoding(value: &str) -> Result<(), SqlError> {
    let name: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    if matches!(name.to_ascii_lowercase().as_str(), "utf8" | "unicode") {
        return Ok(());
    }
    let message = format!("invalid value for parameter \"client_encoding\": \"{value}\"");
    Err(SqlError::new(SqlState::InvalidParameterValue, message))
}

/// The settings in `options`: `-c name=value` and `--name=value`, blanks and backslashes behind a backslash.
fn read_options(options: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = options.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.get_or_insert_default().extend(letters.next()),
            _ if letter.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);

    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let invalid = || {
            let message = format!("invalid command-line argument for server process: {word}");
            SqlError::new(SqlState::SyntaxError, message)
        };
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(long), _) => long.to_owned(),
            (None, Some("")) => words.next().ok_or_else(invalid)?,
            (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err(invalid()),
        };
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| SqlError::new(SqlState::SyntaxError, format!("-c {setting} requires a value")))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}
