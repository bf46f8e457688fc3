//! Encryption: the certificate and the key of the server, and what a client can bind its password to.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{self, Algorithm};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// The protocol that a client may ask for by name.
const PROTOCOL: &[u8] = b"postgresql";

/// What a connection is encrypted with.
pub(super) struct Tls {
    /// How.
    pub(super) config: Arc<ServerConfig>,
    /// The hash of the certificate that `tls-server-end-point` stands for (RFC 5929); none where its signature has no hash.
    pub(super) binding: Option<Vec<u8>>,
}

/// Reads a certificate, with those that lead up from it, and its key. TLS 1.2 and 1.3 are spoken.
pub(super) fn load(certificate: &Path, key: &Path) -> Result<Tls, String> {
    let at = |path: &Path, error: String| format!("{}: {error}", path.display());
    check_mode(key).map_err(|error| at(key, error))?;
    let read = |path: &Path| std::fs::read(path).map_err(|error| at(path, error.to_string()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| at(certificate, error.to_string()))?;
    let Some(own) = chain.first() else { return Err(at(certificate, "there is no certificate in it".into())) };
    let binding = signature_hash(own).map(|algorithm| digest::digest(algorithm, own).as_ref().to_vec());
    // What is wrong with a key is said without a byte of it.
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| at(key, "there is no private key in it that can be read".into()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Tls { config: Arc::new(config), binding })
}

/// A key that others may read is no secret: 0600, or 0640 where it is root's.
fn check_mode(key: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(key).map_err(|error| error.to_string())?;
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    match metadata.mode() & others {
        0 => Ok(()),
        _ => {
            Err("private key file has group or world access; its mode must be 0600, or 0640 if it is owned by root"
                .into())
        }
    }
}

/// The hash of a certificate's signature, as RFC 5929 takes it: MD5 and SHA-1 count as SHA-256. `None` for signatures that
/// have none, as of Ed25519.
fn signature_hash(certificate: &[u8]) -> Option<&'static Algorithm> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER, .. }, .. }
    let (whole, _) = element(certificate, 0x30)?;
    let (_, rest) = element(whole, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    let (name, _) = element(algorithm, 0x06)?;
    if name == ECDSA_SHA1 {
        return Some(&digest::SHA256);
    }
    let (&last, family) = name.split_last()?;
    match (family, last) {
        (RSA, 4 | 5 | 11) | (ECDSA, 2) => Some(&digest::SHA256),
        (RSA, 12) | (ECDSA, 3) => Some(&digest::SHA384),
        (RSA, 13) | (ECDSA, 4) => Some(&digest::SHA512),
        _ => None,
    }
}

/// The content of the element of this tag that bytes in DER begin with, and what is behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
    }

    /// A copy of a fixture that only its owner may read: what is checked out anybody may.
    fn private(dir: &Path, name: &str) -> std::path::PathBuf {
        let to = dir.join(name);
        std::fs::copy(fixture(name), &to).expect("copied");
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).expect("made private");
        to
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (name, length) in [("rsa", Some(32)), ("ecdsa", Some(48)), ("ed25519", None)] {
            let dir = tempfile::tempdir().expect("a directory");
            let key = private(dir.path(), &format!("{name}.key"));
            let tls = load(&fixture(&format!("{name}.crt")), &key).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(tls.binding.map(|hash| hash.len()), length, "{name}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = private(dir.path(), "rsa.key");
        let loaded = |mode: u32| {
            std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).expect("set");
            load(&fixture("rsa.crt"), &key).map(|_| ())
        };
        loaded(0o600).expect("fine");
        loaded(0o400).expect("fine");
        for mode in [0o644, 0o604, 0o660, 0o601] {
            let error = loaded(mode).expect_err("refused");
            assert!(error.contains("group or world access"), "{mode:o}: {error}");
        }
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_told_with_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (rsa, other) = (private(dir.path(), "rsa.key"), private(dir.path(), "ecdsa.key"));
        let failed = |certificate: &Path, key: &Path| load(certificate, key).map(|_| ()).expect_err("refused");
        assert!(failed(&fixture("rsa.crt"), &other).contains("rsa.crt"), "a key of another certificate");
        assert!(failed(&rsa, &rsa).contains("no certificate"));
        assert!(failed(&dir.path().join("none"), &rsa).contains("none"));
        let broken = dir.path().join("broken.key");
        std::fs::write(&broken, "-----BEGIN PRIVATE KEY-----\nSECRET\n").expect("written");
        std::fs::set_permissions(&broken, PermissionsExt::from_mode(0o600)).expect("set");
        let error = failed(&fixture("rsa.crt"), &broken);
        assert!(error.contains("broken.key") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_hash() {
        let certificate = CertificateDer::pem_slice_iter(&std::fs::read(fixture("rsa.crt")).expect("read"))
            .next()
            .expect("one")
            .expect("read");
        assert!(signature_hash(&certificate).is_some());
        for end in 0..certificate.len() {
            assert!(signature_hash(&certificate[..end]).is_none(), "cut at {end}");
        }
        assert!(signature_hash(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_none());
    }
}
