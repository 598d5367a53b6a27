//! What a node asks about the log itself, on a stream of its own: tiles of its tree, and what records
//! show to the node's partner.

use bytes::Bytes;

use crate::agreement::AgreementId;
use crate::ledger::RecordOpening;
use crate::proof::TilePath;

/// Records asked for at once.
pub const MAX_FETCH_RECORDS: usize = 256;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// A tile of hashes, as wide as its path says.
    Tile(TilePath),
    /// What the records at these positions show to the node's partner.
    Records(Vec<u64>),
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
