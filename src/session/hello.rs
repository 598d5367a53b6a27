//! The greeting: versions and limits, and a refusal that says why.

use std::time::Duration;

use thiserror::Error;

use super::limits::{MAX_FRAME_BYTES, MAX_NOTICES, MAX_OUTSTANDING, MAX_SKEW, PROTOCOL_VERSION};
use crate::bulletin::{MAX_BULLETIN_BYTES, MAX_PARTS, Precedence};
use crate::clock::Timestamp;
use crate::ledger::{LaneAck, LedgerId};
use crate::partner::SpiffeId;
use crate::proof::{Digest, Hasher, NoteKey};

/// What one side is willing to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame.
    pub frame_bytes: u64,
    /// Bytes of a bulletin.
    pub bulletin_bytes: u64,
    /// Parts of a bulletin.
    pub parts: usize,
    /// Bulletins submitted and not yet answered.
    pub outstanding: usize,
    /// Notices beside them; 0: they are counted among them.
    pub notices: usize,
}

impl Limits {
    /// Those of this version.
    pub const OURS: Self = Self {
        frame_bytes: MAX_FRAME_BYTES as u64,
        bulletin_bytes: MAX_BULLETIN_BYTES as u64,
        parts: MAX_PARTS,
        outstanding: MAX_OUTSTANDING,
        notices: MAX_NOTICES,
    };
}

/// A node's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions it speaks.
    pub versions: Vec<u32>,
    /// What it is willing to receive.
    pub limits: Limits,
    /// Name and version of the program.
    pub agent: String,
    /// Its clock.
    pub time: Timestamp,
    /// The last number it received durably in each lane.
    pub resume: Vec<LaneAck>,
    /// The ledger it knows; `None` at the first contact.
    pub ledger: Option<LedgerId>,
    /// The keys with which it cosigns checkpoints.
    pub witness: Vec<NoteKey>,
    /// The last checkpoint that it knows, as the log signed it; empty where it knows none.
    pub checkpoint: String,
}

/// The broker's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version both will speak.
    pub version: u32,
    /// What the broker is willing to receive.
    pub limits: Limits,
    /// Name and version of the program.
    pub agent: String,
    /// The broker's ledger.
    pub ledger: LedgerId,
    /// The genesis fact: hashes to the ledger's id, and names the log's key.
    pub genesis: bytes::Bytes,
    /// The broker's clock.
    pub time: Timestamp,
    /// The last checkpoint that it signed, with the cosignatures that came; empty where it signed none.
    pub checkpoint: String,
    /// Records in the log, with what covers them until the next checkpoint; 0 where a broker does not tell.
    pub size: u64,
    /// Within this delay a checkpoint covers what is recorded; zero where a broker does not tell.
    pub merge_delay: Duration,
    /// Lanes of which the node holds more than the log has acknowledged.
    pub tails: Vec<LaneTail>,
}

/// What the log has of a lane beyond what its recipient acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneTail {
    /// Which lane.
    pub precedence: Precedence,
    /// Everything up to this number is acknowledged in the log.
    pub acked: u64,
    /// The [`tail_mark`]s of the numbers that follow, at most [`MAX_TAIL`].
    ///
    /// [`MAX_TAIL`]: super::MAX_TAIL
    pub marks: Vec<Digest>,
}

/// What says which bulletin a number of a lane carried to who holds it, and nothing to who does not: a node
/// may claim to hold what it never had.
///
/// ```text
/// SHA-256("entente/tail/v1\n" || u64 number || SHA-256(header))        big-endian
/// ```
pub fn tail_mark(number: u64, header: &Digest) -> Digest {
    let hasher = Hasher::new().chain(b"entente/tail/v1\n");
    let hasher = hasher.chain(&number.to_be_bytes());
    hasher.chain(header.as_bytes()).finish()
}

/// A refusal, as a code for machines and a sentence for people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message} ({code})")]
pub struct Refusal {
    /// Stable, as `unsupported_version`.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal with this code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// The name of a node's witness: its SPIFFE ID without the scheme.
pub fn witness_name(node: &SpiffeId) -> String {
    let id = node.to_string();
    id.strip_prefix("spiffe://").unwrap_or(&id).to_owned()
}

/// What the broker makes of a greeting: the version to speak, or why it cannot serve this node.
pub fn greet(hello: &Hello, ledger: LedgerId, now: Timestamp) -> Result<u32, Refusal> {
    if !hello.versions.contains(&PROTOCOL_VERSION) {
        return Err(Refusal::new(
            "unsupported_version",
            format!(
                "this broker speaks protocol version {PROTOCOL_VERSION}, the node {:?}; upgrade the older",
                hello.versions
            ),
        ));
    }
    let skew = now.since(hello.time).max(hello.time.since(now));
    if skew > MAX_SKEW {
        return Err(Refusal::new(
            "clock_skew",
            format!(
                "the node's clock says {}, the broker's {now}; set the wrong one",
                hello.time
            ),
        ));
    }
    if hello.ledger.is_some_and(|known| known != ledger) {
        return Err(Refusal::new(
            "other_ledger",
            format!("the node knows another ledger; this broker's is {ledger}"),
        ));
    }
    if hello.limits.frame_bytes < Limits::OURS.frame_bytes {
        return Err(Refusal::new(
            "limits",
            format!(
                "the node takes frames of {} bytes; a bulletin may need {}",
                hello.limits.frame_bytes,
                Limits::OURS.frame_bytes
            ),
        ));
    }
    Ok(PROTOCOL_VERSION)
}

/// What a node makes of the broker's answer: whether it can work with it, or why not.
pub fn accept(welcome: &Welcome, now: Timestamp) -> Result<(), Refusal> {
    if welcome.version != PROTOCOL_VERSION {
        let message = format!("the broker chose protocol version {}", welcome.version);
        return Err(Refusal::new("unsupported_version", message));
    }
    let skew = now.since(welcome.time).max(welcome.time.since(now));
    if skew > MAX_SKEW {
        let message = format!(
            "the broker's clock says {}, the node's {now}; set the wrong one",
            welcome.time
        );
        return Err(Refusal::new("clock_skew", message));
    }
    let (theirs, ours) = (welcome.limits, Limits::OURS);
    if theirs.frame_bytes < ours.frame_bytes || theirs.bulletin_bytes < ours.bulletin_bytes {
        let message = format!(
            "the broker takes bulletins of {} bytes; this node may publish {}",
            theirs.bulletin_bytes, ours.bulletin_bytes
        );
        return Err(Refusal::new("limits", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {

    use super::*;

    fn hello(now: Timestamp) -> Hello {
        Hello {
            versions: vec![1],
            limits: Limits::OURS,
            agent: "test".into(),
            time: now,
            resume: vec![],
            ledger: None,
            witness: vec![],
            checkpoint: String::new(),
        }
    }

    #[test]
    fn a_node_refuses_an_answer_that_it_cannot_work_with() {
        let now = Timestamp::from_micros(1_768_435_200_000_000).unwrap();
        let welcome = Welcome {
            version: 1,
            limits: Limits::OURS,
            agent: "test".into(),
            ledger: LedgerId(Digest::of(b"ledger")),
            genesis: bytes::Bytes::new(),
            time: now,
            checkpoint: String::new(),
            merge_delay: Duration::ZERO,
            size: 1,
            tails: vec![],
        };
        assert_eq!(accept(&welcome, now), Ok(()));
        let code = |welcome: &Welcome| accept(welcome, now).unwrap_err().code;
        assert_eq!(
            code(&Welcome {
                version: 2,
                ..welcome.clone()
            }),
            "unsupported_version"
        );
        let late = now.saturating_add(Duration::from_secs(301));
        assert_eq!(
            code(&Welcome {
                time: late,
                ..welcome.clone()
            }),
            "clock_skew"
        );
        let limits = Limits {
            bulletin_bytes: 9,
            ..Limits::OURS
        };
        assert_eq!(code(&Welcome { limits, ..welcome }), "limits");
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_reason() {
        let now = Timestamp::from_micros(1_768_435_200_000_000).unwrap();
        let ledger = LedgerId(Digest::of(b"ledger"));
        let code = |hello: &Hello| greet(hello, ledger, now).unwrap_err().code;
        assert_eq!(greet(&hello(now), ledger, now), Ok(1));
        assert_eq!(
            code(&Hello {
                versions: vec![2, 3],
                ..hello(now)
            }),
            "unsupported_version"
        );
        assert_eq!(
            code(&Hello {
                versions: vec![],
                ..hello(now)
            }),
            "unsupported_version"
        );
        let late = now.saturating_add(Duration::from_secs(301));
        assert_eq!(
            code(&Hello {
                time: late,
                ..hello(now)
            }),
            "clock_skew"
        );
        let early = now.saturating_sub(Duration::from_secs(301));
        assert_eq!(
            code(&Hello {
                time: early,
                ..hello(now)
            }),
            "clock_skew"
        );
        let other = Some(LedgerId(Digest::of(b"other")));
        assert_eq!(
            code(&Hello {
                ledger: other,
                ..hello(now)
            }),
            "other_ledger"
        );
        let limits = Limits {
            frame_bytes: 1_000,
            ..Limits::OURS
        };
        assert_eq!(
            code(&Hello {
                limits,
                ..hello(now)
            }),
            "limits"
        );
    }
}
