//! Bulletins as applications write them: what can be sealed opens again, for whoever knows the key.
#![no_main]

use entente::bulletin::{Content, Draft, Part, Sealed, VerifiedBursts, open, seal};
use entente::clock::SeededEntropy;
use entente::proof::SecretKey;
use entente_fuzz::{Keys, text, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(Ok(draft)) = text(data).map(Draft::from_toml) else {
        return;
    };
    let checked = draft.check();
    let (entropy, now) = (SeededEntropy::new(1), world().now);
    let norland = "norland.example".parse().expect("a partner");
    let pseudonym = draft.pseudonym.is_some();
    let Ok(unsealed) = draft.into_unsealed(&norland, now, &entropy) else {
        return;
    };
    assert!(!pseudonym && checked.is_ok());
    let key = SecretKey::from_seed([11; 32]).expect("a key");
    let Ok(sealed) = seal(vec![unsealed], &key, &entropy) else {
        return;
    };
    let again = Sealed::from_bytes(&sealed[0].to_bytes()).expect("what was written is read");
    assert_eq!(again, sealed[0]);
    for part in &again.parts {
        let Part::Open(part) = part else {
            panic!("nothing is withheld")
        };
        let class = part.class.parse().expect("a known class");
        Content::decode(class, &part.body).expect("what was encoded is read");
    }
    let opened = open(again, now, &Keys, &mut VerifiedBursts::new(1));
    opened.expect("what was sealed opens");
});
