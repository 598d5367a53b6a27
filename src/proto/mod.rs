//! The protobuf messages of `proto/entente/v1`, and fields written without them. Rooms convert these to types of their
//! own in their codecs, `wire`, and nothing else names this module.

mod fields;
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; proto/ has the comments"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/entente.v1.rs"));
}

pub(crate) use fields::Fields;
pub use generated::*;
