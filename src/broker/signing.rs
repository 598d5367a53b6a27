//! When checkpoints are signed, and when they are shown.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;

/// At most this often a checkpoint is signed.
const INTERVAL: Duration = Duration::from_millis(200);
/// Cosignatures that come within this time are shown together.
const GATHER: Duration = Duration::from_millis(50);
/// How often alarms are looked for, such as a missing quorum.
const LOOK: Duration = Duration::from_secs(1);

/// Signs a checkpoint whenever the log has grown, at most every [`INTERVAL`].
pub(super) async fn run(shared: Arc<Shared>) {
    let mut sizes = shared.log.sizes();
    sizes.mark_changed();
    let mut heard = shared.log.head().cosigned.subscribe();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = sizes.changed() => if changed.is_err() { return },
            // Witnesses that were heard may be what was waited for.
            changed = heard.changed() => if changed.is_err() { return },
        }
        sizes.borrow_and_update();
        heard.borrow_and_update();
        let mut pause = INTERVAL;
        let signing = Arc::clone(&shared);
        let signed = tokio::task::spawn_blocking(move || {
            signing.log.snapshot_if_due()?;
            let (size, now) = (signing.log.size(), signing.clock.now());
            let key = signing.log_key.as_ref();
            signing.log.sign_checkpoint(size, key, now)
        });
        match signed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "no checkpoint could be signed");
                // What could not be signed now is due, also where nothing more comes.
                sizes.mark_changed();
                pause = LOOK;
            }
            Err(_) => return,
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Shows checkpoints with the cosignatures that come, and says alarms, also that a quorum does not.
pub(super) async fn publish(shared: Arc<Shared>) {
    let head = shared.log.head();
    let (mut signed, mut cosigned) = (head.signed(), head.cosigned.subscribe());
    signed.mark_changed();
    let (mut alarmed, mut look) = (Vec::new(), tokio::time::interval(LOOK));
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = signed.changed() => if changed.is_err() { return },
            changed = cosigned.changed() => if changed.is_err() { return },
            // Also where checkpoints are signed all the time.
            _ = look.tick() => {
                let alarms = shared.log.alarms(shared.clock.now());
                for alarm in alarms.iter().filter(|one| !alarmed.contains(*one)) {
                    tracing::error!("{alarm}");
                }
                shared.metrics.alarms.set(i64::try_from(alarms.len()).unwrap_or(i64::MAX));
                alarmed = alarms;
                continue;
            }
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(GATHER) => {}
        }
        signed.borrow_and_update();
        cosigned.borrow_and_update();
        head.publish(shared.clock.now());
    }
}
