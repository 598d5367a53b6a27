//! Fields of protobuf messages, written at once into a buffer. For what is written for every bulletin: a message of many
//! small pieces, made first and encoded then, costs several times as much.
//!
//! The bytes are those of prost, where fields are written by their numbers: what is empty or zero is left out.

use std::ops::Range;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// The fields of a message, at the end of a buffer.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Fields<'a> {
    pub(crate) const fn at_end_of(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Bytes or a text.
    pub(crate) fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.item(tag, bytes);
        }
    }

    /// One of repeated bytes, texts or messages, which is written where it is empty, too.
    pub(crate) fn item(&mut self, tag: u32, bytes: &[u8]) {
        encode_key(tag, WireType::LengthDelimited, self.out);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    /// A number of any type that is a varint on the wire; of signed ones the two's complement.
    pub(crate) fn number(&mut self, tag: u32, number: u64) {
        if number != 0 {
            encode_key(tag, WireType::Varint, self.out);
            encode_varint(number, self.out);
        }
    }

    /// A signed number that is not zigzag-encoded; an enumeration.
    pub(crate) fn signed(&mut self, tag: u32, number: impl Into<i64>) {
        self.number(tag, number.into().cast_unsigned());
    }

    /// Repeated numbers.
    pub(crate) fn packed(&mut self, tag: u32, numbers: &[u32]) {
        if !numbers.is_empty() {
            self.message(tag, |fields| {
                for number in numbers {
                    encode_varint((*number).into(), fields.out);
                }
            });
        }
    }

    /// A message within this one.
    pub(crate) fn message(&mut self, tag: u32, write: impl FnOnce(&mut Fields<'_>)) {
        self.message_of(tag, 0, write);
    }

    /// A message of about so many bytes: where the guess is good, a large one is not moved to make room for its length.
    pub(crate) fn message_of(
        &mut self,
        tag: u32,
        about: usize,
        write: impl FnOnce(&mut Fields<'_>),
    ) {
        self.placed(tag, about, write);
    }

    /// The same, and where in the buffer it is: only of a message that is within no other, which may still be moved.
    pub(crate) fn placed(
        &mut self,
        tag: u32,
        about: usize,
        write: impl FnOnce(&mut Fields<'_>),
    ) -> Range<usize> {
        encode_key(tag, WireType::LengthDelimited, self.out);
        let start = self.out.len();
        let guessed = start + encoded_len_varint(about as u64);
        self.out.resize(guessed, 0);
        write(&mut Fields { out: self.out });
        let length = self.out.len() - guessed;
        let begins = start + encoded_len_varint(length as u64);
        if begins != guessed {
            self.out.resize(self.out.len().max(begins + length), 0);
            self.out.copy_within(guessed..guessed + length, begins);
            self.out.truncate(begins + length);
        }
        encode_varint(length as u64, &mut &mut self.out[start..begins]);
        begins..begins + length
    }

    /// The fields of a message that was made.
    pub(crate) fn encoded(&mut self, message: &impl Message) {
        self.out.extend_from_slice(&message.encode_to_vec());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::proto;

    proptest! {
        #[test]
        fn fields_are_those_of_prost_however_long_they_were_guessed(
            body in prop::collection::vec(any::<u8>(), 0..300),
            time in prop_oneof![Just(0), any::<i64>()],
            number in prop_oneof![Just(0), any::<u64>()],
            guess in 0usize..40_000,
            names in prop::collection::vec(any::<u32>(), 0..80),
            count in 0usize..90,
        ) {
            let accepted = proto::Accepted {
                header: Bytes::from(body.clone()),
                mentions: vec![proto::Mention { part: 0, names: names.clone() }; count],
                bonds: vec![proto::Bond { since: time, ..proto::Bond::default() }],
                ..proto::Accepted::default()
            };
            let fact = proto::fact::Fact::Accepted(accepted);
            let expected = proto::Fact { time, fact: Some(fact) }.encode_to_vec();
            let mut out = b"before".to_vec();
            let mut fields = Fields::at_end_of(&mut out);
            fields.signed(1, time);
            let whole = fields.placed(9, guess, |accepted| {
                accepted.bytes(1, &body);
                for _ in 0..count {
                    accepted.message(6, |mention| mention.packed(2, &names));
                }
                accepted.message(10, |bond| bond.signed(5, time));
            });
            prop_assert_eq!(whole.end, out.len());
            prop_assert_eq!(&out[6..], &expected);
            let submit = proto::Submit { sequence: number, envelope: None };
            let mut out = Vec::new();
            Fields::at_end_of(&mut out).encoded(&submit);
            let mut again = Vec::new();
            Fields::at_end_of(&mut again).number(1, number);
            let expected = submit.encode_to_vec();
            prop_assert_eq!((&out, &again), (&expected, &expected));
        }
    }
}
