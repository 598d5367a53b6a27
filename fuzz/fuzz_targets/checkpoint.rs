//! Checkpoints: what is read stands there, in its one written form.
#![no_main]

use entente::proof::Checkpoint;
use entente_fuzz::{text, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        let written = checkpoint.to_text();
        assert_eq!(Checkpoint::parse(&written), Ok(checkpoint));
        assert!(format!("{text}\n").starts_with(&written), "{written}");
    }
    let world = world();
    if let Ok(signed) = Checkpoint::verify(text, &world.log) {
        assert!(world.heads.contains(&signed), "nobody signed {signed:?}");
    }
});
