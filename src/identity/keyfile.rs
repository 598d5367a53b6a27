//! Private keys on disk, readable by their owner only, and key sets in PEM.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pem::Pem;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::partner::{InvalidKeySet, SignedKeySet};
use crate::proof::SecretKey;

/// The largest key file we read.
const MAX_FILE: u64 = 1024 * 1024;
/// What stands before the seed in the PKCS #8 form of an Ed25519 key (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const PRIVATE_KEY: &str = "PRIVATE KEY";
pub(super) const KEY_SET: &str = "ENTENTE KEY SET";

/// What went wrong with a key file.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// Reading or writing.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is there already.
    #[error("{} is there already; a key is never overwritten", .0.display())]
    Exists(PathBuf),
    /// Others can read it.
    #[error("{} can be read by others than its owner; run: chmod 600 {}", .0.display(), .0.display())]
    Exposed(PathBuf),
    /// Not what it should be.
    #[error("{} is not {expected}", path.display())]
    Malformed {
        /// Where.
        path: PathBuf,
        /// What was expected, with its article.
        expected: &'static str,
    },
    /// A key set that cannot be used.
    #[error("{}: {error}", path.display())]
    KeySet {
        /// Where.
        path: PathBuf,
        /// Why.
        error: InvalidKeySet,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError + '_ {
    move |error| KeyFileError::Io {
        path: path.to_owned(),
        error,
    }
}

/// Writes a secret file that only its owner can read. Never overwrites.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    create_parent(path)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::Io {
            path: path.to_owned(),
            error,
        },
    })?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io_error(path))
}

/// Writes a file that anybody may read, in one step: a reader sees the old one or the new one.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    create_parent(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(io_error(path))
}

fn create_parent(path: &Path) -> Result<(), KeyFileError> {
    path.parent().map_or(Ok(()), |parent| {
        fs::create_dir_all(parent).map_err(io_error(parent))
    })
}

/// Reads a secret file; refuses one that others can read.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let file = fs::File::open(path).map_err(io_error(path))?;
    let mode = file
        .metadata()
        .map_err(io_error(path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed(path.to_owned()));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(io_error(path))?;
    Ok(text)
}

/// The PKCS #8 form of an Ed25519 key, version 1, without the public half: the one that every tool
/// reads.
pub(super) fn pkcs8(seed: &Zeroizing<[u8; 32]>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([PKCS8_PREFIX.as_slice(), seed.as_slice()].concat())
}

/// Writes a signing key as PKCS #8 in PEM, for its owner only.
pub fn write_secret_key(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let der = pkcs8(key.seed());
    let text = Zeroizing::new(pem::encode(&Pem::new(PRIVATE_KEY, der.as_slice())));
    write_private(path, text.as_bytes())
}

/// Reads a signing key.
pub fn read_secret_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    let malformed = || KeyFileError::Malformed {
        path: path.to_owned(),
        expected: "an Ed25519 key in PKCS #8",
    };
    let text = read_private(path)?;
    let block = pem::parse(text.as_bytes()).map_err(|_| malformed())?;
    let der = Zeroizing::new(block.into_contents());
    let seed = der.strip_prefix(&PKCS8_PREFIX).ok_or_else(malformed)?;
    SecretKey::from_seed(seed.try_into().map_err(|_| malformed())?).map_err(|_| malformed())
}

/// Writes a signed key set in PEM.
pub fn write_key_set(path: &Path, key_set: &SignedKeySet) -> Result<(), KeyFileError> {
    write_public(
        path,
        pem::encode(&Pem::new(KEY_SET, key_set.to_bytes())).as_bytes(),
    )
}

/// Reads the signed key sets of a PEM file: the versions of one partner, the first first.
pub fn read_key_set(path: &Path) -> Result<SignedKeySet, KeyFileError> {
    let malformed = || KeyFileError::Malformed {
        path: path.to_owned(),
        expected: "a key set in PEM",
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(io_error(path))?;
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(io_error(path))?;
    let block = pem::parse(text.as_bytes()).map_err(|_| malformed())?;
    if block.tag() != KEY_SET {
        return Err(malformed());
    }
    SignedKeySet::from_bytes(block.contents()).map_err(|error| KeyFileError::KeySet {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Signer;

    #[test]
    fn a_key_file_is_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let key = SecretKey::from_seed([7; 32]).unwrap();
        write_secret_key(&path, &key).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            read_secret_key(&path).unwrap().public_key(),
            key.public_key()
        );
        assert!(matches!(
            write_secret_key(&path, &key),
            Err(KeyFileError::Exists(_))
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_secret_key(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}
