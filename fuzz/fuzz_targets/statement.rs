//! What partners and broker sign about single things: written and read again it is the same.
#![no_main]

use entente::ledger::{
    Ack, Consent, Declaration, HoldDecision, Promise, RedLinesOrder, SignedDeclaration,
    SignedHoldDecision, StandingOrder,
};
use entente_fuzz::stable_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stable_bytes(data, Ack::from_bytes, Ack::to_bytes);
    stable_bytes(data, Promise::from_bytes, Promise::to_bytes);
    stable_bytes(data, RedLinesOrder::from_bytes, RedLinesOrder::to_bytes);
    stable_bytes(data, StandingOrder::from_bytes, StandingOrder::to_bytes);
    stable_bytes(data, Consent::from_bytes, Consent::to_bytes);
    stable_bytes(data, Declaration::from_bytes, Declaration::to_bytes);
    stable_bytes(data, HoldDecision::from_bytes, HoldDecision::to_bytes);
    stable_bytes(
        data,
        SignedDeclaration::from_bytes,
        SignedDeclaration::to_bytes,
    );
    stable_bytes(
        data,
        SignedHoldDecision::from_bytes,
        SignedHoldDecision::to_bytes,
    );
});
