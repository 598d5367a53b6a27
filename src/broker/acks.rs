//! A recipient's acknowledgements on their way into the log: one at a time, along with what is written anyway, and
//! meanwhile those that come are gathered. Each is cumulative, so the last of a lane says everything.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::commit::Answer;
use super::error::BrokerError;
use super::inbound::End;
use crate::ledger::{Proposal, SignedAck};
use crate::session::Refusal;

/// Acknowledgements of different lanes that wait.
const WAITING: usize = 8;

/// The pause after the log could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether an acknowledgement speaks of every lane of which an older one does.
fn says_all(newer: &SignedAck, older: &SignedAck) -> bool {
    let speaks_of = |lane| {
        let mut lanes = newer.ack.lanes.iter();
        lanes.any(|one| one.precedence == lane)
    };
    let mut lanes = older.ack.lanes.iter();
    lanes.all(|lane| speaks_of(lane.precedence))
}

/// A session's acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Those that wait, each of lanes of which no later one speaks.
    waiting: VecDeque<SignedAck>,
    /// The one that is written, and what becomes of it.
    written: Option<(SignedAck, oneshot::Receiver<Vec<Answer>>)>,
    /// Until when nothing is tried again, where the log could not be written.
    pause: Option<Instant>,
}

impl Acks {
    /// Whether no more are to be read for now.
    pub(super) fn are_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// Takes one, in place of those that say no more than it does.
    pub(super) fn add(&mut self, ack: SignedAck) {
        self.waiting.retain(|older| !says_all(&ack, older));
        self.waiting.push_back(ack);
    }

    /// Proposes the next, where none is being written.
    pub(super) fn propose(&mut self, shared: &Shared) {
        if self.written.is_none()
            && self.pause.is_none()
            && let Some(ack) = self.waiting.pop_front()
        {
            let proposals = vec![Proposal::Acknowledgement(ack.clone())];
            self.written = Some((ack, shared.log.submit_along(proposals)));
        }
    }

    /// Waits for what became of the one that is written; for ever where none is.
    pub(super) async fn answered(&mut self) -> Result<(), End> {
        let Some((_, written)) = &mut self.written else {
            match self.pause {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
            self.pause = None;
            return Ok(());
        };
        let answers = written.await;
        let ack = self.written.take().map(|(ack, _)| ack);
        match answers.map_err(|_| BrokerError::Closed)?.pop() {
            Some(Answer::Refused(error)) => {
                Err(Refusal::new(error.code(), error.to_string()).into())
            }
            Some(Answer::Recorded { .. } | Answer::Stale) => Ok(()),
            // Where none came that says more, this one is tried again: the node may have nothing more to say.
            Some(Answer::Later(_)) => {
                let ack = ack.filter(|ack| !self.waiting.iter().any(|newer| says_all(newer, ack)));
                if let Some(ack) = ack {
                    self.waiting.push_front(ack);
                }
                self.pause = Some(Instant::now() + AGAIN);
                Ok(())
            }
            None => Err(BrokerError::Closed.into()),
        }
    }
}
