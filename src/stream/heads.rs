//! What brokers of one log tell one another beside it: the last checkpoint, what witnesses said about it, who
//! holds a partner's lanes, and that they live.

use std::sync::Arc;

use async_nats::jetstream::kv;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt;

use super::engine::StreamEngine;
use super::error::StreamError;
use super::leader::Leader;
use super::nats::unavailable;
use crate::proof::Digest;

/// Key of the last checkpoint.
const CHECKPOINT: &str = "checkpoint";
/// Key of a proof that the log's key signed two histories.
const FORK: &str = "fork";
/// Keys of what witnesses said, before the witness's number.
const HEARD: &str = "heard.";
/// Keys of who holds a partner's lanes, before the partner.
const HOLDER: &str = "holder.";
/// Keys of brokers that live, before the broker's number.
const ALIVE: &str = "alive.";
/// Keys of what brokers read, before the broker's number.
const READS: &str = "reads.";
/// The pause before the bucket is watched again, where that failed.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// What a witness said to one broker, for the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heard {
    /// Its keys, as verifier keys.
    pub keys: Vec<String>,
    /// The size of the checkpoint that it cosigned.
    pub size: u64,
    /// Its signature lines.
    pub lines: Vec<String>,
}

/// The node that holds a partner's lanes, and the broker through which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The node's SPIFFE ID.
    pub node: String,
    /// The broker's SPIFFE ID.
    pub broker: String,
    /// Which of its sessions.
    pub session: u64,
}

/// What a broker reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Its SPIFFE ID.
    pub broker: String,
    /// The newest format of messages.
    pub format: u32,
}

/// What changed in the bucket.
#[derive(Clone, Debug)]
pub enum HeardNews {
    /// Another checkpoint.
    Checkpoint(String),
    /// A proof of a fork.
    Fork(String),
    /// A witness was heard.
    Witness(Heard),
    /// A broker lives.
    Alive(String),
    /// What a broker reads.
    Reads(Reads),
    /// Another node or broker holds a partner's lanes.
    Holder(String, Holder),
}

/// The bucket, for whoever signs checkpoints.
#[derive(Debug, Clone)]
pub struct HeadBucket {
    engine: Arc<StreamEngine>,
    leader: Leader,
}

impl HeadBucket {
    /// The bucket beside a stream.
    pub fn of(engine: &Arc<StreamEngine>) -> Self {
        let stream = engine.catalogue().heads.stream_name.clone();
        Self {
            engine: Arc::clone(engine),
            leader: Leader::of(engine.nats().context(), stream),
        }
    }

    fn heads(&self) -> kv::Store {
        self.engine.catalogue().heads.clone()
    }

    fn text(&self, key: &'static str) -> Result<Option<(String, u64)>, StreamError> {
        let heads = self.heads();
        self.engine.nats().run(async move {
            let entry = heads.entry(key).await.map_err(unavailable)?;
            let entry = entry.filter(|entry| entry.operation == kv::Operation::Put);
            Ok(entry.map(|entry| {
                let text = String::from_utf8_lossy(&entry.value).into_owned();
                (text, entry.revision)
            }))
        })
    }

    /// The last checkpoint; `None` where none was signed yet.
    pub fn load(&self) -> Result<Option<String>, StreamError> {
        Ok(self.text(CHECKPOINT)?.map(|(text, _)| text))
    }

    /// A proof of a fork.
    pub fn fork(&self) -> Result<Option<String>, StreamError> {
        Ok(self.text(FORK)?.map(|(text, _)| text))
    }

    /// Keeps such a proof.
    pub fn keep_fork(&self, proof: &str) -> Result<(), StreamError> {
        self.put(FORK.to_owned(), proof.to_owned().into())
    }

    /// Puts a checkpoint in the place of the expected one. `false` where another is there.
    pub fn swap(&self, expected: Option<&str>, new: &str) -> Result<bool, StreamError> {
        let found = self.text(CHECKPOINT)?;
        if found.as_ref().map(|(text, _)| text.as_str()) != expected {
            return Ok(false);
        }
        let revision = found.map_or(0, |(_, revision)| revision);
        let (heads, value) = (self.heads(), Bytes::copy_from_slice(new.as_bytes()));
        let leader = self.leader.clone();
        let put = self.engine.nats().run(async move {
            match heads.update(CHECKPOINT, value, revision).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(false),
                Err(error) => Err(leader.refused(error)),
            }
        });
        match put {
            // It may be there all the same.
            Ok(false) | Err(StreamError::Unavailable(_)) => {
                Ok(self.text(CHECKPOINT)?.is_some_and(|(text, _)| text == new))
            }
            other => other,
        }
    }

    /// Tells other brokers what a witness said. Losing it costs time only.
    pub fn tell(&self, witness: &str, heard: &Heard) {
        let Ok(value) = serde_json::to_vec(heard) else {
            return;
        };
        let (heads, key) = (self.heads(), format!("{HEARD}{witness}"));
        self.engine.nats().handle().spawn(async move {
            if let Err(error) = heads.put(key, value.into()).await {
                tracing::debug!(%error, "other brokers were not told what a witness said");
            }
        });
    }

    fn put(&self, key: String, value: Bytes) -> Result<(), StreamError> {
        let heads = self.heads();
        self.engine.nats().run(async move {
            let put = heads.put(key, value).await;
            put.map(|_| ()).map_err(unavailable)
        })
    }

    /// Takes a partner's lanes for a node, unless another node holds them through a broker that lives: who does.
    pub fn claim(
        &self,
        partner: &str,
        holder: &Holder,
        lives: impl Fn(&str) -> bool,
    ) -> Result<Option<Holder>, StreamError> {
        let key = format!("{HOLDER}{partner}");
        let (heads, at) = (self.heads(), key.clone());
        let found = self
            .engine
            .nats()
            .run(async move { heads.entry(at).await.map_err(unavailable) })?;
        let revision = found.as_ref().map_or(0, |entry| entry.revision);
        let held = found.filter(|entry| entry.operation == kv::Operation::Put);
        let held = held.and_then(|entry| serde_json::from_slice::<Holder>(&entry.value).ok());
        if let Some(held) = held
            && held.node != holder.node
            && lives(&held.broker)
        {
            return Ok(Some(held));
        }
        let value = serde_json::to_vec(holder)
            .map_err(|error| StreamError::Unavailable(error.to_string()))?;
        let heads = self.heads();
        self.engine.nats().run(async move {
            let put = heads.update(key, value.into(), revision).await;
            put.map(|_| ()).map_err(unavailable)
        })?;
        Ok(None)
    }

    /// Gives a partner's lanes up, where this is who holds them.
    pub fn release(&self, partner: &str, holder: Holder) {
        let (heads, key) = (self.heads(), format!("{HOLDER}{partner}"));
        self.engine.nats().handle().spawn(async move {
            let Ok(Some(entry)) = heads.entry(key.clone()).await else {
                return;
            };
            let held = serde_json::from_slice::<Holder>(&entry.value).ok();
            if held == Some(holder) {
                // Somebody else may have taken them meanwhile: then nothing is to be given up.
                let _ = heads
                    .delete_expect_revision(key, Some(entry.revision))
                    .await;
            }
        });
    }

    /// Says what this broker reads.
    pub fn reads(&self, broker: &str) {
        let reads = Reads {
            broker: broker.to_owned(),
            format: self.engine.reads(),
        };
        let Ok(value) = serde_json::to_vec(&reads) else {
            return;
        };
        let key = format!("{READS}{}", Digest::of(broker.as_bytes()));
        let heads = self.heads();
        self.engine.nats().handle().spawn(async move {
            if let Err(error) = heads.put(key, value.into()).await {
                tracing::debug!(%error, "other brokers were not told what this one reads");
            }
        });
    }

    /// The newest format of messages that this broker reads.
    pub fn format(&self) -> u32 {
        self.engine.reads()
    }

    /// Has messages written in a format from now on.
    pub fn write_format(&self, format: u32) {
        self.engine.write_format(format);
    }

    /// Says that a broker lives.
    pub fn beat(&self, broker: &str) {
        let key = format!("{ALIVE}{}", Digest::of(broker.as_bytes()));
        let (heads, value) = (self.heads(), Bytes::copy_from_slice(broker.as_bytes()));
        self.engine.nats().handle().spawn(async move {
            if let Err(error) = heads.put(key, value).await {
                tracing::debug!(%error, "other brokers were not told that this one lives");
            }
        });
    }

    /// Gives whatever changes from now on, until the receiver is gone.
    pub fn watch(&self) -> tokio::sync::mpsc::Receiver<HeardNews> {
        let (send, receive) = tokio::sync::mpsc::channel(64);
        let heads = self.heads();
        self.engine.nats().handle().spawn(async move {
            while !send.is_closed() {
                if let Ok(mut watch) = heads.watch_all().await {
                    // What changed while nobody watched.
                    for key in [CHECKPOINT, FORK] {
                        if let Ok(Some(entry)) = heads.entry(key).await
                            && let Some(news) = news(&entry)
                            && send.send(news).await.is_err()
                        {
                            return;
                        }
                    }
                    while let Some(Ok(entry)) = watch.next().await {
                        let Some(news) = news(&entry) else { continue };
                        if send.send(news).await.is_err() {
                            return;
                        }
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        receive
    }
}

fn news(entry: &kv::Entry) -> Option<HeardNews> {
    if entry.operation != kv::Operation::Put {
        return None;
    }
    let text = || String::from_utf8_lossy(&entry.value).into_owned();
    match entry.key.as_str() {
        CHECKPOINT => Some(HeardNews::Checkpoint(text())),
        FORK => Some(HeardNews::Fork(text())),
        key if key.starts_with(READS) => serde_json::from_slice(&entry.value)
            .ok()
            .map(HeardNews::Reads),
        key if key.starts_with(ALIVE) => Some(HeardNews::Alive(text())),
        key if key.starts_with(HOLDER) => {
            let holder = serde_json::from_slice(&entry.value).ok()?;
            let partner = key.trim_start_matches(HOLDER).to_owned();
            Some(HeardNews::Holder(partner, holder))
        }
        key if key.starts_with(HEARD) => serde_json::from_slice(&entry.value)
            .ok()
            .map(HeardNews::Witness),
        _ => None,
    }
}
