//! Snapshots of the fold: read and written they are the same bytes, and the fold goes on from them.
#![no_main]

use bytes::Bytes;
use entente::ledger::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(state) = State::from_snapshot(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let written = Bytes::from(state.to_snapshot());
    let again = State::from_snapshot(&written).expect("what was written is read");
    assert_eq!(again.to_snapshot(), written);
    assert_eq!((again.size(), again.root()), (state.size(), state.root()));
});
