//! A password is not shown where a person types it: the program, and a terminal of the test's own.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use entente::testing::Scratch;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

const PATIENCE: Duration = Duration::from_mins(1);

/// The program at a terminal, the other end of which is here.
fn at_terminal(file: &Path) -> (Child, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let name = name.to_str().expect("a path").to_owned();
    let no_ctty = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).expect("flags");
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(no_ctty)
        .open(name);
    let child = Command::new(env!("CARGO_BIN_EXE_entente"))
        .args(["taxii", "password"])
        .arg(file)
        .stdin(slave.expect("the terminal"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    (child.expect("the program"), File::from(master))
}

fn wait_for(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn echoes(terminal: &File) -> bool {
    let modes = tcgetattr(terminal).expect("a terminal").local_modes;
    modes.contains(LocalModes::ECHO)
}

#[test]
fn what_is_typed_is_not_shown_and_the_terminal_is_as_it_was() {
    let scratch = Scratch::new().expect("a directory");
    for (second, taken) in [("correct horse", true), ("correct house", false)] {
        let file = scratch.path().join(second);
        let (mut child, mut terminal) = at_terminal(&file);
        wait_for("that it shows nothing", || !echoes(&terminal));
        write!(terminal, "correct horse\n{second}\n").expect("typed");
        let status = child.wait().expect("it ends");
        assert_eq!(status.success(), taken);
        assert_eq!(file.exists(), taken, "{second}");
        assert!(echoes(&terminal), "it is as it was");
        // What the terminal showed: the ends of the lines, at most.
        let mut shown = [0; 256];
        let count = terminal.read(&mut shown).unwrap_or(0);
        let shown = String::from_utf8_lossy(&shown[..count]);
        assert!(shown.trim().is_empty(), "{shown}");
    }
    let hash = fs::read_to_string(scratch.path().join("correct horse")).expect("a hash");
    assert!(!hash.contains("horse"), "{hash}");
}

#[test]
fn whoever_breaks_off_has_the_terminal_as_it_was() {
    let scratch = Scratch::new().expect("a directory");
    // ^C and ^\\ at once, ^Z with the line.
    for typed in ["corr\x03", "\x1c", "corr\x1a\n", "correct\ncorr\x03"] {
        let file = scratch.path().join("secret");
        let (mut child, mut terminal) = at_terminal(&file);
        wait_for("that it shows nothing", || !echoes(&terminal));
        write!(terminal, "{typed}").expect("typed");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(1), "{typed:?}");
        assert!(!file.exists(), "{typed:?}");
        let modes = tcgetattr(&terminal).expect("a terminal").local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ISIG));
    }
}

#[test]
fn a_script_says_it_in_one_line() {
    let scratch = Scratch::new().expect("a directory");
    let file = scratch.path().join("secret");
    let mut child = Command::new(env!("CARGO_BIN_EXE_entente"))
        .args(["taxii", "password"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(b"correct horse\n").expect("said");
    drop(input);
    assert!(child.wait().expect("it ends").success());
    assert!(file.exists());
}
