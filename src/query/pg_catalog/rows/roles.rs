//! Roles, who is a member of which, and what was granted on what.

use lodedb_sql::Datum;
use lodedb_sql::error::Result;

use crate::auth::grants::shown;
use crate::catalog::rights::{Grant, ObjectKind, PUBLIC, Privileges, Role};
use crate::query::functions::Scope;
use crate::query::pg_catalog::names::quote_identifier;
use crate::query::pg_catalog::table::{Rows, letter, oid_array, text, text_array, yes_or_no};

/// The grants on an object, as an access list; NULL where they are the usual ones.
pub(super) fn grants(scope: &Scope, object: u32) -> Datum {
    match scope.catalog.rights().grants(object) {
        Some(grants) => access_list(scope, grants),
        None => Datum::Null,
    }
}

fn access_list(scope: &Scope, grants: &[Grant]) -> Datum {
    let rights = scope.catalog.rights();
    text_array(grants.iter().map(|grant| shown(rights, grant, quote_identifier)))
}

/// The name a role is shown under.
fn name(scope: &Scope, role: &Role) -> Datum {
    text(scope.role_name(role.id).unwrap_or_default())
}

fn valid_until(role: &Role) -> Datum {
    role.valid_until_us.map_or(Datum::Null, Datum::Timestamptz)
}

fn connection_limit(role: &Role) -> Datum {
    Datum::Int4(role.connection_limit.map_or(-1, |limit| i32::try_from(limit).unwrap_or(i32::MAX)))
}

fn verifier(role: &Role) -> Datum {
    role.verifier.clone().map_or(Datum::Null, Datum::Text)
}

/// `pg_authid`, which only superusers read.
pub(super) fn authids(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for role in scope.catalog.rights().roles() {
        rows.push([
            ("oid", Datum::Oid(role.id)),
            ("rolname", name(scope, role)),
            ("rolsuper", Datum::Bool(role.is_superuser)),
            ("rolinherit", Datum::Bool(role.inherits)),
            ("rolcreaterole", Datum::Bool(role.creates_roles)),
            ("rolcreatedb", Datum::Bool(role.creates_databases)),
            ("rolcanlogin", Datum::Bool(role.can_login)),
            ("rolreplication", Datum::Bool(false)),
            ("rolbypassrls", Datum::Bool(role.is_superuser)),
            ("rolconnlimit", connection_limit(role)),
            ("rolpassword", verifier(role)),
            ("rolvaliduntil", valid_until(role)),
        ])?;
    }
    Ok(())
}

/// `pg_roles`.
pub(super) fn roles(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for role in scope.catalog.rights().roles() {
        rows.push([
            ("rolname", name(scope, role)),
            ("rolsuper", Datum::Bool(role.is_superuser)),
            ("rolinherit", Datum::Bool(role.inherits)),
            ("rolcreaterole", Datum::Bool(role.creates_roles)),
            ("rolcreatedb", Datum::Bool(role.creates_databases)),
            ("rolcanlogin", Datum::Bool(role.can_login)),
            ("rolreplication", Datum::Bool(false)),
            ("rolconnlimit", connection_limit(role)),
            ("rolpassword", text("********")),
            ("rolvaliduntil", valid_until(role)),
            ("rolbypassrls", Datum::Bool(role.is_superuser)),
            ("oid", Datum::Oid(role.id)),
        ])?;
    }
    Ok(())
}

fn push_user(scope: &Scope, rows: &mut Rows, role: &Role, password: Datum) -> Result<()> {
    rows.push([
        ("usename", name(scope, role)),
        ("usesysid", Datum::Oid(role.id)),
        ("usecreatedb", Datum::Bool(role.creates_databases)),
        ("usesuper", Datum::Bool(role.is_superuser)),
        ("userepl", Datum::Bool(false)),
        ("usebypassrls", Datum::Bool(role.is_superuser)),
        ("passwd", password),
        ("valuntil", valid_until(role)),
    ])
}

/// `pg_user`: the roles that may log in.
pub(super) fn users(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let mut users = scope.catalog.rights().roles().filter(|role| role.can_login);
    users.try_for_each(|role| push_user(scope, rows, role, text("********")))
}

/// `pg_shadow`, which only superusers read.
pub(super) fn shadows(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let mut users = scope.catalog.rights().roles().filter(|role| role.can_login);
    users.try_for_each(|role| push_user(scope, rows, role, verifier(role)))
}

/// `pg_group`: the roles that may not log in, with their members.
pub(super) fn groups(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let rights = scope.catalog.rights();
    for group in rights.roles().filter(|role| !role.can_login) {
        let is_member = |role: &&std::sync::Arc<Role>| role.member_of.iter().any(|of| of.role == group.id);
        let members = rights.roles().filter(is_member).map(|role| role.id);
        rows.push([
            ("groname", name(scope, group)),
            ("grosysid", Datum::Oid(group.id)),
            ("grolist", oid_array(members)),
        ])?;
    }
    Ok(())
}

/// `pg_auth_members`.
pub(super) fn members(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for role in scope.catalog.rights().roles() {
        for membership in &role.member_of {
            rows.push([
                ("roleid", Datum::Oid(membership.role)),
                ("member", Datum::Oid(role.id)),
                ("grantor", Datum::Oid(membership.grantor)),
                ("admin_option", Datum::Bool(membership.admin)),
            ])?;
        }
    }
    Ok(())
}

/// `pg_default_acl`.
pub(super) fn defaults(scope: &Scope, rows: &mut Rows) -> Result<()> {
    for (number, default) in scope.catalog.rights().defaults().iter().enumerate() {
        rows.push([
            // They have no OID of their own here.
            ("oid", Datum::Oid(number as u32 + 1)),
            ("defaclrole", Datum::Oid(default.owner)),
            ("defaclnamespace", Datum::Oid(default.schema)),
            ("defaclobjtype", letter(if default.kind == ObjectKind::Sequence { 'S' } else { 'r' })),
            ("defaclacl", access_list(scope, default.grants.as_deref().unwrap_or_default())),
        ])?;
    }
    Ok(())
}

/// `pg_stat_ssl`: of one's own sessions, unless one may see all.
pub(super) fn encryption(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let Some(server) = &scope.hooks.server else { return Ok(()) };
    let actor = scope.actor();
    let sees_all = actor.has_privileges_of(crate::catalog::rights::predefined::READ_ALL_STATS);
    for session in server.sessions() {
        if !sees_all && !actor.has_privileges_of(session.role) {
            continue;
        }
        let part = |value: Option<Datum>| value.unwrap_or(Datum::Null);
        let encryption = session.encryption;
        rows.push([
            ("pid", Datum::Int4(session.session)),
            ("ssl", Datum::Bool(encryption.is_some())),
            ("version", part(encryption.as_ref().map(|(version, ..)| text(version)))),
            ("cipher", part(encryption.as_ref().map(|(_, cipher, _)| text(cipher)))),
            ("bits", part(encryption.as_ref().map(|(.., bits)| Datum::Int4(*bits)))),
        ])?;
    }
    Ok(())
}

/// `information_schema.enabled_roles`: those whose privileges one has.
pub(super) fn enabled(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let actor = scope.actor();
    let mut roles = scope.catalog.rights().roles().filter(|role| actor.has_privileges_of(role.id));
    roles.try_for_each(|role| rows.push([("role_name", name(scope, role))]))
}

/// `information_schema.applicable_roles`: those that these are members of.
pub(super) fn applicable(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let (actor, rights) = (scope.actor(), scope.catalog.rights());
    for role in rights.roles().filter(|role| actor.has_privileges_of(role.id)) {
        for membership in &role.member_of {
            let Some(of) = rights.role(membership.role) else { continue };
            rows.push([
                ("grantee", name(scope, role)),
                ("role_name", name(scope, of)),
                ("is_grantable", yes_or_no(membership.admin)),
            ])?;
        }
    }
    Ok(())
}

/// `information_schema.table_privileges`: what one gave or was given.
pub(super) fn table_privileges(scope: &Scope, rows: &mut Rows) -> Result<()> {
    let (actor, rights) = (scope.actor(), scope.catalog.rights());
    let named = |role: u32| match role {
        PUBLIC => text("PUBLIC"),
        role => text(scope.role_name(role).unwrap_or_default()),
    };
    for table in scope.catalog.tables() {
        let owner = rights.owner(table.id);
        let usual = ObjectKind::Table.default_grants(owner);
        for grant in rights.grants(table.id).unwrap_or(&usual) {
            let concerns = |role: u32| role == PUBLIC || actor.has_privileges_of(role);
            if !concerns(grant.grantee) && !concerns(grant.grantor) {
                continue;
            }
            for (_, word) in grant.privileges.each() {
                let is_grantable = grant.grantee == owner
                    || Privileges::named(word).is_some_and(|privilege| grant.grantable.contains(privilege));
                rows.push([
                    ("grantor", named(grant.grantor)),
                    ("grantee", named(grant.grantee)),
                    ("table_catalog", text(&scope.environment.database)),
                    ("table_schema", text("public")),
                    ("table_name", text(&table.name)),
                    ("privilege_type", text(word)),
                    ("is_grantable", yes_or_no(is_grantable)),
                    ("with_hierarchy", yes_or_no(word == "SELECT")),
                ])?;
            }
        }
    }
    Ok(())
}
