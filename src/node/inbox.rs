//! What the inbox keeps of a delivery.

use bytes::{Buf, BufMut, Bytes};

use crate::clock::Timestamp;
use crate::session::Delivery;

/// Why a notice without a name is not shown before its bulletin.
const EARLY: &str = "it is a notice without a name, and the bulletin it is about is not here: only \
                     that one's pseudonym could vouch for it";

/// Whether a delivery could be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Signature, root and form hold, and an agreement of ours names the clause.
    Verified,
    /// A notice that nobody is seen to sign, about a bulletin that is not here: it says nothing until
    /// that one comes, under the same pseudonym. Not handed to applications.
    Early,
    /// Something does not hold: it is kept as evidence and not handed to applications.
    Quarantined(String),
}

/// A delivery as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxItem {
    /// Whether it could be verified.
    pub verdict: Verdict,
    /// When it was received here.
    pub received: Timestamp,
    /// The delivery, with the originator's signature.
    pub delivery: Delivery,
}

impl Verdict {
    /// Why it is not handed to applications, where it is not.
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Self::Verified => None,
            Self::Early => Some(EARLY.to_owned()),
            Self::Quarantined(reason) => Some(reason.clone()),
        }
    }
}

impl InboxItem {
    /// `u8 verdict || i64 received || u16 length || reason || delivery`, big-endian.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        let (flag, reason) = match &self.verdict {
            Verdict::Verified => (0, ""),
            Verdict::Early => (2, ""),
            Verdict::Quarantined(reason) => (1, reason.as_str()),
        };
        let reason: String = reason.chars().take(1_000).collect();
        out.put_u8(flag);
        out.put_i64(self.received.micros());
        out.put_u16(u16::try_from(reason.len()).unwrap_or(0));
        out.put_slice(reason.as_bytes());
        out.put_slice(&self.delivery.to_bytes());
        out.into()
    }

    /// Reads what was kept; `None` where it is damaged.
    pub(super) fn from_bytes(bytes: &Bytes) -> Option<Self> {
        let mut rest = bytes.clone();
        let flag = rest.try_get_u8().ok()?;
        let received = Timestamp::from_micros(rest.try_get_i64().ok()?)?;
        let length = usize::from(rest.try_get_u16().ok()?);
        if rest.len() < length {
            return None;
        }
        let reason = String::from_utf8(rest.split_to(length).into()).ok()?;
        let verdict = match flag {
            0 => Verdict::Verified,
            2 => Verdict::Early,
            _ => Verdict::Quarantined(reason),
        };
        Some(Self {
            verdict,
            received,
            delivery: Delivery::from_bytes(&rest).ok()?,
        })
    }
}
