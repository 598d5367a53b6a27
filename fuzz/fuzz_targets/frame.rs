//! Frames between node and broker: written and read again they are the same.
#![no_main]

use bytes::Bytes;
use entente::session::{Delivery, Evidence, Frame, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = decode(Bytes::copy_from_slice(data)) {
        // A bulletin that cannot be read is refused by itself, and is not written again.
        let refused = matches!(
            &frame,
            Frame::Submit {
                bulletin: Err(_),
                ..
            }
        );
        let again = decode(encode(&frame));
        assert!(
            refused || again.as_ref() == Ok(&frame),
            "{frame:?}\n{again:?}"
        );
    }
    if let Ok(delivery) = Delivery::from_bytes(data) {
        assert_eq!(Delivery::from_bytes(&delivery.to_bytes()), Ok(delivery));
    }
    if let Ok(evidence) = Evidence::from_bytes(data) {
        assert_eq!(Evidence::from_bytes(&evidence.to_bytes()), Ok(evidence));
    }
});
