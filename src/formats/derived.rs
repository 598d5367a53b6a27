//! Ids of what we make for other tools: the same for the same thing, on every machine.

use ring::digest;
use uuid::Uuid;

/// Our namespace (random, once). STIX's is for its observables alone.
const ENTENTE: Uuid = Uuid::from_u128(0x6d0f_5a1c_8c47_4c0e_9f0b_2d5f_3f7e_91d4);

/// A version 5 UUID (RFC 9562, section 5.5).
pub(super) fn uuid5(namespace: Uuid, name: &[u8]) -> Uuid {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(namespace.as_bytes());
    context.update(name);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&context.finish().as_ref()[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid()
}

/// The UUID of what these words name.
pub(super) fn derived(words: &[&str]) -> Uuid {
    // Each with its length, so that no two lists of words are one text.
    let mut name = String::new();
    for word in words {
        name.push_str(&word.len().to_string());
        name.push(':');
        name.push_str(word);
        name.push('\n');
    }
    uuid5(ENTENTE, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        assert_ne!(derived(&["a", "b"]), derived(&["ab", ""]));
        assert_eq!(derived(&["a"]), derived(&["a"]));
    }
}
