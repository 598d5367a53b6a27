//! MISP events: each is read or refused, and what is made of it can be published; nothing of it goes less far
//! than the publisher allows.
#![no_main]

use entente::bulletin::{Precedence, Tlp};
use entente::formats::Labels;
use entente::formats::misp::{drafts, read_event};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = read_event(data) else { return };
    let labels = Labels {
        kinds: Vec::new(),
        topics: Vec::new(),
        regions: Vec::new(),
        tlp: Tlp::Green,
        precedence: Precedence::Routine,
        releasable_to: Vec::new(),
        exercise: false,
    };
    let Ok(made) = drafts(&event, &labels, &[]) else {
        return;
    };
    for draft in &made.drafts {
        assert!(draft.tlp >= Tlp::Green);
        draft.check().expect("every part was checked");
    }
});
