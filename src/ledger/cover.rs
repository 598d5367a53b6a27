//! Cover: records that say nothing, so that the growth of the log does not tell how much is shared.
//!
//! ```text
//! seed(position) = HMAC-SHA256(cover key, "entente/cover/v1\n" || u64 position)      big-endian
//! ```
//!
//! A cover record's fact is the same bytes always, without a time, and its seed follows from its
//! position: whoever holds the key tells cover from what counts by the log's entries alone. To everybody
//! else both are commitments like any other. Checkpoints are signed once in an interval, over a size that
//! the interval's cover fills up.
//!
//! What this hides is seen by those who only read the log. A partner that publishes or receives learns the
//! positions of its own records, and so within one interval how many others came before them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use ring::hmac;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::commitment::{Commitment, ENTRY_BYTES};
use super::record::Fact;
use super::wire;
use crate::clock::Timestamp;

/// The most entries that may be asked for each interval.
const MAX_FIXED: u32 = 65_536;

/// How the log's growth is covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Cover {
    /// Not at all.
    #[default]
    Off,
    /// Each interval grows the log by a power of two: the next above what came.
    Pow2,
    /// Each interval grows what is signed by so many entries, whatever came; what came beyond waits for
    /// the checkpoints of the next ones, but is delivered at once.
    Fixed(NonZeroU32),
}

/// Not a way of covering.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("cover is `off`, `pow2`, or `fixed:N` with N from 1 to {MAX_FIXED}, not `{0}`")]
pub struct UnknownCover(String);

impl Cover {
    /// The size that an interval's checkpoint is signed over: the last one was of `signed` records, and
    /// the log has `size`. The first checkpoint is over what is there.
    pub fn goal(self, signed: u64, size: u64) -> u64 {
        match self {
            _ if signed == 0 => size,
            Self::Off => size,
            Self::Pow2 => signed + size.saturating_sub(signed).max(1).next_power_of_two(),
            Self::Fixed(entries) => signed + u64::from(entries.get()),
        }
    }
}

impl FromStr for Cover {
    type Err = UnknownCover;

    fn from_str(text: &str) -> Result<Self, UnknownCover> {
        let unknown = || UnknownCover(text.to_owned());
        match text {
            "off" => Ok(Self::Off),
            "pow2" => Ok(Self::Pow2),
            other => {
                let digits = other.strip_prefix("fixed:").ok_or_else(unknown)?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                let entries = digits.parse::<NonZeroU32>().map_err(|_| unknown())?;
                if plain && entries.get() <= MAX_FIXED {
                    Ok(Self::Fixed(entries))
                } else {
                    Err(unknown())
                }
            }
        }
    }
}

impl TryFrom<String> for Cover {
    type Error = UnknownCover;

    fn try_from(text: String) -> Result<Self, UnknownCover> {
        text.parse()
    }
}

impl From<Cover> for String {
    fn from(cover: Cover) -> Self {
        cover.to_string()
    }
}

impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Pow2 => f.write_str("pow2"),
            Self::Fixed(entries) => write!(f, "fixed:{entries}"),
        }
    }
}

/// The auditor's key, with which cover is made and told from what counts.
#[derive(Clone)]
pub struct CoverKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for CoverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CoverKey")
    }
}

impl CoverKey {
    /// A key from its 32 bytes, which must be random.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The seed of the cover at a position.
    pub(super) fn seed(&self, position: u64) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"entente/cover/v1\n");
        context.update(&position.to_be_bytes());
        let mut seed = [0; 32];
        seed.copy_from_slice(context.sign().as_ref());
        seed
    }

    /// The commitment of the cover at a position.
    pub fn commitment(&self, position: u64) -> Commitment {
        let seed = self.seed(position);
        let mut out = Vec::new();
        wire::encode(Timestamp::default(), seed, &Fact::Cover, &[], &mut out).commitment
    }

    /// Whether the entry at a position is cover.
    pub fn covers(&self, position: u64, entry: &[u8; ENTRY_BYTES]) -> bool {
        self.commitment(position).entry() == *entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_of_covering_reads_back_and_nothing_else_is_read() {
        for text in ["off", "pow2", "fixed:1", "fixed:65536"] {
            assert_eq!(text.parse::<Cover>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "on",
            "fixed",
            "fixed:",
            "fixed:0",
            "fixed:+5",
            "fixed: 5",
            "fixed:65537",
            "fixed:99999999999999999999",
        ] {
            assert!(text.parse::<Cover>().is_err(), "{text}");
        }
    }

    #[test]
    fn growth_says_nothing_or_the_magnitude_only() {
        let fixed: Cover = "fixed:64".parse().unwrap();
        for size in [100, 101, 163, 164, 5_000] {
            assert_eq!(fixed.goal(100, size), 164);
        }
        for (size, goal) in [(100, 101), (101, 101), (103, 104), (105, 108), (109, 116)] {
            assert_eq!(Cover::Pow2.goal(100, size), goal);
        }
        assert_eq!(Cover::Off.goal(100, 105), 105);
        assert_eq!(fixed.goal(0, 17), 17);
    }

    #[test]
    fn only_the_key_tells_cover_and_only_at_its_position() {
        let (key, other) = (CoverKey::new(&[1; 32]), CoverKey::new(&[2; 32]));
        let entry = key.commitment(7).entry();
        assert!(key.covers(7, &entry));
        assert!(!key.covers(8, &entry));
        assert!(!other.covers(7, &entry));
        assert_ne!(key.commitment(7), key.commitment(8));
    }
}
