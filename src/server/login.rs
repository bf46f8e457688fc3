//! Where a client shows who it is: the rule for it, its password if the rule asks for one, and the role it then has.
//!
//! [`login`] is for clients that speak PostgreSQL's protocol, [`login_at_once`] for those that give a password along with what they ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use lodedb_sql::error::{SqlError, SqlState};

use super::listener::Shared;
use super::startup::Request;
use super::wire::{Stop, Wire};
use super::{backend, frontend};
use crate::auth::delay::counted;
use crate::auth::privilege::Actor;
use crate::auth::rules::{Caller, Method, Rules};
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
    let user = request.user.as_str();
    let method = method(shared, &rules, &Caller { address, is_encrypted: arrival.is_encrypted, database, user })?;
    match method {
        Method::Trust => {}
        Method::Scram => prove(wire, shared, user, &arrival).await?,
        Method::Reject => return Err(SqlError::internal("a rejected client came through").into()),
    }
    let catalog = shared.db.engine().view().catalog.clone();
    let is_unknown = catalog.rights().role_named(user).is_none();
    if is_unknown && method == Method::Trust && rules.are_built_in && catalog.rights().are_untouched() {
        // Where nobody made a role, every name is the first one's: whoever is trusted could use that as well.
        return Ok(Authority::Superuser);
    }
    Ok(authority(shared, database, user)?)
}

/// The same for a client that gave its password, if it has one, with its request, in the clear: so only on this machine. Whoever names
/// a role is that role or nobody.
pub(super) async fn login_at_once(
    shared: &Arc<Shared>,
    address: IpAddr,
    user: &str,
    password: Option<&str>,
) -> Result<Authority, SqlError> {
    let rules = shared.rules.current();
    let database = shared.options.database.as_str();
    let method = method(shared, &rules, &Caller { address: Some(address), is_encrypted: false, database, user })?;
    match (method, password) {
        (Method::Trust, _) => {}
        (Method::Scram, _) if !address.to_canonical().is_loopback() => {
            return Err(refused("a password would cross the network unencrypted".to_owned())
                .with_hint("Put a proxy that encrypts before the port."));
        }
        (Method::Scram, Some(password)) => {
            let (verifier, is_real) = verifier(shared, user);
            let password = password.to_owned();
            let look = async || {
                // Thousands of hashes.
                let known = tokio::task::spawn_blocking(move || verifier.fits(&password)).await;
                known.map(|known| (known && is_real).then_some(())).map_err(SqlError::internal)
            };
            weighed(shared, user, Some(address), look).await?;
        }
        (Method::Scram, None) => {
            let message = format!("role \"{user}\" must show its password");
            return Err(SqlError::new(SqlState::InvalidPassword, message));
        }
        (Method::Reject, _) => return Err(SqlError::internal("a rejected client came through")),
    }
    authority(shared, database, user)
}

/// How a client is to show who it is.
fn method(shared: &Shared, rules: &Rules, caller: &Caller<'_>) -> Result<Method, SqlError> {
    let catalog = shared.db.engine().view().catalog.clone();
    let Caller { user, address, .. } = *caller;
    let method = rules.method(caller, |role| is_member(&catalog, user, role));
    method.inspect_err(|error| tracing::warn!(user, ?address, %error, "a client was refused"))
}

/// What the session of a client may do that showed who it is.
fn authority(shared: &Shared, database: &str, user: &str) -> Result<Authority, SqlError> {
    // The role may have changed while the client was asked.
    let catalog = shared.db.engine().view().catalog.clone();
    let role = catalog.rights().role_named(user);
    let role = role.ok_or_else(|| refused(format!("role \"{user}\" does not exist")))?;
    if !role.can_login {
        return Err(refused(format!("role \"{user}\" is not permitted to log in")));
    }
    let actor = Actor::new(&catalog, role.id);
    actor.check_connect(database)?;
    let sessions = shared.db.engine().sessions.all().iter().filter(|session| session.role == role.id).count();
    if !role.is_superuser && role.connection_limit.is_some_and(|limit| sessions >= limit as usize) {
        let message = format!("too many connections for role \"{user}\"");
        return Err(SqlError::new(SqlState::TooManyConnections, message));
    }
    Ok(Authority::Role)
}

fn is_member(catalog: &Catalog, user: &str, role: &str) -> bool {
    let (user, role) = (catalog.rights().role_named(user), catalog.rights().role_named(role));
    // As in PostgreSQL, a superuser is no member of what it was not made one of.
    matches!((user, role), (Some(user), Some(role)) if Actor::new(catalog, user.id).is_made_member_of(role.id))
}

fn refused(message: String) -> SqlError {
    SqlError::new(SqlState::InvalidAuthorizationSpecification, message)
}

/// The verifier of a role that may come in by a password now, and `true`; for every other name one that no password fits.
fn verifier(shared: &Shared, user: &str) -> (Verifier, bool) {
    let engine = shared.db.engine();
    match engine.view().catalog.rights().role_named(user).and_then(|role| verifier_of(role)) {
        Some(verifier) => (verifier, true),
        None => (Verifier::stand_in(engine.id.as_bytes(), user), false),
    }
}

fn verifier_of(role: &Role) -> Option<Verifier> {
    let is_valid = role.valid_until_us.is_none_or(|until| now_us() < until);
    Verifier::parse(role.verifier.as_deref()?).filter(|_| is_valid)
}

/// What a look at a client's proof gives, `None` being that it shows nothing, and the failures before it being waited for.
async fn weighed<T>(
    shared: &Shared,
    user: &str,
    address: Option<IpAddr>,
    look: impl AsyncFnOnce() -> Result<Option<T>, SqlError>,
) -> Result<T, SqlError> {
    let source = (counted(address), user.to_owned());
    let admitted = shared.failures.admit(&source, Instant::now());
    // ORDER: it waits before its proof is looked at, and one that waits too long is not looked at.
    let shown = match admitted {
        Some(wait) => {
            tokio::time::sleep(wait).await;
            look().await?
        }
        None => None,
    };
    match shown {
        Some(shown) => {
            shared.failures.clear(&source);
            Ok(shown)
        }
        None => {
            tracing::warn!(user, ?address, "password authentication failed");
            if admitted.is_some() {
                shared.failures.note(source, Instant::now());
            }
            let message = format!("password authentication failed for user \"{user}\"");
            Err(SqlError::new(SqlState::InvalidPassword, message))
        }
    }
}

/// The client shows that it knows the password of the role it names.
async fn prove(wire: &mut Wire, shared: &Arc<Shared>, user: &str, arrival: &Arrival<'_>) -> Result<(), Stop> {
    let address = arrival.client.map(|client| client.ip());
    let mechanisms: &[&str] = match arrival.binding {
        Some(_) => &[scram::PLUS, scram::PLAIN],
        None => &[scram::PLAIN],
    };
    backend::authentication_sasl(&mut wire.out, mechanisms);
    wire.flush().await?;
    let body = wire.next_proof().await?;
    let (mechanism, said) = frontend::decode_sasl(&body)?;
    let (verifier, is_real) = verifier(shared, user);
    let (exchange, answer) = Exchange::begin(mechanism, said, verifier, is_real, arrival.binding)?;
    backend::authentication_sasl_continue(&mut wire.out, &answer);
    wire.flush().await?;
    let body = wire.next_proof().await?;
    let proof = weighed(shared, user, address, async || exchange.finish(&body)).await?;
    backend::authentication_sasl_final(&mut wire.out, &proof);
    Ok(())
}
