//! A password from standard input, without showing it.

use std::io::{BufRead as _, IsTerminal as _, Stdin};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::error::CliError;
use super::report::Report;

/// A terminal that shows nothing of what is typed, until this goes. Keys that would end or stop the program, and leave
/// it so, are read as others are.
struct Silent<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

/// Keys that would end or stop the program.
const ENDING: [SpecialCodeIndex; 3] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VSUSP,
];

impl<'a> Silent<'a> {
    fn new(terminal: &'a Stdin) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        // The end of the line is shown: people see that it was taken.
        silent.local_modes |= LocalModes::ECHONL | LocalModes::IEXTEN;
        silent.local_modes -= LocalModes::ISIG;
        // What was typed up to one of these comes at once, without the end of the line.
        silent.special_codes[SpecialCodeIndex::VEOL] = before.special_codes[ENDING[0]];
        silent.special_codes[SpecialCodeIndex::VEOL2] = before.special_codes[ENDING[1]];
        // What was typed before stays to be read.
        tcsetattr(terminal, OptionalActions::Now, &silent)?;
        Ok(Self { terminal, before })
    }

    /// The bytes of those keys; a terminal may have none.
    fn ending(&self) -> Vec<u8> {
        let codes = ENDING.map(|code| self.before.special_codes[code]);
        codes.into_iter().filter(|byte| *byte != 0).collect()
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
        return line(&input, &[]);
    }
    // It goes back to what it was in every case.
    let silent = Silent::new(&input).map_err(CliError::failed)?;
    let ending = silent.ending();
    report.note("The password; it is not shown:");
    let password = line(&input, &ending)?;
    report.note("Once more:");
    if *line(&input, &ending)? != *password {
        return Err(CliError::refused(
            "other_password",
            "these were two passwords; nothing is written",
        ));
    }
    Ok(password)
}

/// A line, unless one of the bytes of `ending` is in it.
fn line(input: &Stdin, ending: &[u8]) -> Result<Zeroizing<String>, CliError> {
    // Room from the beginning: a buffer that grows leaves what it held behind.
    let mut line = Zeroizing::new(Vec::with_capacity(1_024));
    let mut input = input.lock();
    loop {
        let read = input.fill_buf().map_err(CliError::failed)?;
        let end = read.iter().position(|byte| *byte == b'\n');
        let read = &read[..end.unwrap_or(read.len())];
        if read.iter().any(|byte| ending.contains(byte)) {
            return Err(CliError::refused(
                "interrupted",
                "interrupted; nothing is written",
            ));
        }
        line.extend_from_slice(read);
        let count = read.len();
        input.consume(count + usize::from(end.is_some()));
        if end.is_some() || count == 0 {
            break;
        }
    }
    let text = std::str::from_utf8(&line).map_err(CliError::failed)?;
    let text = text.trim_end_matches('\r');
    if text.is_empty() {
        return Err(CliError::failed(
            "the first line of standard input is no password",
        ));
    }
    let mut password = Zeroizing::new(String::with_capacity(text.len()));
    password.push_str(text);
    Ok(password)
}
