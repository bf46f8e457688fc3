//! Who comes in: rules, passwords, and clients that do not keep to the order of things.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio_postgres::{Client, Config, NoTls};

use crate::harness::raw::{RawClient, bind, close, describe, execute, field, message, parse, query, startup, sync};
use crate::harness::server::PATIENCE;
use crate::harness::{Server, error, one, rows, run};

/// Arguments that are only known when a test runs.
pub(crate) fn arguments(words: &[&str]) -> &'static [&'static str] {
    let words: Vec<&'static str> = words.iter().map(|word| &*Box::leak(word.to_string().into_boxed_str())).collect();
    Box::leak(words.into_boxed_slice())
}

/// A server that asks everybody but its own Unix socket for a password.
pub(crate) struct Guarded {
    pub(crate) server: Server,
    pub(crate) dir: tempfile::TempDir,
}

impl Guarded {
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_with_rules("local all all trust\nhost all all all scram-sha-256\n", more)
    }

    pub(crate) fn start_with_rules(rules: &str, more: &[&str]) -> Self {
        Self::start_under(&[], rules, more)
    }

    /// As [`Server::start_under`].
    fn start_under(under: &'static [&'static str], rules: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("rules");
        std::fs::write(&file, rules).expect("written");
        let words = [&["--hba", file.to_str().expect("UTF-8")], more].concat();
        let server = Server::start_under(under, &dir.path().join("data"), arguments(&words));
        Self { server, dir }
    }

    /// A superuser, over the Unix socket.
    pub(crate) async fn admin(&self) -> Client {
        local(self.server.dir()).await
    }

    /// Tries to log in.
    pub(crate) async fn login(&self, user: &str, password: Option<&str>) -> Result<Client, tokio_postgres::Error> {
        let mut config = self.server.config();
        config.user(user);
        if let Some(password) = password {
            config.password(password);
        }
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The code and the sentence with which a login is refused.
    async fn refused(&self, user: &str, password: &str) -> (String, String) {
        let Err(error) = self.login(user, Some(password)).await else { panic!("{user} came in with {password}") };
        let error = error.as_db_error().unwrap_or_else(|| panic!("the connection broke: {error}"));
        (error.code().code().to_owned(), error.message().to_owned())
    }
}

/// A superuser, over the Unix socket of a directory.
pub(crate) async fn local(dir: &Path) -> Client {
    let stream = UnixStream::connect(dir.join("socket")).await.expect("the socket is there");
    let config = Config::new().user("lodedb").dbname("lodedb").clone();
    let (client, connection) = config.connect_raw(stream, NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

fn failed(user: &str) -> (String, String) {
    ("28P01".to_owned(), format!("password authentication failed for user \"{user}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_who_knows_it() {
    let guarded = Guarded::start(&[]);
    let admin = guarded.admin().await;
    run(&admin, "CREATE ROLE ann LOGIN PASSWORD 'right'; CREATE USER bob; CREATE ROLE cat PASSWORD 'right'").await;
    let client = guarded.login("ann", Some("right")).await.expect("ann comes in");
    assert_eq!(rows(&client, "SELECT current_user, session_user").await, [["ann", "ann"]]);
    assert_eq!(one(&client, "SHOW is_superuser").await, "off");
    for (user, password) in [("ann", "wrong"), ("bob", "right"), ("nobody", "right"), ("lodedb", "lodedb")] {
        assert_eq!(guarded.refused(user, password).await, failed(user), "{user} {password}");
    }
    let (code, text) = guarded.refused("cat", "right").await;
    assert_eq!((code.as_str(), text.as_str()), ("28000", "role \"cat\" is not permitted to log in"));

    run(&admin, "ALTER ROLE ann PASSWORD 'other'").await;
    assert_eq!(guarded.refused("ann", "right").await, failed("ann"));
    guarded.login("ann", Some("other")).await.expect("the new password");
    run(&admin, "ALTER ROLE ann VALID UNTIL '2020-01-01'").await;
    assert_eq!(guarded.refused("ann", "other").await, failed("ann"));
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(20);
    while one(&admin, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ann'").await != "0" {
        assert!(Instant::now() < deadline, "sessions stay whose clients are gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run(&admin, "ALTER ROLE ann VALID UNTIL 'infinity' CONNECTION LIMIT 1").await;
    let _first = guarded.login("ann", Some("other")).await.expect("the first");
    assert_eq!(guarded.refused("ann", "other").await.0, "53300");
    run(&admin, "ALTER ROLE ann PASSWORD NULL").await;
    assert_eq!(guarded.refused("ann", "other").await, failed("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_carries_over_and_lets_nobody_in_by_itself() {
    let guarded = Guarded::start(&[]);
    let admin = guarded.admin().await;
    // What PostgreSQL keeps of `pencil`: the example of RFC 7677.
    let verifier = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    run(&admin, &format!("CREATE ROLE ann LOGIN PASSWORD '{verifier}'")).await;
    assert_eq!(one(&admin, "SELECT rolpassword FROM pg_authid WHERE rolname = 'ann'").await, verifier);
    guarded.login("ann", Some("pencil")).await.expect("ann comes in");
    for part in verifier.split(['$', ':']).chain([verifier]) {
        // Five attempts are quick; what comes after them is another test's.
        run(&admin, "DROP ROLE ann").await;
        run(&admin, &format!("CREATE ROLE ann LOGIN PASSWORD '{verifier}'")).await;
        assert_eq!(guarded.refused("ann", part).await, failed("ann"), "{part}");
        guarded.login("ann", Some("pencil")).await.expect("clears the record");
    }
    for wrong in ["SCRAM-SHA-256$x", &verifier.replace("4096", "0"), &verifier.replace("4096", "1000000000")] {
        let refused = error(&admin, &format!("ALTER ROLE ann PASSWORD '{wrong}'")).await;
        assert_eq!(refused.code().code(), "22023", "{wrong}");
    }
    let refused = error(&admin, "ALTER ROLE ann PASSWORD 'md5d41d8cd98f00b204e9800998ecf8427e'").await;
    assert_eq!(refused.code().code(), "0A000");
    guarded.login("ann", Some("pencil")).await.expect("nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_nowhere_to_be_read() {
    let secret = "correct-horse-battery";
    let guarded = Guarded::start(&["--log-min-duration", "0"]);
    let (admin, watched) = (guarded.admin().await, guarded.admin().await);
    let pid = one(&watched, "SELECT pg_backend_pid()").await;
    let seen = format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}");
    run(&watched, &format!("CREATE ROLE ann LOGIN PASSWORD '{secret}'")).await;
    assert_eq!(one(&admin, &seen).await, "CREATE ROLE ann LOGIN PASSWORD '********'");
    run(&watched, &format!("ALTER USER ann WITH ENCRYPTED PASSWORD $${secret}$$ VALID UNTIL 'infinity'")).await;
    assert_eq!(one(&admin, &seen).await, "ALTER USER ann WITH ENCRYPTED PASSWORD '********'");
    let refused = error(&watched, &format!("ALTER ROLE nobody PASSWORD '{secret}'")).await;
    assert!(!format!("{refused:?}").contains(secret), "{refused:?}");
    guarded.login("ann", Some(secret)).await.expect("ann comes in");
    let Err(_) = guarded.login("ann", Some("correct-horse")).await else { panic!("came in") };
    run(&admin, "CHECKPOINT").await;
    let log = guarded.server.log();
    assert!(log.contains("slow statement") && !log.contains("correct-horse"), "{log}");
    let mut folders = vec![guarded.server.dir().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                files += 1;
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds the password", path.display());
            }
        }
    }
    assert!(files > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_even_the_longest_log_holds_a_password() {
    let secret = "correct-horse-battery";
    for format in ["text", "json"] {
        let rules = "local all all trust\nhost all all all scram-sha-256\n";
        let more = ["--log-min-duration", "0", "--log-format", format];
        let guarded = Guarded::start_under(&["env", "LODEDB_LOG=trace"], rules, &more);
        let admin = guarded.admin().await;
        let (begins, ends) = (format!("ALTER ROLE ann PASSWORD '{secret}'"), "VALID UNTIL 'infinity'");
        for sql in [
            format!("CREATE ROLE ann LOGIN PASSWORD '{secret}'"),
            format!("create user bob encrypted password E'{secret}'"),
            format!("/* again */ ALTER USER ann PASSWORD $x${secret}$x$ {ends}"),
            format!("{begins} {ends}; SELECT 1"),
            format!("SELECT 1; {begins}"),
            format!("BEGIN; CREATE ROLE cat PASSWORD '{secret}'; ROLLBACK"),
        ] {
            run(&admin, &sql).await;
        }
        // What fails is logged by its beginning, or not at all.
        for sql in [
            format!("CREATE ROLE ann PASSWORD '{secret}'"),
            format!("ALTER ROLE nobody PASSWORD '{secret}'"),
            format!("CREATE ROLE dan PASSWORD '{secret}' NONSENSE"),
            format!("CREATE ROLE dan PASSWORD = '{secret}'"),
            format!("CREATE ROLE dan PASWORD '{secret}'"),
            format!("ALTER ROLE ann SET password = '{secret}'"),
            format!("ALTER ROLE ann PASSWORD '{secret}"),
            format!("EXPLAIN {begins}"),
            format!("PREPARE p AS {begins}"),
            format!("{begins}; SELECT nothing"),
            format!("SELECT nothing; {begins}"),
            format!("{begins}; SELEC 1"),
        ] {
            assert!(admin.batch_execute(&sql).await.is_err(), "{sql}");
        }
        admin.execute(&begins, &[]).await.expect("in the extended protocol too");
        let client = guarded.login("ann", Some(secret)).await.expect("ann comes in");
        assert_eq!(guarded.refused("ann", "correct-horse").await, failed("ann"));
        assert_eq!(error(&client, &begins.replace("ann", "bob")).await.code().code(), "42501");
        // A client that takes this for a place to say it in the clear.
        tokio::task::block_in_place(|| {
            let mut client = challenged(&guarded.server, "ann");
            client.send(&message('p', format!("{secret}\0").as_bytes()));
            assert_eq!(ended(&mut client), "08P01");
        });
        run(&admin, "SELECT 'the end of the log'").await;
        let log = guarded.server.log_with("the end of the log");
        assert!(log.contains("TRACE") && log.contains("CREATE ROLE ann LOGIN PASSWORD '********'"), "{log}");
        for kept in ["correct-horse", "SCRAM-SHA-256$"] {
            let found: Vec<&str> = log.lines().filter(|line| line.contains(kept)).collect();
            assert!(found.is_empty(), "{found:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_this_machine_is_trusted_by_the_names_there_are() {
    let server = Server::start();
    let connect = async |user: &str| {
        let mut config = server.config();
        config.user(user);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok::<_, tokio_postgres::Error>(client)
    };
    // Nobody made a role: every name will do, and is the first superuser.
    let stranger = connect("stranger").await.expect("a session");
    assert_eq!(rows(&stranger, "SELECT current_user, session_user").await, [["stranger", "stranger"]]);
    assert_eq!(one(&stranger, "SHOW is_superuser").await, "on");
    assert_eq!(one(&stranger, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").await, "t");
    run(&stranger, "CREATE TABLE made (a int)").await;
    assert_eq!(one(&stranger, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'").await, "stranger");

    run(&stranger, "CREATE ROLE ann LOGIN").await;
    let Err(refused) = connect("stranger").await else { panic!("a stranger came in") };
    let refused = refused.as_db_error().expect("told").clone();
    assert_eq!((refused.code().code(), refused.message()), ("28000", "role \"stranger\" does not exist"));
    for (user, superuser) in [("lodedb", "on"), ("postgres", "on"), ("ann", "off")] {
        let client = connect(user).await.unwrap_or_else(|error| panic!("{user}: {error}"));
        assert_eq!(one(&client, "SHOW is_superuser").await, superuser, "{user}");
        assert_eq!(one(&client, "SELECT current_user").await, user);
    }
    // A session that only goes by a name becomes the role of that name when it asks to.
    run(&stranger, "CREATE ROLE stranger; SET SESSION AUTHORIZATION stranger").await;
    assert_eq!(error(&stranger, "SELECT * FROM made").await.code().code(), "42501");
    run(&stranger, "RESET SESSION AUTHORIZATION").await;
    // Who is there stays.
    assert_eq!(one(&stranger, "SELECT count(*) FROM made").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_read_again_when_they_change() {
    let guarded = Guarded::start(&[]);
    let admin = guarded.admin().await;
    run(&admin, "CREATE ROLE ann LOGIN; CREATE ROLE staff; GRANT staff TO ann").await;
    let write = |rules: &str| {
        std::fs::write(guarded.dir.path().join("next"), rules).expect("written");
        std::fs::rename(guarded.dir.path().join("next"), guarded.dir.path().join("rules")).expect("renamed");
    };
    let Err(_) = guarded.login("ann", None).await else { panic!("without a password") };
    write("local all all trust\nhost all +staff 127.0.0.1/32 trust\n");
    guarded.login("ann", None).await.expect("trusted now");
    let refused = guarded.refused("lodedb", "x").await;
    assert_eq!(
        (refused.0.as_str(), refused.1.as_str()),
        ("28000", "no pg_hba.conf entry for host \"127.0.0.1\", user \"lodedb\", database \"lodedb\", no encryption")
    );
    write("host all all all md5\n");
    guarded.login("ann", None).await.expect("what cannot be read changes nothing");
    guarded.server.log_with("md5");
    write("local all all trust\nhost all all all reject\n");
    let refused = guarded.refused("ann", "x").await;
    assert!(refused.1.starts_with("pg_hba.conf rejects connection for host"), "{refused:?}");
    // With a file of rules a name must be a role's, wherever it comes from.
    write("local all all trust\nhost all all all trust\n");
    assert_eq!(guarded.refused("stranger", "x").await.0, "28000");
}

/// A client that has asked for a session and is to show who it is.
pub(crate) fn challenged(server: &Server, user: &str) -> RawClient {
    let mut client = RawClient::bare(server.address());
    client.send(&startup(&[("user", user), ("database", "lodedb")]));
    let (tag, body) = client.answer().expect("an answer");
    assert_eq!((tag, &body[..4]), ('R', &10u32.to_be_bytes()[..]));
    assert_eq!(&body[4..], b"SCRAM-SHA-256\0\0", "without encryption there is nothing to bind to");
    client
}

/// SASLInitialResponse.
pub(crate) fn initial(mechanism: &str, said: &[u8]) -> Vec<u8> {
    let mut body = format!("{mechanism}\0").into_bytes();
    body.extend_from_slice(&(said.len() as u32).to_be_bytes());
    body.extend_from_slice(said);
    message('p', &body)
}

/// The code of the error that ends a connection, before which nothing else came.
fn ended(client: &mut RawClient) -> String {
    let (tag, body) = client.answer().expect("an error");
    assert_eq!(tag, 'E');
    assert_eq!(field(&body, 'S'), "FATAL");
    assert_eq!(client.answer(), None, "and the end");
    field(&body, 'C')
}

/// A client that was answered N to a request for encryption.
fn unencrypted(server: &Server, request: u32) -> RawClient {
    let mut client = RawClient::bare(server.address());
    client.send(&[8u32.to_be_bytes(), request.to_be_bytes()].concat());
    let mut answer = [0];
    client.stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"N");
    client
}

/// A client that has said its first word and is to prove that it knows the password.
fn asked_for_proof(server: &Server, user: &str) -> (RawClient, String) {
    let mut client = challenged(server, user);
    client.send(&initial("SCRAM-SHA-256", b"n,,n=,r=abc"));
    let (tag, body) = client.answer().expect("an answer");
    assert_eq!((tag, &body[..4]), ('R', &11u32.to_be_bytes()[..]));
    (client, String::from_utf8(body[4..].to_vec()).expect("UTF-8"))
}

/// The last message of a client that does not know the password.
fn wrong_proof(answer: &str) -> Vec<u8> {
    let nonce = answer.split(',').next().expect("a nonce");
    message('p', format!("c=biws,{nonce},p={}=", "A".repeat(43)).as_bytes())
}

/// What a session would obey: each kind of message alone, and a whole statement.
pub(crate) fn words_of_a_session() -> Vec<Vec<u8>> {
    let sql = "INSERT INTO t VALUES (1)";
    let (made, bound, run) = (parse("", sql), bind("", "", &[], 0), execute("", 0));
    let mut words = vec![
        query(sql),
        [&made[..], &bound, &run, &sync()].concat(),
        made,
        bound,
        run,
        describe('S', ""),
        close('S', ""),
        sync(),
        message('d', b"1\n"),
        message('c', &[]),
        message('f', b"enough\0"),
        message('F', &[0; 14]),
        message('H', &[]),
        message('X', &[]),
    ];
    // Every type there could be, with what would be a statement.
    words.extend((0..=255u8).map(|tag| [&[tag][..], &query(sql)[1..]].concat()));
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_proof_is_taken_before_a_session() {
    let guarded = Guarded::start(&[]);
    let admin = guarded.admin().await;
    run(&admin, "CREATE ROLE ann LOGIN PASSWORD 'right'; CREATE TABLE t (a int); GRANT ALL ON t TO PUBLIC").await;
    let server = &guarded.server;
    const SSL: u32 = 80_877_103;
    const GSS: u32 = 80_877_104;
    type State<'a> = (&'a str, Box<dyn Fn(&str) -> RawClient + 'a>);
    let states: [State<'_>; 6] = [
        ("on a new connection", Box::new(|_| RawClient::bare(server.address()))),
        ("after SSLRequest", Box::new(|_| unencrypted(server, SSL))),
        ("after GSSENCRequest", Box::new(|_| unencrypted(server, GSS))),
        ("instead of the first message", Box::new(|user| challenged(server, user))),
        ("instead of the last message", Box::new(|user| asked_for_proof(server, user).0)),
        (
            "behind a wrong proof",
            Box::new(|user| {
                let (mut client, answer) = asked_for_proof(server, user);
                client.send(&wrong_proof(&answer));
                client
            }),
        ),
    ];
    let begun = Instant::now();
    tokio::task::block_in_place(|| {
        let packet = startup(&[("user", "lodedb"), ("database", "lodedb")]);
        for (number, words) in words_of_a_session().into_iter().chain([packet.clone()]).enumerate() {
            for (at, (state, reach)) in states.iter().enumerate() {
                // The first three wait for just that.
                if at < 3 && words == packet {
                    continue;
                }
                // Of these names none is known, so that none has failed before.
                let mut client = reach(&format!("stranger{number}"));
                client.send(&words);
                let told = client.rest();
                // A proof that is none, and one that is wrong.
                let code = if at == 5 { "E(28P01)" } else { "E(08P01)" };
                assert_eq!(told, code, "{:?} {state}", String::from_utf8_lossy(&words));
            }
        }
        // Everything at once, before anything is asked: a session would have begun by the end of it.
        let mut client = RawClient::bare(server.address());
        client.send(&[startup(&[("user", "ann"), ("database", "lodedb")]), query("INSERT INTO t VALUES (1)")].concat());
        assert_eq!(client.rest(), "R E(08P01)");
        let (mut client, answer) = asked_for_proof(server, "ann");
        client.send(&[wrong_proof(&answer), query("INSERT INTO t VALUES (1)")].concat());
        assert_eq!(client.rest(), "E(28P01)");
        // A name that is no text.
        let mut client = RawClient::bare(server.address());
        let mut packet = startup(&[("user", "ann?"), ("database", "lodedb")]);
        let at = packet.iter().position(|&byte| byte == b'?').expect("it is there");
        packet[at] = 0xff;
        client.send(&packet);
        assert_eq!(client.rest(), "E(22021)");
    });
    // Each was told at once, not when the time for a start was over.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(one(&admin, "SELECT count(*) FROM t").await, "0");
    let client = guarded.login("ann", Some("right")).await.expect("whoever knows the password comes in");
    assert_eq!(one(&client, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_no_proof_end_the_connection() {
    let guarded = Guarded::start(&[]);
    run(&guarded.admin().await, "CREATE ROLE ann LOGIN PASSWORD 'right'").await;
    tokio::task::block_in_place(|| {
        for (said, code) in [
            (initial("SCRAM-SHA-256", b""), "08P01"),
            (initial("SCRAM-SHA-256", b"y,"), "08P01"),
            (initial("SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc"), "08P01"),
            (initial("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"), "08P01"),
            (initial("SCRAM-SHA-256", b"n,a=root,n=,r=abc"), "0A000"),
            (initial("SCRAM-SHA-256", b"n,,n=\xff,r=abc"), "08P01"),
            (initial("SCRAM-SHA-1", b"n,,n=,r=abc"), "08P01"),
            (initial("MD5", b""), "08P01"),
            (message('p', b"right\0"), "08P01"),
            (message('p', b""), "08P01"),
            (message('p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"), "08P01"),
            (message('p', b"SCRAM-SHA-256\0\x7f\xff\xff\xff"), "08P01"),
            (message('p', &[b'x'; 1025]), "08P01"),
            ([&b"p"[..], &0u32.to_be_bytes()].concat(), "08P01"),
            ([&b"p"[..], &u32::MAX.to_be_bytes()].concat(), "08P01"),
        ] {
            let mut client = challenged(&guarded.server, "ann");
            client.send(&said);
            assert_eq!(ended(&mut client), code, "{:?}", String::from_utf8_lossy(&said));
        }
        // The last message: a proof of zeroes, the nonce of another exchange, and none at all.
        let proof = "A".repeat(43) + "=";
        let begun = |user: &str| {
            let (client, answer) = asked_for_proof(&guarded.server, user);
            let nonce = answer.split(',').next().expect("a nonce").to_owned();
            (client, nonce, answer)
        };
        for (change, code) in [
            (None, "28P01"),
            (Some(("c=biws", "c=eSws")), "08P01"),
            (Some(("r=abc", "r=abd")), "08P01"),
            (Some(("p=A", "p=")), "08P01"),
            (Some((",p=", ",q=")), "08P01"),
            (Some(("c=", "c=\0")), "08P01"),
        ] {
            let (mut client, nonce, _) = begun("ann");
            let said = format!("c=biws,{nonce},p={proof}");
            let said = change.map_or(said.clone(), |(from, to)| said.replace(from, to));
            client.send(&message('p', said.as_bytes()));
            assert_eq!(ended(&mut client), code, "{change:?}");
        }
        let (mut client, nonce, _) = begun("ann");
        client.send(&message(
            'p',
            &[format!("c=biws,{nonce},x=").as_bytes(), b"\xff", format!(",p={proof}").as_bytes()].concat(),
        ));
        assert_eq!(ended(&mut client), "08P01", "what is not UTF-8");
        let (_, stale, _) = begun("ann");
        let (mut client, _, _) = begun("ann");
        client.send(&message('p', format!("c=biws,{stale},p={proof}").as_bytes()));
        assert_eq!(ended(&mut client), "08P01", "a nonce of another exchange");
        // Of a name that is not known, and of one without a password, the salt is as lasting as a real one.
        for user in ["ann", "nobody", "lodedb"] {
            let rest = |answer: String| answer.split_once(",s=").expect("a salt").1.to_owned();
            let (first, second) = (rest(begun(user).2), rest(begun(user).2));
            assert_eq!(first, second, "{user}");
            assert!(first.ends_with(",i=16384"), "{user}: {first}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_waits() {
    let guarded = Guarded::start(&[]);
    let admin = guarded.admin().await;
    run(&admin, "CREATE ROLE ann LOGIN PASSWORD 'right'; CREATE ROLE bob LOGIN PASSWORD 'right'").await;
    let mut took = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        assert_eq!(guarded.refused("ann", "wrong").await, failed("ann"));
        took.push(begun.elapsed());
    }
    assert!(took[7] >= Duration::from_millis(900), "{took:?}");
    let begun = Instant::now();
    guarded.login("bob", Some("right")).await.expect("another name does not wait");
    assert!(begun.elapsed() < Duration::from_millis(1900), "{:?}", begun.elapsed());
    guarded.login("ann", Some("right")).await.expect("whoever knows it waits, and comes in");
    let begun = Instant::now();
    guarded.login("ann", Some("right")).await.expect("and does not wait again");
    assert!(begun.elapsed() < Duration::from_millis(1900), "{:?}", begun.elapsed());
}

#[test]
fn what_would_let_others_in_is_refused_at_the_start() {
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().expect("a directory");
    let start = |words: &[&str]| {
        let output = Command::new(&*crate::harness::server::PROGRAM)
            .args(["serve", "--data"])
            .arg(dir.path().join("data"))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        assert!(!output.status.success(), "{words:?} started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start(&["--listen", "0.0.0.0:0"]);
    assert!(said.contains("--tls-cert") && said.contains("--insecure"), "{said}");
    let said = start(&["--listen", "[::]:0"]);
    assert!(said.contains("--insecure"), "{said}");
    let rules = dir.path().join("rules");
    std::fs::write(&rules, "host all all all ldap\n").expect("written");
    let said = start(&["--listen", "127.0.0.1:0", "--hba", rules.to_str().expect("UTF-8")]);
    assert!(said.contains("line 1") && said.contains("ldap"), "{said}");
    let said = start(&["--listen", "127.0.0.1:0", "--hba", "/nowhere/rules"]);
    assert!(said.contains("/nowhere/rules"), "{said}");
    let said = start(&["--listen", "127.0.0.1:0", "--tls-cert", "x"]);
    assert!(said.contains("--tls-key"), "{said}");
}

/// A connection from any address of loopback.
fn from(address: Ipv4Addr, server: SocketAddr) -> RawClient {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((address, 0)).into()).expect("bound");
    socket.connect(&server.into()).expect("connected");
    socket.set_tcp_nodelay(true).expect("set");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    RawClient { stream: socket.into() }
}

/// How long each of two names takes, in turn: to be told its salt, and to be told that the proof is wrong. Not a test of the suite,
/// since what else runs on the machine must not fail it: docs/security.md has the command, and what it said.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, for a minute"]
async fn a_name_that_is_known_takes_as_long_as_one_that_is_not() {
    const TRIES: usize = 10_000;
    // So many failures of one address under one name cost nothing.
    const FREE: usize = 5;
    for (known, unknown) in [("ann", "eve"), ("bob", "eva")] {
        let guarded = Guarded::start(&[]);
        run(&guarded.admin().await, "CREATE ROLE ann LOGIN PASSWORD 'right'; CREATE ROLE bob LOGIN").await;
        let mut took = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        tokio::task::block_in_place(|| {
            for number in 0..TRIES {
                let [high, low] = ((number / FREE) as u16).to_be_bytes();
                // Which of them comes first changes, and so what it finds in caches.
                for which in [number % 2, 1 - number % 2] {
                    let mut client = from(Ipv4Addr::new(127, 1, high, low), guarded.server.address());
                    client.send(&startup(&[("user", [known, unknown][which]), ("database", "lodedb")]));
                    assert_eq!(client.answer().expect("an answer").0, 'R');
                    let begun = Instant::now();
                    client.send(&initial("SCRAM-SHA-256", b"n,,n=,r=abc"));
                    let (_, body) = client.answer().expect("a salt");
                    took[which][0].push(begun.elapsed());
                    let proof = wrong_proof(std::str::from_utf8(&body[4..]).expect("UTF-8"));
                    let begun = Instant::now();
                    client.send(&proof);
                    assert_eq!(client.answer().map(|(_, body)| field(&body, 'C')), Some("28P01".to_owned()));
                    took[which][1].push(begun.elapsed());
                }
            }
        });
        for (at, part) in ["the salt", "the refusal"].into_iter().enumerate() {
            let [there, not_there] = [0, 1].map(|which| {
                took[which][at].sort_unstable();
                took[which][at][TRIES / 2].as_secs_f64() * 1e6
            });
            let difference = (there / not_there - 1.0) * 100.0;
            println!(
                "{part}: {known} {there:.1} us, {unknown}, whom nobody knows, {not_there:.1} us: {difference:+.1} %"
            );
            assert!(difference.abs() < 5.0, "they can be told apart");
        }
    }
}
