//! The rules on a made-up clock of commits: which of the transactions that meet may commit.

use super::*;

/// Transactions on a made-up clock of commits.
#[derive(Default)]
struct Game {
    watching: Serializable,
    lsn: u64,
}

impl Game {
    fn begin(&self, tx: u64) {
        self.watching.watched.lock().insert(TxId::for_test(tx), Watched::of(self.lsn));
    }

    fn reads(&self, tx: u64, table: TableId) -> bool {
        self.watching.reads(TxId::for_test(tx), [table]).is_ok()
    }

    fn writes(&self, tx: u64, table: TableId) -> bool {
        self.watching.writes(TxId::for_test(tx), table).is_ok()
    }

    fn commits(&mut self, tx: u64) -> bool {
        let id = TxId::for_test(tx);
        let wrote = self.watching.watched.lock().get(&id).is_some_and(|own| !own.writes.is_empty());
        let let_through = self.watching.prepare(id).is_ok();
        if let_through {
            self.lsn += u64::from(wrote);
            self.watching.committed(id, wrote.then_some(self.lsn));
        }
        self.watching.ended(id);
        let_through
    }
}

#[test]
fn write_skew_is_refused() {
    let mut game = Game::default();
    game.begin(1);
    game.begin(2);
    assert!(game.reads(1, 10) && game.reads(1, 20) && game.reads(2, 10) && game.reads(2, 20));
    assert!(game.writes(1, 10));
    let second = game.writes(2, 20);
    let committed = [game.commits(1), second && game.commits(2)];
    assert_eq!(committed.iter().filter(|&&committed| committed).count(), 1, "{committed:?}");
}

#[test]
fn one_after_the_other_passes() {
    let mut game = Game::default();
    for tx in 1..5 {
        game.begin(tx);
        assert!(game.reads(tx, 10) && game.writes(tx, 10) && game.commits(tx));
    }
    assert!(game.watching.watched.lock().is_empty());
}

#[test]
fn one_that_only_reads_may_be_beside_one_that_writes() {
    let mut game = Game::default();
    game.begin(1);
    game.begin(2);
    assert!(game.reads(1, 10) && game.reads(2, 10) && game.writes(2, 10));
    assert!(game.commits(2) && game.reads(1, 10) && game.commits(1));
}

/// Fekete, O'Neil, O'Neil, *A read-only transaction anomaly under snapshot isolation* (2004): without the one that reads there is an order.
#[test]
fn the_anomaly_of_one_that_only_reads_is_refused() {
    let (checking, savings) = (10, 20);
    let mut game = Game::default();
    game.begin(2);
    assert!(game.reads(2, checking) && game.reads(2, savings));
    game.begin(1);
    assert!(game.reads(1, savings) && game.writes(1, savings) && game.commits(1));
    game.begin(3);
    assert!(game.reads(3, checking) && game.reads(3, savings) && game.commits(3));
    assert!(!(game.writes(2, checking) && game.commits(2)));
}

#[test]
fn what_was_refused_does_not_count() {
    let mut game = Game::default();
    game.begin(1);
    game.begin(2);
    assert!(game.reads(1, 10) && game.writes(2, 10));
    game.watching.ended(TxId::for_test(2));
    game.begin(3);
    assert!(game.reads(3, 20) && game.writes(3, 20) && game.commits(3));
    assert!(game.commits(1));
}

#[test]
fn commits_are_forgotten_when_nobody_is_beside_them() {
    let mut game = Game::default();
    game.begin(1);
    for tx in 2..100 {
        game.begin(tx);
        assert!(game.writes(tx, 10) && game.commits(tx));
    }
    assert_eq!(game.watching.watched.lock().len(), 99);
    assert!(game.commits(1));
    assert!(game.watching.watched.lock().is_empty());
}
