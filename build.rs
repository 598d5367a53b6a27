//! Compiles `proto/` with protox, so that a fresh machine needs no `protoc`.

use std::error::Error;

const FILES: [&str; 7] = [
    "entente/v1/key.proto",
    "entente/v1/bulletin.proto",
    "entente/v1/content.proto",
    "entente/v1/agreement.proto",
    "entente/v1/ledger.proto",
    "entente/v1/session.proto",
    "entente/v1/stream.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
