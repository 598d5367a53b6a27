//! The generated protobuf messages of `proto/entente/v1`. No logic lives here: rooms convert these
//! to types of their own in their `wire.rs`, and nothing else names this module.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; proto/ has the comments"
)]

include!(concat!(env!("OUT_DIR"), "/entente.v1.rs"));
