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
//! | 3 engines | [`identity`], [`store`], [`transport`] |
//! | 4 programs | [`broker`], [`node`], [`audit`] |
//! | 5 doors | [`deployment`], [`cli`], [`testing`] |

pub mod agreement;
pub mod audit;
pub mod broker;
pub mod bulletin;
pub mod cli;
pub mod clock;
pub mod decision;
pub mod deployment;
pub mod formats;
pub mod identity;
pub mod ledger;
pub mod node;
pub mod partner;
pub mod proof;
pub mod proto;
pub mod session;
pub mod store;
pub mod testing;
pub mod transport;
