//! Bodies beside the stream: those of a group under its id, in a stream of their own from which they can be erased.
//!
//! A message holds bodies, or pieces of a large one, by the position of their record. To erase some, what is left of
//! their message is stored anew, and the message deleted, which overwrites it on the servers' disks. Every broker
//! that takes on an erasure does so with what it knows is erased, also where another did it before: whoever is the
//! last to store something has taken on all erasures by then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio_stream::StreamExt;

use super::error::StreamError;
use super::leader::Leader;
use super::nats::{Stream, unavailable};
use super::wire::{Piece, join, pieces, pieces_from_bytes, pieces_to_bytes};

/// The name of a group's bodies.
pub(super) type Name = [u8; 16];

/// Room that a message needs beside its bodies.
const ENVELOPE: usize = 4 * 1024;

/// Bodies may be there for so long before the group that names them is.
const ON_ITS_WAY: Duration = Duration::from_mins(10);

/// Where bodies are.
#[derive(Clone)]
pub(super) struct Contents {
    context: Context,
    stream: Stream,
    leader: Leader,
    /// The beginning of its subjects, before a name.
    subject: String,
}

impl Contents {
    pub(super) fn new(context: Context, stream: Stream, subject: String) -> Self {
        let leader = Leader::of(&context, stream.cached_info().config.name.clone());
        Self {
            context,
            stream,
            leader,
            subject,
        }
    }

    fn subject(&self, name: Name) -> String {
        format!("{}.{}", self.subject, HEXLOWER.encode(&name))
    }

    /// Stores the bodies of a group, durably.
    pub(super) async fn put(
        &self,
        name: Name,
        bodies: BTreeMap<u64, Bytes>,
    ) -> Result<(), StreamError> {
        let most = self.context.client().server_info().max_payload;
        let pieces = pieces(bodies, most.saturating_sub(ENVELOPE).max(ENVELOPE));
        self.store(name, pieces).await
    }

    async fn store(&self, name: Name, messages: Vec<Vec<Piece>>) -> Result<(), StreamError> {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            let bytes = pieces_to_bytes(message);
            let publish = self.context.publish(self.subject(name), bytes).await;
            sent.push(publish.map_err(unavailable)?);
        }
        for one in sent {
            one.await.map_err(|error| self.leader.refused(error))?;
        }
        Ok(())
    }

    /// The messages under a name, by sequence.
    async fn messages(&self, name: Name) -> Result<Vec<(u64, Vec<Piece>)>, StreamError> {
        let subject = self.subject(name);
        let mut all = Vec::new();
        let mut from = 1;
        loop {
            let found = self
                .stream
                .raw_message_builder()
                .sequence(from)
                .next_by_subject(subject.clone())
                .send()
                .await;
            let message = match found {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    return Ok(all);
                }
                Err(error) => return Err(unavailable(error)),
            };
            from = message.sequence + 1;
            let damaged =
                || StreamError::Unavailable(format!("the bodies at {subject} are damaged"));
            let pieces = pieces_from_bytes(message.payload).ok_or_else(damaged)?;
            all.push((message.sequence, pieces));
        }
    }

    /// The bodies of a group, as far as they are kept.
    pub(super) async fn get(&self, name: Name) -> Result<BTreeMap<u64, Bytes>, StreamError> {
        let messages = self.messages(name).await?;
        Ok(join(messages.into_iter().flat_map(|(_, pieces)| pieces)))
    }

    /// Erases bodies of a group.
    pub(super) async fn erase(
        &self,
        name: Name,
        erased: &BTreeSet<u64>,
    ) -> Result<(), StreamError> {
        for (sequence, mut pieces) in self.messages(name).await? {
            let before = pieces.len();
            pieces.retain(|piece| !erased.contains(&piece.position));
            if pieces.len() == before {
                continue;
            }
            if !pieces.is_empty() {
                self.store(name, vec![pieces]).await?;
            }
            self.delete(sequence).await?;
        }
        Ok(())
    }

    /// Removes all bodies of a group.
    pub(super) async fn remove(&self, name: Name) -> Result<(), StreamError> {
        for (sequence, _) in self.messages(name).await? {
            self.delete(sequence).await?;
        }
        Ok(())
    }

    /// Removes what brokers stored that died before they appended the group, or did not append it; `is_kept` knows the
    /// names of the others. What is not older than some minutes may still be on its way. Returns how many were there.
    pub(super) async fn sweep(
        &self,
        is_kept: impl Fn(&Name) -> bool,
    ) -> Result<usize, StreamError> {
        let all = format!("{}.*", self.subject);
        let mut named = self
            .stream
            .info_with_subjects(all)
            .await
            .map_err(unavailable)?;
        let last = named.info.state.last_timestamp;
        let mut swept = 0;
        while let Some(found) = named.next().await {
            let (subject, _) = found.map_err(unavailable)?;
            let name = subject.rsplit('.').next().unwrap_or_default();
            let name = HEXLOWER.decode(name.as_bytes()).ok();
            let Some(name) = name.and_then(|name| Name::try_from(name).ok()) else {
                continue;
            };
            if is_kept(&name) {
                continue;
            }
            let stored = self.stream.get_last_raw_message_by_subject(&subject).await;
            // By the servers' own clock.
            if stored.is_ok_and(|stored| last - stored.time > ON_ITS_WAY) {
                self.remove(name).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    async fn delete(&self, sequence: u64) -> Result<(), StreamError> {
        use async_nats::jetstream::ErrorCode;
        use async_nats::jetstream::stream::DeleteMessageErrorKind;
        match self.stream.delete_message(sequence).await {
            Ok(_) => Ok(()),
            // Another broker did it.
            Err(error)
                if matches!(
                    error.kind(),
                    DeleteMessageErrorKind::JetStream(told)
                        if [ErrorCode::NO_MESSAGE_FOUND, ErrorCode::SEQUENCE_NOT_FOUND]
                            .contains(&told.error_code())
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}
