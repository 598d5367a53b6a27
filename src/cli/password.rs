//! A password from standard input, without showing it.

use std::io::{BufRead as _, IsTerminal as _, Stdin};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::error::CliError;
use super::report::Report;

/// A terminal that shows nothing of what is typed, until this goes.
struct Silent<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a Stdin) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        // The end of the line is shown: people see that it was taken.
        silent.local_modes |= LocalModes::ECHONL;
        // What was typed before stays to be read.
        tcsetattr(terminal, OptionalActions::Now, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// One line of standard input. A person is asked for it, twice, since nobody sees what is typed.
pub(super) fn read(report: &Report) -> Result<Zeroizing<String>, CliError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return line(&input);
    }
    // It goes back to what it was in every case.
    let _silent = Silent::new(&input).map_err(CliError::failed)?;
    report.note("The password; it is not shown:");
    let password = line(&input)?;
    report.note("Once more:");
    if *line(&input)? != *password {
        return Err(CliError::refused(
            "other_password",
            "these were two passwords; nothing is written",
        ));
    }
    Ok(password)
}

fn line(input: &Stdin) -> Result<Zeroizing<String>, CliError> {
    // Room from the beginning: a buffer that grows leaves what it held behind.
    let mut line = Zeroizing::new(String::with_capacity(1_024));
    input
        .lock()
        .read_line(&mut line)
        .map_err(CliError::failed)?;
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    if line.is_empty() {
        return Err(CliError::failed(
            "the first line of standard input is no password",
        ));
    }
    Ok(line)
}
