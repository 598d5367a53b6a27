//! Offline proofs that an entry is in a log (C2SP tlog-proof, v1).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use thiserror::Error;

use super::base64::decode_base64;
use super::checkpoint::read_size;
use super::hash::Digest;
use super::merkle::{InvalidProof, verify_inclusion};
use super::quorum::{Policy, Unwitnessed, Witnessed};

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Hashes on the way from a leaf to the root of the largest tree.
const MAX_PATH: usize = 63;
/// The largest proof that is read: its extra data are an opening, and it has a note.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A proof: of which entry, its path to the root, and the signed root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What only means something to whoever knows the log: not authenticated by itself.
    pub extra: Option<Vec<u8>>,
    /// Which entry, from 0.
    pub index: u64,
    /// From the leaf's sibling upward.
    pub path: Vec<Digest>,
    /// The signed and cosigned checkpoint, verbatim.
    pub checkpoint: String,
}

/// Text that is no proof.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("this is no tlog-proof: {0}")]
pub struct InvalidTlogProof(&'static str);

/// A proof that does not hold.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unproven {
    /// The checkpoint is not believed.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] Unwitnessed),
    /// The path does not lead to the root.
    #[error("the entry is not in the log at this place: {0}")]
    Path(#[from] InvalidProof),
}

impl TlogProof {
    /// Verifies that the entry with this leaf hash is in the log under a checkpoint that a policy
    /// believes.
    pub fn verify(&self, leaf: &Digest, policy: &Policy) -> Result<Witnessed, Unproven> {
        let witnessed = policy.check(&self.checkpoint)?;
        let head = &witnessed.checkpoint;
        verify_inclusion(leaf, self.index, head.size, &self.path, &head.root)?;
        Ok(witnessed)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for TlogProof {
    type Err = InvalidTlogProof;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = InvalidTlogProof;
        if text.len() > MAX_BYTES {
            return Err(invalid("it is too large"));
        }
        let rest = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or_else(|| invalid("it does not begin as one"))?;
        let (head, checkpoint) = rest
            .split_once("\n\n")
            .ok_or_else(|| invalid("it has no checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.and_then(|line| line.strip_prefix("extra "));
        let extra = extra.map(|text| {
            decode_base64(text).ok_or_else(|| invalid("its extra data are not in base64"))
        });
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index
            .and_then(read_size)
            .ok_or_else(|| invalid("it has no index"))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == MAX_PATH {
                return Err(invalid("its path is too long"));
            }
            let hash = decode_base64(line);
            let hash = hash.and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
            path.push(hash.ok_or_else(|| invalid("its path has what is no SHA-256 in base64"))?);
        }
        Ok(Self {
            extra: extra.transpose()?,
            index,
            path,
            checkpoint: checkpoint.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::merkle::{self, leaf_hash};
    use crate::proof::{Checkpoint, NoteKey, SecretKey, Signer};

    fn proof() -> (TlogProof, Digest, Policy) {
        let leaves: Vec<Digest> = (0u8..11).map(|at| leaf_hash(&[&[at]])).collect();
        let signer = SecretKey::from_seed([7; 32]).unwrap();
        let key = NoteKey::new("log.example", signer.public_key()).unwrap();
        let checkpoint = Checkpoint {
            origin: "log.example".into(),
            size: 11,
            root: merkle::root(&leaves),
        };
        let proof = TlogProof {
            extra: Some(b"opening".to_vec()),
            index: 6,
            path: merkle::inclusion_path(&leaves, 6).unwrap(),
            checkpoint: checkpoint.sign(&signer).unwrap(),
        };
        (proof, leaves[6], Policy::of_log(key))
    }

    #[test]
    fn a_proof_is_read_back_and_holds_for_its_entry_at_its_place_only() {
        let (proof, leaf, policy) = proof();
        let text = proof.to_string();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra b3BlbmluZw==\nindex 6\n"));
        assert_eq!(text.parse::<TlogProof>(), Ok(proof.clone()));
        assert_eq!(proof.verify(&leaf, &policy).unwrap().checkpoint.size, 11);
        assert!(proof.verify(&Digest::of(b"other"), &policy).is_err());
        for index in [0, 5, 7, 10, 11, u64::MAX] {
            let moved = TlogProof {
                index,
                ..proof.clone()
            };
            assert!(moved.verify(&leaf, &policy).is_err(), "{index}");
        }
        let mut longer = proof.clone();
        longer.path.push(leaf);
        let mut shorter = proof.clone();
        shorter.path.pop();
        assert!(longer.verify(&leaf, &policy).is_err());
        assert!(shorter.verify(&leaf, &policy).is_err());
        let without = TlogProof {
            extra: None,
            ..proof
        };
        assert_eq!(without.to_string().parse(), Ok(without.clone()));
        assert!(without.verify(&leaf, &policy).is_ok());
    }

    #[test]
    fn what_is_no_proof_is_an_error() {
        let hash = BASE64.encode(&[0; 32]);
        let long = BASE64.encode(&[0; 64]);
        let many = format!("{hash}\n").repeat(64);
        for bad in [
            "wrong\nindex 0\n\ncheckpoint\n".to_owned(),
            format!("{HEADER}\nextra !!\nindex 0\n\ncheckpoint\n"),
            format!("{HEADER}\nextra b25l\nextra dHdv\nindex 0\n\ncheckpoint\n"),
            format!("{HEADER}\n\n\ncheckpoint\n"),
            format!("{HEADER}\nindex x\n\ncheckpoint\n"),
            format!("{HEADER}\nindex -5\n\ncheckpoint\n"),
            format!("{HEADER}\nindex 05\n\ncheckpoint\n"),
            format!("{HEADER}\nindex +5\n\ncheckpoint\n"),
            format!("{HEADER}\nindex 18446744073709551616\n\ncheckpoint\n"),
            format!("{HEADER}\nindex 0\n!!\n\ncheckpoint\n"),
            format!("{HEADER}\nindex 0\n{long}\n\ncheckpoint\n"),
            format!("{HEADER}\nindex 0\n{many}\ncheckpoint\n"),
            format!("{HEADER}\nindex 0\n{hash}\n"),
            format!("{HEADER}\r\nindex 0\n\ncheckpoint\n"),
            String::new(),
        ] {
            assert!(bad.parse::<TlogProof>().is_err(), "{bad}");
        }
    }
}
