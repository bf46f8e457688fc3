//! What the server does to files: whose they are, and that it opens none but its own, whatever a statement names.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio_postgres::Client;

use super::auth::arguments;
use super::privileges::connect;
use crate::harness::raw::{RawClient, parse, sync};
use crate::harness::server::PROGRAM;
use crate::harness::{Server, error, one, rows, run};

/// Runs what follows with a mask that keeps nothing from anybody.
const OPEN_HANDED: &[&str] = &["sh", "-c", "umask 0; exec \"$0\" \"$@\""];

/// Work that makes every kind of file a server has.
async fn work(client: &Client) {
    run(
        client,
        "CREATE TABLE t (id int PRIMARY KEY, note text, v vector(8));
         INSERT INTO t SELECT g, repeat(md5(g::text), 10), array_fill(g % 97, ARRAY[8])::vector FROM generate_series(1, 9000) g;
         CREATE INDEX ON t USING hnsw (v vector_l2_ops); CREATE INDEX ON t (note)",
    )
    .await;
    run(
        client,
        "UPDATE t SET note = 'other', v = '[1,2,3,4,5,6,7,8]' WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0",
    )
    .await;
    run(client, "CHECKPOINT").await;
    run(client, "VACUUM FULL t").await;
    run(client, "REINDEX TABLE t").await;
    run(client, "CHECKPOINT").await;
    assert_eq!(rows(client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
    assert_eq!(rows(client, "SELECT id FROM t ORDER BY v <-> '[1,2,3,4,5,6,7,8]', id LIMIT 1").await, [["3"]]);
    // More than there is memory for.
    let grouped = "SELECT count(*) FROM (SELECT a, n, count(*) FROM (SELECT (n * 7919) % 1000003 AS a, n \
                   FROM generate_series(1, 1500000::bigint) n) s GROUP BY 1, 2) t";
    assert_eq!(one(client, grouped).await, "1500000");
}

/// Asserts that everything in a folder, and the folder, is for its owner alone. Gives how many things there are.
fn assert_private(folder: &Path) -> usize {
    let mut found = 0;
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().expect("what was just listed");
        let kind = metadata.file_type();
        assert!(kind.is_dir() || kind.is_file() || kind.is_socket(), "{} is a {kind:?}", path.display());
        let mode = if kind.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "the mode of {}", path.display());
        found += 1;
        if kind.is_dir() {
            left.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_their_owners_alone_whatever_the_umask() {
    let place = tempfile::tempdir().expect("a directory");
    let (data, backups, again) = (place.path().join("data"), place.path().join("backups"), place.path().join("again"));
    let words = ["--query-memory", "48", "--backup-interval", "0"];
    let mut server = Server::start_under(OPEN_HANDED, &data, arguments(&words));
    let client = server.connect().await;
    work(&client).await;
    run(&client, &format!("BACKUP TO '{}'", backups.display())).await;
    assert!(assert_private(&data) > 20 && assert_private(&backups) > 10);
    assert!(server.terminate().success());
    assert!(assert_private(&data) > 20);
    let restored = Command::new(OPEN_HANDED[0])
        .args(&OPEN_HANDED[1..])
        .args([PROGRAM.as_str(), "restore"])
        .args([backups.as_os_str(), "--to".as_ref(), again.as_os_str()])
        .stderr(Stdio::null())
        .status();
    assert!(restored.expect("the program runs").success());
    assert!(assert_private(&again) > 10);
}

/// Statements that would read, write or run something outside of the database, most of them DataFusion's or PostgreSQL's own, and the
/// codes with which a superuser is refused.
const ESCAPES: &[(&str, &str)] = &[
    ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "42601"),
    ("CREATE EXTERNAL TABLE x (a text) STORED AS PARQUET LOCATION 'file:///tmp/lodedb-escaped/'", "42601"),
    ("CREATE UNBOUNDED EXTERNAL TABLE x (a text) STORED AS CSV LOCATION '/dev/stdin'", "42601"),
    ("COPY (SELECT 1) TO '/tmp/lodedb-escaped'", "0A000"),
    ("COPY (SELECT 1) TO '/tmp/lodedb-escaped.parquet' STORED AS PARQUET", "0A000"),
    ("COPY mine TO '/tmp/lodedb-escaped'", "0A000"),
    ("COPY mine TO '../escaped' (FORMAT csv)", "0A000"),
    ("COPY mine FROM '/etc/passwd'", "0A000"),
    ("COPY mine FROM '/proc/self/environ'", "0A000"),
    ("COPY mine TO PROGRAM 'touch /tmp/lodedb-escaped'", "0A000"),
    ("COPY mine FROM PROGRAM 'cat /etc/passwd'", "0A000"),
    ("SELECT * FROM '/etc/passwd'", "42P01"),
    ("SELECT * FROM \"/etc/passwd\"", "42P01"),
    ("SELECT * FROM \"file:///etc/passwd\"", "42P01"),
    ("SELECT * FROM \"/tmp/lodedb-escaped.parquet\" AS x", "42P01"),
    ("INSERT INTO \"/tmp/lodedb-escaped\" VALUES (1)", "42P01"),
    ("INSERT OVERWRITE DIRECTORY '/tmp/lodedb-escaped' SELECT 1", "42601"),
    ("CREATE TABLE x AS SELECT * FROM \"/etc/passwd\"", "42P01"),
    ("CREATE TABLE x (a int) LOCATION '/tmp/lodedb-escaped'", "42601"),
    ("CREATE VIEW x AS SELECT * FROM \"/etc/passwd\"", "0A000"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM \"/etc/passwd\"", "42P01"),
    ("EXPLAIN SELECT * FROM \"/etc/passwd\"", "42P01"),
    ("EXPLAIN ANALYZE COPY mine TO '/tmp/lodedb-escaped'", "42601"),
    ("PREPARE x AS COPY mine TO '/tmp/lodedb-escaped'", "42601"),
    ("DESCRIBE \"/etc/passwd\"", "42601"),
    ("SELECT * FROM read_csv('/etc/passwd')", "42883"),
    ("SELECT * FROM read_parquet('/etc/passwd')", "42883"),
    ("SELECT * FROM read_json('/etc/passwd')", "42883"),
    ("SELECT * FROM parquet_metadata('/etc/passwd')", "42883"),
    ("SELECT * FROM list_files_cache()", "42883"),
    ("SELECT pg_read_file('/etc/passwd')", "42883"),
    ("SELECT pg_read_binary_file('/etc/passwd')", "42883"),
    ("SELECT pg_ls_dir('/')", "42883"),
    ("SELECT * FROM pg_ls_dir('/')", "42883"),
    ("SELECT pg_stat_file('/etc/passwd')", "42883"),
    ("SELECT pg_file_write('/tmp/lodedb-escaped', 'x', false)", "42883"),
    ("SELECT lo_import('/etc/passwd')", "42883"),
    ("SELECT lo_export(1, '/tmp/lodedb-escaped')", "42883"),
    ("SELECT query_to_xml('select 1', true, true, '')", "42883"),
    ("SELECT dblink_connect('host=/tmp')", "42883"),
    ("SET datafusion.execution.batch_size = 1", "42704"),
    ("SET datafusion.catalog.location = '/etc'", "42704"),
    ("SET datafusion.catalog.format = 'csv'", "42704"),
    ("SET datafusion.runtime.temp_directory = '/tmp'", "42704"),
    ("RESET datafusion.catalog.location", "42704"),
    ("SHOW datafusion.catalog.location", "42704"),
    ("SELECT set_config('datafusion.catalog.location', '/etc', false)", "42704"),
    ("SELECT current_setting('datafusion.catalog.location')", "42704"),
    ("SET data_directory = '/tmp'", "42704"),
    ("SET dynamic_library_path = '/tmp'", "42704"),
    ("SET local_preload_libraries = '/tmp/x.so'", "42704"),
    ("SET lodedb.backup_dir = '/tmp'", "55P02"),
    ("ALTER SYSTEM SET data_directory = '/tmp'", "0A000"),
    ("LOAD '/tmp/x.so'", "0A000"),
    ("CREATE FUNCTION x() RETURNS int LANGUAGE c AS '/tmp/x.so'", "0A000"),
    ("CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'", "0A000"),
    ("CREATE EXTENSION \"/tmp/x\"", "0A000"),
    ("CREATE EXTENSION file_fdw", "0A000"),
    ("CREATE SERVER x FOREIGN DATA WRAPPER file_fdw", "0A000"),
    ("CREATE FOREIGN TABLE x (a text) SERVER x OPTIONS (filename '/etc/passwd')", "0A000"),
    ("CREATE TABLESPACE x LOCATION '/tmp'", "0A000"),
    ("CREATE DATABASE x", "0A000"),
    ("DO 'BEGIN END'", "0A000"),
];

/// What a query says that is refused, whichever way it comes.
async fn assert_refused(server: &Server, client: &Client) {
    for (sql, code) in ESCAPES {
        let refused = error(client, sql).await;
        assert_eq!(refused.code().code(), *code, "{sql}: {}", refused.message());
        // What is named may be repeated; what is in it may not.
        assert!(!format!("{refused:?}").contains("root:"), "{sql}: {refused:?}");
    }
    tokio::task::block_in_place(|| {
        let mut raw = RawClient::connect(server.address());
        for (sql, code) in ESCAPES {
            let told = raw.ask_shown(&[parse("", sql), sync()].concat());
            // Of statements that are no queries, and of settings that are named by a value, it is known when they run.
            let may_wait = told == "1 ZI" && (!sql.starts_with("SELECT") || sql.contains("datafusion."));
            assert!(may_wait || told == format!("E({code}) ZI"), "{sql} made ready: {told}");
        }
    });
    for escaped in ["/tmp/lodedb-escaped", "/tmp/lodedb-escaped.parquet"] {
        assert!(!Path::new(escaped).exists(), "{escaped} was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_what_it_is_for_reaches_a_file() {
    let server = Server::start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE mine (a text)").await;
    assert_refused(&server, &client).await;
    assert_eq!(one(&client, "SELECT count(*) FROM mine").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_folder_takes_no_backup() {
    let place = tempfile::tempdir().expect("a directory");
    let folder = place.path().join("files");
    std::fs::create_dir(&folder).expect("made");
    let kept = place.path().join("kept");
    std::fs::write(&kept, "as it was").expect("written");
    std::fs::write(folder.join("plain"), "as it was").expect("written");
    std::fs::hard_link(&kept, folder.join("hard")).expect("linked");
    std::os::unix::fs::symlink("/dev/null", folder.join("device")).expect("linked");
    std::os::unix::fs::symlink(&kept, folder.join("soft")).expect("linked");
    std::os::unix::fs::symlink(folder.join("loop"), folder.join("loop")).expect("linked");
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().expect("mkfifo runs").success());
    let words = ["--file-dir", folder.to_str().expect("UTF-8"), "--backup-interval", "0"];
    let server = Server::start_in_with(&place.path().join("data"), arguments(&words));
    let admin = server.connect().await;
    run(&admin, "CREATE ROLE ann LOGIN; GRANT pg_write_server_files TO ann; CREATE TABLE t (a int)").await;
    let ann = connect(&server, "ann").await;
    let long = "n".repeat(4096);
    for (name, for_ann) in [
        ("plain", "58030"),
        ("hard", "58030"),
        ("soft", "42501"),
        ("device", "42501"),
        ("loop", "42501"),
        ("pipe", "58030"),
        (long.as_str(), "58030"),
    ] {
        let refused = error(&ann, &format!("BACKUP TO '{name}'")).await;
        assert_eq!(refused.code().code(), for_ann, "{name}: {}", refused.message());
        // A superuser may write anywhere, and there is no backup in any of these all the same.
        let refused = error(&admin, &format!("BACKUP TO '{}'", folder.join(name).display())).await;
        assert_eq!(refused.code().code(), "58030", "{name}: {}", refused.message());
    }
    for path in ["/dev/null", "/dev/null/x", "/proc/self/x", "/proc/self/fd/0"] {
        assert_eq!(error(&admin, &format!("BACKUP TO '{path}'")).await.code().code(), "58030", "{path}");
    }
    let refused = error(&admin, &format!("BACKUP TO '{}'", server.dir().display())).await;
    assert!(refused.message().contains("inside the database"), "{}", refused.message());
    for file in [&kept, &folder.join("plain")] {
        assert_eq!(std::fs::read_to_string(file).expect("it is there"), "as it was");
    }
    run(&ann, "BACKUP TO 'mine'").await;
    assert!(folder.join("mine").is_dir());
}

/// Calls that open, make, move or remove something by its name; those with a `?` are not on every kind of machine.
const TRACED: &str = "trace=?open,openat,openat2,?creat,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,?link,linkat,\
                      ?symlink,symlinkat,truncate,?mknod,mknodat,?chmod,fchmodat,?chown,?lchown,fchownat,execve,execveat";

/// What a server that serves opens beside its own: how much memory there is and how much of the machine it may use; how many processors
/// there are, and how large the blocks of a disk. What it reads about itself is in `/proc/self`.
const NOT_ITS_OWN: &[&str] = &["/proc/self", "/proc/meminfo", "/sys/fs/cgroup", "/sys/devices"];

/// The files that a line of strace names, the one that was opened among them.
fn named(line: &str) -> Vec<PathBuf> {
    let (call, result) = line.rsplit_once(" = ").unwrap_or((line, ""));
    let pieces: Vec<&str> = call.split('"').collect();
    // A name that is no whole path is within the folder written before it: `unlinkat(5</a/folder>, "name", 0)`.
    let within = |before: &str| before.rsplit_once('<').and_then(|(_, rest)| rest.split('>').next()).map(PathBuf::from);
    let mut paths: Vec<PathBuf> =
        pieces.chunks_exact(2).map(|pair| within(pair[0]).unwrap_or_default().join(pair[1])).collect();
    paths.extend(result.split_once('<').map(|(_, opened)| PathBuf::from(opened.trim_end_matches('>'))));
    paths
}

#[test]
fn lines_of_strace_are_understood() {
    let named = |line| named(line).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    assert_eq!(named("7 openat(AT_FDCWD</w>, \"/a/b\", O_RDONLY|O_CLOEXEC) = 5</c/d>"), ["/a/b", "/c/d"]);
    assert_eq!(named("7 openat(AT_FDCWD</w>, \"b\", O_RDONLY) = -1 ENOENT (No such file or directory)"), ["/w/b"]);
    assert_eq!(named("7 renameat(4</a>, \"b\", 5</c>, \"d\") = 0"), ["/a/b", "/c/d"]);
    assert_eq!(named("7 openat(AT_FDCWD</w>, \"/a\", O_RDONLY <unfinished ...>"), ["/a"]);
    assert_eq!(named("7 <... openat resumed>)             = 9</a/b>"), ["/a/b"]);
    assert_eq!(named("7 +++ exited with 0 +++"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn once_it_serves_a_server_opens_its_own_files_alone() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path().canonicalize().expect("its real name");
    let (data, folder, trace) = (place.join("data"), place.join("files"), place.join("trace"));
    std::fs::create_dir(&folder).expect("made");
    // With -D the server is the child, and strace a grandchild of it that ends when it does.
    let under = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-y", "-e", "signal=none", "-e", TRACED, "-o"];
    let under = arguments(&[&under[..], &[trace.to_str().expect("UTF-8")]].concat());
    let words = ["--file-dir", folder.to_str().expect("UTF-8"), "--backup-interval", "0", "--query-memory", "48"];
    let server = Server::start_under(under, &data, arguments(&words));
    // A line is written before its call goes on, so there is all that led to an answer.
    let traced = || std::fs::read(&trace).expect("the trace");
    let begun = traced().len();
    let outside = || {
        let bytes = traced().split_off(begun);
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (own, others): (Vec<PathBuf>, Vec<PathBuf>) =
            text.lines().flat_map(named).partition(|path| path.starts_with(&data) || path.starts_with(&folder));
        let itself = format!("/proc/{}", server.pid());
        let is_allowed =
            |path: &PathBuf| path.starts_with(&itself) || NOT_ITS_OWN.iter().any(|allowed| path.starts_with(allowed));
        (own, others.into_iter().filter(|path| !is_allowed(path)).collect::<Vec<_>>())
    };
    let client = server.connect().await;
    run(&client, "CREATE TABLE mine (a text); CREATE ROLE ann LOGIN; GRANT pg_write_server_files TO ann").await;
    assert_refused(&server, &client).await;
    work(&client).await;
    run(&client, "SET timezone = 'Europe/Berlin'; SET lc_messages = 'de_DE'; SELECT now(), pg_reload_conf()").await;
    let ann = connect(&server, "ann").await;
    for path in ["/tmp/lodedb-escaped", "../escaped", "/etc", "/proc/self/cwd/escaped"] {
        assert_eq!(error(&ann, &format!("BACKUP TO '{path}'")).await.code().code(), "42501", "{path}");
    }
    run(&ann, "BACKUP TO 'mine'").await;
    let (own, others) = outside();
    assert_eq!(others, Vec::<PathBuf>::new());
    // The next file of the log may have been made before it served.
    let unopened: Vec<&str> = ["meta", "spill", "segments", "manifest"]
        .into_iter()
        .filter(|within| !own.iter().any(|path| path.starts_with(data.join(within))))
        .collect();
    assert!(unopened.is_empty(), "of {} names there is none in {unopened:?}", own.len());
    // The tracer would have seen it.
    let elsewhere = place.join("elsewhere");
    run(&client, &format!("BACKUP TO '{}'", elsewhere.display())).await;
    assert!(outside().1.iter().any(|path| path.starts_with(&elsewhere)));
}
