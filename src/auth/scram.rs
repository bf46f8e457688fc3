//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS on the server's side (RFC 5802, RFC 7677), with PostgreSQL's words.
//!
//! Two messages of the client, each answered by one: [`Exchange::begin`] and [`Exchange::finish`]. With a stand-in for a
//! verifier every step is the same up to the last, which fails.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

use super::same_bytes;
use super::verifier::{Key, Verifier, hash, mac, random};

/// The mechanism without channel binding.
pub(crate) const PLAIN: &str = "SCRAM-SHA-256";
/// The mechanism with it.
pub(crate) const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The only kind of binding there is here: the hash of the server's certificate.
const END_POINT: &str = "tls-server-end-point";
const NONCE_BYTES: usize = 18;

/// An exchange that waits for the client's last message.
#[derive(Debug)]
pub(crate) struct Exchange {
    verifier: Verifier,
    is_real: bool,
    /// What `c=` must say: the client's header again, and what it is bound to.
    binding: Vec<u8>,
    is_bound: bool,
    client_first: String,
    server_first: String,
    nonce: String,
}

/// The client's first message, taken apart.
#[derive(Debug)]
struct First<'a> {
    flag: &'a str,
    header: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

fn malformed(detail: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::ProtocolViolation, "malformed SCRAM message").with_detail(detail)
}

fn refused(message: &str) -> SqlError {
    SqlError::new(SqlState::InvalidAuthorizationSpecification, message)
}

fn text(message: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(message).map_err(|_| malformed("The message is not UTF-8."))?;
    match text.contains('\0') {
        true => Err(malformed("Message length does not match input length.")),
        false => Ok(text),
    }
}

fn parse_first(message: &str) -> Result<First<'_>> {
    let incomplete = || malformed("The message is incomplete.");
    let (flag, rest) = message.split_once(',').ok_or_else(incomplete)?;
    let (identity, bare) = rest.split_once(',').ok_or_else(incomplete)?;
    if identity.starts_with("a=") {
        return Err(SqlError::new(
            SqlState::FeatureNotSupported,
            "client uses authorization identity, but it is not supported",
        ));
    }
    if !identity.is_empty() {
        return Err(malformed("Unexpected attribute in client-first-message."));
    }
    let mut attributes = bare.split(',');
    let user = attributes.next().ok_or_else(incomplete)?;
    if user.starts_with("m=") {
        return Err(SqlError::new(SqlState::FeatureNotSupported, "client requires an unsupported SCRAM extension"));
    }
    // Whose name it is was said at the start; what is said here counts for nothing, as in PostgreSQL.
    if !user.starts_with("n=") {
        return Err(malformed("Expected attribute \"n\"."));
    }
    let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
    let nonce = nonce.ok_or_else(|| malformed("Expected attribute \"r\"."))?;
    if nonce.is_empty() || !nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err(malformed("The nonce has characters that are not printable, or none at all."));
    }
    if attributes.any(|extension| !is_attribute(extension)) {
        return Err(malformed("Unexpected attribute in client-first-message."));
    }
    Ok(First { flag, header: &message[..message.len() - bare.len()], bare, nonce })
}

/// Whether this is `letter=value`.
fn is_attribute(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|letter| letter.is_ascii_alphabetic()) && letters.next() == Some('=')
}

impl Exchange {
    /// Takes the client's first message, and gives the answer. `binding` is the hash of the server's certificate, if the
    /// connection is encrypted and it can be bound to; `is_real` says whether the verifier is of a role that may log in.
    pub(crate) fn begin(
        mechanism: &str,
        message: &[u8],
        verifier: Verifier,
        is_real: bool,
        binding: Option<&[u8]>,
    ) -> Result<(Self, String)> {
        let nonce = STANDARD.encode(random::<NONCE_BYTES>()?);
        Self::begin_with(mechanism, message, verifier, is_real, binding, &nonce)
    }

    fn begin_with(
        mechanism: &str,
        message: &[u8],
        verifier: Verifier,
        is_real: bool,
        binding: Option<&[u8]>,
        nonce: &str,
    ) -> Result<(Self, String)> {
        let plus = match mechanism {
            PLAIN => false,
            PLUS if binding.is_some() => true,
            _ => {
                let message = "client selected an invalid SASL authentication mechanism";
                return Err(SqlError::new(SqlState::ProtocolViolation, message));
            }
        };
        let first = parse_first(text(message)?)?;
        let is_bound = match first.flag {
            "n" | "y" if plus => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            "n" => false,
            // A client that could bind, and was told that the server cannot: somebody is between the two.
            "y" if binding.is_some() => {
                return Err(refused("SCRAM channel binding negotiation error").with_detail(
                    "The client supports SCRAM channel binding but thinks the server does not.  \
                     However, this server does support channel binding.",
                ));
            }
            "y" => false,
            flag => match flag.strip_prefix("p=") {
                None => return Err(malformed("Unexpected channel-binding flag.")),
                Some(_) if !plus => {
                    return Err(malformed(
                        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                    ));
                }
                Some(END_POINT) => true,
                Some(_) => {
                    let message = "unsupported SCRAM channel-binding type";
                    return Err(SqlError::new(SqlState::ProtocolViolation, message));
                }
            },
        };
        let mut bound_to = first.header.as_bytes().to_vec();
        if let (true, Some(binding)) = (is_bound, binding) {
            bound_to.extend_from_slice(binding);
        }
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let client_first = first.bare.to_owned();
        let exchange = Self {
            verifier,
            is_real,
            binding: bound_to,
            is_bound,
            client_first,
            server_first: server_first.clone(),
            nonce,
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's last message, and gives the proof that the server knows the password too; `None` if the client does
    /// not know it.
    pub(crate) fn finish(self, message: &[u8]) -> Result<Option<String>> {
        let message = text(message)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or_else(|| malformed("Expected attribute \"p\"."))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|binding| binding.strip_prefix("c="));
        let binding = binding.ok_or_else(|| malformed("Expected attribute \"c\"."))?;
        let is_same = STANDARD.decode(binding).is_ok_and(|binding| same_bytes(&binding, &self.binding));
        if !is_same && self.is_bound {
            return Err(refused("SCRAM channel binding check failed"));
        }
        if !is_same {
            let message = "unexpected SCRAM channel-binding attribute in client-final-message";
            return Err(SqlError::new(SqlState::ProtocolViolation, message));
        }
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let nonce = nonce.ok_or_else(|| malformed("Expected attribute \"r\"."))?;
        if !same_bytes(nonce.as_bytes(), self.nonce.as_bytes()) {
            return Err(SqlError::new(SqlState::ProtocolViolation, "invalid SCRAM response")
                .with_detail("Nonce does not match."));
        }
        if attributes.any(|extension| !is_attribute(extension)) {
            return Err(malformed("Unexpected attribute in client-final-message."));
        }
        let proof = STANDARD.decode(proof).ok().and_then(|proof| Key::try_from(proof).ok());
        let proof = proof.ok_or_else(|| malformed("Malformed proof in client-final-message."))?;

        let said = format!("{},{},{without_proof}", self.client_first, self.server_first);
        let signature = mac(&self.verifier.stored_key, said.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, signed)| *byte ^= signed);
        let knows = same_bytes(&hash(&client_key), &self.verifier.stored_key);
        let answer = format!("v={}", STANDARD.encode(mac(&self.verifier.server_key, said.as_bytes())));
        Ok((knows && self.is_real).then_some(answer))
    }
}

#[cfg(test)]
mod tests;
