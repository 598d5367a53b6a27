//! STIX 2.1 (OASIS Standard, errata 01): bundles become bulletins, each object kept as its own
//! bytes.
//!
//! In scope: the structural MUSTs, the class under which agreements withhold an object, and its
//! markings, which fail closed: what cannot be read as a TLP level counts as TLP:RED. Out of scope:
//! the grammar of patterns, and what the objects mean together.

mod bundle;
mod class;
mod drafts;
pub mod export;
mod json;
mod marking;
mod rules;
mod tables;

pub mod pattern;

pub use bundle::{Bundle, BundleError, MAX_BUNDLE_BYTES, Object, RefusedObject, read_bundle};
pub use drafts::{Labels, drafts};
