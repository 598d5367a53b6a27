//! Opening: the only maker of a [`Verified`] bulletin.
//!
//! What was signed is checked before it is read, and what is handed on are the bytes that were
//! checked (DSSE protocol, "verify, then parse").

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use super::content::Content;
use super::crossing::Crossing;
use super::error::{MAX_BURST, MAX_NAME_BYTES, MAX_PART_BYTES, MAX_PARTS, Refused};
use super::header::Header;
use super::labels::{Labels, Marking, PartClass, PartLabels};
use super::mention::mentions;
use super::originator::{Disguise, Identity, Originator};
use super::part::{OpenPart, Part, PartDigest};
use super::seal::{BurstProof, Sealed, burst_leaf, burst_payload};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::{Digest, KeyId, PayloadType, PublicKey, Signature, merkle, verify};

/// How far ahead of ours a publisher's clock may be.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Finds the key with which a partner signs bulletins.
pub trait BulletinKeys {
    /// The partner's key with this id, where it may sign bulletins at this moment.
    fn bulletin_key(&self, partner: &PartnerId, key: &KeyId, at: Timestamp) -> Option<PublicKey>;
}

/// Bursts whose signature was verified before, so that a burst costs one verification and not one
/// for each of its bulletins. Remembers the exact signature: another one over the same tree is
/// verified anew. Forgets the oldest.
#[derive(Debug)]
pub struct VerifiedBursts {
    known: HashSet<BurstKey>,
    order: VecDeque<BurstKey>,
    capacity: usize,
}

type BurstKey = (PublicKey, u32, Digest, [u8; 64]);

impl VerifiedBursts {
    /// Remembers up to `capacity` bursts.
    pub fn new(capacity: usize) -> Self {
        Self {
            known: HashSet::new(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    fn check(
        &mut self,
        key: &PublicKey,
        size: u32,
        root: Digest,
        signature: &Signature,
    ) -> Result<(), Refused> {
        let burst = (*key, size, root, signature.bytes);
        if self.known.contains(&burst) {
            return Ok(());
        }
        verify(
            key,
            PayloadType::Burst,
            &burst_payload(size, &root),
            signature,
        )
        .map_err(|_| Refused::BadSignature)?;
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(burst);
        self.known.insert(burst);
        Ok(())
    }
}

/// A bulletin whose signature, root and form hold. Made by [`open`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    sealed: Sealed,
    header: Header,
    header_hash: Digest,
    /// `None` where the part is withheld.
    digests: Vec<Option<PartDigest>>,
    /// Who stands behind a pseudonym, where that part is open, and bound to it.
    identity: Option<Identity>,
}

/// Opens a sealed bulletin: reads the header, finds the originator's key as of `at`, verifies
/// burst, root, counts and markings.
pub fn open(
    sealed: Sealed,
    at: Timestamp,
    keys: &dyn BulletinKeys,
    bursts: &mut VerifiedBursts,
) -> Result<Verified, Refused> {
    let header_hash = sealed.header_hash();
    // Which key to verify with can only be learned from the header itself; nothing else of it is
    // used before its signature holds.
    let header = Header::from_bytes(&sealed.header)?;
    let signed = SignedHeader {
        header: &header,
        hash: header_hash,
        burst: &sealed.burst,
    };
    signed.verify(at, keys, bursts)?;

    if sealed.id != header.id {
        return Err(Refused::EnvelopeContradicts("id"));
    }
    if sealed.precedence != header.precedence {
        return Err(Refused::EnvelopeContradicts("precedence"));
    }
    let digests = check_parts(&sealed.parts, &header)?;
    let identity = identity_part(&sealed.parts)?;
    let identity = identity
        .map(|part| check_identity(&header, part, at, keys))
        .transpose()?;
    Ok(Verified {
        sealed,
        header,
        header_hash,
        digests,
        identity,
    })
}

/// A header that was read, with what proves its originator's signature: what a ledger keeps of a bulletin. Whoever
/// makes one has read the header from the bytes that the hash is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedHeader<'a> {
    /// What the signed bytes say.
    pub(crate) header: &'a Header,
    /// SHA-256 of those bytes.
    pub(crate) hash: Digest,
    /// Proves the signature.
    pub(crate) burst: &'a BurstProof,
}

impl SignedHeader<'_> {
    /// Verifies the originator's signature, by the key that is its as of `at`.
    pub(crate) fn verify(
        &self,
        at: Timestamp,
        keys: &dyn BulletinKeys,
        bursts: &mut VerifiedBursts,
    ) -> Result<(), Refused> {
        let (header, burst) = (self.header, self.burst);
        if burst.signature.key_id != header.signing_key {
            return Err(Refused::EnvelopeContradicts("burst.signature.key_id"));
        }
        let key = match &header.originator {
            Originator::Partner(partner) => find_key(keys, partner, &header.signing_key, at)?,
            // Whose it is, the identity says.
            Originator::Pseudonym(pseudonym) => pseudonym.key,
        };
        let root = burst_root(burst, &self.hash)?;
        bursts.check(&key, burst.size, root, &burst.signature)
    }

    /// Checks that these are the leaves of the bulletin's parts.
    #[cfg(feature = "programs")]
    pub(crate) fn check_leaves(&self, leaves: &[Digest]) -> Result<(), Refused> {
        check_count(leaves.len(), self.header)?;
        check_leaves(leaves, self.header)
    }
}

pub(super) fn find_key(
    keys: &dyn BulletinKeys,
    partner: &PartnerId,
    key: &KeyId,
    at: Timestamp,
) -> Result<PublicKey, Refused> {
    keys.bulletin_key(partner, key, at)
        .ok_or_else(|| Refused::UnknownKey {
            key: *key,
            originator: partner.clone(),
        })
}

/// Checks that the partner whom an identity names has bound the header's pseudonym to itself.
pub fn check_identity(
    header: &Header,
    part: &OpenPart,
    at: Timestamp,
    keys: &dyn BulletinKeys,
) -> Result<Identity, Refused> {
    let pseudonym = header.originator.pseudonym().ok_or(Refused::Identity)?;
    let identity = read_identity(&part.body)?;
    let by = find_key(keys, &identity.partner, &identity.signature.key_id, at)?;
    if !identity.binds(&pseudonym.key, &by) {
        return Err(Refused::Unbound(identity.partner));
    }
    Ok(identity)
}

pub(super) fn burst_root(burst: &BurstProof, header_hash: &Digest) -> Result<Digest, Refused> {
    let well_formed = burst.size.is_power_of_two() && burst.size <= MAX_BURST;
    if !well_formed {
        return Err(Refused::NotInBurst);
    }
    let leaf = burst_leaf(header_hash);
    merkle::root_from_path(&leaf, burst.index.into(), burst.size.into(), &burst.path)
        .map_err(|_| Refused::NotInBurst)
}

/// Verifies the original of a bulletin that was carried from another ledger: that its originator signed its
/// header, and that the parts that are here and those that are missing are its parts. Of who carried it nothing
/// is verified.
pub fn open_original(sealed: &Sealed, keys: &dyn BulletinKeys) -> Result<Box<Crossing>, Refused> {
    let header = Header::from_bytes(&sealed.header)?;
    check_parts(&sealed.parts, &header)?;
    let none = || Refused::Crossing("it came from no other ledger".to_owned());
    let crossing = header.crossing.ok_or_else(none)?;
    crossing.verify(keys)?;
    Ok(crossing)
}

fn check_parts(parts: &[Part], header: &Header) -> Result<Vec<Option<PartDigest>>, Refused> {
    let count = parts.len();
    check_count(count, header)?;
    let mut digests = Vec::with_capacity(count);
    let mut leaves = Vec::with_capacity(count);
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Open(part) => {
                check_open_part(at, part, header)?;
                let digest = part.digest();
                leaves.push(digest.leaf());
                digests.push(Some(digest));
            }
            Part::Withheld(leaf) => {
                leaves.push(*leaf);
                digests.push(None);
            }
        }
    }
    check_leaves(&leaves, header)?;
    Ok(digests)
}

fn check_count(count: usize, header: &Header) -> Result<(), Refused> {
    if count == 0 || count > MAX_PARTS {
        return Err(Refused::Count {
            what: "parts",
            count,
            limit: MAX_PARTS,
        });
    }
    if u32::try_from(count) != Ok(header.part_count) {
        return Err(Refused::EnvelopeContradicts("parts"));
    }
    Ok(())
}

fn check_leaves(leaves: &[Digest], header: &Header) -> Result<(), Refused> {
    if merkle::root(leaves) != header.parts_root {
        return Err(Refused::WrongRoot);
    }
    match &header.crossing {
        Some(crossing) => crossing.check_leaves(leaves),
        None => Ok(()),
    }
}

fn check_open_part(at: usize, part: &OpenPart, header: &Header) -> Result<(), Refused> {
    if part.body.len() > MAX_PART_BYTES {
        let (what, bytes) = (format!("part {at}"), part.body.len());
        return Err(Refused::TooLarge {
            what,
            bytes,
            limit: MAX_PART_BYTES,
        });
    }
    if part.class.is_empty() || part.class.len() > MAX_NAME_BYTES {
        let (what, bytes) = (format!("class of part {at}"), part.class.len());
        return Err(Refused::TooLarge {
            what,
            bytes,
            limit: MAX_NAME_BYTES,
        });
    }
    let for_broker = [PartClass::Audience, PartClass::Identity];
    let for_broker = for_broker.iter().any(|class| class.as_str() == part.class);
    if for_broker && part.marking != Marking::default() {
        return Err(Refused::MarkedPart(at));
    }
    check_marking(at, part, header)
}

fn check_marking(at: usize, part: &OpenPart, header: &Header) -> Result<(), Refused> {
    let weaker_tlp = part.marking.tlp.is_some_and(|tlp| tlp < header.tlp);
    let weaker_level = part.marking.level.is_some_and(|level| {
        header
            .classification
            .as_ref()
            .is_some_and(|whole| level < whole.level)
    });
    if weaker_tlp || weaker_level {
        Err(Refused::WeakMarking(at))
    } else {
        Ok(())
    }
}

impl Verified {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// SHA-256 of the header's bytes.
    pub fn header_hash(&self) -> Digest {
        self.header_hash
    }

    /// Who published it, where that is to be seen: by its name, or by the identity behind its
    /// pseudonym.
    pub fn originator(&self) -> Option<&PartnerId> {
        let behind = self.identity.as_ref().map(|identity| &identity.partner);
        self.header.originator.partner().or(behind)
    }

    /// Who stands behind the pseudonym, where that part is open.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The bulletin as it travelled.
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// Gives back the bulletin as it travelled.
    pub fn into_sealed(self) -> Sealed {
        self.sealed
    }

    /// Takes a bulletin for publication: from its originator, whole, and of this time.
    pub fn into_submission(
        self,
        partner: &PartnerId,
        now: Timestamp,
    ) -> Result<Submission, Refused> {
        let header = &self.header;
        let (originator, disguise) = header.author(self.identity.as_ref())?;
        if originator != *partner {
            let partner = partner.clone();
            return Err(Refused::NotOriginator {
                partner,
                originator,
            });
        }
        if header.created > now.saturating_add(MAX_CLOCK_SKEW) {
            return Err(Refused::FromTheFuture {
                created: header.created,
                now,
            });
        }
        if header.valid_until <= now {
            return Err(Refused::Expired(header.valid_until));
        }
        let mut digests = Vec::with_capacity(self.digests.len());
        for (at, digest) in self.digests.iter().enumerate() {
            digests.push(digest.clone().ok_or(Refused::PartMissing(at))?);
        }
        let audience = audience(&self.sealed.parts, header.audience_part)?;
        let named = audience.as_ref().map(|(_, partners)| partners);
        let labels = header.labels(originator, disguise, named);
        let mentions = mentions(&self.sealed.parts)?;
        let part_labels = digests
            .iter()
            .zip(&mentions)
            .map(|(digest, mentions)| digest.labels(mentions))
            .collect();
        let audience = audience.map(|(part, _)| part.clone());
        let identity = identity_part(&self.sealed.parts)?.cloned();
        Ok(Submission {
            bulletin: self,
            digests,
            labels,
            part_labels,
            audience,
            identity,
        })
    }
}

/// A verified bulletin, whole, from its originator: what the sequencer takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    bulletin: Verified,
    digests: Vec<PartDigest>,
    labels: Labels,
    part_labels: Vec<PartLabels>,
    audience: Option<OpenPart>,
    identity: Option<OpenPart>,
}

impl Submission {
    /// The verified bulletin.
    pub fn bulletin(&self) -> &Verified {
        &self.bulletin
    }

    /// What the ledger keeps of the parts.
    pub fn digests(&self) -> &[PartDigest] {
        &self.digests
    }

    /// What the decision looks at in the header.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What the decision looks at in the parts.
    pub fn part_labels(&self) -> &[PartLabels] {
        &self.part_labels
    }

    /// Lets no part name another: for ledgers whose rules did not look for that.
    pub fn forget_mentions(&mut self) {
        for part in &mut self.part_labels {
            part.mentions.clear();
        }
    }

    /// The part that only the broker sees.
    pub fn audience(&self) -> Option<&OpenPart> {
        self.audience.as_ref()
    }

    /// The part that says who stands behind the pseudonym.
    pub fn identity(&self) -> Option<&OpenPart> {
        self.identity.as_ref()
    }

    /// For the ledger.
    pub fn into_recorded(self) -> Recorded {
        let Verified { sealed, header, .. } = self.bulletin;
        let mentions = self.part_labels.into_iter().map(|part| part.mentions);
        Recorded {
            sealed,
            header,
            digests: self.digests,
            mentions: mentions.collect(),
            audience: self.audience,
            identity: self.identity,
        }
    }
}

/// What the ledger keeps of a submission, and the bulletin itself.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The bulletin as it travelled.
    pub sealed: Sealed,
    /// What its header says.
    pub header: Header,
    /// What the leaves of its parts commit to.
    pub digests: Vec<PartDigest>,
    /// For each part, the parts that it names.
    pub mentions: Vec<Vec<u32>>,
    /// The part that only the broker sees.
    pub audience: Option<OpenPart>,
    /// The part that says who stands behind the pseudonym.
    pub identity: Option<OpenPart>,
}

/// The one audience part, where the header announces one; an error where header and parts differ.
fn audience(
    parts: &[Part],
    announced: bool,
) -> Result<Option<(&OpenPart, BTreeSet<PartnerId>)>, Refused> {
    let class = PartClass::Audience.as_str();
    let mut found = parts.iter().filter_map(|part| match part {
        Part::Open(part) if part.class == class => Some(part),
        _ => None,
    });
    match (found.next(), found.next(), announced) {
        (None, None, false) => Ok(None),
        (Some(part), None, true) => Ok(Some((part, read_audience(&part.body)?))),
        _ => Err(Refused::Audience),
    }
}

impl Header {
    /// Who published it by its own name, and what a decision looks at in its pseudonym; an error
    /// where name, pseudonym and identity do not fit together.
    pub fn author(
        &self,
        identity: Option<&Identity>,
    ) -> Result<(PartnerId, Option<Disguise>), Refused> {
        match (&self.originator, identity) {
            (Originator::Partner(partner), None) => Ok((partner.clone(), None)),
            (Originator::Pseudonym(pseudonym), Some(identity)) => {
                let disguise = Disguise::of(pseudonym, identity);
                Ok((identity.partner.clone(), Some(disguise)))
            }
            _ => Err(Refused::Identity),
        }
    }
}

/// The one open part of class `identity`, where there is one.
fn identity_part(parts: &[Part]) -> Result<Option<&OpenPart>, Refused> {
    let class = PartClass::Identity.as_str();
    let mut found = parts.iter().filter_map(|part| match part {
        Part::Open(part) if part.class == class => Some(part),
        _ => None,
    });
    match (found.next(), found.next()) {
        (found, None) => Ok(found),
        _ => Err(Refused::Identity),
    }
}

/// Reads the body of an identity part.
pub fn read_identity(body: &bytes::Bytes) -> Result<Identity, Refused> {
    match Content::decode(PartClass::Identity, body) {
        Ok(Content::Identity(identity)) => Ok(*identity),
        _ => Err(Refused::Identity),
    }
}

/// Reads the body of an audience part.
pub fn read_audience(body: &bytes::Bytes) -> Result<BTreeSet<PartnerId>, Refused> {
    match Content::decode(PartClass::Audience, body) {
        Ok(Content::Audience(audience)) => Ok(audience.into_iter().collect()),
        _ => Err(Refused::Audience),
    }
}
