//! The long run: power cuts until as many machines were checked as are wanted, one line of results after another, to be gone on with where
//! it was left.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::cuts::{Depth, all_of, campaign};
use super::faults;

/// Machines between two lines.
const IMAGES_PER_LINE: u64 = 200_000;

/// A line of the file of results: date, commit, campaign, seeds, images, violations, seconds.
struct Line<'a> {
    campaign: &'a str,
    seeds: (u64, u64),
    images: u64,
    violations: u64,
    seconds: f64,
}

fn append(path: &Path, line: &Line<'_>) {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "-".into());
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let Line { campaign, seeds: (first, last), images, violations, seconds } = line;
    let (date, commit) = (variable("LODEDB_DATE"), variable("LODEDB_COMMIT"));
    writeln!(file, "{date}\t{commit}\t{campaign}\t{first}-{last}\t{images}\t{violations}\t{seconds:.0}").unwrap();
}

/// What the lines of a campaign sum up to: the machines checked, and the next seed.
fn so_far(path: &Path, campaign: &str) -> (u64, u64) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let (mut images, mut next) = (0, 1);
    for line in text.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [_, _, name, seeds, checked, ..] = parts.as_slice() else { continue };
        if *name == campaign {
            images += checked.parse::<u64>().unwrap_or(0);
            let last = seeds.split('-').nth(1).and_then(|last| last.parse::<u64>().ok());
            next = next.max(last.map_or(1, |last| last + 1));
        }
    }
    (images, next)
}

/// Goes on until `LODEDB_SIMULATED_IMAGES` machines are in `LODEDB_RESULTS`.
#[test]
#[ignore = "takes hours; tools/campaigns/run.sh runs it"]
fn long_run() {
    let path = std::env::var("LODEDB_RESULTS").unwrap();
    let path = Path::new(&path);
    let wanted: u64 = std::env::var("LODEDB_SIMULATED_IMAGES").unwrap().parse().unwrap();
    loop {
        let (done, first) = so_far(path, "simulated");
        if done >= wanted {
            println!("{done} images are done");
            break;
        }
        let begun = Instant::now();
        let budget = IMAGES_PER_LINE.min(wanted - done);
        let (next, images, broken) = match campaign(first, budget, Depth::LONG) {
            Ok((next, tally)) => (next, tally.images, None),
            Err(broken) => (first + 1, 0, Some(broken)),
        };
        let seconds = begun.elapsed().as_secs_f64();
        let violations = broken.as_ref().map_or(0, |broken: &Vec<_>| broken.len() as u64);
        append(path, &Line { campaign: "simulated", seeds: (first, next - 1), images, violations, seconds });
        if let Some(broken) = broken {
            panic!("{}", all_of(&broken));
        }
        println!("seeds {first} to {}: {images} images in {seconds:.0} s; {} of {wanted}", next - 1, done + images);
        let begun = Instant::now();
        let (runs, images) = faults::campaign(first..first + 1, 11).unwrap_or_else(|why| panic!("{why}"));
        let seconds = begun.elapsed().as_secs_f64();
        append(path, &Line { campaign: "simulated-faults", seeds: (first, first), images, violations: 0, seconds });
        println!("seed {first}: {runs} runs with a failing call, {images} images in {seconds:.0} s");
    }
}
