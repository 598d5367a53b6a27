//! Key sets: written and read again they are the same, and what begins a chain was signed by its key.
#![no_main]

use entente::partner::{KeyChain, SignedKeySet};
use entente_fuzz::world;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(signed) = SignedKeySet::from_bytes(data) else {
        return;
    };
    assert_eq!(
        SignedKeySet::from_bytes(&signed.to_bytes()).as_ref(),
        Ok(&signed)
    );
    let world = world();
    let known = world
        .key_sets
        .iter()
        .find(|one| one.bytes() == signed.bytes());
    assert!(
        KeyChain::start(signed.clone()).is_err() || known.is_some(),
        "nobody signed this"
    );
    for first in &world.key_sets {
        let mut chain = KeyChain::start(first.clone()).expect("a key set");
        assert!(
            chain.push(signed.clone()).is_err(),
            "no second version was signed"
        );
    }
});
