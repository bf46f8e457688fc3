//! CREATE, ALTER, DROP and GRANT of roles. They change the catalog in the transaction, as every definition does.

use std::sync::Arc;

use lodedb_sql::cast::CastEnvironment;
use lodedb_sql::error::Result;
use lodedb_sql::statement::{GrantRole, RoleName, RoleOptions};
use lodedb_sql::text::parse_text_in;
use lodedb_sql::{Datum, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::clock::now_us;
use super::identity::no_role;
use super::session::Session;
use crate::auth::privilege::{Actor, refused};
use crate::auth::verifier::Verifier;
use crate::catalog::rights::{BOOTSTRAP, DATABASE, Grant, Membership, Role, is_built_in};
use crate::catalog::{Catalog, Change};

/// The name that whoever changes roles or grants locks, so that one does at a time; no relation can have it.
const ROLES: &str = "\0roles";

impl Session {
    /// Begins a statement that changes roles or grants; gives what exists now.
    pub(super) async fn changing_rights(&mut self) -> Result<Arc<Catalog>> {
        self.transaction()?.start_statement();
        self.lock_rights().await
    }

    /// As [`Self::changing_rights`], as a part of the statement under way.
    pub(super) async fn lock_rights(&mut self) -> Result<Arc<Catalog>> {
        let tx = self.transaction()?;
        tx.lock_name(ROLES).await?;
        Ok(tx.reader().catalog())
    }

    /// CREATE ROLE.
    pub(super) async fn create_role(&mut self, name: &str, options: &RoleOptions) -> Result<()> {
        let catalog = self.changing_rights().await?;
        let role = self.identity().role;
        let actor = Actor::new(&catalog, role);
        if !actor.creates_roles() {
            return Err(refused("permission denied to create role"));
        }
        if options.superuser == Some(true) && !actor.is_superuser() {
            return Err(refused("must be superuser to create superusers"));
        }
        if catalog.rights().role_named(name).is_some() {
            return Err(SqlError::new(SqlState::DuplicateObject, format!("role \"{name}\" already exists")));
        }
        let id = self.engine().next_oid();
        let mut made = Role { id, name: name.to_owned(), inherits: true, ..Role::default() };
        self.set_options(&mut made, options)?;
        self.transaction()?.change_catalog(Change::PutRole(made));
        let own = RoleName::Name(name.to_owned());
        for of in &options.in_roles {
            let catalog = self.catalog();
            let of = self.named_role(&catalog, of)?;
            self.make_member(&of.name, &own, false)?;
        }
        for (members, admin) in [(&options.members, false), (&options.admins, true)] {
            members.iter().try_for_each(|member| self.make_member(name, member, admin))?;
        }
        Ok(())
    }

    /// ALTER ROLE.
    pub(super) async fn alter_role(&mut self, name: &RoleName, options: &RoleOptions) -> Result<()> {
        let catalog = self.changing_rights().await?;
        let role = self.named_role(&catalog, name)?;
        let current = self.identity().role;
        let actor = Actor::new(&catalog, current);
        check_not_reserved(&role)?;
        if (role.is_superuser || options.superuser.is_some()) && !actor.is_superuser() {
            let message = "must be superuser to alter superuser roles or change superuser attribute";
            return Err(refused(message));
        }
        let only_password = *options == RoleOptions { password: options.password.clone(), ..RoleOptions::default() };
        if !(actor.manages(role.id) || (only_password && role.id == current)) {
            return Err(refused("permission denied"));
        }
        if role.id == BOOTSTRAP && options.superuser == Some(false) {
            return Err(SqlError::unsupported(format!("taking SUPERUSER from {}", role.name)));
        }
        let mut next = Role::clone(&role);
        self.set_options(&mut next, options)?;
        self.transaction()?.change_catalog(Change::PutRole(next));
        self.show_superuser();
        Ok(())
    }

    /// ALTER ROLE .. RENAME TO.
    pub(super) async fn rename_role(&mut self, name: &RoleName, to: &str) -> Result<()> {
        let catalog = self.changing_rights().await?;
        let role = self.named_role(&catalog, name)?;
        let identity = self.identity();
        let actor = Actor::new(&catalog, identity.role);
        check_not_reserved(&role)?;
        if role.is_superuser && !actor.is_superuser() {
            return Err(refused("must be superuser to rename superusers"));
        }
        if !actor.manages(role.id) {
            return Err(refused("permission denied to rename role"));
        }
        if role.id == identity.session_role || role.id == self.login_role {
            return Err(SqlError::new(SqlState::FeatureNotSupported, "session user cannot be renamed"));
        }
        if role.id == identity.role {
            return Err(SqlError::new(SqlState::FeatureNotSupported, "current user cannot be renamed"));
        }
        if catalog.rights().role_named(to).is_some() {
            return Err(SqlError::new(SqlState::DuplicateObject, format!("role \"{to}\" already exists")));
        }
        let next = Role { name: to.to_owned(), ..Role::clone(&role) };
        self.transaction()?.change_catalog(Change::PutRole(next));
        Ok(())
    }

    /// DROP ROLE.
    pub(super) async fn drop_roles(&mut self, names: &[RoleName], if_exists: bool) -> Result<()> {
        let catalog = self.changing_rights().await?;
        let identity = self.identity();
        if !Actor::new(&catalog, identity.role).creates_roles() {
            return Err(refused("permission denied to drop role"));
        }
        for name in names {
            let catalog = self.catalog();
            let actor = Actor::new(&catalog, identity.role);
            let role = match self.named_role(&catalog, name) {
                Ok(role) => role,
                Err(error) if if_exists => {
                    let message = format!("{}, skipping", error.message());
                    self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, message));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if role.id == identity.role {
                return Err(SqlError::new(SqlState::ObjectInUse, "current user cannot be dropped"));
            }
            if role.id == identity.session_role || role.id == self.login_role {
                return Err(SqlError::new(SqlState::ObjectInUse, "session user cannot be dropped"));
            }
            if is_built_in(role.id) {
                let message = format!("cannot drop role {} because it is required by the database system", role.name);
                return Err(SqlError::new(SqlState::DependentObjectsStillExist, message));
            }
            if role.is_superuser && !actor.is_superuser() {
                return Err(refused("must be superuser to drop superusers"));
            }
            if !actor.manages(role.id) {
                return Err(refused("permission denied to drop role"));
            }
            check_independent(&catalog, &role)?;
            let tx = self.transaction()?;
            for member in catalog.rights().roles() {
                if member.member_of.iter().any(|membership| membership.role == role.id) {
                    let mut next = Role::clone(member);
                    next.member_of.retain(|membership| membership.role != role.id);
                    tx.change_catalog(Change::PutRole(next));
                }
            }
            tx.change_catalog(Change::DropRole(role.id));
        }
        Ok(())
    }

    /// GRANT or REVOKE of membership.
    pub(super) async fn grant_roles(&mut self, grant: &GrantRole) -> Result<()> {
        self.changing_rights().await?;
        for role in &grant.roles {
            for member in &grant.members {
                match grant.revoke {
                    false => self.make_member(role, member, grant.admin_option)?,
                    true => self.end_member(role, member, grant.admin_option)?,
                }
            }
        }
        Ok(())
    }

    /// Refuses whoever may not say who the members of a role are.
    fn check_admin(&self, catalog: &Catalog, role: &Role) -> Result<()> {
        let current = self.identity().role;
        let actor = Actor::new(catalog, current);
        if role.is_superuser && !actor.is_superuser() {
            return Err(refused("must be superuser to alter superusers"));
        }
        match actor.manages(role.id) || actor.is_admin_of(role.id) {
            true => Ok(()),
            false => Err(refused(format!("must have admin option on role \"{}\"", role.name))),
        }
    }

    fn make_member(&mut self, role: &str, member: &RoleName, admin: bool) -> Result<()> {
        let catalog = self.catalog();
        let role = catalog.rights().role_named(role).cloned().ok_or_else(|| no_role(role))?;
        let member = self.named_role(&catalog, member)?;
        self.check_admin(&catalog, &role)?;
        if Actor::new(&catalog, role.id).is_made_member_of(member.id) {
            let message = format!("role \"{}\" is a member of role \"{}\"", role.name, member.name);
            return Err(SqlError::new(SqlState::InvalidGrantOperation, message));
        }
        let grantor = self.identity().role;
        let mut next = Role::clone(&member);
        match next.member_of.iter_mut().find(|membership| membership.role == role.id) {
            Some(known) if known.admin || !admin => {
                let message = format!("role \"{}\" is already a member of role \"{}\"", member.name, role.name);
                self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, message));
                return Ok(());
            }
            Some(known) => known.admin = true,
            None => next.member_of.push(Membership { role: role.id, grantor, admin }),
        }
        self.transaction()?.change_catalog(Change::PutRole(next));
        Ok(())
    }

    fn end_member(&mut self, role: &str, member: &RoleName, admin_only: bool) -> Result<()> {
        let catalog = self.catalog();
        let role = catalog.rights().role_named(role).cloned().ok_or_else(|| no_role(role))?;
        let member = self.named_role(&catalog, member)?;
        self.check_admin(&catalog, &role)?;
        let mut next = Role::clone(&member);
        let Some(at) = next.member_of.iter().position(|membership| membership.role == role.id) else {
            let message = format!("role \"{}\" is not a member of role \"{}\"", member.name, role.name);
            self.notice("WARNING", SqlError::new(SqlState::Warning, message));
            return Ok(());
        };
        if admin_only {
            next.member_of[at].admin = false;
        } else {
            next.member_of.remove(at);
        }
        self.transaction()?.change_catalog(Change::PutRole(next));
        Ok(())
    }

    /// Sets what is written of a role, and leaves the rest.
    fn set_options(&mut self, role: &mut Role, options: &RoleOptions) -> Result<()> {
        role.is_superuser = options.superuser.unwrap_or(role.is_superuser);
        role.inherits = options.inherit.unwrap_or(role.inherits);
        role.creates_roles = options.create_role.unwrap_or(role.creates_roles);
        role.creates_databases = options.create_db.unwrap_or(role.creates_databases);
        role.can_login = options.login.unwrap_or(role.can_login);
        match options.connection_limit {
            None => {}
            Some(-1) => role.connection_limit = None,
            Some(limit) => {
                let limit = u32::try_from(limit).map_err(|_| {
                    SqlError::new(SqlState::InvalidParameterValue, format!("invalid connection limit: {limit}"))
                })?;
                role.connection_limit = Some(limit);
            }
        }
        match &options.password {
            None => {}
            Some(None) => role.verifier = None,
            Some(Some(password)) if password.reveal().is_empty() => {
                role.verifier = None;
                let message = "empty string is not a valid password, clearing password";
                self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, message));
            }
            Some(Some(password)) => role.verifier = Some(Verifier::of_password(password.reveal())?.to_string()),
        }
        if let Some(text) = &options.valid_until {
            let ty = TypeWithModifier::plain(ScalarType::Timestamptz);
            let environment = CastEnvironment { zone: self.zone(), now_us: now_us() };
            role.valid_until_us = match parse_text_in(text, ty, &environment)? {
                Datum::Timestamptz(us) if us < i64::MAX => Some(us),
                _ => None,
            };
        }
        Ok(())
    }
}

/// Refuses a change of a role that stands for something the server knows.
fn check_not_reserved(role: &Role) -> Result<()> {
    if !role.name.starts_with("pg_") {
        return Ok(());
    }
    Err(SqlError::new(SqlState::ReservedName, format!("role name \"{}\" is reserved", role.name))
        .with_detail("Cannot alter reserved roles."))
}

/// Refuses to drop a role that something depends on.
fn check_independent(catalog: &Catalog, role: &Role) -> Result<()> {
    let mut details = Vec::new();
    for access in catalog.rights().access() {
        let shown = if let Some(table) = catalog.table_by_id(access.object) {
            format!("table {}", table.name)
        } else if let Some(sequence) = catalog.sequence_by_id(access.object) {
            format!("sequence {}", sequence.name)
        } else if let Some(model) = catalog.models().find(|model| model.id == access.object) {
            format!("model {}", model.name)
        } else if access.object == DATABASE {
            "the database".to_owned()
        } else {
            "schema public".to_owned()
        };
        let is_named = |grant: &Grant| grant.grantee == role.id || grant.grantor == role.id;
        if access.owner == role.id {
            details.push(format!("owner of {shown}"));
        } else if access.grants.iter().flatten().any(is_named) {
            details.push(format!("privileges for {shown}"));
        }
    }
    for default in catalog.rights().defaults() {
        if default.owner == role.id || default.grants.iter().flatten().any(|grant| grant.grantee == role.id) {
            details.push(format!("default privileges on {}s", default.kind.word()));
        }
    }
    if details.is_empty() {
        return Ok(());
    }
    let message = format!("role \"{}\" cannot be dropped because some objects depend on it", role.name);
    Err(SqlError::new(SqlState::DependentObjectsStillExist, message).with_detail(details.join("\n")))
}
