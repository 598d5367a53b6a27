//! A bulletin in a file, with the key sets of its originator: PEM blocks (RFC 7468).
//!
//! Nothing in it is believed: who reads it verifies the bulletin under a key set whose hash it trusts.

use pem::Pem;
use thiserror::Error;

use super::keyfile::KEY_SET;
use crate::bulletin::{Refused, Sealed};
use crate::partner::{InvalidKeySet, SignedKeySet};

const BULLETIN: &str = "ENTENTE BULLETIN";
/// More versions of a key set than a partner has in a bulletin's life.
const MAX_BLOCKS: usize = 1_024;

/// A file that has no bulletin.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InvalidBulletinFile {
    /// Not PEM, or other blocks.
    #[error("it is no bulletin in PEM, with the key sets of its originator")]
    Blocks,
    /// The bulletin.
    #[error("its bulletin cannot be read: {0}")]
    Bulletin(#[from] Refused),
    /// A key set.
    #[error("its key set cannot be read: {0}")]
    KeySet(#[from] InvalidKeySet),
}

/// Whether a text begins as a bulletin's file does.
pub fn is_bulletin_file(text: &str) -> bool {
    text.starts_with("-----BEGIN ENTENTE BULLETIN-----")
}

/// The file of a bulletin, with its originator's key sets, the first first.
pub fn write_bulletin(sealed: &Sealed, key_sets: &[SignedKeySet]) -> String {
    let bulletin = std::iter::once(Pem::new(BULLETIN, sealed.to_bytes()));
    let key_sets = key_sets.iter().map(|one| Pem::new(KEY_SET, one.to_bytes()));
    let blocks: Vec<Pem> = bulletin.chain(key_sets).collect();
    pem::encode_many(&blocks)
}

/// Reads a bulletin's file. Nothing is verified yet.
pub fn read_bulletin(text: &str) -> Result<(Sealed, Vec<SignedKeySet>), InvalidBulletinFile> {
    let blocks = pem::parse_many(text).map_err(|_| InvalidBulletinFile::Blocks)?;
    let Some((bulletin, key_sets)) = blocks.split_first() else {
        return Err(InvalidBulletinFile::Blocks);
    };
    let known = bulletin.tag() == BULLETIN && key_sets.iter().all(|one| one.tag() == KEY_SET);
    if !known || blocks.len() > MAX_BLOCKS {
        return Err(InvalidBulletinFile::Blocks);
    }
    let sealed = Sealed::from_bytes(&bulletin.contents().to_vec().into())?;
    let key_sets = key_sets
        .iter()
        .map(|one| SignedKeySet::from_bytes(one.contents()));
    Ok((sealed, key_sets.collect::<Result<_, _>>()?))
}
