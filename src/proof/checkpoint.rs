//! Checkpoints (C2SP tlog-checkpoint, v1.0.0): the head of a log, as the text of a note.

use data_encoding::BASE64;
use thiserror::Error;

use super::base64::decode_base64;
use super::hash::Digest;

/// The head of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// Root of its tree.
    pub root: Digest,
}

/// Text that is no checkpoint.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the checkpoint's {0} cannot be read")]
pub struct MalformedCheckpoint(pub(super) &'static str);

impl Checkpoint {
    /// The text of the note.
    pub fn to_text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64.encode(&self.root.0)
        )
    }

    /// Reads the text of a note. Extension lines after the third are passed over.
    pub fn parse(text: &str) -> Result<Self, MalformedCheckpoint> {
        let malformed = MalformedCheckpoint;
        let mut lines = text.split_terminator('\n');
        let origin = lines
            .next()
            .filter(|line| !line.is_empty())
            .ok_or_else(|| malformed("origin"))?;
        let size = lines
            .next()
            .and_then(read_size)
            .ok_or_else(|| malformed("size"))?;
        let root = lines.next().and_then(decode_base64);
        let root = root.and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root: root.ok_or_else(|| malformed("root"))?,
        })
    }
}

/// Decimal digits without sign, space or leading zero.
pub(super) fn read_size(line: &str) -> Option<u64> {
    let plain = line.bytes().all(|b| b.is_ascii_digit()) && (line == "0" || !line.starts_with('0'));
    plain.then(|| line.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_plain_decimal_numbers() {
        let root = BASE64.encode(&[0; 32]);
        let read = |size: &str| Checkpoint::parse(&format!("origin\n{size}\n{root}\n"));
        assert_eq!(read("18446744073709551615").unwrap().size, u64::MAX);
        assert_eq!(read("0").unwrap().size, 0);
        for bad in [
            "+5",
            "05",
            "",
            " 5",
            "5 ",
            "18446744073709551616",
            "-1",
            "0x5",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
