//! What is kept of a password: enough to see that a client knows it, and not enough to be that client (RFC 5802).
//!
//! The text form is PostgreSQL's, `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, so verifiers can be carried over.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use rand::TryRngCore;
use rand::rngs::OsRng;
use ring::{digest, hmac, pbkdf2};

use super::same_bytes;

/// How often a password is hashed, where a verifier is made here.
pub const ITERATIONS: u32 = 16_384;
/// A verifier that somebody brings along has at least as many as PostgreSQL's own.
const ITERATIONS_MIN: u32 = 4096;
/// The client does the hashing: no verifier may ask more than seconds of it.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
/// The longest salt that a verifier may bring along: it must fit a message of the start-up.
const SALT_BYTES_MAX: usize = 64;
const PREFIX: &str = "SCRAM-SHA-256$";

/// A SHA-256, and the keys made of one.
pub(crate) type Key = [u8; 32];

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Key,
    pub(crate) server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        write!(f, "{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl Verifier {
    /// What is kept of what was given as a password: of a verifier, itself.
    pub fn of_password(password: &str) -> Result<Self> {
        if password.starts_with(PREFIX) {
            return Self::parse(password).ok_or_else(|| {
                SqlError::new(
                    SqlState::InvalidParameterValue,
                    "the password begins as a SCRAM verifier does and is none",
                )
                .with_hint(format!(
                    "A verifier has between {ITERATIONS_MIN} and {ITERATIONS_MAX} iterations, a salt and two keys."
                ))
            });
        }
        if password.len() == 35 && password.starts_with("md5") && password[3..].bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SqlError::unsupported("an MD5 password").with_hint("Give the password itself."));
        }
        let salt = random::<SALT_BYTES>()?;
        Ok(Self::derive(password, &salt, ITERATIONS))
    }

    pub(crate) fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        // What SASLprep refuses is taken as it is, on both sides.
        let password = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
        let mut salted: Key = [0; 32];
        let rounds = std::num::NonZeroU32::new(iterations).unwrap_or(std::num::NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
        let stored_key = hash(&mac(&salted, b"Client Key"));
        Self { iterations, salt: salt.to_vec(), stored_key, server_key: mac(&salted, b"Server Key") }
    }

    /// Whether this is what is kept of a password. It hashes as often as the verifier says.
    pub(crate) fn fits(&self, password: &str) -> bool {
        same_bytes(&Self::derive(password, &self.salt, self.iterations).stored_key, &self.stored_key)
    }

    /// Reads its text form; `None` if that is no verifier that can be used.
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|n| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(n))?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| (1..=SALT_BYTES_MAX).contains(&salt.len()))?;
        let key = |text: &str| Key::try_from(STANDARD.decode(text).ok()?).ok();
        Some(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
    }

    /// One that no password fits, always the same for a name: whoever asks cannot tell it from a real one.
    pub(crate) fn stand_in(secret: &[u8], user: &str) -> Self {
        let salt = mac(secret, user.as_bytes());
        let stored_key = mac(secret, &salt);
        Self { iterations: ITERATIONS, salt: salt[..SALT_BYTES].to_vec(), stored_key, server_key: stored_key }
    }
}

/// HMAC-SHA-256.
pub(crate) fn mac(key: &[u8], message: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    sized(tag.as_ref())
}

/// SHA-256.
pub(crate) fn hash(message: &[u8]) -> Key {
    sized(digest::digest(&digest::SHA256, message).as_ref())
}

fn sized(bytes: &[u8]) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(bytes);
    key
}

/// Bytes from the system's random numbers.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| SqlError::internal(format!("no random numbers: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL keeps of `pencil` with this salt.
    const OF_POSTGRES: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_text_form_is_postgresqls() {
        // The example of RFC 7677: the password is `pencil`.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = Verifier::derive("pencil", &salt, 4096);
        assert_eq!(verifier.to_string(), OF_POSTGRES);
        assert!(verifier.fits("pencil") && !verifier.fits("pencils"));
        assert_eq!(Verifier::parse(OF_POSTGRES), Some(verifier));
    }

    #[test]
    fn what_is_no_verifier_is_none() {
        for (text, why) in [
            ("pencil", "no prefix"),
            ("SCRAM-SHA-256$0:AAAA$AAAA:AAAA", "no iterations, short keys"),
            (&OF_POSTGRES.replace("4096", "0"), "no iterations"),
            (&OF_POSTGRES.replace("4096", "4095"), "fewer than anybody uses"),
            (&OF_POSTGRES.replace("4096", "1000000000"), "hours"),
            (&OF_POSTGRES.replace("4096", "-1"), "negative"),
            (&OF_POSTGRES.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""), "no salt"),
            (&OF_POSTGRES.replace("wfPL", "wf"), "a short key"),
        ] {
            assert_eq!(Verifier::parse(text), None, "{why}");
        }
        let refused = |password: &str| Verifier::of_password(password).expect_err("refused").state();
        assert_eq!(refused("SCRAM-SHA-256$x"), SqlState::InvalidParameterValue);
        assert_eq!(refused("md5d41d8cd98f00b204e9800998ecf8427e"), SqlState::FeatureNotSupported);
        Verifier::of_password("md5").expect("a password like any other");
    }

    #[test]
    fn each_verifier_has_a_salt_of_its_own_and_prints_nothing() {
        let (one, two) = (Verifier::of_password("x").expect("made"), Verifier::of_password("x").expect("made"));
        assert_ne!(one, two);
        assert_eq!((one.iterations, one.salt.len()), (ITERATIONS, 16));
        assert_eq!(format!("{one:?}"), "Verifier");
    }

    #[test]
    fn passwords_are_prepared() {
        // RFC 4013: a soft hyphen is nothing, a non-breaking space is a space.
        let of = |password| Verifier::derive(password, b"salt", 4096);
        assert_eq!(of("I\u{ad}X"), of("IX"));
        assert_eq!(of("a\u{a0}b"), of("a b"));
        // What may not be in one is taken as it is.
        assert_ne!(of("\u{7}"), of(""));
    }

    #[test]
    fn a_stand_in_is_the_same_for_a_name_and_another_for_another() {
        let of = |user| Verifier::stand_in(b"secret", user);
        assert_eq!(of("ann"), of("ann"));
        assert_ne!(of("ann").salt, of("bob").salt);
        assert_ne!(of("ann"), Verifier::stand_in(b"other", "ann"));
    }
}
