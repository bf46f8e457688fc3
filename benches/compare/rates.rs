//! Rates: how often something is done in a second by several threads at once, and medians of that.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::Result;

/// How many times everything is measured; the median counts.
pub(crate) const ROUNDS: usize = 5;

/// Each thread does `work` on its own `T` for about this long; gives how often it was done in a second, all together. Every call gets a
/// number of its own.
pub(crate) fn rate<T: Send>(
    each: &mut [T],
    seconds: f64,
    work: impl Fn(&mut T, usize) -> Result<()> + Sync,
) -> Result<f64> {
    let (threads, barrier) = (each.len(), Barrier::new(each.len()));
    let span = Duration::from_secs_f64(seconds);
    let run = |at: usize, own: &mut T| {
        barrier.wait();
        let from = Instant::now();
        let mut done = 0;
        while from.elapsed() < span {
            work(own, done * threads + at)?;
            done += 1;
        }
        Ok::<f64, String>(done as f64 / from.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let all: Vec<_> = each.iter_mut().enumerate().map(|(at, own)| scope.spawn(move || run(at, own))).collect();
        all.into_iter().map(|one| one.join().map_err(|_| "a client panicked".to_owned())?).sum()
    })
}

/// As [`rate`], and gives how long each time took, in milliseconds.
pub(crate) fn latencies<T: Send>(
    each: &mut [T],
    seconds: f64,
    work: impl Fn(&mut T, usize) -> Result<()> + Sync,
) -> Result<Vec<f64>> {
    let mut all: Vec<(&mut T, Vec<f64>)> = each.iter_mut().map(|own| (own, Vec::new())).collect();
    rate(&mut all, seconds, |(own, took), at| {
        took.push(1e3 * timed(|| work(own, at))?);
        Ok(())
    })?;
    Ok(all.into_iter().flat_map(|(_, took)| took).collect())
}

/// The threads share the numbers below `times` and do `work` once for each.
pub(crate) fn each<T: Send>(
    each: &mut [T],
    times: usize,
    work: impl Fn(&mut T, usize) -> Result<()> + Sync,
) -> Result<()> {
    let threads = each.len();
    let run = |at: usize, own: &mut T| (at..times).step_by(threads).try_for_each(|number| work(own, number));
    thread::scope(|scope| {
        let all: Vec<_> = each.iter_mut().enumerate().map(|(at, own)| scope.spawn(move || run(at, own))).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "a client panicked".to_owned())?)
    })
}

/// The middle one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len.is_multiple_of(2) => (sorted[half - 1] + sorted[half]) / 2.0,
        _ => sorted[half],
    }
}

/// The value that so many percent of them do not exceed.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// How long it took, in seconds.
pub(crate) fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let from = Instant::now();
    work()?;
    Ok(from.elapsed().as_secs_f64())
}
