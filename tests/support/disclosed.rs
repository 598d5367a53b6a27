//! Drafts as their readers have them, without a broker between.

#![allow(dead_code, reason = "each test uses its share")]

use entente::bulletin::{BulletinId, Draft, OpenPart, Part};
use entente::clock::SeededEntropy;
use entente::formats::Disclosed;

/// A draft, published by `norland.example`, with all its parts.
pub(crate) fn disclosed(mut draft: Draft, number: u8) -> Disclosed {
    let id = || BulletinId::from_random([number; 16]);
    draft.id = Some(draft.id.unwrap_or_else(id));
    let originator = "norland.example".parse().expect("a partner");
    let now = "2026-11-23T12:00:00Z".parse().expect("a time");
    let unsealed = draft
        .into_unsealed(&originator, now, &SeededEntropy::new(1))
        .expect("a bulletin");
    let parts = (0_u64..).zip(unsealed.parts).map(|(at, part)| {
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&at.to_be_bytes());
        Part::Open(OpenPart {
            salt,
            class: part.class.to_string(),
            marking: part.marking,
            body: part.body,
        })
    });
    let parts: Vec<Part> = parts.collect();
    Disclosed::of(&unsealed.header, &parts, Some(originator.to_string()))
}
