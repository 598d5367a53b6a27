//! A connected node as a witness: it is asked to cosign each checkpoint, one at a time.

use super::commit::Log;
use super::error::BrokerError;
use crate::proof::{NoteKey, SignatureLine};
use crate::session::Frame;

/// One node's witness, as far as this session knows it.
#[derive(Debug)]
pub(super) struct NodeWitness {
    name: String,
    keys: Vec<NoteKey>,
    /// The size that it cosigned last.
    old: u64,
    /// The largest size that it was asked about, or that it refused.
    asked: u64,
    /// The request that waits for its answer.
    open: Option<u64>,
    sequence: u64,
}

impl NodeWitness {
    /// A witness with those of its keys that count here.
    pub(super) fn new(name: String, keys: Vec<NoteKey>) -> Self {
        Self {
            name,
            keys,
            old: 0,
            asked: 0,
            open: None,
            sequence: 0,
        }
    }

    /// What it is to be asked now, if anything.
    pub(super) fn request(&mut self, log: &Log) -> Result<Option<Frame>, BrokerError> {
        let signed = log.head().signed_size().unwrap_or(0);
        if self.keys.is_empty() || self.open.is_some() || signed <= self.asked {
            return Ok(None);
        }
        let request = log.head().request(log.engine(), self.old)?;
        let Some(request) = request else {
            return Ok(None);
        };
        self.asked = signed;
        self.sequence += 1;
        self.open = Some(self.sequence);
        Ok(Some(Frame::Cosign {
            sequence: self.sequence,
            request: request.to_string(),
        }))
    }

    /// Takes its answer.
    pub(super) fn answered(&mut self, log: &Log, sequence: u64, status: u16, body: &str) {
        if self.open != Some(sequence) {
            return;
        }
        self.open = None;
        match status {
            200 => {
                let lines = SignatureLine::parse_all(body).unwrap_or_default();
                self.old = self.asked;
                if !log.head().cosign(&self.keys, lines) {
                    // Another checkpoint was signed meanwhile: it is asked about that one.
                    tracing::debug!(witness = self.name, "a cosignature was not taken");
                }
            }
            409 => {
                // It knows another size than this session thought, as after a reconnect.
                let known = body.trim_end().parse().ok();
                let known = known.filter(|size| *size <= self.asked && *size != self.old);
                if let Some(size) = known {
                    self.old = size;
                    self.asked = 0;
                } else {
                    tracing::error!(witness = self.name, body, "a witness knows a larger log");
                }
            }
            status => {
                tracing::error!(
                    witness = self.name,
                    status,
                    body,
                    "a witness does not cosign"
                );
            }
        }
    }
}
