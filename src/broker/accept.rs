//! Lets partners in: handshake, identity, registration, and then the session.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::Shared;
use super::inbound;
use super::sessions::close;
use crate::session::{HELLO_TIMEOUT, Refusal};
use crate::transport::PeerIdentity;

/// Handshakes at once. Beyond it a peer must first show that it owns its address (QUIC Retry), and then waits.
const HANDSHAKES: usize = 256;
/// Peers that own their address and wait for their handshake; with as many, further ones are refused.
const WAITING: usize = 4_096;
/// Whoever waited longer is let be: a node that is still there says so again, and one that is not would only hold up others.
const LONGEST: Duration = Duration::from_secs(4);

/// Accepts connections until the broker stops.
pub(super) async fn run(shared: Arc<Shared>, endpoint: Endpoint, tasks: TaskTracker) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let waiting = Arc::new(Semaphore::new(WAITING));
    loop {
        let incoming = tokio::select! {
            () = shared.stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        match Arc::clone(&handshakes).try_acquire_owned() {
            Ok(permit) => {
                tasks.spawn(handshake(Arc::clone(&shared), incoming, permit));
            }
            Err(_) if incoming.may_retry() => {
                // A peer that cannot retry any more was validated meanwhile; it is not refused.
                let _ = incoming.retry();
            }
            Err(_) => match Arc::clone(&waiting).try_acquire_owned() {
                Ok(place) => {
                    let (shared, handshakes) = (Arc::clone(&shared), Arc::clone(&handshakes));
                    tasks.spawn(async move {
                        let turn = tokio::time::timeout(LONGEST, handshakes.acquire_owned());
                        let turn = turn.await;
                        drop(place);
                        match turn {
                            Ok(Ok(permit)) => handshake(shared, incoming, permit).await,
                            _ => incoming.ignore(),
                        }
                    });
                }
                Err(_) => incoming.refuse(),
            },
        }
    }
    endpoint.close(0u8.into(), b"the broker stops");
    endpoint.wait_idle().await;
}

async fn handshake(shared: Arc<Shared>, incoming: Incoming, permit: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let trusted = shared.trust.load_full();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return refused(&shared, &error),
    };
    // Never `into_0rtt`: nothing is said to a peer that has not shown who it is.
    let connection = match tokio::time::timeout(HELLO_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return refused(&shared, &error),
        Err(_) => return refused(&shared, &"the handshake took too long"),
    };
    drop(permit);
    let peer = match PeerIdentity::of(&connection) {
        Ok(peer) => Arc::new(peer),
        Err(error) => {
            close(&connection, &Refusal::new("no_identity", error.to_string()));
            return refused(&shared, &error);
        }
    };
    let registration = match shared.sessions.register(&peer, &connection) {
        Ok(registration) => registration,
        Err(refusal) => {
            close(&connection, &refusal);
            return refused(&shared, &refusal);
        }
    };
    // Trust may have changed while the handshake ran, before the session could be found.
    let now_trusted = shared.trust.load_full();
    let again = !Arc::ptr_eq(&trusted, &now_trusted);
    if again && let Err(error) = peer.recheck(&now_trusted, shared.clock.as_ref()) {
        close(
            &connection,
            &Refusal::new("no_longer_trusted", error.to_string()),
        );
        return refused(&shared, &error);
    }
    shared.metrics.sessions.inc();
    tracing::info!(peer = %peer.id(), %address, "connected");
    let ended = inbound::serve(&shared, &connection, &peer, &registration).await;
    if let Err(end) = ended {
        tracing::info!(peer = %peer.id(), reason = %end, "disconnected");
        if let inbound::End::Refused(refusal) = &end {
            shared.metrics.refused(&refusal.code);
            close(&connection, refusal);
        }
    }
    drop(registration);
    shared.metrics.sessions.dec();
}

fn refused(shared: &Shared, reason: &impl std::fmt::Display) {
    tracing::info!(%reason, "a connection was refused");
    shared.metrics.handshakes_refused.inc();
}
