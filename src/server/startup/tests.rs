//! What start-up parameters mean.

use super::*;

fn read(parameters: &[(&str, &str)]) -> Result<Request, SqlError> {
    read_request(parameters.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn settings(options: &str) -> Vec<(String, String)> {
    read(&[("user", "u"), ("options", options)]).expect("options are read").settings
}

#[test]
fn database_defaults_to_the_user() {
    let request = read(&[("user", "ann"), ("TimeZone", "UTC")]).expect("is read");
    assert_eq!(request.database, "ann");
    assert_eq!(request.settings, [("TimeZone".to_owned(), "UTC".to_owned())]);
}

#[test]
fn a_user_is_required() {
    assert!(read(&[("database", "lodedb")]).is_err());
}

#[test]
fn databases_have_three_names() {
    for (asked, known) in [("mine", true), ("postgres", true), ("ann", true), ("lodedb", true), ("other", false)] {
        let request = read(&[("user", "ann"), ("database", asked)]).expect("is read");
        match choose_database(&request, "mine") {
            Ok(name) => assert!(known && name == "mine", "{asked}"),
            Err(error) => {
                assert!(!known, "{asked}");
                assert_eq!(error.state(), SqlState::InvalidCatalogName);
                assert_eq!(error.message(), "database \"other\" does not exist");
            }
        }
    }
}

#[test]
fn only_utf8_is_spoken() {
    for spelling in ["UTF8", "utf-8", "'utf-8'", "UNICODE", "\"UTF8\""] {
        read(&[("user", "u"), ("client_encoding", spelling)]).expect(spelling);
    }
    for other in ["LATIN1", "SQL_ASCII", ""] {
        let error = read(&[("user", "u"), ("client_encoding", other)]).expect_err(other);
        assert_eq!(error.state(), SqlState::InvalidParameterValue);
    }
}

#[test]
fn options_hold_settings() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        settings("-c a=1 -cb=2 --statement-timeout=3"),
        [pair("a", "1"), pair("b", "2"), pair("statement_timeout", "3")]
    );
    assert_eq!(settings("  -c  search_path=a\\ b\\\\c "), [pair("search_path", "a b\\c")]);
    assert_eq!(settings(""), []);
    for bad in ["-x", "word", "-c", "-c name", "--name"] {
        let error = read(&[("user", "u"), ("options", bad)]).expect_err(bad);
        assert_eq!(error.state(), SqlState::SyntaxError);
    }
}

#[test]
fn options_of_the_protocol_are_listed_back() {
    let request = read(&[("user", "u"), ("_pq_.report_parameters", "x")]).expect("is read");
    assert_eq!(request.unsupported, ["_pq_.report_parameters"]);
}

#[test]
fn replication_is_refused_unless_off() {
    read(&[("user", "u"), ("replication", "false")]).expect("off is fine");
    let error = read(&[("user", "u"), ("replication", "database")]).expect_err("refused");
    assert_eq!(error.state(), SqlState::FeatureNotSupported);
}
