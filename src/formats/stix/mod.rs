//! STIX 2.1 (OASIS Standard, errata 01): bundles become bulletins, each object kept as its own
//! bytes; and bulletins become objects (`export`).
//!
//! In scope: the MUSTs that one object can be held to, the class under which agreements withhold an object, and its
//! markings, which fail closed: what cannot be read as a TLP level counts as TLP:RED. Out of scope:
//! vocabularies and registries that are not ours, and what the objects mean together.

mod bundle;
mod class;
mod drafts;
pub mod export;
mod indicator;
mod json;
mod marking;
mod registries;
mod rules;
mod tables;
mod upgrade;
mod values;
mod versions;

pub mod pattern;

pub use super::Labels;
pub use bundle::{
    Bundle, BundleError, MAX_BUNDLE_BYTES, Object, RefusedObject, read_any_bundle, read_bundle,
};
pub use drafts::drafts;
pub use indicator::{TypedIndicator, typed_indicator};
pub use marking::is_standard as is_standard_marking;
pub use versions::{ObjectVersion, Published, Renewal, carried, renew};
