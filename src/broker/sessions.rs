//! Who is connected, and for how long they may be.
//!
//! rustls looks at a certificate once, in the handshake. Here every live connection is looked at
//! again whenever trust changes, and once more right after it registers, so that a change which
//! landed during its handshake is not missed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::Connection;
use tokio::sync::Notify;

use super::Shared;
use super::commit::Log;
use crate::bulletin::Precedence;
use crate::clock::Clock;
use crate::partner::{PartnerId, SpiffeId, Standing};
use crate::session::Refusal;
use crate::transport::{PeerIdentity, Trust};

/// How often expiry alone is looked for.
const RECHECK: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Live {
    /// Of all sessions ever.
    number: u64,
    peer: Arc<PeerIdentity>,
    connection: Connection,
    lanes: [Arc<Notify>; Precedence::ALL.len()],
}

/// The live sessions: a partner's lanes are held by one node at a time.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    live: Mutex<HashMap<PartnerId, Live>>,
    next: AtomicU64,
}

/// A session's place among the live ones; it goes when this does.
#[derive(Debug)]
pub(super) struct Registration {
    sessions: Arc<Sessions>,
    partner: PartnerId,
    number: u64,
    lanes: [Arc<Notify>; Precedence::ALL.len()],
}

impl Registration {
    /// Woken when the lane has something to deliver.
    pub(super) fn lane(&self, precedence: Precedence) -> Arc<Notify> {
        Arc::clone(&self.lanes[precedence as usize])
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut live = self.sessions.lock();
        // Another may have taken its place.
        if live.get(&self.partner).map(|one| one.number) == Some(self.number) {
            live.remove(&self.partner);
        }
    }
}

/// Closes a connection with a code and a sentence, which the peer sees.
pub(super) fn close(connection: &Connection, refusal: &Refusal) {
    // QUIC carries at most a packet of reason.
    let reason: String = refusal.to_string().chars().take(500).collect();
    connection.close(1u8.into(), reason.as_bytes());
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<PartnerId, Live>> {
        // Every change is one step: a panic elsewhere leaves the map whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a session. A node that connects again replaces its older connection, which is
    /// dead and does not know it yet; another node of its partner is refused.
    pub(super) fn register(
        self: &Arc<Self>,
        peer: &Arc<PeerIdentity>,
        connection: &Connection,
    ) -> Result<Registration, Refusal> {
        let mut live = self.lock();
        let partner = peer.id().partner();
        if let Some(other) = live.get(partner) {
            if other.peer.id() != peer.id() {
                return Err(Refusal::new(
                    "lanes_taken",
                    format!(
                        "`{}` holds the lanes of `{partner}`; try again later",
                        other.peer.id()
                    ),
                ));
            }
            let replaced = Refusal::new("replaced", "the same node connected again");
            close(&other.connection, &replaced);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let lanes: [Arc<Notify>; Precedence::ALL.len()] = std::array::from_fn(|_| Arc::default());
        live.insert(
            partner.clone(),
            Live {
                number,
                peer: Arc::clone(peer),
                connection: connection.clone(),
                lanes: lanes.clone(),
            },
        );
        Ok(Registration {
            sessions: Arc::clone(self),
            partner: partner.clone(),
            number,
            lanes,
        })
    }

    /// Wakes a recipient's lane.
    pub(super) fn wake(&self, recipient: &PartnerId, precedence: Precedence) {
        if let Some(live) = self.lock().get(recipient) {
            live.lanes[precedence as usize].notify_one();
        }
    }

    /// Closes the sessions of a partner whose lanes are held through another broker now.
    pub(super) fn moved(&self, partner: &str) {
        let moved = Refusal::new("replaced", "the lanes are held through another broker");
        for (_, live) in self
            .lock()
            .iter()
            .filter(|(one, _)| one.as_str() == partner)
        {
            close(&live.connection, &moved);
        }
    }

    /// The nodes connected now.
    pub(super) fn connected(&self) -> Vec<SpiffeId> {
        let mut ids: Vec<_> = self
            .lock()
            .values()
            .map(|live| live.peer.id().clone())
            .collect();
        ids.sort();
        ids
    }

    /// Closes every session that would no longer be let in.
    async fn recheck(&self, trust: &Trust, clock: &dyn Clock) {
        let live: Vec<_> = self
            .lock()
            .values()
            .map(|live| (Arc::clone(&live.peer), live.connection.clone()))
            .collect();
        for (at, (peer, connection)) in live.iter().enumerate() {
            // A signature or two for each: of thousands, others have their turn in between.
            if at % 16 == 15 {
                tokio::task::yield_now().await;
            }
            if let Err(error) = peer.recheck(trust, clock) {
                tracing::warn!(peer = %peer.id(), %error, "a live connection is closed");
                let refusal = Refusal::new("no_longer_trusted", error.to_string());
                close(connection, &refusal);
            }
        }
    }

    /// Closes every session, because the broker stops.
    pub(super) fn close_all(&self, reason: &str) {
        for live in self.lock().values() {
            close(&live.connection, &Refusal::new("going_away", reason));
        }
    }
}

/// Whom the log, as of now, lets connect: active partners, under their roots and revocation lists.
pub(super) fn trust_of(log: &Log) -> Trust {
    let mut trust = Trust::new();
    let state = log.state();
    for (id, partner) in state.registry().partners() {
        if partner.standing != Standing::Active {
            continue;
        }
        let roots = &partner.keys.current().roots;
        let crl = partner.revocations.as_deref();
        // Fail closed: a partner whose roots or list cannot be read does not connect.
        if let Err(error) = trust.add(id, roots, crl) {
            tracing::error!(partner = %id, %error, "this partner cannot connect");
        }
    }
    trust
}

/// Swaps trust when the log changes it, and closes whom it no longer covers.
pub(super) async fn watch_trust(shared: Arc<Shared>) {
    let mut governance = shared.log.governance();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = governance.changed() => {
                if changed.is_err() {
                    return;
                }
                governance.borrow_and_update();
                shared.trust.store(Arc::new(trust_of(&shared.log)));
            }
            () = tokio::time::sleep(RECHECK) => {}
        }
        shared
            .sessions
            .recheck(&shared.trust.load_full(), shared.clock.as_ref())
            .await;
    }
}

/// Sends nodes to another broker while this one does not know where the log ends.
pub(super) async fn hand_over(shared: Arc<Shared>) {
    let Some(length) = shared.log.lease().length() else {
        return;
    };
    loop {
        let confirmed = tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(length) => {
                if shared.log.lease().is_held() || shared.sessions.connected().is_empty() {
                    continue;
                }
                shared.log.confirm().await
            }
        };
        match confirmed {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::error!(%reason, "the log cannot be reached: nodes are sent to other brokers");
                shared
                    .sessions
                    .close_all("the log cannot be reached from here");
            }
            Err(_) => return,
        }
    }
}
