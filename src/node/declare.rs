//! Declarations out: what this node says about single bulletins, each until the broker has recorded
//! it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::error::NodeError;
use super::evidence;
use super::inbox::{InboxItem, Verdict};
use super::{Act, Outward, Shared};
use crate::bulletin::BulletinId;
use crate::ledger::{Declaration, LedgerId, SignedDeclaration, What};
use crate::proof::Digest;
use crate::session::Statement;

/// Declarations read at once.
const PAGE: usize = 64;
/// How long until a declaration that could not be recorded is offered again.
const RETRY: Duration = Duration::from_secs(1);

/// Signs a declaration about a bulletin; the bytes to be stored.
pub(super) fn sign(
    shared: &Shared,
    ledger: LedgerId,
    id: BulletinId,
    bulletin: Digest,
    what: What,
) -> Result<Bytes, NodeError> {
    let declaration = Declaration {
        ledger,
        partner: shared.config.spiffe_id.partner().clone(),
        id,
        bulletin,
        time: shared.clock.now(),
        what,
    };
    Ok(SignedDeclaration::sign(declaration, shared.signer.as_ref())?.to_bytes())
}

/// Notes that the bulletins with these numbers were taken, and declares it where a clause asks.
pub(super) fn taken(shared: &Shared, after: u64, up_to: u64) -> Result<(), NodeError> {
    let Some(ledger) = super::link::known_ledger(shared)? else {
        return Ok(());
    };
    let mut after = after;
    let mut taken = Vec::new();
    while after < up_to {
        let page = shared.store.inbox(after, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (number, bytes) in page {
            let item = InboxItem::from_bytes(&bytes).filter(|_| number <= up_to);
            let Some(item) = item.filter(|item| must_be_taken(shared, item)) else {
                continue;
            };
            let sealed = &item.delivery.bulletin;
            let bytes = sign(shared, ledger, sealed.id, sealed.header_hash(), What::Taken)?;
            taken.push((sealed.id, bytes));
        }
    }
    if !taken.is_empty() {
        shared.store.take(&taken)?;
        shared.declared.notify_one();
    }
    Ok(())
}

/// Whether a clause under which a bulletin came asks its recipient to say that it was taken.
fn must_be_taken(shared: &Shared, item: &InboxItem) -> bool {
    let trusted = evidence::trusted(shared);
    item.verdict == Verdict::Verified
        && item.delivery.clauses.iter().any(|named| {
            let terms = trusted.clause(named);
            terms.is_some_and(|terms| terms.acknowledge_within.is_some())
        })
}

/// Offers what waits to the broker, one after the other, until the node stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let store = Arc::clone(&shared.store);
        let waiting = tokio::task::spawn_blocking(move || store.declarations(PAGE)).await;
        let Ok(Ok(waiting)) = waiting else { return };
        let idle = waiting.is_empty();
        let offering = async {
            for (number, bytes) in waiting {
                if !offer(&shared, number, &bytes).await {
                    tokio::time::sleep(RETRY).await;
                    return;
                }
            }
            if idle {
                shared.declared.notified().await;
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = offering => {}
        }
    }
}

/// Has the broker record a declaration; `false` where it may still do so later.
async fn offer(shared: &Arc<Shared>, number: u64, bytes: &Bytes) -> bool {
    if let Ok(signed) = SignedDeclaration::from_bytes(bytes) {
        let (answer, answered) = oneshot::channel();
        let statement = Statement::Declaration(signed);
        if shared
            .acts
            .send(Outward::Act(Box::new(Act { statement, answer })))
            .await
            .is_err()
        {
            return false;
        }
        match answered.await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) if refusal.code == "later" => return false,
            // Nobody will ever record it; that it was refused is in this node's log.
            Ok(Err(refusal)) => tracing::error!(%refusal, "a declaration was refused"),
            Err(_) => return false,
        }
    }
    let store = Arc::clone(&shared.store);
    let forgotten = tokio::task::spawn_blocking(move || store.declared(number)).await;
    matches!(forgotten, Ok(Ok(())))
}
