//! Dates, times and intervals: fields, truncation, differences, zones, and the operators among them.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use chrono::{Datelike, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;
use lodedb_sql::compare::compare;
use lodedb_sql::datum::Interval;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};

use super::definition::{Call, Definition, Parameter, Returns, function};
use super::types::*;

/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;
const SECOND_US: i64 = 1_000_000;

fn out_of_range() -> SqlError {
    SqlError::new(SqlState::DatetimeFieldOverflow, "timestamp out of range")
}

/// What the clock of a zone shows at a moment, as microseconds without a zone.
pub(crate) fn local_of(us: i64, zone: Tz) -> i64 {
    match chrono::DateTime::from_timestamp_micros(us) {
        Some(moment) => {
            us + i64::from(zone.offset_from_utc_datetime(&moment.naive_utc()).fix().local_minus_utc()) * SECOND_US
        }
        None => us,
    }
}

/// The moment at which the clock of a zone shows this; the earlier of two, and past a gap.
pub(crate) fn moment_of(local_us: i64, zone: Tz) -> i64 {
    let Some(local) = chrono::DateTime::from_timestamp_micros(local_us).map(|moment| moment.naive_utc()) else {
        return local_us;
    };
    match zone.offset_from_local_datetime(&local) {
        chrono::LocalResult::Single(offset) | chrono::LocalResult::Ambiguous(offset, _) => {
            local_us - i64::from(offset.fix().local_minus_utc()) * SECOND_US
        }
        chrono::LocalResult::None => {
            let before = local - chrono::TimeDelta::hours(3);
            let offset =
                zone.offset_from_local_datetime(&before).earliest().map_or(0, |offset| offset.fix().local_minus_utc());
            local_us - i64::from(offset) * SECOND_US
        }
    }
}

fn naive(us: i64) -> Result<NaiveDateTime> {
    chrono::DateTime::from_timestamp_micros(us).map(|moment| moment.naive_utc()).ok_or_else(out_of_range)
}

fn micros(value: NaiveDateTime) -> i64 {
    value.and_utc().timestamp_micros()
}

fn string(args: &[Datum], place: usize) -> &str {
    match args.get(place) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

fn is_infinite(us: i64) -> bool {
    us == i64::MAX || us == i64::MIN
}

fn unknown_unit(unit: &str, ty: &str) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, format!("unit \"{unit}\" not recognized for type {ty}"))
}

/// The singular of a unit's many spellings.
fn unit_of(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    let unit = match lower.as_str() {
        "years" | "yr" | "yrs" | "y" => "year",
        "months" | "mon" | "mons" => "month",
        "weeks" | "w" => "week",
        "days" | "d" => "day",
        "hours" | "hr" | "hrs" | "h" => "hour",
        "minutes" | "min" | "mins" | "m" => "minute",
        "seconds" | "sec" | "secs" | "s" => "second",
        "millisecond" | "ms" | "msec" | "msecs" => "milliseconds",
        "microsecond" | "us" | "usec" | "usecs" => "microseconds",
        "quarters" | "qtr" => "quarter",
        "decades" => "decade",
        "centuries" | "cent" | "c" => "century",
        "millenniums" | "millennia" | "mil" => "millennium",
        other => other,
    };
    unit.to_owned()
}

fn truncate(unit: &str, us: i64, ty: &str) -> Result<i64> {
    if is_infinite(us) {
        return Ok(us);
    }
    let value = naive(us)?;
    let date = value.date();
    let start = |year: i32, month: u32, day: u32| -> Result<i64> {
        let date = NaiveDate::from_ymd_opt(year, month, day).ok_or_else(out_of_range)?;
        Ok(micros(date.and_time(chrono::NaiveTime::MIN)))
    };
    match unit_of(unit).as_str() {
        "microseconds" => Ok(us),
        "milliseconds" => Ok(us - us.rem_euclid(1000)),
        "second" => Ok(us - us.rem_euclid(SECOND_US)),
        "minute" => Ok(us - us.rem_euclid(60 * SECOND_US)),
        "hour" => Ok(us - us.rem_euclid(3600 * SECOND_US)),
        "day" => Ok(us - us.rem_euclid(DAY_US)),
        "week" => {
            let monday = date - chrono::TimeDelta::days(i64::from(date.weekday().num_days_from_monday()));
            Ok(micros(monday.and_time(chrono::NaiveTime::MIN)))
        }
        "month" => start(date.year(), date.month(), 1),
        "quarter" => start(date.year(), (date.month() - 1) / 3 * 3 + 1, 1),
        "year" => start(date.year(), 1, 1),
        "decade" => start(date.year().div_euclid(10) * 10, 1, 1),
        "century" => start((date.year() - 1).div_euclid(100) * 100 + 1, 1, 1),
        "millennium" => start((date.year() - 1).div_euclid(1000) * 1000 + 1, 1, 1),
        _ => Err(unknown_unit(unit, ty)),
    }
}

fn truncate_moment(us: i64, unit: &str, zone: Tz) -> Result<Datum> {
    if is_infinite(us) {
        return Ok(Datum::Timestamptz(us));
    }
    Ok(Datum::Timestamptz(moment_of(truncate(unit, local_of(us, zone), "timestamp with time zone")?, zone)))
}

fn date_trunc(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let unit = string(args, 0);
    match &args[1] {
        Datum::Timestamp(us) => truncate(unit, *us, "timestamp without time zone").map(Datum::Timestamp),
        Datum::Timestamptz(us) => {
            let zone = if args.len() > 2 { zone_named(string(args, 2))? } else { call.environment().zone };
            truncate_moment(*us, unit, zone)
        }
        Datum::Interval(interval) => truncate_interval(unit, *interval).map(Datum::Interval),
        _ => Ok(Datum::Null),
    }
}

fn truncate_interval(unit: &str, value: Interval) -> Result<Interval> {
    let Interval { months, days, microseconds } = value;
    let whole = |months, days, microseconds| Ok(Interval { months, days, microseconds });
    match unit_of(unit).as_str() {
        "microseconds" => Ok(value),
        "milliseconds" => whole(months, days, microseconds / 1000 * 1000),
        "second" => whole(months, days, microseconds / SECOND_US * SECOND_US),
        "minute" => whole(months, days, microseconds / (60 * SECOND_US) * 60 * SECOND_US),
        "hour" => whole(months, days, microseconds / (3600 * SECOND_US) * 3600 * SECOND_US),
        "day" => whole(months, days, 0),
        "month" => whole(months, 0, 0),
        "quarter" => whole(months / 3 * 3, 0, 0),
        "year" => whole(months / 12 * 12, 0, 0),
        "decade" => whole(months / 120 * 120, 0, 0),
        "century" => whole(months / 1200 * 1200, 0, 0),
        "millennium" => whole(months / 12000 * 12000, 0, 0),
        _ => Err(unknown_unit(unit, "interval")),
    }
}

/// A field as a whole number with so many digits behind the point.
struct FieldValue(i64, u32);

/// The digits after the point that `extract` gives a field.
pub(crate) fn digits_of_field(unit: &str) -> u32 {
    match unit_of(unit).as_str() {
        "epoch" | "second" => 6,
        "milliseconds" => 3,
        _ => 0,
    }
}

/// A field of a moment whose clock shows `local_us`; `epoch_us` is the moment itself.
fn field_of(unit: &str, local_us: i64, epoch_us: i64, zone: Option<Tz>, ty: &str) -> Result<FieldValue> {
    let value = naive(local_us)?;
    let (date, time) = (value.date(), value.time());
    let within_minute = local_us.rem_euclid(60 * SECOND_US);
    let whole = |value: i64| Ok(FieldValue(value, 0));
    match unit_of(unit).as_str() {
        "epoch" => Ok(FieldValue(epoch_us, 6)),
        "microseconds" => whole(within_minute),
        "milliseconds" => Ok(FieldValue(within_minute, 3)),
        "second" => Ok(FieldValue(within_minute, 6)),
        "minute" => whole(i64::from(time.minute())),
        "hour" => whole(i64::from(time.hour())),
        "day" => whole(i64::from(date.day())),
        "week" => whole(i64::from(date.iso_week().week())),
        "isoyear" => whole(i64::from(before_christ(date.iso_week().year()))),
        "month" => whole(i64::from(date.month())),
        "quarter" => whole(i64::from((date.month() - 1) / 3 + 1)),
        "year" => whole(i64::from(before_christ(date.year()))),
        "decade" => whole(i64::from(date.year().div_euclid(10))),
        "century" => whole(i64::from(age_of(date.year(), 100))),
        "millennium" => whole(i64::from(age_of(date.year(), 1000))),
        "dow" => whole(i64::from(date.weekday().num_days_from_sunday())),
        "isodow" => whole(i64::from(date.weekday().number_from_monday())),
        "doy" => whole(i64::from(date.ordinal())),
        "julian" => whole(i64::from(date.num_days_from_ce()) + 1_721_425),
        "timezone" if zone.is_some() => whole((local_us - epoch_us) / SECOND_US),
        "timezone_hour" if zone.is_some() => whole((local_us - epoch_us) / (3600 * SECOND_US)),
        "timezone_minute" if zone.is_some() => whole((local_us - epoch_us) / (60 * SECOND_US) % 60),
        _ => Err(unknown_unit(unit, ty)),
    }
}

/// The number of a year: that before 1 is -1.
fn before_christ(year: i32) -> i32 {
    if year <= 0 { year - 1 } else { year }
}

/// The number of the century or millennium of a year: there is no 0 either.
fn age_of(year: i32, years: i32) -> i32 {
    if year > 0 { (year + years - 1) / years } else { -((years - year) / years) }
}

fn interval_field(unit: &str, value: Interval) -> Result<FieldValue> {
    let Interval { months, days, microseconds } = value;
    let within_minute = microseconds % (60 * SECOND_US);
    let whole = |value: i64| Ok(FieldValue(value, 0));
    match unit_of(unit).as_str() {
        "epoch" => {
            // A year has 365.25 days, a month 30.
            let (years, rest) = (i64::from(months / 12), i64::from(months % 12));
            let seconds = years * 31_557_600 + (rest * 30 + i64::from(days)) * 86_400;
            Ok(FieldValue(
                seconds.checked_mul(SECOND_US).and_then(|us| us.checked_add(microseconds)).ok_or_else(out_of_range)?,
                6,
            ))
        }
        "microseconds" => whole(within_minute),
        "milliseconds" => Ok(FieldValue(within_minute, 3)),
        "second" => Ok(FieldValue(within_minute, 6)),
        "minute" => whole(microseconds / (60 * SECOND_US) % 60),
        "hour" => whole(microseconds / (3600 * SECOND_US)),
        "day" => whole(i64::from(days)),
        "month" => whole(i64::from(months % 12)),
        "quarter" => whole(i64::from(months % 12 / 3 + 1)),
        "year" => whole(i64::from(months / 12)),
        "decade" => whole(i64::from(months / 120)),
        "century" => whole(i64::from(months / 1200)),
        "millennium" => whole(i64::from(months / 12000)),
        _ => Err(unknown_unit(unit, "interval")),
    }
}

fn field(call: &Call<'_>, args: &[Datum]) -> Result<Option<FieldValue>> {
    let unit = string(args, 0);
    match &args[1] {
        Datum::Timestamp(us) | Datum::Timestamptz(us) if is_infinite(*us) => Ok(None),
        Datum::Date(days) if *days == i32::MAX || *days == i32::MIN => Ok(None),
        Datum::Timestamp(us) => field_of(unit, *us, *us, None, "timestamp without time zone").map(Some),
        Datum::Timestamptz(us) => {
            let zone = call.environment().zone;
            field_of(unit, local_of(*us, zone), *us, Some(zone), "timestamp with time zone").map(Some)
        }
        Datum::Date(days) => {
            let us = i64::from(*days) * DAY_US;
            field_of(unit, us, us, None, "date").map(Some)
        }
        Datum::Time(us) => field_of(unit, *us, *us, None, "time without time zone").map(Some),
        Datum::Interval(interval) => interval_field(unit, *interval).map(Some),
        _ => Ok(None),
    }
}

fn date_part(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(match field(call, args)? {
        Some(FieldValue(value, digits)) => Datum::Float8(value as f64 / 10f64.powi(digits as i32)),
        None => infinite_field(string(args, 0), &args[1]).map_or(Datum::Null, Datum::Float8),
    })
}

fn extract(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(match field(call, args)? {
        Some(FieldValue(value, digits)) => Datum::Numeric(BigDecimal::new(BigInt::from(value), i64::from(digits))),
        None if infinite_field(string(args, 0), &args[1]).is_some() => {
            return Err(SqlError::unsupported("infinity in numeric"));
        }
        None => Datum::Null,
    })
}

/// A field of an infinite moment: infinite if it grows with time, else nothing.
fn infinite_field(unit: &str, value: &Datum) -> Option<f64> {
    if !matches!(unit_of(unit).as_str(), "year" | "decade" | "century" | "millennium" | "julian" | "isoyear" | "epoch")
    {
        return None;
    }
    match value {
        Datum::Timestamp(us) | Datum::Timestamptz(us) => Some(if *us > 0 { f64::INFINITY } else { f64::NEG_INFINITY }),
        Datum::Date(days) => Some(if *days > 0 { f64::INFINITY } else { f64::NEG_INFINITY }),
        _ => None,
    }
}

fn us_of(datum: &Datum) -> i64 {
    match datum {
        Datum::Timestamp(us) | Datum::Timestamptz(us) | Datum::Time(us) => *us,
        Datum::Date(days) => i64::from(*days) * DAY_US,
        _ => 0,
    }
}

fn interval_of(datum: &Datum) -> Interval {
    match datum {
        Datum::Interval(interval) => *interval,
        _ => Interval { months: 0, days: 0, microseconds: 0 },
    }
}

/// The difference in years, months and days, as people count ages.
fn age_between(later: i64, earlier: i64) -> Result<Interval> {
    let negative = later < earlier;
    let (late, early) = if negative { (earlier, later) } else { (later, earlier) };
    let (a, b) = (naive(late)?, naive(early)?);
    let mut months = (a.year() - b.year()) * 12 + a.month() as i32 - b.month() as i32;
    let mut days = a.day() as i32 - b.day() as i32;
    let mut microseconds = late.rem_euclid(DAY_US) - early.rem_euclid(DAY_US);
    if microseconds < 0 {
        microseconds += DAY_US;
        days -= 1;
    }
    if days < 0 {
        // The days of the month in which the count began.
        days += days_of_month(b.year(), b.month()) as i32;
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    Ok(Interval { months: months * sign, days: days * sign, microseconds: microseconds * i64::from(sign) })
}

fn days_of_month(year: i32, month: u32) -> u32 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    NaiveDate::from_ymd_opt(next_year, next, 1).and_then(|date| date.pred_opt()).map_or(30, |date| date.day())
}

fn age(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let zone = call.environment().zone;
    let local = |datum: &Datum| match datum {
        Datum::Timestamptz(us) => local_of(*us, zone),
        other => us_of(other),
    };
    if args.len() > 1 {
        return age_between(local(&args[0]), local(&args[1])).map(Datum::Interval);
    }
    let today = local_of(call.environment().now_us, zone);
    age_between(today - today.rem_euclid(DAY_US), local(&args[0])).map(Datum::Interval)
}

/// A difference in days and a time, the days whole.
fn difference(args: &[Datum]) -> Result<Datum> {
    let (a, b) = (us_of(&args[0]), us_of(&args[1]));
    if is_infinite(a) || is_infinite(b) {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "cannot subtract infinite timestamps"));
    }
    let difference = a.checked_sub(b).ok_or_else(out_of_range)?;
    let days = i32::try_from(difference / DAY_US).map_err(|_| out_of_range())?;
    Ok(Datum::Interval(Interval { months: 0, days, microseconds: difference % DAY_US }))
}

/// The days since 1970 of PostgreSQL's dates: from 4714-11-24 BC to 5874897-12-31.
const DATES: std::ops::Range<i32> = -2_440_588..2_145_042_906;

fn add_days(days: i32, more: i32) -> Result<Datum> {
    if days == i32::MAX || days == i32::MIN {
        return Ok(Datum::Date(days));
    }
    days.checked_add(more)
        .filter(|days| DATES.contains(days))
        .map(Datum::Date)
        .ok_or_else(|| SqlError::new(SqlState::DatetimeFieldOverflow, "date out of range"))
}

fn date_and_int(args: &[Datum], date: usize, int: usize, sign: i32) -> Result<Datum> {
    match (&args[date], &args[int]) {
        (Datum::Date(days), Datum::Int4(more)) => add_days(*days, more.saturating_mul(sign)),
        _ => Ok(Datum::Null),
    }
}

/// A moment moved by an interval: months, then days, by the clock of the zone if there is one, then the time.
fn shifted_moment(us: i64, interval: Interval, sign: i64, zone: Option<Tz>) -> Result<i64> {
    if is_infinite(us) {
        return Ok(us);
    }
    let (months, days) = (i64::from(interval.months) * sign, i64::from(interval.days) * sign);
    let mut moved = us;
    if months != 0 || days != 0 {
        let mut local = naive(zone.map_or(us, |zone| local_of(us, zone)))?;
        let by = chrono::Months::new(u32::try_from(months.unsigned_abs()).map_err(|_| out_of_range())?);
        local = match months {
            0.. => local.checked_add_months(by),
            _ => local.checked_sub_months(by),
        }
        .ok_or_else(out_of_range)?;
        local =
            chrono::TimeDelta::try_days(days).and_then(|by| local.checked_add_signed(by)).ok_or_else(out_of_range)?;
        moved = zone.map_or(micros(local), |zone| moment_of(micros(local), zone));
    }
    interval.microseconds.checked_mul(sign).and_then(|by| moved.checked_add(by)).ok_or_else(out_of_range)
}

fn shifted(call: &Call<'_>, args: &[Datum], moment: usize, interval: usize, sign: i64) -> Result<Datum> {
    let interval = interval_of(&args[interval]);
    Ok(match &args[moment] {
        Datum::Timestamptz(us) => {
            Datum::Timestamptz(shifted_moment(*us, interval, sign, Some(call.environment().zone))?)
        }
        other => Datum::Timestamp(shifted_moment(us_of(other), interval, sign, None)?),
    })
}

fn shifted_time(args: &[Datum], time: usize, interval: usize, sign: i64) -> Datum {
    let shift = interval_of(&args[interval]).microseconds % DAY_US;
    Datum::Time((us_of(&args[time]) + sign * shift).rem_euclid(DAY_US))
}

/// An interval multiplied or divided by a number: what is left of months goes to days, what is left of days to the time, each rounded to
/// six digits on the way, as in PostgreSQL's `interval_mul`.
fn scaled(interval: Interval, scale: impl Fn(f64) -> f64) -> Result<Datum> {
    let rounded = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let (months, days) = (scale(f64::from(interval.months)), scale(f64::from(interval.days)));
    let days_of_months = rounded((months - months.trunc()) * 30.0);
    let seconds =
        rounded((days - days.trunc() + days_of_months - days_of_months.trunc()) * (DAY_US / SECOND_US) as f64);
    let whole_days = (seconds / (DAY_US / SECOND_US) as f64).trunc();
    let seconds = seconds - whole_days * (DAY_US / SECOND_US) as f64;
    let days = days.trunc() + days_of_months.trunc() + whole_days;
    let microseconds = scale(interval.microseconds as f64) + seconds * SECOND_US as f64;
    if !(months.abs() < f64::from(i32::MAX) && days.abs() < f64::from(i32::MAX) && microseconds.abs() < i64::MAX as f64)
    {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "interval out of range"));
    }
    Ok(Datum::Interval(Interval {
        months: months as i32,
        days: days as i32,
        microseconds: microseconds.round_ties_even() as i64,
    }))
}

const TWO_INTERVALS: &[Parameter] = &[INTERVAL, INTERVAL];

/// Two intervals compared as lengths of time, with months of 30 days and days of 24 hours.
fn compared(args: &[Datum], test: fn(Ordering) -> bool) -> Result<Datum> {
    Ok(Datum::Bool(test(compare(&args[0], &args[1]))))
}

fn factor(datum: &Datum) -> f64 {
    match datum {
        Datum::Float8(value) => *value,
        _ => 1.0,
    }
}

/// The zone of this name, or `22023`.
pub(crate) fn zone_named(name: &str) -> Result<Tz> {
    crate::db::settings::parse_zone(name)
        .ok_or_else(|| SqlError::new(SqlState::InvalidParameterValue, format!("time zone \"{name}\" not recognized")))
}

fn at_zone(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let shift = match &args[0] {
        Datum::Interval(interval) => Some(interval.microseconds),
        _ => None,
    };
    let zone = if shift.is_some() { Tz::UTC } else { zone_named(string(args, 0))? };
    Ok(match &args[1] {
        Datum::Timestamp(us) if is_infinite(*us) => Datum::Timestamptz(*us),
        Datum::Timestamptz(us) if is_infinite(*us) => Datum::Timestamp(*us),
        Datum::Timestamp(us) => Datum::Timestamptz(shift.map_or_else(|| moment_of(*us, zone), |shift| us - shift)),
        Datum::Timestamptz(us) => Datum::Timestamp(shift.map_or_else(|| local_of(*us, zone), |shift| us + shift)),
        _ => Datum::Null,
    })
}

fn int(args: &[Datum], place: usize) -> i32 {
    match args.get(place) {
        Some(Datum::Int4(value)) => *value,
        _ => 0,
    }
}

fn float(args: &[Datum], place: usize) -> f64 {
    match args.get(place) {
        Some(Datum::Float8(value)) => *value,
        _ => 0.0,
    }
}

fn field_overflow(what: &str) -> SqlError {
    SqlError::new(SqlState::DatetimeFieldOverflow, format!("{what} field value out of range"))
}

fn make_date(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    // There is no year 0; -1 is 1 BC.
    let year = match int(args, 0) {
        0 => None,
        year => Some(if year < 0 { year.wrapping_add(1) } else { year }),
    };
    let date = year.and_then(|year| NaiveDate::from_ymd_opt(year, int(args, 1) as u32, int(args, 2) as u32));
    let date = date.ok_or_else(|| {
        SqlError::new(
            SqlState::DatetimeFieldOverflow,
            format!("date field value out of range: {}-{:02}-{:02}", int(args, 0), int(args, 1), int(args, 2)),
        )
    })?;
    Ok(Datum::Date(date.num_days_from_ce() - 719_163))
}

fn make_timestamp(args: &[Datum]) -> Result<i64> {
    let date = NaiveDate::from_ymd_opt(int(args, 0), int(args, 1) as u32, int(args, 2) as u32)
        .ok_or_else(|| field_overflow("date"))?;
    let (hour, minute, seconds) = (i64::from(int(args, 3)), i64::from(int(args, 4)), float(args, 5));
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60.0).contains(&seconds) {
        return Err(field_overflow("time"));
    }
    let time = (hour * 60 + minute) * 60 * SECOND_US + (seconds * SECOND_US as f64).round() as i64;
    Ok(micros(date.and_time(chrono::NaiveTime::MIN)) + time)
}

fn make_interval(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let hours = i64::from(int(args, 4)) * 60 + i64::from(int(args, 5));
    Ok(Datum::Interval(Interval {
        months: int(args, 0).wrapping_mul(12).wrapping_add(int(args, 1)),
        days: int(args, 2).wrapping_mul(7).wrapping_add(int(args, 3)),
        microseconds: hours * 60 * SECOND_US + (float(args, 6) * SECOND_US as f64).round() as i64,
    }))
}

fn justify(value: Interval, hours: bool, days: bool) -> Interval {
    let Interval { mut months, days: mut day_count, mut microseconds } = value;
    if hours {
        day_count += (microseconds / DAY_US) as i32;
        microseconds %= DAY_US;
    }
    // What is left has the sign of what it is left of.
    if days {
        months += day_count / 30;
        day_count %= 30;
        let rest = if hours { microseconds } else { 0 };
        match months.signum() {
            1 if day_count < 0 || (day_count == 0 && rest < 0) => (day_count, months) = (day_count + 30, months - 1),
            -1 if day_count > 0 || (day_count == 0 && rest > 0) => (day_count, months) = (day_count - 30, months + 1),
            _ => {}
        }
    }
    if hours {
        match day_count.signum() {
            1 if microseconds < 0 => (microseconds, day_count) = (microseconds + DAY_US, day_count - 1),
            -1 if microseconds > 0 => (microseconds, day_count) = (microseconds - DAY_US, day_count + 1),
            _ => {}
        }
    }
    Interval { months, days: day_count, microseconds }
}

fn date_bin(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let stride = interval_of(&args[0]);
    if stride.months != 0 {
        return Err(SqlError::unsupported("timestamps binned into intervals containing months or years"));
    }
    let width = i64::from(stride.days) * DAY_US + stride.microseconds;
    if width <= 0 {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "stride must be greater than zero"));
    }
    let (source, origin) = (us_of(&args[1]), us_of(&args[2]));
    let binned = source - (source - origin).rem_euclid(width);
    Ok(if matches!(args[1], Datum::Timestamptz(_)) { Datum::Timestamptz(binned) } else { Datum::Timestamp(binned) })
}

fn from_epoch(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let seconds = float(args, 0);
    if seconds.is_infinite() {
        return Ok(Datum::Timestamptz(if seconds > 0.0 { i64::MAX } else { i64::MIN }));
    }
    let us = (seconds * SECOND_US as f64).round_ties_even();
    if us.is_nan() || us.abs() >= 9.2e18 {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, format!("timestamp out of range: \"{seconds}\"")));
    }
    Ok(Datum::Timestamptz(us as i64))
}

fn is_finite(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    Ok(Datum::Bool(match &args[0] {
        Datum::Timestamp(us) | Datum::Timestamptz(us) => !is_infinite(*us),
        Datum::Date(days) => *days != i32::MAX && *days != i32::MIN,
        _ => true,
    }))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("date_trunc", &[TEXT, TIMESTAMP], TO_TIMESTAMP, date_trunc),
    function("date_trunc", &[TEXT, TIMESTAMPTZ, TEXT], TO_TIMESTAMPTZ, date_trunc).optional(1).stable(),
    function("date_trunc", &[TEXT, INTERVAL], TO_INTERVAL, date_trunc),
    function("date_part", &[TEXT, TIMESTAMP], TO_FLOAT8, date_part),
    function("date_part", &[TEXT, TIMESTAMPTZ], TO_FLOAT8, date_part).stable(),
    function("date_part", &[TEXT, DATE], TO_FLOAT8, date_part),
    function("date_part", &[TEXT, TIME], TO_FLOAT8, date_part),
    function("date_part", &[TEXT, INTERVAL], TO_FLOAT8, date_part),
    function("extract", &[TEXT, TIMESTAMP], Returns::Field, extract),
    function("extract", &[TEXT, TIMESTAMPTZ], Returns::Field, extract).stable(),
    function("extract", &[TEXT, DATE], Returns::Field, extract),
    function("extract", &[TEXT, TIME], Returns::Field, extract),
    function("extract", &[TEXT, INTERVAL], Returns::Field, extract),
    function("age", &[TIMESTAMPTZ, TIMESTAMPTZ], TO_INTERVAL, age).stable(),
    function("age", &[TIMESTAMP, TIMESTAMP], TO_INTERVAL, age),
    function("age", &[TIMESTAMPTZ], TO_INTERVAL, age).stable(),
    function("age", &[TIMESTAMP], TO_INTERVAL, age).stable(),
    function("timezone", &[TEXT, TIMESTAMPTZ], TO_TIMESTAMP, at_zone),
    function("timezone", &[TEXT, TIMESTAMP], TO_TIMESTAMPTZ, at_zone),
    function("timezone", &[INTERVAL, TIMESTAMPTZ], TO_TIMESTAMP, at_zone),
    function("timezone", &[INTERVAL, TIMESTAMP], TO_TIMESTAMPTZ, at_zone),
    function("make_date", &[INT4, INT4, INT4], TO_DATE, make_date),
    function("make_time", &[INT4, INT4, FLOAT8], TO_TIME, |_, args| {
        let (hour, minute) = (i64::from(int(args, 0)), i64::from(int(args, 1)));
        Ok(Datum::Time((hour * 60 + minute) * 60 * SECOND_US + (float(args, 2) * SECOND_US as f64).round() as i64))
    }),
    function("make_timestamp", &[INT4, INT4, INT4, INT4, INT4, FLOAT8], TO_TIMESTAMP, |_, args| {
        make_timestamp(args).map(Datum::Timestamp)
    }),
    function("make_timestamptz", &[INT4, INT4, INT4, INT4, INT4, FLOAT8, TEXT], TO_TIMESTAMPTZ, |call, args| {
        let zone = if args.len() > 6 { zone_named(string(args, 6))? } else { call.environment().zone };
        Ok(Datum::Timestamptz(moment_of(make_timestamp(args)?, zone)))
    })
    .optional(1)
    .stable(),
    function("make_interval", &[INT4, INT4, INT4, INT4, INT4, INT4, FLOAT8], TO_INTERVAL, make_interval).optional(7),
    function("justify_hours", &[INTERVAL], TO_INTERVAL, |_, args| {
        Ok(Datum::Interval(justify(interval_of(&args[0]), true, false)))
    }),
    function("justify_days", &[INTERVAL], TO_INTERVAL, |_, args| {
        Ok(Datum::Interval(justify(interval_of(&args[0]), false, true)))
    }),
    function("justify_interval", &[INTERVAL], TO_INTERVAL, |_, args| {
        Ok(Datum::Interval(justify(interval_of(&args[0]), true, true)))
    }),
    function("date_bin", &[INTERVAL, TIMESTAMP, TIMESTAMP], TO_TIMESTAMP, date_bin),
    function("date_bin", &[INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ], TO_TIMESTAMPTZ, date_bin),
    function("isfinite", &[DATE], TO_BOOL, is_finite),
    function("isfinite", &[TIMESTAMP], TO_BOOL, is_finite),
    function("isfinite", &[TIMESTAMPTZ], TO_BOOL, is_finite),
    function("to_timestamp", &[FLOAT8], TO_TIMESTAMPTZ, from_epoch),
    function("date_pli", &[DATE, INT4], TO_DATE, |_, args| date_and_int(args, 0, 1, 1)),
    function("integer_pl_date", &[INT4, DATE], TO_DATE, |_, args| date_and_int(args, 1, 0, 1)),
    function("date_mii", &[DATE, INT4], TO_DATE, |_, args| date_and_int(args, 0, 1, -1)),
    function("date_mi", &[DATE, DATE], TO_INT4, |_, args| match (&args[0], &args[1]) {
        (Datum::Date(i32::MAX | i32::MIN), _) | (_, Datum::Date(i32::MAX | i32::MIN)) => {
            Err(SqlError::new(SqlState::DatetimeFieldOverflow, "cannot subtract infinite dates"))
        }
        (Datum::Date(a), Datum::Date(b)) => a.checked_sub(*b).map(Datum::Int4).ok_or_else(out_of_range),
        _ => Ok(Datum::Null),
    }),
    function("datetime_pl", &[DATE, TIME], TO_TIMESTAMP, |_, args| {
        Ok(Datum::Timestamp(us_of(&args[0]) + us_of(&args[1])))
    }),
    function("timedate_pl", &[TIME, DATE], TO_TIMESTAMP, |_, args| {
        Ok(Datum::Timestamp(us_of(&args[0]) + us_of(&args[1])))
    }),
    function("timestamp_pl_interval", &[TIMESTAMP, INTERVAL], TO_TIMESTAMP, |call, args| shifted(call, args, 0, 1, 1)),
    function("timestamp_mi_interval", &[TIMESTAMP, INTERVAL], TO_TIMESTAMP, |call, args| shifted(call, args, 0, 1, -1)),
    function("interval_pl_timestamp", &[INTERVAL, TIMESTAMP], TO_TIMESTAMP, |call, args| shifted(call, args, 1, 0, 1)),
    function("timestamptz_pl_interval", &[TIMESTAMPTZ, INTERVAL], TO_TIMESTAMPTZ, |call, args| {
        shifted(call, args, 0, 1, 1)
    })
    .stable(),
    function("timestamptz_mi_interval", &[TIMESTAMPTZ, INTERVAL], TO_TIMESTAMPTZ, |call, args| {
        shifted(call, args, 0, 1, -1)
    })
    .stable(),
    function("interval_pl_timestamptz", &[INTERVAL, TIMESTAMPTZ], TO_TIMESTAMPTZ, |call, args| {
        shifted(call, args, 1, 0, 1)
    })
    .stable(),
    function("timestamp_mi", &[TIMESTAMP, TIMESTAMP], TO_INTERVAL, |_, args| difference(args)),
    function("timestamptz_mi", &[TIMESTAMPTZ, TIMESTAMPTZ], TO_INTERVAL, |_, args| difference(args)),
    function("time_mi_time", &[TIME, TIME], TO_INTERVAL, |_, args| {
        Ok(Datum::Interval(Interval { months: 0, days: 0, microseconds: us_of(&args[0]) - us_of(&args[1]) }))
    }),
    function("time_pl_interval", &[TIME, INTERVAL], TO_TIME, |_, args| Ok(shifted_time(args, 0, 1, 1))),
    function("interval_pl_time", &[INTERVAL, TIME], TO_TIME, |_, args| Ok(shifted_time(args, 1, 0, 1))),
    function("time_mi_interval", &[TIME, INTERVAL], TO_TIME, |_, args| Ok(shifted_time(args, 0, 1, -1))),
    function("interval_eq", TWO_INTERVALS, TO_BOOL, |_, args| compared(args, Ordering::is_eq)),
    function("interval_ne", TWO_INTERVALS, TO_BOOL, |_, args| compared(args, Ordering::is_ne)),
    function("interval_lt", TWO_INTERVALS, TO_BOOL, |_, args| compared(args, Ordering::is_lt)),
    function("interval_le", TWO_INTERVALS, TO_BOOL, |_, args| compared(args, Ordering::is_le)),
    function("interval_gt", TWO_INTERVALS, TO_BOOL, |_, args| compared(args, Ordering::is_gt)),
    function("interval_ge", TWO_INTERVALS, TO_BOOL, |_, args| compared(args, Ordering::is_ge)),
    function("pg_interval_order", &[INTERVAL], TO_INT8, |_, args| {
        let Interval { months, days, microseconds } = interval_of(&args[0]);
        let days = i64::from(months) * 30 + i64::from(days);
        Ok(Datum::Int8(days.saturating_mul(DAY_US).saturating_add(microseconds)))
    }),
    function("interval_mul", &[INTERVAL, FLOAT8], TO_INTERVAL, |_, args| {
        scaled(interval_of(&args[0]), |value| value * factor(&args[1]))
    }),
    function("mul_d_interval", &[FLOAT8, INTERVAL], TO_INTERVAL, |_, args| {
        scaled(interval_of(&args[1]), |value| value * factor(&args[0]))
    }),
    function("interval_div", &[INTERVAL, FLOAT8], TO_INTERVAL, |_, args| {
        if factor(&args[1]) == 0.0 {
            return Err(SqlError::new(SqlState::DivisionByZero, "division by zero"));
        }
        scaled(interval_of(&args[0]), |value| value / factor(&args[1]))
    }),
];
