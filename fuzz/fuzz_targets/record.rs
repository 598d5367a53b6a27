//! Records: every opening of one leads to its commitment, and the fold takes any of them.
#![no_main]

use std::collections::BTreeSet;

use bytes::Bytes;
use entente::ledger::{Genesis, Reader, Record, State};
use entente_fuzz::{stable_bytes, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stable_bytes(data, Genesis::from_bytes, Genesis::to_bytes);
    let bytes = Bytes::copy_from_slice(data);
    let Ok(record) = Record::from_bytes(&bytes) else {
        return;
    };
    assert_eq!(record.bytes, bytes);
    let nobody = BTreeSet::new();
    let recipients = record.releases.iter().map(|one| &one.release.recipient);
    let readers = recipients.map(Reader::Recipient);
    for reader in readers.chain([Reader::Party, Reader::Originator(&nobody)]) {
        if let Some(opening) = record.open(reader) {
            let (commitment, shown) = opening.verify().expect("it was opened here");
            assert_eq!(commitment, record.commitment);
            assert!(shown.fact.is_none_or(|(_, fact)| fact == record.fact));
        }
    }
    // A damaged ledger may hold anything: an audit folds it and says so.
    let mut state = State::from_snapshot(&world().snapshot).expect("a snapshot");
    let size = state.size();
    state.apply(&record);
    assert_eq!(state.size(), size + 1);
});
