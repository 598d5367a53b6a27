//! Other people's formats, to and from bulletins. Pure: bytes in, drafts out; what a reader has of a
//! bulletin in, bytes out.

mod derived;
mod disclosed;
pub mod misp;
pub mod stix;

pub use disclosed::{Disclosed, DisclosedPart};
