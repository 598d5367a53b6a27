//! Signed notes (C2SP signed-note, v1.0.0).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use thiserror::Error;

use super::base64::decode_base64;
use super::sign::{SignError, Signer};
use super::vkey::{InvalidVkey, NoteKey, name_ok};

/// The largest note we read.
const MAX_NOTE_BYTES: usize = 1024 * 1024;
/// The most signature lines we read; the specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;
/// What a signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// A note that cannot be used, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidNote {
    /// Not the form of a note.
    #[error("the note is malformed: {0}")]
    Malformed(&'static str),
    /// A known key's signature is wrong.
    #[error("the signature of `{0}` does not verify")]
    BadSignature(String),
    /// No known key signed.
    #[error("the note has no signature of a known key")]
    Unverified,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl SignatureLine {
    /// A line of a key with what it signed: for a cosigner, its time before the signature.
    pub(super) fn new(key: &NoteKey, signature: Vec<u8>) -> Self {
        Self {
            name: key.name().to_owned(),
            id: key.id(),
            signature,
        }
    }

    /// Whether it claims to be this key's.
    pub fn is_of(&self, key: &NoteKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }

    /// Reads lines as a witness answers them, each ended by a line feed.
    pub fn parse_all(lines: &str) -> Result<Vec<Self>, InvalidNote> {
        let mut read = Vec::new();
        for line in lines.split_terminator('\n') {
            if read.len() == MAX_SIGNATURES {
                return Err(InvalidNote::Malformed("it has too many signatures"));
            }
            read.push(read_line(line).ok_or(InvalidNote::Malformed("a signature line"))?);
        }
        Ok(read)
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = BASE64.encode(&[self.id.as_slice(), &self.signature].concat());
        writeln!(f, "{SIGNATURE_PREFIX}{} {blob}", self.name)
    }
}

/// That a known key signed a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBy<'a> {
    /// Which of those that were asked about.
    pub key: &'a NoteKey,
    /// A cosignature's time, in seconds since 1970.
    pub time: Option<u64>,
}

/// A text with signature lines, which nobody has verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<SignatureLine>,
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

    /// The text that is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its signature lines.
    pub fn lines(&self) -> &[SignatureLine] {
        &self.lines
    }

    /// Adds an Ed25519 signature over the text, under a name.
    pub fn sign(&mut self, name: &str, signer: &dyn Signer) -> Result<(), SignError> {
        let failed = |error: InvalidVkey| SignError {
            key: signer.public_key().id(),
            reason: error.to_string(),
        };
        let key = NoteKey::new(name, signer.public_key()).map_err(failed)?;
        let signature = signer.sign_message(self.text.as_bytes())?.to_vec();
        self.add(SignatureLine::new(&key, signature));
        Ok(())
    }

    /// Adds a line, where it is not there already and there is room for it.
    pub fn add(&mut self, line: SignatureLine) {
        if !self.lines.contains(&line) && self.lines.len() < MAX_SIGNATURES {
            self.lines.push(line);
        }
    }

    /// Adds a line in the place of an earlier one of the same key.
    pub fn replace(&mut self, key: &NoteKey, line: SignatureLine) {
        self.lines.retain(|other| !other.is_of(key));
        self.add(line);
    }

    /// Who of these keys signed: every line of a known key must hold, there must be one, and lines of
    /// unknown keys count for nothing.
    pub fn signed_by<'a>(&self, keys: &[&'a NoteKey]) -> Result<Vec<SignedBy<'a>>, InvalidNote> {
        let mut signed: Vec<SignedBy<'a>> = Vec::new();
        for line in &self.lines {
            let Some(key) = keys.iter().find(|key| line.is_of(key)) else {
                continue;
            };
            let time = key.verify(&self.text, &line.signature);
            let time = time.map_err(|_| InvalidNote::BadSignature(line.name.clone()))?;
            if !signed.iter().any(|one| one.key == *key) {
                signed.push(SignedBy { key, time });
            }
        }
        if signed.is_empty() {
            return Err(InvalidNote::Unverified);
        }
        Ok(signed)
    }

    /// Verifies with known keys and returns the text.
    pub fn verify(&self, keys: &[&NoteKey]) -> Result<&str, InvalidNote> {
        self.signed_by(keys)?;
        Ok(&self.text)
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
        let lines = SignatureLine::parse_all(signatures)?;
        if lines.is_empty() {
            return Err(InvalidNote::Malformed("it has no signatures"));
        }
        Ok(Self {
            text: text.to_owned(),
            lines,
        })
    }
}

fn read_line(line: &str) -> Option<SignatureLine> {
    let (name, blob) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    let blob = decode_base64(blob)?;
    let (id, signature) = blob.split_first_chunk::<4>()?;
    (name_ok(name) && !signature.is_empty()).then(|| SignatureLine {
        name: name.to_owned(),
        id: *id,
        signature: signature.to_vec(),
    })
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.lines.iter().try_for_each(|line| line.fmt(f))
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
    }
}
