//! Verifier keys: one written form.
#![no_main]

use entente::proof::NoteKey;
use entente_fuzz::{canonical, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    text(data).and_then(canonical::<NoteKey>);
});
