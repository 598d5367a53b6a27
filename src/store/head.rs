//! The last signed checkpoint, in a place of its own, and the proof of a fork beside it.
//!
//! The log may be restored from an older backup; this file, kept elsewhere if the operator likes,
//! tells that it was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::write_durably;
use super::disk::{Disk, SystemDisk};
use super::error::StoreError;

/// A file with one signed checkpoint.
#[derive(Debug)]
pub struct HeadFile {
    path: PathBuf,
    fork: PathBuf,
    disk: Arc<dyn Disk>,
}

impl HeadFile {
    /// The file at this path, which need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self::on(path, Arc::new(SystemDisk))
    }

    /// As [`HeadFile::new`], on this disk.
    pub fn on(path: &Path, disk: Arc<dyn Disk>) -> Self {
        let mut fork = path.as_os_str().to_owned();
        fork.push(".fork");
        Self {
            path: path.to_owned(),
            fork: fork.into(),
            disk,
        }
    }

    /// The last checkpoint; `None` where none was signed yet.
    pub fn load(&self) -> Result<Option<String>, StoreError> {
        read(&self.path)
    }

    /// Puts a checkpoint in the place of the expected one, durably. `false` where another is there;
    /// nothing was written then. After [`StoreError::Poisoned`] either may be there; after any other
    /// error it is the expected one still.
    pub fn swap(&self, expected: Option<&str>, new: &str) -> Result<bool, StoreError> {
        if self.load()?.as_deref() != expected {
            return Ok(false);
        }
        match write_durably(self.disk.as_ref(), &self.path, new.as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) => match self.load() {
                Ok(kept) if kept.as_deref() == expected => Err(error),
                _ => Err(StoreError::Poisoned),
            },
        }
    }

    /// Where a proof that the log's key signed two histories is kept.
    pub fn fork_path(&self) -> &Path {
        &self.fork
    }

    /// That proof; `None` where there is none.
    pub fn fork(&self) -> Result<Option<String>, StoreError> {
        read(&self.fork)
    }

    /// Keeps such a proof, durably.
    pub fn keep_fork(&self, proof: &str) -> Result<(), StoreError> {
        write_durably(self.disk.as_ref(), &self.fork, proof.as_bytes())
    }
}

fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_replaced_only_by_who_knows_it() {
        let directory = tempfile::tempdir().unwrap();
        let head = HeadFile::new(&directory.path().join("checkpoint"));
        assert!(head.load().unwrap().is_none());
        assert!(head.swap(None, "one").unwrap());
        assert!(!head.swap(None, "two").unwrap());
        assert!(head.swap(Some("one"), "two").unwrap());
        assert_eq!(head.load().unwrap().unwrap(), "two");
        head.keep_fork("a proof").unwrap();
        assert_eq!(head.fork().unwrap().unwrap(), "a proof");
        assert_eq!(head.load().unwrap().unwrap(), "two");
    }
}
