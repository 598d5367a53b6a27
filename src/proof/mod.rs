//! Evidence on bytes: digests, Merkle trees, signatures, signed notes, checkpoints.
//!
//! In scope: the formats of RFC 6962, DSSE and the C2SP transparency-log specifications, as pure
//! functions. Out of scope: what the bytes mean. This room knows no bulletin and no partner, reads
//! no clock and touches no file.

mod hash;
pub mod merkle;
mod sign;

pub use hash::{Digest, Hasher, InvalidDigest};
pub use sign::{
    BadSignature, InvalidKey, KeyId, PayloadType, PublicKey, SecretKey, SignError, Signature,
    Signer, pae, verify,
};
