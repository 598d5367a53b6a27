//! The last signed checkpoint, in a place of its own.
//!
//! The log may be restored from an older backup; this file, kept elsewhere if the operator likes,
//! tells that it was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::write_durably;
use super::error::StoreError;

/// A file with one signed checkpoint.
#[derive(Debug)]
pub struct HeadFile {
    path: PathBuf,
}

impl HeadFile {
    /// The file at this path, which need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The last checkpoint; `None` where none was signed yet.
    pub fn load(&self) -> Result<Option<String>, StoreError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&self.path)(error)),
        }
    }

    /// Puts a checkpoint in the place of the expected one, durably. `false` where another is there;
    /// nothing was written then.
    pub fn swap(&self, expected: Option<&str>, new: &str) -> Result<bool, StoreError> {
        if self.load()?.as_deref() != expected {
            return Ok(false);
        }
        write_durably(&self.path, new.as_bytes())?;
        Ok(true)
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
    }
}
