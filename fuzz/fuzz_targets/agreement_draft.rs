//! Agreements as operators write them: what is read can be signed, and says the same afterwards.
#![no_main]

use entente::agreement::{Agreement, parse_draft};
use entente_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(Ok(agreement)) = text(data).map(parse_draft) {
        let bytes = agreement.to_bytes();
        let again = Agreement::from_bytes(&bytes);
        assert_eq!(again.map(|again| again.to_bytes()), Ok(bytes));
    }
});
