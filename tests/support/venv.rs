//! A Python virtual environment with packages of fixed versions, made once below `target/`.

#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test uses its share; skips are shown"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The interpreter of an environment with these packages; `None` with a word about it where Python or
/// the registry cannot be reached.
pub(crate) fn python(name: &str, packages: &[&str]) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = root.join("bin/python");
    let done = root.join("packages");
    let wanted = packages.join("\n");
    if fs::read_to_string(&done).is_ok_and(|had| had == wanted) {
        return Some(python);
    }
    let said = |what: &str, output: std::io::Result<Output>| match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().last().unwrap_or_default();
            eprintln!("skipped: {what}: {last}");
            false
        }
        Err(error) => {
            eprintln!("skipped: {what}: {error}");
            false
        }
    };
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&root);
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]);
    pip.args(["--retries", "1", "--timeout", "20"])
        .args(packages);
    let made = said("there is no python3 with venv", venv.output())
        && said("the packages cannot be had", pip.output());
    if !made {
        return None;
    }
    fs::write(done, wanted).expect("a file");
    Some(python)
}
