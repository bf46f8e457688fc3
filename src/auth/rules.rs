//! Who may come from where, and how they are to show who they are: rules in the form of PostgreSQL's `pg_hba.conf`.
//!
//! The first rule that fits decides, and where none does nobody comes in. Whatever the rules say, a client beyond this machine
//! comes in encrypted and with a password, unless the server was told to be [`Rules::insecure`].

use std::net::IpAddr;

use lodedb_sql::{SqlError, SqlState};

/// How a client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By saying so.
    Trust,
    /// By a password.
    Scram,
    /// Not at all.
    Reject,
}

impl Method {
    /// Its word in a rule.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Scram => "scram-sha-256",
            Self::Reject => "reject",
        }
    }
}

/// Which connections a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those to the Unix socket.
    Local,
    /// Those over a network.
    Host,
    /// Those of them that are encrypted.
    HostSsl,
    /// Those that are not.
    HostNoSsl,
}

impl Kind {
    /// Its word in a rule.
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Host => "host",
            Self::HostSsl => "hostssl",
            Self::HostNoSsl => "hostnossl",
        }
    }
}

/// A name in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `all`.
    All,
    /// `+role`: whoever is a member of it.
    MemberOf(String),
    /// This one.
    Is(String),
}

/// The addresses a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// How many leading bits they share.
    pub bits: u8,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its line in the file; 0 if it is built in.
    pub line: usize,
    /// The connections.
    pub kind: Kind,
    /// The databases.
    pub databases: Vec<Name>,
    /// The roles.
    pub users: Vec<Name>,
    /// The addresses; `None` for all.
    pub network: Option<Network>,
    /// What is asked of them.
    pub method: Method,
}

/// All rules, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether they are the built-in ones.
    pub are_built_in: bool,
    /// Whether clients beyond this machine may come in unencrypted, and be trusted where a rule says so.
    pub insecure: bool,
}

/// A client at the door.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Where it is; `None` on the Unix socket.
    pub address: Option<IpAddr>,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// The database it asks for.
    pub database: &'a str,
    /// Who it says it is.
    pub user: &'a str,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, true),
            IpAddr::V6(address) => (u128::from(address), false),
        };
        let ((own, own_is_v4), (other, other_is_v4)) = (bits(self.address), bits(address));
        let different = (own ^ other).checked_shr(128 - u32::from(self.bits)).unwrap_or(0);
        own_is_v4 == other_is_v4 && (self.bits == 0 || different == 0)
    }
}

/// Whether an address is one of this machine's own.
fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

impl Rules {
    /// Those of a server that was given none: this machine's clients are trusted, others show a password, encrypted.
    pub fn built_in(insecure: bool) -> Self {
        let rule = |kind, network, method| Rule {
            line: 0,
            kind,
            databases: vec![Name::All],
            users: vec![Name::All],
            network,
            method,
        };
        let network = |address: IpAddr, bits| Some(Network { address, bits });
        let rules = vec![
            rule(Kind::Local, None, Method::Trust),
            rule(Kind::Host, network([127, 0, 0, 0].into(), 8), Method::Trust),
            rule(Kind::Host, network(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128), Method::Trust),
            rule(Kind::Host, None, Method::Scram),
        ];
        Self { rules, are_built_in: true, insecure }
    }

    /// Reads rules; everything that is wrong is told at once, with its line.
    pub fn parse(text: &str, insecure: bool) -> Result<Self, String> {
        let (mut rules, mut wrong) = (Vec::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            match read_line(line, at + 1) {
                Ok(rule) => rules.extend(rule),
                Err(problem) => wrong.push(format!("line {}: {problem}", at + 1)),
            }
        }
        if wrong.is_empty() { Ok(Self { rules, are_built_in: false, insecure }) } else { Err(wrong.join("; ")) }
    }

    /// How a client is to show who it is: `28000` if it does not come in at all. `is_member` tells whether whoever it says it
    /// is would be a member of a role.
    pub fn method(&self, caller: &Caller<'_>, is_member: impl Fn(&str) -> bool) -> Result<Method, SqlError> {
        let fits = |names: &[Name], name: &str| {
            names.iter().any(|one| match one {
                Name::All => true,
                Name::Is(known) => known == name,
                Name::MemberOf(role) => is_member(role),
            })
        };
        let found = self.rules.iter().find(|rule| {
            let kind_fits = match (rule.kind, caller.address) {
                (Kind::Local, address) => address.is_none(),
                (_, None) => false,
                (Kind::Host, _) => true,
                (Kind::HostSsl, _) => caller.is_encrypted,
                (Kind::HostNoSsl, _) => !caller.is_encrypted,
            };
            let network_fits = match (rule.network, caller.address) {
                (Some(network), Some(address)) => network.contains(address),
                (None, _) => true,
                (Some(_), None) => false,
            };
            kind_fits && network_fits && fits(&rule.databases, caller.database) && fits(&rule.users, caller.user)
        });
        let is_beyond = caller.address.is_some_and(|address| !is_here(address));
        match found.map(|rule| rule.method) {
            None => Err(refused("no pg_hba.conf entry for", caller)),
            Some(Method::Reject) => Err(refused("pg_hba.conf rejects connection for", caller)),
            Some(_) if is_beyond && !self.insecure && !caller.is_encrypted => {
                Err(refused("no pg_hba.conf entry for", caller)
                    .with_hint("Clients on other machines must encrypt the connection (sslmode=require)."))
            }
            Some(Method::Trust) if is_beyond && !self.insecure => {
                Err(refused("pg_hba.conf rejects connection for", caller).with_hint(
                    "Clients on other machines are not trusted, unless the server is told to be --insecure.",
                ))
            }
            Some(method) => Ok(method),
        }
    }
}

/// `28000`, in PostgreSQL's words.
fn refused(what: &str, caller: &Caller<'_>) -> SqlError {
    let host = caller.address.map_or_else(|| "[local]".to_owned(), |address| address.to_canonical().to_string());
    let encryption = if caller.is_encrypted { "SSL encryption" } else { "no encryption" };
    let message =
        format!("{what} host \"{host}\", user \"{}\", database \"{}\", {encryption}", caller.user, caller.database);
    SqlError::new(SqlState::InvalidAuthorizationSpecification, message)
}

/// A word of a line, and whether it was quoted.
type Word = (String, bool);

/// The fields of a line: lists of words with commas between them. What is in quotes is no keyword; `#` begins a comment.
fn read_fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut letters = line.chars().peekable();
    let mut goes_on = false;
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        match letters.peek() {
            None | Some('#') if goes_on => return Err("a list ends with a comma".into()),
            None | Some('#') => return Ok(fields),
            Some(_) => {}
        }
        let (mut word, mut quoted) = (String::new(), false);
        while let Some(letter) = letters.next_if(|&letter| !letter.is_whitespace() && letter != ',' && letter != '#') {
            if letter != '"' {
                word.push(letter);
                continue;
            }
            quoted = true;
            loop {
                match letters.next() {
                    Some('"') => break,
                    Some(letter) => word.push(letter),
                    None => return Err("a quote does not end".into()),
                }
            }
        }
        if word.is_empty() && !quoted {
            return Err("a word is missing before a comma".into());
        }
        match fields.last_mut() {
            Some(list) if goes_on => list.push((word, quoted)),
            _ => fields.push(vec![(word, quoted)]),
        }
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        goes_on = letters.next_if_eq(&',').is_some();
    }
}

/// The rule of a line; `None` if there is none in it.
fn read_line(line: &str, number: usize) -> Result<Option<Rule>, String> {
    let mut fields = read_fields(line)?.into_iter();
    let Some(kind) = fields.next() else { return Ok(None) };
    let mut field = |what: &str| fields.next().ok_or_else(|| format!("the {what} is missing"));
    let single = |what: &str, words: Vec<Word>| match <[Word; 1]>::try_from(words) {
        Ok([(word, _)]) => Ok(word),
        Err(_) => Err(format!("there is one {what} in a line")),
    };
    let kind = match &*single("kind", kind)? {
        "local" => Kind::Local,
        "host" => Kind::Host,
        "hostssl" => Kind::HostSsl,
        "hostnossl" => Kind::HostNoSsl,
        other => return Err(format!("{other:?} is not supported: local, host, hostssl and hostnossl are")),
    };
    let databases =
        field("database")?.into_iter().map(|word| read_name(word, "database")).collect::<Result<Vec<_>, String>>()?;
    let users = field("user")?.into_iter().map(|word| read_name(word, "user")).collect::<Result<Vec<_>, String>>()?;
    let mut method = None;
    let network = if kind == Kind::Local {
        None
    } else {
        let address = single("address", field("address")?)?;
        let next = single("method", field("method")?)?;
        // `address mask method` is another way to write `address/bits method`.
        match next.parse::<IpAddr>() {
            Ok(mask) => read_network(&address, Some(mask))?,
            Err(_) => {
                method = Some(next);
                read_network(&address, None)?
            }
        }
    };
    let method = match method {
        Some(method) => method,
        None => single("method", field("method")?)?,
    };
    let method = match &*method {
        "trust" => Method::Trust,
        "scram-sha-256" => Method::Scram,
        "reject" => Method::Reject,
        other => return Err(format!("method {other:?} is not supported: trust, scram-sha-256 and reject are")),
    };
    match fields.next() {
        None => Ok(Some(Rule { line: number, kind, databases, users, network, method })),
        Some(_) => Err("options behind the method are not supported".into()),
    }
}

fn read_name((word, quoted): Word, what: &str) -> Result<Name, String> {
    if quoted {
        return Ok(Name::Is(word));
    }
    match &*word {
        "all" => Ok(Name::All),
        "sameuser" | "samerole" | "samegroup" | "replication" if what == "database" => {
            Err(format!("database {word:?} is not supported"))
        }
        _ if word.starts_with('/') || word.starts_with('@') => Err(format!("{what} {word:?} is not supported")),
        _ => match word.strip_prefix('+') {
            Some(role) if what == "user" => Ok(Name::MemberOf(role.to_owned())),
            _ => Ok(Name::Is(word)),
        },
    }
}

/// The addresses that `all`, `address/bits` or `address` with a mask means.
fn read_network(text: &str, mask: Option<IpAddr>) -> Result<Option<Network>, String> {
    if text == "all" && mask.is_none() {
        return Ok(None);
    }
    let none = || format!("address {text:?} is not supported: all, an address with /bits, or one with a mask is");
    let (address, bits) = match (text.split_once('/'), mask) {
        (Some((address, bits)), None) => (address, Some(bits.parse::<u8>().map_err(|_| none())?)),
        (None, Some(_)) => (text, None),
        _ => return Err(none()),
    };
    let address: IpAddr = address.parse().map_err(|_| none())?;
    let (bits, width) = match (address, mask, bits) {
        (IpAddr::V4(_), Some(IpAddr::V4(mask)), _) => {
            let mask = u32::from(mask);
            (contiguous(u128::from(mask) << 96).ok_or_else(none)?, 32)
        }
        (IpAddr::V6(_), Some(IpAddr::V6(mask)), _) => (contiguous(u128::from(mask)).ok_or_else(none)?, 128),
        (IpAddr::V4(_), None, Some(bits)) => (bits, 32),
        (IpAddr::V6(_), None, Some(bits)) => (bits, 128),
        _ => return Err(none()),
    };
    if bits > width {
        return Err(format!("{text:?} has more bits than an address"));
    }
    Ok(Some(Network { address, bits }))
}

/// How many leading bits a mask has; `None` if others are set too.
fn contiguous(mask: u128) -> Option<u8> {
    let bits = mask.leading_ones();
    (mask.count_ones() == bits).then_some(bits as u8)
}

#[cfg(test)]
mod tests;
