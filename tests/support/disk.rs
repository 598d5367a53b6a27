//! A small disk of a test's own: a real file system, which is full when a test fills it.
//!
//! It is mounted where nobody else sees it, in a namespace that a process holds until the test ends; every process of
//! the same user reaches it by that process's root.

#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test uses its part; skips are shown"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Mounts it and holds it as long as its standard input is open.
const HOLD: &str =
    "mount -t tmpfs -o size=\"$1\",mode=700 tmpfs \"$0\" && echo mounted && exec cat";

/// A file system of a few MiB; it goes with this.
pub(crate) struct SmallDisk {
    path: PathBuf,
    holder: Child,
}

impl SmallDisk {
    /// One of so many bytes, mounted at a directory; `None`, with a word about it, where this machine does not allow it.
    pub(crate) fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", HOLD])
            .arg(at)
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut holder = match holder {
            Ok(holder) => holder,
            Err(error) => {
                eprintln!("skipped: no small disk can be mounted: unshare: {error}");
                return None;
            }
        };
        let mut said = String::new();
        let out = holder.stdout.as_mut().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("read");
        if said != "mounted\n" {
            let mut why = String::new();
            let err = holder.stderr.as_mut().expect("it is piped");
            err.read_to_string(&mut why).expect("read");
            holder.wait().expect("it ended");
            eprintln!("skipped: no small disk can be mounted: {}", why.trim());
            return None;
        }
        let inside = at.strip_prefix("/").expect("an absolute path");
        let path = Path::new("/proc").join(holder.id().to_string());
        let path = path.join("root").join(inside);
        Some(Self { path, holder })
    }

    /// Where it is, for every process of this user.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are free.
    pub(crate) fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.path).expect("a file system");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes what room there is but so many bytes; also what became free since.
    pub(crate) fn fill(&self, but: u64) {
        let mut file = self.ballast();
        while self.free() > but && file.write_all(&[1; 4_096]).is_ok() {}
    }

    /// Gives a little of what was taken back, and takes it again: room that somebody has seen is gone when it is used.
    pub(crate) fn waver(&self) {
        const LITTLE: u64 = 64 * 1024;
        let file = self.ballast();
        let length = file.metadata().expect("a file").len();
        file.set_len(length.saturating_sub(LITTLE))
            .expect("shorter");
        self.fill(0);
    }

    fn ballast(&self) -> File {
        let ballast = self.path.join("ballast");
        let file = File::options().create(true).append(true).open(ballast);
        file.expect("a file")
    }

    /// Gives back what was taken.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.path.join("ballast")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
