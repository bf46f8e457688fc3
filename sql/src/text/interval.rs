//! Intervals in text: PostgreSQL's verbose form, SQL's, ISO 8601's; output in the `postgres` style.

use super::datetime::{DAY, HOUR, MINUTE, SECOND, fraction_to_microseconds, write_fraction};
use super::number::write_int;
use super::shortened;
use crate::datum::Interval;
use crate::error::{Result, SqlError, SqlState};

/// Sums of parts while an interval is read; wide, so that only the end needs a range check.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    microseconds: i128,
}

/// A number of an interval with its fraction apart, in billionths, so that nothing passes through a float.
#[derive(Clone, Copy)]
struct Quantity {
    whole: i128,
    billionths: i128,
}

const BILLION: i128 = 1_000_000_000;

impl Quantity {
    fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty())
            || whole.len() > 19
            || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let billionths = (0..9)
            .fold(0, |value, at| value * 10 + fraction.as_bytes().get(at).map_or(0, |byte| i128::from(byte - b'0')));
        Some(if negative { Self { whole: -whole, billionths: -billionths } } else { Self { whole, billionths } })
    }

    /// The whole quantity in units of `unit` parts, rounded half to even.
    fn times(self, unit: i128) -> i128 {
        self.whole * unit + divide_rounded(self.billionths * unit, BILLION)
    }
}

fn divide_rounded(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value.div_euclid(by), value.rem_euclid(by));
    match (2 * rest).cmp(&by) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
    }
}

impl Sum {
    /// Adds days with their fraction as time.
    fn add_days(&mut self, quantity: Quantity, days: i128) {
        self.days += quantity.whole * days;
        let rest = quantity.billionths * days;
        self.days += rest / BILLION;
        self.microseconds += divide_rounded(rest % BILLION * i128::from(DAY), BILLION);
    }

    /// Adds months with their fraction as days of 30 to the month.
    fn add_months(&mut self, quantity: Quantity) {
        self.months += quantity.whole;
        let days = quantity.billionths * 30;
        self.days += days / BILLION;
        self.microseconds += divide_rounded(days % BILLION * i128::from(DAY), BILLION);
    }

    /// Adds years; a fraction is rounded to months.
    fn add_years(&mut self, quantity: Quantity, years: i128) {
        self.months += quantity.whole * years * 12 + divide_rounded(quantity.billionths * years * 12, BILLION);
    }

    fn add(&mut self, quantity: Quantity, unit: Unit) {
        match unit {
            Unit::Microsecond => self.microseconds += quantity.times(1),
            Unit::Millisecond => self.microseconds += quantity.times(1_000),
            Unit::Second => self.microseconds += quantity.times(i128::from(SECOND)),
            Unit::Minute => self.microseconds += quantity.times(i128::from(MINUTE)),
            Unit::Hour => self.microseconds += quantity.times(i128::from(HOUR)),
            Unit::Day => self.add_days(quantity, 1),
            Unit::Week => self.add_days(quantity, 7),
            Unit::Month => self.add_months(quantity),
            Unit::Year => self.add_years(quantity, 1),
            Unit::Decade => self.add_years(quantity, 10),
            Unit::Century => self.add_years(quantity, 100),
            Unit::Millennium => self.add_years(quantity, 1_000),
        }
    }

    fn finish(self, text: &str) -> Result<Interval> {
        let interval = || {
            Some(Interval {
                months: i32::try_from(self.months).ok()?,
                days: i32::try_from(self.days).ok()?,
                microseconds: i64::try_from(self.microseconds).ok()?,
            })
        };
        interval().ok_or_else(|| {
            SqlError::new(
                SqlState::IntervalFieldOverflow,
                format!("interval field value out of range: \"{}\"", shortened(text)),
            )
        })
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

fn unit_by_name(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" | "microsecon" => {
            Unit::Microsecond
        }
        "ms" | "msec" | "msecs" | "mseconds" | "msecond" | "millisecond" | "milliseconds" | "millisecon" => {
            Unit::Millisecond
        }
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennium" | "millennia" => Unit::Millennium,
        _ => return None,
    })
}

fn invalid(text: &str) -> SqlError {
    SqlError::new(
        SqlState::InvalidDatetimeFormat,
        format!("invalid input syntax for type interval: \"{}\"", shortened(text)),
    )
}

/// Reads an interval.
pub(super) fn parse(text: &str) -> Result<Interval> {
    let trimmed = super::trim_spaces(text);
    let sum = if trimmed.starts_with('P') || trimmed.starts_with("-P") {
        parse_iso(trimmed)
    } else {
        parse_verbose(&trimmed.to_ascii_lowercase())
    };
    sum.ok_or_else(|| invalid(text))?.finish(text)
}

/// `P1Y2M3DT4H5M6.7S` or `P0001-02-03T04:05:06`.
fn parse_iso(text: &str) -> Option<Sum> {
    let mut rest = text.strip_prefix('P')?;
    let mut sum = Sum::default();
    let mut in_time = false;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            if in_time {
                return None;
            }
            in_time = true;
            rest = after;
            continue;
        }
        let length = rest
            .bytes()
            .enumerate()
            .take_while(|(i, byte)| byte.is_ascii_digit() || *byte == b'.' || (*i == 0 && matches!(byte, b'-' | b'+')))
            .count();
        let quantity = Quantity::parse(&rest[..length])?;
        let separator = rest[length..].chars().next();
        match separator {
            // The alternative form: fields by place.
            Some('-') | None if !in_time => {
                let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
                let units = [Unit::Year, Unit::Month, Unit::Day];
                let parts: Vec<&str> = date.split('-').collect();
                if parts.len() > units.len() {
                    return None;
                }
                for (part, unit) in parts.iter().zip(units) {
                    sum.add(Quantity::parse(part)?, unit);
                }
                if !time.is_empty() {
                    sum.microseconds += clock(time)?;
                }
                return Some(sum);
            }
            Some(':') | None => {
                sum.microseconds += clock(rest)?;
                return Some(sum);
            }
            _ => {}
        }
        let unit = match (separator?, in_time) {
            ('Y', false) => Unit::Year,
            ('M', false) => Unit::Month,
            ('W', false) => Unit::Week,
            ('D', false) => Unit::Day,
            ('H', true) => Unit::Hour,
            ('M', true) => Unit::Minute,
            ('S', true) => Unit::Second,
            _ => return None,
        };
        sum.add(quantity, unit);
        rest = &rest[length + 1..];
    }
    Some(sum)
}

/// `HH[:MM[:SS[.f]]]`, `MM:SS.f`, without a sign.
fn clock(text: &str) -> Option<i128> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let micros = i128::from(fraction_to_microseconds(fraction)?);
    let values: Vec<i128> = clock
        .split(':')
        .map(|part| {
            (part.len() <= 18 && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())
                .flatten()
        })
        .collect::<Option<_>>()?;
    let (hour, minute, second) = match values.as_slice() {
        [hour] if !text.contains('.') => (*hour, 0, 0),
        [minute, second] if text.contains('.') => (0, *minute, *second),
        [hour, minute] => (*hour, *minute, 0),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return None,
    };
    (minute < 60 && second <= 60)
        .then_some(hour * i128::from(HOUR) + minute * i128::from(MINUTE) + second * i128::from(SECOND) + micros)
}

/// The words of the verbose form; numbers and units need no blank between them.
fn words(text: &str) -> Option<Vec<&str>> {
    let bytes = text.as_bytes();
    let mut result = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let byte = bytes[at];
        if byte.is_ascii_whitespace() || matches!(byte, b'@' | b',' | 0x0b) {
            at += 1;
            continue;
        }
        if byte.is_ascii_alphabetic() {
            while at < bytes.len() && bytes[at].is_ascii_alphabetic() {
                at += 1;
            }
        } else if byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.') {
            at += 1;
            // A hyphen inside, not before a number, joins years and months.
            while at < bytes.len() && (bytes[at].is_ascii_digit() || matches!(bytes[at], b'.' | b':' | b'-')) {
                at += 1;
            }
        } else {
            return None;
        }
        result.push(&text[start..at]);
    }
    (!result.is_empty()).then_some(result)
}

fn parse_verbose(text: &str) -> Option<Sum> {
    let words = words(text)?;
    let mut sum = Sum::default();
    let mut any = false;
    let mut ago = false;
    // Each unit may come once.
    let mut seen = 0u32;
    let mut claim = |units: u32| {
        let free = seen & units == 0;
        seen |= units;
        free.then_some(())
    };
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        at += 1;
        if word == "ago" {
            ago = true;
            if at != words.len() || !any {
                return None;
            }
            continue;
        }
        let (negative, unsigned) = match word.as_bytes()[0] {
            b'-' => (true, &word[1..]),
            b'+' => (false, &word[1..]),
            _ => (false, word),
        };
        any = true;
        if unsigned.contains(':') {
            let time = clock(unsigned)?;
            claim(Unit::Hour.bit() | Unit::Minute.bit() | Unit::Second.bit())?;
            sum.microseconds += if negative { -time } else { time };
        } else if let Some((years, months)) = unsigned.split_once('-') {
            let months: i128 = Quantity::parse(months).filter(|q| q.billionths == 0 && q.whole < 12)?.whole;
            claim(Unit::Year.bit() | Unit::Month.bit())?;
            let total = Quantity::parse(years)?.whole * 12 + months;
            sum.months += if negative { -total } else { total };
        } else {
            let quantity = Quantity::parse(word)?;
            let unit = match words.get(at) {
                Some(next) if next.as_bytes()[0].is_ascii_alphabetic() && *next != "ago" => {
                    at += 1;
                    unit_by_name(next)?
                }
                // A bare number: days before a time, else seconds.
                Some(next) if next.contains(':') => Unit::Day,
                Some(next) if *next != "ago" => return None,
                _ => Unit::Second,
            };
            claim(unit.bit())?;
            sum.add(quantity, unit);
        }
    }
    if ago {
        sum = Sum { months: -sum.months, days: -sum.days, microseconds: -sum.microseconds };
    }
    Some(sum)
}

/// Rounds to the precision of an `interval(p)` modifier.
pub(crate) fn apply_modifier(mut value: Interval, modifier: i32) -> Interval {
    value.microseconds = super::datetime::round_to_modifier(value.microseconds, modifier);
    value
}

/// Appends an interval.
pub(super) fn write(value: Interval, out: &mut Vec<u8>) {
    let mut any = false;
    let mut negative_before = false;
    let mut part = |value: i32, unit: &str, out: &mut Vec<u8>| {
        if value == 0 {
            return;
        }
        if any {
            out.push(b' ');
        }
        // A positive part behind a negative one shows its sign.
        if negative_before && value > 0 {
            out.push(b'+');
        }
        write_int(i64::from(value), out);
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        negative_before = value < 0;
        any = true;
    };
    part(value.months / 12, "year", out);
    part(value.months % 12, "mon", out);
    part(value.days, "day", out);
    let micros = value.microseconds;
    if any && micros == 0 {
        return;
    }
    if any {
        out.push(b' ');
    }
    if micros < 0 {
        out.push(b'-');
    } else if negative_before {
        out.push(b'+');
    }
    let rest = micros.unsigned_abs();
    let two = |value: u64, out: &mut Vec<u8>| {
        if value < 10 {
            out.push(b'0');
        }
        write_int(value as i64, out);
    };
    two(rest / HOUR as u64, out);
    out.push(b':');
    two(rest / MINUTE as u64 % 60, out);
    out.push(b':');
    two(rest / SECOND as u64 % 60, out);
    write_fraction((rest % SECOND as u64) as i64, out);
}
