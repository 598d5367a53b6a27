//! What the targets share: a small log whose keys are known, everything that was signed in it, and
//! the law of texts.
//!
//! The targets assert more than that nothing panics: what is read and written again is the same, and
//! whatever verifies is something that [`World`] has signed. A fuzzer holds no key, so anything else
//! that verifies is a forgery.

#[path = "../../tests/support/ledger.rs"]
mod ledger;
mod seeds;
mod world;

use std::fmt::{Debug, Display};
use std::str::FromStr;

pub use seeds::seeds;
pub use world::{Keys, World, world};

/// Input as text; `None` where it is none.
pub fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Reads a text of which there is one written form only: what is read is written as it stood.
///
/// # Panics
///
/// Where the law is broken.
pub fn canonical<T>(text: &str) -> Option<T>
where
    T: FromStr + Display,
{
    let value: T = text.parse().ok()?;
    assert_eq!(value.to_string(), text, "it has two written forms");
    Some(value)
}

/// Reads a text, writes it and reads it again: the same.
///
/// # Panics
///
/// Where the law is broken.
pub fn stable<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Debug> + Display + PartialEq + Debug,
{
    let value: T = text.parse().ok()?;
    let again = value.to_string().parse();
    assert_eq!(again.as_ref().ok(), Some(&value), "{again:?}");
    Some(value)
}

/// Reads bytes, writes them and reads them again: the same.
///
/// # Panics
///
/// Where the law is broken.
pub fn stable_bytes<T: PartialEq + Debug, E: Debug>(
    data: &[u8],
    read: impl Fn(&bytes::Bytes) -> Result<T, E>,
    write: impl Fn(&T) -> bytes::Bytes,
) -> Option<T> {
    let value = read(&bytes::Bytes::copy_from_slice(data)).ok()?;
    let again = read(&write(&value));
    assert_eq!(again.as_ref().ok(), Some(&value), "{again:?}");
    Some(value)
}
