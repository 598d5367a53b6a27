//! The local socket: how commands talk to a running program on the same machine.
//!
//! A Unix socket that only its owner can open; one JSON value a line, an answer for each request.
//! Who may connect is checked by the peer's credentials, not only by the file's mode.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The longest line: a bulletin of the largest size in base64, and room.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// A local socket that cannot be used.
#[derive(Debug, Error)]
pub enum LocalError {
    /// Nothing listens there.
    #[error("nothing runs at {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The other side hung up, or said what is no answer.
    #[error("{} gave no answer that can be read", .0.display())]
    NoAnswer(PathBuf),
}

/// Why a request could not be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// Stable, for machines.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Trouble {
    /// A code and what an error says.
    pub fn new(code: &str, message: impl ToString) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_string(),
        }
    }
}

/// A listening local socket; the file goes when it does.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalListener {
    /// Listens at a path. A socket that a dead process left behind is replaced.
    pub fn bind(path: &Path) -> Result<Self, LocalError> {
        let failed = |error| LocalError::Io {
            path: path.to_owned(),
            error,
        };
        let stale = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
            && std::os::unix::net::UnixStream::connect(path).is_err();
        if stale {
            std::fs::remove_file(path).map_err(failed)?;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, owner_only).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves requests until it is dropped. One connection's trouble is its own.
    pub async fn serve<Q, A, F>(self, answer: impl Fn(Q) -> F + Clone + Send + Sync + 'static)
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Future<Output = A> + Send + 'static,
    {
        let own = rustix::process::geteuid().as_raw();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let allowed = stream
                .peer_cred()
                .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
            if !allowed {
                tracing::warn!(socket = %self.path.display(), "another user was turned away");
                continue;
            }
            let answer = answer.clone();
            tokio::spawn(async move {
                if let Err(error) = converse(stream, answer).await {
                    tracing::debug!(%error, "a local connection ended");
                }
            });
        }
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // Where it cannot be removed, the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse<Q, A, F>(stream: UnixStream, answer: impl Fn(Q) -> F) -> io::Result<()>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = A>,
{
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = (&mut reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .await?;
        if count == 0 {
            return Ok(());
        }
        let mut text = match serde_json::from_slice(&line) {
            Ok(request) => serde_json::to_vec(&answer(request).await)?,
            Err(error) => serde_json::to_vec(&serde_json::json!({
                "error": { "code": "bad_request", "message": error.to_string() }
            }))?,
        };
        text.push(b'\n');
        write.write_all(&text).await?;
        // Of a line beyond the limit only its beginning was read: what follows begins nowhere.
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

/// Asks a running program one thing.
pub async fn ask<Q: Serialize, A: DeserializeOwned>(
    path: &Path,
    request: &Q,
) -> Result<A, LocalError> {
    let failed = |error| LocalError::Io {
        path: path.to_owned(),
        error,
    };
    let mut stream = UnixStream::connect(path)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                LocalError::NotRunning(path.to_owned())
            }
            _ => failed(error),
        })?;
    let mut text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    stream.write_all(&text).await.map_err(failed)?;
    let mut line = Vec::new();
    BufReader::new(stream)
        .read_until(b'\n', &mut line)
        .await
        .map_err(failed)?;
    serde_json::from_slice(&line).map_err(|_| LocalError::NoAnswer(path.to_owned()))
}
