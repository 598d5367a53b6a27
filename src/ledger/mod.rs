//! The ordered log and its fold.

mod engine;

pub use engine::{Engine, EngineError, StoredRecord};
