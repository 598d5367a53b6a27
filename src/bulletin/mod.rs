//! What is shared: a bulletin is a header, which is never withheld, and parts, which may be.
//!
//! In scope: labels and their order, topics and regions, typed content, salted leaves, sealing,
//! opening and redaction. Out of scope: who may receive it (agreements and the decision say) and
//! where it is kept.
//!
//! The route: an [`Unsealed`] bulletin is [`seal`]ed; [`open`] makes it [`Verified`], and that for
//! publication a [`Submission`]; [`redact`] replaces parts by their hashes for a recipient, who
//! [`open`]s it again.

pub mod content;
mod crossing;
mod draft;
mod error;
mod header;
mod labels;
mod mention;
mod open;
mod originator;
mod part;
mod pseudonym;
mod redact;
mod seal;
mod taxonomy;
mod wire;

pub use content::{Content, InvalidContent};
pub use crossing::{Crossing, MAX_HOPS, MAX_MISSING};
pub use draft::{DEFAULT_VALIDITY, Draft, DraftError, DraftPart, PseudonymDraft};
pub use error::{
    MAX_BULLETIN_BYTES, MAX_BURST, MAX_HEADER_BYTES, MAX_PART_BYTES, MAX_PARTS, MAX_PASSED_ON,
    Refused, SealError,
};
pub use header::{Admiralty, BulletinId, Header, InvalidBulletinId, Reference, Relation};
pub(crate) use labels::closed_set;
pub use labels::{
    Caveat, Classification, Kind, Labels, Level, Marking, PartClass, PartLabels, Precedence, Tlp,
    UnknownLabel,
};
pub use mention::mentions;
#[cfg(feature = "programs")]
pub(crate) use open::SignedHeader;
pub use open::{
    BulletinKeys, MAX_CLOCK_SKEW, Recorded, Submission, Verified, VerifiedBursts, check_identity,
    open, open_original, read_audience, read_identity,
};
pub(crate) use originator::is_agreement_name;
pub use originator::{Disguise, Identity, Originator, Pseudonym, Shown};
pub use part::{OpenPart, Part, PartDigest};
pub use pseudonym::{DisguiseError, PseudonymSecret};
pub use redact::redact;
pub use seal::{BurstProof, PlainPart, Sealed, Unsealed, seal};
pub use taxonomy::{Region, TOPICS, Topic, UnknownRegion, UnknownTopic};
