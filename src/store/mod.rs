//! What is on disk: the embedded ledger engine, the last checkpoint, a node's outbox and inbox.
//!
//! Bytes, files and durability; no policy. Every store is a directory that one process locks, with
//! the version of its format in it.

mod backup;
mod carried;
mod directory;
mod disk;
mod embedded;
mod error;
mod export;
mod head;
mod node;
mod outbox;
mod receipts;
mod rows;

pub use backup::{backup, restore};
pub use carried::Carried;
pub use directory::released;
pub use disk::{Disk, SystemDisk};
pub use embedded::EmbeddedEngine;
pub use error::StoreError;
pub use export::{LedgerExport, LedgerExportWriter};
pub use head::HeadFile;
pub use node::{AppliedNotice, Incoming, Mark, NodeStore};
pub use outbox::{Kept, MAX_KEPT, OutboxState, OutboxStatus, Outgoing, PassedOnTo, Pending};
pub use receipts::{Expected, Proved, Unproven};
