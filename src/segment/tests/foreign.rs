//! Bytes that FAISS did not write, under checksums that fit: what no accident makes, tried in a process of its own.
//!
//! FAISS trusts what it reads, so a file is given to it only after its checksums were compared; behind that is what the caller compares.
//! How far the second holds alone is counted here: a case ends refused, with answers, or with the process.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::files::rewrite_body;
use super::*;

const DIMS: u32 = 16;
const ROWS: usize = 1_200;
/// Where the child finds its cases, and the first it should try.
const CASES: &str = "LODEDB_FOREIGN_CASES";
const FIRST: &str = "LODEDB_FOREIGN_FIRST";
/// The most memory the child may ask for, in KiB.
const CHILD_MEMORY_KIB: u32 = 8 << 20;

fn sealed_in(dir: &Path) -> Arc<Sealed> {
    seal(&dir.join("s"), 1, Some(DIMS), &clustered(1, ROWS, DIMS as usize, 0))
}

/// Opens each case and searches it, saying which and what became of it.
#[test]
#[ignore = "the child of another test"]
fn try_foreign_bytes() {
    let dir = PathBuf::from(std::env::var(CASES).expect("cases"));
    let first: usize = std::env::var(FIRST).expect("the first").parse().expect("a number");
    let sealed = sealed_in(&tempfile::tempdir().expect("folder").keep());
    let spec = spec(IndexKind::IvfPq, Metric::L2);
    let whole = Quantizer::open(&OsFileSystem, &dir.join("quantizer"), &spec, 1, None).expect("opened");
    let view = view_of(&sealed);
    let query = clustered(9, 1, DIMS as usize, 0)[0].1.clone().expect("vector");
    let (truth, _) = ask(std::slice::from_ref(&view), None, Metric::L2, &query, 5, None, ALL);
    for case in first.. {
        let path = dir.join(format!("{case}"));
        if !path.exists() {
            break;
        }
        println!("case {case}");
        std::io::stdout().flush().expect("told");
        let quantizer =
            if case % 4 == 0 { Quantizer::open(&OsFileSystem, &path, &spec, 1, None) } else { Ok(whole.clone()) };
        let codes_path = if case % 4 == 0 { dir.join("codes") } else { path };
        let opened = quantizer.and_then(|quantizer| {
            let codes = SegmentIndex::open(&OsFileSystem, &codes_path, &quantizer, &sealed, None)?;
            Ok((quantizer, codes))
        });
        let Ok((quantizer, codes)) = opened else {
            println!("refused {case}");
            continue;
        };
        let segments = HashMap::from([(1, codes)]);
        let index =
            IndexView { spec: Arc::new(spec.clone()), quantizers: vec![quantizer], segments, calibration: None };
        let cancelled = never();
        let effort = Effort::Explicit { probes: 8, candidates: 64 };
        let request = KnnRequest {
            column: 1,
            metric: Metric::L2,
            query: &query,
            k: 5,
            filter: None,
            effort,
            cancelled: &cancelled,
        };
        match search(std::slice::from_ref(&view), Some(&index), &request) {
            Ok((found, _)) if found == truth => println!("right {case}"),
            Ok(_) => println!("other {case}"),
            Err(_) => println!("refused {case}"),
        }
    }
    println!("through");
}

#[test]
fn bytes_that_faiss_did_not_write_are_tried_in_a_child() {
    let cases: usize = std::env::var("LODEDB_FOREIGN").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let seed: u64 = std::env::var("LODEDB_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed);
    let place = tempfile::tempdir().expect("folder");
    let (dir, fs) = (place.path(), os());
    let sealed = sealed_in(dir);
    let index = index_over(spec(IndexKind::IvfPq, Metric::L2), DIMS, &[view_of(&sealed)]);
    index.quantizers[0].save(fs.as_ref(), &dir.join("quantizer")).expect("saved");
    index.segments[&1].save(fs.as_ref(), &dir.join("codes")).expect("saved");
    for case in 0..cases {
        let path = dir.join(format!("{case}"));
        std::fs::copy(dir.join(if case % 4 == 0 { "quantizer" } else { "codes" }), &path).expect("copied");
        rewrite_body(&path, |body| {
            // Headers are at the front, FAISS's own behind ours.
            let front = random.random_range(0..body.len().min(300));
            let any = random.random_range(0..body.len());
            match case / 4 % 5 {
                0 => body[any] ^= 1 << random.random_range(0..8),
                1 => body[front] = random.random(),
                2 => {
                    let size: u64 = if random.random() { random.random() } else { random.random_range(0..1 << 20) };
                    body[front..].iter_mut().zip(size.to_le_bytes()).for_each(|(byte, put)| *byte = put);
                }
                3 => body[any..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                _ => body.truncate(any),
            }
        });
    }
    let (mut refused, mut right, mut other, mut died) = (0, 0, 0, Vec::new());
    let mut first = 0;
    loop {
        let script = format!(
            "ulimit -v {CHILD_MEMORY_KIB}; exec \"$0\" --ignored --exact segment::tests::foreign::try_foreign_bytes --nocapture"
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().expect("this program"))
            .env(CASES, dir)
            .env(FIRST, first.to_string())
            .stderr(Stdio::null())
            .output()
            .expect("a child");
        let told = String::from_utf8_lossy(&child.stdout);
        let begun = told.lines().filter_map(|line| line.split_once("case ")?.1.parse::<usize>().ok()).next_back();
        refused += told.lines().filter(|line| line.starts_with("refused")).count();
        right += told.lines().filter(|line| line.starts_with("right")).count();
        other += told.lines().filter(|line| line.starts_with("other")).count();
        if told.lines().any(|line| line == "through") {
            break;
        }
        let case = begun.expect("a case was begun");
        died.push(case);
        first = case + 1;
    }
    println!(
        "seed {seed}: {cases} cases, {refused} refused, {right} answered right, {other} otherwise, the process died of {died:?}"
    );
    assert_eq!(refused + right + other + died.len(), cases);
    assert!(refused * 4 > cases, "what is out of place is refused");
    assert!(died.len() * 20 <= cases, "behind the checksums, too, hardly anything is believed");
}
