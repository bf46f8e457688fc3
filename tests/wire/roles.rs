//! Roles, membership, grants and owners as programs manage them.

use super::privileges::connect;
use crate::harness::{Server, error, one, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_made_altered_and_dropped() {
    let mut server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE USER ann WITH CREATEDB CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00:00+00';
         CREATE ROLE staff NOINHERIT; CREATE GROUP crew USER ann;
         CREATE ROLE bob SUPERUSER CREATEROLE LOGIN IN ROLE staff ADMIN ann",
    )
    .await;
    let shown = "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolconnlimit,
        rolvaliduntil FROM pg_roles WHERE oid >= 16384 ORDER BY rolname";
    let expected = [
        ["ann", "f", "t", "f", "t", "t", "3", "2030-01-01 00:00:00+00"],
        ["bob", "t", "t", "t", "f", "t", "-1", "NULL"],
        ["crew", "f", "t", "f", "f", "f", "-1", "NULL"],
        ["staff", "f", "f", "f", "f", "f", "-1", "NULL"],
    ];
    assert_eq!(rows(&admin, shown).await, expected);
    let members =
        "SELECT r.rolname, m.rolname, a.admin_option FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid
        JOIN pg_roles m ON m.oid = a.member WHERE a.member >= 16384 ORDER BY 1, 2";
    assert_eq!(rows(&admin, members).await, [["bob", "ann", "t"], ["crew", "ann", "f"], ["staff", "bob", "f"]]);
    // They outlive the process, from the log and from a checkpoint.
    drop(admin);
    server.kill();
    server.restart();
    let admin = server.connect().await;
    assert_eq!(rows(&admin, shown).await, expected);
    run(&admin, "CHECKPOINT").await;
    drop(admin);
    server.kill();
    server.restart();
    let admin = server.connect().await;
    assert_eq!(rows(&admin, shown).await, expected);

    for (sql, code) in [
        ("CREATE ROLE ann", "42710"),
        ("CREATE ROLE lodedb", "42710"),
        ("CREATE ROLE pg_mine", "42939"),
        ("CREATE ROLE public", "42939"),
        ("CREATE ROLE \"none\"", "42939"),
        ("CREATE ROLE x LOGIN NOLOGIN", "42601"),
        ("CREATE ROLE x REPLICATION", "0A000"),
        ("CREATE ROLE x BYPASSRLS", "0A000"),
        ("CREATE ROLE x CONNECTION LIMIT -2", "22023"),
        ("CREATE ROLE x VALID UNTIL 'never'", "22007"),
        ("CREATE ROLE x IN ROLE nobody", "42704"),
        ("ALTER ROLE nobody LOGIN", "42704"),
        ("ALTER ROLE pg_monitor LOGIN", "42939"),
        ("ALTER ROLE ann SET work_mem = '1MB'", "0A000"),
        ("ALTER ROLE lodedb NOSUPERUSER", "0A000"),
        ("ALTER ROLE ann RENAME TO bob", "42710"),
        ("DROP ROLE nobody", "42704"),
        ("DROP ROLE lodedb", "55006"),
        ("DROP ROLE postgres", "2BP01"),
        ("DROP ROLE pg_monitor", "2BP01"),
        ("GRANT ann TO bob", "0LP01"),
        ("GRANT ann TO ann", "0LP01"),
        ("GRANT nobody TO ann", "42704"),
        ("GRANT staff TO PUBLIC", "42704"),
        ("REASSIGN OWNED BY ann TO bob", "0A000"),
        ("DROP OWNED BY ann", "0A000"),
        ("CREATE POLICY p ON t", "0A000"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "0A000"),
    ] {
        assert_eq!(error(&admin, sql).await.code().code(), code, "{sql}");
    }
    run(&admin, "ALTER ROLE ann RENAME TO anna; ALTER GROUP crew DROP USER anna; DROP ROLE IF EXISTS crew, nobody")
        .await;
    run(&admin, "DROP ROLE bob, staff").await;
    assert_eq!(rows(&admin, "SELECT rolname FROM pg_roles WHERE oid >= 16384").await, [["anna"]]);
    assert_eq!(rows(&admin, members).await, Vec::<Vec<String>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_part_of_transactions() {
    let server = Server::start();
    let (one_of, other) = (server.connect().await, server.connect().await);
    run(&one_of, "BEGIN; CREATE ROLE ann LOGIN; SAVEPOINT s; CREATE ROLE bob; ROLLBACK TO s").await;
    let count = "SELECT count(*) FROM pg_roles WHERE oid >= 16384";
    assert_eq!(one(&one_of, count).await, "1");
    assert_eq!(one(&other, count).await, "0");
    run(&one_of, "ROLLBACK").await;
    assert_eq!(one(&one_of, count).await, "0");
    run(&one_of, "CREATE TABLE t (a int); BEGIN; CREATE ROLE ann LOGIN; GRANT SELECT ON t TO ann").await;
    run(&one_of, "SET LOCAL ROLE ann").await;
    assert_eq!(one(&one_of, "SELECT count(*) FROM t").await, "0");
    run(&one_of, "COMMIT").await;
    assert_eq!(one(&one_of, "SELECT current_user").await, "lodedb");
    assert_eq!(one(&connect(&server, "ann").await, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_put_on_and_taken_off() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE ROLE staff; CREATE ROLE ann LOGIN NOINHERIT IN ROLE staff; CREATE ROLE bob LOGIN;
         CREATE TABLE t (a int); GRANT SELECT ON t TO staff",
    )
    .await;
    let ann = connect(&server, "ann").await;
    let who = "SELECT current_user, session_user, current_setting('role'), current_setting('is_superuser')";
    assert_eq!(error(&ann, "SELECT * FROM t").await.code().code(), "42501", "it does not inherit");
    run(&ann, "SET ROLE staff").await;
    assert_eq!(rows(&ann, who).await, [["staff", "ann", "staff", "off"]]);
    run(&ann, "SELECT * FROM t").await;
    run(&ann, "RESET ROLE").await;
    assert_eq!(rows(&ann, who).await, [["ann", "ann", "none", "off"]]);
    run(&ann, "BEGIN; SET LOCAL ROLE staff; SELECT * FROM t; COMMIT").await;
    run(&ann, "BEGIN; SET ROLE staff; ROLLBACK").await;
    assert_eq!(one(&ann, "SELECT current_user").await, "ann");
    run(&ann, "SELECT set_config('role', 'staff', false)").await;
    assert_eq!(one(&ann, "SELECT current_user").await, "staff");
    run(&ann, "DISCARD ALL").await;
    assert_eq!(one(&ann, "SELECT current_user").await, "ann");
    for role in ["bob", "lodedb", "pg_read_all_data"] {
        assert_eq!(error(&ann, &format!("SET ROLE {role}")).await.code().code(), "42501", "{role}");
    }
    assert_eq!(error(&ann, "SET ROLE nobody").await.code().code(), "22023");
    // A membership that ends is felt at once.
    run(&ann, "SET ROLE staff").await;
    run(&admin, "REVOKE staff FROM ann").await;
    assert_eq!(error(&ann, "SELECT 1").await.code().code(), "42501");
    run(&ann, "RESET ROLE").await;
    assert_eq!(one(&ann, "SELECT current_user").await, "ann");

    run(&admin, "SET SESSION AUTHORIZATION bob").await;
    assert_eq!(rows(&admin, who).await, [["bob", "bob", "none", "off"]]);
    assert_eq!(error(&admin, "SELECT * FROM t").await.code().code(), "42501");
    assert_eq!(error(&admin, "SET ROLE lodedb").await.code().code(), "42501");
    run(&admin, "SET SESSION AUTHORIZATION ann").await;
    run(&admin, "RESET SESSION AUTHORIZATION").await;
    assert_eq!(rows(&admin, who).await, [["lodedb", "lodedb", "none", "on"]]);
    run(&admin, "SET ROLE bob").await;
    assert_eq!(rows(&admin, who).await, [["bob", "lodedb", "bob", "off"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_option_sets_a_role_only_for_its_members() {
    let server = Server::start();
    run(&server.connect().await, "CREATE ROLE staff; CREATE ROLE ann LOGIN IN ROLE staff").await;
    let connect = async |role: &str| {
        let mut config = server.config();
        config.user("ann").options(format!("-c role={role}"));
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok::<_, tokio_postgres::Error>(client)
    };
    let client = connect("staff").await.expect("a member");
    assert_eq!(one(&client, "SELECT current_user").await, "staff");
    run(&client, "RESET ROLE").await;
    assert_eq!(one(&client, "SELECT current_user").await, "staff", "as the session began");
    let Err(refused) = connect("lodedb").await else { panic!("ann became a superuser") };
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_creates_roles_rises_no_higher() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE ROLE maker LOGIN CREATEROLE; CREATE ROLE root2 SUPERUSER; CREATE ROLE deputy LOGIN IN ROLE root2;
         CREATE ROLE auditor; GRANT pg_read_all_data TO auditor; CREATE ROLE plain",
    )
    .await;
    let maker = connect(&server, "maker").await;
    run(&maker, "CREATE ROLE mine LOGIN PASSWORD 'x'; ALTER ROLE plain LOGIN; GRANT plain TO mine; DROP ROLE mine")
        .await;
    for sql in [
        "CREATE ROLE x SUPERUSER",
        "ALTER ROLE maker SUPERUSER",
        "ALTER ROLE plain SUPERUSER",
        "ALTER ROLE root2 PASSWORD 'x'",
        "ALTER ROLE lodedb PASSWORD 'x'",
        "ALTER ROLE deputy PASSWORD 'x'",
        "ALTER ROLE auditor LOGIN",
        "GRANT root2 TO maker",
        "GRANT deputy TO maker",
        "GRANT auditor TO maker",
        "GRANT pg_read_all_data TO maker",
        "GRANT pg_write_server_files TO plain",
        "DROP ROLE root2",
        "DROP ROLE deputy",
        "CREATE ROLE y IN ROLE root2",
        "CREATE ROLE y IN ROLE auditor",
    ] {
        assert_eq!(error(&maker, sql).await.code().code(), "42501", "{sql}");
    }
    run(&maker, "ALTER ROLE maker PASSWORD 'mine'").await;
    // Everybody changes their own password, and nothing else.
    run(&admin, "CREATE ROLE ann LOGIN").await;
    let ann = connect(&server, "ann").await;
    run(&ann, "ALTER ROLE ann PASSWORD 'x'; ALTER USER CURRENT_USER PASSWORD 'y'").await;
    for sql in ["ALTER ROLE ann CREATEROLE", "ALTER ROLE ann PASSWORD 'x' CREATEROLE", "ALTER ROLE plain PASSWORD 'x'"]
    {
        assert_eq!(error(&ann, sql).await.code().code(), "42501", "{sql}");
    }
    // Whoever has the admin option says who the members are.
    run(&admin, "GRANT plain TO ann WITH ADMIN OPTION").await;
    run(&ann, "GRANT plain TO deputy; REVOKE plain FROM deputy").await;
    run(&admin, "REVOKE ADMIN OPTION FOR plain FROM ann").await;
    assert_eq!(error(&ann, "GRANT plain TO deputy").await.code().code(), "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_made_passed_on_and_taken_back() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE cat LOGIN; CREATE TABLE t (a int); CREATE SEQUENCE s;
         GRANT SELECT, INSERT ON t TO ann WITH GRANT OPTION",
    )
    .await;
    let (ann, bob) = (connect(&server, "ann").await, connect(&server, "bob").await);
    run(&ann, "GRANT SELECT ON t TO bob WITH GRANT OPTION; GRANT ALL ON t TO cat").await;
    run(&bob, "GRANT SELECT ON t TO cat").await;
    let list = "SELECT unnest(relacl) FROM pg_class WHERE relname = 't' ORDER BY 1";
    assert_eq!(
        rows(&admin, list).await,
        [["ann=a*r*/lodedb"], ["bob=r*/ann"], ["cat=ar/ann"], ["cat=r/bob"], ["lodedb=arwdDxt/lodedb"]]
    );
    let refused = error(&admin, "REVOKE SELECT ON t FROM ann").await;
    assert_eq!((refused.code().code(), refused.message()), ("2BP01", "dependent privileges exist"));
    run(&admin, "REVOKE GRANT OPTION FOR INSERT ON t FROM ann CASCADE").await;
    run(&admin, "REVOKE SELECT ON t FROM ann CASCADE").await;
    assert_eq!(rows(&admin, list).await, [["ann=a/lodedb"], ["lodedb=arwdDxt/lodedb"]]);
    for (sql, code) in [
        ("GRANT USAGE ON t TO ann", "0LP01"),
        ("GRANT INSERT ON SEQUENCE s TO ann", "0LP01"),
        ("GRANT SELECT ON SCHEMA public TO ann", "0LP01"),
        ("GRANT SELECT ON t TO PUBLIC WITH GRANT OPTION", "0LP01"),
        ("GRANT SELECT ON SEQUENCE t TO ann", "42809"),
        ("GRANT SELECT ON nothing TO ann", "42P01"),
        ("GRANT SELECT ON t TO nobody", "42704"),
        ("GRANT USAGE ON SCHEMA nowhere TO ann", "3F000"),
        ("GRANT CONNECT ON DATABASE nowhere TO ann", "3D000"),
        ("GRANT SELECT (a) ON t TO ann", "0A000"),
        ("GRANT EXECUTE ON FUNCTION f TO ann", "0A000"),
        ("GRANT USAGE ON TYPE x TO ann", "0A000"),
        ("GRANT NONSENSE ON t TO ann", "42601"),
        ("GRANT SELECT ON t TO ann GRANTED BY bob", "0A000"),
    ] {
        assert_eq!(error(&admin, sql).await.code().code(), code, "{sql}");
    }
    // Not even an owner has what it took from itself, and it can give that back.
    run(&admin, "ALTER TABLE t OWNER TO bob").await;
    assert_eq!(rows(&admin, list).await, [["ann=a/bob"], ["bob=arwdDxt/bob"]]);
    run(&bob, "REVOKE INSERT ON t FROM bob").await;
    assert_eq!(error(&bob, "INSERT INTO t VALUES (1)").await.code().code(), "42501");
    run(&bob, "GRANT INSERT ON t TO bob; INSERT INTO t VALUES (1)").await;
    // What depends on a role keeps it.
    let refused = error(&admin, "DROP ROLE bob").await;
    assert_eq!((refused.code().code(), refused.detail()), ("2BP01", Some("owner of table t")));
    let refused = error(&admin, "DROP ROLE ann").await;
    assert_eq!((refused.code().code(), refused.detail()), ("2BP01", Some("privileges for table t")));
    run(&admin, "DROP TABLE t; DROP ROLE ann, bob").await;
    // Who may not connect does not.
    run(&admin, "REVOKE CONNECT ON DATABASE lodedb FROM PUBLIC").await;
    let mut config = server.config();
    let Err(refused) = config.user("cat").connect(tokio_postgres::NoTls).await else { panic!("cat came in") };
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
}

#[tokio::test(flavor = "multi_thread")]
async fn default_privileges_are_those_of_what_comes() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON SCHEMA public TO ann; CREATE TABLE before (a int);
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob;
         ALTER DEFAULT PRIVILEGES FOR ROLE ann IN SCHEMA public GRANT INSERT ON TABLES TO bob;
         ALTER DEFAULT PRIVILEGES FOR ROLE ann GRANT USAGE ON SEQUENCES TO bob",
    )
    .await;
    run(&admin, "CREATE TABLE after (a int)").await;
    run(&connect(&server, "ann").await, "CREATE TABLE anns (a int, id serial)").await;
    let bob = connect(&server, "bob").await;
    assert_eq!(error(&bob, "SELECT * FROM before").await.code().code(), "42501");
    run(&bob, "SELECT * FROM after").await;
    assert_eq!(error(&bob, "SELECT * FROM anns").await.code().code(), "42501");
    run(&bob, "INSERT INTO anns (a) VALUES (1)").await;
    let lists = "SELECT pg_get_userbyid(defaclrole), defaclobjtype, defaclacl FROM pg_default_acl ORDER BY 1, 2";
    assert_eq!(
        rows(&admin, lists).await,
        [
            ["ann", "S", "{ann=rwU/ann,bob=U/ann}"],
            ["ann", "r", "{bob=a/ann}"],
            ["lodedb", "r", "{lodedb=arwdDxt/lodedb,bob=r/lodedb}"]
        ]
    );
    assert_eq!(error(&admin, "DROP ROLE bob").await.code().code(), "2BP01");
    run(&admin, "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM bob").await;
    run(&admin, "CREATE TABLE later (a int)").await;
    assert_eq!(error(&bob, "SELECT * FROM later").await.code().code(), "42501");
    assert_eq!(
        error(&admin, "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO bob").await.code().code(),
        "0A000"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_tell_what_a_role_may() {
    let server = Server::start();
    let admin = server.connect().await;
    run(
        &admin,
        "CREATE ROLE staff; CREATE ROLE ann LOGIN IN ROLE staff; CREATE ROLE bob LOGIN NOINHERIT IN ROLE staff;
         CREATE TABLE t (a int); CREATE SEQUENCE s; GRANT SELECT ON t TO staff; GRANT USAGE ON s TO ann;
         GRANT INSERT ON t TO ann WITH GRANT OPTION",
    )
    .await;
    for (call, expected) in [
        ("has_table_privilege('ann', 't', 'SELECT')", "t"),
        ("has_table_privilege('ann', 't', 'select, update')", "t"),
        ("has_table_privilege('ann', 't', 'UPDATE')", "f"),
        ("has_table_privilege('ann', 't', 'INSERT WITH GRANT OPTION')", "t"),
        ("has_table_privilege('ann', 't', 'SELECT WITH GRANT OPTION')", "f"),
        ("has_table_privilege('bob', 't', 'SELECT')", "f"),
        ("has_table_privilege('public', 't', 'SELECT')", "f"),
        ("has_table_privilege('t', 'DELETE')", "t"),
        ("has_table_privilege('ann', 't'::regclass, 'SELECT')", "t"),
        ("has_table_privilege('ann', 99999999::oid, 'SELECT')", "NULL"),
        ("has_table_privilege('ann', 'pg_class', 'SELECT')", "t"),
        ("has_table_privilege('ann', 'pg_authid', 'SELECT')", "f"),
        ("has_any_column_privilege('ann', 't', 'SELECT')", "t"),
        ("has_column_privilege('ann', 't', 'a', 'SELECT')", "t"),
        ("has_column_privilege('ann', 't', 'a', 'UPDATE')", "f"),
        ("has_sequence_privilege('ann', 's', 'USAGE')", "t"),
        ("has_sequence_privilege('bob', 's', 'USAGE')", "f"),
        ("has_schema_privilege('ann', 'public', 'USAGE')", "t"),
        ("has_schema_privilege('ann', 'public', 'CREATE')", "f"),
        ("has_schema_privilege('ann', 'pg_catalog', 'USAGE')", "t"),
        ("has_database_privilege('ann', 'lodedb', 'CONNECT')", "t"),
        ("has_database_privilege('ann', 'lodedb', 'CREATE')", "f"),
        ("has_function_privilege('ann', 'now()', 'EXECUTE')", "t"),
        ("pg_has_role('ann', 'staff', 'MEMBER')", "t"),
        ("pg_has_role('ann', 'staff', 'USAGE')", "t"),
        ("pg_has_role('bob', 'staff', 'MEMBER')", "t"),
        ("pg_has_role('bob', 'staff', 'USAGE')", "f"),
        ("pg_has_role('staff', 'MEMBER')", "t"),
        ("pg_get_userbyid(10)", "lodedb"),
    ] {
        assert_eq!(one(&admin, &format!("SELECT {call}")).await, expected, "{call}");
    }
    for (call, code) in [
        ("has_table_privilege('nobody', 't', 'SELECT')", "42704"),
        ("has_table_privilege('ann', 'nothing', 'SELECT')", "42P01"),
        ("has_table_privilege('ann', 't', 'NONSENSE')", "22023"),
        ("has_sequence_privilege('ann', 't', 'USAGE')", "42809"),
        ("pg_has_role('ann', 'staff', 'NONSENSE')", "22023"),
    ] {
        assert_eq!(error(&admin, &format!("SELECT {call}")).await.code().code(), code, "{call}");
    }
    let privileges = "SELECT grantee, privilege_type, is_grantable FROM information_schema.table_privileges
        WHERE table_name = 't' AND grantee <> 'lodedb' ORDER BY 1, 2";
    assert_eq!(rows(&admin, privileges).await, [["ann", "INSERT", "YES"], ["staff", "SELECT", "NO"]]);
    let ann = connect(&server, "ann").await;
    assert_eq!(
        rows(&ann, "SELECT role_name FROM information_schema.enabled_roles ORDER BY 1").await,
        [["ann"], ["staff"]]
    );
    assert_eq!(one(&ann, "SELECT has_table_privilege('t', 'UPDATE')").await, "f");
}
