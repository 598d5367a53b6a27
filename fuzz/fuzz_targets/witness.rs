//! Requests to a witness: one written form, and it cosigns nothing but what the log grows to.
#![no_main]

use entente::proof::AddCheckpoint;
use entente_fuzz::{canonical, text, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(request) = text(data).and_then(canonical::<AddCheckpoint>) else {
        return;
    };
    let world = world();
    let before = world.heads.iter().map(Some).chain([None]);
    for latest in before {
        if let Ok(cosigned) = request.judge(Some(&world.log), latest) {
            let size = latest.map_or(0, |latest| latest.size);
            assert_eq!(request.old, size);
            assert!(cosigned.size >= size && world.heads.contains(&cosigned));
        }
        assert!(request.judge(None, latest).is_err(), "no log is known");
    }
});
