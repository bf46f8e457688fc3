//! Dates and times in text: PostgreSQL's reader of free-form dates, and its ISO output.
//!
//! Reading is in two steps, as in PostgreSQL: the text is cut into fields by its characters alone, then each field is
//! understood in the light of those before it.

use chrono::{NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;

use super::{number::write_int, shortened};
use crate::cast::CastEnvironment;
use crate::error::{Result, SqlError, SqlState};

/// Microseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub(crate) const DAY: i64 = 24 * HOUR;

/// The first day of both `date` and `timestamp`: 4714-11-24 BC.
pub(crate) const MIN_DAY: i64 = -2_440_588;
/// The first day after the last `date`: 5874898-01-01.
const END_DAY: i64 = 2_145_042_906;
/// The first day no `timestamp` is in: 294247-01-10, where microseconds since 1970 end (PostgreSQL's, counted from
/// 2000, go on for thirty years).
const END_TIMESTAMP_DAY: i64 = 106_751_991;

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar; year 0 is 1 BC.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year (0 is 1 BC), month and day.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days of a month; year 0 is 1 BC.
pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether a `date` may have this many days since 1970.
pub(crate) fn is_valid_day(day: i64) -> bool {
    (MIN_DAY..END_DAY).contains(&day)
}

/// Whether a `timestamp` may have this many microseconds since 1970.
pub(crate) fn is_valid_timestamp(value: i64) -> bool {
    (MIN_DAY * DAY..END_TIMESTAMP_DAY * DAY).contains(&value)
}

/// `22008`: no such timestamp.
pub(crate) fn timestamp_out_of_range() -> SqlError {
    SqlError::new(SqlState::DatetimeFieldOverflow, "timestamp out of range")
}

/// A day and a time of it as microseconds since 1970, if a timestamp reaches that far.
pub(crate) fn timestamp_of(day: i64, time: i64) -> Option<i64> {
    day.checked_mul(DAY)?.checked_add(time).filter(|&value| is_valid_timestamp(value))
}

/// Rounds microseconds, half away from zero, to the precision a `time(p)` or `timestamp(p)` modifier asks for.
pub(crate) fn round_to_modifier(value: i64, modifier: i32) -> i64 {
    let precision = modifier & 0xffff;
    if modifier < 0 || precision >= 6 {
        return value;
    }
    let unit = 10i64.pow(6 - precision as u32);
    let half = unit / 2;
    if value >= 0 { value.saturating_add(half) / unit * unit } else { value.saturating_sub(half) / unit * unit }
}

/// Rounds a timestamp, infinities aside, half away from 2000-01-01 as PostgreSQL does.
pub(crate) fn timestamp_with_modifier(value: i64, modifier: i32) -> Result<i64> {
    if value == i64::MAX || value == i64::MIN {
        return Ok(value);
    }
    let rounded = round_to_modifier(value.saturating_sub(PG_EPOCH), modifier).saturating_add(PG_EPOCH);
    if is_valid_timestamp(rounded) { Ok(rounded) } else { Err(timestamp_out_of_range()) }
}

/// 2000-01-01 in microseconds since 1970.
pub(crate) const PG_EPOCH: i64 = 10_957 * DAY;

/// A year that a zone's table covers, with the same calendar as `year`: rules go on beyond the table's end.
fn year_in_tables(year: i64) -> i64 {
    match year {
        // 28 years hold every kind of year while no century intervenes.
        2100.. => {
            let (leap, weekday) = (days_in_month(year, 2), days_from_civil(year, 1, 1).rem_euclid(7));
            (2072..2100)
                .find(|&y| days_in_month(y, 2) == leap && days_from_civil(y, 1, 1).rem_euclid(7) == weekday)
                .unwrap_or(2099)
        }
        ..1 => 1,
        _ => year,
    }
}

/// The local time `value` as chrono has it, moved to a year the zone tables cover.
fn in_tables(value: i64) -> chrono::NaiveDateTime {
    let (year, month, day) = civil_from_days(value.div_euclid(DAY));
    let year = year_in_tables(year);
    let day = day.min(days_in_month(year, month));
    let time = value.rem_euclid(DAY);
    NaiveDate::from_ymd_opt(year as i32, month as u32, day as u32)
        .and_then(|date| date.and_hms_micro_opt(0, 0, 0, 0))
        .unwrap_or_default()
        + chrono::TimeDelta::microseconds(time)
}

/// Seconds east of UTC at a moment.
pub(crate) fn offset_at(utc: i64, zone: Tz) -> i32 {
    if zone == Tz::UTC { 0 } else { zone.offset_from_utc_datetime(&in_tables(utc)).fix().local_minus_utc() }
}

/// The moment a local time is in a zone: in a gap the offset before it holds, where a time comes twice the second.
pub(crate) fn local_to_utc(local: i64, zone: Tz) -> Option<i64> {
    let tables = in_tables(local);
    let offset = match zone.offset_from_local_datetime(&tables) {
        chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc(),
        chrono::LocalResult::Ambiguous(first, second) => {
            first.fix().local_minus_utc().min(second.fix().local_minus_utc())
        }
        chrono::LocalResult::None => {
            let before = tables - chrono::TimeDelta::days(1);
            zone.offset_from_utc_datetime(&before).fix().local_minus_utc()
        }
    };
    local.checked_sub(i64::from(offset) * SECOND).filter(|&value| is_valid_timestamp(value))
}

/// The local time of a moment.
pub(crate) fn utc_to_local(utc: i64, zone: Tz) -> i64 {
    utc.saturating_add(i64::from(offset_at(utc, zone)) * SECOND)
}

/// Reads a `date`: days since 1970.
pub(super) fn parse_date(text: &str, environment: &CastEnvironment) -> Result<i32> {
    let fields = Fields::read(text, "date", environment)?;
    if let Some(infinity) = fields.infinity {
        return Ok(if infinity { i32::MAX } else { i32::MIN });
    }
    let day = fields.day(text, "date")?;
    i32::try_from(day).ok().filter(|_| is_valid_day(day)).ok_or_else(|| {
        SqlError::new(SqlState::DatetimeFieldOverflow, format!("date out of range: \"{}\"", shortened(text)))
    })
}

/// Reads a `time`: microseconds since midnight.
pub(super) fn parse_time(text: &str, environment: &CastEnvironment) -> Result<i64> {
    let fields = Fields::read(text, "time", environment)?;
    if fields.infinity.is_some() {
        return Err(invalid(text, "time"));
    }
    fields.time.ok_or_else(|| invalid(text, "time"))
}

/// Reads a `timestamp`; a zone in the text is read and ignored, as PostgreSQL does.
pub(super) fn parse_timestamp(text: &str, environment: &CastEnvironment) -> Result<i64> {
    let fields = Fields::read(text, "timestamp", environment)?;
    if let Some(infinity) = fields.infinity {
        return Ok(if infinity { i64::MAX } else { i64::MIN });
    }
    let day = fields.day(text, "timestamp")?;
    timestamp_of(day, fields.time.unwrap_or(0)).ok_or_else(|| out_of_range(text))
}

/// Reads a `timestamptz`; without a zone in the text the session's holds.
pub(super) fn parse_timestamptz(text: &str, environment: &CastEnvironment) -> Result<i64> {
    const TYPE: &str = "timestamp with time zone";
    let fields = Fields::read(text, TYPE, environment)?;
    if let Some(infinity) = fields.infinity {
        return Ok(if infinity { i64::MAX } else { i64::MIN });
    }
    let day = fields.day(text, TYPE)?;
    // A local time may lie a zone's offset beyond the last moment.
    let local = day
        .checked_mul(DAY)
        .and_then(|start| start.checked_add(fields.time.unwrap_or(0)))
        .ok_or_else(|| out_of_range(text))?;
    let utc = match fields.zone {
        Some(Zone::Offset(seconds)) => local.checked_sub(i64::from(seconds) * SECOND),
        Some(Zone::Named(zone)) => local_to_utc(local, zone),
        None => local_to_utc(local, environment.zone),
    };
    utc.filter(|&value| is_valid_timestamp(value)).ok_or_else(|| out_of_range(text))
}

fn out_of_range(text: &str) -> SqlError {
    SqlError::new(SqlState::DatetimeFieldOverflow, format!("timestamp out of range: \"{}\"", shortened(text)))
}

fn invalid(text: &str, type_name: &str) -> SqlError {
    SqlError::new(
        SqlState::InvalidDatetimeFormat,
        format!("invalid input syntax for type {type_name}: \"{}\"", shortened(text)),
    )
}

fn field_overflow(text: &str) -> SqlError {
    SqlError::new(
        SqlState::DatetimeFieldOverflow,
        format!("date/time field value out of range: \"{}\"", shortened(text)),
    )
}

fn month_overflow(text: &str) -> SqlError {
    field_overflow(text).with_hint("Perhaps you need a different \"datestyle\" setting.")
}

/// A zone named in a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Zone {
    /// Seconds east of UTC.
    Offset(i32),
    /// A zone with rules.
    Named(Tz),
}

/// One field, cut out by its characters alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    /// Digits, perhaps with a fraction.
    Number(&'a str),
    /// Digits, points and at least one colon.
    Time(&'a str),
    /// Numbers and month names with `-`, `/` or `.` between them.
    Date(&'a str),
    /// A sign and what follows it: an offset, or an infinity.
    Signed(&'a str),
    /// A word, or a zone's name.
    Word(&'a str),
}

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let bytes = text.as_bytes();
    let mut result = Vec::new();
    let mut at = 0;
    let run = |mut at: usize, accept: &dyn Fn(u8) -> bool| {
        while at < bytes.len() && accept(bytes[at]) {
            at += 1;
        }
        at
    };
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'0'..=b'9' => {
                let end = run(at, &|byte| byte.is_ascii_digit());
                match bytes.get(end) {
                    Some(b':') => {
                        at = run(end, &|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
                        result.push(Token::Time(&text[start..at]));
                    }
                    Some(&separator @ (b'-' | b'/' | b'.')) => {
                        let next = bytes.get(end + 1).copied().unwrap_or(b' ');
                        if next.is_ascii_digit() {
                            let second = run(end + 1, &|byte| byte.is_ascii_digit());
                            at = if bytes.get(second) == Some(&separator) {
                                run(second, &|byte| byte.is_ascii_digit() || byte == separator)
                            } else {
                                second
                            };
                            let is_number = separator == b'.' && at == second;
                            let field = &text[start..at];
                            result.push(if is_number { Token::Number(field) } else { Token::Date(field) });
                        } else if next.is_ascii_alphabetic() {
                            at = run(end + 1, &|byte| byte.is_ascii_alphanumeric() || byte == separator);
                            result.push(Token::Date(&text[start..at]));
                        } else if separator == b'.' {
                            at = end + 1;
                            result.push(Token::Number(&text[start..at]));
                        } else {
                            at = end;
                            result.push(Token::Number(&text[start..at]));
                        }
                    }
                    _ => {
                        at = end;
                        result.push(Token::Number(&text[start..at]));
                    }
                }
            }
            b'+' | b'-' => {
                at += 1;
                while at < bytes.len() && bytes[at].is_ascii_whitespace() {
                    at += 1;
                }
                let from = at;
                at = match bytes.get(at) {
                    Some(byte) if byte.is_ascii_digit() => {
                        run(at, &|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'-'))
                    }
                    Some(byte) if byte.is_ascii_alphabetic() => run(at, &|byte| byte.is_ascii_alphabetic()),
                    _ => return None,
                };
                // The sign is told apart by the byte before the field.
                result.push(Token::Signed(if from == start + 1 { &text[start..at] } else { &text[from - 1..at] }));
            }
            byte if byte.is_ascii_alphabetic() => {
                let end = run(at, &|byte| byte.is_ascii_alphabetic());
                let is_month = month_by_name(&text[start..end]).is_some();
                at = match bytes.get(end) {
                    Some(&separator @ (b'-' | b'/' | b'.')) if is_month => {
                        let end = run(end, &|byte| byte.is_ascii_alphanumeric() || byte == separator);
                        result.push(Token::Date(&text[start..end]));
                        at = end;
                        continue;
                    }
                    Some(b'/' | b'_') => {
                        run(end, &|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+'))
                    }
                    _ => end,
                };
                result.push(Token::Word(&text[start..at]));
            }
            byte if byte.is_ascii_whitespace() || byte == 0x0b || byte.is_ascii_punctuation() => at += 1,
            _ => return None,
        }
        // PostgreSQL gives up at 25 fields.
        if result.len() > 25 {
            return None;
        }
    }
    Some(result)
}

fn month_by_name(word: &str) -> Option<i64> {
    const NAMES: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let word = word.to_ascii_lowercase();
    if word == "sept" {
        return Some(9);
    }
    NAMES.iter().position(|name| *name == word || name[..3] == word).map(|at| at as i64 + 1)
}

fn is_day_of_week(word: &str) -> bool {
    const NAMES: [&str; 16] = [
        "sun",
        "sunday",
        "mon",
        "monday",
        "tue",
        "tues",
        "tuesday",
        "wed",
        "weds",
        "wednesday",
        "thu",
        "thur",
        "thurs",
        "fri",
        "friday",
        "sat",
    ];
    NAMES.contains(&word) || word == "thursday" || word == "saturday"
}

/// Offsets of the abbreviations PostgreSQL knows by default, in minutes.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("acdt", 630),
    ("acst", 570),
    ("adt", -180),
    ("aedt", 660),
    ("aest", 600),
    ("akdt", -480),
    ("akst", -540),
    ("art", -180),
    ("ast", -240),
    ("awst", 480),
    ("bdst", 120),
    ("brt", -180),
    ("bst", 60),
    ("cadt", 630),
    ("cdt", -300),
    ("cest", 120),
    ("cet", 60),
    ("cst", -360),
    ("edt", -240),
    ("eest", 180),
    ("eet", 120),
    ("est", -300),
    ("gmt", 0),
    ("hkt", 480),
    ("hst", -600),
    ("idt", 180),
    ("ist", 120),
    ("jst", 540),
    ("kst", 540),
    ("mdt", -360),
    ("mest", 120),
    ("met", 60),
    ("mez", 60),
    ("msd", 240),
    ("msk", 180),
    ("mst", -420),
    ("ndt", -150),
    ("nst", -210),
    ("nzdt", 780),
    ("nzst", 720),
    ("pdt", -420),
    ("pht", 480),
    ("pkt", 300),
    ("pst", -480),
    ("sast", 120),
    ("sgt", 480),
    ("ut", 0),
    ("utc", 0),
    ("wadt", 480),
    ("wast", 420),
    ("wat", -60),
    ("wdt", 540),
    ("west", 60),
    ("wet", 0),
    ("z", 0),
    ("zulu", 0),
];

/// The zone with this name or abbreviation, upper or lower case.
pub(crate) fn zone_by_name(name: &str) -> Option<Zone> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, minutes)) = ABBREVIATIONS.iter().find(|(abbreviation, _)| *abbreviation == lower) {
        return Some(Zone::Offset(minutes * 60));
    }
    name.parse::<Tz>()
        .ok()
        .or_else(|| chrono_tz::TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(name)))
        .map(Zone::Named)
}

/// An offset such as `+02`, `-03:30`, `+0530`, `+01:02:03`: seconds east of UTC.
fn parse_offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let parts: Vec<&str> = digits.split(':').collect();
    if parts.iter().any(|part| part.is_empty() || part.len() > 6 || !part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let value = |part: &str| part.parse::<i32>().ok();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [packed] if packed.len() > 2 => {
            let packed_value = value(packed)?;
            if packed.len() > 4 {
                (packed_value / 10_000, packed_value / 100 % 100, packed_value % 100)
            } else {
                (packed_value / 100, packed_value % 100, 0)
            }
        }
        [hours] => (value(hours)?, 0, 0),
        [hours, minutes] => (value(hours)?, value(minutes)?, 0),
        [hours, minutes, seconds] => (value(hours)?, value(minutes)?, value(seconds)?),
        _ => return None,
    };
    (hours <= 15 && minutes < 60 && seconds < 60).then(|| sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Fraction digits as microseconds, rounded.
pub(super) fn fraction_to_microseconds(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digit = |at: usize| digits.as_bytes().get(at).map_or(0, |byte| i64::from(byte - b'0'));
    let value = (0..6).fold(0, |value, at| value * 10 + digit(at));
    Some(value + i64::from(digit(6) >= 5))
}

/// What a text says, before the type is considered.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    two_digit_year: bool,
    month: Option<i64>,
    day: Option<i64>,
    /// A day given whole: `today`, `epoch`, a Julian day.
    whole_day: Option<i64>,
    time: Option<i64>,
    zone: Option<Zone>,
    /// `Some(true)` for infinity, `Some(false)` for its negative.
    infinity: Option<bool>,
    before_christ: bool,
    /// `Some(true)` for PM.
    afternoon: Option<bool>,
    /// A `T` or `J` whose number comes next.
    prefix: Option<u8>,
    text_month: bool,
}

impl Fields {
    fn read(text: &str, type_name: &str, environment: &CastEnvironment) -> Result<Self> {
        let mut fields = Self::default();
        let tokens = tokens(text).filter(|tokens| !tokens.is_empty()).ok_or_else(|| invalid(text, type_name))?;
        for token in tokens {
            fields.take(token, text, type_name, environment)?;
        }
        if fields.prefix.is_some() {
            return Err(invalid(text, type_name));
        }
        if let Some(afternoon) = fields.afternoon {
            let time = fields.time.ok_or_else(|| invalid(text, type_name))?;
            if time >= 13 * HOUR {
                return Err(field_overflow(text));
            }
            fields.time = Some(match (afternoon, time >= 12 * HOUR) {
                (true, false) => time + 12 * HOUR,
                (false, true) => time - 12 * HOUR,
                _ => time,
            });
        }
        Ok(fields)
    }

    fn has_date(&self) -> bool {
        self.whole_day.is_some() || (self.year.is_some() && self.month.is_some() && self.day.is_some())
    }

    fn take(&mut self, token: Token<'_>, text: &str, type_name: &str, environment: &CastEnvironment) -> Result<()> {
        let syntax = || invalid(text, type_name);
        match token {
            Token::Time(field) => {
                if self.time.is_some() {
                    return Err(syntax());
                }
                self.prefix = None;
                self.time = Some(clock_time(field).ok_or_else(syntax)?.ok_or_else(|| field_overflow(text))?);
            }
            Token::Date(field) => {
                if self.has_date() {
                    return Err(syntax());
                }
                self.take_date(field, text, type_name)?;
            }
            Token::Number(field) => self.take_number(field, text, type_name)?,
            Token::Signed(field) => {
                let word = field[1..].to_ascii_lowercase();
                if matches!(word.as_str(), "infinity" | "inf") && self.infinity.is_none() {
                    self.infinity = Some(field.starts_with('+'));
                } else if (self.zone.is_none() || matches!(self.zone, Some(Zone::Offset(0)))) && self.time.is_some() {
                    let offset = parse_offset(field).ok_or_else(|| {
                        if field[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
                            SqlError::new(
                                SqlState::InvalidTimeZoneDisplacementValue,
                                format!("time zone displacement out of range: \"{}\"", shortened(text)),
                            )
                        } else {
                            syntax()
                        }
                    })?;
                    // Behind a name, as in `UTC+3`, the sign is POSIX's: positive is west.
                    self.zone = Some(Zone::Offset(if self.zone.is_some() { -offset } else { offset }));
                } else {
                    return Err(syntax());
                }
            }
            Token::Word(word) => self.take_word(word, text, type_name, environment)?,
        }
        Ok(())
    }

    fn take_word(&mut self, word: &str, text: &str, type_name: &str, environment: &CastEnvironment) -> Result<()> {
        let lower = word.to_ascii_lowercase();
        let local_now = || utc_to_local(environment.now_us, environment.zone);
        match lower.as_str() {
            "now" => {
                let now = local_now();
                self.whole_day = Some(now.div_euclid(DAY));
                self.time = Some(now.rem_euclid(DAY));
                if type_name == "timestamp with time zone" {
                    self.zone = Some(Zone::Offset(offset_at(environment.now_us, environment.zone)));
                }
            }
            "today" | "tomorrow" | "yesterday" => {
                let shift = match lower.as_str() {
                    "today" => 0,
                    "tomorrow" => 1,
                    _ => -1,
                };
                self.whole_day = Some(local_now().div_euclid(DAY) + shift);
            }
            "epoch" => {
                self.whole_day = Some(0);
                self.time = Some(0);
                self.zone = Some(Zone::Offset(0));
            }
            "infinity" | "inf" => self.infinity = Some(true),
            "allballs" => {
                self.time = Some(0);
                self.zone = Some(Zone::Offset(0));
            }
            "ad" => self.before_christ = false,
            "bc" => self.before_christ = true,
            "am" => self.afternoon = Some(false),
            "pm" => self.afternoon = Some(true),
            "t" | "j" if self.prefix.is_none() => self.prefix = Some(lower.as_bytes()[0]),
            "at" | "on" => {}
            _ if is_day_of_week(&lower) => {}
            _ => {
                if let Some(month) = month_by_name(&lower) {
                    match (self.month, self.day) {
                        (None, _) => self.month = Some(month),
                        // `8 Jan 1999`: the first number was taken for a month.
                        (Some(number), None) if !self.text_month => {
                            self.day = Some(number);
                            self.month = Some(month);
                        }
                        _ => return Err(invalid(text, type_name)),
                    }
                    self.text_month = true;
                    return Ok(());
                }
                match zone_by_name(word) {
                    Some(zone) if self.zone.is_none() => self.zone = Some(zone),
                    Some(_) => return Err(invalid(text, type_name)),
                    None if word.contains('/') || word.contains('_') => {
                        return Err(SqlError::new(
                            SqlState::InvalidParameterValue,
                            format!("time zone \"{}\" not recognized", shortened(&lower)),
                        ));
                    }
                    None => return Err(invalid(text, type_name)),
                }
            }
        }
        Ok(())
    }

    fn take_date(&mut self, field: &str, text: &str, type_name: &str) -> Result<()> {
        let parts: Vec<&str> = field.split(['-', '/', '.']).filter(|part| !part.is_empty()).collect();
        // Three parts, or two where a month name stands apart.
        if parts.len() > 3 {
            return Err(invalid(text, type_name));
        }
        if let Some(month) = parts.iter().find_map(|part| month_by_name(part)) {
            if self.text_month {
                return Err(invalid(text, type_name));
            }
            self.month = Some(month);
            self.text_month = true;
        }
        for part in parts {
            if part.bytes().all(|byte| byte.is_ascii_digit()) {
                self.take_date_number(part, text, type_name)?;
            } else if month_by_name(part).is_none() {
                return Err(invalid(text, type_name));
            }
        }
        if self.has_date() { Ok(()) } else { Err(invalid(text, type_name)) }
    }

    /// One number of a date: year first where it is long, else month, day, year.
    fn take_date_number(&mut self, part: &str, text: &str, type_name: &str) -> Result<()> {
        let value: i64 = part.parse().map_err(|_| field_overflow(text))?;
        let year = |fields: &mut Self| {
            fields.year = Some(value);
            fields.two_digit_year = part.len() <= 2;
        };
        match (self.year, self.month, self.day) {
            (None, None, None) if part.len() >= 3 => year(self),
            (None, None, None) => self.month = Some(value),
            // A month by name: the day comes first unless the number can only be a year.
            (None, Some(_), None) if self.text_month && part.len() >= 3 => year(self),
            (_, Some(_), None) => self.day = Some(value),
            (Some(_), None, None) if part.len() == 3 => {
                // Year and day of the year.
                let year = self.full_year(text)?;
                check_year(year, text, type_name)?;
                self.whole_day = Some(days_from_civil(year, 1, 1) + value - 1);
            }
            (Some(_), None, _) => self.month = Some(value),
            (None, Some(_), Some(_)) => year(self),
            _ => return Err(invalid(text, type_name)),
        }
        Ok(())
    }

    fn take_number(&mut self, field: &str, text: &str, type_name: &str) -> Result<()> {
        let syntax = || invalid(text, type_name);
        let (whole, fraction) = field.split_once('.').unwrap_or((field, ""));
        if self.prefix.take() == Some(b'j') {
            if self.has_date() {
                return Err(syntax());
            }
            let julian: i64 = whole.parse().map_err(|_| field_overflow(text))?;
            self.whole_day = Some(julian - 2_440_588);
            return Ok(());
        }
        let number = |range: std::ops::Range<usize>| whole[range].parse::<i64>().map_err(|_| syntax());
        if self.has_date() {
            // Only a time without colons can follow.
            if self.time.is_some() || !(whole.len() == 6 || (whole.len() == 4 && fraction.is_empty())) {
                return Err(syntax());
            }
            let minute = if whole.len() >= 4 { number(2..4)? } else { 0 };
            let second = if whole.len() == 6 { number(4..6)? } else { 0 };
            let micros = fraction_to_microseconds(fraction).ok_or_else(syntax)?;
            let time = time_of(number(0..2)?, minute, second, micros).ok_or_else(|| field_overflow(text))?;
            self.time = Some(time);
            return Ok(());
        }
        if self.year.is_none() && self.month.is_none() && self.day.is_none() && whole.len() >= 6 {
            // YYYYMMDD or YYMMDD; as a bare time HHMMSS.
            if type_name == "time" && whole.len() == 6 {
                let micros = fraction_to_microseconds(fraction).ok_or_else(syntax)?;
                let time = time_of(number(0..2)?, number(2..4)?, number(4..6)?, micros);
                self.time = Some(time.ok_or_else(|| field_overflow(text))?);
                return Ok(());
            }
            if !fraction.is_empty() {
                return Err(syntax());
            }
            let year_digits = whole.len() - 4;
            self.year = Some(number(0..year_digits)?);
            self.two_digit_year = year_digits == 2;
            self.month = Some(number(year_digits..year_digits + 2)?);
            self.day = Some(number(year_digits + 2..whole.len())?);
            return Ok(());
        }
        if type_name == "time" && whole.len() == 4 && self.time.is_none() && fraction.is_empty() {
            self.time = Some(time_of(number(0..2)?, number(2..4)?, 0, 0).ok_or_else(|| field_overflow(text))?);
            return Ok(());
        }
        if !fraction.is_empty() {
            return Err(syntax());
        }
        // `04 PM` and the like need their word; a number that can be no date is an hour.
        self.take_date_number(whole, text, type_name)
    }

    /// The year as counted with year 0 for 1 BC.
    fn full_year(&self, text: &str) -> Result<i64> {
        let year = self.year.unwrap_or(0);
        if self.before_christ {
            return if year <= 0 { Err(field_overflow(text)) } else { Ok(1 - year) };
        }
        match year {
            0..70 if self.two_digit_year => Ok(year + 2000),
            70..100 if self.two_digit_year => Ok(year + 1900),
            0 => Err(field_overflow(text)),
            _ => Ok(year),
        }
    }

    /// Days since 1970 of the date the text names.
    fn day(&self, text: &str, type_name: &str) -> Result<i64> {
        if let Some(day) = self.whole_day {
            return Ok(day);
        }
        let (Some(_), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            return Err(invalid(text, type_name));
        };
        let year = self.full_year(text)?;
        if !(1..=12).contains(&month) {
            return Err(month_overflow(text));
        }
        if !(1..=31).contains(&day) {
            return Err(month_overflow(text));
        }
        if day > days_in_month(year, month) {
            return Err(field_overflow(text));
        }
        check_year(year, text, type_name)?;
        Ok(days_from_civil(year, month, day))
    }
}

/// Years beyond any date must not overflow on the way to being refused.
fn check_year(year: i64, text: &str, type_name: &str) -> Result<()> {
    if (-10_000..10_000_000).contains(&year) {
        return Ok(());
    }
    let what = if type_name == "date" { "date" } else { "timestamp" };
    let message = format!("{what} out of range: \"{}\"", shortened(text));
    Err(SqlError::new(SqlState::DatetimeFieldOverflow, message))
}

/// `HH:MM[:SS[.ffffff]]` or `MM:SS.ffffff`. `None` where it is none, `Some(None)` where a part is out of range.
fn clock_time(field: &str) -> Option<Option<i64>> {
    let (clock, fraction) = field.split_once('.').unwrap_or((field, ""));
    let parts: Vec<&str> = clock.split(':').collect();
    let values: Vec<i64> = parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            // `12:` and `12:30:` are read as if a zero followed.
            if part.is_empty() && i > 0 { Some(0) } else { part.parse().ok() }
        })
        .collect::<Option<_>>()?;
    let micros = fraction_to_microseconds(fraction)?;
    Some(match values.as_slice() {
        [minute, second] if field.contains('.') => time_of(0, *minute, *second, micros),
        [hour, minute] => time_of(*hour, *minute, 0, 0),
        [hour, minute, second] => time_of(*hour, *minute, *second, micros),
        _ => return None,
    })
}

/// A time of day; 24:00:00 and second 60 are allowed.
fn time_of(hour: i64, minute: i64, second: i64, micros: i64) -> Option<i64> {
    let valid = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    let time = hour.checked_mul(HOUR)?.checked_add(minute.checked_mul(MINUTE)?)?;
    let time = time.checked_add(second.checked_mul(SECOND)?)?.checked_add(micros)?;
    (valid && time <= DAY).then_some(time)
}

fn write_padded(value: i64, width: usize, out: &mut Vec<u8>) {
    let mut digits = Vec::with_capacity(8);
    write_int(value, &mut digits);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(&digits);
}

fn write_two(value: i64, out: &mut Vec<u8>) {
    out.push(b'0' + (value / 10 % 10) as u8);
    out.push(b'0' + (value % 10) as u8);
}

fn write_calendar_day(day: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil_from_days(day);
    write_padded(if year > 0 { year } else { 1 - year }, 4, out);
    out.push(b'-');
    write_two(month, out);
    out.push(b'-');
    write_two(day, out);
    year <= 0
}

/// Appends a `date`.
pub(super) fn write_date(value: i32, out: &mut Vec<u8>) {
    match value {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            if write_calendar_day(i64::from(value), out) {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// Appends a `time`.
pub(super) fn write_time(value: i64, out: &mut Vec<u8>) {
    write_two(value / HOUR, out);
    out.push(b':');
    write_two(value / MINUTE % 60, out);
    out.push(b':');
    write_two(value / SECOND % 60, out);
    write_fraction(value.rem_euclid(SECOND), out);
}

/// Appends the fraction of a second without its last zeros.
pub(super) fn write_fraction(micros: i64, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    out.push(b'.');
    let (mut rest, mut unit) = (micros, 100_000);
    while rest > 0 {
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
        unit /= 10;
    }
}

/// Appends a `timestamp`.
pub(super) fn write_timestamp(value: i64, out: &mut Vec<u8>) {
    if write_infinity(value, out) {
        return;
    }
    if write_moment(value, out) {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a `timestamptz` in a zone.
pub(super) fn write_timestamptz(value: i64, zone: Tz, out: &mut Vec<u8>) {
    if write_infinity(value, out) {
        return;
    }
    let offset = offset_at(value, zone);
    let before_christ = write_moment(value.saturating_add(i64::from(offset) * SECOND), out);
    out.push(if offset < 0 { b'-' } else { b'+' });
    let seconds = i64::from(offset.abs());
    write_two(seconds / 3600, out);
    if seconds % 3600 != 0 {
        out.push(b':');
        write_two(seconds / 60 % 60, out);
        if seconds % 60 != 0 {
            out.push(b':');
            write_two(seconds % 60, out);
        }
    }
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

fn write_infinity(value: i64, out: &mut Vec<u8>) -> bool {
    match value {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

fn write_moment(value: i64, out: &mut Vec<u8>) -> bool {
    let before_christ = write_calendar_day(value.div_euclid(DAY), out);
    out.push(b' ');
    write_time(value.rem_euclid(DAY), out);
    before_christ
}
