//! What is shared.

mod labels;

pub use labels::{
    Caveat, Classification, Kind, Level, Marking, PartClass, Precedence, Tlp, UnknownLabel,
};
