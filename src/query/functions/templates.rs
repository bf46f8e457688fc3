//! `to_char`, `to_date`, `to_timestamp` and `to_number`: the template patterns people use.

use bigdecimal::num_traits::{Signed, Zero};
use bigdecimal::{BigDecimal, RoundingMode};
use chrono::{Datelike, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};

use super::datetime::{DAY_US, local_of, moment_of};
use super::definition::{Call, Definition, function};
use super::types::*;

/// The patterns of moments, longer ones before their beginnings.
const PATTERNS: &[&str] = &[
    "YYYY", "Y,YYY", "IYYY", "MONTH", "Month", "month", "HH24", "HH12", "SSSSS", "SSSS", "DAY", "Day", "day", "DDD",
    "MON", "Mon", "mon", "YYY", "IDDD", "A.M.", "P.M.", "a.m.", "p.m.", "B.C.", "A.D.", "TZH", "TZM", "FF1", "FF2",
    "FF3", "FF4", "FF5", "FF6", "TM", "YY", "IW", "WW", "MM", "MI", "DD", "DY", "Dy", "dy", "HH", "SS", "MS", "US",
    "AM", "PM", "am", "pm", "BC", "AD", "TZ", "tz", "OF", "ID", "RM", "CC", "Q", "J", "D", "W", "Y", "FM", "TH", "th",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A piece of a template.
enum Piece {
    Pattern { name: &'static str, fill: bool, ordinal: Option<&'static str> },
    Literal(String),
}

fn parse_template(template: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = template;
    let mut fill = true;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            pieces.push(Piece::Literal(quoted[..end].to_owned()));
            rest = quoted.get(end + 1..).unwrap_or("");
            continue;
        }
        // Patterns are found whatever their case; those whose case matters are listed in each.
        let found = PATTERNS
            .iter()
            .find(|pattern| rest.starts_with(**pattern))
            .or_else(|| PATTERNS.iter().find(|pattern| starts_with_ignoring_case(rest, pattern)));
        match found {
            // Names in the language of the session, which is English, and without blanks after them.
            Some(&("FM" | "TM")) => fill = false,
            Some(&suffix @ ("TH" | "th")) => {
                if let Some(Piece::Pattern { ordinal, .. }) = pieces.last_mut() {
                    *ordinal = Some(suffix);
                }
            }
            Some(&name) => {
                pieces.push(Piece::Pattern { name, fill, ordinal: None });
                fill = true;
            }
            None => match pieces.last_mut() {
                Some(Piece::Literal(text)) => text.push(c),
                _ => pieces.push(Piece::Literal(c.to_string())),
            },
        }
        rest = &rest[found.map_or(c.len_utf8(), |pattern| pattern.len())..];
    }
    pieces
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The case of a name as its pattern writes it.
fn cased(name: &str, pattern: &str) -> String {
    let mut letters = pattern.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_uppercase() => name.to_uppercase(),
        (Some(first), _) if first.is_lowercase() => name.to_lowercase(),
        _ => name.to_owned(),
    }
}

fn ordinal_suffix(number: i64, upper: bool) -> String {
    let suffix = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    if upper { suffix.to_uppercase() } else { suffix.to_owned() }
}

fn roman(month: u32) -> &'static str {
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"][(month as usize).clamp(1, 12) - 1]
}

/// A moment in a template; `zone` is the zone of a moment that has one, with its offset in seconds.
fn format_moment(value: NaiveDateTime, zone: Option<(Tz, i32)>, template: &str) -> String {
    let (date, time) = (value.date(), value.time());
    let micros = i64::from(time.nanosecond() / 1000);
    let hour12 = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
    let year = if date.year() <= 0 { 1 - date.year() } else { date.year() };
    let mut out = String::new();
    for piece in parse_template(template) {
        let (name, fill, ordinal) = match piece {
            Piece::Literal(text) => {
                out.push_str(&text);
                continue;
            }
            Piece::Pattern { name, fill, ordinal } => (name, fill, ordinal),
        };
        let number = match name {
            "YYYY" => Some((i64::from(year), 4)),
            "YYY" => Some((i64::from(year % 1000), 3)),
            "YY" => Some((i64::from(year % 100), 2)),
            "Y" => Some((i64::from(year % 10), 1)),
            "IYYY" => Some((i64::from(date.iso_week().year()), 4)),
            "MM" => Some((i64::from(date.month()), 2)),
            "DD" => Some((i64::from(date.day()), 2)),
            "DDD" => Some((i64::from(date.ordinal()), 3)),
            "D" => Some((i64::from(date.weekday().number_from_sunday()), 1)),
            "ID" => Some((i64::from(date.weekday().number_from_monday()), 1)),
            "IW" => Some((i64::from(date.iso_week().week()), 2)),
            "WW" => Some((i64::from((date.ordinal() - 1) / 7 + 1), 2)),
            "W" => Some((i64::from((date.day() - 1) / 7 + 1), 1)),
            "Q" => Some((i64::from((date.month() - 1) / 3 + 1), 1)),
            "CC" => Some((i64::from((year - 1) / 100 + 1), 2)),
            "J" => Some((i64::from(date.num_days_from_ce()) + 1_721_425, 1)),
            "HH24" => Some((i64::from(time.hour()), 2)),
            "HH12" | "HH" => Some((i64::from(hour12), 2)),
            "MI" => Some((i64::from(time.minute()), 2)),
            "SS" => Some((i64::from(time.second()), 2)),
            "SSSSS" | "SSSS" => Some((i64::from(time.num_seconds_from_midnight()), 1)),
            "MS" => Some((micros / 1000, 3)),
            "US" => Some((micros, 6)),
            _ => None,
        };
        if let Some((number, width)) = number {
            let width = if fill { width } else { 1 };
            out.push_str(&format!("{number:0width$}"));
            if let Some(suffix) = ordinal {
                out.push_str(&ordinal_suffix(number, suffix == "TH"));
            }
            continue;
        }
        let padded = |text: String, width: usize| if fill { format!("{text:<width$}") } else { text };
        let text = match name {
            "Y,YYY" => format!("{},{:03}", year / 1000, year % 1000),
            "MONTH" | "Month" | "month" => padded(cased(MONTHS[date.month0() as usize], name), 9),
            "MON" | "Mon" | "mon" => cased(&MONTHS[date.month0() as usize][..3], name),
            "DAY" | "Day" | "day" => padded(cased(DAYS[date.weekday().num_days_from_sunday() as usize], name), 9),
            "DY" | "Dy" | "dy" => cased(&DAYS[date.weekday().num_days_from_sunday() as usize][..3], name),
            "AM" | "PM" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
            "am" | "pm" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
            "A.M." | "P.M." => if time.hour() < 12 { "A.M." } else { "P.M." }.to_owned(),
            "a.m." | "p.m." => if time.hour() < 12 { "a.m." } else { "p.m." }.to_owned(),
            "BC" | "AD" => if date.year() <= 0 { "BC" } else { "AD" }.to_owned(),
            "B.C." | "A.D." => if date.year() <= 0 { "B.C." } else { "A.D." }.to_owned(),
            "RM" => padded(roman(date.month()).to_owned(), 4),
            "TZ" | "tz" => {
                let shown =
                    zone.map_or_else(String::new, |(zone, _)| zone.offset_from_utc_datetime(&value).to_string());
                if name == "tz" { shown.to_lowercase() } else { shown }
            }
            "TZH" => zone.map_or_else(String::new, |(_, offset)| format!("{:+03}", offset / 3600)),
            "TZM" => zone.map_or_else(String::new, |(_, offset)| format!("{:02}", offset.abs() / 60 % 60)),
            "OF" => zone.map_or_else(String::new, |(_, offset)| {
                let minutes = offset.abs() / 60 % 60;
                let hours = format!("{:+03}", offset / 3600);
                if minutes == 0 { hours } else { format!("{hours}:{minutes:02}") }
            }),
            fraction if fraction.starts_with("FF") => {
                let digits: usize = fraction[2..].parse().unwrap_or(6);
                format!("{micros:06}")[..digits.min(6)].to_owned()
            }
            other => other.to_owned(),
        };
        out.push_str(&text);
    }
    out
}

fn naive(us: i64) -> Option<NaiveDateTime> {
    chrono::DateTime::from_timestamp_micros(us).map(|moment| moment.naive_utc())
}

fn template(args: &[Datum]) -> &str {
    match args.get(1) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

fn moment_to_char(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let zone = call.environment().zone;
    let (local, zone) = match &args[0] {
        Datum::Timestamptz(us) => {
            let offset = naive(*us).map_or(0, |value| zone.offset_from_utc_datetime(&value).fix().local_minus_utc());
            (local_of(*us, zone), Some((zone, offset)))
        }
        Datum::Timestamp(us) => (*us, None),
        Datum::Date(days) => (i64::from(*days) * DAY_US, None),
        Datum::Time(us) => (*us, None),
        _ => return Ok(Datum::Null),
    };
    Ok(naive(local).map_or(Datum::Null, |value| Datum::Text(format_moment(value, zone, template(args)))))
}

fn interval_to_char(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Interval(value) = &args[0] else { return Ok(Datum::Null) };
    let mut out = String::new();
    let seconds = value.microseconds / 1_000_000;
    for piece in parse_template(template(args)) {
        match piece {
            Piece::Literal(text) => out.push_str(&text),
            Piece::Pattern { name, fill, .. } => {
                let (number, width) = match name {
                    "YYYY" => (i64::from(value.months / 12), 4),
                    "YY" => (i64::from(value.months / 12) % 100, 2),
                    "MM" => (i64::from(value.months % 12), 2),
                    "DD" => (i64::from(value.days), 2),
                    "HH24" => (seconds / 3600, 2),
                    "HH12" | "HH" => (seconds / 3600 % 12, 2),
                    "MI" => (seconds / 60 % 60, 2),
                    "SS" => (seconds % 60, 2),
                    "MS" => (value.microseconds / 1000 % 1000, 3),
                    "US" => (value.microseconds % 1_000_000, 6),
                    _ => continue,
                };
                let width = if fill { width } else { 1 };
                out.push_str(&format!("{number:0width$}"));
            }
        }
    }
    Ok(Datum::Text(out))
}

/// A number in a template of `9 0 . , D G S MI PL SG L FM PR`.
fn format_number(value: &BigDecimal, template: &str) -> String {
    let fill = !template.contains("FM");
    let pattern = template.replace("FM", "");
    let point = pattern.find(['.', 'D']);
    let is_digit = |c: char| c == '9' || c == '0';
    let whole_digits = pattern[..point.unwrap_or(pattern.len())].chars().filter(|c| is_digit(*c)).count();
    let fraction_digits = point.map_or(0, |point| pattern[point + 1..].chars().filter(|c| is_digit(*c)).count());
    let rounded = value.with_scale_round(fraction_digits as i64, RoundingMode::HalfUp);
    let negative = rounded.is_negative();
    let text = rounded.abs().to_plain_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = if whole == "0" { "" } else { whole };
    let overflow = whole.len() > whole_digits;
    let mut whole: Vec<char> = format!("{whole:>whole_digits$}").chars().collect();
    if overflow {
        whole = vec!['#'; whole_digits];
    }
    let fraction = if overflow { vec!['#'; fraction_digits] } else { fraction.chars().collect::<Vec<_>>() };
    let has_sign = ["S", "MI", "PL", "SG", "PR"].iter().any(|sign| pattern.contains(sign));
    let (mut next_whole, mut next_fraction) = (0, 0);
    let mut after_point = false;
    let mut forced_zero = false;
    let mut out = String::new();
    let mut started = false;
    let mut sign_place = None;
    let mut rest = pattern.as_str();
    while let Some(c) = rest.chars().next() {
        let mut step = c.len_utf8();
        match c {
            '9' | '0' if after_point => {
                let digit = fraction.get(next_fraction).copied().unwrap_or('0');
                next_fraction += 1;
                let trailing = !fill && c == '9' && fraction[next_fraction - 1..].iter().all(|digit| *digit == '0');
                if !trailing {
                    out.push(digit);
                }
            }
            '9' | '0' => {
                forced_zero |= c == '0';
                let digit = whole.get(next_whole).copied().unwrap_or(' ');
                next_whole += 1;
                let last_whole = next_whole == whole_digits && fraction_digits == 0;
                let last_zero = last_whole && value.is_zero();
                if digit == ' ' && !forced_zero && !last_zero && !started {
                    if fill {
                        out.push(' ');
                    }
                } else {
                    if !started {
                        sign_place = Some(out.len());
                        started = true;
                    }
                    out.push(if digit == ' ' { '0' } else { digit });
                }
            }
            '.' | 'D' => {
                after_point = true;
                if !started {
                    sign_place = Some(out.len());
                    started = true;
                }
                if fraction_digits > 0 || fill {
                    out.push('.');
                }
            }
            ',' | 'G' => {
                if started {
                    out.push(',');
                } else if fill {
                    out.push(' ');
                }
            }
            'L' => out.push('$'),
            'S' if rest.starts_with("SG") => {
                out.push(if negative { '-' } else { '+' });
                step = 2;
            }
            'S' => out.push(if negative { '-' } else { '+' }),
            'M' if rest.starts_with("MI") => {
                if negative || fill {
                    out.push(if negative { '-' } else { ' ' });
                }
                step = 2;
            }
            'P' if rest.starts_with("PL") => {
                out.push(if negative { '-' } else { '+' });
                step = 2;
            }
            'P' if rest.starts_with("PR") => {
                if negative {
                    out.insert(sign_place.unwrap_or(0), '<');
                    out.push('>');
                } else if fill {
                    out.insert(0, ' ');
                    out.push(' ');
                }
                step = 2;
            }
            '"' => {
                let quoted = &rest[1..];
                let end = quoted.find('"').unwrap_or(quoted.len());
                out.push_str(&quoted[..end]);
                step = (end + 2).min(rest.len());
            }
            c => out.push(c),
        }
        rest = &rest[step..];
    }
    if !has_sign {
        let at = sign_place.unwrap_or(0);
        if negative {
            out.insert(at, '-');
        } else if fill {
            out.insert(0, ' ');
        }
    }
    out
}

fn number_to_char(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let value = match &args[0] {
        Datum::Numeric(value) => value.clone(),
        Datum::Int8(value) => BigDecimal::from(*value),
        Datum::Int4(value) => BigDecimal::from(*value),
        Datum::Float8(value) => BigDecimal::try_from(*value).unwrap_or_default(),
        _ => return Ok(Datum::Null),
    };
    Ok(Datum::Text(format_number(&value, template(args))))
}

fn invalid(text: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidDatetimeFormat, format!("invalid value \"{text}\" for \"{name}\""))
}

/// Reads a moment by a template; what the template lacks is the beginning of the era.
fn parse_moment(text: &str, template: &str) -> Result<(NaiveDateTime, Option<i64>)> {
    let (mut year, mut month, mut day, mut ordinal) = (1, 1, 1, None);
    let (mut hour, mut minute, mut second, mut micros) = (0u32, 0u32, 0u32, 0u32);
    let (mut afternoon, mut zone) = (None, None);
    let mut rest = text;
    for piece in parse_template(template) {
        let name = match piece {
            Piece::Literal(literal) => {
                for _ in literal.chars() {
                    let mut chars = rest.chars();
                    if chars.next().is_some_and(|c| !c.is_ascii_alphanumeric()) {
                        rest = chars.as_str();
                    }
                }
                continue;
            }
            Piece::Pattern { name, .. } => name,
        };
        rest = rest.trim_start();
        let width = match name {
            "YYYY" | "IYYY" => 4,
            "DDD" | "YYY" | "MS" => 3,
            "US" => 6,
            "SSSSS" | "SSSS" => 5,
            "D" | "Q" | "W" | "Y" => 1,
            _ => 2,
        };
        match name {
            "MONTH" | "Month" | "month" | "MON" | "Mon" | "mon" => {
                let found = MONTHS.iter().position(|month| starts_with_ignoring_case(rest, &month[..3]));
                let place = found.ok_or_else(|| invalid(rest, name))?;
                month = place as u32 + 1;
                let full = name.len() > 3 && starts_with_ignoring_case(rest, MONTHS[place]);
                rest = &rest[if full { MONTHS[place].len() } else { 3 }..];
            }
            "DAY" | "Day" | "day" | "DY" | "Dy" | "dy" => {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            }
            "AM" | "PM" | "am" | "pm" | "A.M." | "P.M." | "a.m." | "p.m." => {
                afternoon = Some(rest.starts_with(['p', 'P']));
                rest = rest.get(name.len()..).unwrap_or("");
            }
            "TZH" | "OF" => {
                let sign = if rest.starts_with('-') { -1 } else { 1 };
                rest = rest.trim_start_matches(['+', '-']);
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()).min(2);
                let hours: i64 = rest[..end].parse().map_err(|_| invalid(rest, name))?;
                zone = Some(sign * hours * 3600);
                rest = &rest[end..];
            }
            _ => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let end = end.min(width);
                if end == 0 {
                    if rest.is_empty() {
                        continue;
                    }
                    return Err(invalid(rest.split(' ').next().unwrap_or(rest), name));
                }
                let number: i32 = rest[..end].parse().map_err(|_| invalid(rest, name))?;
                match name {
                    "YYYY" | "IYYY" => year = number,
                    "YY" => year = if number < 70 { 2000 + number } else { 1900 + number },
                    "MM" => month = number as u32,
                    "DD" => day = number as u32,
                    "DDD" => ordinal = Some(number as u32),
                    "HH24" | "HH12" | "HH" => hour = number as u32,
                    "MI" => minute = number as u32,
                    "SS" => second = number as u32,
                    "MS" => micros = number as u32 * 10u32.pow(6 - end as u32),
                    "US" | "FF6" => micros = number as u32 * 10u32.pow(6 - end.min(6) as u32),
                    _ => {}
                }
                rest = &rest[end..];
            }
        }
    }
    match afternoon {
        Some(true) if hour < 12 => hour += 12,
        Some(false) if hour == 12 => hour = 0,
        _ => {}
    }
    let date = match ordinal {
        Some(ordinal) => NaiveDate::from_yo_opt(year, ordinal),
        None => NaiveDate::from_ymd_opt(year, month, day),
    };
    let value = date.and_then(|date| date.and_hms_micro_opt(hour, minute, second, micros));
    let value = value.ok_or_else(|| {
        SqlError::new(SqlState::DatetimeFieldOverflow, format!("date/time field value out of range: \"{text}\""))
    })?;
    Ok((value, zone))
}

fn first_text(args: &[Datum]) -> &str {
    match args.first() {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

fn to_timestamp(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (value, zone) = parse_moment(first_text(args), template(args))?;
    let us = value.and_utc().timestamp_micros();
    Ok(Datum::Timestamptz(match zone {
        Some(offset) => us - offset * 1_000_000,
        None => moment_of(us, call.environment().zone),
    }))
}

fn to_date(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (value, _) = parse_moment(first_text(args), template(args))?;
    Ok(Datum::Date(value.date().num_days_from_ce() - 719_163))
}

fn to_number(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let text = first_text(args);
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let value: BigDecimal = digits.parse().map_err(|_| {
        SqlError::new(SqlState::InvalidTextRepresentation, format!("invalid input syntax for type numeric: \"{text}\""))
    })?;
    let negative = text.contains('-') || text.trim_start().starts_with('<');
    Ok(Datum::Numeric(if negative { -value } else { value }))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("to_char", &[TIMESTAMPTZ, TEXT], TO_TEXT, moment_to_char).stable(),
    function("to_char", &[TIMESTAMP, TEXT], TO_TEXT, moment_to_char),
    function("to_char", &[DATE, TEXT], TO_TEXT, moment_to_char),
    function("to_char", &[TIME, TEXT], TO_TEXT, moment_to_char),
    function("to_char", &[INTERVAL, TEXT], TO_TEXT, interval_to_char),
    function("to_char", &[INT4, TEXT], TO_TEXT, number_to_char),
    function("to_char", &[INT8, TEXT], TO_TEXT, number_to_char),
    function("to_char", &[NUMERIC, TEXT], TO_TEXT, number_to_char),
    function("to_char", &[FLOAT8, TEXT], TO_TEXT, number_to_char),
    function("to_timestamp", &[TEXT, TEXT], TO_TIMESTAMPTZ, to_timestamp).stable(),
    function("to_date", &[TEXT, TEXT], TO_DATE, to_date),
    function("to_number", &[TEXT, TEXT], TO_NUMERIC, to_number),
];
