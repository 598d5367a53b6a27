//! Receipts: the proof has one written form, and whatever it proves stands in the log at that place.
#![no_main]

use entente::ledger::{Receipt, Record};
use entente::proof::TlogProof;
use entente_fuzz::{canonical, stable, text, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    canonical::<TlogProof>(text);
    let Some(receipt) = stable::<Receipt>(text) else {
        return;
    };
    let world = world();
    if let Ok(proven) = receipt.verify(&world.policy) {
        let at = usize::try_from(proven.position).expect("a small log");
        let record = Record::from_bytes(&world.records[at]).expect("a record");
        let (commitment, _) = receipt.opening.verify().expect("it was verified");
        assert_eq!(commitment, record.commitment);
        if let Some((_, fact)) = proven.shown.fact {
            assert_eq!(fact, record.fact);
        }
        for release in &proven.shown.releases {
            assert!(record.releases.contains(release));
        }
    }
});
