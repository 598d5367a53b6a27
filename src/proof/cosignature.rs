//! Cosignatures (C2SP tlog-cosignature, v1.1.0): what they cover.
//!
//! ```text
//! signature    = u64 time, big-endian || Ed25519 or ML-DSA-44 signature
//! Ed25519 over   "cosignature/v1\n" "time " decimal "\n" text of the checkpoint
//! ML-DSA over    "subtree/v1\n\0" || opaque cosigner<1..255> || u64 time || opaque origin<1..255>
//!                || u64 0 || u64 size || root
//! ```

use super::checkpoint::Checkpoint;

/// The time and the signature in a signature line. A checkpoint's cosigner states a time.
pub(super) fn split(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = signature.split_first_chunk()?;
    let time = u64::from_be_bytes(*time);
    (time > 0 && i64::try_from(time).is_ok()).then_some((time, signature))
}

pub(super) fn ed25519_message(time: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// `None` where the text is no checkpoint, or a name has no length that can be written.
pub(super) fn ml_dsa_message(cosigner: &str, time: u64, text: &str) -> Option<Vec<u8>> {
    let checkpoint = Checkpoint::parse(text).ok()?;
    let mut message = b"subtree/v1\n\0".to_vec();
    let opaque = |message: &mut Vec<u8>, name: &str| {
        message.push(u8::try_from(name.len()).ok().filter(|length| *length > 0)?);
        message.extend_from_slice(name.as_bytes());
        Some(())
    };
    opaque(&mut message, cosigner)?;
    message.extend_from_slice(&time.to_be_bytes());
    opaque(&mut message, &checkpoint.origin)?;
    message.extend_from_slice(&0u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.size.to_be_bytes());
    message.extend_from_slice(checkpoint.root.as_bytes());
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "example.com/behind-the-sofa\n20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_messages_are_those_of_the_specification() {
        let message = ed25519_message(1_679_315_147, TEXT);
        let expected = format!("cosignature/v1\ntime 1679315147\n{TEXT}");
        assert_eq!(message, expected.as_bytes());
        let message = ml_dsa_message("w1", 7, TEXT).unwrap();
        let root = Checkpoint::parse(TEXT).unwrap().root;
        let expected = [
            b"subtree/v1\n\0\x02w1\0\0\0\0\0\0\0\x07\x1bexample.com/behind-the-sofa".as_slice(),
            &[0; 8],
            &20_852_163u64.to_be_bytes(),
            root.as_bytes(),
        ];
        assert_eq!(message, expected.concat());
        assert_eq!(ml_dsa_message("w1", 7, "no checkpoint\n"), None);
        assert_eq!(ml_dsa_message(&"w".repeat(256), 7, TEXT), None);
    }

    #[test]
    fn the_time_stands_before_the_signature() {
        // The signature line of the specification's introduction.
        let line = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZq\
            hf5nNo0xUe+mbIUBkBIfZ+qnA==";
        let blob = data_encoding::BASE64.decode(line.as_bytes()).unwrap();
        let (time, signature) = split(&blob[4..]).unwrap();
        assert_eq!((time, signature.len()), (1_679_315_147, 64));
    }
}
