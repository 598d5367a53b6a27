//! The steps by which stores change what is on disk.

use std::fmt;

use super::error::StoreError;

/// Does one step after the other: a batch committed; a file written, synced, renamed. What a step did,
/// a crash after it leaves; of a step that failed nobody knows. Passed in, as a clock is.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Does a step, which is called once at most.
    fn step(&self, step: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn step(&self, step: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        step()
    }
}
