//! TAXII 2.1 (OASIS Standard, 10 June 2021) over HTTP.
//!
//! In scope: every endpoint of sections 4 and 5 with its status codes, content negotiation, filters,
//! paging, and authentication with HTTP Basic or a bearer token. Out of scope: channels (section 6 is
//! reserved), and what is in a collection: a [`Store`] says, and says it for each client.
//!
//! A request goes through these, in this order, and each has its own status code:
//! `access` 401, `media` 406 and 415, `route` 404 and 405, the store's collections 403 and 404, the size
//! 413, `filter` 400, the store 422.

mod access;
mod filter;
mod media;
mod memory;
mod page;
mod resource;
mod route;
mod server;
mod store;
mod version;

pub use access::{
    Access, InvalidAccess, InvalidSecret, PasswordHash, Presented, Secret, TokenHash,
};
pub(super) use memory::identifier;
pub use memory::{InvalidData, MemoryStore};
pub use resource::{ApiRoot, Collection, Discovery, Status, StatusDetails};
pub use server::{Taxii, serve};
pub use store::{AddError, Client, Entry, Fault, Place, Position, Store, Waiting};
pub use version::{SpecVersion, Version, timestamp};
