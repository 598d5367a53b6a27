//! Follows the stream: what others append arrives here and is taken on by the log's one writer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::error::StreamError;
use super::nats::{Stream, unavailable};

/// Messages that arrived and are not taken on yet.
const WAITING: usize = 32;
/// Messages asked for at once where many are missing.
const TOGETHER: u64 = 64;
/// The pause before another consumer, where one failed.
const AGAIN: Duration = Duration::from_millis(200);

/// Told that something arrived.
pub type News = Box<dyn Fn() + Send + Sync>;

/// A message of the stream, with its sequence.
pub(super) type Arrived = (u64, Bytes);

/// Begins to follow after a sequence. `news` is looked at whenever something arrives.
pub(super) fn follow(
    stream: Stream,
    after: u64,
    news: Arc<OnceLock<News>>,
) -> (mpsc::Receiver<Arrived>, impl Future<Output = ()> + Send) {
    let (arrived, waiting) = mpsc::channel(WAITING);
    let following = async move {
        let mut next = after + 1;
        loop {
            if let Err(error) = consume(&stream, &mut next, &arrived, &news).await {
                tracing::warn!(%error, "the stream cannot be followed; trying again");
            }
            if arrived.is_closed() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    (waiting, following)
}

async fn consume(
    stream: &Stream,
    next: &mut u64,
    arrived: &mpsc::Sender<Arrived>,
    news: &OnceLock<News>,
) -> Result<(), StreamError> {
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: *next,
        },
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(unavailable)?;
    let mut messages = consumer.messages().await.map_err(unavailable)?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(unavailable)?;
        let info = message.info();
        let sequence = info.map_err(|error| StreamError::Unavailable(error.to_string()))?;
        let sequence = sequence.stream_sequence;
        *next = sequence + 1;
        let payload = message.payload.clone();
        if arrived.send((sequence, payload)).await.is_err() {
            return Ok(());
        }
        if let Some(news) = news.get() {
            news();
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
    let mut asked = JoinSet::new();
    for sequence in first..=last {
        let stream = stream.clone();
        asked.spawn(async move { (sequence, message(&stream, sequence).await) });
    }
    while let Some(answer) = asked.join_next().await {
        let (sequence, message) =
            answer.map_err(|error| StreamError::Unavailable(error.to_string()))?;
        all.push((sequence, message?));
    }
    all.sort_unstable_by_key(|(sequence, _)| *sequence);
    Ok(all.into_iter().map_while(|(_, message)| message).collect())
}
