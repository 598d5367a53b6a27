//! The talk between node and broker, without its sockets: frames, greeting, windows, numbers.
//!
//! In scope: what may be said when, limits included, as values and state machines that take `now`
//! as an argument. Out of scope: streams (the transport moves frames), verification of bulletins,
//! and what the ledger says.

mod frame;
mod hello;
mod lane;
mod limits;
mod log;
mod publisher;
mod wire;

pub use frame::{
    Asking, AskingItem, Delivery, Evidence, Frame, FrameError, HoldItem, KeySetVersions,
    OverdueItem, RecipientState, Rejected, Statement,
};
pub use hello::{
    Hello, LaneTail, Limits, Refusal, Welcome, accept, greet, tail_mark, witness_name,
};
pub use lane::{LaneError, LaneReceiver, LaneSender};
pub use limits::{
    HELLO_TIMEOUT, LANE_WINDOW_BYTES, LANE_WINDOW_ITEMS, MAX_EVIDENCE_AGREEMENTS, MAX_FRAME_BYTES,
    MAX_HELLO_BYTES, MAX_NOTICES, MAX_OUTSTANDING, MAX_SKEW, MAX_TAIL, PROTOCOL_VERSION,
};
pub use log::{Fetch, Fetched, MAX_FETCH_RECORDS, UNREADABLE, WantedRecord};
pub use publisher::{Answer, PublishWindow};
pub use wire::{DeliveryAround, decode, encode, put_delivery};
