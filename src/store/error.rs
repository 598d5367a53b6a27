//! What goes wrong with a store.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A store that did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{} is in use by another process; talk to it through its control socket", .0.display())]
    InUse(PathBuf),
    /// Written by a newer version.
    #[error(
        "{} has format {found}, and this version reads up to {known}; upgrade to open it",
        path.display()
    )]
    NewerFormat {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Not a store of this kind.
    #[error("{} is not {expected}", path.display())]
    OtherStore {
        /// Where.
        path: PathBuf,
        /// What was expected, with its article.
        expected: &'static str,
    },
    /// No room left.
    #[error("the disk of {} is full: {free} bytes are free, and {reserve} are kept in reserve", path.display())]
    Full {
        /// Where.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes kept free.
        reserve: u64,
    },
    /// A file.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The database.
    #[error("the database says: {0}")]
    Database(#[from] fjall::Error),
    /// A write whose outcome is unknown. Final: nothing more is written by this process.
    #[error("an earlier write failed, and what is on disk is unknown; start again")]
    Poisoned,
    /// A stored value that cannot be read.
    #[error("a stored {0} cannot be read: the store is damaged; restore a backup")]
    Damaged(&'static str),
    /// A part of the log cannot be read.
    #[error("the log cannot be read: {0}")]
    Unreadable(String),
    /// An id that stands for other content.
    #[error("the id {0} is in the outbox with other content")]
    OtherContent(String),
    /// A position of the log that was promised for another bulletin.
    #[error("position {0} of the log was promised for two bulletins")]
    Taken(u64),
    /// A number out of order.
    #[error("number {found} cannot be stored where {expected} is due")]
    NotNext {
        /// The number that is due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A backup that cannot be restored.
    #[error("{}: {reason}", path.display())]
    Backup {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

impl StoreError {
    /// Wraps what the system says of a path.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}
