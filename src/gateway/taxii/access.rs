//! Who may ask: HTTP Basic (RFC 7617), bearer tokens (RFC 6750), and client certificates.
//!
//! Secrets are kept as hashes: passwords, which people choose, by PBKDF2; tokens, which are drawn at random,
//! by SHA-256. What is compared is compared in constant time.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Mutex;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use ring::digest::{SHA256, digest};
use ring::{hmac, pbkdf2};
use thiserror::Error;

use super::store::Client;
use crate::clock::{Entropy, NoEntropy, random};

/// Rounds of PBKDF2-HMAC-SHA256 for new passwords (OWASP, Password Storage Cheat Sheet).
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(600_000 - 1);
/// What a kept hash must have at least.
const LEAST_ROUNDS: u32 = 100_000;
/// And at most: each attempt to log in costs that much.
const MOST_ROUNDS: u32 = 10_000_000;
/// The longest name, password or token that is looked at.
const MAX_SECRET: usize = 1_024;
const SCHEME: &str = "pbkdf2-sha256";

/// A kept secret that cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidSecret {
    /// Of a password.
    #[error(
        "it is no password hash such as pbkdf2-sha256$600000$SALT$HASH, of at least {LEAST_ROUNDS} rounds; make \
         one with: entente taxii password"
    )]
    Password,
    /// Of a token.
    #[error("it is no token hash such as sha256$HASH; make one with: entente taxii token")]
    Token,
    /// Of a certificate.
    #[error("it is no SHA-256 of a certificate in 64 hexadecimal digits")]
    Certificate,
}

/// Credentials that a server cannot be started with.
#[derive(Debug, Error)]
pub enum InvalidAccess {
    /// Random numbers.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// One credential of two clients: nobody could tell which of them it is.
    #[error("`{0}` and `{1}` have the same {2}; each client needs its own")]
    Twice(String, String, &'static str),
}

/// A password, as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    rounds: NonZeroU32,
    salt: [u8; 16],
    hash: [u8; 32],
}

impl PasswordHash {
    /// Of a password.
    pub fn new(password: &str, entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        let salt = random(entropy)?;
        let mut hash = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, ROUNDS, &salt, password.as_bytes(), &mut hash);
        Ok(Self {
            rounds: ROUNDS,
            salt,
            hash,
        })
    }

    fn verifies(&self, password: &str) -> bool {
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::verify(
            algorithm,
            self.rounds,
            &self.salt,
            password.as_bytes(),
            &self.hash,
        )
        .is_ok()
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = (BASE64.encode(&self.salt), BASE64.encode(&self.hash));
        write!(f, "{SCHEME}${}${salt}${hash}", self.rounds)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

impl FromStr for PasswordHash {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let read = || {
            let mut words = text.split('$');
            let (scheme, rounds) = (words.next()?, words.next()?.parse::<u32>().ok()?);
            let salt = BASE64.decode(words.next()?.as_bytes()).ok()?;
            let hash = BASE64.decode(words.next()?.as_bytes()).ok()?;
            let whole = scheme == SCHEME && words.next().is_none();
            let enough = (LEAST_ROUNDS..=MOST_ROUNDS).contains(&rounds);
            (whole && enough).then_some(())?;
            Some(Self {
                rounds: NonZeroU32::new(rounds)?,
                salt: salt.try_into().ok()?,
                hash: hash.try_into().ok()?,
            })
        };
        read().ok_or(InvalidSecret::Password)
    }
}

/// A bearer token, as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// A new token, and what is kept of it.
    pub fn draw(entropy: &dyn Entropy) -> Result<(String, Self), NoEntropy> {
        let token = BASE64URL_NOPAD.encode(&random::<32>(entropy)?);
        let hash = Self::of(&token);
        Ok((token, hash))
    }

    fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256${}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

impl FromStr for TokenHash {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let hash = text.strip_prefix("sha256$");
        let hash = hash.and_then(|hash| BASE64.decode(hash.as_bytes()).ok());
        let hash = hash.and_then(|hash| hash.try_into().ok());
        hash.map(Self).ok_or(InvalidSecret::Token)
    }
}

/// How a client shows who it is.
#[derive(Clone, Debug)]
pub enum Secret {
    /// HTTP Basic.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        hash: PasswordHash,
    },
    /// A bearer token.
    Token(TokenHash),
    /// SHA-256 of a client certificate (DER), which TLS has verified the key of.
    Certificate([u8; 32]),
}

impl Secret {
    /// A certificate, by its SHA-256 in hexadecimal digits, with or without colons.
    pub fn certificate(fingerprint: &str) -> Result<Self, InvalidSecret> {
        let digits = fingerprint.replace(':', "").to_ascii_lowercase();
        let bytes = HEXLOWER.decode(digits.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self::Certificate)
            .ok_or(InvalidSecret::Certificate)
    }
}

/// What a request brings.
#[derive(Clone, Default)]
pub struct Presented {
    /// Name and password.
    pub basic: Option<(String, String)>,
    /// A token.
    pub bearer: Option<String>,
    /// The certificate of the connection, in DER.
    pub certificate: Option<Vec<u8>>,
}

impl Presented {
    /// Reads an `Authorization` header; what is of no known scheme is nothing.
    pub(super) fn read(header: Option<&str>, certificate: Option<Vec<u8>>) -> Self {
        let mut presented = Self {
            certificate,
            ..Self::default()
        };
        let Some((scheme, value)) = header.and_then(|header| header.split_once(' ')) else {
            return presented;
        };
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") && value.len() <= MAX_SECRET {
            presented.bearer = Some(value.to_owned());
        } else if scheme.eq_ignore_ascii_case("basic") && value.len() <= MAX_SECRET * 2 {
            let text = BASE64.decode(value.as_bytes()).ok();
            let text = text.and_then(|text| String::from_utf8(text).ok());
            let pair = text.as_deref().and_then(|text| text.split_once(':'));
            presented.basic = pair.map(|(user, password)| (user.to_owned(), password.to_owned()));
        }
        presented
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented")
    }
}

/// All credentials of a server.
pub struct Access {
    /// Of this process: what is compared or remembered is hashed under it.
    key: hmac::Key,
    passwords: Vec<(String, PasswordHash, Client)>,
    tokens: Vec<(hmac::Tag, Client)>,
    certificates: HashMap<[u8; 32], Client>,
    /// Stands for the password of nobody: an unknown name takes as long as a wrong password.
    nobody: PasswordHash,
    /// Names and passwords that were right, under the key. PBKDF2 is slow by design, and Basic sends the
    /// password with each request. Not more than there are passwords.
    remembered: Mutex<HashMap<[u8; 32], Client>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

impl Access {
    /// These and no others, no two of them the same.
    pub fn new(
        credentials: impl IntoIterator<Item = (Client, Secret)>,
        entropy: &dyn Entropy,
    ) -> Result<Self, InvalidAccess> {
        let twice = |one: &Client, other: &Client, what| {
            Err(InvalidAccess::Twice(one.0.clone(), other.0.clone(), what))
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>(entropy)?);
        let mut passwords: Vec<(String, PasswordHash, Client)> = Vec::new();
        let mut tokens: Vec<(hmac::Tag, Client)> = Vec::new();
        let mut certificates: HashMap<[u8; 32], Client> = HashMap::new();
        for (client, secret) in credentials {
            match secret {
                Secret::Password { user, hash } => {
                    if let Some((.., other)) = passwords.iter().find(|(name, ..)| *name == user) {
                        return twice(other, &client, "user's name");
                    }
                    passwords.push((user, hash, client));
                }
                Secret::Token(hash) => {
                    let same = |tag: &hmac::Tag| hmac::verify(&key, &hash.0, tag.as_ref()).is_ok();
                    if let Some((_, other)) = tokens.iter().find(|(tag, _)| same(tag)) {
                        return twice(other, &client, "token");
                    }
                    tokens.push((hmac::sign(&key, &hash.0), client));
                }
                Secret::Certificate(hash) => {
                    if let Some(other) = certificates.get(&hash) {
                        return twice(other, &client, "certificate");
                    }
                    certificates.insert(hash, client);
                }
            }
        }
        let rounds = passwords.iter().map(|(_, hash, _)| hash.rounds).max();
        let nobody = PasswordHash {
            rounds: rounds.unwrap_or(ROUNDS),
            salt: random(entropy)?,
            hash: random(entropy)?,
        };
        Ok(Self {
            key,
            passwords,
            tokens,
            certificates,
            nobody,
            remembered: Mutex::default(),
        })
    }

    /// Whose credential this is, where it needs no slow hash to tell: `Err` with what is still to be
    /// verified by [`Access::verify`].
    pub(super) fn recognise(
        &self,
        presented: Presented,
    ) -> Result<Option<Client>, (String, String)> {
        if let Some(certificate) = &presented.certificate
            && let Some(client) = self.certificates.get(&sha256(certificate))
        {
            return Ok(Some(client.clone()));
        }
        if let Some(token) = &presented.bearer {
            let hash = TokenHash::of(token);
            let mut found = None;
            for (tag, client) in &self.tokens {
                if hmac::verify(&self.key, &hash.0, tag.as_ref()).is_ok() {
                    found = Some(client.clone());
                }
            }
            return Ok(found);
        }
        let Some((user, password)) = presented.basic else {
            return Ok(None);
        };
        let known = self.remembered.lock().ok();
        let known = known.and_then(|known| known.get(&self.tag(&user, &password)).cloned());
        known.map_or(Err((user, password)), |client| Ok(Some(client)))
    }

    /// Whose name and password these are. Takes a while, by design.
    pub(super) fn verify(&self, user: &str, password: &str) -> Option<Client> {
        let known = self.passwords.iter().find(|(name, ..)| name == user);
        let Some((_, hash, client)) = known else {
            // Its outcome is of no use; its time is.
            let _ = self.nobody.verifies(password);
            return None;
        };
        if !hash.verifies(password) {
            return None;
        }
        if let Ok(mut remembered) = self.remembered.lock() {
            remembered.insert(self.tag(user, password), client.clone());
        }
        Some(client.clone())
    }

    fn tag(&self, user: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        array(context.sign().as_ref())
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(digest(&SHA256, bytes).as_ref())
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    fn client(name: &str) -> Client {
        Client(name.to_owned())
    }

    fn basic(user: &str, password: &str) -> Presented {
        let pair = BASE64.encode(format!("{user}:{password}").as_bytes());
        Presented::read(Some(&format!("Basic {pair}")), None)
    }

    #[test]
    fn each_credential_is_known_and_no_other() {
        let entropy = SeededEntropy::new(1);
        let (token, kept) = TokenHash::draw(&entropy).unwrap();
        let hash = PasswordHash::new("pass:word", &entropy).unwrap();
        let access = Access::new(
            [
                (
                    client("anna"),
                    Secret::Password {
                        user: "anna".into(),
                        hash: hash.to_string().parse().unwrap(),
                    },
                ),
                (
                    client("siem"),
                    Secret::Token(kept.to_string().parse().unwrap()),
                ),
                (client("box"), Secret::Certificate(sha256(b"der"))),
            ],
            &entropy,
        )
        .unwrap();
        let (user, password) = access.recognise(basic("anna", "pass:word")).unwrap_err();
        assert_eq!(access.verify(&user, &password), Some(client("anna")));
        // It is remembered from now on.
        let again = access.recognise(basic("anna", "pass:word"));
        assert_eq!(again.unwrap(), Some(client("anna")));
        for (user, password) in [("anna", "password"), ("anna", ""), ("otto", "pass:word")] {
            assert!(access.recognise(basic(user, password)).is_err());
            assert_eq!(access.verify(user, password), None);
        }
        let bearer = |token: &str| Presented::read(Some(&format!("bearer {token}")), None);
        assert_eq!(
            access.recognise(bearer(&token)).unwrap(),
            Some(client("siem"))
        );
        assert_eq!(access.recognise(bearer("x")).unwrap(), None);
        let shown = |der: &[u8]| Presented::read(None, Some(der.to_vec()));
        assert_eq!(
            access.recognise(shown(b"der")).unwrap(),
            Some(client("box"))
        );
        assert_eq!(access.recognise(shown(b"other")).unwrap(), None);
        for header in ["", "Basic", "Basic !", "Basic YQ==", "Digest a", "Bearer"] {
            let presented = Presented::read(Some(header), None);
            assert_eq!(access.recognise(presented).unwrap(), None, "{header}");
        }
    }

    #[test]
    fn no_credential_is_of_two_clients() {
        let entropy = SeededEntropy::new(3);
        let (_, token) = TokenHash::draw(&entropy).unwrap();
        let of = |one: &Secret, other: &Secret| {
            let both = [(client("a"), one.clone()), (client("b"), other.clone())];
            Access::new(both, &entropy).map_err(|error| error.to_string())
        };
        let digits = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        let certificate = |text: &str| Secret::certificate(text).unwrap();
        let same = of(&certificate(&digits), &certificate(&colons)).unwrap_err();
        assert!(same.contains("`a` and `b`"), "{same}");
        assert!(of(&certificate(&digits), &certificate(&"cd".repeat(32))).is_ok());
        assert!(of(&Secret::Token(token.clone()), &Secret::Token(token)).is_err());
    }

    #[test]
    fn kept_secrets_are_strict_and_never_shown() {
        let entropy = SeededEntropy::new(2);
        let hash = PasswordHash::new("x", &entropy).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash");
        let weak = hash.to_string().replace("600000", "1000");
        for text in ["", "x", "sha256$", "pbkdf2-sha256$600000$AA==$AA==", &weak] {
            assert!(text.parse::<PasswordHash>().is_err(), "{text}");
            assert!(text.parse::<TokenHash>().is_err(), "{text}");
            assert!(Secret::certificate(text).is_err(), "{text}");
        }
        assert!(Secret::certificate(&"aB:".repeat(31).add("00")).is_ok());
    }

    use std::ops::Add;
}
