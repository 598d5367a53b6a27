//! Where the demo's deployment is: in a directory that stays, or in one that goes with the demo.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::CliError;
use crate::cli::files::entropy;
use crate::clock::random;

/// The directory of a deployment.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    stays: bool,
}

impl Directory {
    pub(super) fn new(wanted: Option<PathBuf>) -> Result<Self, CliError> {
        let stays = wanted.is_some();
        let path = if let Some(path) = wanted {
            std::fs::create_dir_all(&path).map_err(CliError::file(&path))?;
            std::path::absolute(&path).map_err(CliError::file(&path))?
        } else {
            let suffix: [u8; 4] = random(entropy().as_ref()).map_err(CliError::failed)?;
            let name = format!("entente-demo-{:08x}", u32::from_be_bytes(suffix));
            let path = std::env::temp_dir().join(name);
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(CliError::file(&path))?;
            path
        };
        Ok(Self { path, stays })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn stays(&self) -> bool {
        self.stays
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "could not be removed");
        }
    }
}
