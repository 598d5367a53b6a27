//! Signed notes: one written form, and nobody signs but who has the key.
#![no_main]

use entente::proof::Note;
use entente_fuzz::{canonical, text, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(note) = text(data).and_then(canonical::<Note>) else {
        return;
    };
    let world = world();
    let witness = world.policy.witnesses().map(|(_, known)| &known.key);
    let keys: Vec<_> = witness.chain([&world.log]).collect();
    if let Ok(text) = note.verify(&keys) {
        let known = |one: &String| one.starts_with(text) && one[text.len()..].starts_with('\n');
        assert!(world.notes.iter().any(known), "nobody signed this:\n{text}");
    }
});
