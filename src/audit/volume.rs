//! How much of a log counts: what the auditor's key tells of entries that say nothing to anybody else.

use thiserror::Error;

use crate::ledger::{CoverKey, ENTRY_BYTES};
use crate::proof::merkle::{Frontier, leaf_hash};
use crate::proof::{Checkpoint, InvalidTile, TILE_WIDTH, TileKind, TilePath, bundle_entries};

/// What a log's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Volume {
    /// Entries under the checkpoint.
    pub size: u64,
    /// Those that say nothing.
    pub cover: u64,
    /// Those that are records of something.
    pub records: u64,
}

/// A log that cannot be counted.
#[derive(Debug, Error)]
pub enum Uncounted<E> {
    /// A bundle did not come.
    #[error("{path}: {error}")]
    Fetch {
        /// Which.
        path: TilePath,
        /// Why.
        error: E,
    },
    /// A bundle that is none.
    #[error("{path}: {error}")]
    Bundle {
        /// Which.
        path: TilePath,
        /// What is wrong.
        error: InvalidTile,
    },
    /// The entries are not those that the checkpoint was signed over.
    #[error("the entries do not lead to the checkpoint's root: they are not those of this log")]
    OtherRoot,
}

/// Counts the entries under a checkpoint, which its caller believes, and verifies that they are those
/// under it. `fetch` gets a bundle of entries; `progress` is told how many were counted.
pub fn volume<E>(
    key: &CoverKey,
    checkpoint: &Checkpoint,
    fetch: impl Fn(&TilePath) -> Result<Vec<u8>, E>,
    mut progress: impl FnMut(u64),
) -> Result<Volume, Uncounted<E>> {
    let size = checkpoint.size;
    let mut tree = Frontier::default();
    let mut cover = 0;
    for index in 0..size.div_ceil(TILE_WIDTH.into()) {
        let Some(path) = TilePath::in_tree(TileKind::Entries, index, size) else {
            return Err(Uncounted::OtherRoot);
        };
        let bytes = fetch(&path).map_err(|error| Uncounted::Fetch { path, error })?;
        let entries = bundle_entries(&path, &bytes);
        for entry in entries.map_err(|error| Uncounted::Bundle { path, error })? {
            let known = <&[u8; ENTRY_BYTES]>::try_from(entry);
            cover += u64::from(known.is_ok_and(|entry| key.covers(tree.size(), entry)));
            tree.push(leaf_hash(&[entry]));
        }
        progress(tree.size());
    }
    if tree.size() != size || tree.root() != checkpoint.root {
        return Err(Uncounted::OtherRoot);
    }
    Ok(Volume {
        size,
        cover,
        records: size - cover,
    })
}
