//! The settings of a session (`SET`, `SHOW`) and the environment a statement runs in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

use super::options::Options;
use crate::catalog::Catalog;
use crate::catalog::rights::RoleId;
use crate::commit::transaction::LockTimeouts;

/// What a statement may know of its session and its moment.
#[derive(Clone)]
pub struct Environment {
    /// The name of the role the session acts as (`current_user`).
    pub user: String,
    /// The name of the role it acts as without SET ROLE (`session_user`).
    pub session_user: String,
    /// The role it acts as.
    pub role: RoleId,
    /// The role it began as, and the name that goes by: of a session that is called otherwise than its role, its own.
    pub login: (RoleId, String),
    /// What exists, as the session sees it.
    pub catalog: Arc<Catalog>,
    /// The name of the database.
    pub database: String,
    /// The number of the session (`pg_backend_pid`).
    pub session: i32,
    /// The session's time zone.
    pub zone: chrono_tz::Tz,
    /// When the transaction began: microseconds since 1970 UTC (`now()`).
    pub transaction_time_us: i64,
    /// When the statement began.
    pub statement_time_us: i64,
    /// The session's settings.
    pub settings: Arc<Settings>,
    /// What functions may ask of the session.
    pub hooks: crate::query::functions::Hooks,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("user", &self.user).field("session", &self.session).finish_non_exhaustive()
    }
}

/// What a setting takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    Real {
        min: f64,
        max: f64,
    },
    /// Milliseconds, or a number with a unit (ms, s, min, h, d).
    Duration,
    /// As `Duration`, or -1 for never.
    DurationOrNever,
    OneOf(&'static [&'static str]),
    /// Shown, never set.
    Fixed,
    /// Given when the server is started, by the option of this name.
    Server(&'static str),
}

struct Definition {
    name: &'static str,
    /// The spelling PostgreSQL shows, where it is not lower case.
    default: &'static str,
    kind: Kind,
}

const fn setting(name: &'static str, default: &'static str, kind: Kind) -> Definition {
    Definition { name, default, kind }
}

const LEVEL: Kind = Kind::OneOf(&["read committed", "read uncommitted", "repeatable read", "serializable"]);
const ITERATIVE: Kind = Kind::OneOf(&["off", "relaxed_order", "strict_order"]);

/// How the open transaction is isolated; without one, how the next one will be.
pub(super) const ISOLATION: &str = "transaction_isolation";
/// Whether the open transaction only reads; without one, whether the next one will.
pub(super) const READ_ONLY: &str = "transaction_read_only";

/// The setting for [`Settings::slow_after`].
pub(super) const SLOW: &str = "log_min_duration_statement";

/// Whether the session acts for a superuser: shown, never set.
const IS_SUPERUSER: &str = "is_superuser";

/// Every setting there is. Settings that steer PostgreSQL's planner are accepted and have no effect here.
const DEFINITIONS: &[Definition] = &[
    setting("application_name", "", Kind::Text),
    setting("bytea_output", "hex", Kind::OneOf(&["hex", "escape"])),
    setting("check_function_bodies", "on", Kind::Bool),
    setting("client_encoding", "UTF8", Kind::Text),
    setting("client_min_messages", "notice", Kind::Text),
    setting("datestyle", "ISO, MDY", Kind::Text),
    setting("deadlock_timeout", "1s", Kind::Duration),
    setting("default_tablespace", "", Kind::Text),
    setting("default_table_access_method", "heap", Kind::OneOf(&["heap"])),
    setting("default_transaction_deferrable", "off", Kind::Bool),
    setting("default_transaction_isolation", "read committed", LEVEL),
    setting("default_transaction_read_only", "off", Kind::Bool),
    setting("enable_indexscan", "on", Kind::Bool),
    setting("enable_bitmapscan", "on", Kind::Bool),
    setting("enable_seqscan", "on", Kind::Bool),
    setting("enable_sort", "on", Kind::Bool),
    setting("escape_string_warning", "on", Kind::Bool),
    setting("extra_float_digits", "1", Kind::Integer { min: -15, max: 3 }),
    setting("hnsw.ef_search", "40", Kind::Integer { min: 1, max: 1000 }),
    setting("hnsw.iterative_scan", "off", ITERATIVE),
    setting("hnsw.max_scan_tuples", "20000", Kind::Integer { min: 1, max: i32::MAX as i64 }),
    setting("hnsw.scan_mem_multiplier", "1", Kind::Real { min: 1.0, max: 1000.0 }),
    setting("idle_in_transaction_session_timeout", "0", Kind::Duration),
    setting("idle_session_timeout", "0", Kind::Duration),
    setting("in_hot_standby", "off", Kind::Fixed),
    setting("integer_datetimes", "on", Kind::Fixed),
    setting("intervalstyle", "postgres", Kind::OneOf(&["postgres"])),
    setting("ivfflat.iterative_scan", "off", Kind::OneOf(&["off", "relaxed_order"])),
    setting("ivfflat.max_probes", "32768", Kind::Integer { min: 1, max: 32768 }),
    setting("ivfflat.probes", "1", Kind::Integer { min: 1, max: 32768 }),
    setting(IS_SUPERUSER, "on", Kind::Fixed),
    setting("jit", "off", Kind::Bool),
    setting("lc_collate", "C", Kind::Fixed),
    setting("lc_ctype", "C.UTF-8", Kind::Fixed),
    setting("lc_messages", "C", Kind::Text),
    setting("lc_monetary", "C", Kind::Text),
    setting("lc_numeric", "C", Kind::Text),
    setting("lc_time", "C", Kind::Text),
    setting("lock_timeout", "0", Kind::Duration),
    setting(SLOW, "-1", Kind::DurationOrNever),
    setting("lodedb.backup_dir", "", Kind::Server("--backup-dir")),
    setting("lodedb.backup_interval", "", Kind::Server("--backup-interval")),
    setting("lodedb.backup_keep", "", Kind::Server("--backup-keep")),
    setting("lodedb.disk_reserve", "", Kind::Server("--disk-reserve")),
    setting("lodedb.exact", "off", Kind::Bool),
    setting("lodedb.log_segment", "", Kind::Server("--log-segment")),
    setting("lodedb.max_queue", "", Kind::Server("--max-queue")),
    setting("lodedb.max_running", "", Kind::Server("--max-running")),
    setting("lodedb.memory_limit", "", Kind::Server("--memory-limit")),
    setting("lodedb.query_memory", "", Kind::Server("--query-memory")),
    setting("lodedb.queue_timeout", "", Kind::Server("--queue-timeout")),
    setting("lodedb.row_cache", "", Kind::Server("--row-cache")),
    setting("lodedb.scrub_interval", "", Kind::Server("--scrub-interval")),
    setting("lodedb.target_recall", "0.95", Kind::Real { min: 0.5, max: 1.0 }),
    setting("lodedb.probes", "0", Kind::Integer { min: 0, max: 1 << 20 }),
    setting("lodedb.candidates", "0", Kind::Integer { min: 0, max: 1 << 24 }),
    setting("maintenance_work_mem", "64MB", Kind::Text),
    setting("max_identifier_length", "63", Kind::Fixed),
    setting("max_index_keys", "32", Kind::Fixed),
    setting("max_parallel_maintenance_workers", "2", Kind::Integer { min: 0, max: 1024 }),
    setting("max_parallel_workers", "2", Kind::Integer { min: 0, max: 1024 }),
    setting("max_parallel_workers_per_gather", "2", Kind::Integer { min: 0, max: 1024 }),
    setting("min_parallel_table_scan_size", "8MB", Kind::Text),
    setting("quote_all_identifiers", "off", Kind::Bool),
    setting("role", "none", Kind::Text),
    setting("row_security", "on", Kind::Bool),
    setting("search_path", "\"$user\", public", Kind::Text),
    setting("server_encoding", "UTF8", Kind::Fixed),
    setting("server_version", crate::SERVER_VERSION, Kind::Fixed),
    setting("server_version_num", crate::SERVER_VERSION_NUM, Kind::Fixed),
    setting("session_authorization", "", Kind::Text),
    setting("standard_conforming_strings", "on", Kind::OneOf(&["on"])),
    setting("statement_timeout", "0", Kind::Duration),
    setting("synchronize_seqscans", "on", Kind::Bool),
    setting("synchronous_commit", "on", Kind::OneOf(&["on", "off", "local", "remote_write", "remote_apply"])),
    setting("timezone", "UTC", Kind::Text),
    setting("transaction_deferrable", "off", Kind::Bool),
    setting("transaction_isolation", "read committed", LEVEL),
    setting("transaction_read_only", "off", Kind::Bool),
    setting("vacuum_cost_delay", "0", Kind::Text),
    setting("work_mem", "4MB", Kind::Text),
    setting("xmloption", "content", Kind::Text),
];

/// Settings a client is told of when they change.
const REPORTED: &[(&str, &str)] = &[
    ("application_name", "application_name"),
    ("client_encoding", "client_encoding"),
    ("datestyle", "DateStyle"),
    ("default_transaction_read_only", "default_transaction_read_only"),
    ("in_hot_standby", "in_hot_standby"),
    ("integer_datetimes", "integer_datetimes"),
    ("intervalstyle", "IntervalStyle"),
    ("is_superuser", "is_superuser"),
    ("server_encoding", "server_encoding"),
    ("server_version", "server_version"),
    ("session_authorization", "session_authorization"),
    ("standard_conforming_strings", "standard_conforming_strings"),
    ("timezone", "TimeZone"),
];

/// The settings that differ from their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
    /// Of the server: the same for all sessions.
    server: Arc<BTreeMap<&'static str, String>>,
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Definition>> =
    LazyLock::new(|| DEFINITIONS.iter().map(|definition| (definition.name, definition)).collect());

fn definition(name: &str) -> Result<&'static Definition> {
    let found = BY_NAME.get(name).or_else(|| BY_NAME.get(&*name.to_ascii_lowercase()));
    found.copied().ok_or_else(|| {
        SqlError::new(SqlState::UndefinedObject, format!("unrecognized configuration parameter \"{name}\""))
    })
}

/// Milliseconds of a duration as PostgreSQL writes it.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let scale = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// The zone of this name: a name of the tz database, whatever its case, or `UTC`.
pub fn parse_zone(name: &str) -> Option<chrono_tz::Tz> {
    let name = name.trim();
    if let Ok(zone) = name.parse() {
        return Some(zone);
    }
    let fixed = name.trim_start_matches('<').split('>').next().unwrap_or(name);
    match fixed.to_ascii_uppercase().as_str() {
        "Z" | "GMT" | "UTC" | "+00" | "-00" | "0" | "+00:00" | "00:00:00" | "ETC/UTC" | "UNIVERSAL" => {
            Some(chrono_tz::UTC)
        }
        _ => chrono_tz::TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(name)),
    }
}

/// A number of bytes in the largest unit that shows it whole.
fn size(bytes: u64) -> String {
    let units = [(30, "GB"), (20, "MB"), (10, "kB")];
    let unit = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes}B"), |(shift, name)| format!("{}{name}", bytes >> shift))
}

/// A time in the largest unit that shows it whole; 0 where there is none.
fn time(time: Option<Duration>) -> String {
    let ms = time.map_or(0, |time| time.as_millis());
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    let unit = units.into_iter().find(|(each, _)| ms > 0 && ms.is_multiple_of(*each));
    unit.map_or_else(|| "0".into(), |(each, name)| format!("{}{name}", ms / each))
}

impl Settings {
    /// The defaults, and how a database was opened.
    pub fn showing(options: &Options) -> Self {
        let dir = options.backup_dir.as_ref().map(|dir| dir.display().to_string());
        let keep = format!("{},{}", options.backup_keep.newest, options.backup_keep.days);
        let server = BTreeMap::from([
            ("lodedb.backup_dir", dir.unwrap_or_default()),
            ("lodedb.backup_interval", time(options.backup_interval)),
            ("lodedb.backup_keep", keep),
            ("lodedb.disk_reserve", size(options.disk_reserve_bytes)),
            ("lodedb.log_segment", size(options.log_segment_bytes)),
            ("lodedb.max_queue", options.load.waiting.to_string()),
            ("lodedb.max_running", options.load.running.to_string()),
            ("lodedb.memory_limit", size(options.memory_limit() as u64 >> 20 << 20)),
            ("lodedb.query_memory", size(options.query_memory_bytes as u64)),
            ("lodedb.queue_timeout", time(Some(options.load.patience))),
            ("lodedb.row_cache", size(options.row_cache_bytes as u64)),
            ("lodedb.scrub_interval", time(options.scrub_interval)),
        ]);
        Self { server: Arc::new(server), ..Self::default() }
    }

    fn value(&self, definition: &Definition) -> String {
        if let ISOLATION | READ_ONLY = definition.name
            && !self.values.contains_key(definition.name)
            && let Ok(next) = self.get(&format!("default_{}", definition.name))
        {
            return next;
        }
        let found = self.values.get(definition.name).or_else(|| self.server.get(definition.name));
        found.cloned().unwrap_or_else(|| definition.default.to_owned())
    }

    /// The value of a setting, as SHOW prints it.
    pub fn get(&self, name: &str) -> Result<String> {
        Ok(self.value(definition(name)?))
    }

    /// Changes a setting; `None` means its default.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let definition = definition(name)?;
        let Some(value) = value else {
            self.values.remove(definition.name);
            return Ok(());
        };
        let invalid = || {
            SqlError::new(
                SqlState::InvalidParameterValue,
                format!("invalid value for parameter \"{}\": \"{value}\"", definition.name),
            )
        };
        let stored = match definition.kind {
            Kind::Fixed => {
                let message = format!("parameter \"{}\" cannot be changed", definition.name);
                return Err(SqlError::new(SqlState::CantChangeRuntimeParam, message));
            }
            Kind::Server(option) => {
                let message =
                    format!("parameter \"{}\" cannot be changed without restarting the server", definition.name);
                return Err(SqlError::new(SqlState::CantChangeRuntimeParam, message)
                    .with_hint(format!("Start it with {option}.")));
            }
            Kind::Bool => match value.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" | "t" | "y" => "on".to_owned(),
                "off" | "false" | "no" | "0" | "f" | "n" => "off".to_owned(),
                _ => {
                    return Err(SqlError::new(
                        SqlState::InvalidParameterValue,
                        format!("parameter \"{}\" requires a Boolean value", definition.name),
                    ));
                }
            },
            Kind::Integer { min, max } => {
                let number: i64 = value.trim().parse().map_err(|_| invalid())?;
                if !(min..=max).contains(&number) {
                    return Err(out_of_range(definition.name, value, min, max));
                }
                number.to_string()
            }
            Kind::Real { min, max } => {
                let number: f64 = value.trim().parse().map_err(|_| invalid())?;
                if !(min..=max).contains(&number) {
                    return Err(out_of_range(definition.name, value, min, max));
                }
                number.to_string()
            }
            Kind::Duration => {
                parse_duration_ms(value).ok_or_else(invalid)?;
                value.trim().to_owned()
            }
            Kind::DurationOrNever => {
                if value.trim() != "-1" {
                    parse_duration_ms(value).ok_or_else(invalid)?;
                }
                value.trim().to_owned()
            }
            Kind::OneOf(choices) => {
                let lower = value.to_ascii_lowercase();
                let known = choices.iter().find(|choice| **choice == lower);
                let hint = || invalid().with_hint(format!("Available values: {}.", choices.join(", ")));
                known.ok_or_else(hint)?.to_string()
            }
            Kind::Text => self.checked_text(definition.name, value).ok_or_else(invalid)?,
        };
        self.values.insert(definition.name, stored);
        Ok(())
    }

    fn checked_text(&self, name: &str, value: &str) -> Option<String> {
        match name {
            "timezone" => parse_zone(value).map(|zone| zone.name().to_owned()),
            "client_encoding" => {
                let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode").then(|| "UTF8".to_owned())
            }
            "datestyle" => {
                let parts: Vec<String> = value.split(',').map(|part| part.trim().to_ascii_uppercase()).collect();
                parts
                    .iter()
                    .all(|part| matches!(part.as_str(), "ISO" | "MDY" | "DEFAULT" | "US"))
                    .then(|| "ISO, MDY".to_owned())
            }
            _ => Some(value.to_owned()),
        }
    }

    /// The session's time zone.
    pub fn zone(&self) -> chrono_tz::Tz {
        self.values.get("timezone").and_then(|name| parse_zone(name)).unwrap_or(chrono_tz::UTC)
    }

    /// A duration in milliseconds; 0 is no limit.
    pub fn duration_ms(&self, name: &str) -> u64 {
        self.get(name).ok().and_then(|value| parse_duration_ms(&value)).unwrap_or(0)
    }

    /// How long to wait for locks, and when to look for a deadlock; `deadlock` unless it was set.
    pub fn lock_timeouts(&self, deadlock: Duration) -> LockTimeouts {
        let deadlock = match self.duration_ms("deadlock_timeout") {
            0 | 1000 => deadlock,
            set => Duration::from_millis(set),
        };
        let lock = Some(self.duration_ms("lock_timeout")).filter(|&ms| ms > 0).map(Duration::from_millis);
        LockTimeouts { deadlock, lock }
    }

    /// From when on a statement is slow and is logged; `None` is never.
    pub fn slow_after(&self) -> Option<Duration> {
        // Asked for each statement, so no default is looked up: it is never.
        parse_duration_ms(self.values.get(SLOW)?).map(Duration::from_millis)
    }

    /// SESSION AUTHORIZATION and ROLE, where they were set.
    pub(super) fn identity(&self) -> (Option<&str>, Option<&str>) {
        let chosen = |name| self.values.get(name).map(String::as_str);
        (chosen("session_authorization"), chosen("role"))
    }

    /// Whether `is_superuser` is shown.
    pub(super) fn shows_superuser(&self) -> bool {
        !self.values.contains_key(IS_SUPERUSER)
    }

    /// What `is_superuser` shows from now on.
    pub(super) fn show_superuser(&mut self, on: bool) {
        match on {
            true => self.values.remove(IS_SUPERUSER),
            false => self.values.insert(IS_SUPERUSER, "off".to_owned()),
        };
    }

    /// What a setting was set to, where it was.
    pub(super) fn chosen(&self, name: &str) -> Option<&str> {
        self.values.get(&*name.to_ascii_lowercase()).map(String::as_str)
    }

    /// Whether a boolean setting is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_ok_and(|value| value == "on")
    }

    /// Every setting with its value, by name.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        DEFINITIONS.iter().map(|definition| (definition.name, self.value(definition))).collect()
    }

    /// Every setting with the value it has where no session changes it, and who may change it in PostgreSQL's words.
    pub fn defaults(&self) -> Vec<(String, &'static str)> {
        let unchanged = Self { values: BTreeMap::new(), server: self.server.clone() };
        let context = |definition: &Definition| match definition.kind {
            Kind::Fixed => "internal",
            Kind::Server(_) => "postmaster",
            _ => "user",
        };
        DEFINITIONS.iter().map(|definition| (unchanged.value(definition), context(definition))).collect()
    }

    /// The settings a client is told of, with the spelling of the protocol.
    pub fn reported(&self) -> Vec<(String, String)> {
        REPORTED.iter().filter_map(|(name, shown)| Some(((*shown).to_owned(), self.get(name).ok()?))).collect()
    }
}

fn out_of_range(name: &str, value: &str, min: impl std::fmt::Display, max: impl std::fmt::Display) -> SqlError {
    SqlError::new(
        SqlState::InvalidParameterValue,
        format!("{value} is outside the valid range for parameter \"{name}\" ({min} .. {max})"),
    )
}
