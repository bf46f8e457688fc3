//! Who may do what: every kind of statement, for the owner of its table, for whoever may read it, for somebody else, and for a
//! superuser.

use crate::harness::raw::{RawClient, field, message, query};
use crate::harness::{Server, error, ok, one, rows, run};
use tokio_postgres::{Client, NoTls};

const SETUP: &str = "
    CREATE ROLE owner LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE other LOGIN;
    GRANT CREATE ON SCHEMA public TO owner;
    CREATE TABLE free (id int);
    GRANT ALL ON free TO PUBLIC;";

const OWNED: &str = "
    CREATE TABLE t (id serial PRIMARY KEY, note text, v vector(2));
    CREATE INDEX t_note ON t (note);
    INSERT INTO t (note, v) VALUES ('one', '[1,2]'), ('two', '[3,4]');
    CREATE SEQUENCE s;
    SELECT nextval('s');
    GRANT SELECT ON t TO reader;
    GRANT SELECT ON s TO reader;";

/// A session of a role.
pub(crate) async fn connect(server: &Server, user: &str) -> Client {
    let mut config = server.config();
    let (client, connection) = config.user(user).connect(NoTls).await.unwrap_or_else(|error| panic!("{user}: {error}"));
    tokio::spawn(connection);
    client
}

/// The code of the first error that a message is answered with; nothing if there is none.
fn code(client: &mut RawClient, bytes: &[u8]) -> String {
    let answers = client.ask(bytes);
    answers.iter().find(|(tag, _)| *tag == 'E').map_or(String::new(), |(_, body)| field(body, 'C'))
}

/// What a statement in a block of its own ends with, after which nothing of it is left.
fn tried(client: &mut RawClient, sql: &str) -> String {
    assert_eq!(code(client, &query("BEGIN")), "");
    let copies = sql.starts_with("COPY") && sql.contains("FROM STDIN");
    let told = if copies {
        // Whoever may copy is asked for rows, and gives up.
        let sent = [query(sql), message('f', b"enough\0")].concat();
        code(client, &sent).replace("57014", "")
    } else {
        code(client, &query(sql))
    };
    assert_eq!(code(client, &query("ROLLBACK")), "");
    told
}

const NO: &str = "42501";

/// Each statement, and what it ends with for the owner, the reader and the other.
const STATEMENTS: &[(&str, [&str; 3])] = &[
    // Reading.
    ("SELECT * FROM t", ["", "", NO]),
    ("SELECT 1 FROM public.t", ["", "", NO]),
    ("SELECT count(*) FROM t", ["", "", NO]),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM t)", ["", "", NO]),
    ("SELECT (SELECT max(note) FROM t)", ["", "", NO]),
    ("WITH x AS (SELECT * FROM t) SELECT 1 FROM x", ["", "", NO]),
    ("SELECT 1 UNION SELECT id FROM t", ["", "", NO]),
    ("SELECT a.id FROM free a LEFT JOIN t b ON a.id = b.id", ["", "", NO]),
    ("SELECT x.* FROM free, LATERAL (SELECT * FROM t WHERE t.id = free.id) x", ["", "", NO]),
    ("SELECT 1 FROM lodedb_target.t", ["", "", NO]),
    ("SELECT * FROM t WHERE id = 1", ["", "", NO]),
    ("SELECT id FROM t ORDER BY v <-> '[1,1]' LIMIT 1", ["", "", NO]),
    ("SELECT * FROM t WHERE note = 'one' FOR UPDATE", ["", NO, NO]),
    ("SELECT * FROM t FOR SHARE", ["", NO, NO]),
    ("COPY t TO STDOUT", ["", "", NO]),
    ("COPY (SELECT id FROM t) TO STDOUT", ["", "", NO]),
    ("DECLARE c CURSOR FOR SELECT * FROM t", ["", "", NO]),
    ("PREPARE p AS SELECT * FROM t; EXECUTE p; DEALLOCATE p", ["", "", NO]),
    ("PREPARE q (int) AS SELECT $1; EXECUTE q ((SELECT id FROM t LIMIT 1)); DEALLOCATE q", ["", "", NO]),
    ("EXPLAIN SELECT * FROM t", ["", "", NO]),
    ("EXPLAIN ANALYZE SELECT * FROM t", ["", "", NO]),
    ("CREATE TABLE u AS SELECT * FROM t", ["", NO, NO]),
    // Changing rows.
    ("INSERT INTO t (note) VALUES ('three')", ["", NO, NO]),
    ("INSERT INTO t (id, note) VALUES (9, 'nine')", ["", NO, NO]),
    ("INSERT INTO t DEFAULT VALUES", ["", NO, NO]),
    ("INSERT INTO t (note) SELECT 'x'", ["", NO, NO]),
    ("INSERT INTO free SELECT id FROM t", ["", "", NO]),
    ("INSERT INTO free VALUES ((SELECT max(id) FROM t))", ["", "", NO]),
    ("UPDATE t SET note = 'x'", ["", NO, NO]),
    ("UPDATE t SET note = 'x' WHERE id = 1", ["", NO, NO]),
    ("UPDATE free SET id = 1 WHERE id IN (SELECT id FROM t)", ["", "", NO]),
    ("UPDATE free SET id = 1 FROM t WHERE t.id = free.id", ["", "", NO]),
    ("UPDATE free SET id = (SELECT max(id) FROM t)", ["", "", NO]),
    ("DELETE FROM t", ["", NO, NO]),
    ("DELETE FROM t WHERE id = 1", ["", NO, NO]),
    ("DELETE FROM free USING t WHERE t.id = free.id", ["", "", NO]),
    ("DELETE FROM free WHERE id = (SELECT max(id) FROM t) RETURNING *", ["", "", NO]),
    ("EXPLAIN ANALYZE DELETE FROM t", ["", NO, NO]),
    ("TRUNCATE t", ["", NO, NO]),
    ("TRUNCATE t RESTART IDENTITY", ["", NO, NO]),
    ("COPY t FROM STDIN", ["", NO, NO]),
    ("LOCK TABLE t IN ACCESS SHARE MODE", ["", "", NO]),
    ("LOCK TABLE t IN ROW EXCLUSIVE MODE", ["", NO, NO]),
    ("LOCK TABLE t", ["", NO, NO]),
    ("LOCK TABLE t NOWAIT", ["", NO, NO]),
    // Defining.
    ("CREATE TABLE u (a int)", ["", NO, NO]),
    ("CREATE SEQUENCE u", ["", NO, NO]),
    ("CREATE INDEX ON t (note)", ["", NO, NO]),
    ("DROP INDEX t_note", ["", NO, NO]),
    ("ALTER TABLE t ADD COLUMN extra int", ["", NO, NO]),
    ("ALTER TABLE t DROP COLUMN note", ["", NO, NO]),
    ("ALTER TABLE t RENAME TO u", ["", NO, NO]),
    ("ALTER TABLE t RENAME COLUMN note TO remark", ["", NO, NO]),
    ("ALTER TABLE t ALTER COLUMN note SET DEFAULT 'x'", ["", NO, NO]),
    ("ALTER TABLE t OWNER TO owner", ["", NO, NO]),
    ("ALTER TABLE t OWNER TO other", [NO, NO, NO]),
    ("DROP TABLE t", ["", NO, NO]),
    ("DROP SEQUENCE s", ["", NO, NO]),
    ("ALTER SEQUENCE s OWNER TO owner", ["", NO, NO]),
    ("GRANT SELECT ON t TO PUBLIC", ["", "", NO]),
    ("REVOKE SELECT ON t FROM reader", ["", "", NO]),
    ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO other", ["", "", NO]),
    // Sequences.
    ("SELECT nextval('s')", ["", NO, NO]),
    ("SELECT setval('s', 5)", ["", NO, NO]),
    ("SELECT nextval('t_id_seq')", ["", NO, NO]),
    ("SELECT currval('s')", ["", "55000", NO]),
    // Looking after.
    ("CHECK TABLE t", ["", NO, NO]),
    ("SELECT lodedb_merge('t')", ["", NO, NO]),
    ("SELECT lodedb_rebuild('t')", ["", NO, NO]),
    // Superusers' own.
    ("CHECK DATABASE", [NO, NO, NO]),
    ("CHECKPOINT", [NO, NO, NO]),
    ("CREATE ROLE somebody", [NO, NO, NO]),
    ("DROP ROLE other", [NO, NO, NO]),
    ("ALTER ROLE lodedb PASSWORD 'x'", [NO, NO, NO]),
    ("ALTER ROLE postgres RENAME TO root", [NO, NO, NO]),
    ("GRANT owner TO other", [NO, NO, NO]),
    ("GRANT pg_write_server_files TO CURRENT_USER", [NO, NO, NO]),
    ("GRANT lodedb TO CURRENT_USER", [NO, NO, NO]),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", ["", "", ""]),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE lodedb GRANT ALL ON TABLES TO PUBLIC", [NO, NO, NO]),
    ("SET ROLE lodedb", [NO, NO, NO]),
    ("SET ROLE pg_read_all_data", [NO, NO, NO]),
    ("SET SESSION AUTHORIZATION lodedb", [NO, NO, NO]),
    ("SELECT set_config('role', 'lodedb', false)", [NO, NO, NO]),
    ("SELECT set_config('session_authorization', 'lodedb', false)", [NO, NO, NO]),
    ("SET log_min_duration_statement = 0", [NO, NO, NO]),
    ("SET is_superuser = on", ["55P02", "55P02", "55P02"]),
    ("SELECT rolpassword FROM pg_authid", [NO, NO, NO]),
    ("SELECT passwd FROM pg_shadow", [NO, NO, NO]),
    ("SELECT * FROM pg_hba_file_rules", [NO, NO, NO]),
    ("SELECT pg_reload_conf()", [NO, NO, NO]),
    // Everybody's.
    ("SELECT 1", ["", "", ""]),
    ("SELECT * FROM free", ["", "", ""]),
    ("SELECT * FROM pg_class", ["", "", ""]),
    ("SELECT rolname FROM pg_roles", ["", "", ""]),
    ("SELECT * FROM pg_stat_activity", ["", "", ""]),
    ("SET work_mem = '1MB'", ["", "", ""]),
    ("NOTIFY somebody", ["", "", ""]),
    ("LISTEN somebody", ["", "", ""]),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_is_for_those_who_may() {
    let server = Server::start();
    run(&server.connect().await, SETUP).await;
    run(&connect(&server, "owner").await, OWNED).await;
    let wrong = tokio::task::block_in_place(|| {
        let mut wrong = Vec::new();
        let mut sessions = ["owner", "reader", "other"].map(|user| RawClient::connect_as(server.address(), user));
        let mut superuser = RawClient::connect_as(server.address(), "lodedb");
        for (sql, expected) in STATEMENTS {
            for ((session, user), expected) in sessions.iter_mut().zip(["owner", "reader", "other"]).zip(expected) {
                let told = tried(session, sql);
                if told != *expected {
                    wrong.push(format!("{sql} as {user}: {told:?} instead of {expected:?}"));
                }
            }
            let told = tried(&mut superuser, sql);
            if told == NO {
                wrong.push(format!("{sql} as a superuser: {told}"));
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let admin = server.connect().await;
    assert_eq!(one(&admin, "SELECT count(*) FROM t").await, "2", "nothing was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_outside_blocks_is_for_those_who_may_too() {
    let server = Server::start_with(&["--backup-interval", "0"]);
    run(&server.connect().await, SETUP).await;
    run(&connect(&server, "owner").await, OWNED).await;
    let (owner, reader, admin) =
        (connect(&server, "owner").await, connect(&server, "reader").await, server.connect().await);
    for sql in ["VACUUM t", "VACUUM FULL t", "REINDEX TABLE t", "REINDEX INDEX t_note", "ANALYZE t"] {
        run(&owner, sql).await;
        run(&admin, sql).await;
    }
    for sql in ["REINDEX TABLE t", "REINDEX INDEX t_note", "REINDEX DATABASE lodedb"] {
        assert_eq!(error(&reader, sql).await.code().code(), NO, "{sql}");
    }
    assert_eq!(error(&owner, "REINDEX DATABASE lodedb").await.code().code(), NO);
    // As in PostgreSQL, what is not one's own is passed over with a warning.
    run(&reader, "VACUUM t").await;
    run(&reader, "ANALYZE t").await;
    let to = server.dir().join("elsewhere");
    for client in [&owner, &reader] {
        assert_eq!(error(client, &format!("BACKUP TO '{}'", to.display())).await.code().code(), NO);
    }
    assert!(!to.exists());
    let pid = one(&admin, "SELECT pg_backend_pid()").await;
    for call in ["pg_cancel_backend", "pg_terminate_backend"] {
        assert_eq!(error(&reader, &format!("SELECT {call}({pid})")).await.code().code(), NO, "{call}");
    }
    run(&admin, "CREATE ROLE deputy LOGIN; GRANT pg_signal_backend TO deputy; GRANT pg_checkpoint TO deputy").await;
    let deputy = connect(&server, "deputy").await;
    assert_eq!(error(&deputy, &format!("SELECT pg_terminate_backend({pid})")).await.code().code(), NO);
    let pid = one(&reader, "SELECT pg_backend_pid()").await;
    assert_eq!(one(&deputy, &format!("SELECT pg_cancel_backend({pid})")).await, "t");
    run(&deputy, "CHECKPOINT").await;
    // Of others one sees that they are there.
    let seen = "SELECT DISTINCT query FROM pg_stat_activity WHERE usename = 'lodedb'";
    assert_eq!(one(&reader, seen).await, "<insufficient privilege>");
    run(&admin, "GRANT pg_monitor TO reader").await;
    assert_ne!(one(&reader, seen).await, "<insufficient privilege>");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_postgresqls() {
    let server = Server::start();
    run(&server.connect().await, SETUP).await;
    run(&connect(&server, "owner").await, OWNED).await;
    let other = connect(&server, "other").await;
    for (sql, message) in [
        ("SELECT * FROM t", "permission denied for table t"),
        ("SELECT * FROM t WHERE id = 1", "permission denied for table t"),
        ("INSERT INTO t DEFAULT VALUES", "permission denied for table t"),
        ("TRUNCATE t", "permission denied for table t"),
        ("LOCK TABLE t", "LOCK TABLE can only be used in transaction blocks"),
        ("DROP TABLE t", "must be owner of table t"),
        ("ALTER TABLE t ADD COLUMN x int", "must be owner of table t"),
        ("CREATE INDEX ON t (note)", "must be owner of table t"),
        ("DROP INDEX t_note", "must be owner of index t_note"),
        ("DROP SEQUENCE s", "must be owner of sequence s"),
        ("SELECT nextval('s')", "permission denied for sequence s"),
        ("CREATE TABLE u (a int)", "permission denied for schema public"),
        ("CREATE ROLE x", "permission denied to create role"),
        ("DROP ROLE reader", "permission denied to drop role"),
        ("GRANT SELECT ON t TO other", "permission denied for table t"),
        ("GRANT owner TO other", "must have admin option on role \"owner\""),
        ("SET ROLE owner", "permission denied to set role \"owner\""),
        ("SELECT * FROM pg_authid", "permission denied for table pg_authid"),
        ("SELECT * FROM pg_shadow", "permission denied for view pg_shadow"),
        ("BACKUP TO '/tmp/x'", "permission denied to write files on the server"),
        ("CHECKPOINT", "must be superuser or have privileges of pg_checkpoint to do CHECKPOINT"),
    ] {
        assert_eq!(error(&other, sql).await.message(), message, "{sql}");
    }
    run(&server.connect().await, "REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
    assert_eq!(error(&other, "SELECT * FROM free").await.message(), "permission denied for schema public");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_privileges_give_what_they_say() {
    let server = Server::start();
    let admin = server.connect().await;
    run(&admin, "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'one')").await;
    let changes = [
        ("INSERT INTO t VALUES (7, 'x')", &["INSERT"][..]),
        ("INSERT INTO t VALUES (7, 'x') RETURNING id", &["INSERT", "SELECT"]),
        ("INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING", &["INSERT"]),
        ("INSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO NOTHING", &["INSERT", "SELECT"]),
        ("INSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'y'", &["INSERT", "SELECT", "UPDATE"]),
        ("UPDATE t SET note = 'x'", &["UPDATE"]),
        ("UPDATE t SET note = DEFAULT", &["UPDATE"]),
        ("UPDATE t SET note = note || 'x'", &["UPDATE", "SELECT"]),
        ("UPDATE t SET note = (SELECT 'x')", &["UPDATE", "SELECT"]),
        ("UPDATE t SET note = 'x' WHERE id = 1", &["UPDATE", "SELECT"]),
        ("UPDATE t SET note = 'x' RETURNING note", &["UPDATE", "SELECT"]),
        ("DELETE FROM t", &["DELETE"]),
        ("DELETE FROM t WHERE id = 1", &["DELETE", "SELECT"]),
        ("DELETE FROM t RETURNING id", &["DELETE", "SELECT"]),
        ("TRUNCATE t", &["TRUNCATE"]),
        ("SELECT id FROM t FOR UPDATE", &["SELECT", "UPDATE"]),
        ("SELECT id FROM t", &["SELECT"]),
    ];
    for (number, (sql, needed)) in changes.iter().enumerate() {
        let role = format!("r{number}");
        run(&admin, &format!("CREATE ROLE {role} LOGIN; GRANT {} ON t TO {role}", needed.join(", "))).await;
        let client = connect(&server, &role).await;
        run(&client, &format!("BEGIN; {sql}; ROLLBACK")).await;
        for missing in *needed {
            run(&admin, &format!("REVOKE {missing} ON t FROM {role}")).await;
            assert_eq!(error(&client, sql).await.code().code(), NO, "{sql} without {missing}");
            run(&admin, &format!("GRANT {missing} ON t TO {role}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_shows_a_row_to_those_who_may_read_it() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE TABLE t (id int PRIMARY KEY, secret text NOT NULL, n int CHECK (n > 0)); INSERT INTO t VALUES (1, 'hidden', 1);
         CREATE ROLE w LOGIN; GRANT UPDATE, INSERT ON t TO w",
    )
    .await;
    let w = connect(&server, "w").await;
    for sql in ["UPDATE t SET n = -1", "UPDATE t SET secret = NULL", "INSERT INTO t VALUES (2, 'x', -1)"] {
        let refused = error(&w, sql).await;
        assert!(refused.code().code().starts_with("23") && refused.detail().is_none(), "{sql}: {refused:?}");
    }
    run(&admin, "GRANT SELECT ON t TO w").await;
    assert!(error(&w, "UPDATE t SET n = -1").await.detail().is_some_and(|detail| detail.contains("hidden")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_is_felt_by_statements_that_were_made_ready() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE TABLE t (id int PRIMARY KEY, note text, v vector(2)); INSERT INTO t VALUES (1, 'one', '[1,2]');
         CREATE ROLE ann LOGIN; GRANT ALL ON t TO ann",
    )
    .await;
    let ann = connect(&server, "ann").await;
    let statements = [
        "SELECT note FROM t WHERE id = $1",
        "SELECT id FROM t WHERE id <> $1 ORDER BY v <-> '[1,1]' LIMIT 1",
        "SELECT count(*) FROM t WHERE id > $1",
        "INSERT INTO t (id) VALUES ($1)",
        "UPDATE t SET note = 'x' WHERE id = $1",
        "DELETE FROM t WHERE id = $1",
    ];
    let mut ready = Vec::new();
    for sql in statements {
        ready.push(ok(ann.prepare(sql).await, sql));
    }
    for (number, (statement, sql)) in ready.iter().zip(statements).enumerate() {
        ok(ann.query(statement, &[&(100 + number as i32)]).await, sql);
    }
    run(&admin, "REVOKE ALL ON t FROM ann").await;
    for (number, (statement, sql)) in ready.iter().zip(statements).enumerate() {
        let refused = ann.query(statement, &[&(200 + number as i32)]).await.expect_err(sql);
        assert_eq!(refused.code().map(|code| code.code()), Some(NO), "{sql}");
    }
    run(&admin, "GRANT ALL ON t TO ann").await;
    for (number, (statement, sql)) in ready.iter().zip(statements).enumerate() {
        ok(ann.query(statement, &[&(300 + number as i32)]).await, sql);
    }
    run(&admin, "DROP TABLE t").await;
    run(&admin, "DROP ROLE ann").await;
    assert_eq!(error(&ann, "CREATE TABLE u (a int)").await.code().code(), NO, "whose role is gone may nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_of_columns_follow_postgresql() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE TABLE s (id serial, a int); CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY, a int);
         CREATE ROLE ann LOGIN; GRANT INSERT ON s, i TO ann",
    )
    .await;
    let ann = connect(&server, "ann").await;
    assert_eq!(error(&ann, "INSERT INTO s (a) VALUES (1)").await.message(), "permission denied for sequence s_id_seq");
    run(&ann, "INSERT INTO s VALUES (1, 1)").await;
    run(&ann, "INSERT INTO i (a) VALUES (1)").await;
    run(&admin, "GRANT USAGE ON SEQUENCE s_id_seq TO ann").await;
    run(&ann, "INSERT INTO s (a) VALUES (1)").await;
    run(&admin, "REVOKE USAGE ON s_id_seq FROM ann; GRANT UPDATE ON ALL SEQUENCES IN SCHEMA public TO ann").await;
    run(&ann, "INSERT INTO s (a) VALUES (1)").await;
    assert_eq!(rows(&admin, "SELECT id FROM s ORDER BY id").await, [["1"], ["1"], ["2"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn predefined_roles_give_what_their_names_say() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE SEQUENCE s;
         CREATE ROLE r LOGIN; CREATE ROLE w LOGIN; GRANT pg_read_all_data TO r; GRANT pg_write_all_data TO w",
    )
    .await;
    let (r, w) = (connect(&server, "r").await, connect(&server, "w").await);
    assert_eq!(one(&r, "SELECT count(*) FROM t").await, "1");
    for sql in ["INSERT INTO t VALUES (2)", "DELETE FROM t", "TRUNCATE t", "DROP TABLE t", "SELECT nextval('s')"] {
        assert_eq!(error(&r, sql).await.code().code(), NO, "{sql}");
    }
    run(&w, "INSERT INTO t VALUES (2); UPDATE t SET id = 3; DELETE FROM t; SELECT nextval('s')").await;
    for sql in ["SELECT * FROM t", "UPDATE t SET id = id + 1", "TRUNCATE t", "DROP TABLE t", "CREATE TABLE u (a int)"] {
        assert_eq!(error(&w, sql).await.code().code(), NO, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_below_one_folder_and_nowhere_else() {
    let place = tempfile::tempdir().expect("a directory");
    let folder = place.path().join("files");
    std::fs::create_dir(&folder).expect("made");
    std::os::unix::fs::symlink("/tmp", folder.join("way-out")).expect("linked");
    let words = ["--file-dir", folder.to_str().expect("UTF-8"), "--backup-interval", "0"];
    let server = Server::start_in_with(&place.path().join("data"), super::auth::arguments(&words));
    let admin = server.connect().await;
    run(&admin, "CREATE TABLE t (a int); CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN").await;
    run(&admin, "GRANT pg_write_server_files TO ann").await;
    let (ann, bob) = (connect(&server, "ann").await, connect(&server, "bob").await);
    assert_eq!(error(&bob, "BACKUP TO 'mine'").await.code().code(), NO);
    for path in [
        "/tmp/lodedb-outside",
        "../outside",
        "a/../../outside",
        "way-out/outside",
        "/etc",
        "/proc/self/cwd/outside",
        &format!("{}/../outside", folder.display()),
        &server.dir().display().to_string(),
    ] {
        let refused = error(&ann, &format!("BACKUP TO '{path}'")).await;
        assert_eq!(refused.code().code(), NO, "{path}");
    }
    run(&ann, "BACKUP TO 'mine'").await;
    assert!(folder.join("mine").is_dir());
    run(&admin, &format!("BACKUP TO '{}'", place.path().join("anywhere").display())).await;
    assert!(!std::path::Path::new("/tmp/lodedb-outside").exists() && !place.path().join("outside").exists());
}
