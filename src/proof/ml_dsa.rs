//! ML-DSA-44 signatures (FIPS 204), as cosignatures need them.

use std::fmt;

use aws_lc_rs::signature::{
    KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use super::sign::{BadSignature, InvalidKey};

/// Bytes of a public key (FIPS 204, table 2).
const PUBLIC_BYTES: usize = 1312;
/// Bytes of a signature.
pub(super) const SIGNATURE_BYTES: usize = 2420;

/// An ML-DSA-44 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct MlDsaPublicKey(Box<[u8; PUBLIC_BYTES]>);

impl MlDsaPublicKey {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ML_DSA_44, self.as_bytes())
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }
}

impl TryFrom<&[u8]> for MlDsaPublicKey {
    type Error = InvalidKey;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let bytes: [u8; PUBLIC_BYTES] = bytes.try_into().map_err(|_| InvalidKey)?;
        Ok(Self(Box::new(bytes)))
    }
}

impl fmt::Debug for MlDsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlDsaPublicKey")
    }
}

/// An ML-DSA-44 private key in memory.
pub struct MlDsaSecretKey {
    pair: PqdsaKeyPair,
    public: MlDsaPublicKey,
}

impl MlDsaSecretKey {
    /// The key of a 32-byte seed (FIPS 204, section 5.1).
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Result<Self, InvalidKey> {
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed.as_slice());
        let pair = pair.map_err(|_| InvalidKey)?;
        let public = MlDsaPublicKey::try_from(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// The public half.
    pub fn public_key(&self) -> &MlDsaPublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; SIGNATURE_BYTES];
        let length = self.pair.sign(message, &mut signature).ok()?;
        (length == SIGNATURE_BYTES).then_some(signature)
    }
}

impl fmt::Debug for MlDsaSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlDsaSecretKey")
    }
}
