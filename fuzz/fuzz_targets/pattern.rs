//! STIX patterns: each is read or refused with its place, and one that is an indicator is written so that
//! it is read as that indicator again.
#![no_main]

use entente::formats::stix::pattern::{indicators, parse, pattern_of};
use entente_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    let pattern = match parse(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            assert!(
                (1..=text.chars().count() + 1).contains(&error.at),
                "{error}"
            );
            return;
        }
    };
    for content in indicators(&pattern).unwrap_or_default() {
        let written = pattern_of(&content).expect("an indicator has a pattern");
        let again = parse(&written).expect("it was written here");
        assert_eq!(indicators(&again), Some(vec![content]));
    }
});
