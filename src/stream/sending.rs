//! Sending a message to its place in the stream, and what became of it.

use std::time::{Duration, Instant};

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

use super::engine::StreamEngine;
use super::error::StreamError;

/// An append whose outcome does not show within this time is given up; it shows later.
const PATIENCE: Duration = Duration::from_secs(8);
/// The pause between two looks at what became of an append.
const LOOK: Duration = Duration::from_millis(100);
/// A place in the stream that no message has.
const NOWHERE: u64 = i64::MAX.unsigned_abs();

/// What became of a message that was sent.
pub(super) enum Sent {
    /// It is the one after the tail; whether the server that took it had the one before it then, too.
    Stored { follows: bool },
    /// Another is.
    Behind,
}

/// What a message is to follow.
#[derive(Clone)]
pub(super) struct After {
    /// The last message taken on; 0: none.
    pub(super) sequence: u64,
    /// The id under which the servers know it, where that is known.
    pub(super) id: Option<String>,
}

impl StreamEngine {
    /// Sends a message that is to come after another, until it shows what became of it.
    pub(super) fn publish(
        &self,
        bytes: &Bytes,
        id: &str,
        place: &After,
    ) -> Result<Sent, StreamError> {
        let (until, after) = (Instant::now() + PATIENCE, place.sequence);
        loop {
            let reason = match self.send(bytes, id, place) {
                Ok(Sent::Stored { follows: false }) => return self.stored_after(after, until),
                Ok(sent) => return Ok(sent),
                Err(StreamError::Unavailable(reason)) => reason,
                Err(other) => return Err(other),
            };
            // Whether it was stored is unknown: what is there tells.
            match self.message(after + 1) {
                Ok(Some(found)) if found == *bytes => return self.stored_after(after, until),
                Ok(Some(_)) => return Ok(Sent::Behind),
                // The same message is sent again: it has the same id, and the same place or none.
                Ok(None) | Err(StreamError::Unavailable(_)) => {}
                Err(other) => return Err(other),
            }
            if Instant::now() > until {
                return Err(StreamError::Unavailable(reason));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What was stored comes after what was taken on only where that is still there: servers that lost it may have
    /// given its place away.
    fn stored_after(&self, after: u64, until: Instant) -> Result<Sent, StreamError> {
        let stored = Sent::Stored { follows: true };
        if after == 0 {
            return Ok(stored);
        }
        loop {
            match self.message(after) {
                Ok(Some(found)) => {
                    self.local.recognise(after, &found, &self.key)?;
                    return Ok(stored);
                }
                Ok(None) => {
                    let end = self.end()?;
                    return Err(if end < after {
                        let (found, known) = (end, after);
                        StreamError::Shorter { found, known }
                    } else {
                        StreamError::Forked { sequence: after }
                    });
                }
                Err(StreamError::Unavailable(_)) if Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a message once.
    ///
    /// Right behind it goes the question whether what it follows is where it was: the same id again, with a place that
    /// no message can have. Who has it says which one it is; nothing is stored, and nothing large read. To ask for the
    /// last id with the message itself would be simpler, and a server that has just started may not know it: it would
    /// refuse what the others take.
    fn send(&self, bytes: &Bytes, id: &str, place: &After) -> Result<Sent, StreamError> {
        let (context, subject) = (self.nats.context().clone(), self.subject.clone());
        let (leader, after) = (self.leader.clone(), place.sequence);
        let publish = PublishMessage::build()
            .payload(bytes.clone())
            .message_id(id)
            .expected_last_sequence(after);
        let question = place.id.as_ref().map(|id| {
            let same = PublishMessage::build().message_id(id);
            same.expected_last_sequence(NOWHERE)
        });
        let sent = self.nats.run(async move {
            let sent = context.send_publish(subject.clone(), publish).await;
            let asked = match question {
                Some(question) => context.send_publish(subject, question).await.ok(),
                None => None,
            };
            let sent = match sent {
                Ok(acknowledged) => acknowledged.await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(stored) => {
                    let known = match asked {
                        Some(answer) => answer.await.ok(),
                        None => None,
                    };
                    let follows =
                        known.is_some_and(|known| known.duplicate && known.sequence == after);
                    Ok(Some((stored.sequence, stored.duplicate, follows)))
                }
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
                Err(error) => Err(leader.refused(error)),
            }
        })?;
        match sent {
            None => Ok(Sent::Behind),
            Some((sequence, duplicate, follows)) if sequence == after + 1 => {
                if duplicate {
                    // The server knows the id; that it has the message, only the message shows.
                    return Err(StreamError::Unavailable("it was sent before".to_owned()));
                }
                Ok(Sent::Stored { follows })
            }
            Some(_) => Err(StreamError::Forked {
                sequence: after + 1,
            }),
        }
    }
}
