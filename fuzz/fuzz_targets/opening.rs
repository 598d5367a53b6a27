//! Openings: each piece leads to the commitment by itself, and no other bytes do in its place.
#![no_main]

use entente::ledger::RecordOpening;
use entente_fuzz::stable_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let read = stable_bytes(data, RecordOpening::from_bytes, RecordOpening::to_bytes);
    let Some(opening) = read else { return };
    let Ok((commitment, shown)) = opening.verify() else {
        return;
    };
    let mut releases = 0;
    for piece in &opening.pieces {
        let mut alone = RecordOpening {
            pieces: vec![piece.clone()],
        };
        let (same, says) = alone.verify().expect("a piece of what was verified");
        assert_eq!(same, commitment);
        releases += says.releases.len();
        if let Some(first) = piece.bytes.first() {
            let mut changed = piece.bytes.to_vec();
            changed[0] = !first;
            alone.pieces[0].bytes = changed.into();
            let other = alone.verify();
            assert!(other.is_err() || other.is_ok_and(|(other, _)| other != commitment));
        }
    }
    assert_eq!(shown.releases.len(), releases);
});
