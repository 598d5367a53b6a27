//! A disk of which one step fails.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use entente::store::{Disk, StoreError};

/// How the step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It was not done.
    Absent,
    /// It was done, and nobody knows.
    Present,
}

/// What becomes of the steps after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// They are done, if anybody is bold enough.
    GoesOn,
    /// Nothing is done any more, as after a kill.
    Dies,
}

pub(crate) const FAULTS: [Fault; 2] = [Fault::Absent, Fault::Present];

/// A disk whose step of this number fails, from 1.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    at: u64,
    fault: Fault,
    then: Then,
    steps: AtomicU64,
}

impl FaultyDisk {
    pub(crate) fn new(at: u64, fault: Fault, then: Then) -> Self {
        Self {
            at,
            fault,
            then,
            steps: AtomicU64::new(0),
        }
    }

    /// Whether it came to that step.
    pub(crate) fn failed(&self) -> bool {
        self.steps.load(Ordering::SeqCst) >= self.at
    }
}

impl Disk for FaultyDisk {
    fn step(&self, step: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let number = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        let spared = number < self.at || (number > self.at && self.then == Then::GoesOn);
        if spared {
            return step();
        }
        if number == self.at && self.fault == Fault::Present {
            step()?;
        }
        Err(StoreError::Io {
            path: "a test".into(),
            error: io::Error::other("as told"),
        })
    }
}
