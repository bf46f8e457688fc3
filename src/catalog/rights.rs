//! Who there is, and who may do what: roles, owners, grants and default privileges, as parts of the catalog.
//!
//! Data alone; what follows from it is decided in [`crate::auth::privilege`]. An object that has no entry here is the first
//! superuser's and has PostgreSQL's default privileges, so a database without roles has nothing to store. An id that names
//! no role gives nobody anything.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use lodedb_sql::statement::Privilege;
use serde::{Deserialize, Serialize};

/// The OID of a role; 0 is PUBLIC, every role there is.
pub type RoleId = u32;

/// Every role there is.
pub const PUBLIC: RoleId = 0;
/// The superuser that every database begins with: `lodedb`.
pub const BOOTSTRAP: RoleId = 10;
/// The other one, under the name that programs expect: `postgres`.
pub const POSTGRES: RoleId = 11;
/// The object that privileges on schema `public` are kept for.
pub const PUBLIC_SCHEMA: u32 = 2200;
/// The object that privileges on the database are kept for.
pub const DATABASE: u32 = 5;

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Its OID.
    pub id: RoleId,
    /// Its name.
    pub name: String,
    /// SUPERUSER.
    pub is_superuser: bool,
    /// INHERIT: it has the privileges of the roles it is a member of.
    pub inherits: bool,
    /// CREATEROLE.
    pub creates_roles: bool,
    /// CREATEDB.
    pub creates_databases: bool,
    /// LOGIN.
    pub can_login: bool,
    /// CONNECTION LIMIT.
    pub connection_limit: Option<u32>,
    /// What its password is verified by, in PostgreSQL's form; never the password.
    pub verifier: Option<String>,
    /// VALID UNTIL: microseconds since 1970 UTC; the password is none from then on.
    pub valid_until_us: Option<i64>,
    /// The roles it is a member of.
    pub member_of: Vec<Membership>,
}

/// That a role is a member of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The other.
    pub role: RoleId,
    /// Who made it one.
    pub grantor: RoleId,
    /// Whether it may make others members.
    pub admin: bool,
}

/// A set of privileges: of each, the bit of its place in [`Privilege`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges(u16);

/// The kinds of objects that have privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A table.
    Table,
    /// A sequence.
    Sequence,
    /// A schema.
    Schema,
    /// The database.
    Database,
    /// A model.
    Model,
}

/// What one role gave another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who has it.
    pub grantee: RoleId,
    /// Who gave it.
    pub grantor: RoleId,
    /// What.
    pub privileges: Privileges,
    /// What of it may be given on.
    pub grantable: Privileges,
}

/// Whose an object is, and who else may do what to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// The object.
    pub object: u32,
    /// Its owner.
    pub owner: RoleId,
    /// The grants; `None` for the default ones.
    pub grants: Option<Vec<Grant>>,
}

/// The privileges on objects that a role is going to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DefaultAccess {
    /// Whose objects.
    pub owner: RoleId,
    /// In which schema; 0 is everywhere.
    pub schema: u32,
    /// Which objects.
    pub kind: ObjectKind,
    /// Everywhere, the grants instead of PostgreSQL's; in a schema, those on top of them. `None` takes the entry away.
    pub grants: Option<Vec<Grant>>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rights {
    roles: BTreeMap<RoleId, Arc<Role>>,
    access: BTreeMap<u32, Arc<Access>>,
    defaults: Vec<DefaultAccess>,
}

/// Each privilege with its letter in an access list, in the order they are shown.
const LETTERS: &[(Privilege, char, &str)] = &[
    (Privilege::Insert, 'a', "INSERT"),
    (Privilege::Select, 'r', "SELECT"),
    (Privilege::Update, 'w', "UPDATE"),
    (Privilege::Delete, 'd', "DELETE"),
    (Privilege::Truncate, 'D', "TRUNCATE"),
    (Privilege::References, 'x', "REFERENCES"),
    (Privilege::Trigger, 't', "TRIGGER"),
    (Privilege::Usage, 'U', "USAGE"),
    (Privilege::Create, 'C', "CREATE"),
    (Privilege::Temporary, 'T', "TEMPORARY"),
    (Privilege::Connect, 'c', "CONNECT"),
];

impl Privileges {
    /// None.
    pub const NONE: Self = Self(0);

    /// These.
    pub const fn of(privileges: &[Privilege]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < privileges.len() {
            bits |= 1 << privileges[at] as u16;
            at += 1;
        }
        Self(bits)
    }
    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Those of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Those of either.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Those that the other has not.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// Whether all of the other are among them.
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
    /// Each of them: its letter and its name.
    pub fn each(self) -> impl Iterator<Item = (char, &'static str)> {
        LETTERS
            .iter()
            .filter(move |(privilege, ..)| self.contains(Self::of(&[*privilege])))
            .map(|(_, letter, name)| (*letter, *name))
    }
    /// The one of this name, whatever its case.
    pub fn named(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("temp") { "TEMPORARY" } else { name };
        let found = LETTERS.iter().find(|(_, _, known)| known.eq_ignore_ascii_case(name));
        found.map(|(privilege, ..)| Self::of(&[*privilege]))
    }
}

impl ObjectKind {
    /// Every privilege there is on such an object.
    pub const fn all(self) -> Privileges {
        use Privilege::*;
        match self {
            Self::Table => Privileges::of(&[Select, Insert, Update, Delete, Truncate, References, Trigger]),
            Self::Sequence => Privileges::of(&[Select, Update, Usage]),
            Self::Schema => Privileges::of(&[Usage, Create]),
            Self::Database => Privileges::of(&[Create, Connect, Temporary]),
            Self::Model => Privileges::of(&[Usage]),
        }
    }
    /// What everybody may do to such an object unless that was revoked.
    pub const fn of_everybody(self) -> Privileges {
        use Privilege::*;
        match self {
            Self::Table | Self::Sequence => Privileges::NONE,
            Self::Schema | Self::Model => Privileges::of(&[Usage]),
            Self::Database => Privileges::of(&[Connect, Temporary]),
        }
    }
    /// As errors name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Sequence => "sequence",
            Self::Schema => "schema",
            Self::Database => "database",
            Self::Model => "model",
        }
    }
    /// The grants on an object of this owner that nobody granted anything on.
    pub fn default_grants(self, owner: RoleId) -> Vec<Grant> {
        let grant = |grantee, privileges| Grant { grantee, grantor: owner, privileges, grantable: Privileges::NONE };
        let everybody = self.of_everybody();
        let public = (!everybody.is_empty()).then(|| grant(PUBLIC, everybody));
        public.into_iter().chain([grant(owner, self.all())]).collect()
    }
}

/// The roles that stand for something the server knows, and that nobody makes; their OIDs are PostgreSQL's.
#[expect(missing_docs, reason = "the names are PostgreSQL's")]
pub mod predefined {
    use super::RoleId;

    pub const MONITOR: RoleId = 3373;
    pub const READ_ALL_SETTINGS: RoleId = 3374;
    pub const READ_ALL_STATS: RoleId = 3375;
    pub const SIGNAL_BACKEND: RoleId = 4200;
    pub const CHECKPOINT: RoleId = 4544;
    pub const READ_SERVER_FILES: RoleId = 4569;
    pub const WRITE_SERVER_FILES: RoleId = 4570;
    pub const READ_ALL_DATA: RoleId = 6181;
    pub const WRITE_ALL_DATA: RoleId = 6182;

    /// Each with its name and the roles it is a member of.
    pub(super) const ALL: &[(RoleId, &str, &[RoleId])] = &[
        (MONITOR, "pg_monitor", &[READ_ALL_SETTINGS, READ_ALL_STATS]),
        (READ_ALL_SETTINGS, "pg_read_all_settings", &[]),
        (READ_ALL_STATS, "pg_read_all_stats", &[]),
        (SIGNAL_BACKEND, "pg_signal_backend", &[]),
        (CHECKPOINT, "pg_checkpoint", &[]),
        (READ_SERVER_FILES, "pg_read_server_files", &[]),
        (WRITE_SERVER_FILES, "pg_write_server_files", &[]),
        (READ_ALL_DATA, "pg_read_all_data", &[]),
        (WRITE_ALL_DATA, "pg_write_all_data", &[]),
    ];
}

/// The roles of every database, as they are until somebody alters them.
static BUILT_IN: LazyLock<BTreeMap<RoleId, Arc<Role>>> = LazyLock::new(|| {
    let superuser = |id, name: &str| Role {
        id,
        name: name.to_owned(),
        is_superuser: true,
        inherits: true,
        creates_roles: true,
        creates_databases: true,
        can_login: true,
        ..Role::default()
    };
    let predefined = predefined::ALL.iter().map(|&(id, name, member_of)| Role {
        id,
        name: name.to_owned(),
        inherits: true,
        member_of: member_of.iter().map(|&role| Membership { role, grantor: BOOTSTRAP, admin: false }).collect(),
        ..Role::default()
    });
    let superusers = [superuser(BOOTSTRAP, "lodedb"), superuser(POSTGRES, "postgres")];
    superusers.into_iter().chain(predefined).map(|role| (role.id, Arc::new(role))).collect()
});

/// Whether a role is one that every database has.
pub fn is_built_in(role: RoleId) -> bool {
    BUILT_IN.contains_key(&role)
}

impl Rights {
    /// Whether there are no roles but those every database comes with, as they came.
    pub fn are_untouched(&self) -> bool {
        self.roles.is_empty()
    }
    /// The role of this OID.
    pub fn role(&self, id: RoleId) -> Option<&Arc<Role>> {
        self.roles.get(&id).or_else(|| BUILT_IN.get(&id))
    }
    /// The role of this name. It takes as long for a name that is none: whoever tries names at the door learns nothing by it.
    pub fn role_named(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles().fold(None, |found, role| if role.name == name { Some(role) } else { found })
    }
    /// Every role.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        BUILT_IN.values().filter(|role| !self.roles.contains_key(&role.id)).chain(self.roles.values())
    }
    /// The owner of an object.
    pub fn owner(&self, object: u32) -> RoleId {
        self.access.get(&object).map_or(BOOTSTRAP, |access| access.owner)
    }
    /// The grants on an object, where they are not the default ones.
    pub fn grants(&self, object: u32) -> Option<&[Grant]> {
        self.access.get(&object)?.grants.as_deref()
    }
    /// Every object that is not the first superuser's alone.
    pub fn access(&self) -> impl Iterator<Item = &Arc<Access>> {
        self.access.values()
    }
    /// The default privileges.
    pub fn defaults(&self) -> &[DefaultAccess] {
        &self.defaults
    }

    pub(super) fn put_role(&mut self, role: &Role) {
        self.roles.insert(role.id, Arc::new(role.clone()));
    }
    pub(super) fn drop_role(&mut self, id: RoleId) {
        self.roles.remove(&id);
    }
    pub(super) fn put_access(&mut self, access: &Access) {
        self.access.insert(access.object, Arc::new(access.clone()));
    }
    pub(super) fn drop_object(&mut self, object: u32) {
        self.access.remove(&object);
    }
    pub(super) fn put_default(&mut self, default: &DefaultAccess) {
        let key = |one: &DefaultAccess| (one.owner, one.schema, one.kind);
        self.defaults.retain(|known| key(known) != key(default));
        if default.grants.is_some() {
            self.defaults.push(default.clone());
        }
    }
}
