//! Who a partner is: its id, its SPIFFE IDs, its keys in time, its standing.
//!
//! A partner is known by its [`KeySet`], which it signs itself. Whoever relies on one pins the hash
//! of its first version, compared out of band, and follows the chain from there: no registry has to
//! be believed.

mod id;
mod key_set;
mod wire;

pub use id::{InvalidPartnerId, InvalidSpiffeId, PartnerId, SpiffeId};
pub use key_set::{InvalidKeySet, KeyChain, KeySet, KeySetError, KeyUse, SignedKeySet, SigningKey};
pub use wire::{signature_from_wire, signature_to_wire};

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a partner may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// May connect, publish and receive.
    Active,
    /// May not connect; nothing flows to it or from it until it is active again.
    Suspended,
    /// As suspended, for good.
    Revoked,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        })
    }
}
