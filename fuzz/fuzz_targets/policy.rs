//! Policies: written and read again they say the same, and believe nothing that nobody signed.
#![no_main]

use entente::proof::Policy;
use entente_fuzz::{text, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    let Ok(policy) = text.parse::<Policy>() else {
        return;
    };
    let written = policy.to_string();
    let again: Policy = written.parse().expect("what was written is read");
    assert_eq!(again.to_string(), written);
    let world = world();
    for note in &world.notes {
        let believed = policy.check(note);
        assert_eq!(again.check(note), believed);
        if let Ok(witnessed) = believed {
            assert!(policy.logs().iter().any(|known| known.key == world.log));
            assert!(world.heads.contains(&witnessed.checkpoint));
            // Asking for one more never believes more.
            let stricter = policy.and_mandatory(&world.log);
            assert!(stricter.check(note).is_ok() || stricter.has_quorum());
        }
    }
});
