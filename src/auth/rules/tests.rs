//! Rules read, and asked.

use super::*;

fn rules(text: &str) -> Rules {
    Rules::parse(text, false).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn caller<'a>(address: &str, is_encrypted: bool, user: &'a str) -> Caller<'a> {
    let address = (!address.is_empty()).then(|| address.parse().expect("an address"));
    Caller { address, is_encrypted, database: "lodedb", user }
}

/// The word of the method, or the code of the refusal.
fn asked(rules: &Rules, caller: &Caller<'_>) -> &'static str {
    match rules.method(caller, |role| role == "staff" && caller.user == "ann") {
        Ok(method) => method.word(),
        Err(error) => error.state().code(),
    }
}

#[test]
fn without_a_file_this_machine_is_trusted_and_nobody_else() {
    let rules = Rules::built_in(false);
    for (address, encrypted, method) in [
        ("", false, "trust"),
        ("127.0.0.1", false, "trust"),
        ("127.9.9.9", true, "trust"),
        ("::1", false, "trust"),
        ("::ffff:127.0.0.1", false, "trust"),
        ("10.0.0.1", true, "scram-sha-256"),
        ("2001:db8::1", true, "scram-sha-256"),
        ("10.0.0.1", false, "28000"),
        ("::ffff:10.0.0.1", false, "28000"),
        ("::2", false, "28000"),
    ] {
        assert_eq!(asked(&rules, &caller(address, encrypted, "ann")), method, "{address} {encrypted}");
    }
    let insecure = Rules::built_in(true);
    assert_eq!(asked(&insecure, &caller("10.0.0.1", false, "ann")), "scram-sha-256", "a password is asked for still");
}

#[test]
fn the_first_rule_that_fits_decides() {
    let rules = rules(
        "# comment\n\
         local   all  all                 reject   # nobody\n\
         host    all  eve                 all              reject\n\
         hostssl all  +staff              10.0.0.0/8       scram-sha-256\n\
         host    all  bob                 192.168.1.0  255.255.255.0  scram-sha-256\n\
         host    other all                all              trust\n\
         hostnossl lodedb,\"two words\" \"all\", cat 127.0.0.1/32 trust\n",
    );
    assert_eq!(rules.rules.len(), 6);
    assert_eq!(rules.rules[0].line, 2);
    for (address, encrypted, user, method) in [
        ("", false, "ann", "28000"),
        ("127.0.0.1", true, "eve", "28000"),
        ("10.1.2.3", true, "ann", "scram-sha-256"),
        ("10.1.2.3", true, "bob", "28000"),
        ("11.1.2.3", true, "ann", "28000"),
        ("192.168.1.77", true, "bob", "scram-sha-256"),
        ("192.168.2.77", true, "bob", "28000"),
        ("192.168.1.77", false, "bob", "28000"),
        ("127.0.0.1", false, "cat", "trust"),
        ("127.0.0.1", true, "cat", "28000"),
        ("127.0.0.1", false, "all", "trust"),
        ("127.0.0.1", false, "dan", "28000"),
    ] {
        assert_eq!(asked(&rules, &caller(address, encrypted, user)), method, "{address} {encrypted} {user}");
    }
}

#[test]
fn trust_beyond_this_machine_takes_more_than_a_rule() {
    let text = "host all all all trust";
    assert_eq!(asked(&rules(text), &caller("10.0.0.1", true, "ann")), "28000");
    assert_eq!(asked(&rules(text), &caller("127.0.0.1", false, "ann")), "trust");
    let insecure = Rules::parse(text, true).expect("read");
    assert_eq!(asked(&insecure, &caller("10.0.0.1", false, "ann")), "trust");
    let error = rules("").method(&caller("10.0.0.1", true, "ann"), |_| false).expect_err("refused");
    assert_eq!(
        error.message(),
        "no pg_hba.conf entry for host \"10.0.0.1\", user \"ann\", database \"lodedb\", SSL encryption"
    );
}

#[test]
fn networks_of_every_width() {
    for (network, address, fits) in [
        ("0.0.0.0/0", "9.9.9.9", true),
        ("0.0.0.0/0", "2001::1", false),
        ("::/0", "2001::1", true),
        ("10.0.0.1/32", "10.0.0.1", true),
        ("10.0.0.1/32", "10.0.0.2", false),
        ("10.0.0.0/31", "10.0.0.1", true),
        ("2001:db8::/32", "2001:db8:1::1", true),
        ("2001:db8::1/128", "2001:db8::2", false),
    ] {
        let rules = rules(&format!("hostssl all all {network} scram-sha-256"));
        let found = asked(&rules, &caller(address, true, "ann")) == "scram-sha-256";
        assert_eq!(found, fits, "{network} {address}");
    }
}

#[test]
fn what_is_not_supported_is_told_with_its_line() {
    for line in [
        "host",
        "host all",
        "host all all",
        "host all all all",
        "host all all 10.0.0.1 trust",
        "host all all 10.0.0.0/33 trust",
        "host all all 10.0.0.0/x trust",
        "host all all 10.0.0.0 255.0.255.0 trust",
        "host all all 10.0.0.0 ffff:: trust",
        "host all all example.org scram-sha-256",
        "host all all samenet scram-sha-256",
        "host all all all md5",
        "host all all all password",
        "local all all peer",
        "hostssl all all all cert clientcert=verify-full",
        "host all all all trust map=x",
        "hostgssenc all all all trust",
        "local replication all trust",
        "local sameuser all trust",
        "local all /^a trust",
        "local all @file trust",
        "local all a, trust",
        "local all ,a trust",
        "local all \"a trust",
        "local,host all all trust",
        "include other",
    ] {
        let error = Rules::parse(&format!("\n{line}\n"), false).expect_err(line);
        assert!(error.starts_with("line 2: "), "{line}: {error}");
    }
    let error = Rules::parse("x\nlocal all all trust\ny", false).expect_err("two are wrong");
    assert!(error.contains("line 1") && error.contains("line 3"), "{error}");
}
