//! Agreements as they are signed: canonical to the last bit, and in force only as their parties signed.
#![no_main]

use bytes::Bytes;
use entente::agreement::{Agreement, SignedAgreement, SignedWithdrawal, Withdrawal};
use entente::partner::KeyChain;
use entente_fuzz::world;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let world = world();
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(terms) = Agreement::from_bytes(&bytes) {
        assert_eq!(terms.to_bytes(), bytes);
    }
    if let Ok(withdrawal) = Withdrawal::from_bytes(&bytes) {
        assert_eq!(withdrawal.to_bytes(), bytes);
    }
    let chains: Vec<KeyChain> = world
        .key_sets
        .iter()
        .map(|one| KeyChain::start(one.clone()).expect("a key set"))
        .collect();
    let chain = |partner: &_| chains.iter().find(|one| one.current().partner == *partner);
    if let Ok(signed) = SignedAgreement::from_file(data) {
        let again = SignedAgreement::from_file(&signed.to_file());
        assert_eq!(again.as_ref(), Ok(&signed));
        if signed.check(world.ledger.0, chain, Some(world.now)).is_ok() {
            assert_eq!(
                signed.bytes(),
                world.agreement.bytes(),
                "nobody signed this"
            );
        }
    }
    if let Ok(signed) = SignedWithdrawal::from_file(data) {
        let again = SignedWithdrawal::from_file(&signed.to_file());
        assert_eq!(again.as_ref(), Ok(&signed));
        let ratified = world.agreement.check(world.ledger.0, chain, None);
        let ratified = ratified.expect("its parties signed it");
        if signed.check(&ratified, chain, world.now).is_ok() {
            assert_eq!(
                signed.bytes(),
                world.withdrawal.bytes(),
                "nobody signed this"
            );
        }
    }
});
