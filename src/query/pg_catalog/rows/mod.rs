//! Which function fills which relation; relations not named here are empty.

mod access;
mod activity;
mod cluster;
mod models;
mod objects;
mod roles;
mod standard;
mod types;
mod views;

use lodedb_sql::error::Result;

use super::relations::{Relation, is_secret};
use super::table::Rows;
use crate::auth::privilege::denied;
use crate::query::functions::Scope;

/// The OID of the role that owns everything.
const OWNER: u32 = 10;

/// Puts the rows of a relation into `rows`, if the role may see them.
pub(super) fn fill(scope: &Scope, relation: &Relation, rows: &mut Rows) -> Result<()> {
    if is_secret(relation) && !scope.actor().is_superuser() {
        return Err(denied(if relation.is_view { "view" } else { "table" }, relation.name));
    }
    if relation.schema == super::INFORMATION_SCHEMA {
        return standard::fill(scope, relation.name, rows);
    }
    match relation.name {
        "pg_class" => objects::classes(scope, rows),
        "pg_attribute" => objects::attributes(scope, rows),
        "pg_attrdef" => objects::defaults(scope, rows),
        "pg_index" => objects::indexes(scope, rows),
        "pg_constraint" => objects::constraints(scope, rows),
        "pg_sequence" => objects::sequences(scope, rows),
        "pg_depend" => objects::dependencies(scope, rows),
        "pg_namespace" => cluster::namespaces(scope, rows),
        "pg_database" => cluster::databases(scope, rows),
        "pg_authid" => roles::authids(scope, rows),
        "pg_roles" => roles::roles(scope, rows),
        "pg_user" => roles::users(scope, rows),
        "pg_shadow" => roles::shadows(scope, rows),
        "pg_group" => roles::groups(scope, rows),
        "pg_auth_members" => roles::members(scope, rows),
        "pg_default_acl" => roles::defaults(scope, rows),
        "pg_stat_ssl" => roles::encryption(scope, rows),
        "pg_tablespace" => cluster::tablespaces(rows),
        "pg_settings" => cluster::settings(scope, rows),
        "pg_extension" => cluster::extensions(rows),
        "pg_available_extensions" => cluster::available_extensions(rows),
        "pg_available_extension_versions" => cluster::available_extension_versions(rows),
        "pg_timezone_names" => cluster::time_zones(scope, rows),
        "pg_type" => types::types(rows),
        "pg_collation" => types::collations(rows),
        "pg_language" => types::languages(rows),
        "pg_cast" => types::casts(rows),
        "pg_proc" => types::procedures(rows),
        "pg_aggregate" => types::aggregates(rows),
        "pg_operator" => types::operators(rows),
        "pg_am" => access::methods(rows),
        "pg_opclass" => access::classes(rows),
        "pg_opfamily" => access::families(rows),
        "pg_amop" => access::operators(rows),
        "pg_amproc" => access::procedures(rows),
        "pg_tables" => views::tables(scope, rows),
        "pg_indexes" => views::indexes(scope, rows),
        "pg_sequences" => views::sequences(scope, rows),
        "pg_stat_user_tables" | "pg_stat_all_tables" => views::table_statistics(scope, rows),
        "pg_stat_user_indexes" | "pg_stat_all_indexes" => views::index_statistics(scope, rows),
        "pg_statio_user_tables" | "pg_statio_all_tables" => views::table_statistics(scope, rows),
        "pg_stat_activity" => activity::sessions(scope, rows),
        "pg_locks" => activity::locks(scope, rows),
        "pg_stat_progress_create_index" => activity::index_builds(scope, rows),
        "pg_stat_progress_copy" => activity::copies(scope, rows),
        "pg_stat_progress_basebackup" => activity::backups_under_way(scope, rows),
        "pg_stat_progress_vacuum" => activity::merges(scope, rows),
        "lodedb_compactions" => activity::compactions(scope, rows),
        "lodedb_scrub" => activity::scrubs(scope, rows),
        "lodedb_repairs" => activity::repairs(scope, rows),
        "lodedb_backups" => activity::backups(scope, rows),
        "lodedb_progress" => activity::refills(scope, rows),
        "lodedb_models" => models::models(scope, rows),
        "pg_stat_database" => activity::databases(scope, rows),
        _ => Ok(()),
    }
}
