//! Paths of tiles: one written form, and what it says is what it was made of.
#![no_main]

use entente::proof::TilePath;
use entente_fuzz::{canonical, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(path) = text(data).and_then(canonical::<TilePath>) {
        let again = TilePath::new(path.kind(), path.index(), path.width());
        assert_eq!(again, Some(path));
        assert!(!path.is_in(0), "an empty tree has no tiles");
    }
});
