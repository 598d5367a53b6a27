//! XML of others: CAP alerts and confidentiality labels. An alert that is read is a bulletin; a label that is read
//! is written so that it is read as the same again.
#![no_main]

use entente::bulletin::{Precedence, Tlp};
use entente::formats::Labels;
use entente::formats::cap::{draft, read_alert};
use entente::formats::stanag4774::{read_label, write_label};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(alert) = read_alert(data) {
        let labels = Labels {
            kinds: Vec::new(),
            topics: Vec::new(),
            regions: Vec::new(),
            tlp: Tlp::Clear,
            precedence: Precedence::Flash,
            releasable_to: Vec::new(),
            exercise: false,
        };
        let draft = draft(&alert, &labels, &[]);
        draft.check().expect("it was read");
        assert!(draft.exercise == alert.exercise && draft.tlp == alert.tlp);
    }
    if let Ok(label) = read_label(data) {
        let again = read_label(write_label(&label).as_bytes()).expect("it was written here");
        assert_eq!(again.classification, label.classification);
        assert_eq!(again.releasable_to, label.releasable_to);
    }
});
