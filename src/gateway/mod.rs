//! Doors for tools that people already have: they speak their own protocol, and meet what the node holds.
//!
//! In scope: TAXII 2.1 as a server, over memory or over what the node received, and as a client; what goes back to an
//! originator; the bridge between two nodes of one partner, in two ledgers. Out of scope: what may be shared (agreements
//! say, and the broker decides; here it is only told beforehand), what objects mean (`formats`), and where anything is
//! kept (`node`).

pub mod bridge;
mod disclosed;
pub mod exchange;
pub mod feedback;
pub mod poll;
pub mod taxii;

pub use disclosed::{Author, disclosed};
