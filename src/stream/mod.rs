//! The log where several brokers share it: a replicated stream of NATS JetStream.
//!
//! Each message of the stream is a group of records that were appended together, signed by the log's key
//! and chained to the group before it. Whoever appends says after which message it comes, and of two brokers
//! one succeeds: the other takes on what was appended, decides again and tries again. Each broker has the log as
//! far as it took it on in an embedded engine, which is a cache: it can be deleted at any time.
//!
//! What a server gives back is not believed: signature, chain, position and every commitment are checked, and
//! a message that was acknowledged and is another afterwards, or gone, is noticed. Bodies lie in a
//! stream of their own, durable before their group is appended, from which they can be erased; checkpoints
//! in a bucket whose entries are replaced only by who knows them.
//!
//! In scope: bytes, sequences, what became of an append. Out of scope: what records mean, and who is told.

mod catalogue;
mod config;
mod contents;
mod engine;
mod error;
mod follow;
mod heads;
mod health;
mod leader;
mod local;
mod monitor;
mod nats;
mod parallel;
mod prepared;
mod sending;
mod snapshot;
mod taking;
mod turns;
mod wire;

pub use config::{StreamConfig, is_stream};
pub use engine::{News, StreamEngine};
pub use error::StreamError;
pub use heads::{HeadBucket, Heard, HeardNews, Holder, Reads};
pub use parallel::each;
pub use snapshot::Snapshot;
pub use wire::{FORMAT, InvalidMessage, OLDEST, StreamMessage};
