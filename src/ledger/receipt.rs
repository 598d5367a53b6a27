//! Receipts: a record's opening with the proof of its place in the log (C2SP tlog-proof). Whoever has
//! one needs nothing else to be believed, and nobody's help.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::opening::{InvalidOpening, RecordOpening, Shown};
use super::record::InvalidRecord;
use crate::proof::{Digest, InvalidTlogProof, Policy, TlogProof, Unproven, Witnessed};

/// A receipt: a tlog-proof whose extra data are the opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What it shows.
    pub opening: RecordOpening,
    /// Position of the record in the log.
    pub position: u64,
    /// From the entry's sibling upward.
    pub path: Vec<Digest>,
    /// The signed and cosigned checkpoint, verbatim.
    pub checkpoint: String,
}

/// What a receipt proved.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// Position of the record in the log.
    pub position: u64,
    /// What it shows of the record.
    pub shown: Shown,
    /// The checkpoint that covers it, and who cosigned it.
    pub witnessed: Witnessed,
}

/// A receipt that proves nothing.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InvalidReceipt {
    /// Not the form of a proof.
    #[error(transparent)]
    Form(#[from] InvalidTlogProof),
    /// It opens nothing.
    #[error("it has no opening, so it does not say what stands in the log")]
    NoOpening,
    /// Its opening cannot be read.
    #[error("its opening cannot be read: {0}")]
    Unreadable(#[from] InvalidRecord),
    /// Its opening does not hold.
    #[error("its opening: {0}")]
    Opening(#[from] InvalidOpening),
    /// The log does not have it, or its checkpoint is not believed.
    #[error(transparent)]
    Unproven(#[from] Unproven),
}

impl Receipt {
    /// Verifies it under a policy, and tells what it shows.
    pub fn verify(&self, policy: &Policy) -> Result<Proven, InvalidReceipt> {
        let (commitment, shown) = self.opening.verify()?;
        let proof = self.proof(None);
        let witnessed = proof.verify(&commitment.leaf_hash(), policy)?;
        Ok(Proven {
            position: self.position,
            shown,
            witnessed,
        })
    }

    fn proof(&self, extra: Option<Vec<u8>>) -> TlogProof {
        TlogProof {
            extra,
            index: self.position,
            path: self.path.clone(),
            checkpoint: self.checkpoint.clone(),
        }
    }
}

/// The text of the tlog-proof.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.proof(Some(self.opening.to_bytes().into())).fmt(f)
    }
}

impl FromStr for Receipt {
    type Err = InvalidReceipt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let proof: TlogProof = text.parse()?;
        let extra = proof.extra.ok_or(InvalidReceipt::NoOpening)?;
        Ok(Self {
            opening: RecordOpening::from_bytes(&extra.into())?,
            position: proof.index,
            path: proof.path,
            checkpoint: proof.checkpoint,
        })
    }
}
