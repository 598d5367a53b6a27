//! The `entente` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    entente::cli::main()
}
