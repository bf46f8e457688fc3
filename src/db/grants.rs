//! GRANT, REVOKE, ALTER DEFAULT PRIVILEGES and changes of owner.

use lodedb_sql::error::Result;
use lodedb_sql::statement::{
    DefaultObjects, DefaultPrivileges, Grant as GrantClause, GrantObjects, ObjectName, Privilege, RoleName,
};
use lodedb_sql::{SqlError, SqlState};

use super::ddl::relation_name;
use super::session::Session;
use crate::auth::grants::{grant, revoke, with_owner};
use crate::auth::privilege::{Actor, denied, refused};
use crate::catalog::rights::{
    Access, DATABASE, DefaultAccess, Grant, ObjectKind, PUBLIC, PUBLIC_SCHEMA, Privileges, RoleId,
};
use crate::catalog::{Catalog, Change};
use crate::query::functions::model_named;

/// Something that privileges are on: what it is, its OID and its name.
type Object = (ObjectKind, u32, String);

impl Session {
    /// GRANT and REVOKE of privileges.
    pub(super) async fn grant(&mut self, clause: &GrantClause) -> Result<()> {
        let catalog = self.changing_rights().await?;
        let grantees = self.grantees(&catalog, &clause.roles, clause.grant_option && !clause.revoke)?;
        for (kind, object, name) in self.granted_objects(&catalog, &clause.objects)? {
            let wanted = wanted(clause.privileges.as_deref(), kind)?;
            // What was changed for an object named before is in it.
            let catalog = self.catalog();
            let current = self.identity().role;
            let actor = Actor::new(&catalog, current);
            let (grantor, may) = actor.grantor(kind, object);
            let allowed = wanted.and(may);
            let verbed = if clause.revoke { "could be revoked" } else { "were granted" };
            let state = if clause.revoke { SqlState::PrivilegeNotRevoked } else { SqlState::PrivilegeNotGranted };
            if allowed.is_empty() {
                if actor.held(kind, object).is_empty() {
                    return Err(denied(kind.word(), &name));
                }
                let message = format!("no privileges {verbed} for \"{name}\"");
                self.notice("WARNING", SqlError::new(state, message));
                continue;
            }
            if allowed != wanted && clause.privileges.is_some() {
                let message = format!("not all privileges {verbed} for \"{name}\"");
                self.notice("WARNING", SqlError::new(state, message));
            }
            let owner = catalog.rights().owner(object);
            let mut grants = match catalog.rights().grants(object) {
                Some(grants) => grants.to_vec(),
                None => kind.default_grants(owner),
            };
            change(&mut grants, owner, grantor, &grantees, allowed, clause)?;
            let access = Access { object, owner, grants: Some(grants) };
            self.transaction()?.change_catalog(Change::PutAccess(access));
        }
        Ok(())
    }

    /// The roles that a clause names, PUBLIC among them.
    fn grantees(&self, catalog: &Catalog, names: &[RoleName], with_option: bool) -> Result<Vec<RoleId>> {
        let of = |name: &RoleName| match name {
            RoleName::Public if with_option => {
                let message = "grant options can only be granted to roles";
                Err(SqlError::new(SqlState::InvalidGrantOperation, message))
            }
            RoleName::Public => Ok(PUBLIC),
            name => Ok(self.named_role(catalog, name)?.id),
        };
        names.iter().map(of).collect()
    }

    fn granted_objects(&self, catalog: &Catalog, objects: &GrantObjects) -> Result<Vec<Object>> {
        match objects {
            GrantObjects::Tables(names) => names.iter().map(|name| relation(catalog, name, false)).collect(),
            GrantObjects::Sequences(names) => names.iter().map(|name| relation(catalog, name, true)).collect(),
            GrantObjects::Schemas(names) => {
                names.iter().map(|name| schema(name).map(|id| (ObjectKind::Schema, id, name.clone()))).collect()
            }
            GrantObjects::Databases(names) => {
                let database = |name: &String| match [&*self.database, "lodedb", "postgres"].contains(&&**name) {
                    true => Ok((ObjectKind::Database, DATABASE, name.clone())),
                    false => {
                        let message = format!("database \"{name}\" does not exist");
                        Err(SqlError::new(SqlState::InvalidCatalogName, message))
                    }
                };
                names.iter().map(database).collect()
            }
            GrantObjects::Models(names) => {
                let of =
                    |name: &String| model_named(catalog, name).map(|model| (ObjectKind::Model, model.id, name.clone()));
                names.iter().map(of).collect()
            }
            GrantObjects::AllTables(schemas) => {
                schemas.iter().try_for_each(|name| schema(name).map(drop))?;
                Ok(catalog.tables().map(|table| (ObjectKind::Table, table.id, table.name.clone())).collect())
            }
            GrantObjects::AllSequences(schemas) => {
                schemas.iter().try_for_each(|name| schema(name).map(drop))?;
                let of = catalog.sequences().map(|one| (ObjectKind::Sequence, one.id, one.name.clone()));
                Ok(of.collect())
            }
        }
    }

    /// ALTER DEFAULT PRIVILEGES.
    pub(super) async fn default_privileges(&mut self, clause: &DefaultPrivileges) -> Result<()> {
        let catalog = self.changing_rights().await?;
        let current = self.identity().role;
        let kind = match clause.objects {
            DefaultObjects::Tables => ObjectKind::Table,
            DefaultObjects::Sequences => ObjectKind::Sequence,
        };
        let schemas = match clause.schemas.is_empty() {
            true => vec![0],
            false => clause.schemas.iter().map(|name| schema(name)).collect::<Result<Vec<_>>>()?,
        };
        let own = [RoleName::CurrentUser];
        let owners = if clause.owners.is_empty() { &own[..] } else { &clause.owners[..] };
        let grantees = self.grantees(&catalog, &clause.roles, clause.grant_option && !clause.revoke)?;
        let privileges = wanted(clause.privileges.as_deref(), kind)?;
        for owner in owners {
            let owner = self.named_role(&catalog, owner)?;
            if !Actor::new(&catalog, current).has_privileges_of(owner.id) {
                return Err(refused(format!("must be member of role \"{}\"", owner.name)));
            }
            for &schema in &schemas {
                let key = (owner.id, schema, kind);
                let catalog = self.catalog();
                let known = catalog.rights().defaults().iter().find(|one| (one.owner, one.schema, one.kind) == key);
                let usual = if schema == 0 { kind.default_grants(owner.id) } else { Vec::new() };
                let mut grants = known.and_then(|one| one.grants.clone()).unwrap_or_else(|| usual.clone());
                for &grantee in &grantees {
                    match clause.revoke {
                        false => grant(&mut grants, grantee, owner.id, privileges, clause.grant_option),
                        true => {
                            revoke(&mut grants, owner.id, grantee, owner.id, privileges, clause.grant_option);
                        }
                    }
                }
                let grants = (grants != usual).then_some(grants);
                let default = DefaultAccess { owner: owner.id, schema, kind, grants };
                self.transaction()?.change_catalog(Change::PutDefault(default));
            }
        }
        Ok(())
    }

    /// OWNER TO, of objects that are the session's own.
    pub(super) async fn give_away(&mut self, objects: &[u32], to: &RoleName) -> Result<()> {
        let catalog = self.lock_rights().await?;
        let current = self.identity().role;
        let (to, actor) = (self.named_role(&catalog, to)?, Actor::new(&catalog, current));
        if !actor.is_superuser() {
            if !actor.is_member_of(to.id) {
                return Err(refused(format!("must be member of role \"{}\"", to.name)));
            }
            Actor::new(&catalog, to.id).check_create()?;
        }
        for &object in objects {
            let owner = catalog.rights().owner(object);
            if owner != to.id {
                let grants = catalog.rights().grants(object).map(|grants| with_owner(grants, owner, to.id));
                let access = Access { object, owner: to.id, grants };
                self.transaction()?.change_catalog(Change::PutAccess(access));
            }
        }
        Ok(())
    }

    /// ALTER SEQUENCE .. OWNER TO.
    pub(super) async fn sequence_owner(&mut self, name: &ObjectName, if_exists: bool, to: &RoleName) -> Result<()> {
        let catalog = self.changing_rights().await?;
        let plain = relation_name(name)?;
        let Some(sequence) = catalog.sequence(plain) else {
            let message = format!("relation \"{plain}\" does not exist");
            if if_exists {
                let message = format!("{message}, skipping");
                self.notice("NOTICE", SqlError::new(SqlState::SuccessfulCompletion, message));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::UndefinedTable, message));
        };
        self.check_owner("sequence", sequence.id, &sequence.name)?;
        if let Some(table) = sequence.owner.and_then(|(table, _)| catalog.table_by_id(table)) {
            let message = format!("cannot change owner of sequence \"{plain}\"");
            return Err(SqlError::new(SqlState::FeatureNotSupported, message)
                .with_detail(format!("Sequence \"{plain}\" is linked to table \"{}\".", table.name)));
        }
        self.give_away(&[sequence.id], to).await
    }
}

/// Grants or revokes, for each of the roles.
fn change(
    grants: &mut Vec<Grant>,
    owner: RoleId,
    grantor: RoleId,
    grantees: &[RoleId],
    privileges: Privileges,
    clause: &GrantClause,
) -> Result<()> {
    for &grantee in grantees {
        if !clause.revoke {
            grant(grants, grantee, grantor, privileges, clause.grant_option);
        } else if revoke(grants, owner, grantee, grantor, privileges, clause.grant_option) && !clause.cascade {
            return Err(SqlError::new(SqlState::DependentObjectsStillExist, "dependent privileges exist")
                .with_hint("Use CASCADE to revoke them too."));
        }
    }
    Ok(())
}

/// The privileges of a clause, all that there are on such an object where it names none.
fn wanted(named: Option<&[Privilege]>, kind: ObjectKind) -> Result<Privileges> {
    let Some(named) = named else { return Ok(kind.all()) };
    let wanted = Privileges::of(named);
    match wanted.without(kind.all()).each().next() {
        None => Ok(wanted),
        Some((_, word)) => {
            let message = format!("invalid privilege type {word} for {}", kind.word());
            Err(SqlError::new(SqlState::InvalidGrantOperation, message))
        }
    }
}

/// The one schema that objects of users are in.
fn schema(name: &str) -> Result<u32> {
    match name {
        "public" => Ok(PUBLIC_SCHEMA),
        "pg_catalog" | "information_schema" => Err(denied("schema", name)),
        _ => Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist"))),
    }
}

/// A table or a sequence, as GRANT names it.
fn relation(catalog: &Catalog, name: &ObjectName, must_be_sequence: bool) -> Result<Object> {
    let name = relation_name(name)?;
    if let Some(sequence) = catalog.sequence(name) {
        return Ok((ObjectKind::Sequence, sequence.id, name.to_owned()));
    }
    let wrong = |what: &str| SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" {what}"));
    match catalog.table(name) {
        Some(_) if must_be_sequence => Err(wrong("is not a sequence")),
        Some(table) => Ok((ObjectKind::Table, table.id, name.to_owned())),
        None if catalog.index(name).is_some() => Err(wrong("is an index")),
        None => Err(SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))),
    }
}
