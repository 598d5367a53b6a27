//! Base64 in its one form (RFC 4648, section 4): padded, with zeros in the bits that are left over, and
//! with nothing after the padding.

use data_encoding::BASE64;

/// Reads base64. The decoder itself takes encodings put one after the other for one of all their bytes;
/// a signature that has a second written form is a second note.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let padding = text.find('=').map_or("", |at| &text[at..]);
    matches!(padding, "" | "=" | "==")
        .then(|| BASE64.decode(text.as_bytes()).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_form_of_it() {
        assert_eq!(decode_base64("AQID"), Some(vec![1, 2, 3]));
        assert_eq!(decode_base64("AQ=="), Some(vec![1]));
        assert_eq!(decode_base64(""), Some(vec![]));
        // Two encodings in a row, stray bits, padding too much or too little, other alphabets.
        for bad in [
            "AQ==AQ==", "AQI=AQ==", "AQID====", "AR==", "AQ=", "AQ", "A_8=", "AQ ==", "==",
            "AQ==\n",
        ] {
            assert_eq!(decode_base64(bad), None, "{bad:?}");
        }
    }
}
