//! Who may ask: the page of this server or a program, from a browser that was not led here by another site, as a role.
//!
//! A browser sends what any page tells it to, with the credentials it has for this port. So a request must name the port by an
//! address or a name that is known to be this server's, which a name of somebody else that was made to lead here is not; and if it
//! says which page it comes from, that must be this server's own.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lodedb_sql::{SqlError, SqlState};

use super::SearchOptions;
use super::failure::Failure;
use crate::db::SessionOptions;
use crate::server::listener::Shared;
use crate::server::login::login_at_once;
use crate::server::side::http::Request;

/// How long a statement may take.
const STATEMENT_MS_MAX: &str = "30000";

/// Refuses what another site made a browser send. `is_page`: the page itself is asked for, which links may lead to.
pub(super) fn check_origin(request: &Request, options: &SearchOptions, is_page: bool) -> Result<(), Failure> {
    let refused = |message: String, hint: &str| {
        Err(SqlError::new(SqlState::InsufficientPrivilege, message).with_hint(hint.to_owned()).into())
    };
    let host = request.header("host").unwrap_or_default();
    if !is_known(host, &options.hosts) {
        return refused(
            format!("the host \"{host}\" is not known to be this server"),
            "Ask by an address or by localhost; --search-host makes a name known.",
        );
    }
    let is_own = |origin: &str| {
        let behind = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        behind.is_some_and(|behind| behind.eq_ignore_ascii_case(host))
    };
    let origin = request.header("origin");
    let is_foreign = origin.is_some_and(|origin| !is_own(origin))
        || (!is_page && request.header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")));
    if is_foreign {
        let shown = origin.unwrap_or("another site");
        return refused(format!("a page of {shown} may not ask this"), "Only this server's own page and programs may.");
    }
    Ok(())
}

/// Whether a browser that asks for this host was told so by its user, or by a name that is known.
fn is_known(host: &str, names: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    is_address || name.eq_ignore_ascii_case("localhost") || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Lets a client in, by the rules for the clients of the other port, and gives the session it may have.
pub(super) async fn enter(
    shared: &Arc<Shared>,
    request: &Request,
    client: SocketAddr,
    options: &SearchOptions,
) -> Result<SessionOptions, Failure> {
    let address: IpAddr = client.ip().to_canonical();
    let credentials = request.header("authorization").map(read_basic).transpose()?;
    let (user, password) = match &credentials {
        Some((user, password)) => (user.as_str(), Some(password.as_str())),
        None => (options.role.as_str(), None),
    };
    let authority = login_at_once(shared, address, user, password).await?;
    Ok(SessionOptions {
        user: user.to_owned(),
        database: shared.options.database.clone(),
        parameters: vec![
            ("application_name".to_owned(), "search page".to_owned()),
            ("statement_timeout".to_owned(), STATEMENT_MS_MAX.to_owned()),
        ],
        client: Some((address, client.port())),
        authority,
        encryption: None,
    })
}

/// The name and the password of `Basic` credentials.
fn read_basic(header: &str) -> Result<(String, String), SqlError> {
    let read = || {
        let (scheme, encoded) = header.split_once(' ')?;
        let bytes = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':').filter(|(user, _)| !user.is_empty())?;
        Some((user.to_owned(), password.to_owned()))
    };
    read().ok_or_else(|| {
        SqlError::new(SqlState::InvalidPassword, "these are no credentials")
            .with_hint("Basic, a name and a password are taken.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_others_could_have_named_are_not_known() {
        let names = ["db.example.org".to_owned()];
        for host in
            ["127.0.0.1:9090", "127.0.0.1", "[::1]:9090", "[::1]", "localhost:1", "LocalHost", "db.Example.org:443"]
        {
            assert!(is_known(host, &names), "{host}");
        }
        for host in [
            "",
            "example.org",
            "example.org:9090",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "localhost:x",
            "[::1",
            "::1",
            "[127.0.0.1]",
            "2130706433",
            "0x7f.1",
            "user@localhost",
        ] {
            assert!(!is_known(host, &names), "{host}");
        }
    }

    #[test]
    fn credentials_are_a_name_and_a_password() {
        assert_eq!(read_basic("Basic YW5uOmE6Yg==").ok(), Some(("ann".to_owned(), "a:b".to_owned())));
        assert_eq!(read_basic("basic YW5uOg==").ok(), Some(("ann".to_owned(), String::new())));
        for wrong in ["Basic", "Basic YW5u", "Basic %%%", "Bearer YW5uOmE6Yg==", "", "Basic /zo=", "Basic OmI="] {
            assert!(read_basic(wrong).is_err(), "{wrong}");
        }
    }
}
