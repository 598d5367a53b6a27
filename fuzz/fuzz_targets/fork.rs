//! Proofs of forks: one written form, and only what the key did sign accuses it.
#![no_main]

use entente::proof::{Checkpoint, ForkProof};
use entente_fuzz::{canonical, text, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(proof) = text(data).and_then(canonical::<ForkProof>) else {
        return;
    };
    let world = world();
    if let Ok(forked) = proof.verify(&world.log) {
        let second = Checkpoint::verify(&world.fork.second, &world.log).expect("signed");
        let signed = |one: &Checkpoint| *one == second || world.heads.contains(one);
        assert!(signed(&forked.first) && signed(&forked.second));
        // One history never contradicts itself: the other one must be there.
        assert!([&forked.first, &forked.second].contains(&&second));
    }
});
