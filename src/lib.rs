//! Entente, a broker for sharing threat intelligence between organisations that trust one another
//! only as far as they have agreed to.
//!
//! The rooms stand in storeys; a room uses only what stands below it, and `tests/house.rs` checks
//! it. The life of a bulletin, room by room, is told in `ARCHITECTURE.md`.
//!
//! | storey | rooms |
//! |---|---|
//! | 0 bytes, pure | [`proto`], [`clock`], [`proof`], [`partner`] |
//! | 1 meaning, pure | [`bulletin`], [`agreement`], [`decision`], [`formats`] |
//! | 2 facts and conversation, pure | [`ledger`], [`session`] |
//! | 3 engines | [`identity`], [`store`], [`stream`], [`transport`] |
//! | 4 programs | [`broker`], [`node`], [`audit`] |
//! | 5 doors | [`gateway`], [`deployment`], [`bench`], [`cli`], [`testing`] |
//!
//! Storeys 3 to 5 are the feature `programs`, which is on by default. Without it nothing here knows of
//! tokio, sockets or files.

pub mod agreement;
#[cfg(feature = "programs")]
pub mod audit;
#[cfg(feature = "programs")]
pub mod bench;
#[cfg(feature = "programs")]
pub mod broker;
pub mod bulletin;
#[cfg(feature = "programs")]
pub mod cli;
pub mod clock;
pub mod decision;
#[cfg(feature = "programs")]
pub mod deployment;
pub mod formats;
#[cfg(feature = "programs")]
pub mod gateway;
#[cfg(feature = "programs")]
pub mod identity;
pub mod ledger;
#[cfg(feature = "programs")]
pub mod node;
pub mod partner;
pub mod proof;
pub mod proto;
pub mod session;
#[cfg(feature = "programs")]
pub mod store;
#[cfg(feature = "programs")]
pub mod stream;
#[cfg(feature = "programs")]
pub mod testing;
#[cfg(feature = "programs")]
pub mod transport;
