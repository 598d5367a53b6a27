//! Tools of `PyPI` in a virtual environment that a test makes, once, below the target directory.

#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test uses its part; skips are shown"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Shell;
use std::sync::{Mutex, PoisonError};

/// Tests of one program run side by side, and may want the same environment.
static MAKING: Mutex<()> = Mutex::new(());

/// Runs a tool: what it says, or why it failed.
pub(crate) fn run(shell: &mut Shell) -> Result<String, String> {
    let output = shell.output().map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

/// The environment's `python` with these packages, as `name==version`; `None`, with a word about it, where
/// Python or the registry cannot be reached. `name` is the environment's own.
pub(crate) fn python(name: &str, packages: &[&str]) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (python, made) = (home.join("bin/python"), home.join("made"));
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = packages.join("\n");
    if fs::read_to_string(&made).is_ok_and(|there| there == wanted) {
        return Some(python);
    }
    let skipped = |what: &str, error: &str| {
        let last = error.trim_end().lines().last().unwrap_or_default();
        eprintln!("skipped: {what}: {last}");
    };
    let mut venv = Shell::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&home);
    if let Err(error) = run(&mut venv) {
        skipped("there is no python3 with venv", &error);
        return None;
    }
    let mut pip = Shell::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--retries", "1"])
        .args(["--timeout", "20"])
        .args(packages);
    if let Err(error) = run(&mut pip) {
        skipped(&format!("no {}", packages.join(", ")), &error);
        return None;
    }
    fs::write(made, wanted).expect("written");
    Some(python)
}

/// A script of the project's.
pub(crate) fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
