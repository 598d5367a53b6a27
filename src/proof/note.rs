//! Signed notes (C2SP signed-note, v1.0.0), with Ed25519 keys.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use thiserror::Error;

use super::hash::Hasher;
use super::sign::{PublicKey, SignError, Signer, verify_message};

/// The type byte of an Ed25519 key.
const ED25519: u8 = 0x01;
/// The largest note we read.
const MAX_NOTE_BYTES: usize = 1024 * 1024;
/// The most signature lines we read; the specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;
/// What a signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// A note or key that cannot be used, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidNote {
    /// Not the form of a note.
    #[error("the note is malformed: {0}")]
    Malformed(&'static str),
    /// Not the form of a verifier key.
    #[error("`{0}` is not a verifier key such as example.com/log+530d903a+Aek...")]
    Key(String),
    /// A key of a type that is not Ed25519.
    #[error("the verifier key is of type {0:#04x}; only Ed25519 (0x01) is read")]
    KeyType(u8),
    /// A known key's signature is wrong.
    #[error("the signature of `{0}` does not verify")]
    BadSignature(String),
    /// No known key signed.
    #[error("the note has no signature of a known key")]
    Unverified,
}

/// A verifier key: a name and a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    key: PublicKey,
}

impl NoteKey {
    /// A key under a name without spaces and plus signs.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, InvalidNote> {
        if !name_ok(name) {
            return Err(InvalidNote::Key(name.chars().take(80).collect()));
        }
        Ok(Self {
            name: name.to_owned(),
            key,
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The first four bytes of SHA-256(name || 0x0A || type || key).
    pub fn id(&self) -> [u8; 4] {
        let digest = Hasher::new()
            .chain(self.name.as_bytes())
            .chain(&[b'\n', ED25519])
            .chain(&self.key.0)
            .finish();
        [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
    }
}

/// The vkey.
impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(&[&[ED25519], self.key.0.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id()))
    }
}

impl FromStr for NoteKey {
    type Err = InvalidNote;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNote::Key(text.chars().take(80).collect());
        let mut fields = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(invalid());
        };
        let key = BASE64.decode(key.as_bytes()).map_err(|_| invalid())?;
        let (kind, key) = key.split_first().ok_or_else(invalid)?;
        if *kind != ED25519 {
            return Err(InvalidNote::KeyType(*kind));
        }
        let key = Self::new(name, PublicKey::try_from(key).map_err(|_| invalid())?)?;
        if HEXLOWER.encode(&key.id()) == id {
            Ok(key)
        } else {
            Err(invalid())
        }
    }
}

fn name_ok(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// A text with signature lines, which nobody has verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<Line>,
}

impl Note {
    /// A note without signatures. The text ends in a line feed.
    pub fn new(text: String) -> Result<Self, InvalidNote> {
        check_text(&text)?;
        Ok(Self {
            text,
            lines: Vec::new(),
        })
    }

    /// Adds a signature under a name.
    pub fn sign(&mut self, name: &str, signer: &dyn Signer) -> Result<(), SignError> {
        let key = NoteKey {
            name: name.to_owned(),
            key: signer.public_key(),
        };
        let signature = signer.sign_message(self.text.as_bytes())?.to_vec();
        self.lines.push(Line {
            name: name.to_owned(),
            id: key.id(),
            signature,
        });
        Ok(())
    }

    /// Verifies with known keys and returns the text: every signature line of a known key must
    /// hold, there must be one, and lines of unknown keys count for nothing.
    pub fn verify(&self, keys: &[&NoteKey]) -> Result<&str, InvalidNote> {
        let mut verified = false;
        for line in &self.lines {
            let known = keys
                .iter()
                .find(|key| key.name == line.name && key.id() == line.id);
            let Some(key) = known else { continue };
            verify_message(&key.key, self.text.as_bytes(), &line.signature)
                .map_err(|_| InvalidNote::BadSignature(line.name.clone()))?;
            verified = true;
        }
        if verified {
            Ok(&self.text)
        } else {
            Err(InvalidNote::Unverified)
        }
    }
}

fn check_text(text: &str) -> Result<(), InvalidNote> {
    if text.len() > MAX_NOTE_BYTES {
        return Err(InvalidNote::Malformed("it is too large"));
    }
    if !text.ends_with('\n') {
        return Err(InvalidNote::Malformed(
            "its text does not end in a line feed",
        ));
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(InvalidNote::Malformed("it has control characters"));
    }
    Ok(())
}

impl FromStr for Note {
    type Err = InvalidNote;

    fn from_str(note: &str) -> Result<Self, Self::Err> {
        check_text(note)?;
        let at = note
            .rfind("\n\n")
            .ok_or(InvalidNote::Malformed("it has no empty line"))?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        let mut lines = Vec::new();
        for line in signatures.split_terminator('\n') {
            if lines.len() == MAX_SIGNATURES {
                return Err(InvalidNote::Malformed("it has too many signatures"));
            }
            lines.push(read_line(line).ok_or(InvalidNote::Malformed("a signature line"))?);
        }
        if lines.is_empty() {
            return Err(InvalidNote::Malformed("it has no signatures"));
        }
        Ok(Self {
            text: text.to_owned(),
            lines,
        })
    }
}

fn read_line(line: &str) -> Option<Line> {
    let (name, blob) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    let blob = BASE64.decode(blob.as_bytes()).ok()?;
    let (id, signature) = blob.split_first_chunk::<4>()?;
    (name_ok(name) && !signature.is_empty()).then(|| Line {
        name: name.to_owned(),
        id: *id,
        signature: signature.to_vec(),
    })
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.lines {
            let blob = BASE64.encode(&[line.id.as_slice(), &line.signature].concat());
            writeln!(f, "{SIGNATURE_PREFIX}{} {blob}", line.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SecretKey;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_vector_of_the_specification_verifies() {
        let key: NoteKey = VKEY.parse().unwrap();
        assert_eq!(key.to_string(), VKEY);
        let note: Note = NOTE.parse().unwrap();
        assert_eq!(note.to_string(), NOTE);
        assert_eq!(note.verify(&[&key]), Ok("This is an example message.\n"));
    }

    #[test]
    fn a_known_keys_bad_signature_rejects_the_note_and_unknown_keys_count_for_nothing() {
        let key: NoteKey = VKEY.parse().unwrap();
        let changed: Note = NOTE
            .replace("example message", "other message")
            .parse()
            .unwrap();
        assert!(matches!(
            changed.verify(&[&key]),
            Err(InvalidNote::BadSignature(_))
        ));
        let signer = SecretKey::from_seed([7; 32]).unwrap();
        let stranger = NoteKey::new("example.com/other", signer.public_key()).unwrap();
        let mut note: Note = NOTE.parse().unwrap();
        assert_eq!(note.verify(&[&stranger]), Err(InvalidNote::Unverified));
        note.sign("example.com/other", &signer).unwrap();
        let again: Note = note.to_string().parse().unwrap();
        assert!(again.verify(&[&stranger]).is_ok() && again.verify(&[&key]).is_ok());
    }

    #[test]
    fn what_is_no_note_is_an_error() {
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\nsigned\n",
            "te\rxt\n\n\u{2014} a AAAAAAAA\n",
        ] {
            assert!(bad.parse::<Note>().is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "a+b",
            "example.com/foo+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            assert!(bad.parse::<NoteKey>().is_err(), "{bad:?}");
        }
    }
}
