//! Which broker to connect to, where a ledger has several: the nearest that answers.
//!
//! Those that failed last are tried last; among the others the one with the shortest round trip, as far as it was
//! measured. The next is tried a moment after the one before, without waiting for it to fail, so that a broker
//! that says nothing costs no more than that moment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint};
use tokio::task::JoinSet;

use super::Shared;
use super::config::Config;
use super::error::NodeError;
use crate::identity::{certificates_from_pem, crl_from_pem, read_private};
use crate::partner::SpiffeId;
use crate::transport::{Credentials, Trust, client_config, client_endpoint};

/// After so long the next broker is tried, too.
const STAGGER: Duration = Duration::from_millis(300);
/// Renew a certificate before this much of its validity is left.
const EXPIRY_WARNING: Duration = Duration::from_hours(336);

/// The brokers of the configuration.
#[derive(Debug)]
pub(super) struct Brokers {
    known: Mutex<Vec<Known>>,
}

/// One of them, and how it went with it.
#[derive(Clone, Debug)]
struct Known {
    address: String,
    id: SpiffeId,
    /// Failures since it last served.
    failures: u32,
    /// The shortest round trip that was seen.
    round_trip: Option<Duration>,
}

/// A connection to one of them.
pub(super) struct Connected {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) id: SpiffeId,
    number: usize,
}

impl Brokers {
    pub(super) fn of(config: &Config) -> Self {
        let first = (config.broker.clone(), config.broker_id.clone());
        let others = config.other_broker.iter();
        let others = others.map(|other| (other.address.clone(), other.id.clone()));
        let known = std::iter::once(first).chain(others);
        Self {
            known: Mutex::new(
                known
                    .map(|(address, id)| Known {
                        address,
                        id,
                        failures: 0,
                        round_trip: None,
                    })
                    .collect(),
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        // Every change is one step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them, the one to be tried first at the front.
    fn order(&self) -> Vec<(usize, Known)> {
        let mut all: Vec<_> = self.lock().iter().cloned().enumerate().collect();
        // A stable sort: what is alike stays in the order of the configuration.
        all.sort_by_key(|(_, one)| (one.failures, one.round_trip.unwrap_or(Duration::MAX)));
        all
    }

    /// Connects to the first that answers.
    pub(super) async fn connect(&self, shared: &Arc<Shared>) -> Result<Connected, NodeError> {
        let mut waiting = self.order().into_iter();
        let mut trying = JoinSet::new();
        let mut last = None;
        loop {
            if let Some((number, one)) = waiting.next() {
                let shared = Arc::clone(shared);
                trying.spawn(async move { (number, reach(&shared, number, one).await) });
            }
            let ended = if waiting.len() > 0 {
                match tokio::time::timeout(STAGGER, trying.join_next()).await {
                    Ok(ended) => ended,
                    Err(_) => continue,
                }
            } else {
                trying.join_next().await
            };
            match ended {
                Some(Ok((_, Ok(connected)))) => return Ok(connected),
                Some(Ok((number, Err(error)))) => {
                    self.failed(number);
                    last = Some(error);
                }
                Some(Err(_)) => {}
                None => break,
            }
        }
        Err(last.unwrap_or(NodeError::Protocol("no broker is configured")))
    }

    /// It served as it should.
    pub(super) fn served(&self, connected: &Connected) {
        let round_trip = connected.connection.rtt();
        if let Some(one) = self.lock().get_mut(connected.number) {
            one.failures = 0;
            one.round_trip = Some(
                one.round_trip
                    .map_or(round_trip, |known| known.min(round_trip)),
            );
        }
    }

    /// The session with it ended, or did not begin. After a good one the others have another chance first.
    pub(super) fn left(&self, connected: &Connected, was_good: bool) {
        if was_good {
            for one in self.lock().iter_mut() {
                one.failures = 0;
            }
        }
        self.failed(connected.number);
    }

    fn failed(&self, number: usize) {
        if let Some(one) = self.lock().get_mut(number) {
            one.failures = one.failures.saturating_add(1);
        }
    }
}

async fn reach(shared: &Shared, number: usize, one: Known) -> Result<Connected, NodeError> {
    let tls = tls(shared, &one.id)?;
    let unreachable = |reason: String| NodeError::Unreachable {
        address: one.address.clone(),
        reason,
    };
    let address = tokio::net::lookup_host(&one.address)
        .await
        .map_err(|error| unreachable(error.to_string()))?
        .next()
        .ok_or_else(|| unreachable("it has no address".into()))?;
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (endpoint, buffers) = client_endpoint(SocketAddr::new(any, 0), tls)?;
    if !buffers.is_enough() {
        tracing::debug!("{buffers}");
    }
    // The name is not sent and counts for nothing; the SPIFFE ID does.
    let connecting = endpoint
        .connect(address, "broker.invalid")
        .map_err(|error| unreachable(error.to_string()))?;
    let connection = connecting
        .await
        .map_err(|error| match NodeError::from(error) {
            NodeError::Gone(reason) => unreachable(reason),
            refused => refused,
        })?;
    Ok(Connected {
        endpoint,
        connection,
        id: one.id,
        number,
    })
}

/// Certificates are read for each connection, so that a renewed one needs no restart.
pub(super) fn tls(shared: &Shared, broker: &SpiffeId) -> Result<Arc<QuicClientConfig>, NodeError> {
    let config = &shared.config;
    let chain = std::fs::read(&config.tls.certificate).map_err(|error| NodeError::File {
        path: config.tls.certificate.clone(),
        error,
    })?;
    let key = read_private(&config.tls.key)?;
    let credentials = Credentials::new(&chain, key.as_bytes())?;
    let until = credentials.not_after()?;
    if until.since(shared.clock.now()) < EXPIRY_WARNING {
        tracing::warn!(%until, "this node's certificate expires soon; issue another");
    }
    let mut trust = Trust::new();
    let roots = certificates_from_pem(&config.broker_roots)?;
    let revocations = config
        .broker_revocations
        .as_deref()
        .map(crl_from_pem)
        .transpose()?;
    trust.add(broker.partner(), &roots, revocations.as_deref())?;
    let clock = Arc::clone(&shared.clock);
    Ok(client_config(
        config.tls.kex,
        Arc::new(credentials),
        trust,
        broker.clone(),
        clock,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers() -> Brokers {
        let known = ["a", "b", "c"].map(|name| Known {
            address: name.into(),
            id: format!("spiffe://alliance.example/broker/{name}")
                .parse()
                .unwrap(),
            failures: 0,
            round_trip: None,
        });
        Brokers {
            known: Mutex::new(known.to_vec()),
        }
    }

    fn order(brokers: &Brokers) -> Vec<String> {
        let all = brokers.order().into_iter();
        all.map(|(_, one)| one.address).collect()
    }

    #[test]
    fn the_nearest_that_did_not_fail_is_tried_first() {
        let brokers = brokers();
        assert_eq!(order(&brokers), ["a", "b", "c"]);
        brokers.failed(0);
        assert_eq!(order(&brokers), ["b", "c", "a"]);
        brokers.lock()[2].round_trip = Some(Duration::from_millis(2));
        brokers.lock()[1].round_trip = Some(Duration::from_millis(9));
        assert_eq!(order(&brokers), ["c", "b", "a"]);
        brokers.failed(2);
        assert_eq!(order(&brokers), ["b", "c", "a"]);
    }
}
