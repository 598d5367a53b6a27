//! Checkpoints (C2SP tlog-checkpoint, v1.0.0): the head of the log as a signed note.

use data_encoding::BASE64;
use thiserror::Error;

use super::hash::Digest;
use super::note::{InvalidNote, Note, NoteKey};
use super::sign::{SignError, Signer};

/// The head of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// Root of its tree.
    pub root: Digest,
}

/// A checkpoint that cannot be believed, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidCheckpoint {
    /// The note.
    #[error(transparent)]
    Note(#[from] InvalidNote),
    /// The text of the note.
    #[error("the checkpoint's {0} cannot be read")]
    Malformed(&'static str),
    /// Another log's.
    #[error("the checkpoint is of `{found}`, not of `{expected}`")]
    OtherOrigin {
        /// Its origin.
        found: String,
        /// The key's name.
        expected: String,
    },
}

impl Checkpoint {
    /// The text of the note.
    pub fn to_text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64.encode(&self.root.0)
        )
    }

    /// Reads the text of a note. Extension lines after the third are passed over.
    pub fn parse(text: &str) -> Result<Self, InvalidCheckpoint> {
        let malformed = InvalidCheckpoint::Malformed;
        let mut lines = text.split_terminator('\n');
        let origin = lines
            .next()
            .filter(|line| !line.is_empty())
            .ok_or_else(|| malformed("origin"))?;
        let size = lines
            .next()
            .and_then(read_size)
            .ok_or_else(|| malformed("size"))?;
        let root = lines
            .next()
            .and_then(|line| BASE64.decode(line.as_bytes()).ok());
        let root = root.and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root: root.ok_or_else(|| malformed("root"))?,
        })
    }

    /// The signed note, under the origin as the key's name.
    pub fn sign(&self, signer: &dyn Signer) -> Result<String, SignError> {
        let failed = |error: InvalidNote| SignError {
            key: signer.public_key().id(),
            reason: error.to_string(),
        };
        let mut note = Note::new(self.to_text()).map_err(failed)?;
        note.sign(&self.origin, signer)?;
        Ok(note.to_string())
    }

    /// Verifies a signed note with the log's key, whose name is the origin.
    pub fn verify(note: &str, key: &NoteKey) -> Result<Self, InvalidCheckpoint> {
        let note: Note = note.parse()?;
        let checkpoint = Self::parse(note.verify(&[key])?)?;
        if checkpoint.origin != key.name() {
            let (found, expected) = (checkpoint.origin, key.name().to_owned());
            return Err(InvalidCheckpoint::OtherOrigin { found, expected });
        }
        Ok(checkpoint)
    }
}

/// Decimal digits without sign, space or leading zero.
fn read_size(line: &str) -> Option<u64> {
    let plain = line.bytes().all(|b| b.is_ascii_digit()) && (line == "0" || !line.starts_with('0'));
    plain.then(|| line.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SecretKey;

    #[test]
    fn a_checkpoint_verifies_under_its_own_key_only() {
        let signer = SecretKey::from_seed([7; 32]).unwrap();
        let key = NoteKey::new("alliance.example/log", signer.public_key()).unwrap();
        let checkpoint = Checkpoint {
            origin: "alliance.example/log".into(),
            size: 7,
            root: Digest::of(b"x"),
        };
        let note = checkpoint.sign(&signer).unwrap();
        assert_eq!(Checkpoint::verify(&note, &key).unwrap(), checkpoint);
        let other = NoteKey::new("other.example/log", signer.public_key()).unwrap();
        assert!(Checkpoint::verify(&note, &other).is_err());
        assert!(Checkpoint::verify(&note.replace("\n7\n", "\n8\n"), &key).is_err());
    }

    #[test]
    fn sizes_are_plain_decimal_numbers() {
        let root = BASE64.encode(&[0; 32]);
        let read = |size: &str| Checkpoint::parse(&format!("origin\n{size}\n{root}\n"));
        assert_eq!(read("18446744073709551615").unwrap().size, u64::MAX);
        assert_eq!(read("0").unwrap().size, 0);
        for bad in [
            "+5",
            "05",
            "",
            " 5",
            "5 ",
            "18446744073709551616",
            "-1",
            "0x5",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
