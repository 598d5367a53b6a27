//! What a node asks about the log itself, on a stream of its own: tiles of its tree, and what records
//! show to the node's partner.

use bytes::Bytes;

use crate::agreement::AgreementId;
use crate::ledger::RecordOpening;
use crate::proof::{Digest, TilePath};

/// Code of the refusal of something that is there and cannot be read.
pub const UNREADABLE: &str = "unreadable";
/// Records asked for at once.
pub const MAX_FETCH_RECORDS: usize = 256;

/// A record that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedRecord {
    /// Where it stands.
    pub position: u64,
    /// SHA-256 of the header of the bulletin that it is about: only who has the bulletin is shown
    /// anything of it. `None` for a record about something else.
    pub bulletin: Option<Digest>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// A tile of hashes, as wide as its path says.
    Tile(TilePath),
    /// What these records show to the node's partner.
    Records(Vec<WantedRecord>),
    /// What the records about an agreement to which it is a party show.
    Agreement(AgreementId),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The tile's bytes.
    Tile(Bytes),
    /// Each with its position; those that show nothing are left out.
    Records(Vec<(u64, RecordOpening)>),
}
