//! What is shared.

mod labels;
mod taxonomy;

pub use labels::{
    Caveat, Classification, Kind, Labels, Level, Marking, PartClass, PartLabels, Precedence, Tlp,
    UnknownLabel,
};
pub use taxonomy::{Region, TOPICS, Topic, UnknownRegion, UnknownTopic};
