//! Follows the stream: what others append arrives here and is taken on by the log's one writer.

use std::sync::{Arc, OnceLock, mpsc as threads};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::error::StreamError;
use super::nats::{Stream, unavailable};

/// Messages that arrived and are not taken on yet.
const WAITING: usize = 32;
/// So many messages are asked for one by one, some at once; where more are missing, they are read in one go.
pub(super) const TOGETHER: u64 = 64;
const AT_ONCE: usize = 16;
/// The pause before another consumer, where one failed.
const AGAIN: Duration = Duration::from_millis(200);
/// Messages, and bytes of them, that the servers may have under way to this broker: whoever may write to the stream
/// can make messages as large as the servers take.
const UNDER_WAY: usize = 256;
const UNDER_WAY_BYTES: usize = 16 * 1024 * 1024;
/// Servers that say nothing for two of these are asked anew, and they forget who does not ask for so long.
const HEARTBEAT: Duration = Duration::from_secs(1);
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Messages, and bytes of them, that are read ahead of what is taken on.
pub(super) const AHEAD: usize = 4_096;
const AHEAD_BYTES: usize = 32 * 1024 * 1024;
/// What is read ahead and says nothing new for so long is given up.
const LONGEST: Duration = Duration::from_secs(10);

/// Told that something arrived.
pub type News = Box<dyn Fn() + Send + Sync>;

/// A message of the stream; it makes room for others when it goes.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Room for messages that came and are not taken on yet: for bytes, of which each message takes some more, so that
/// their number is bounded, too.
struct Room {
    bytes: Arc<Semaphore>,
    each: usize,
}

impl Room {
    /// For so many messages, and so many bytes of them.
    fn new(messages: usize, bytes: usize) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(bytes)),
            each: bytes / messages,
        }
    }

    /// Waits until there is room for a message.
    async fn arrived(&self, sequence: u64, payload: Bytes) -> Result<Arrived, StreamError> {
        let takes = u32::try_from(payload.len() + self.each).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.bytes).acquire_many_owned(takes).await;
        Ok(Arrived {
            sequence,
            payload,
            _room: room.map_err(unavailable)?,
        })
    }
}

/// Where what arrives goes to, and where it is taken on from.
pub(super) fn arriving() -> (mpsc::Sender<Arrived>, mpsc::Receiver<Arrived>) {
    mpsc::channel(WAITING)
}

/// Follows after a sequence, where a message has so many bytes at most. `news` is looked at whenever something arrives.
pub(super) async fn follow(
    stream: Stream,
    after: u64,
    largest: usize,
    arrived: mpsc::Sender<Arrived>,
    news: Arc<OnceLock<News>>,
) {
    let mut due = after + 1;
    loop {
        let consumed = consume(&stream, &mut due, largest, &arrived, &news);
        if let Err(error) = consumed.await {
            tracing::warn!(%error, "the stream cannot be followed; trying again");
        }
        if arrived.is_closed() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads the stream from a sequence on.
async fn reader(stream: &Stream, from: u64, largest: usize) -> Result<pull::Stream, StreamError> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: from,
        },
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGOTTEN,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(unavailable)?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(UNDER_WAY)
        .max_bytes_per_batch(UNDER_WAY_BYTES.max(2 * largest))
        .heartbeat(HEARTBEAT)
        .messages();
    messages.await.map_err(unavailable)
}

/// The next message of a reader, which is to be this one or, where servers begin later, one after it; `None`: the
/// servers hung up.
async fn next(
    messages: &mut pull::Stream,
    due: u64,
    is_first: bool,
) -> Result<Option<(u64, Bytes)>, StreamError> {
    let Some(message) = messages.next().await else {
        return Ok(None);
    };
    let message = message.map_err(unavailable)?;
    let info = message.info();
    let info = info.map_err(|error| StreamError::Unavailable(error.to_string()))?;
    let sequence = info.stream_sequence;
    if sequence < due || (sequence > due && !is_first) {
        let reason = format!("message {sequence} came, and {due} was due");
        return Err(StreamError::Unavailable(reason));
    }
    Ok(Some((sequence, message.payload.clone())))
}

async fn consume(
    stream: &Stream,
    due: &mut u64,
    largest: usize,
    arrived: &mpsc::Sender<Arrived>,
    news: &OnceLock<News>,
) -> Result<(), StreamError> {
    let room = Room::new(WAITING, UNDER_WAY_BYTES.max(2 * largest));
    let mut messages = reader(stream, *due, largest).await?;
    let mut is_first = true;
    while let Some((sequence, payload)) = next(&mut messages, *due, is_first).await? {
        is_first = false;
        let one = room.arrived(sequence, payload).await?;
        *due = sequence + 1;
        if arrived.send(one).await.is_err() {
            return Ok(());
        }
        if let Some(news) = news.get() {
            news();
        }
    }
    Ok(())
}

/// Reads the messages from one sequence to another, both included, while others are taken on: gives them in order,
/// and ends early where they cannot be read.
pub(super) fn ahead(
    stream: Stream,
    first: u64,
    last: u64,
    largest: usize,
) -> (
    threads::Receiver<Result<Arrived, StreamError>>,
    impl Future<Output = ()> + Send,
) {
    let (send, receive) = threads::channel();
    let reading = async move {
        if let Err(error) = read_ahead(&stream, first..=last, largest, &send).await {
            // Whoever takes them on may have given up.
            let _ = send.send(Err(error));
        }
    };
    (receive, reading)
}

async fn read_ahead(
    stream: &Stream,
    wanted: std::ops::RangeInclusive<u64>,
    largest: usize,
    send: &threads::Sender<Result<Arrived, StreamError>>,
) -> Result<(), StreamError> {
    let room = Room::new(AHEAD, AHEAD_BYTES.max(2 * largest));
    let mut messages = reader(stream, *wanted.start(), largest).await?;
    for due in wanted {
        let asked = tokio::time::timeout(LONGEST, next(&mut messages, due, false)).await;
        let gone = || StreamError::Unavailable(format!("message {due} does not come"));
        let (_, payload) = asked.map_err(|_| gone())??.ok_or_else(gone)?;
        if send.send(Ok(room.arrived(due, payload).await?)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The message at a sequence, from the stream's leader; `None` where there is none.
pub(super) async fn message(stream: &Stream, sequence: u64) -> Result<Option<Bytes>, StreamError> {
    use async_nats::jetstream::stream::LastRawMessageErrorKind;
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(message.payload)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

/// The messages from one sequence to another, both included; as far as there is no gap.
pub(super) async fn messages(
    stream: &Stream,
    first: u64,
    last: u64,
) -> Result<Vec<Bytes>, StreamError> {
    let mut all = Vec::new();
    let last = last.min(first.saturating_add(TOGETHER - 1));
    let (mut asked, mut wanted, mut bytes) = (JoinSet::new(), first..=last, 0);
    loop {
        // Where they are large, these are enough for now.
        let room = if bytes < UNDER_WAY_BYTES { AT_ONCE } else { 0 };
        for sequence in wanted.by_ref().take(room.saturating_sub(asked.len())) {
            let stream = stream.clone();
            asked.spawn(async move { (sequence, message(&stream, sequence).await) });
        }
        let Some(answer) = asked.join_next().await else {
            break;
        };
        let (sequence, message) =
            answer.map_err(|error| StreamError::Unavailable(error.to_string()))?;
        let message = message?;
        bytes += message.as_ref().map_or(0, Bytes::len);
        all.push((sequence, message));
    }
    all.sort_unstable_by_key(|(sequence, _)| *sequence);
    Ok(all.into_iter().map_while(|(_, message)| message).collect())
}
