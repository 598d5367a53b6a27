//! Evidence on bytes: digests, Merkle trees, signatures, signed notes, checkpoints.
//!
//! In scope: the formats of RFC 6962, DSSE and the C2SP transparency-log specifications, as pure
//! functions. Out of scope: what the bytes mean. This room knows no bulletin and no partner, reads
//! no clock and touches no file.

mod checkpoint;
mod hash;
pub mod merkle;
mod note;
mod sign;
mod tile;
pub mod tree;

pub use checkpoint::{Checkpoint, InvalidCheckpoint};
pub use hash::{Digest, Hasher, InvalidDigest};
pub use note::{InvalidNote, Note, NoteKey};
pub use sign::{
    BadSignature, InvalidKey, KeyId, PayloadType, PublicKey, SecretKey, SignError, Signature,
    Signer, pae, verify,
};
pub use tile::{
    InvalidTile, InvalidTilePath, TILE_WIDTH, TileKind, TilePath, bundle_bytes, bundle_entries,
    tile_bytes, tile_hashes,
};
