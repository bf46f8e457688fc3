//! How long whoever guesses passwords waits: the attempts of one address under one name come one after the other, each later
//! than the one before.
//!
//! A few failures cost nothing. From then on each attempt has a time of its own before which it is not looked at, twice as far
//! away each time up to a limit; one whose time is too far away to wait for is refused unseen. So an address cannot try faster
//! by trying on many connections at once. A login that succeeds clears its record.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many failures cost nothing.
const FREE: u32 = 5;
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(4);
/// The longest that a client is kept waiting; it is to be told within the time of a start-up.
const PATIENCE: Duration = Duration::from_secs(5);
/// A record that nobody added to for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(600);
/// How many records there are at most; the oldest gives way.
const RECORDS_MAX: usize = 4096;

/// Where an attempt comes from, and under which name.
pub(crate) type Source = (Option<IpAddr>, String);

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    /// When the last attempt was, or will be looked at.
    at: Instant,
}

/// The failures so far.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<Source, Record>>);

/// An address as failures are counted by it: of IPv6, the network that one customer has.
pub(crate) fn counted(address: Option<IpAddr>) -> Option<IpAddr> {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => Some(IpAddr::V6((u128::from(address) >> 64 << 64).into())),
        other => other,
    }
}

impl Failures {
    /// How long this attempt waits before it is looked at; `None` if it is not to be looked at.
    pub(crate) fn admit(&self, source: &Source, now: Instant) -> Option<Duration> {
        let mut records = self.0.lock();
        let Some(record) = records.get_mut(source) else { return Some(Duration::ZERO) };
        let Some(extra) = record.failures.checked_sub(FREE) else { return Some(Duration::ZERO) };
        let step = FIRST.saturating_mul(1 << extra.min(8)).min(LONGEST);
        let at = (record.at + step).max(now);
        let wait = at - now;
        if wait > PATIENCE {
            return None;
        }
        record.at = at;
        Some(wait)
    }

    /// The attempt failed.
    pub(crate) fn note(&self, source: Source, now: Instant) {
        let mut records = self.0.lock();
        if !records.contains_key(&source) && records.len() >= RECORDS_MAX {
            records.retain(|_, record| now.saturating_duration_since(record.at) < MEMORY);
            if records.len() >= RECORDS_MAX
                && let Some(oldest) = records.iter().min_by_key(|(_, record)| record.at).map(|(key, _)| key.clone())
            {
                records.remove(&oldest);
            }
        }
        let record = records.entry(source).or_insert(Record { failures: 0, at: now });
        if now.saturating_duration_since(record.at) >= MEMORY {
            record.failures = 0;
        }
        record.failures = record.failures.saturating_add(1);
        record.at = record.at.max(now);
    }

    /// The attempt succeeded.
    pub(crate) fn clear(&self, source: &Source) {
        self.0.lock().remove(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Source {
        (counted(Some([10, 0, 0, 1].into())), name.to_owned())
    }

    #[test]
    fn each_failure_beyond_a_few_takes_longer() {
        let (failures, start) = (Failures::default(), Instant::now());
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = failures.admit(&source("ann"), now).expect("looked at");
            waits.push(wait.as_millis());
            now += wait;
            failures.note(source("ann"), now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(failures.admit(&source("bob"), now), Some(Duration::ZERO), "another name");
        failures.clear(&source("ann"));
        assert_eq!(failures.admit(&source("ann"), now), Some(Duration::ZERO));
    }

    #[test]
    fn many_connections_at_once_are_no_faster() {
        let (failures, now) = (Failures::default(), Instant::now());
        (0..20).for_each(|_| failures.note(source("ann"), now));
        let looked_at = (0..1000).filter(|_| failures.admit(&source("ann"), now).is_some()).count();
        assert_eq!(looked_at, 1, "the second would be looked at in eight seconds");
        assert!(failures.admit(&source("ann"), now + Duration::from_secs(4)).is_some());
    }

    #[test]
    fn records_are_bounded_and_forgotten() {
        let (failures, now) = (Failures::default(), Instant::now());
        for number in 0..3 * RECORDS_MAX {
            failures.note(source(&number.to_string()), now + Duration::from_nanos(number as u64));
        }
        assert_eq!(failures.0.lock().len(), RECORDS_MAX);
        (0..20).for_each(|_| failures.note(source("ann"), now));
        failures.note(source("ann"), now + MEMORY);
        assert_eq!(failures.admit(&source("ann"), now + MEMORY), Some(Duration::ZERO));
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let of = |text: &str| counted(Some(text.parse().expect("an address")));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
