//! Bulletins: what verifies is what its originator sealed, less what was withheld.
#![no_main]

use entente::bulletin::{Header, Part, Sealed, VerifiedBursts, open};
use entente_fuzz::{Keys, stable_bytes, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stable_bytes(data, Header::from_bytes, Header::to_bytes);
    let Some(sealed) = stable_bytes(data, Sealed::from_bytes, Sealed::to_bytes) else {
        return;
    };
    let world = world();
    let opened = open(
        sealed.clone(),
        world.now,
        &Keys,
        &mut VerifiedBursts::new(1),
    );
    if opened.is_ok() {
        let whole = world
            .sealed
            .iter()
            .filter(|one| one.header == sealed.header);
        let parts = whole.flat_map(|one| &one.parts);
        assert!(parts.clone().next().is_some(), "nobody sealed this header");
        for part in &sealed.parts {
            let leaf = part.leaf();
            let known = parts.clone().any(|one| match part {
                Part::Open(_) => one == part,
                Part::Withheld(_) => one.leaf() == leaf,
            });
            assert!(known, "nobody sealed this part");
        }
    }
});
