//! Every kind of fact, and the record that carries it.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::backfill::Backfilled;
use super::commitment::Commitment;
use super::consent::SignedConsent;
use super::declaration::SignedDeclaration;
use super::erasure::{ContentsErased, ErasureOrdered};
use super::hold::SignedHoldDecision;
use super::onward::{Awaited, Bond};
use crate::agreement::{AgreementError, SignedAgreement, SignedWithdrawal};
#[cfg(feature = "programs")]
use crate::bulletin::SignedHeader;
use crate::bulletin::{
    BulletinId, BurstProof, Disguise, Header, Labels, OpenPart, PartDigest, PartLabels, Precedence,
    Refused, read_audience,
};
use crate::clock::Timestamp;
use crate::decision::{InvalidRedLines, RedLines, Release};
use crate::partner::{InvalidKeySet, PartnerId, SignedKeySet, Standing};
use crate::proof::{Digest, PublicKey, Signature};

/// The hash of the genesis fact: names this ledger and no other. Bound into every ratification,
/// withdrawal, acknowledgement, promise and operator's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LedgerId(pub Digest);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fact. A newer version's kind that this one does not know is an error when it is read: a
/// broker that went on without it would fold another state than its peers.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The first record.
    Genesis(Genesis),
    /// A partner is known from now on. Releases nothing: only agreements do.
    PartnerAdmitted(PartnerAdmitted),
    /// A partner is suspended, revoked, or active again.
    StandingChanged(StandingChanged),
    /// A partner's next key set.
    KeySetRotated(SignedKeySet),
    /// A certificate revocation list of a partner's own authority.
    CertificatesRevoked(CertificatesRevoked),
    /// What must never flow, from here on.
    RedLinesSet(RedLinesSet),
    /// An agreement is in force from here on.
    AgreementRatified(SignedAgreement),
    /// An agreement ends here.
    AgreementWithdrawn(SignedWithdrawal),
    /// A bulletin was accepted; the decision about it is in the record's releases.
    Accepted(Box<Accepted>),
    /// What a recipient holds durably.
    Acknowledged(SignedAck),
    /// What a recipient says about a bulletin.
    Declared(SignedDeclaration),
    /// What a person decided about a hold; what it lets go is in the record's releases.
    HoldDecided(SignedHoldDecision),
    /// What an originator says to its bulletin being passed on; what it lets go is in the record's
    /// releases.
    ConsentDecided(SignedConsent),
    /// What came before an agreement is given; to whom is in the record's releases.
    Backfilled(Backfilled),
    /// Contents are erased.
    ContentsErased(ContentsErased),
    /// An operator orders that contents be erased.
    ErasureOrdered(ErasureOrdered),
    /// Nothing: see [`super::Cover`].
    Cover,
    /// Time passed.
    Tick,
    /// A snapshot of the fold was taken.
    SnapshotTaken(SnapshotTaken),
}

impl Fact {
    /// The name of the kind, for tables and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::PartnerAdmitted(_) => "partner_admitted",
            Self::StandingChanged(_) => "standing_changed",
            Self::KeySetRotated(_) => "key_set_rotated",
            Self::RedLinesSet(_) => "red_lines_set",
            Self::CertificatesRevoked(_) => "certificates_revoked",
            Self::AgreementRatified(_) => "agreement_ratified",
            Self::AgreementWithdrawn(_) => "agreement_withdrawn",
            Self::Accepted(_) => "accepted",
            Self::Acknowledged(_) => "acknowledged",
            Self::Declared(_) => "declared",
            Self::HoldDecided(_) => "hold_decided",
            Self::ConsentDecided(_) => "consent_decided",
            Self::Backfilled(_) => "backfilled",
            Self::ContentsErased(_) => "contents_erased",
            Self::ErasureOrdered(_) => "erasure_ordered",
            Self::Cover => "cover",
            Self::Tick => "tick",
            Self::SnapshotTaken(_) => "snapshot_taken",
        }
    }

    /// The bulletin of which it may let go what was held, or gives what was not: its id, and SHA-256
    /// of its header.
    pub fn lets_go(&self) -> Option<(BulletinId, Digest)> {
        match self {
            Self::HoldDecided(signed) => Some((signed.decision.id, signed.decision.bulletin)),
            Self::ConsentDecided(signed) => Some((signed.consent.id, signed.consent.bulletin)),
            Self::Backfilled(one) => one.bulletin.map(|one| (one.id, one.header)),
            _ => None,
        }
    }
}

/// What the ledger begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Name of the framework, as `alliance.example`.
    pub framework: String,
    /// The log's verifier key (C2SP signed-note, vkey).
    pub log_key: String,
    /// Who may admit partners and change their standing.
    pub operators: Vec<Operator>,
    /// Version of the decision rules.
    pub rules: u32,
    /// C2SP tlog-policy text; may be empty.
    pub witness_policy: String,
    /// Two ledgers of the same configuration are two ledgers.
    pub nonce: [u8; 32],
    /// When it was made.
    pub created: Timestamp,
}

/// An operator of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its name, unique in the genesis.
    pub name: String,
    /// Signs its acts.
    pub public_key: PublicKey,
}

/// An operator's signature under an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSignature {
    /// Who.
    pub operator: String,
    /// Over bytes that name the ledger.
    pub signature: Signature,
}

/// The admission of a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerAdmitted {
    /// Version 1 of its key set, with its own signature.
    pub key_set: SignedKeySet,
    /// Over [`PartnerAdmitted::payload`].
    pub operator: OperatorSignature,
}

impl PartnerAdmitted {
    /// The bytes an operator signs to admit a partner: the ledger's id and the key set's hash.
    pub fn payload(ledger: LedgerId, key_set: &SignedKeySet) -> Vec<u8> {
        [ledger.0.as_bytes().as_slice(), key_set.hash().as_bytes()].concat()
    }
}

/// A change of a partner's standing, as its operator signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingChanged {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// What they say.
    pub order: StandingOrder,
    /// Over the bytes.
    pub operator: OperatorSignature,
}

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingOrder {
    /// For this ledger only.
    pub ledger: LedgerId,
    /// Whose standing.
    pub partner: PartnerId,
    /// From now on.
    pub standing: Standing,
    /// For people.
    pub reason: String,
    /// When it was signed. Later than the last order about this partner, so that none is replayed.
    pub time: Timestamp,
}

/// A certificate revocation list (RFC 5280), in DER, of the partner's own authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatesRevoked {
    /// Whose.
    pub partner: PartnerId,
    /// The list.
    pub crl: Bytes,
}

/// Standing invariants, as an operator signed them. They replace those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedLinesSet {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// What they say.
    pub order: RedLinesOrder,
    /// Over the bytes.
    pub operator: OperatorSignature,
}

/// What an operator orders about red lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedLinesOrder {
    /// For this ledger only.
    pub ledger: LedgerId,
    /// The file's text.
    pub text: String,
    /// What it says.
    pub lines: RedLines,
    /// When it was signed. Later than the last order, so that none is replayed.
    pub time: Timestamp,
}

/// A bulletin accepted: what the log keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The signed bytes.
    pub header_bytes: Bytes,
    /// Their SHA-256.
    pub(super) header_hash: Digest,
    /// What they say.
    pub header: Header,
    /// Who published it, by its own name.
    pub originator: PartnerId,
    /// What a decision looks at in its pseudonym, where it has one.
    pub disguise: Option<Disguise>,
    /// The part that says who stands behind the pseudonym, whole.
    pub identity: Option<OpenPart>,
    /// Proves the originator's signature.
    pub burst: BurstProof,
    /// What the parts' leaves commit to.
    pub parts: Vec<PartDigest>,
    /// For each part, the parts that it names: what a decision about withheld parts depends on.
    pub mentions: Vec<Vec<u32>>,
    /// The part that only the broker sees, whole: the decision depends on it.
    pub audience: Option<OpenPart>,
    /// Where it passes others on: whose consent its recipients wait for.
    pub awaited: Vec<Awaited>,
    /// The clauses under which what it passes on came: they bind it on its way.
    pub bonds: Vec<Bond>,
}

impl Accepted {
    /// SHA-256 of the header.
    pub fn header_hash(&self) -> Digest {
        self.header_hash
    }

    /// The header with its originator's signature.
    #[cfg(feature = "programs")]
    pub(crate) fn signed_header(&self) -> SignedHeader<'_> {
        SignedHeader {
            header: &self.header,
            hash: self.header_hash,
            burst: &self.burst,
        }
    }

    /// What a decision looks at in the header. An audience that cannot be read names nobody.
    pub fn labels(&self) -> Labels {
        let audience = self.audience.as_ref();
        let audience = audience.and_then(|part| read_audience(&part.body).ok());
        let (originator, disguise) = (self.originator.clone(), self.disguise.clone());
        self.header.labels(originator, disguise, audience.as_ref())
    }

    /// What a decision looks at in the parts.
    pub fn part_labels(&self) -> Vec<PartLabels> {
        let mentions = self.mentions.iter().map(Vec::as_slice);
        let mentions = mentions.chain(std::iter::repeat(&[][..]));
        self.parts
            .iter()
            .zip(mentions)
            .map(|(part, mentions)| part.labels(mentions))
            .collect()
    }
}

/// One recipient's share of the decision about a bulletin, with its place in the recipient's lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRelease {
    /// SHA-256 of the bulletin's header.
    pub bulletin: Digest,
    /// 1, 2, 3, ... in the lane of the recipient and the bulletin's precedence; 0 while it is held.
    pub number: u64,
    /// The decision.
    pub release: Release,
}

/// A recipient's statement of what it holds durably, as it signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAck {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// What they say.
    pub ack: Ack,
    /// By an acknowledgement key of the recipient.
    pub signature: Signature,
}

/// What a recipient holds durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// For this ledger only.
    pub ledger: LedgerId,
    /// Who holds it.
    pub recipient: PartnerId,
    /// Lane by lane.
    pub lanes: Vec<LaneAck>,
    /// When it was signed.
    pub time: Timestamp,
}

/// How far a lane has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneAck {
    /// Which lane.
    pub precedence: Precedence,
    /// Everything up to this number.
    pub up_to: u64,
    /// Chain over what was received, up to that number: see [`super::LaneChain`].
    pub chain: Digest,
}

/// That a snapshot of the fold was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// Records folded into it.
    pub size: u64,
    /// Root of the log at that size.
    pub root: Digest,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// A record: a fact with its time, its secret seed, and the releases decided with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The sequencer's time of the group: never goes back.
    pub time: Timestamp,
    /// What happened.
    pub fact: Fact,
    /// The decision, where the fact is an accepted bulletin.
    pub releases: Vec<LaneRelease>,
    /// How the log commits to it.
    pub commitment: Commitment,
    /// As it is stored.
    pub bytes: Bytes,
}

/// A stored record that cannot be read.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InvalidRecord {
    /// Not the encoding of ledger.proto, or a field without a readable value.
    #[error("its `{0}` cannot be read")]
    Malformed(&'static str),
    /// A newer version's format.
    #[error(
        "it has format {0}, and this version reads formats 1 and 2; upgrade to read this ledger"
    )]
    UnknownFormat(u32),
    /// A newer version's kind.
    #[error("it is of a kind this version does not know; upgrade to read this ledger")]
    UnknownKind,
    /// The time under the commitment is not the record's.
    #[error("its fact gives another time than the record")]
    TimeDiffers,
    /// Its header or parts.
    #[error("its bulletin cannot be read: {0}")]
    Bulletin(#[from] Refused),
    /// Its key set.
    #[error("its key set cannot be read: {0}")]
    KeySet(#[from] InvalidKeySet),
    /// Its red lines.
    #[error(transparent)]
    RedLines(#[from] InvalidRedLines),
    /// Its agreement.
    #[error("its agreement cannot be read: {0}")]
    Agreement(#[from] AgreementError),
}
