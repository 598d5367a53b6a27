//! Evidence on bytes: digests, Merkle trees, signatures, signed notes, checkpoints and who
//! cosigned them, receipts, proofs of forks.
//!
//! In scope: the formats of RFC 6962, DSSE and the C2SP transparency-log specifications, as pure
//! functions. Out of scope: what the bytes mean. This room knows no bulletin and no partner, reads
//! no clock and touches no file.

mod base64;
mod checkpoint;
mod cosignature;
mod cosigner;
mod edge;
mod fork;
mod hash;
mod head;
pub mod merkle;
mod ml_dsa;
mod note;
mod quorum;
mod receipt;
mod sign;
mod tile;
pub mod tree;
mod vkey;
mod witness;

pub(crate) use base64::decode_base64;
pub use checkpoint::{Checkpoint, MalformedCheckpoint};
pub use cosigner::{CosignError, Cosigner, cosign_as_log};
pub use edge::{TileEdge, WholeTile};
pub use fork::{ForkProof, Forked, InvalidForkProof, NoFork};
pub use hash::{Digest, Hasher, InvalidDigest};
pub use head::InvalidCheckpoint;
pub use ml_dsa::{MlDsaPublicKey, MlDsaSecretKey};
pub use note::{InvalidNote, Note, SignatureLine, SignedBy};
pub use quorum::{InvalidPolicy, Known, Policy, Unwitnessed, Witnessed};
pub use receipt::{InvalidTlogProof, TlogProof, Unproven};
pub use sign::{
    BadSignature, InvalidKey, KeyId, PayloadType, PublicKey, SecretKey, SignError, Signature,
    Signer, pae, verify,
};
pub use tile::{
    InvalidTile, InvalidTilePath, TILE_WIDTH, TileKind, TilePath, bundle_bytes, bundle_entries,
    tile_bytes, tile_hashes,
};
pub use vkey::{InvalidVkey, NoteKey};
pub use witness::{AddCheckpoint, MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE, WitnessRefusal};
