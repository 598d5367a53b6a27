//! Time and randomness, which everything else receives as arguments.
//!
//! This is the only file that reads the system's clock or its random numbers, so that a test
//! controls both. Timestamps are UTC microseconds; people see them in RFC 3339.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The last moment RFC 3339 can write: 9999-12-31T23:59:59.999999Z.
const MAX_MICROS: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The earliest moment we write.
    pub const MIN: Self = Self(0);
    /// The latest moment we write.
    pub const MAX: Self = Self(MAX_MICROS);

    /// From microseconds since the epoch; `None` before 1970 or after 9999.
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros < 0 || micros > MAX_MICROS {
            None
        } else {
            Some(Self(micros))
        }
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The second in which it is, from its beginning.
    #[must_use]
    pub const fn whole_second(self) -> Self {
        // Towards the earliest, which is a whole second itself.
        Self(self.0 - self.0.rem_euclid(1_000_000))
    }

    /// This moment plus a duration, at most [`Timestamp::MAX`].
    pub fn saturating_add(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by).min(MAX_MICROS))
    }

    /// This moment minus a duration, at least [`Timestamp::MIN`].
    pub fn saturating_sub(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(by).max(0))
    }

    /// How long since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(at: Timestamp) -> Self {
        // Cannot fail within the bounds of `Timestamp`.
        Self::from_unix_timestamp_nanos(i128::from(at.0) * 1_000).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from(*self)
            .format(&Rfc3339)
            .map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

/// A text that is no moment between 1970 and 9999.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not an RFC 3339 time such as 2026-01-15T09:30:00Z")]
pub struct InvalidTimestamp(String);

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000).ok())
            .and_then(Self::from_micros)
            .ok_or_else(|| InvalidTimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::MIN.saturating_add(since)
    }
}

/// The system's clock, and wrong by so much: for tests of what that does.
#[derive(Clone, Copy, Debug)]
pub struct SkewedClock {
    ahead: i64,
}

impl SkewedClock {
    /// A clock that is ahead by so many milliseconds, or behind where there are fewer than none.
    pub const fn ahead(millis: i64) -> Self {
        Self {
            ahead: millis.saturating_mul(1_000),
        }
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let by = Duration::from_micros(self.ahead.unsigned_abs());
        let now = SystemClock.now();
        if self.ahead < 0 {
            now.saturating_sub(by)
        } else {
            now.saturating_add(by)
        }
    }
}

/// A clock that stands still until it is told otherwise. For tests and simulations.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that says `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }

    /// Sets the clock, backward too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The system could not give random bytes. Nothing that needs them may go on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the system's random number generator failed")]
pub struct NoEntropy;

/// Where random bytes come from: salts, seeds, ids, keys.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy>;

    /// An array of random bytes.
    fn array<const N: usize>(&self) -> Result<[u8; N], NoEntropy>
    where
        Self: Sized,
    {
        random(self)
    }
}

/// An array of random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// The system's cryptographic generator.
#[derive(Clone, Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The system's generator.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.0.fill(bytes).map_err(|_| NoEntropy)
    }
}

/// A reproducible stream of bytes: SHA-256 of a seed and a counter. For tests and simulations
/// only; anybody who knows the seed knows every byte.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: AtomicI64,
}

impl SeededEntropy {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: AtomicI64::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        for chunk in bytes.chunks_mut(32) {
            let counter = self.counter.fetch_add(1, Ordering::SeqCst);
            let mut input = [0; 16];
            input[..8].copy_from_slice(&self.seed.to_be_bytes());
            input[8..].copy_from_slice(&counter.to_be_bytes());
            let block = ring::digest::digest(&ring::digest::SHA256, &input);
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_its_written_form() {
        for micros in [0, 1, 1_768_435_200_000_000, MAX_MICROS] {
            let at = Timestamp(micros);
            assert_eq!(at.to_string().parse(), Ok(at));
        }
    }

    #[test]
    fn what_is_no_time_is_an_error_that_quotes_it() {
        let error = "yesterday".parse::<Timestamp>().unwrap_err();
        assert!(error.to_string().contains("`yesterday`"));
        assert!("1969-12-31T23:59:59Z".parse::<Timestamp>().is_err());
    }

    #[test]
    fn seeded_entropy_repeats_itself_and_only_itself() {
        let one: [u8; 48] = SeededEntropy::new(1).array().unwrap();
        let again: [u8; 48] = SeededEntropy::new(1).array().unwrap();
        let other: [u8; 48] = SeededEntropy::new(2).array().unwrap();
        assert_eq!(one, again);
        assert_ne!(one, other);
    }
}
