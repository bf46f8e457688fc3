//! Functions that ask what a role may do: `has_table_privilege` and its like, and `pg_has_role`.

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, ScalarType, SqlError, SqlState};

use super::definition::{Call, Definition, function};
use super::scope::Scope;
use super::system::object_named;
use super::types::*;
use crate::auth::privilege::Actor;
use crate::catalog::rights::{DATABASE, ObjectKind, PUBLIC, PUBLIC_SCHEMA, Privileges, RoleId};
use crate::query::pg_catalog::{names, relations};

/// A role by its name or its number.
fn role(scope: &Scope, datum: &Datum) -> Result<RoleId> {
    let Datum::Text(name) = datum else { return Ok(number(datum)) };
    if name == "public" {
        return Ok(PUBLIC);
    }
    if *name == scope.environment.login.1 {
        return Ok(scope.environment.login.0);
    }
    scope
        .catalog
        .rights()
        .role_named(name)
        .map(|role| role.id)
        .ok_or_else(|| SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")))
}

fn number(datum: &Datum) -> u32 {
    match datum {
        Datum::Oid(oid) => *oid,
        Datum::Int4(number) => u32::try_from(*number).unwrap_or(0),
        Datum::Int8(number) => u32::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

/// The role that is asked about, the session's own where none is given, and the rest of the arguments.
fn asked<'c, 'a>(call: &'c Call<'_>, args: &'a [Datum], rest: usize) -> Result<(Actor<'c>, &'a [Datum])> {
    let scope = call.scope()?;
    match args.split_at_checked(args.len().saturating_sub(rest)) {
        Some(([who], rest)) => Ok((Actor::new(&scope.catalog, role(scope, who)?), rest)),
        _ => Ok((scope.actor(), args)),
    }
}

/// What a list of privileges asks: each of them, and whether it may be granted on.
fn listed(kind: ObjectKind, datum: &Datum) -> Result<Vec<(Privileges, bool)>> {
    let Datum::Text(list) = datum else { return Ok(Vec::new()) };
    let read = |item: &str| {
        let item = item.trim();
        let upper = item.to_ascii_uppercase();
        let (name, option) = match upper.strip_suffix("WITH GRANT OPTION") {
            Some(name) => (name.trim_end(), true),
            None => (&*upper, false),
        };
        let found = Privileges::named(name).filter(|privilege| kind.all().contains(*privilege));
        let unknown =
            || SqlError::new(SqlState::InvalidParameterValue, format!("unrecognized privilege type: \"{item}\""));
        found.map(|privilege| (privilege, option)).ok_or_else(unknown)
    };
    list.split(',').map(read).collect()
}

/// Whether a role has one of the privileges of a list on an object.
fn has(actor: &Actor<'_>, kind: ObjectKind, object: u32, list: &Datum) -> Result<Datum> {
    let (held, (_, grantable)) = (actor.held(kind, object), actor.grantor(kind, object));
    let has = |(privilege, option): (Privileges, bool)| if option { grantable } else { held }.contains(privilege);
    Ok(Datum::Bool(listed(kind, list)?.into_iter().any(has)))
}

fn on_relation(call: &Call<'_>, args: &[Datum], kind: ObjectKind) -> Result<Datum> {
    let (actor, rest) = asked(call, args, 2)?;
    relation(call, &actor, &rest[0], &rest[1], kind)
}

fn relation(call: &Call<'_>, actor: &Actor<'_>, relation: &Datum, list: &Datum, kind: ObjectKind) -> Result<Datum> {
    let catalog = &call.scope()?.catalog;
    let object = match relation {
        Datum::Text(name) => object_named(Some(catalog), name, ScalarType::Regclass)?,
        other => number(other),
    };
    if let Some(system) = relations::by_oid(object) {
        let select = Privileges::named("SELECT").unwrap_or_default();
        let wanted = listed(kind, list)?;
        let reads = wanted.iter().any(|(privilege, option)| *privilege == select && !option);
        return Ok(Datum::Bool(actor.is_superuser() || (reads && !relations::is_secret(system))));
    }
    match names::own_relation(catalog, object) {
        Some(('S', _)) if kind == ObjectKind::Table => {
            // A sequence is a relation too; what it has not, nobody has on it.
            let shared = listed(kind, list)?;
            let held = actor.held(ObjectKind::Sequence, object);
            Ok(Datum::Bool(shared.into_iter().any(|(privilege, option)| !option && held.contains(privilege))))
        }
        Some(('S', _)) => has(actor, ObjectKind::Sequence, object, list),
        Some(('i', _)) => Ok(Datum::Bool(false)),
        Some((_, name)) if kind == ObjectKind::Sequence => {
            Err(SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a sequence")))
        }
        Some(_) => has(actor, ObjectKind::Table, object, list),
        None => Ok(Datum::Null),
    }
}

/// Privileges are on whole tables, so on each of their columns.
fn on_column(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (actor, rest) = asked(call, args, 3)?;
    relation(call, &actor, &rest[0], &rest[2], ObjectKind::Table)
}

fn on_schema(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (actor, rest) = asked(call, args, 2)?;
    let schema = match &rest[0] {
        Datum::Text(name) => names::schema_oid(name)
            .ok_or_else(|| SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist")))?,
        other => number(other),
    };
    if schema == PUBLIC_SCHEMA {
        return has(&actor, ObjectKind::Schema, schema, &rest[1]);
    }
    // The system's own: everybody's to use and nobody's to fill.
    let usage = Privileges::named("USAGE").unwrap_or_default();
    let wanted = listed(ObjectKind::Schema, &rest[1])?;
    let uses = wanted.iter().any(|(privilege, option)| *privilege == usage && !option);
    Ok(Datum::Bool(actor.is_superuser() || uses))
}

fn on_database(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (actor, rest) = asked(call, args, 2)?;
    has(&actor, ObjectKind::Database, DATABASE, &rest[1])
}

/// Functions, types and languages are everybody's.
fn everybodys(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    asked(call, args, 2).map(|_| Datum::Bool(true))
}

/// What only superusers may do anything to.
fn superusers(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    asked(call, args, 2).map(|(actor, _)| Datum::Bool(actor.is_superuser()))
}

fn has_role(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (actor, rest) = asked(call, args, 2)?;
    let of = role(call.scope()?, &rest[0])?;
    let Datum::Text(list) = &rest[1] else { return Ok(Datum::Null) };
    let ask = |item: &str| match &*item.trim().to_ascii_uppercase() {
        "MEMBER" | "SET" => Ok(actor.is_member_of(of)),
        "USAGE" => Ok(actor.has_privileges_of(of)),
        "MEMBER WITH GRANT OPTION"
        | "MEMBER WITH ADMIN OPTION"
        | "USAGE WITH GRANT OPTION"
        | "USAGE WITH ADMIN OPTION" => Ok(actor.is_admin_of(of)),
        _ => {
            let message = format!("unrecognized privilege type: \"{}\"", item.trim());
            Err(SqlError::new(SqlState::InvalidParameterValue, message))
        }
    };
    let answers = list.split(',').map(ask).collect::<Result<Vec<bool>>>()?;
    Ok(Datum::Bool(answers.contains(&true)))
}

macro_rules! asking {
    ($($name:literal $evaluate:expr;)*) => { &[$(
        function($name, &[ANY, ANY], TO_BOOL, $evaluate).stable(),
        function($name, &[ANY, ANY, ANY], TO_BOOL, $evaluate).stable(),
    )*
        function("has_column_privilege", &[ANY, ANY, ANY], TO_BOOL, on_column).stable(),
        function("has_column_privilege", &[ANY, ANY, ANY, ANY], TO_BOOL, on_column).stable(),
    ] };
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = asking! {
    "has_table_privilege" |call, args| on_relation(call, args, ObjectKind::Table);
    "has_any_column_privilege" |call, args| on_relation(call, args, ObjectKind::Table);
    "has_sequence_privilege" |call, args| on_relation(call, args, ObjectKind::Sequence);
    "has_schema_privilege" on_schema;
    "has_database_privilege" on_database;
    "has_function_privilege" everybodys;
    "has_type_privilege" everybodys;
    "has_language_privilege" everybodys;
    "has_tablespace_privilege" superusers;
    "has_foreign_data_wrapper_privilege" superusers;
    "has_server_privilege" superusers;
    "has_parameter_privilege" superusers;
    "pg_has_role" has_role;
};
