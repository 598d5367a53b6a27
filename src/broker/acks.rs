//! A recipient's acknowledgements on their way into the log: one at a time, along with what is written anyway, and
//! meanwhile those that come are gathered. Each is cumulative, so the last of a lane says everything.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::Shared;
use super::commit::Answer;
use super::error::BrokerError;
use super::inbound::End;
use crate::ledger::{Proposal, SignedAck};
use crate::session::Refusal;

/// Acknowledgements of different lanes that wait.
const WAITING: usize = 8;

/// A session's acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Those that wait, each of lanes of which no later one speaks.
    waiting: VecDeque<SignedAck>,
    /// What becomes of the one that is written.
    written: Option<oneshot::Receiver<Vec<Answer>>>,
}

impl Acks {
    /// Whether no more are to be read for now.
    pub(super) fn are_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// Takes one, in place of those that say no more than it does.
    pub(super) fn add(&mut self, ack: SignedAck) {
        let speaks_of = |ack: &SignedAck, lane| {
            let mut lanes = ack.ack.lanes.iter();
            lanes.any(|one| one.precedence == lane)
        };
        self.waiting.retain(|older| {
            let mut lanes = older.ack.lanes.iter();
            !lanes.all(|lane| speaks_of(&ack, lane.precedence))
        });
        self.waiting.push_back(ack);
    }

    /// Proposes the next, where none is being written.
    pub(super) fn propose(&mut self, shared: &Shared) {
        if self.written.is_none()
            && let Some(ack) = self.waiting.pop_front()
        {
            let proposals = vec![Proposal::Acknowledgement(ack)];
            self.written = Some(shared.log.submit_along(proposals));
        }
    }

    /// Waits for what became of the one that is written; for ever where none is.
    pub(super) async fn answered(&mut self) -> Result<(), End> {
        let Some(written) = &mut self.written else {
            return std::future::pending().await;
        };
        let answers = written.await;
        self.written = None;
        match answers.map_err(|_| BrokerError::Closed)?.pop() {
            Some(Answer::Refused(error)) => {
                Err(Refusal::new(error.code(), error.to_string()).into())
            }
            // The node acknowledges again later, cumulatively.
            Some(Answer::Recorded { .. } | Answer::Stale | Answer::Later(_)) => Ok(()),
            None => Err(BrokerError::Closed.into()),
        }
    }
}
