//! Other people's formats, to and from bulletins. Pure: bytes in, drafts out.

pub mod stix;
