//! Whose turn it is to append, where several brokers do.
//!
//! Of brokers that append at once one succeeds, and what the others decided, signed and sent was for nothing. So whoever
//! is about to begin tells the others, by a message that no stream keeps, and who hears it in time waits for what
//! comes of it. It is advice and no lock: what is lost, late or a lie costs time; whether a group is appended is decided
//! by its place alone.
//!
//! One that came too late says so, too, how many times in a row, and waits for nobody again, or whoever says most often
//! that it begins would keep it for ever. The others let it go first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use tokio::runtime::Handle;
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
    /// Who did for that.
    others: BTreeMap<String, Other>,
}

/// Who begins.
#[derive(Clone, Copy, Debug)]
struct Other {
    /// When it said so first.
    at: Instant,
    /// How many times in a row it came too late.
    lost: u32,
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
                if let Some((place, lost, other)) = read(&message.payload)
                    && other != broker
                {
                    lock(&heard).add(place, lost, other);
                }
            }
        };
        (turns, listening)
    }

    /// Until when somebody is waited for who begins for the place after a message.
    fn first(&self, place: u64, began: Option<Instant>) -> Option<Instant> {
        let until = lock(&self.heard).first(&self.broker, place, began);
        until.filter(|until| Instant::now() < *until)
    }

    /// Says that this broker begins for a place, after it came too late so many times.
    fn say(&self, place: u64, lost: u32, handle: &Handle) {
        let (client, subject) = (self.client.clone(), self.subject.clone());
        let text = written(place, lost, &self.broker);
        handle.spawn(async move {
            // Whoever does not hear it goes on as if nothing was said.
            let _ = client.publish(subject, Bytes::from(text)).await;
        });
    }

    /// Whether others append.
    fn are_others(&self) -> bool {
        lock(&self.heard)
            .last
            .is_some_and(|at| at.elapsed() < OTHERS)
    }
}

impl Heard {
    /// Until when a broker waits for others: those that began before it did, or at the same moment and go first, and
    /// those that came too late before.
    fn first(&self, broker: &str, place: u64, began: Option<Instant>) -> Option<Instant> {
        let others = self.others.iter().filter(|_| self.place == place);
        let ahead = others.filter(|(name, other)| match began {
            Some(began) if other.lost == 0 && other.at >= began => {
                rank(place, name) < rank(place, broker)
            }
            _ => true,
        });
        ahead.map(|(_, other)| other.at + PATIENCE).max()
    }

    fn add(&mut self, place: u64, lost: u32, other: &str) {
        let now = Instant::now();
        self.last = Some(now);
        // Whoever is behind undoes with it what was heard of a later place, which costs work and nothing else.
        if place != self.place {
            self.place = place;
            self.others.clear();
        }
        if self.others.len() < MOST {
            let new = Other { at: now, lost };
            let other = self.others.entry(other.to_owned()).or_insert(new);
            // It is waited for no longer than from when it began.
            other.lost = other.lost.max(lost);
        }
    }
}

impl StreamEngine {
    /// Waits for whoever is about to append, for a while, and says that this broker is; says no more than that where it
    /// came too late.
    pub(super) fn try_take_turn(&self, lost: u32) -> Result<(), StreamError> {
        let turns = &self.turns;
        if lost > 0 {
            self.try_catch_up()?;
            turns.say(self.taken_on()?, lost, self.nats().handle());
            return Ok(());
        }
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
                said = Some((place, Instant::now()));
                turns.say(place, 0, self.nats().handle());
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

/// A place, and who begins there: `PLACE BROKER`, and where it came too late before, `PLACE TIMES BROKER`. No broker's
/// id begins with a number; older versions take what is there for one.
fn written(place: u64, lost: u32, broker: &str) -> String {
    if lost == 0 {
        format!("{place} {broker}")
    } else {
        format!("{place} {lost} {broker}")
    }
}

/// What [`written`] wrote: place, times, broker.
fn read(payload: &Bytes) -> Option<(u64, u32, &str)> {
    let text = (payload.len() <= LARGEST).then_some(payload)?;
    let (place, rest) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    let times = |(times, broker): (&str, _)| Some((times.parse().ok()?, broker));
    let (lost, broker) = rest.split_once(' ').and_then(times).unwrap_or((0, rest));
    Some((place.parse().ok()?, lost, broker))
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
        heard.add(7, 0, "b");
        heard.add(7, 0, "b");
        assert!(heard.others["b"].at >= now);
        heard.add(8, 0, "c");
        assert_eq!((heard.place, heard.others.len()), (8, 1));
        for junk in [&b""[..], b"7", b"x b", &[0xff; 9], &[b'1'; LARGEST + 1]] {
            assert_eq!(read(&Bytes::copy_from_slice(junk)), None);
        }
        for (lost, broker) in [(0, "b"), (0, "broker 2"), (3, "b"), (u32::MAX, "broker 2")] {
            let text = Bytes::from(written(7, lost, broker));
            assert_eq!(read(&text), Some((7, lost, broker)));
        }
    }

    #[test]
    fn whoever_came_too_late_is_waited_for_by_those_who_began_before_and_no_longer_than_others() {
        let mut heard = Heard::default();
        let began = Instant::now();
        // A broker after which the other one goes, as far as the place says.
        let other = (0..).map(|number| format!("b{number}"));
        let mut other = other.filter(|other| rank(7, other) > rank(7, "a"));
        let other = other.next().expect("half of them");
        assert_eq!(heard.first("a", 7, None), None);
        heard.add(7, 0, &other);
        let at = heard.others[&other].at;
        assert_eq!(heard.first("a", 7, Some(began)), None);
        assert_eq!(heard.first("a", 7, None), Some(at + PATIENCE));
        heard.add(7, 1, &other);
        assert_eq!(heard.first("a", 7, Some(began)), Some(at + PATIENCE));
        assert_eq!(heard.first("a", 8, None), None);
    }
}
