//! The `entente` program.

use std::process::ExitCode;

/// A bulletin is many small pieces of memory, made by one thread and given back by another: what the
/// system's allocator does badly (a fifth of a broker's processor time, by profile). Without huge pages: a broker keeps
/// a little for each of thousands of nodes, here and there, and would hold a quarter more for an idle one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    entente::cli::main()
}
