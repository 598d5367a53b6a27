//! Signed checkpoints: the head of a log as a note that its key signed.

use thiserror::Error;

use super::checkpoint::{Checkpoint, MalformedCheckpoint};
use super::note::{InvalidNote, Note};
use super::sign::{SignError, Signer};
use super::vkey::{InvalidVkey, NoteKey};

/// A checkpoint that cannot be believed, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidCheckpoint {
    /// The note.
    #[error(transparent)]
    Note(#[from] InvalidNote),
    /// The text of the note.
    #[error(transparent)]
    Malformed(#[from] MalformedCheckpoint),
    /// The key that should verify it.
    #[error(transparent)]
    Key(#[from] InvalidVkey),
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
        Self::of_note(&note.parse()?, key)
    }

    /// As [`Checkpoint::verify`], of a note that was read.
    pub fn of_note(note: &Note, key: &NoteKey) -> Result<Self, InvalidCheckpoint> {
        let checkpoint = Self::parse(note.verify(&[key])?)?;
        if checkpoint.origin != key.name() {
            let (found, expected) = (checkpoint.origin, key.name().to_owned());
            return Err(InvalidCheckpoint::OtherOrigin { found, expected });
        }
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Digest, SecretKey};

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
}
