//! What a statement needs to be allowed, kind by kind; [`crate::auth::privilege`] says whether it is.
//!
//! Every statement passes [`Session::authorize`] before it runs. What reads and changes rows is asked about by its plan each time
//! that runs ([`crate::query`]); what locks a table, when it has found the table and again when it has the lock, since it may be
//! another one by then.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::statement::{LockMode, Privilege, Statement};
use lodedb_sql::{SqlError, SqlState};

use super::session::Session;
use super::settings::SLOW;
use crate::auth::grants;
use crate::auth::privilege::{Actor, refused};
use crate::catalog::rights::{Access, BOOTSTRAP, ObjectKind, Privileges, predefined};
use crate::catalog::{Change, Table};

/// What a statement needs of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// To be its owner.
    Owner,
    /// All of these privileges.
    All(Privileges),
    /// One of these.
    Any(Privileges),
}

impl Need {
    /// What LOCK TABLE needs for a mode.
    pub(super) fn of_lock(mode: LockMode) -> Self {
        use Privilege::{Delete, Insert, Select, Truncate, Update};
        Self::Any(match mode {
            LockMode::AccessShare => Privileges::of(&[Select]),
            LockMode::RowExclusive => Privileges::of(&[Insert, Update, Delete, Truncate]),
            _ => Privileges::of(&[Update, Delete, Truncate]),
        })
    }
}

/// Settings that only superusers change.
const OF_SUPERUSERS: &[&str] = &[SLOW, "deadlock_timeout"];

impl Session {
    /// Whether the session acts for a superuser.
    pub(super) fn is_superuser(&self) -> bool {
        Actor::new(&self.catalog(), self.role()).is_superuser()
    }

    /// Refuses a statement that the session may not run.
    pub(super) fn authorize(&self, statement: &Statement) -> Result<()> {
        // What ends a role that may not be acted for any more is always open.
        if !matches!(
            statement,
            Statement::Set { .. }
                | Statement::Reset(_)
                | Statement::Discard(_)
                | Statement::Commit
                | Statement::Rollback
                | Statement::RollbackTo { .. }
        ) {
            self.check_identity()?;
        }
        let catalog = self.catalog();
        let actor = Actor::new(&catalog, self.role());
        if actor.is_superuser() {
            return Ok(());
        }
        match statement {
            // Their plans are asked.
            Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Explain { .. }
            | Statement::Declare(_) => Ok(()),
            // Of a query, its plan; of a table, the plan that reads it, or the lock that rows go in under.
            Statement::Copy(_) => Ok(()),
            // What is within is asked when it runs.
            Statement::Prepare { .. } | Statement::Execute { .. } => Ok(()),
            // Rows that were asked about when their cursor was opened.
            Statement::Fetch { .. } | Statement::Move { .. } | Statement::Close(_) => Ok(()),
            Statement::CreateTable(_) | Statement::CreateTableAs(_) | Statement::CreateSequence { .. } => {
                actor.check_create()
            }
            // Their tables are asked about, before and under their locks.
            Statement::DropTable { .. }
            | Statement::AlterTable(_)
            | Statement::Truncate { .. }
            | Statement::CreateIndex(_)
            | Statement::LockTable { .. } => Ok(()),
            // So is each thing they name, when it is found.
            Statement::DropIndex { .. }
            | Statement::DropSequence { .. }
            | Statement::SequenceOwner { .. }
            | Statement::Reindex { .. }
            | Statement::Vacuum { .. }
            | Statement::Analyze { .. }
            | Statement::Check { tables: Some(_) } => Ok(()),
            Statement::Check { tables: None } => Err(refused("must be superuser to check the database")),
            Statement::Checkpoint => match actor.has_privileges_of(predefined::CHECKPOINT) {
                true => Ok(()),
                false => Err(refused("must be superuser or have privileges of pg_checkpoint to do CHECKPOINT")),
            },
            Statement::Backup { to } => self.check_file(&actor, to).map(drop),
            // They refuse whoever is no superuser, in their own words.
            Statement::CreateModel { .. } | Statement::DropModel { .. } => Ok(()),
            // They look at the roles they name.
            Statement::CreateRole { .. }
            | Statement::AlterRole { .. }
            | Statement::RenameRole { .. }
            | Statement::DropRole { .. }
            | Statement::GrantRole(_)
            | Statement::Grant(_)
            | Statement::DefaultPrivileges(_) => Ok(()),
            // Nobody may, since LodeDB has them not.
            Statement::CreateSchema { .. }
            | Statement::DropSchema { .. }
            | Statement::DropExtension { .. }
            | Statement::AlterIndex { .. }
            | Statement::AlterSequence { .. }
            | Statement::Comment { .. } => Ok(()),
            // What is built in is there already.
            Statement::CreateExtension { .. } => Ok(()),
            // A session's own affairs.
            Statement::Set { .. }
            | Statement::SetTransaction { .. }
            | Statement::SetConstraints { .. }
            | Statement::Show(_)
            | Statement::Reset(_)
            | Statement::Begin { .. }
            | Statement::Commit
            | Statement::Rollback
            | Statement::Savepoint { .. }
            | Statement::Release { .. }
            | Statement::RollbackTo { .. }
            | Statement::Deallocate(_)
            | Statement::Discard(_)
            | Statement::Listen { .. }
            | Statement::Unlisten(_)
            | Statement::Notify { .. } => Ok(()),
        }
    }

    /// Refuses a table that the session may not do something to.
    pub(super) fn check_table(&self, table: &Table, need: Need) -> Result<()> {
        let catalog = self.catalog();
        let actor = Actor::new(&catalog, self.role());
        match need {
            Need::Owner => actor.check_table_owner(table),
            Need::All(privileges) => actor.check_table(table, privileges),
            Need::Any(privileges) => actor.check_table_any(table, privileges),
        }
    }

    /// Refuses something that is not the session's own.
    pub(super) fn check_owner(&self, what: &str, object: u32, name: &str) -> Result<()> {
        Actor::new(&self.catalog(), self.role()).check_owner(what, object, name)
    }

    /// Refuses to make something where the session may not.
    pub(super) fn check_create(&self) -> Result<()> {
        Actor::new(&self.catalog(), self.role()).check_create()
    }

    /// Refuses settings that are not everybody's to change.
    pub(super) fn check_setting(&self, name: &str) -> Result<()> {
        let is_theirs = OF_SUPERUSERS.iter().any(|theirs| theirs.eq_ignore_ascii_case(name));
        match is_theirs && !self.is_superuser() {
            true => Err(refused(format!("permission denied to set parameter \"{name}\""))),
            false => Ok(()),
        }
    }

    /// Makes what was just created the session's role's own, with the privileges that its default ones give.
    pub(super) fn own(&mut self, objects: &[(u32, ObjectKind)]) -> Result<()> {
        let owner = self.role();
        let tx = self.transaction()?;
        let catalog = tx.reader().catalog();
        for &(object, kind) in objects {
            let grants = grants::of_new_object(catalog.rights(), owner, kind);
            if owner != BOOTSTRAP || grants.is_some() {
                tx.change_catalog(Change::PutAccess(Access { object, owner, grants }));
            }
        }
        Ok(())
    }

    /// Where a statement may write files: a superuser anywhere, a member of `pg_write_server_files` below the folder the server
    /// was given for that, and nobody else.
    pub(super) fn file_to_write(&self, path: &str) -> Result<PathBuf> {
        let catalog = self.catalog();
        let actor = Actor::new(&catalog, self.role());
        if actor.is_superuser() {
            return Ok(PathBuf::from(path));
        }
        self.check_file(&actor, path)
    }

    fn check_file(&self, actor: &Actor<'_>, path: &str) -> Result<PathBuf> {
        if !actor.has_privileges_of(predefined::WRITE_SERVER_FILES) {
            return Err(refused("permission denied to write files on the server").with_detail(
                "Only roles with privileges of the \"pg_write_server_files\" role may write files on the server.",
            ));
        }
        let Some(folder) = &self.engine().options.file_dir else {
            return Err(refused("permission denied to write files on the server")
                .with_detail("The server was given no folder for files (--file-dir)."));
        };
        let outside = || refused(format!("\"{path}\" is outside the folder for files"));
        let io =
            |error: std::io::Error| SqlError::new(SqlState::of_io(&error), format!("the folder for files: {error}"));
        let folder = folder.canonicalize().map_err(io)?;
        let wanted = folder.join(path);
        if wanted.components().any(|part| part == Component::ParentDir) || path.contains('\0') {
            return Err(outside());
        }
        // What is there already may be a link to somewhere else.
        let existing = wanted.ancestors().find(|part| part.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
        let real = existing.canonicalize().map_err(|_| outside())?;
        let rest = wanted.strip_prefix(existing).map_err(|_| outside())?;
        if real.starts_with(&folder) { Ok(real.join(rest)) } else { Err(outside()) }
    }

    /// The tables that the session owns among some; the client is warned of the others.
    pub(super) fn owned_tables(&mut self, tables: Vec<Arc<Table>>, verb: &str) -> Vec<Arc<Table>> {
        let (catalog, role) = (self.catalog(), self.role());
        let (owned, others): (Vec<_>, Vec<_>) =
            tables.into_iter().partition(|table| Actor::new(&catalog, role).owns(table.id));
        for table in others {
            let message = format!("permission denied to {verb} \"{}\", skipping it", table.name);
            self.notice("WARNING", SqlError::new(SqlState::InsufficientPrivilege, message));
        }
        owned
    }
}
