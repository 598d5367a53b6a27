//! Other people's formats, to and from bulletins. Pure: bytes in, drafts out; what a reader has of a
//! bulletin in, bytes out.

pub mod cap;
mod derived;
mod disclosed;
mod labels;
pub mod list;
pub mod misp;
pub mod sighting;
pub mod stanag4774;
pub mod stix;
pub mod warninglist;
mod xml;

pub use disclosed::{Disclosed, DisclosedPart};
pub use labels::Labels;
pub use xml::{MAX_XML_BYTES, MAX_XML_DEPTH, MAX_XML_ELEMENTS, XmlError};
