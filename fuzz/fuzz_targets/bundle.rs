//! Tiles and entry bundles: what is read is what stands there, to the last byte.
#![no_main]

use entente::proof::{TileKind, TilePath, bundle_bytes, bundle_entries, tile_bytes, tile_hashes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((width, bytes)) = data.split_first() else {
        return;
    };
    let width = u16::from(*width) + 1;
    let path = |kind| TilePath::new(kind, 0, width).expect("a width from 1 to 256");
    if let Ok(entries) = bundle_entries(&path(TileKind::Entries), bytes) {
        assert_eq!(entries.len(), usize::from(width));
        let again =
            bundle_bytes(entries.iter().copied()).expect("each was short enough to be read");
        assert_eq!(again, bytes);
    }
    if let Ok(hashes) = tile_hashes(&path(TileKind::Hashes(0)), bytes) {
        assert_eq!(hashes.len(), usize::from(width));
        assert_eq!(tile_bytes(&hashes), bytes);
    }
});
