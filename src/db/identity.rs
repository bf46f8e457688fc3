//! Whom a session acts for: the role it began as, SET SESSION AUTHORIZATION and SET ROLE.
//!
//! The last two are settings, so that they end with SET LOCAL, a rollback or RESET ALL as every setting does. What they name is
//! looked up, and whether they may is asked, for each statement: a role that is gone, or a membership that is, gives nothing.

use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::statement::RoleName;
use lodedb_sql::{SqlError, SqlState};

use super::block::State;
use super::session::Session;
use super::settings::Settings;
use crate::auth::privilege::{Actor, refused};
use crate::catalog::Catalog;
use crate::catalog::rights::{BOOTSTRAP, Role, RoleId};

/// The role of nobody: it may do nothing.
pub(super) const NOBODY: RoleId = RoleId::MAX;

/// What a session may do, apart from its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authority {
    /// Everything, whatever it is called.
    #[default]
    Superuser,
    /// What the role may that has the session's name; there must be one.
    Role,
}

/// Whom a session acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `session_user`.
    pub(super) session_user: String,
    pub(super) session_role: RoleId,
    /// `current_user`.
    pub(super) user: String,
    pub(super) role: RoleId,
}

/// The role a session begins as.
pub(super) fn login_role(catalog: &Catalog, user: &str, authority: Authority) -> Result<RoleId> {
    match (authority, catalog.rights().role_named(user)) {
        (Authority::Superuser, _) => Ok(BOOTSTRAP),
        (Authority::Role, Some(role)) => Ok(role.id),
        (Authority::Role, None) => {
            Err(SqlError::new(SqlState::InvalidAuthorizationSpecification, format!("role \"{user}\" does not exist")))
        }
    }
}

/// `42704`: there is no such role.
pub(super) fn no_role(name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist"))
}

/// Whether a setting is one of the two that say whom a session acts for.
pub(super) fn is_of_identity(name: &str) -> bool {
    name.eq_ignore_ascii_case("role") || name.eq_ignore_ascii_case("session_authorization")
}

impl Session {
    /// What exists, the open transaction's own changes included.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        match &self.state {
            State::Implicit(tx) | State::Block(tx) => tx.reader().catalog(),
            State::Idle | State::Failed(_) => self.db.engine().view().catalog.clone(),
        }
    }

    /// Whom the session acts for now; the error is that of a SET which would make it so.
    pub(super) fn identity_in(&self, catalog: &Catalog, settings: &Settings) -> Result<Identity> {
        let (authorization, role) = settings.identity();
        let mut identity = Identity {
            session_user: self.user.clone(),
            session_role: self.login_role,
            user: self.user.clone(),
            role: self.login_role,
        };
        // A session may be called otherwise than its role, and as another one.
        let is_own = |name: &str| {
            let named = catalog.rights().role_named(name);
            name.is_empty() || (name == self.user && named.is_none_or(|role| role.id == self.login_role))
        };
        if let Some(name) = authorization.filter(|name| !is_own(name)) {
            let named = self.known(catalog, name)?;
            if !Actor::new(catalog, self.login_role).is_superuser() {
                return Err(refused("permission denied to set session authorization"));
            }
            identity.session_user.clone_from(&named.name);
            identity.session_role = named.id;
            identity.user.clone_from(&identity.session_user);
            identity.role = named.id;
        }
        if let Some(name) = role.filter(|name| *name != "none") {
            let named = self.known(catalog, name)?;
            if !Actor::new(catalog, identity.session_role).is_member_of(named.id) {
                return Err(refused(format!("permission denied to set role \"{name}\"")));
            }
            identity.user.clone_from(&named.name);
            identity.role = named.id;
        }
        Ok(identity)
    }

    fn known<'a>(&self, catalog: &'a Catalog, name: &str) -> Result<&'a Arc<Role>> {
        catalog
            .rights()
            .role_named(name)
            .ok_or_else(|| SqlError::new(SqlState::InvalidParameterValue, format!("role \"{name}\" does not exist")))
    }

    /// Whom the session acts for; nobody, if that cannot be any more.
    pub(super) fn identity(&self) -> Identity {
        if self.settings.identity() == (None, None) {
            // What nearly every statement finds.
            let (user, role) = (self.user.clone(), self.login_role);
            return Identity { session_user: user.clone(), session_role: role, user, role };
        }
        self.identity_in(&self.catalog(), &self.settings).unwrap_or_else(|_| Identity {
            session_user: self.user.clone(),
            session_role: NOBODY,
            user: String::new(),
            role: NOBODY,
        })
    }

    /// The role that the session acts as.
    pub(super) fn role(&self) -> RoleId {
        match self.settings.identity() {
            (None, None) => self.login_role,
            _ => self.identity().role,
        }
    }

    /// Refuses a statement of a session that cannot act for whom it was told to.
    pub(super) fn check_identity(&self) -> Result<()> {
        if self.settings.identity() != (None, None) {
            self.identity_in(&self.catalog(), &self.settings)?;
        }
        Ok(())
    }

    /// Shows in the settings whether the session acts for a superuser.
    pub(super) fn show_superuser(&mut self) {
        let is_superuser = Actor::new(&self.catalog(), self.role()).is_superuser();
        if self.settings.shows_superuser() != is_superuser {
            let mut settings = Settings::clone(&self.settings);
            settings.show_superuser(is_superuser);
            self.settings = Arc::new(settings);
        }
    }

    /// The role that a statement names, and who it is; PUBLIC is none.
    pub(super) fn named_role(&self, catalog: &Catalog, name: &RoleName) -> Result<Arc<Role>> {
        let of = |id: RoleId, name: &str| catalog.rights().role(id).cloned().ok_or_else(|| no_role(name));
        match name {
            RoleName::Name(name) => catalog.rights().role_named(name).cloned().ok_or_else(|| no_role(name)),
            RoleName::CurrentUser => {
                let identity = self.identity();
                of(identity.role, &identity.user)
            }
            RoleName::SessionUser => {
                let identity = self.identity();
                of(identity.session_role, &identity.session_user)
            }
            RoleName::Public => Err(no_role("public")),
        }
    }
}
