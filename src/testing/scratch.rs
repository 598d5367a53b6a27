//! A directory that goes when the test succeeds, and stays where it failed.

use std::path::{Path, PathBuf};

use crate::clock::{Entropy, SystemEntropy};

/// A new directory below the system's temporary one. Short, because Unix sockets in it must fit in
/// 108 bytes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one.
    pub fn new() -> std::io::Result<Self> {
        let mut suffix = [0; 6];
        SystemEntropy::new()
            .fill(&mut suffix)
            .map_err(std::io::Error::other)?;
        let name = format!("entente-{}", data_encoding::HEXLOWER.encode(&suffix));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(path = %self.path.display(), "the test failed; its files stay");
        } else {
            // What cannot be removed is in the temporary directory anyway.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
