//! The statements about roles and what they may do: CREATE ROLE and its kin, GRANT, REVOKE, ALTER DEFAULT PRIVILEGES.

use std::fmt;

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{ObjectName, Statement};
use crate::error::{Result, SqlError, SqlState};

/// A role as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// By its name.
    Name(String),
    /// CURRENT_USER or CURRENT_ROLE.
    CurrentUser,
    /// SESSION_USER.
    SessionUser,
    /// PUBLIC: every role there is.
    Public,
}

/// A password as it was written. It shows itself to nobody who prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The text, for whoever makes a verifier of it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// The options of a role, as far as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleOptions {
    /// SUPERUSER.
    pub superuser: Option<bool>,
    /// CREATEDB.
    pub create_db: Option<bool>,
    /// CREATEROLE.
    pub create_role: Option<bool>,
    /// INHERIT.
    pub inherit: Option<bool>,
    /// LOGIN.
    pub login: Option<bool>,
    /// CONNECTION LIMIT; -1 is none.
    pub connection_limit: Option<i64>,
    /// PASSWORD; `Some(None)` for NULL.
    pub password: Option<Option<Password>>,
    /// VALID UNTIL.
    pub valid_until: Option<String>,
    /// IN ROLE: the roles it becomes a member of.
    pub in_roles: Vec<RoleName>,
    /// ROLE: its members.
    pub members: Vec<RoleName>,
    /// ADMIN: its members who may make others members.
    pub admins: Vec<RoleName>,
}

/// Something a role may do. The order is part of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    References,
    Trigger,
    Usage,
    Create,
    Connect,
    Temporary,
}

/// What privileges are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantObjects {
    /// Tables, or sequences where a name is one.
    Tables(Vec<ObjectName>),
    /// Sequences.
    Sequences(Vec<ObjectName>),
    /// Schemas.
    Schemas(Vec<String>),
    /// Databases.
    Databases(Vec<String>),
    /// Models.
    Models(Vec<String>),
    /// ALL TABLES IN SCHEMA.
    AllTables(Vec<String>),
    /// ALL SEQUENCES IN SCHEMA.
    AllSequences(Vec<String>),
}

/// GRANT or REVOKE of privileges on objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// REVOKE.
    pub revoke: bool,
    /// Which; all where there are none.
    pub privileges: Option<Vec<Privilege>>,
    /// On what.
    pub objects: GrantObjects,
    /// To or from whom.
    pub roles: Vec<RoleName>,
    /// WITH GRANT OPTION, or GRANT OPTION FOR.
    pub grant_option: bool,
    /// CASCADE.
    pub cascade: bool,
}

/// GRANT or REVOKE of membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRole {
    /// REVOKE.
    pub revoke: bool,
    /// The roles to be members of.
    pub roles: Vec<String>,
    /// The members.
    pub members: Vec<RoleName>,
    /// WITH ADMIN OPTION, or ADMIN OPTION FOR.
    pub admin_option: bool,
}

/// The kinds of objects that have default privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultObjects {
    /// TABLES.
    Tables,
    /// SEQUENCES.
    Sequences,
}

/// ALTER DEFAULT PRIVILEGES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPrivileges {
    /// FOR ROLE: whose objects; the current user's where none is named.
    pub owners: Vec<RoleName>,
    /// IN SCHEMA; everywhere where none is named.
    pub schemas: Vec<String>,
    /// REVOKE.
    pub revoke: bool,
    /// Which; all where there are none.
    pub privileges: Option<Vec<Privilege>>,
    /// On what.
    pub objects: DefaultObjects,
    /// To or from whom.
    pub roles: Vec<RoleName>,
    /// WITH GRANT OPTION, or GRANT OPTION FOR.
    pub grant_option: bool,
}

/// Objects that privileges can be on in PostgreSQL and not here.
const UNSUPPORTED_OBJECTS: &[&str] = &[
    "all functions in schema",
    "all procedures in schema",
    "all routines in schema",
    "domain",
    "foreign data wrapper",
    "foreign server",
    "function",
    "language",
    "large object",
    "parameter",
    "procedure",
    "routine",
    "tablespace",
    "type",
];

impl Statement {
    /// Whether its text holds a password.
    pub fn holds_password(&self) -> bool {
        match self {
            Self::CreateRole { options, .. } | Self::AlterRole { options, .. } => {
                matches!(options.password, Some(Some(_)))
            }
            Self::Explain { statement, .. } | Self::Prepare { statement, .. } => statement.holds_password(),
            _ => false,
        }
    }
}

impl Reader<'_> {
    /// CREATE ROLE, USER or GROUP, behind its words; a user may log in.
    pub(super) fn create_role(&mut self, login: bool) -> Result<Statement> {
        let name = self.new_role_name()?;
        let _ = self.take_words("with");
        let mut options = RoleOptions { login: login.then_some(true), ..RoleOptions::default() };
        let mut seen = Vec::new();
        while !self.at_end() {
            self.role_option(&mut options, &mut seen, true)?;
        }
        Ok(Statement::CreateRole { name, options })
    }

    /// ALTER ROLE, USER or GROUP, behind its words.
    pub(super) fn alter_role(&mut self, is_group: bool) -> Result<Statement> {
        if self.peek_words("all set") || self.peek_words("all reset") || self.peek_words("all in database") {
            return self.unsupported("ALTER ROLE ... SET");
        }
        let role = self.role_name()?;
        if self.take_words("rename to") {
            return Ok(Statement::RenameRole { role, to: self.new_role_name()? });
        }
        if self.peek_words("set") || self.peek_words("reset") || self.peek_words("in database") {
            return self.unsupported("ALTER ROLE ... SET");
        }
        if is_group {
            let revoke = match self.take_one_of(&["add user", "drop user"]) {
                Some(words) => words == "drop user",
                None => return Err(self.error_here()),
            };
            let RoleName::Name(group) = role else { return Err(self.error_here()) };
            let members = self.list(Self::role_name)?;
            let grant = GrantRole { revoke, roles: vec![group], members, admin_option: false };
            return Ok(Statement::GrantRole(Box::new(grant)));
        }
        let _ = self.take_words("with");
        let (mut options, mut seen) = (RoleOptions::default(), Vec::new());
        while !self.at_end() {
            self.role_option(&mut options, &mut seen, false)?;
        }
        Ok(Statement::AlterRole { role, options })
    }

    /// DROP ROLE, USER or GROUP, behind its words.
    pub(super) fn drop_role(&mut self) -> Result<Statement> {
        let if_exists = self.take_words("if exists");
        Ok(Statement::DropRole { names: self.list(Self::role_name)?, if_exists })
    }

    fn role_option(&mut self, options: &mut RoleOptions, seen: &mut Vec<&'static str>, is_new: bool) -> Result<()> {
        const FLAGS: &[(&str, &str, bool)] = &[
            ("superuser", "superuser", true),
            ("nosuperuser", "superuser", false),
            ("createdb", "createdb", true),
            ("nocreatedb", "createdb", false),
            ("createrole", "createrole", true),
            ("nocreaterole", "createrole", false),
            ("createuser", "createrole", true),
            ("nocreateuser", "createrole", false),
            ("inherit", "inherit", true),
            ("noinherit", "inherit", false),
            ("login", "login", true),
            ("nologin", "login", false),
            ("noreplication", "replication", false),
            ("nobypassrls", "bypassrls", false),
        ];
        for name in ["replication", "bypassrls", "sysid"] {
            if self.peek_words(name) {
                return self.unsupported(name.to_ascii_uppercase());
            }
        }
        let mut once = |reader: &Self, name: &'static str| match seen.contains(&name) {
            true => Err(reader.place_here(SqlError::new(SqlState::SyntaxError, "conflicting or redundant options"))),
            false => {
                seen.push(name);
                Ok(())
            }
        };
        if let Some((word, flag, on)) = FLAGS.iter().find(|(word, ..)| self.peek_words(word)) {
            once(self, flag)?;
            let _ = self.take_words(word);
            match *flag {
                "superuser" => options.superuser = Some(*on),
                "createdb" => options.create_db = Some(*on),
                "createrole" => options.create_role = Some(*on),
                "inherit" => options.inherit = Some(*on),
                "login" => options.login = Some(*on),
                // That a role is without these is what every role is.
                _ => {}
            }
            return Ok(());
        }
        if self.peek_words("unencrypted password") {
            return self.unsupported("UNENCRYPTED PASSWORD");
        }
        if self.peek_words("password") || self.peek_words("encrypted password") {
            once(self, "password")?;
            let _ = self.take_words("encrypted");
            let _ = self.take_words("password");
            options.password = Some(if self.take_words("null") { None } else { Some(Password(self.string()?)) });
        } else if self.peek_words("connection limit") {
            once(self, "connection limit")?;
            let _ = self.take_words("connection limit");
            options.connection_limit = Some(self.integer()?);
        } else if self.peek_words("valid until") {
            once(self, "valid until")?;
            let _ = self.take_words("valid until");
            options.valid_until = Some(self.string()?);
        } else if is_new && self.take_one_of(&["in role", "in group"]).is_some() {
            options.in_roles.append(&mut self.list(Self::role_name)?);
        } else if is_new && self.take_one_of(&["role", "user"]).is_some() {
            options.members.append(&mut self.list(Self::role_name)?);
        } else if is_new && self.take_words("admin") {
            options.admins.append(&mut self.list(Self::role_name)?);
        } else {
            return Err(self.error_here());
        }
        Ok(())
    }

    /// A role as GRANT, OWNER TO and their like name it.
    pub(super) fn role_name(&mut self) -> Result<RoleName> {
        let role = match self.take_one_of(&["current_user", "current_role", "session_user", "public"]) {
            Some("session_user") => RoleName::SessionUser,
            Some("public") => RoleName::Public,
            Some(_) => RoleName::CurrentUser,
            None => RoleName::Name(self.name()?),
        };
        Ok(role)
    }

    /// The name of a role that is to be: one that is not kept for something else.
    fn new_role_name(&mut self) -> Result<String> {
        let reserved = |reader: &Self, name: &str| {
            let error = SqlError::new(SqlState::ReservedName, format!("role name \"{name}\" is reserved"));
            reader.place_here(error)
        };
        for word in ["public", "none", "current_user", "current_role", "session_user"] {
            if self.peek_words(word) {
                return Err(reserved(self, word));
            }
        }
        let before = self.mark();
        let name = self.name()?;
        if name == "public" || name == "none" || name.starts_with("pg_") {
            self.rewind(before);
            let error = reserved(self, &name);
            return Err(match name.starts_with("pg_") {
                true => error.with_detail("Role names starting with \"pg_\" are reserved."),
                false => error,
            });
        }
        Ok(name)
    }

    pub(super) fn grant(&mut self) -> Result<Statement> {
        self.next();
        self.granted(false)
    }

    pub(super) fn revoke(&mut self) -> Result<Statement> {
        self.next();
        self.granted(true)
    }

    fn granted(&mut self, revoke: bool) -> Result<Statement> {
        let admin_option = revoke && self.take_words("admin option for");
        let option_for = revoke && !admin_option && self.take_words("grant option for");
        let start = self.mark();
        let is_membership = {
            // `GRANT a, b TO c` or `GRANT SELECT, INSERT ON t TO c`: the word behind the list tells.
            if !self.take_words("all") {
                self.list(|reader| {
                    reader.label()?;
                    if reader.peek().token == Token::LParen {
                        return reader.unsupported("a privilege on columns");
                    }
                    Ok(())
                })?;
            }
            let preposition = if revoke { "from" } else { "to" };
            let found = self.peek_words(preposition);
            self.rewind(start);
            found
        };
        if is_membership || admin_option {
            let roles = self.list(Self::name)?;
            self.expect_words(if revoke { "from" } else { "to" })?;
            let members = self.list(Self::grantee)?;
            let with_admin = !revoke && self.take_words("with admin option");
            if self.peek_words("with") {
                return self.unsupported("WITH INHERIT or SET");
            }
            self.granted_by()?;
            self.restrict(revoke)?;
            let grant = GrantRole { revoke, roles, members, admin_option: with_admin || admin_option };
            return Ok(Statement::GrantRole(Box::new(grant)));
        }
        let privileges = self.privileges()?;
        self.expect_words("on")?;
        let objects = self.grant_objects()?;
        self.expect_words(if revoke { "from" } else { "to" })?;
        let roles = self.list(Self::grantee)?;
        let grant_option = option_for || (!revoke && self.take_words("with grant option"));
        self.granted_by()?;
        let cascade = revoke && self.cascade();
        Ok(Statement::Grant(Box::new(Grant { revoke, privileges, objects, roles, grant_option, cascade })))
    }

    /// CASCADE of memberships would take back what members granted on.
    fn restrict(&mut self, revoke: bool) -> Result<()> {
        if revoke && self.peek_words("cascade") {
            return self.unsupported("CASCADE of a membership");
        }
        let _ = revoke && self.take_words("restrict");
        Ok(())
    }

    fn granted_by(&mut self) -> Result<()> {
        if self.peek_words("granted by") { self.unsupported("GRANTED BY") } else { Ok(()) }
    }

    fn grantee(&mut self) -> Result<RoleName> {
        let _ = self.take_words("group");
        self.role_name()
    }

    /// The privileges of a list; `None` for ALL.
    fn privileges(&mut self) -> Result<Option<Vec<Privilege>>> {
        if self.take_words("all") {
            let _ = self.take_words("privileges");
            if self.peek().token == Token::LParen {
                return self.unsupported("a privilege on columns");
            }
            return Ok(None);
        }
        let privileges = self.list(|reader| {
            const PRIVILEGES: &[(&str, Privilege)] = &[
                ("select", Privilege::Select),
                ("insert", Privilege::Insert),
                ("update", Privilege::Update),
                ("delete", Privilege::Delete),
                ("truncate", Privilege::Truncate),
                ("references", Privilege::References),
                ("trigger", Privilege::Trigger),
                ("usage", Privilege::Usage),
                ("create", Privilege::Create),
                ("connect", Privilege::Connect),
                ("temporary", Privilege::Temporary),
                ("temp", Privilege::Temporary),
            ];
            for word in ["execute", "alter system", "set"] {
                if reader.peek_words(word) {
                    return reader.unsupported(format!("the privilege {}", word.to_ascii_uppercase()));
                }
            }
            let Some((_, privilege)) = PRIVILEGES.iter().find(|(word, _)| reader.peek_words(word)) else {
                let before = reader.mark();
                let word = reader.label()?;
                reader.rewind(before);
                let message = format!("unrecognized privilege type \"{word}\"");
                return Err(reader.place_here(SqlError::new(SqlState::SyntaxError, message)));
            };
            reader.next();
            Ok(*privilege)
        })?;
        Ok(Some(privileges))
    }

    fn grant_objects(&mut self) -> Result<GrantObjects> {
        if self.take_words("all tables in schema") {
            return Ok(GrantObjects::AllTables(self.list(Self::name)?));
        }
        if self.take_words("all sequences in schema") {
            return Ok(GrantObjects::AllSequences(self.list(Self::name)?));
        }
        if self.take_words("schema") {
            return Ok(GrantObjects::Schemas(self.list(Self::name)?));
        }
        if self.take_words("database") {
            return Ok(GrantObjects::Databases(self.list(Self::name)?));
        }
        if self.take_words("sequence") {
            return Ok(GrantObjects::Sequences(self.list(Self::object_name)?));
        }
        // A table may be called so.
        if matches!(&self.parser.peek_nth_token_ref(1).token, Token::Word(next) if !["to", "from"].iter().any(|word| next.value.eq_ignore_ascii_case(word)))
            && self.take_words("model")
        {
            return Ok(GrantObjects::Models(self.list(Self::name)?));
        }
        if let Some(words) = UNSUPPORTED_OBJECTS.iter().find(|words| self.peek_words(words)) {
            return self.unsupported(format!("GRANT ON {}", words.to_ascii_uppercase()));
        }
        let _ = self.take_words("table");
        Ok(GrantObjects::Tables(self.list(Self::object_name)?))
    }

    /// ALTER DEFAULT PRIVILEGES, behind its words.
    pub(super) fn default_privileges(&mut self) -> Result<Statement> {
        let (mut owners, mut schemas) = (Vec::new(), Vec::new());
        loop {
            if self.take_one_of(&["for role", "for user"]).is_some() {
                owners = self.list(Self::role_name)?;
            } else if self.take_words("in schema") {
                schemas = self.list(Self::name)?;
            } else {
                break;
            }
        }
        let revoke = match self.take_one_of(&["grant", "revoke"]) {
            Some(word) => word == "revoke",
            None => return Err(self.error_here()),
        };
        let option_for = revoke && self.take_words("grant option for");
        let privileges = self.privileges()?;
        self.expect_words("on")?;
        for words in ["functions", "routines", "types", "schemas", "large objects"] {
            if self.peek_words(words) {
                return self.unsupported(format!("default privileges on {}", words.to_ascii_uppercase()));
            }
        }
        let objects = match self.take_one_of(&["tables", "sequences"]) {
            Some("tables") => DefaultObjects::Tables,
            Some(_) => DefaultObjects::Sequences,
            None => return Err(self.error_here()),
        };
        self.expect_words(if revoke { "from" } else { "to" })?;
        let roles = self.list(Self::grantee)?;
        let grant_option = option_for || (!revoke && self.take_words("with grant option"));
        // Nobody grants default privileges on.
        let _ = revoke && self.cascade();
        let defaults = DefaultPrivileges { owners, schemas, revoke, privileges, objects, roles, grant_option };
        Ok(Statement::DefaultPrivileges(Box::new(defaults)))
    }
}
