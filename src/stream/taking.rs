//! Taking on what is in the stream: where this broker's copy ends, and how it goes on.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError, mpsc as threads};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio::sync::mpsc;

use super::contents::Name;
use super::engine::{StreamEngine, patiently};
use super::error::StreamError;
use super::follow::{self, AHEAD, Arrived, TOGETHER};
use super::local::RECENT;
use super::parallel::each;
use super::wire::{BEGINNING, InvalidMessage, Link, StreamMessage};
use crate::ledger::{Engine, MAX_GROUP_RECORDS, Record};
use crate::proof::Digest;

/// So many bytes of messages are taken on together.
const SOME: usize = 4 * 1024 * 1024;
/// So many records are kept as they were read, where nobody may be about to fold them.
const OPENED: usize = 2 * MAX_GROUP_RECORDS;

/// Where this broker's copy ends in the stream.
#[derive(Debug)]
pub(super) struct Tail {
    /// The last message taken on; 0: none.
    pub(super) sequence: u64,
    /// Its hash.
    pub(super) hash: Digest,
    /// The id under which it was sent, where that is known. Given to the servers again, it has another.
    pub(super) id: Option<String>,
    pub(super) arrived: mpsc::Receiver<Arrived>,
    /// As long as what was there at the start is taken on.
    pub(super) begins: Option<Beginning>,
    /// The stream reaches so far, as somebody said.
    pub(super) seen: u64,
    /// The last messages that said something, by sequence.
    pub(super) chain: VecDeque<(u64, Link)>,
    /// What was sent and is not known to be stored: after which message, and the name of its bodies.
    pub(super) unresolved: Vec<(u64, Name)>,
}

/// A broker begins: it takes on what is there, and folds it as it was read. Only then does it follow what comes.
#[derive(Debug)]
pub(super) struct Beginning {
    /// Where what comes goes to.
    pub(super) arriving: mpsc::Sender<Arrived>,
    /// What is being read, where that is much.
    pub(super) ahead: Option<Ahead>,
}

/// Messages that are read ahead of what is taken on, up to a sequence.
#[derive(Debug)]
pub(super) struct Ahead {
    read: threads::Receiver<Result<Arrived, StreamError>>,
    until: u64,
}

impl Tail {
    /// Whether a message with this hash, one of the last, was taken on before the tail. All chains begin with the
    /// same: another beginning comes after this one's.
    fn had(&self, hash: &Digest) -> bool {
        let mut chain = self.chain.iter();
        *hash != self.hash && (*hash == BEGINNING || chain.any(|(_, one)| one.hash == *hash))
    }

    /// Whether a message is of a place before all that is known: it lost a race long ago, and somebody sends it again.
    fn is_long_ago(&self, message: &StreamMessage) -> bool {
        let oldest = self.chain.front();
        oldest.is_some_and(|(_, oldest)| message.first < oldest.first)
    }
}

/// Whether messages follow one another, the first one what has this hash.
fn are_chained(after: &Digest, messages: &[Bytes]) -> bool {
    let mut due = Some(*after);
    for link in each(messages, StreamMessage::link_of) {
        due = link
            .filter(|link| Some(link.previous) == due)
            .map(|link| link.hash);
    }
    due.is_some()
}

impl StreamEngine {
    /// Takes on what has arrived.
    pub(super) fn drain(&self, tail: &mut Tail) -> Result<(), StreamError> {
        while let Ok(Arrived {
            sequence, payload, ..
        }) = tail.arrived.try_recv()
        {
            tail.seen = tail.seen.max(sequence);
            if sequence <= tail.sequence {
                self.local.recognise(sequence, &payload, &self.key)?;
                continue;
            }
            if sequence > tail.sequence + 1 {
                self.take_on_until(tail, sequence - 1)?;
            }
            self.take_on(tail, &[payload], sequence)?;
        }
        Ok(())
    }

    /// Takes on the messages up to a sequence: many as they are read, the last ones from the stream's leader.
    pub(super) fn take_on_until(&self, tail: &mut Tail, until: u64) -> Result<(), StreamError> {
        if until.saturating_sub(tail.sequence) > TOGETHER {
            self.take_on_ahead(tail, until)?;
        }
        while tail.sequence < until {
            let (stream, first) = (self.catalogue.stream.clone(), tail.sequence + 1);
            let messages = self
                .nats
                .run(async move { follow::messages(&stream, first, until).await })?;
            if messages.is_empty() {
                let reason = format!("message {first} is missing, and {until} is there");
                return Err(StreamError::Unavailable(reason));
            }
            self.take_on(tail, &messages, until)?;
        }
        Ok(())
    }

    /// Takes on some of what the stream has at the start; whether that was all of it. The records are kept as they were read
    /// until the next call, for whoever folds them. When it is all, the stream is followed from there.
    pub fn take_some(&self) -> Result<bool, StreamError> {
        let mut tail = self.lock();
        if tail.begins.is_none() {
            return Ok(true);
        }
        self.opened().clear();
        if !patiently(|| self.some_at_start(&mut tail))? {
            return Ok(false);
        }
        if let Some(Beginning { arriving, .. }) = tail.begins.take() {
            let (stream, most) = (self.catalogue.stream.clone(), self.nats.max_message());
            let news = Arc::clone(&self.news);
            let following = follow::follow(stream, tail.sequence, most, arriving, news);
            self.nats.handle().spawn(following);
            self.finish_erasures();
            self.sweep();
        }
        Ok(true)
    }

    fn some_at_start(&self, tail: &mut Tail) -> Result<bool, StreamError> {
        let ahead = tail.begins.as_mut().and_then(|begins| begins.ahead.take());
        let ahead = match ahead {
            Some(ahead) if self.take_on_some(tail, &ahead)? => ahead,
            _ => {
                let end = self.end()?;
                self.compare(tail, end)?;
                if end.saturating_sub(tail.sequence) <= TOGETHER {
                    self.take_on_until(tail, end)?;
                    return Ok(true);
                }
                self.read_ahead(tail, end)
            }
        };
        if let Some(begins) = &mut tail.begins {
            begins.ahead = Some(ahead);
        }
        Ok(false)
    }

    /// Takes on messages up to a sequence while the next ones are read.
    fn take_on_ahead(&self, tail: &mut Tail, until: u64) -> Result<(), StreamError> {
        let ahead = self.read_ahead(tail, until);
        while self.take_on_some(tail, &ahead)? {}
        Ok(())
    }

    fn read_ahead(&self, tail: &Tail, until: u64) -> Ahead {
        let (first, most) = (tail.sequence + 1, self.nats.max_message());
        let (read, reading) = follow::ahead(self.catalogue.stream.clone(), first, until, most);
        self.nats.handle().spawn(reading);
        Ahead { read, until }
    }

    /// Takes on what has been read; whether there was anything more.
    fn take_on_some(&self, tail: &mut Tail, ahead: &Ahead) -> Result<bool, StreamError> {
        let Ok(one) = ahead.read.recv() else {
            return Ok(false);
        };
        let (mut together, mut failed) = (vec![one?], Ok(()));
        let mut bytes = 0;
        while together.len() < AHEAD
            && bytes < SOME
            && failed.is_ok()
            && let Ok(next) = ahead.read.try_recv()
        {
            match next {
                Ok(one) => {
                    bytes += one.payload.len();
                    together.push(one);
                }
                Err(error) => failed = Err(error),
            }
        }
        let messages: Vec<Bytes> = together.iter().map(|one| one.payload.clone()).collect();
        self.take_on(tail, &messages, ahead.until)?;
        failed.map(|()| true)
    }

    /// Takes on the messages after the tail, of a stream that reaches to a sequence.
    ///
    /// What is not signed by the log's key, or was taken on before, is passed over: by every broker alike, and
    /// nobody who may write to the stream can stop them. What is signed and follows something else is a fork.
    fn take_on(&self, tail: &mut Tail, messages: &[Bytes], until: u64) -> Result<(), StreamError> {
        // Those that follow one another are kept with one write.
        let mut run: Vec<StreamMessage> = Vec::new();
        for (bytes, opened) in messages.iter().zip(self.open_all(tail, messages, until)) {
            let sequence = tail.sequence + run.len() as u64 + 1;
            let opened = match opened {
                Err(error) if error.is_nobodys() => {
                    self.keep(tail, &mut run, until)?;
                    tracing::error!(sequence, %error, "a message of the stream is no broker's: it is passed over");
                    self.pass_over(tail, bytes)?;
                    continue;
                }
                opened => opened.map_err(|error| StreamError::Message { sequence, error })?,
            };
            let (hash, size) = run.last().map_or_else(
                || (tail.hash, self.size()),
                |last| (last.hash, last.until()),
            );
            if opened.follows(&hash, size).is_ok() {
                run.push(opened);
                continue;
            }
            self.keep(tail, &mut run, until)?;
            // What lost a race, or was there before, follows something earlier of this chain.
            let is_earlier = tail.had(&opened.previous) || tail.is_long_ago(&opened);
            if !is_earlier && !self.local.has(&opened)? {
                return Err(StreamError::Forked { sequence });
            }
            tracing::error!(
                sequence,
                "a message of the stream was there before: it is passed over"
            );
            self.pass_over(tail, bytes)?;
        }
        self.keep(tail, &mut run, until)
    }

    /// Reads messages. Of those that all follow one another the last one's signature is enough: it is over the hash of
    /// the one before, which is over that of the one before it. The last of the stream, which are kept as they are, have
    /// each its own.
    fn open_all(
        &self,
        tail: &Tail,
        messages: &[Bytes],
        until: u64,
    ) -> Vec<Result<StreamMessage, InvalidMessage>> {
        // What a broker begins with is folded next; so is what comes alone.
        let whole = tail.begins.is_some() || messages.len() == 1;
        let open = |bytes: &Bytes| StreamMessage::read(bytes, Some(&self.key), self.reads, whole);
        // One that another vouches for: one that is signed, and chained to it.
        let read = |bytes: &Bytes| StreamMessage::read(bytes, None, self.reads, whole);
        let are_old = tail.sequence + messages.len() as u64 + RECENT <= until;
        let last = messages.last().filter(|_| are_old);
        // Nobody's message is read further than to see that nobody vouches for it.
        if last.is_some_and(|last| open(last).is_ok()) && are_chained(&tail.hash, messages) {
            return each(messages, read);
        }
        each(messages, open)
    }

    /// Keeps records as they were read for whoever folds them next.
    fn keep_opened(&self, first: u64, opened: Vec<Arc<Record>>, begins: bool) {
        let mut kept = self.opened();
        if kept.back().is_none_or(|(last, _)| last + 1 != first) {
            kept.clear();
        }
        kept.extend((first..).zip(opened));
        if !begins {
            let over = kept.len().saturating_sub(OPENED);
            kept.drain(..over);
        }
    }

    /// Records from a position on that were read when they were taken on, as far as they are still here; once.
    pub(super) fn take_opened(&self, from: u64, limit: usize) -> Vec<Arc<Record>> {
        let mut kept = self.opened();
        let before = kept.partition_point(|(position, _)| *position < from);
        kept.drain(..before);
        if kept.front().is_none_or(|(first, _)| *first != from) {
            return Vec::new();
        }
        let count = kept.len().min(limit);
        kept.drain(..count).map(|(_, record)| record).collect()
    }

    fn opened(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Record>)>> {
        // What is half done is only read anew.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the next message says nothing.
    fn pass_over(&self, tail: &mut Tail, bytes: &Bytes) -> Result<(), StreamError> {
        let sequence = tail.sequence + 1;
        self.local.pass_over(sequence, &tail.hash, bytes)?;
        tail.sequence = sequence;
        tail.id = None;
        tail.seen = tail.seen.max(sequence);
        self.settle(tail, sequence, None);
        Ok(())
    }

    /// What was sent for a place and is not what came to it is not in the stream: its bodies go.
    fn settle(&self, tail: &mut Tail, sequence: u64, came: Option<Name>) {
        for (after, name) in std::mem::take(&mut tail.unresolved) {
            if after >= sequence {
                tail.unresolved.push((after, name));
            } else if came != Some(name) {
                self.forget(name);
            }
        }
    }

    /// Keeps messages that are in the stream after the tail, and moves it behind them; the stream reaches to a
    /// sequence.
    pub(super) fn keep(
        &self,
        tail: &mut Tail,
        messages: &mut Vec<StreamMessage>,
        until: u64,
    ) -> Result<(), StreamError> {
        let first = tail.sequence + 1;
        let erases = self.local.keep(messages, first, until)?;
        for (sequence, message) in (first..).zip(messages.drain(..)) {
            let (broker, records) = (message.broker, message.records.len());
            tracing::trace!(sequence, broker, records, "taken on");
            self.settle(tail, sequence, Some(message.id));
            self.keep_opened(message.first, message.opened, tail.begins.is_some());
            tail.sequence = sequence;
            tail.hash = message.hash;
            tail.id = Some(HEXLOWER.encode(&message.id));
            let link = Link {
                hash: message.hash,
                previous: message.previous,
                first: message.first,
            };
            tail.chain.push_back((sequence, link));
        }
        let until = tail.sequence;
        while let Some((first, _)) = tail.chain.front()
            && first + RECENT <= until
        {
            tail.chain.pop_front();
        }
        tail.seen = tail.seen.max(tail.sequence);
        if erases {
            self.finish_erasures();
        }
        Ok(())
    }
}
