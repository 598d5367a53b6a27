//! MISP events (MISP core format), to and from bulletins; and feeds of them.
//!
//! In scope: events, attributes and objects as typed parts, tags as labels, sightings, and the files of
//! a feed directory. Out of scope: MISP's own API, and where files lie. What an event says and a
//! bulletin cannot, and the reverse, is listed in `docs/misp.md`; what must not be shared on, by its
//! distribution, is left out with the reason.

mod attributes;
mod event;
mod export;
mod feed;
mod import;
mod sightings;
mod tombstone;

pub use super::Labels;
pub use event::{Event, MAX_EVENT_BYTES, MispError, Organisation, read_event};
pub use export::{event_of, event_uuid};
pub use feed::{Feed, FeedEvent, feed, feed_event, is_of};
pub use import::{Imported, LeftOut, drafts};
pub use sightings::sightings;
pub use tombstone::{newer_than_tombstone, tombstone};
