//! Fork proofs: two checkpoints of one log, both signed by its key, that cannot both be true.
//!
//! ```text
//! entente/fork-proof/v1
//! first <bytes of the first note>
//! second <bytes of the second note>
//! <hash in base64> ...        what the second tree says of the first one's leaves; none for one size
//! <empty line>
//! <the first note><the second note>
//! ```
//!
//! The hashes lead to the second root (RFC 9162, section 2.1.4.2), which binds them; what they give
//! for the first size is not the first root. Whoever has the log's key can check that, and nobody
//! but its holder can make one.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use thiserror::Error;

use super::base64::decode_base64;
use super::checkpoint::{Checkpoint, read_size};
use super::hash::Digest;
use super::head::InvalidCheckpoint;
use super::merkle::{InvalidProof, roots_from_prefix};
use super::vkey::NoteKey;

/// The first line.
const HEADER: &str = "entente/fork-proof/v1";
/// Hashes of a consistency proof (C2SP tlog-witness), and the first one.
const MAX_PATH: usize = 64;
/// The largest proof that is read.
const MAX_BYTES: usize = 2 * 1024 * 1024 + 8 * 1024;

/// A proof that a log showed two histories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkProof {
    /// The checkpoint of the smaller size.
    pub first: String,
    /// The other.
    pub second: String,
    /// What the second tree says of the first one's leaves: empty where both have one size.
    pub path: Vec<Digest>,
}

/// Text that is no fork proof.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this is no fork proof: {0}")]
pub struct InvalidForkProof(&'static str);

/// A fork proof that proves nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoFork {
    /// A checkpoint is not the log's.
    #[error("one of its checkpoints: {0}")]
    Checkpoint(#[from] InvalidCheckpoint),
    /// The hashes do not lead to the second root.
    #[error("its hashes do not lead to the second checkpoint's root: {0}")]
    Path(#[from] InvalidProof),
    /// The checkpoints agree.
    #[error("its two checkpoints agree: the second log begins with the first")]
    Consistent,
    /// An empty tree is a prefix of every tree, and sizes must rise.
    #[error("its checkpoints are not of two sizes above 0, the smaller first, or of one size")]
    Sizes,
}

/// What was proved: the two heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The smaller head.
    pub first: Checkpoint,
    /// The other.
    pub second: Checkpoint,
}

impl ForkProof {
    /// Verifies that the log with this key contradicted itself.
    pub fn verify(&self, log: &NoteKey) -> Result<Forked, NoFork> {
        let first = Checkpoint::verify(&self.first, log)?;
        let second = Checkpoint::verify(&self.second, log)?;
        if first.size == second.size {
            if !self.path.is_empty() {
                return Err(InvalidProof::Length.into());
            }
            if first.root == second.root {
                return Err(NoFork::Consistent);
            }
            return Ok(Forked { first, second });
        }
        if first.size == 0 || first.size > second.size {
            return Err(NoFork::Sizes);
        }
        let (start, rest) = self.path.split_first().ok_or(InvalidProof::Length)?;
        let (old, new) = roots_from_prefix(first.size, second.size, start, rest)?;
        if new != second.root {
            return Err(InvalidProof::OtherRoot.into());
        }
        if old == first.root {
            return Err(NoFork::Consistent);
        }
        Ok(Forked { first, second })
    }
}

impl fmt::Display for ForkProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        writeln!(f, "first {}", self.first.len())?;
        writeln!(f, "second {}", self.second.len())?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}{}", self.first, self.second)
    }
}

impl FromStr for ForkProof {
    type Err = InvalidForkProof;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = InvalidForkProof;
        if text.len() > MAX_BYTES {
            return Err(invalid("it is too large"));
        }
        let (head, notes) = text
            .split_once("\n\n")
            .ok_or_else(|| invalid("it has no checkpoints"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(invalid("it does not begin as one"));
        }
        let mut length = |name: &str| {
            let line = lines.next()?.strip_prefix(name)?;
            usize::try_from(read_size(line)?).ok()
        };
        let lengths = length("first ").zip(length("second "));
        let (first, second) =
            lengths.ok_or_else(|| invalid("it does not say how long its notes are"))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == MAX_PATH {
                return Err(invalid("it has too many hashes"));
            }
            let hash = decode_base64(line);
            let hash = hash.and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
            path.push(hash.ok_or_else(|| invalid("one of its hashes"))?);
        }
        let whole = first.checked_add(second) == Some(notes.len());
        match notes.split_at_checked(first) {
            Some((first, second)) if whole => Ok(Self {
                first: first.to_owned(),
                second: second.to_owned(),
                path,
            }),
            _ => Err(invalid("its notes are not as long as it says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proof::merkle::{self, leaf_hash};
    use crate::proof::{SecretKey, Signer, tree};

    struct Leaves(Vec<Digest>);

    impl tree::Subtrees for Leaves {
        type Error = std::convert::Infallible;

        fn subtree(&self, level: u32, index: u64) -> Result<Digest, Self::Error> {
            let from = usize::try_from(index << level).unwrap();
            Ok(merkle::root(&self.0[from..from + (1 << level)]))
        }
    }

    fn key() -> (SecretKey, NoteKey) {
        let signer = SecretKey::from_seed([7; 32]).unwrap();
        let key = NoteKey::new("log.example", signer.public_key()).unwrap();
        (signer, key)
    }

    fn note(signer: &SecretKey, leaves: &[Digest]) -> String {
        let checkpoint = Checkpoint {
            origin: "log.example".into(),
            size: leaves.len() as u64,
            root: merkle::root(leaves),
        };
        checkpoint.sign(signer).unwrap()
    }

    fn leaves(count: usize, other_from: usize) -> Vec<Digest> {
        let leaf = |at: usize| leaf_hash(&[&[u8::from(at >= other_from)], &at.to_be_bytes()]);
        (0..count).map(leaf).collect()
    }

    proptest! {
        #[test]
        fn two_histories_are_proved_and_one_is_not(
            small in 1usize..70, more in 0usize..70, differs in 0usize..70
        ) {
            let (signer, key) = key();
            let (one, other) = (leaves(small, usize::MAX), leaves(small + more, differs));
            let path = tree::prefix_path(&Leaves(other.clone()), small as u64, (small + more) as u64);
            let proof = ForkProof {
                first: note(&signer, &one),
                second: note(&signer, &other),
                path: path.unwrap().unwrap_or_default(),
            };
            prop_assert_eq!(proof.to_string().parse(), Ok(proof.clone()));
            if differs < small {
                prop_assert!(proof.verify(&key).is_ok());
            } else {
                prop_assert_eq!(proof.verify(&key), Err(NoFork::Consistent));
            }
            // Whatever else is said of an honest log proves nothing.
            for at in 0..proof.path.len() {
                let mut forged = proof.clone();
                forged.path[at] = Digest::of(b"forged");
                prop_assert!(forged.verify(&key).is_err());
            }
        }
    }

    #[test]
    fn only_what_the_key_signed_is_a_fork() {
        let (signer, key) = key();
        let stranger = SecretKey::from_seed([8; 32]).unwrap();
        let (one, other) = (leaves(5, 9), leaves(5, 2));
        let proof = ForkProof {
            first: note(&signer, &one),
            second: note(&stranger, &other),
            path: vec![],
        };
        assert!(matches!(proof.verify(&key), Err(NoFork::Checkpoint(_))));
        let empty = ForkProof {
            first: note(&signer, &[]),
            second: note(&signer, &other),
            path: vec![],
        };
        assert_eq!(empty.verify(&key), Err(NoFork::Sizes));
        for bad in ["", "entente/fork-proof/v1\nfirst 1\nsecond 1\n\nabc"] {
            assert!(bad.parse::<ForkProof>().is_err(), "{bad}");
        }
        let text = proof.to_string().replacen("first ", "first 0", 1);
        assert!(text.parse::<ForkProof>().is_err());
    }
}
