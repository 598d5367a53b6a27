//! A store's directory: its lock, the version of its format, and the room left on its disk.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::disk::Disk;
use super::error::StoreError;

/// The format this version writes.
pub(super) const FORMAT: u32 = 1;
/// Kept free, so that a full disk is noticed before a write is torn.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// A locked directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    reserve: u64,
    _lock: File,
    /// Goes after the lock: whoever has a weak one sees when the directory is free.
    held: Arc<()>,
}

/// Brings a store from the format before it to this one. Entry `n` migrates from `n + 1`.
type Migration = fn(&Path) -> Result<(), StoreError>;
const MIGRATIONS: [Migration; 0] = [];

/// Waits until nobody holds a store any more, so that the next start finds it free: a request that
/// was being answered when its program was told to stop may hold it a little longer.
pub async fn released(held: &Weak<()>) {
    const LOOK: Duration = Duration::from_millis(2);
    const PATIENCE: Duration = Duration::from_secs(5);
    let free = async {
        while held.strong_count() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, free).await;
}

impl Directory {
    /// Locks a directory for a kind of store, making it where there is none, and migrates it.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        kind: &'static str,
    ) -> Result<Self, StoreError> {
        // What is shared here is for its owner only.
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.map_err(StoreError::io(path))?;
        let lock_path = path.join("LOCK");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(StoreError::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(StoreError::io(lock_path)(error)),
        }
        check_format(disk, path, kind)?;
        Ok(Self {
            path: path.to_owned(),
            reserve: RESERVE_BYTES,
            _lock: lock,
            held: Arc::new(()),
        })
    }

    /// Upgrades until the lock is given up.
    pub(super) fn held(&self) -> Weak<()> {
        Arc::downgrade(&self.held)
    }

    /// The database inside.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("db")
    }

    /// An error where the disk is nearly full.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|error| StoreError::io(&self.path)(error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < self.reserve.saturating_add(bytes) {
            let (path, reserve) = (self.path.clone(), self.reserve);
            return Err(StoreError::Full {
                path,
                free,
                reserve,
            });
        }
        Ok(())
    }

    /// Keeps this many bytes free from now on.
    pub(super) fn set_reserve(&mut self, reserve: u64) {
        self.reserve = reserve;
    }
}

/// Reads `FORMAT`, a line such as `ledger 1`; writes it where the directory is new.
fn check_format(disk: &dyn Disk, path: &Path, kind: &'static str) -> Result<(), StoreError> {
    let file = path.join("FORMAT");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("{kind} {FORMAT}\n");
            return write_durably(disk, &file, text.as_bytes());
        }
        Err(error) => return Err(StoreError::io(file)(error)),
    };
    let other = || StoreError::OtherStore {
        path: path.to_owned(),
        expected: kind,
    };
    let (found_kind, version) = text.trim_end().split_once(' ').ok_or_else(other)?;
    let found: u32 = version.parse().map_err(|_| other())?;
    if found_kind != kind || found == 0 {
        return Err(other());
    }
    if found > FORMAT {
        return Err(StoreError::NewerFormat {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    for migrate in MIGRATIONS.iter().skip(found as usize - 1) {
        migrate(path)?;
    }
    if found < FORMAT {
        write_durably(disk, &file, format!("{kind} {FORMAT}\n").as_bytes())?;
    }
    Ok(())
}

/// Writes a small file so that after a crash there is the old one or the new one.
pub(super) fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    use std::io::Write;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let step = |act: &mut dyn FnMut() -> std::io::Result<()>| {
        disk.step(&mut || act().map_err(StoreError::io(path)))
    };
    let mut file = None;
    step(&mut || {
        let file = file.insert(File::create(temporary)?);
        file.write_all(bytes)
    })?;
    step(&mut || file.as_ref().map_or(Ok(()), File::sync_all))?;
    step(&mut || fs::rename(temporary, path))?;
    // A name alone has an empty parent, which means this directory.
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    step(&mut || File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SystemDisk;

    #[test]
    fn a_new_directory_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let _store = Directory::open(&SystemDisk, &path, "node").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_directory_is_locked_while_it_is_open() {
        let temporary = tempfile::tempdir().unwrap();
        let first = Directory::open(&SystemDisk, temporary.path(), "ledger").unwrap();
        let second = Directory::open(&SystemDisk, temporary.path(), "ledger").unwrap_err();
        assert!(matches!(second, StoreError::InUse(_)), "{second}");
        drop(first);
        Directory::open(&SystemDisk, temporary.path(), "ledger").unwrap();
    }

    #[test]
    fn a_newer_format_and_another_kind_are_refused_by_name() {
        let temporary = tempfile::tempdir().unwrap();
        drop(Directory::open(&SystemDisk, temporary.path(), "ledger").unwrap());
        let other = Directory::open(&SystemDisk, temporary.path(), "node").unwrap_err();
        assert!(matches!(other, StoreError::OtherStore { .. }));
        fs::write(temporary.path().join("FORMAT"), "ledger 7\n").unwrap();
        let newer = Directory::open(&SystemDisk, temporary.path(), "ledger").unwrap_err();
        assert!(newer.to_string().contains("format 7"), "{newer}");
    }

    #[test]
    fn a_nearly_full_disk_refuses_before_anything_is_written() {
        let temporary = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(&SystemDisk, temporary.path(), "ledger").unwrap();
        directory.check_room(0).unwrap();
        directory.set_reserve(u64::MAX);
        assert!(matches!(
            directory.check_room(0),
            Err(StoreError::Full { .. })
        ));
    }
}
