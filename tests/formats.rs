//! Databases that earlier versions wrote are opened, searched, checked and restored from their backups.
//!
//! Each is an archive in `tests/fixtures`, made by `tools/make-fixture.sh` when a format was released or changed, with the answers it gave
//! then. None is ever made again.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lodedb::snapshot::backup::{Progress, restore::restore};
use lodedb::{Db, Options, SessionOptions};
use lodedb_wal::fs::{FileSystem, OsFileSystem};

/// What `tools/make-fixture.sh` asks too.
const QUERIES: [&str; 4] = [
    "SELECT id, note, price, tags, v FROM items ORDER BY id",
    "SELECT id FROM items ORDER BY v <-> '[0.5,0.1,0.9,0.3]' LIMIT 5",
    "SELECT count(*) FROM items WHERE note = 'note 3'",
    "SELECT id, at, body FROM plain ORDER BY id",
];

/// The answers as `lodedb sql` would print their values, a row a line.
async fn answers(db: &Db) -> String {
    let mut session = db.session(SessionOptions::default()).unwrap();
    let mut text = String::new();
    for sql in QUERIES {
        let rows = session.query(sql, &[]).await.unwrap();
        for row in rows.iter() {
            let values = (0..rows.fields().len()).map(|at| row.text(at).unwrap().unwrap_or_else(|| "NULL".into()));
            text.push_str(&values.collect::<Vec<_>>().join("|"));
            text.push('\n');
        }
    }
    text
}

fn open(dir: &Path) -> Db {
    Db::open(dir, Options { background: false, backup_interval: None, ..Options::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_earlier_versions_are_opened() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut archives: Vec<PathBuf> = std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    archives.retain(|path| path.to_string_lossy().ends_with(".tar.gz"));
    assert!(!archives.is_empty());
    for archive in archives {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(dir.path()).status().unwrap();
        assert!(status.success());
        let expected = std::fs::read_to_string(dir.path().join("answers")).unwrap();
        let data = dir.path().join("data");
        let db = open(&data);
        assert_eq!(answers(&db).await, expected, "{}", archive.display());
        let mut session = db.session(SessionOptions::default()).unwrap();
        // Those that have roles have these: one of a manifest, one of the log.
        let roles = session.query("SELECT rolname FROM pg_roles WHERE oid > 16384", &[]).await.unwrap().len();
        assert!(roles == 0 || roles == 2, "{}: {roles} roles", archive.display());
        if roles > 0 {
            let rows = session.query("SELECT has_table_privilege('later', 'items', 'SELECT')", &[]).await.unwrap();
            assert_eq!(rows.first().unwrap().text(0).unwrap().as_deref(), Some("t"), "{}", archive.display());
        }
        assert_eq!(session.query("CHECK DATABASE", &[]).await.unwrap().len(), 0, "{}", archive.display());
        session.execute_sql("INSERT INTO items (id, note) VALUES (100000, 'new')").await.unwrap();
        drop(session);
        db.close().unwrap();
        drop(db);
        // The backup was taken before the last change of the fixture; what it was then is not asked.
        let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem);
        let to = dir.path().join("restored");
        tokio::task::block_in_place(|| restore(&fs, &data.join("backups"), None, &to, None, &Progress::new(0)))
            .unwrap();
        let db = open(&to);
        let mut session = db.session(SessionOptions::default()).unwrap();
        assert_eq!(session.query("CHECK DATABASE", &[]).await.unwrap().len(), 0, "{}", archive.display());
        assert!(session.query("SELECT id FROM items", &[]).await.unwrap().len() > 1000);
    }
}
