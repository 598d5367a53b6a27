//! Whose turn it is to append, where several brokers do.
//!
//! Of brokers that append at once one succeeds, and what the others decided, signed and sent was for nothing. So whoever
//! is about to begin tells the others, by a message that no stream keeps, and who hears it in time waits for what
//! comes of it. It is advice and no lock: what is lost, late or a lie costs time; whether a group is appended is decided
//! by its place alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use tokio_stream::StreamExt;

use super::engine::StreamEngine;
use super::error::StreamError;
use crate::proof::Digest;

/// Whoever said that it begins is waited for so long, and all of them together no longer than four times that.
const PATIENCE: Duration = Duration::from_millis(300);
/// Those who begin at the same moment have heard of one another within this time.
const HEARD: Duration = Duration::from_millis(2);
/// Others append as long as one of them said so within this time.
const OTHERS: Duration = Duration::from_secs(1);
/// The pause between two looks at what has come.
const LOOK: Duration = Duration::from_millis(1);
/// A longer message is nobody's.
const LARGEST: usize = 512;
/// So many others are listened to.
const MOST: usize = 64;

/// Who begins, as the others say.
#[derive(Debug, Default)]
struct Heard {
    /// When another said something last.
    last: Option<Instant>,
    /// The place for which somebody did last.
    place: u64,
    /// Who did for that, and when.
    others: BTreeMap<String, Instant>,
}

/// Turns of this broker and others.
#[derive(Debug)]
pub(super) struct Turns {
    client: Client,
    subject: String,
    broker: String,
    heard: Arc<Mutex<Heard>>,
}

impl Turns {
    /// Listens to the others; what listens is to be run.
    pub(super) fn new(
        client: Client,
        subject: String,
        broker: String,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let turns = Self {
            client: client.clone(),
            subject: subject.clone(),
            broker: broker.clone(),
            heard: Arc::default(),
        };
        let heard = Arc::clone(&turns.heard);
        let listening = async move {
            let mut said = match client.subscribe(subject).await {
                Ok(said) => said,
                Err(error) => {
                    tracing::warn!(%error, "brokers do not take turns: others are not heard");
                    return;
                }
            };
            while let Some(message) = said.next().await {
                if let Some((place, other)) = read(&message.payload)
                    && other != broker
                {
                    lock(&heard).add(place, other);
                }
            }
        };
        (turns, listening)
    }

    /// Who began before this broker did, or at the same moment and goes first, for the place after a message; until
    /// when it is waited for.
    fn first(&self, place: u64, began: Option<Instant>) -> Option<Instant> {
        let heard = lock(&self.heard);
        let others = heard.others.iter().filter(|_| heard.place == place);
        let ahead = others.filter(|(other, at)| match began {
            Some(began) if **at >= began => rank(place, other) < rank(place, &self.broker),
            _ => true,
        });
        let until = ahead.map(|(_, at)| *at + PATIENCE).max();
        until.filter(|until| Instant::now() < *until)
    }

    /// Whether others append.
    fn are_others(&self) -> bool {
        lock(&self.heard)
            .last
            .is_some_and(|at| at.elapsed() < OTHERS)
    }
}

impl Heard {
    fn add(&mut self, place: u64, other: &str) {
        let now = Instant::now();
        self.last = Some(now);
        // Whoever is behind undoes with it what was heard of a later place, which costs work and nothing else.
        if place != self.place {
            self.place = place;
            self.others.clear();
        }
        if self.others.len() < MOST {
            self.others.entry(other.to_owned()).or_insert(now);
        }
    }
}

impl StreamEngine {
    /// Waits for whoever is about to append, for a while, and says that this broker is.
    pub(super) fn try_take_turn(&self) -> Result<(), StreamError> {
        let turns = &self.turns;
        let end = Instant::now() + 4 * PATIENCE;
        let mut said: Option<(u64, Instant)> = None;
        while Instant::now() < end {
            let place = self.taken_on()?;
            let mine = said.filter(|(of, _)| *of == place).map(|(_, at)| at);
            if turns.first(place, mine).is_some() {
                std::thread::sleep(LOOK);
                continue;
            }
            let Some(at) = mine else {
                let now = Instant::now();
                said = Some((place, now));
                let (client, subject) = (turns.client.clone(), turns.subject.clone());
                let text = format!("{place} {}", turns.broker);
                self.nats().handle().spawn(async move {
                    // Whoever does not hear it goes on as if nothing was said.
                    let _ = client.publish(subject, Bytes::from(text)).await;
                });
                continue;
            };
            if !turns.are_others() || at.elapsed() >= HEARD {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    // Every change is one step.
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who goes first for a place: each time another.
fn rank(place: u64, broker: &str) -> Digest {
    Digest::of(format!("{place} {broker}").as_bytes())
}

/// A place, and who begins there.
fn read(payload: &Bytes) -> Option<(u64, &str)> {
    let text = (payload.len() <= LARGEST).then_some(payload)?;
    let (place, broker) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    Some((place.parse().ok()?, broker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_who_begin_at_once_one_is_first_and_whoever_was_before_is_waited_for() {
        let now = Instant::now();
        let mut first = [0; 2];
        for place in 0..200 {
            let [a, b] = ["a", "b"].map(|broker| rank(place, broker));
            first[usize::from(a > b)] += 1;
        }
        assert!(first.iter().all(|count| *count > 50), "{first:?}");
        let mut heard = Heard::default();
        heard.add(7, "b");
        heard.add(7, "b");
        assert!(heard.others["b"] >= now);
        heard.add(8, "c");
        assert_eq!((heard.place, heard.others.len()), (8, 1));
        for junk in [&b""[..], b"7", b"x b", &[0xff; 9], &[b'1'; LARGEST + 1]] {
            assert_eq!(read(&Bytes::from_static(b"7 b")), Some((7, "b")));
            assert_eq!(read(&Bytes::copy_from_slice(junk)), None);
        }
    }
}
