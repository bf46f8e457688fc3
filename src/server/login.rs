//! Where a client shows who it is: the rule for it, its password if the rule asks for one, and the role it then has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use lodedb_sql::error::{SqlError, SqlState};

use super::listener::Shared;
use super::startup::Request;
use super::wire::{Stop, Wire};
use super::{backend, frontend};
use crate::auth::delay::counted;
use crate::auth::privilege::Actor;
use crate::auth::rules::{Caller, Method};
use crate::auth::scram::{self, Exchange};
use crate::auth::verifier::Verifier;
use crate::catalog::Catalog;
use crate::catalog::rights::Role;
use crate::db::clock::now_us;
use crate::db::session::Authority;

/// How a connection came about.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub(super) client: Option<SocketAddr>,
    /// Whether it is encrypted; and what the client can bind its password to, if anything.
    pub(super) is_encrypted: bool,
    pub(super) binding: Option<&'a [u8]>,
}

/// Lets a client in, or says why not. Gives what its session may do.
pub(super) async fn login(
    wire: &mut Wire,
    shared: &Arc<Shared>,
    request: &Request,
    database: &str,
    arrival: Arrival<'_>,
) -> Result<Authority, Stop> {
    let rules = shared.rules.current();
    let address = arrival.client.map(|client| client.ip());
    let catalog = shared.db.engine().view().catalog.clone();
    let user = request.user.as_str();
    let caller = Caller { address, is_encrypted: arrival.is_encrypted, database, user };
    let method = rules.method(&caller, |role| is_member(&catalog, user, role));
    let method = method.inspect_err(|error| tracing::warn!(user, ?address, %error, "a client was refused"))?;
    match method {
        Method::Trust => {}
        Method::Scram => prove(wire, shared, &catalog, user, &arrival).await?,
        Method::Reject => return Err(Stop::Fatal(SqlError::internal("a rejected client came through"))),
    }
    // The role may have changed while the client was asked.
    let catalog = shared.db.engine().view().catalog.clone();
    let Some(role) = catalog.rights().role_named(user) else {
        if method == Method::Trust && rules.are_built_in && catalog.rights().are_untouched() {
            // Where nobody made a role, every name is the first one's: whoever is trusted could use that as well.
            return Ok(Authority::Superuser);
        }
        return Err(refused(format!("role \"{user}\" does not exist")));
    };
    if !role.can_login {
        return Err(refused(format!("role \"{user}\" is not permitted to log in")));
    }
    let actor = Actor::new(&catalog, role.id);
    actor.check_connect(database)?;
    let sessions = shared.db.engine().sessions.all().iter().filter(|session| session.role == role.id).count();
    if !role.is_superuser && role.connection_limit.is_some_and(|limit| sessions >= limit as usize) {
        let message = format!("too many connections for role \"{user}\"");
        return Err(Stop::Fatal(SqlError::new(SqlState::TooManyConnections, message)));
    }
    Ok(Authority::Role)
}

fn is_member(catalog: &Catalog, user: &str, role: &str) -> bool {
    let (user, role) = (catalog.rights().role_named(user), catalog.rights().role_named(role));
    // As in PostgreSQL, a superuser is no member of what it was not made one of.
    matches!((user, role), (Some(user), Some(role)) if Actor::new(catalog, user.id).is_made_member_of(role.id))
}

fn refused(message: String) -> Stop {
    Stop::Fatal(SqlError::new(SqlState::InvalidAuthorizationSpecification, message))
}

fn failed(user: &str) -> Stop {
    let message = format!("password authentication failed for user \"{user}\"");
    Stop::Fatal(SqlError::new(SqlState::InvalidPassword, message))
}

/// The verifier of a role that may come in by a password now.
fn verifier_of(role: &Role) -> Option<Verifier> {
    let is_valid = role.valid_until_us.is_none_or(|until| now_us() < until);
    Verifier::parse(role.verifier.as_deref()?).filter(|_| is_valid)
}

/// The client shows that it knows the password of the role it names.
async fn prove(
    wire: &mut Wire,
    shared: &Arc<Shared>,
    catalog: &Catalog,
    user: &str,
    arrival: &Arrival<'_>,
) -> Result<(), Stop> {
    let address = arrival.client.map(|client| client.ip());
    let source = (counted(address), user.to_owned());
    let mechanisms: &[&str] = match arrival.binding {
        Some(_) => &[scram::PLUS, scram::PLAIN],
        None => &[scram::PLAIN],
    };
    backend::authentication_sasl(&mut wire.out, mechanisms);
    wire.flush().await?;
    let body = wire.next_proof().await?;
    let (mechanism, said) = frontend::decode_sasl(&body)?;
    let real = catalog.rights().role_named(user).and_then(|role| verifier_of(role));
    let is_real = real.is_some();
    let secret = shared.db.engine().id;
    let verifier = real.unwrap_or_else(|| Verifier::stand_in(secret.as_bytes(), user));
    let (exchange, answer) = Exchange::begin(mechanism, said, verifier, is_real, arrival.binding)?;
    backend::authentication_sasl_continue(&mut wire.out, &answer);
    wire.flush().await?;
    let body = wire.next_proof().await?;
    // ORDER: it waits before its proof is looked at, and one that waits too long is not looked at.
    let admitted = shared.failures.admit(&source, Instant::now());
    if let Some(wait) = admitted {
        tokio::time::sleep(wait).await;
    }
    match exchange.finish(&body)?.filter(|_| admitted.is_some()) {
        Some(proof) => {
            shared.failures.clear(&source);
            backend::authentication_sasl_final(&mut wire.out, &proof);
            Ok(())
        }
        None => {
            tracing::warn!(user, ?address, "password authentication failed");
            if admitted.is_some() {
                shared.failures.note(source, Instant::now());
            }
            Err(failed(user))
        }
    }
}
