//! The functions that `pg_proc` lists, with PostgreSQL's OIDs where PostgreSQL has them.

use std::collections::HashMap;
use std::sync::LazyLock;

use lodedb_sql::PgType;

/// A row of `pg_proc`.
#[derive(Debug)]
pub(crate) struct Procedure {
    pub oid: u32,
    pub name: &'static str,
    /// `f`unction or `a`ggregate.
    pub kind: char,
    pub strict: bool,
    /// `i`mmutable, `s`table, `v`olatile.
    pub volatility: char,
    pub returns: u32,
    pub arguments: Vec<u32>,
    pub returns_set: bool,
}

/// `oid name kind strict volatility set returns arguments`.
const PROCEDURES_TEXT: &str = include_str!("data/pg_proc.tsv");

/// Every function, by OID.
pub(crate) static PROCEDURES: LazyLock<Vec<Procedure>> =
    LazyLock::new(|| PROCEDURES_TEXT.lines().filter_map(parse).collect());

static BY_NAME: LazyLock<HashMap<&'static str, u32>> = LazyLock::new(|| {
    // The first of several overloads is the one a bare name means.
    PROCEDURES.iter().rev().map(|procedure| (procedure.name, procedure.oid)).collect()
});

static BY_OID: LazyLock<HashMap<u32, usize>> =
    LazyLock::new(|| PROCEDURES.iter().enumerate().map(|(place, procedure)| (procedure.oid, place)).collect());

fn parse(line: &'static str) -> Option<Procedure> {
    let mut fields = line.split('\t');
    let oid = fields.next()?.parse().ok()?;
    let name = fields.next()?;
    let kind = fields.next()?.chars().next()?;
    let strict = fields.next()? == "t";
    let volatility = fields.next()?.chars().next()?;
    let returns_set = fields.next()? == "t";
    let returns = fields.next()?.parse().ok()?;
    let arguments = fields.next()?.split(' ').filter_map(|oid| oid.parse().ok()).collect();
    Some(Procedure { oid, name, kind, strict, volatility, returns, arguments, returns_set })
}

/// The OID of the first function of this name.
pub(crate) fn by_name(name: &str) -> Option<u32> {
    BY_NAME.get(name).copied()
}

/// The name as it is listed; none that is not.
pub(crate) fn listed(name: &str) -> Option<&'static str> {
    BY_NAME.get_key_value(name).map(|(name, _)| *name)
}

/// The OID of the function of this name that takes arguments of these types.
pub(crate) fn of_types(name: &str, arguments: &[u32]) -> Option<u32> {
    let found = PROCEDURES.iter().find(|procedure| procedure.name == name && procedure.arguments == arguments);
    found.map(|procedure| procedure.oid)
}

/// The function with this OID.
pub(crate) fn by_oid(oid: u32) -> Option<&'static Procedure> {
    BY_OID.get(&oid).map(|&place| &PROCEDURES[place])
}

impl Procedure {
    /// The types of the arguments as SQL names them.
    pub(crate) fn argument_list(&self) -> String {
        self.arguments.iter().map(|oid| type_name(*oid)).collect::<Vec<_>>().join(", ")
    }
    /// The type of the result as SQL names it.
    pub(crate) fn result(&self) -> String {
        let set = if self.returns_set { "SETOF " } else { "" };
        format!("{set}{}", type_name(self.returns))
    }
}

/// The name of a type, pseudo-types among them.
pub(crate) fn type_name(oid: u32) -> String {
    if let Some(ty) = PgType::from_oid(oid) {
        return ty.sql_name();
    }
    let name = match oid {
        2275 => "cstring",
        2276 => "\"any\"",
        2277 => "anyarray",
        2279 => "trigger",
        2281 => "internal",
        2283 => "anyelement",
        2776 => "anynonarray",
        3500 => "anyenum",
        5077 => "anycompatible",
        5078 => "anycompatiblearray",
        5079 => "anycompatiblenonarray",
        _ => return "???".to_owned(),
    };
    name.to_owned()
}
