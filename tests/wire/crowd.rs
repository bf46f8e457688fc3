//! Many sessions: a thousand that rest and 64 that work, in bounded memory, and nothing that grows with time.
//!
//! `LODEDB_SOAK_SECONDS` says for how long they work: 3600 for the long run, whose figures are printed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::{Server, one, python, run};
use crate::programs::root;

const RESTING: usize = 1_000;
const WORKING: usize = 64;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory_mib: f64,
    descriptors: usize,
    threads: usize,
}

fn held(server: &Server) -> Held {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server's status");
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line of the status");
        line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).expect("a number")
    };
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its descriptors").count();
    Held { memory_mib: number("VmRSS:") / 1024.0, descriptors, threads: number("Threads:") as usize }
}

/// Sessions that rest, in a process of their own: they would be too many files for this one.
struct Crowd(Child);

impl Crowd {
    fn gather(server: &Server) -> Self {
        let address = server.address();
        let mut child = Command::new(python())
            .arg(root().join("tools/clients/python/crowd.py"))
            .args([address.ip().to_string(), address.port().to_string(), RESTING.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output")).read_line(&mut said).expect("a line");
        assert_eq!(said.trim(), format!("held {RESTING}"));
        Self(child)
    }

    fn leave(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("it ends").success());
    }
}

/// One session's mixed work until `end`; how many statements it ran.
async fn work(server: &Server, number: usize, end: Instant) -> u64 {
    let client = server.connect().await;
    let mut random = StdRng::seed_from_u64(number as u64);
    let near = client.prepare("SELECT id FROM crowd ORDER BY v <-> $1::text::vector LIMIT 5").await.expect("prepared");
    let mut count = 0;
    while Instant::now() < end {
        let id = random.random_range(0..2_000);
        match random.random_range(0..10) {
            0 => run(&client, &format!("UPDATE crowd SET n = n + 1 WHERE id = {id}")).await,
            1 => run(&client, &format!("BEGIN; SELECT * FROM crowd WHERE id = {id}; ROLLBACK")).await,
            2 => run(&client, "SELECT n, count(*) FROM crowd GROUP BY n ORDER BY n LIMIT 3").await,
            3..5 => assert_eq!(one(&client, &format!("SELECT id FROM crowd WHERE id = {id}")).await, id.to_string()),
            _ => {
                let query = format!("[{},{},0,1]", id, random.random_range(0..9));
                assert_eq!(client.query(&near, &[&query]).await.expect("neighbours").len(), 5);
            }
        }
        count += 1;
        // So that 64 of them do not ask for more than two processors have.
        tokio::time::sleep(Duration::from_millis(random.random_range(5..100))).await;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_rest_while_64_work_and_nothing_grows() {
    let seconds = std::env::var("LODEDB_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let server = Server::start_with(&["--max-connections", "1100"]);
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE crowd (id int PRIMARY KEY, n int, v vector(4));
         INSERT INTO crowd SELECT g, 0, ARRAY[g, g % 9, 0, 1]::vector FROM generate_series(0, 1999) g;
         CREATE INDEX ON crowd USING hnsw (v vector_l2_ops)",
    )
    .await;
    let alone = held(&server);
    let crowd = Crowd::gather(&server);
    let crowded = held(&server);
    let each_kib = (crowded.memory_mib - alone.memory_mib) * 1024.0 / RESTING as f64;
    assert!(each_kib < 100.0, "a session that rests takes {each_kib:.0} KiB");

    let (begun, end) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let workers = (0..WORKING).map(|number| work(&server, number, end));
    let watching = async {
        let mut seen = Vec::new();
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(seconds * 1000 / 40)).await;
            seen.push(held(&server));
        }
        seen
    };
    let (counts, seen) = tokio::join!(futures::future::join_all(workers), watching);
    // All work by the second quarter; what is held in the last must not be more.
    let (early, late) = (&seen[seen.len() / 4..seen.len() / 2], &seen[seen.len() * 3 / 4..seen.len() - 1]);
    let most = |part: &[Held], of: fn(&Held) -> f64| part.iter().map(of).fold(0.0, f64::max);
    let memory = (most(early, |held| held.memory_mib), most(late, |held| held.memory_mib));
    println!(
        "{} statements of {WORKING} sessions in {:.0} s beside {RESTING} that rested ({each_kib:.0} KiB each): {:.0} MiB then {:.0} MiB, {:?}",
        counts.iter().sum::<u64>(),
        begun.elapsed().as_secs_f64(),
        memory.0,
        memory.1,
        seen.last(),
    );
    assert!(memory.1 < memory.0 * 1.1 + 16.0, "memory grew from {:.0} to {:.0} MiB", memory.0, memory.1);
    let descriptors = (most(early, |held| held.descriptors as f64), most(late, |held| held.descriptors as f64));
    assert!(descriptors.1 <= descriptors.0 + 8.0, "descriptors grew: {descriptors:?}");
    let threads = (most(early, |held| held.threads as f64), most(late, |held| held.threads as f64));
    assert!(threads.1 <= threads.0 + 2.0, "threads grew: {threads:?}");

    crowd.leave();
    let deadline = Instant::now() + Duration::from_secs(20);
    while held(&server).descriptors > alone.descriptors + 8 {
        assert!(Instant::now() < deadline, "{:?} is held after all have left, {alone:?} before", held(&server));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(one(&client, "SELECT count(*) FROM crowd").await, "2000");
}
