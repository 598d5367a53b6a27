//! Tiles and entry bundles (C2SP tlog-tiles, v0.1.0): the log's tree as files that never change.
//!
//! Tile `(level, index)` of width `w` holds the roots of `w` whole subtrees of `256^level` leaves
//! each, from subtree `256 * index` on. A whole tile is 256 hashes, 8,192 bytes. An entry bundle
//! holds the entries below a tile of level 0, each after its length as a big-endian `u16`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::hash::Digest;

/// Hashes in a whole tile, entries in a whole bundle.
pub const TILE_WIDTH: u16 = 256;
/// Binary levels of the tree in one level of tiles.
pub(super) const TILE_HEIGHT: u32 = 8;
/// The highest level that the specification knows.
const MAX_LEVEL: u8 = 63;

/// What a tile is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes at a level, 0 to 63.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// Names a tile or an entry bundle: `tile/0/x001/x234/067`, `tile/entries/000.p/112`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// Text that names no tile.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this is no path of a tile, such as tile/0/x001/x234/067.p/8 or tile/entries/000")]
pub struct InvalidTilePath;

/// Bytes that are no tile or bundle of the width its path names.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the bytes are no tile of this width")]
pub struct InvalidTile;

impl TilePath {
    /// A tile's name; `None` for a level above 63 and a width that is not 1 to 256.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Option<Self> {
        let level_ok = !matches!(kind, TileKind::Hashes(level) if level > MAX_LEVEL);
        (level_ok && (1..=TILE_WIDTH).contains(&width)).then_some(Self { kind, index, width })
    }

    /// The widest form of a tile in a tree of this size; `None` where the tree has nothing of it.
    pub fn in_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let level = match kind {
            TileKind::Hashes(level) => u32::from(level),
            TileKind::Entries => 0,
        };
        let whole = size.checked_shr(TILE_HEIGHT * level).unwrap_or(0);
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let width = whole.saturating_sub(first).min(u64::from(TILE_WIDTH));
        Self::new(kind, index, u16::try_from(width).ok()?)
    }

    /// What it is made of.
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Which of its level, from 0.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds, 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether a tree of this size has all that the tile holds.
    pub fn is_in(&self, size: u64) -> bool {
        Self::in_tree(self.kind, self.index, size).is_some_and(|widest| widest.width >= self.width)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        while let Some(group) = groups.pop() {
            if groups.is_empty() {
                write!(f, "{group:03}")?;
            } else {
                write!(f, "x{group:03}/")?;
            }
        }
        if self.width < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for TilePath {
    type Err = InvalidTilePath;

    /// Only the one written form is read.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (level, rest) = text.strip_prefix("tile/")?.split_once('/')?;
            let kind = match level {
                "entries" => TileKind::Entries,
                level => TileKind::Hashes(level.parse().ok()?),
            };
            let (index, width) = match rest.split_once(".p/") {
                Some((index, width)) => (index, width.parse().ok()?),
                None => (rest, TILE_WIDTH),
            };
            let mut number = 0u64;
            for group in index.split('/') {
                let digits = group.strip_prefix('x').unwrap_or(group);
                let group: u64 = digits.parse().ok()?;
                number = number.checked_mul(1000)?.checked_add(group)?;
            }
            Self::new(kind, number, width)
        };
        // Signs, missing zeros, a stray `x` and a whole tile named as a partial one do not survive.
        read()
            .filter(|path| path.to_string() == text)
            .ok_or(InvalidTilePath)
    }
}

/// The bytes of a tile.
pub fn tile_bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile that its path says is so wide.
pub fn tile_hashes(path: &TilePath, bytes: &[u8]) -> Result<Vec<Digest>, InvalidTile> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() != usize::from(path.width) {
        return Err(InvalidTile);
    }
    Ok(hashes.iter().map(|hash| Digest(*hash)).collect())
}

/// The bytes of an entry bundle; an error where an entry has more than 65,535 bytes.
pub fn bundle_bytes<'a>(
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, InvalidTile> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| InvalidTile)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle that its path says is so wide.
pub fn bundle_entries<'a>(
    path: &TilePath,
    mut bytes: &'a [u8],
) -> Result<Vec<&'a [u8]>, InvalidTile> {
    let mut entries = Vec::with_capacity(usize::from(path.width));
    for _ in 0..path.width {
        let (length, rest) = bytes.split_first_chunk().ok_or(InvalidTile)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or(InvalidTile)?;
        entries.push(entry);
        bytes = rest;
    }
    if bytes.is_empty() {
        Ok(entries)
    } else {
        Err(InvalidTile)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (kind, index, width, text) in [
            (TileKind::Hashes(0), 1_234_067, 256, "tile/0/x001/x234/067"),
            (TileKind::Hashes(0), 999, 256, "tile/0/999"),
            (TileKind::Hashes(0), 1000, 256, "tile/0/x001/000"),
            (TileKind::Hashes(1), 1, 17, "tile/1/001.p/17"),
            (TileKind::Hashes(63), 0, 1, "tile/63/000.p/1"),
            (TileKind::Entries, 273, 112, "tile/entries/273.p/112"),
        ] {
            let path = TilePath::new(kind, index, width).unwrap();
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
        }
    }

    #[test]
    fn only_the_one_written_form_is_read() {
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/x002",
            "tile/0/x001",
            "tile/0/+01",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/257",
            "tile/0/001.p/01",
            "tile/0/001.p/",
            "tile/64/000",
            "tile/00/000",
            "tile/-1/000",
            "tile/entries/000/",
            "tile/data/000",
            "/tile/0/000",
            "tile/0/../000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(bad.parse::<TilePath>(), Err(InvalidTilePath), "{bad}");
        }
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
        let widest = |level, index| {
            TilePath::in_tree(TileKind::Hashes(level), index, 70_000).map(|path| path.width)
        };
        assert_eq!(widest(0, 272), Some(256));
        assert_eq!(widest(0, 273), Some(112));
        assert_eq!(widest(0, 274), None);
        assert_eq!(widest(1, 0), Some(256));
        assert_eq!(widest(1, 1), Some(17));
        assert_eq!(widest(2, 0), Some(1));
        assert_eq!(widest(3, 0), None);
        assert_eq!(widest(63, 0), None);
        let one = TilePath::in_tree(TileKind::Hashes(1), 0, 256).unwrap();
        assert_eq!(one.width, 1);
        assert!(TilePath::in_tree(TileKind::Entries, u64::MAX, u64::MAX).is_none());
    }

    #[test]
    fn a_bundle_is_read_whole_or_not_at_all() {
        let path = TilePath::new(TileKind::Entries, 0, 2).unwrap();
        let bytes = bundle_bytes([b"one".as_slice(), b""]).unwrap();
        assert_eq!(bytes, b"\0\x03one\0\0");
        assert_eq!(bundle_entries(&path, &bytes).unwrap(), [b"one", &b""[..]]);
        for bad in [&bytes[..6], &[&bytes[..], b"\0"].concat(), b"\0\x09one"] {
            assert_eq!(bundle_entries(&path, bad), Err(InvalidTile));
        }
        assert!(bundle_bytes([vec![0; 65_536].as_slice()]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            level in 0u8..=64, index: u64, width in 1u16..=256
        ) {
            let kind = if level == 64 { TileKind::Entries } else { TileKind::Hashes(level) };
            let path = TilePath::new(kind, index, width).unwrap();
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }

        #[test]
        fn reading_never_panics(text in "(tile/)?[0-9a-z./+-]{0,40}") {
            if let Ok(path) = text.parse::<TilePath>() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
