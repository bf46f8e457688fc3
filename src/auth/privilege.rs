//! What a role may do: the one place that decides it, with PostgreSQL's words for a refusal.
//!
//! Asked by a session's statements ([`crate::db`]), by plans before they run ([`crate::query`]) and by functions. A superuser
//! may do everything, which is seen first and costs one look-up; everybody else needs to own something, to hold a privilege on
//! it, or to be a member of a role that does and inherit from it.

use lodedb_sql::error::Result;
use lodedb_sql::statement::Privilege;
use lodedb_sql::{SqlError, SqlState};

use crate::catalog::rights::{
    DATABASE, Grant, ObjectKind, PUBLIC, PUBLIC_SCHEMA, Privileges, Rights, Role, RoleId, predefined,
};
use crate::catalog::{Catalog, Column, Identity, Model, Sequence, Table};

/// A role, and what exists.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    catalog: &'a Catalog,
    /// The role.
    pub role: RoleId,
}

/// `42501`: a privilege is missing.
pub fn denied(what: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, format!("permission denied for {what} {name}"))
}

/// `42501`, in these words.
pub fn refused(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, message)
}

const SELECT: Privileges = Privileges::of(&[Privilege::Select]);
const USAGE: Privileges = Privileges::of(&[Privilege::Usage]);
const WRITE: Privileges = Privileges::of(&[Privilege::Insert, Privilege::Update, Privilege::Delete]);

impl<'a> Actor<'a> {
    /// A role, before what exists now.
    pub fn new(catalog: &'a Catalog, role: RoleId) -> Self {
        Self { catalog, role }
    }

    fn rights(&self) -> &'a Rights {
        self.catalog.rights()
    }

    fn definition(&self) -> Option<&'a Role> {
        self.rights().role(self.role).map(AsRef::as_ref)
    }

    /// Whether it may do everything.
    pub fn is_superuser(&self) -> bool {
        self.definition().is_some_and(|role| role.is_superuser)
    }

    /// The roles it is a member of, itself included; those whose privileges it has without SET ROLE, if it `inherits`.
    fn roles(&self, inherits: bool) -> Vec<RoleId> {
        let mut roles = vec![self.role];
        let mut next = 0;
        while let Some(&role) = roles.get(next) {
            next += 1;
            let Some(role) = self.rights().role(role) else { continue };
            if inherits && !role.inherits {
                continue;
            }
            for membership in &role.member_of {
                if !roles.contains(&membership.role) {
                    roles.push(membership.role);
                }
            }
        }
        roles
    }

    /// Whether it has the privileges of another.
    pub fn has_privileges_of(&self, role: RoleId) -> bool {
        self.is_superuser() || self.roles(true).contains(&role)
    }

    /// Whether it may become another.
    pub fn is_member_of(&self, role: RoleId) -> bool {
        self.is_superuser() || self.roles(false).contains(&role)
    }

    /// As [`Self::is_member_of`], and a superuser only where it was made one.
    pub fn is_made_member_of(&self, role: RoleId) -> bool {
        self.roles(false).contains(&role)
    }

    /// Whether it may make others members of a role.
    pub fn is_admin_of(&self, role: RoleId) -> bool {
        let is_admin = |of: RoleId| {
            let of = self.rights().role(of);
            of.is_some_and(|of| of.member_of.iter().any(|membership| membership.role == role && membership.admin))
        };
        self.is_superuser() || self.roles(true).into_iter().any(is_admin)
    }

    /// Whether a role is, or can become, one that only superusers may touch: a superuser, or one with a predefined role.
    pub fn reaches_beyond_grants(&self, role: RoleId) -> bool {
        let reached = Actor { catalog: self.catalog, role }.roles(false);
        reached.into_iter().any(|role| {
            crate::catalog::rights::is_built_in(role) || self.rights().role(role).is_some_and(|role| role.is_superuser)
        })
    }

    /// Whether it may manage a role: CREATEROLE does for those that reach no further than grants.
    pub fn manages(&self, role: RoleId) -> bool {
        let creates = self.definition().is_some_and(|role| role.creates_roles);
        self.is_superuser() || (creates && !self.reaches_beyond_grants(role))
    }

    /// Whether it may create roles.
    pub fn creates_roles(&self) -> bool {
        self.definition().is_some_and(|role| role.is_superuser || role.creates_roles)
    }

    /// Whether an object is its own.
    pub fn owns(&self, object: u32) -> bool {
        self.has_privileges_of(self.rights().owner(object))
    }

    /// The privileges it has on an object.
    pub fn held(&self, kind: ObjectKind, object: u32) -> Privileges {
        if self.is_superuser() {
            return kind.all();
        }
        if self.definition().is_none() && self.role != PUBLIC {
            return Privileges::NONE;
        }
        let roles = self.roles(true);
        let owner = self.rights().owner(object);
        let granted = match self.rights().grants(object) {
            Some(grants) => sum(grants, &roles),
            None => sum(&kind.default_grants(owner), &roles),
        };
        let with = |role: RoleId, privileges: Privileges| {
            if roles.contains(&role) { privileges } else { Privileges::NONE }
        };
        let (read, write) = match kind {
            ObjectKind::Table => (SELECT, WRITE),
            ObjectKind::Sequence => (SELECT, WRITE.and(kind.all())),
            ObjectKind::Schema => (USAGE, USAGE),
            ObjectKind::Database | ObjectKind::Model => (Privileges::NONE, Privileges::NONE),
        };
        granted.or(with(predefined::READ_ALL_DATA, read)).or(with(predefined::WRITE_ALL_DATA, write))
    }

    /// Under whose name it grants privileges on an object, and which it may.
    pub fn grantor(&self, kind: ObjectKind, object: u32) -> (RoleId, Privileges) {
        let owner = self.rights().owner(object);
        if self.has_privileges_of(owner) {
            return (owner, kind.all());
        }
        let grants = self.rights().grants(object).unwrap_or_default();
        let of = |role: RoleId| {
            let own = grants.iter().filter(|grant| grant.grantee == role);
            own.fold(Privileges::NONE, |all, grant| all.or(grant.grantable))
        };
        let found = self.roles(true).into_iter().map(|role| (role, of(role))).find(|(_, may)| !may.is_empty());
        found.unwrap_or((self.role, Privileges::NONE))
    }

    /// `42501` unless names of the schema may be used at all.
    fn check_schema(&self) -> Result<()> {
        match self.held(ObjectKind::Schema, PUBLIC_SCHEMA).contains(USAGE) {
            true => Ok(()),
            false => Err(denied("schema", "public")),
        }
    }

    /// `42501` unless it may make something in the schema.
    pub fn check_create(&self) -> Result<()> {
        let needed = Privileges::of(&[Privilege::Create]);
        match self.held(ObjectKind::Schema, PUBLIC_SCHEMA).contains(needed) {
            true => Ok(()),
            false => Err(denied("schema", "public")),
        }
    }

    /// `42501` unless it may connect.
    pub fn check_connect(&self, database: &str) -> Result<()> {
        let needed = Privileges::of(&[Privilege::Connect]);
        match self.held(ObjectKind::Database, DATABASE).contains(needed) {
            true => Ok(()),
            false => {
                Err(denied("database", &format!("\"{database}\"")).with_detail("User does not have CONNECT privilege."))
            }
        }
    }

    /// `42501` unless it has all of these privileges on a table.
    pub fn check_table(&self, table: &Table, needed: Privileges) -> Result<()> {
        if self.is_superuser() {
            return Ok(());
        }
        self.check_schema()?;
        match self.held(ObjectKind::Table, table.id).contains(needed) {
            true => Ok(()),
            false => Err(denied("table", &table.name)),
        }
    }

    /// `42501` unless it has one of these privileges on a table.
    pub fn check_table_any(&self, table: &Table, needed: Privileges) -> Result<()> {
        if self.is_superuser() {
            return Ok(());
        }
        self.check_schema()?;
        match self.held(ObjectKind::Table, table.id).and(needed).is_empty() {
            false => Ok(()),
            true => Err(denied("table", &table.name)),
        }
    }

    /// `42501` unless a table is its own.
    pub fn check_table_owner(&self, table: &Table) -> Result<()> {
        self.check_owner("table", table.id, &table.name)
    }

    /// `42501` unless an object is its own; an index is its table's owner's.
    pub fn check_owner(&self, what: &str, object: u32, name: &str) -> Result<()> {
        match self.owns(object) {
            true => Ok(()),
            false => Err(refused(format!("must be owner of {what} {name}"))),
        }
    }

    /// `42501` unless it may have things embedded by a model.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        match self.held(ObjectKind::Model, model.id).contains(USAGE) {
            true => Ok(()),
            false => Err(denied("model", &model.name)),
        }
    }

    /// `42501` unless it has one of these privileges on a sequence. The sequence of an identity column moves for whoever may
    /// insert into its table.
    pub fn check_sequence(&self, sequence: &Sequence, needed: Privileges) -> Result<()> {
        if self.is_superuser() {
            return Ok(());
        }
        self.check_schema()?;
        if !self.held(ObjectKind::Sequence, sequence.id).and(needed).is_empty() {
            return Ok(());
        }
        let identity_of = sequence.owner.and_then(|(table, column)| {
            let table = self.catalog.table_by_id(table)?;
            let is_identity = |column: &Column| matches!(column.identity, Some(Identity::Always | Identity::ByDefault));
            table.columns.get(column as usize - 1).filter(|column| is_identity(column)).map(|_| table.id)
        });
        let insert = Privileges::of(&[Privilege::Insert]);
        match identity_of {
            Some(table) if needed.contains(USAGE) && self.held(ObjectKind::Table, table).contains(insert) => Ok(()),
            _ => Err(denied("sequence", &sequence.name)),
        }
    }

    /// `42501` unless it may end what a session of another role does.
    pub fn check_signal(&self, other: RoleId, terminate: bool) -> Result<()> {
        if self.is_superuser() {
            return Ok(());
        }
        let (verb, verbed) = if terminate { ("terminate", "terminated") } else { ("cancel", "canceled") };
        let what = if terminate { "process" } else { "query" };
        if (Actor { catalog: self.catalog, role: other }).is_superuser() {
            return Err(refused(format!("must be a superuser to {verb} superuser {what}")));
        }
        match self.has_privileges_of(other) || self.has_privileges_of(predefined::SIGNAL_BACKEND) {
            true => Ok(()),
            false => Err(refused(format!(
                "must be a member of the role whose {what} is being {verbed} or member of pg_signal_backend"
            ))),
        }
    }

    /// The name of a role, as it is shown.
    pub fn name(&self) -> Option<&'a str> {
        self.definition().map(|role| &*role.name)
    }
}

/// What grants give to these roles and to everybody.
fn sum(grants: &[Grant], roles: &[RoleId]) -> Privileges {
    let theirs = grants.iter().filter(|grant| grant.grantee == PUBLIC || roles.contains(&grant.grantee));
    theirs.fold(Privileges::NONE, |all, grant| all.or(grant.privileges))
}

#[cfg(test)]
mod tests;
