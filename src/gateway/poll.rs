//! A client of TAXII 2.1: looks at a collection of another server again and again, and publishes what is new
//! there under configured labels. What comes back of its own is passed over.
//!
//! How far it has come is kept with the outbox, by the server's own `date_added`; what was published of an
//! object's version is kept, too, so that nothing is published twice, whatever the server shows again.

use std::collections::VecDeque;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use url::Url;

use super::exchange::{own, publish, sightings};
use super::taxii::{AddError, Fault, timestamp};
use crate::clock::Timestamp;
use crate::node::{Applications, PollConfig};
use crate::transport::{Trouble, http_agent};

/// The longest one request may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The largest envelope that is read.
const MAX_ENVELOPE: u64 = 64 * 1024 * 1024;
/// Objects that are asked for at once.
const LIMIT: usize = 500;
/// Pages of one look; the next one goes on.
const MAX_PAGES: usize = 10_000;
/// The longest page token that is sent back.
const MAX_TOKEN: usize = 4_096;
/// What was said of objects that cannot be published, so that each is said once: the last so many.
const MAX_TOLD: usize = 10_000;
const TAXII: &str = "application/taxii+json;version=2.1";
const LAST: &str = "x-taxii-date-added-last";

/// What a look at a server failed of. The next one goes on from the same place.
#[derive(Debug, Error)]
enum PollError {
    #[error("{0}")]
    Http(#[from] ureq::Error),
    #[error("the server answers with status {0}")]
    Status(u16),
    #[error("what the server sent is no TAXII envelope: {0}")]
    Envelope(String),
    #[error("the server has more, and does not say how to go on")]
    Stuck,
    #[error("what it has cannot be published: {0}")]
    Add(#[from] AddError),
    #[error("the node's store: {}", .0.message)]
    Store(Trouble),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<Trouble> for PollError {
    fn from(trouble: Trouble) -> Self {
        Self::Store(trouble)
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    more: bool,
    #[serde(default)]
    next: Option<String>,
    #[serde(borrow, default)]
    objects: Vec<&'a RawValue>,
}

/// A collection that is polled.
#[derive(Clone)]
pub struct Poll {
    node: Applications,
    config: PollConfig,
    authorization: Option<String>,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Poll({})", self.config.name)
    }
}

/// A secret or certificates that cannot be used.
#[derive(Debug, Error)]
pub enum InvalidPoll {
    /// The secret's line.
    #[error("the secret is one line: basic USER:PASSWORD, or bearer TOKEN")]
    Secret,
    /// The server's roots.
    #[error("the roots are no certificates in PEM")]
    Roots,
}

impl Poll {
    /// With the line of its secret, where it has one, and the server's roots in PEM, where they are its own.
    pub fn new(
        node: Applications,
        config: PollConfig,
        secret: Option<&str>,
        roots: Option<&[u8]>,
    ) -> Result<Self, InvalidPoll> {
        let agent = http_agent(TIMEOUT, roots).map_err(|_| InvalidPoll::Roots)?;
        Ok(Self {
            node,
            config,
            authorization: secret.map(authorization).transpose()?,
            agent,
        })
    }

    /// Looks again and again, until the node stops.
    pub async fn run(self) {
        let (stop, every) = (self.node.stop(), u64::from(self.config.every));
        loop {
            let one = self.clone();
            let looked = tokio::task::spawn_blocking(move || one.look()).await;
            if let Ok(Err(error)) = looked {
                tracing::warn!(poll = self.config.name, %error, "what is polled is not up to date");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(every)) => {}
            }
        }
    }

    /// Publishes everything that is new by now.
    fn look(&self) -> Result<(), PollError> {
        let mut place = Place {
            after: self.reached()?,
            next: None,
        };
        for _ in 0..MAX_PAGES {
            if self.node.stop().is_cancelled() {
                return Ok(());
            }
            let (text, last) = self.ask(&place)?;
            let no_envelope = |error: serde_json::Error| PollError::Envelope(error.to_string());
            let envelope: Envelope<'_> = serde_json::from_str(&text).map_err(no_envelope)?;
            if !envelope.objects.is_empty() {
                self.publish(&envelope.objects)?;
            }
            if let Some(last) = last {
                // Others may be added at the same moment yet: it is asked for again.
                self.reach(last.saturating_sub(Duration::from_micros(1)))?;
            }
            if !envelope.more {
                return Ok(());
            }
            place = match (envelope.next, last) {
                (Some(next), _) if !next.is_empty() && next.len() <= MAX_TOKEN => Place {
                    next: Some(next),
                    ..place
                },
                (_, Some(last)) if place.after.is_none_or(|after| last > after) => Place {
                    after: Some(last),
                    next: None,
                },
                _ => return Err(PollError::Stuck),
            };
        }
        Ok(())
    }

    fn publish(&self, objects: &[&RawValue]) -> Result<(), PollError> {
        // Never a collection of this node's own: those are UUIDs.
        let collection = format!("poll:{}", self.config.name);
        let (objects, passed) = own::pass_over(&self.node, &collection, objects)?;
        if passed > 0 {
            tracing::debug!(
                poll = self.config.name,
                passed,
                "own objects are passed over"
            );
        }
        let adding = self.node.adding();
        if objects.is_empty() {
            publish::give_notices(&self.node, &adding)?;
            return Ok(());
        }
        let labels = &self.config.labels;
        let by = publish::By::Poll(&collection);
        let find = |id: &str| sightings::anywhere(&self.node, id);
        let status = publish::add(
            &self.node,
            &adding,
            by,
            &collection,
            labels,
            &objects,
            &find,
        )?;
        drop(adding);
        let mut told = self.told()?;
        let before = told.len();
        for one in &status.failures {
            let (id, reason) = (&one.id, one.message.as_deref().unwrap_or_default());
            // What has no version bears the moment of the request.
            let version = Some(&one.version).filter(|one| **one != status.request_timestamp);
            let version = version.map(String::as_str).unwrap_or_default();
            // Nor is it the same place in each request.
            let what = reason
                .split_once("property")
                .map_or(reason, |(_, what)| what);
            let id_of_place = id.starts_with("objects[");
            let words = [if id_of_place { "" } else { id }, version, what].join("\n");
            let digest = ring::digest::digest(&ring::digest::SHA256, words.as_bytes());
            let digest = HEXLOWER.encode(&digest.as_ref()[..16]);
            if !told.contains(&digest) {
                tracing::warn!(poll = self.config.name, id, reason, "not published");
                told.push_back(digest);
            }
        }
        if told.len() > before {
            told.drain(..told.len().saturating_sub(MAX_TOLD));
            let row = serde_json::to_vec(&told).map_err(|error| Trouble::new("internal", error))?;
            self.node.keep(&[(self.told_key(), row)], &[])?;
        }
        Ok(())
    }

    fn told_key(&self) -> Vec<u8> {
        format!("taxii/told/{}", self.config.name).into_bytes()
    }

    /// What was said of objects that cannot be published. They are shown again and again, at the least where
    /// they are the last that was added.
    fn told(&self) -> Result<VecDeque<String>, Trouble> {
        let row = self.node.row(&self.told_key())?;
        let told = row.and_then(|row| serde_json::from_slice(&row).ok());
        Ok(told.unwrap_or_default())
    }

    fn key(&self) -> Vec<u8> {
        format!("taxii/poll/{}", self.config.name).into_bytes()
    }

    /// Everything that was added there up to this moment is published.
    fn reached(&self) -> Result<Option<Timestamp>, Trouble> {
        let row = self.node.row(&self.key())?;
        let moment = row.and_then(|row| Some(i64::from_be_bytes(*row.first_chunk()?)));
        Ok(moment.and_then(Timestamp::from_micros))
    }

    fn reach(&self, moment: Timestamp) -> Result<(), Trouble> {
        if self.reached()?.is_some_and(|reached| reached >= moment) {
            return Ok(());
        }
        let moment = moment.micros().to_be_bytes().to_vec();
        self.node.keep(&[(self.key(), moment)], &[])
    }

    /// A page, and the moment at which its last object was added.
    fn ask(&self, place: &Place) -> Result<(String, Option<Timestamp>), PollError> {
        let invalid = |error: url::ParseError| PollError::Envelope(error.to_string());
        let url = Url::parse(&self.config.url).and_then(|url| url.join("objects/"));
        let mut url = url.map_err(invalid)?;
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("match[version]", "all");
            query.append_pair("match[spec_version]", "2.1");
            query.append_pair("limit", &LIMIT.to_string());
            if let Some(after) = place.after {
                query.append_pair("added_after", &timestamp(after));
            }
            if let Some(next) = &place.next {
                query.append_pair("next", next);
            }
        }
        let mut request = self.agent.get(url.as_str()).header("accept", TAXII);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut answer = request.call()?;
        if answer.status().as_u16() != 200 {
            return Err(PollError::Status(answer.status().as_u16()));
        }
        let last = answer
            .headers()
            .get(LAST)
            .and_then(|value| value.to_str().ok());
        let last = last.and_then(|text| text.parse().ok());
        let body = answer.body_mut().with_config().limit(MAX_ENVELOPE);
        Ok((body.read_to_string()?, last))
    }
}

/// Where a page begins.
struct Place {
    after: Option<Timestamp>,
    next: Option<String>,
}

fn authorization(line: &str) -> Result<String, InvalidPoll> {
    let (scheme, rest) = line.trim().split_once(' ').ok_or(InvalidPoll::Secret)?;
    match scheme {
        "basic" if rest.contains(':') => Ok(format!("Basic {}", BASE64.encode(rest.as_bytes()))),
        "bearer" if !rest.contains(char::is_whitespace) => Ok(format!("Bearer {rest}")),
        _ => Err(InvalidPoll::Secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_of_a_known_scheme() {
        assert_eq!(authorization("basic a:b c\n").unwrap(), "Basic YTpiIGM=");
        assert_eq!(authorization("bearer xyz\n").unwrap(), "Bearer xyz");
        for line in ["", "a:b", "basic ab", "bearer x y", "digest x"] {
            assert!(authorization(line).is_err(), "{line}");
        }
    }
}
