//! Lets partners in: handshake, identity, registration, and then the session.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::Shared;
use super::inbound;
use super::sessions::{Registration, close};
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
                let admitted = Box::pin(admit(Arc::clone(&shared), incoming, permit));
                tasks.spawn(session(Arc::clone(&shared), admitted));
            }
            Err(_) if incoming.may_retry() => {
                // A peer that cannot retry any more was validated meanwhile; it is not refused.
                let _ = incoming.retry();
            }
            Err(_) => match Arc::clone(&waiting).try_acquire_owned() {
                Ok(place) => {
                    let handshakes = Arc::clone(&handshakes);
                    let admitted = admit_later(Arc::clone(&shared), incoming, handshakes, place);
                    tasks.spawn(session(Arc::clone(&shared), Box::pin(admitted)));
                }
                Err(_) => incoming.refuse(),
            },
        }
    }
    endpoint.close(0u8.into(), b"the broker stops");
    endpoint.wait_idle().await;
}

/// Who was let in.
struct Admitted {
    connection: Connection,
    peer: Arc<PeerIdentity>,
    registration: Registration,
}

/// A session from its handshake to its end. What lets it in is a future of its own on the heap: what that needs is
/// given back before the session waits, perhaps for days.
async fn session(
    shared: Arc<Shared>,
    admitted: Pin<Box<impl Future<Output = Result<Admitted, Option<String>>>>>,
) {
    let Admitted {
        connection,
        peer,
        registration,
    } = match admitted.await {
        Ok(admitted) => admitted,
        Err(reason) => {
            if let Some(reason) = reason {
                tracing::info!(%reason, "a connection was refused");
            }
            shared.metrics.handshakes_refused.inc();
            return;
        }
    };
    shared.metrics.sessions.inc();
    tracing::info!(peer = %peer.id(), address = %connection.remote_address(), "connected");
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

/// As [`admit`], after others. One that waited too long is not even refused, and counted only: there may be thousands.
async fn admit_later(
    shared: Arc<Shared>,
    incoming: Incoming,
    handshakes: Arc<Semaphore>,
    place: OwnedSemaphorePermit,
) -> Result<Admitted, Option<String>> {
    let turn = tokio::time::timeout(LONGEST, handshakes.acquire_owned()).await;
    drop(place);
    let Ok(Ok(permit)) = turn else {
        incoming.ignore();
        return Err(None);
    };
    admit(shared, incoming, permit).await
}

/// The handshake, and the peer's place among the live sessions; or why not, for the log: always something.
async fn admit(
    shared: Arc<Shared>,
    incoming: Incoming,
    permit: OwnedSemaphorePermit,
) -> Result<Admitted, Option<String>> {
    let trusted = shared.trust.load_full();
    let connecting = incoming.accept().map_err(|error| Some(error.to_string()))?;
    // Never `into_0rtt`: nothing is said to a peer that has not shown who it is.
    let connection = tokio::time::timeout(HELLO_TIMEOUT, connecting)
        .await
        .map_err(|_| Some("the handshake took too long".to_owned()))?
        .map_err(|error| Some(error.to_string()))?;
    drop(permit);
    let refused = |refusal: Refusal| {
        close(&connection, &refusal);
        Some(refusal.to_string())
    };
    let peer = PeerIdentity::of(&connection)
        .map_err(|error| refused(Refusal::new("no_identity", error.to_string())))?;
    let peer = Arc::new(peer);
    let registration = shared.sessions.register(&peer, &connection);
    let registration = registration.map_err(refused)?;
    // Trust may have changed while the handshake ran, before the session could be found.
    let now_trusted = shared.trust.load_full();
    let again = !Arc::ptr_eq(&trusted, &now_trusted);
    if again && let Err(error) = peer.recheck(&now_trusted, shared.clock.as_ref()) {
        let refusal = Refusal::new("no_longer_trusted", error.to_string());
        return Err(refused(refusal));
    }
    Ok(Admitted {
        connection,
        peer,
        registration,
    })
}
