//! Who cosigns checkpoints: a witness, or a log that signs with a second algorithm.

use std::fmt;
use std::sync::Arc;

use super::cosignature::{ed25519_message, ml_dsa_message};
use super::ml_dsa::MlDsaSecretKey;
use super::note::{InvalidNote, Note, SignatureLine};
use super::sign::{SignError, Signer};
use super::vkey::{InvalidVkey, NoteKey};

/// Who cosigns: a name, and a key that serves nothing else, since the Ed25519 message names no
/// cosigner.
pub struct Cosigner {
    name: String,
    ed25519: Arc<dyn Signer>,
    ml_dsa: Option<MlDsaSecretKey>,
}

impl Cosigner {
    /// A witness, which signs with Ed25519.
    pub fn new(name: &str, ed25519: Arc<dyn Signer>) -> Self {
        Self {
            name: name.to_owned(),
            ed25519,
            ml_dsa: None,
        }
    }

    /// Signs with ML-DSA-44, too.
    #[must_use]
    pub fn and_post_quantum(self, ml_dsa: Option<MlDsaSecretKey>) -> Self {
        Self { ml_dsa, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys that verify its cosignatures.
    pub fn keys(&self) -> Result<Vec<NoteKey>, InvalidVkey> {
        let mut keys = vec![NoteKey::cosigner(&self.name, self.ed25519.public_key())?];
        if let Some(key) = &self.ml_dsa {
            keys.push(NoteKey::ml_dsa(&self.name, key.public_key().clone())?);
        }
        Ok(keys)
    }

    /// Cosigns a checkpoint's text. `time` is in seconds since 1970, and not 0.
    pub fn cosign(&self, text: &str, time: u64) -> Result<Vec<SignatureLine>, CosignError> {
        let mut lines = Vec::new();
        let signature = self.ed25519.sign_message(&ed25519_message(time, text))?;
        let mut signatures = vec![signature.to_vec()];
        if let Some(key) = &self.ml_dsa {
            let message = ml_dsa_message(&self.name, time, text).ok_or(CosignError::Checkpoint)?;
            signatures.push(key.sign(&message).ok_or(CosignError::Refused)?);
        }
        for (key, signature) in self.keys()?.iter().zip(signatures) {
            let blob = [time.to_be_bytes().as_slice(), &signature].concat();
            lines.push(SignatureLine::new(key, blob));
        }
        Ok(lines)
    }

    /// A signed note with this cosigner's lines after those that it has.
    pub fn cosign_note(&self, note: &str, time: u64) -> Result<String, CosignError> {
        let mut note: Note = note.parse()?;
        let lines = self.cosign(note.text(), time)?;
        for line in lines {
            note.add(line);
        }
        Ok(note.to_string())
    }
}

/// A log's checkpoint with its second signature, under the log's own name.
pub fn cosign_as_log(
    origin: &str,
    key: &MlDsaSecretKey,
    note: &str,
    time: u64,
) -> Result<String, CosignError> {
    let mut note: Note = note.parse()?;
    let message = ml_dsa_message(origin, time, note.text()).ok_or(CosignError::Checkpoint)?;
    let signature = key.sign(&message).ok_or(CosignError::Refused)?;
    let blob = [time.to_be_bytes().as_slice(), &signature].concat();
    let key = NoteKey::ml_dsa(origin, key.public_key().clone())?;
    note.add(SignatureLine::new(&key, blob));
    Ok(note.to_string())
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({})", self.name)
    }
}

/// A checkpoint that was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// The Ed25519 key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The ML-DSA-44 key did not sign.
    #[error("the ML-DSA-44 key could not sign")]
    Refused,
    /// It is no checkpoint.
    #[error("what is to be cosigned is no checkpoint")]
    Checkpoint,
    /// It is no note.
    #[error(transparent)]
    Note(#[from] InvalidNote),
    /// The cosigner's own name.
    #[error(transparent)]
    Name(#[from] InvalidVkey),
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::proof::{Checkpoint, Digest, SecretKey};

    #[test]
    fn a_cosignature_holds_for_its_name_key_time_and_checkpoint() {
        let signer = Arc::new(SecretKey::from_seed([7; 32]).unwrap());
        let ml_dsa = MlDsaSecretKey::from_seed(&Zeroizing::new([8; 32])).unwrap();
        let cosigner = Cosigner::new("w.example", signer).and_post_quantum(Some(ml_dsa));
        let checkpoint = Checkpoint {
            origin: "log.example".into(),
            size: 7,
            root: Digest::of(b"root"),
        };
        let mut note = Note::new(checkpoint.to_text()).unwrap();
        for line in cosigner.cosign(note.text(), 1_700_000_000).unwrap() {
            note.add(line);
        }
        let keys = cosigner.keys().unwrap();
        assert_eq!(keys.len(), 2);
        for key in &keys {
            assert_eq!(key.to_string().parse(), Ok(key.clone()));
            let signed = note.signed_by(&[key]).unwrap();
            assert_eq!(signed[0].time, Some(1_700_000_000));
            let text = note.to_string();
            for (from, to) in [("\n7\n", "\n8\n"), ("log.example", "lig.example")] {
                let changed: Note = text.replacen(from, to, 1).parse().unwrap();
                assert_eq!(
                    changed.signed_by(&[key]),
                    Err(InvalidNote::BadSignature("w.example".into()))
                );
            }
        }
    }
}
