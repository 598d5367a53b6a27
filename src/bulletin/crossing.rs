//! A crossing: a partner of two ledgers carries a bulletin from one into the other. What it publishes there
//! repeats the original's header, the proof that its originator signed it, and the leaves of the parts that
//! are not there; so whoever has the originator's key verifies the original, whoever carried it.
//!
//! ```text
//! id = UUID of the first 16 bytes of SHA-256("entente/crossing/v1\n" || ledger it goes into
//!                                            || SHA-256(original header))
//! ```
//!
//! The id follows from the ledger and the original, and a ledger takes an id once: so an original enters a
//! ledger once, whoever carries it and however often.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::error::Refused;
use super::header::{BulletinId, Header};
use super::labels::Caveat;
use super::open::{BulletinKeys, burst_root, find_key};
use super::originator::Originator;
use super::seal::{BurstProof, burst_payload};
use crate::clock::Timestamp;
use crate::proof::{Digest, Hasher, PayloadType, merkle, verify};

/// The most ledgers through which a bulletin comes.
pub const MAX_HOPS: usize = 8;
/// The most parts of an original that are missing: their leaves are in the header.
pub const MAX_MISSING: usize = 1_024;

/// Where a bulletin comes from that was carried from one ledger into another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The id of the ledger for which it is made: no other takes it.
    pub into: Digest,
    /// The ledgers through which it came, the first first: there its originator published it.
    pub path: Vec<Digest>,
    /// The header as its originator signed it.
    pub header: Bytes,
    /// What that header says.
    pub original: Box<Header>,
    /// Proves that the originator signed it.
    pub burst: BurstProof,
    /// Parts of the original that are not here: their index in it, and the hash of their leaf.
    pub missing: BTreeMap<u32, Digest>,
    /// The ledgers into which the clauses under which it came let it be carried.
    pub federation: BTreeSet<Digest>,
    /// Its contents are to be deleted then; `None`: they may be kept.
    pub keep_until: Option<Timestamp>,
    /// Words for what it may be used for; `None`: anything.
    pub purposes: Option<BTreeSet<String>>,
    /// The laws or treaties under which it was given.
    pub legal_bases: Vec<String>,
    /// No ledger takes it from then on: the one it comes from may have changed its mind.
    pub lease_until: Timestamp,
    /// C2SP tlog-proofs of the ledgers of the path.
    pub receipts: Vec<String>,
}

impl Crossing {
    /// The id under which an original enters a ledger.
    pub fn id(into: &Digest, original: &Digest) -> BulletinId {
        let hash = Hasher::new()
            .chain(b"entente/crossing/v1\n")
            .chain(into.as_bytes())
            .chain(original.as_bytes())
            .finish();
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        BulletinId::from_random(id)
    }

    /// SHA-256 of the original's header.
    pub fn original_hash(&self) -> Digest {
        Digest::of(&self.header)
    }

    /// Whether a path may go on into a ledger: it has not been there, and the way is not too long.
    pub fn check_path(path: &[Digest], into: &Digest) -> Result<(), Refused> {
        if path.is_empty() || path.len() > MAX_HOPS {
            return Err(Refused::Count {
                what: "ledgers in its path",
                count: path.len(),
                limit: MAX_HOPS,
            });
        }
        let mut ledgers: BTreeSet<&Digest> = BTreeSet::from([into]);
        match path.iter().find(|ledger| !ledgers.insert(ledger)) {
            Some(twice) => Err(Refused::Loop(*twice)),
            None => Ok(()),
        }
    }

    /// Whether an original may be carried at all, whatever agreements say.
    pub fn check_original(original: &Header) -> Result<(), Refused> {
        let refused = |reason: &str| Err(Refused::Crossing(reason.to_owned()));
        if original.crossing.is_some() {
            return refused("its original came from another ledger itself");
        }
        if original.notice {
            return refused(
                "a notice is carried by nobody: whoever carried its bulletin gives another",
            );
        }
        if original.audience_part {
            return refused("its originator keeps its recipients from one another");
        }
        if original.passes_on().next().is_some() {
            return refused("it passes on what another partner published");
        }
        if original.caveats.contains(&Caveat::Orcon) {
            return refused("its originator must consent to each step (ORCON)");
        }
        Ok(())
    }

    /// The rules that hold between a header and the crossing in it.
    pub(super) fn check(&self, header: &Header) -> Result<(), Refused> {
        let refused = |reason: &str| Err(Refused::Crossing(reason.to_owned()));
        Self::check_path(&self.path, &self.into)?;
        Self::check_original(&self.original)?;
        if header.id != Self::id(&self.into, &self.original_hash()) {
            return refused("its id is not the one under which its original enters this ledger");
        }
        if header.originator.partner().is_none()
            || header.notice
            || header.audience_part
            || !header.references.is_empty()
        {
            return refused(
                "whoever carries it gives its name, hides no recipients, and does nothing else",
            );
        }
        if !self.federation.contains(&self.into) {
            return refused("the clauses under which it came do not let it into this ledger");
        }
        check_labels(header, &self.original)?;
        let within = |index: &u32| *index < self.original.part_count;
        let all = u64::from(header.part_count) + self.missing.len() as u64;
        if !self.missing.keys().all(within) || all != u64::from(self.original.part_count) {
            return refused("its parts and those that are missing are not all of the original");
        }
        Ok(())
    }

    /// Checks that these leaves, with those that are missing, are the original's.
    pub(super) fn check_leaves(&self, here: &[Digest]) -> Result<(), Refused> {
        let mut here = here.iter();
        let mut leaves = Vec::with_capacity(here.len() + self.missing.len());
        for index in 0..self.original.part_count {
            let missing = self.missing.get(&index);
            let Some(leaf) = missing.or_else(|| here.next()) else {
                break;
            };
            leaves.push(*leaf);
        }
        if here.next().is_some() || merkle::root(&leaves) != self.original.parts_root {
            let reason = "its parts are not those that the originator signed".to_owned();
            return Err(Refused::Crossing(reason));
        }
        Ok(())
    }

    /// Verifies the originator's signature over the original's header. The parts were compared with it when
    /// the bulletin was opened.
    pub fn verify(&self, keys: &dyn BulletinKeys) -> Result<(), Refused> {
        let original = &self.original;
        let signature = &self.burst.signature;
        if signature.key_id != original.signing_key {
            return Err(Refused::EnvelopeContradicts("burst.signature.key_id"));
        }
        let key = match &original.originator {
            Originator::Partner(partner) => {
                find_key(keys, partner, &original.signing_key, original.created)?
            }
            Originator::Pseudonym(pseudonym) => pseudonym.key,
        };
        let root = burst_root(&self.burst, &self.original_hash())?;
        let payload = burst_payload(self.burst.size, &root);
        verify(&key, PayloadType::Burst, &payload, signature).map_err(|_| Refused::BadSignature)
    }
}

/// Whoever carries a bulletin says of it what its originator said: what is weaker could go further.
fn check_labels(header: &Header, original: &Header) -> Result<(), Refused> {
    let same = header.kinds == original.kinds
        && header.topics == original.topics
        && header.regions == original.regions
        && header.tlp == original.tlp
        && header.classification == original.classification
        && header.precedence == original.precedence
        && header.exercise == original.exercise
        && header.admiralty == original.admiralty;
    let kept = |caveat| header.caveats.contains(caveat);
    let named = &original.releasable_to;
    let within = named.is_empty()
        || !header.releasable_to.is_empty()
            && header.releasable_to.iter().all(|one| named.contains(one));
    let narrower = original.caveats.iter().all(kept)
        && header.valid_from >= original.valid_from
        && header.valid_until <= original.valid_until
        && within;
    if same && narrower {
        return Ok(());
    }
    let reason = "its labels are not those of its original".to_owned();
    Err(Refused::Crossing(reason))
}
