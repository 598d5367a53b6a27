//! STIX: every object is taken as it stands or refused by itself, and none goes further alone than it
//! goes in its bundle.
#![no_main]

use entente::bulletin::{Precedence, Tlp};
use entente::formats::stix::{Labels, drafts, read_bundle};
use entente_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(bundle) = read_bundle(data) else {
        return;
    };
    let text = text(data).expect("only text is read");
    assert!(!bundle.objects.is_empty() || !bundle.refused.is_empty());
    let mut strictest = Tlp::Green;
    for object in &bundle.objects {
        assert!(
            text.contains(&object.json),
            "it was taken otherwise than it stands"
        );
        let alone = read_bundle(object.json.as_bytes()).expect("it was read");
        let alone = alone.objects.first().expect("it is valid by itself");
        assert_eq!((&alone.id, alone.class), (&object.id, object.class));
        // What marks it may be elsewhere in the bundle: without that it goes less far.
        assert!(alone.tlp >= object.tlp, "{alone:?}\n{object:?}");
        strictest = strictest.max(object.tlp.unwrap_or(Tlp::Green));
    }
    let labels = Labels {
        kinds: Vec::new(),
        topics: Vec::new(),
        regions: Vec::new(),
        tlp: Tlp::Green,
        precedence: Precedence::Routine,
        releasable_to: Vec::new(),
        exercise: false,
    };
    let objects = bundle.objects.len();
    let drafts = drafts(bundle, &labels);
    assert_eq!(
        drafts.iter().map(|one| one.parts.len()).sum::<usize>(),
        objects
    );
    assert!(drafts.iter().all(|one| one.tlp >= Tlp::Green));
    assert!(objects == 0 || drafts.iter().any(|one| one.tlp == strictest));
});
