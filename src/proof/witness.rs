//! What a witness answers (C2SP tlog-witness, v1.0.0, with the edits of 2026-07).
//!
//! ```text
//! -> old <size>\n (base64 hash\n)* \n checkpoint           at most 63 hashes
//! <- signature lines                                       200
//! <- <size>\n                                              409
//! <- a sentence                                            400, 403, 404, 422
//! ```
//!
//! Whoever calls [`AddCheckpoint::judge`] keeps what it gave for the next call, durably, before it
//! answers, and lets nobody else in between.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use thiserror::Error;

use super::base64::decode_base64;
use super::checkpoint::{Checkpoint, read_size};
use super::hash::Digest;
use super::merkle::verify_consistency;
use super::note::{InvalidNote, Note};
use super::vkey::NoteKey;

/// Hashes of a consistency proof.
const MAX_PATH: usize = 63;
/// The largest request: a note of the largest size.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024 + 8 * 1024;
/// Media type of the answer that tells the size.
pub const SIZE_MEDIA_TYPE: &str = "text/x.tlog.size";

/// A request to cosign a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness cosigned last, as far as the log knows.
    pub old: u64,
    /// That the log grew from there.
    pub proof: Vec<Digest>,
    /// The checkpoint, signed by the log.
    pub note: String,
}

/// Why a witness does not cosign.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WitnessRefusal {
    /// Not the form of a request.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// The log's key did not sign it, or another signature of a known key is bad.
    #[error("the checkpoint is not signed by the log's key")]
    NotSigned,
    /// Of a log that is not witnessed here.
    #[error("the log is not known to this witness")]
    UnknownLog,
    /// The old size is not the one that was cosigned last, which is this one.
    #[error("the size that was cosigned last is {0}")]
    Conflict(u64),
    /// The log did not only grow.
    #[error("the checkpoint is not consistent with the one that was cosigned last")]
    Inconsistent,
}

impl WitnessRefusal {
    /// The status code of HTTP that the specification gives it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::NotSigned => 403,
            Self::UnknownLog => 404,
            Self::Conflict(_) => 409,
            Self::Inconsistent => 422,
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> String {
        match self {
            Self::Conflict(size) => format!("{size}\n"),
            other => format!("{other}\n"),
        }
    }
}

impl AddCheckpoint {
    /// The origin of the log that it is about.
    pub fn origin(&self) -> &str {
        self.note.split('\n').next().unwrap_or_default()
    }

    /// What is to be cosigned, or why it is not. `log` is the key of the log of this origin, and
    /// `latest` what was cosigned for it last.
    pub fn judge(
        &self,
        log: Option<&NoteKey>,
        latest: Option<&Checkpoint>,
    ) -> Result<Checkpoint, WitnessRefusal> {
        let note: Note = self
            .note
            .parse()
            .map_err(|_| WitnessRefusal::Malformed("its checkpoint is no note"))?;
        let checkpoint = Checkpoint::parse(note.text())
            .map_err(|_| WitnessRefusal::Malformed("its note is no checkpoint"))?;
        let log = log
            .filter(|key| key.name() == checkpoint.origin)
            .ok_or(WitnessRefusal::UnknownLog)?;
        note.verify(&[log])
            .map_err(|_: InvalidNote| WitnessRefusal::NotSigned)?;
        if self.old > checkpoint.size {
            return Err(WitnessRefusal::Malformed(
                "its old size is larger than the checkpoint's",
            ));
        }
        let size = latest.map_or(0, |latest| latest.size);
        if self.old != size {
            return Err(WitnessRefusal::Conflict(size));
        }
        let empty = Digest::of(&[]);
        let root = latest.map_or(empty, |latest| latest.root);
        let (old, new) = (self.old, checkpoint.size);
        verify_consistency(old, new, &root, &checkpoint.root, &self.proof)
            .map_err(|_| WitnessRefusal::Inconsistent)?;
        if new == 0 && checkpoint.root != empty {
            return Err(WitnessRefusal::Inconsistent);
        }
        Ok(checkpoint)
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for AddCheckpoint {
    type Err = WitnessRefusal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = WitnessRefusal::Malformed;
        if text.len() > MAX_REQUEST_BYTES {
            return Err(malformed("it is too large"));
        }
        let (head, note) = text
            .split_once("\n\n")
            .ok_or_else(|| malformed("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old
            .and_then(read_size)
            .ok_or_else(|| malformed("it has no old size"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PATH {
                return Err(malformed("it has more than 63 hashes"));
            }
            let hash = decode_base64(line);
            let hash = hash.and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
            proof.push(hash.ok_or_else(|| malformed("one of its hashes"))?);
        }
        Ok(Self {
            old,
            proof,
            note: note.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::merkle::{self, leaf_hash};
    use crate::proof::{SecretKey, Signer};

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count)
            .map(|at| leaf_hash(&[&at.to_be_bytes()]))
            .collect()
    }

    fn head(count: usize) -> Checkpoint {
        Checkpoint {
            origin: "log.example".into(),
            size: count as u64,
            root: merkle::root(&leaves(count)),
        }
    }

    fn signer() -> SecretKey {
        SecretKey::from_seed([7; 32]).unwrap()
    }

    fn log() -> NoteKey {
        NoteKey::new("log.example", signer().public_key()).unwrap()
    }

    fn request(old: usize, new: usize) -> AddCheckpoint {
        AddCheckpoint {
            old: old as u64,
            proof: merkle::consistency_path(&leaves(new), old).unwrap_or_default(),
            note: head(new).sign(&signer()).unwrap(),
        }
    }

    #[test]
    fn a_log_that_only_grows_is_cosigned() {
        for (old, new) in [(0, 0), (0, 1), (1, 1), (1, 8), (7, 8), (8, 13), (13, 13)] {
            let request = request(old, new);
            assert_eq!(request.to_string().parse(), Ok(request.clone()));
            let latest = (old > 0).then(|| head(old));
            assert_eq!(request.judge(Some(&log()), latest.as_ref()), Ok(head(new)));
        }
    }

    #[test]
    fn each_fault_has_the_status_of_the_specification() {
        let status = |request: &AddCheckpoint, latest: Option<Checkpoint>| {
            let judged = request.judge(Some(&log()), latest.as_ref());
            judged.unwrap_err().status()
        };
        let good = request(5, 9);
        assert_eq!(status(&good, None), 409);
        assert_eq!(status(&good, Some(head(6))), 409);
        assert_eq!(
            good.judge(Some(&log()), Some(&head(6))).unwrap_err().body(),
            "6\n"
        );
        let larger = AddCheckpoint {
            old: 10,
            ..good.clone()
        };
        assert_eq!(status(&larger, Some(head(10))), 400);
        assert_eq!(good.judge(None, None).unwrap_err().status(), 404);
        let other = NoteKey::new("other.example", signer().public_key()).unwrap();
        assert_eq!(good.judge(Some(&other), None).unwrap_err().status(), 404);
        let stranger = SecretKey::from_seed([8; 32]).unwrap();
        let unsigned = AddCheckpoint {
            note: head(9).sign(&stranger).unwrap(),
            ..good.clone()
        };
        assert_eq!(status(&unsigned, Some(head(5))), 403);
        let mut bad = good.clone();
        bad.proof[0] = Digest::of(b"other");
        assert_eq!(status(&bad, Some(head(5))), 422);
        let forked = Checkpoint {
            root: Digest::of(b"fork"),
            ..head(5)
        };
        assert_eq!(status(&good, Some(forked.clone())), 422);
        assert_eq!(status(&request(5, 5), Some(forked)), 422);
        let mut proof = request(0, 5);
        proof.proof.push(Digest::of(b"x"));
        assert_eq!(status(&proof, None), 422);
        let nonempty = Checkpoint {
            root: Digest::of(b"x"),
            ..head(0)
        };
        let nonempty = AddCheckpoint {
            old: 0,
            proof: vec![],
            note: nonempty.sign(&signer()).unwrap(),
        };
        assert_eq!(status(&nonempty, None), 422);
    }

    #[test]
    fn what_is_no_request_is_malformed() {
        let note = head(1).sign(&signer()).unwrap();
        let hash = BASE64.encode(&[0; 32]);
        let many = format!("{hash}\n").repeat(64);
        for bad in [
            String::new(),
            format!("old 0\n{note}"),
            format!("old 05\n\n{note}"),
            format!("old +5\n\n{note}"),
            format!("old  5\n\n{note}"),
            format!("old 18446744073709551616\n\n{note}"),
            format!("old 0\nabc\n\n{note}"),
            format!("old 0\n{many}\n{note}"),
        ] {
            let error = bad.parse::<AddCheckpoint>().unwrap_err();
            assert_eq!(error.status(), 400, "{bad}");
        }
    }
}
