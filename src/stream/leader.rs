//! The server that leads a stream: one without room takes nothing, and is asked to let another lead.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context, ErrorCode};

use super::error::StreamError;
use super::nats::unavailable;

/// It is asked once in so long: leading begins some time after, and the next one may have no room, either.
const ASKED: Duration = Duration::from_secs(4);

/// Who leads a stream.
#[derive(Clone)]
pub(super) struct Leader {
    context: Context,
    stream: String,
    asked: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leader({})", self.stream)
    }
}

impl Leader {
    pub(super) fn of(context: &Context, stream: String) -> Self {
        Self {
            context: context.clone(),
            stream,
            asked: Arc::default(),
        }
    }

    /// What a refusal is for whoever sent something. Where the leader has no room, another is to lead.
    pub(super) fn refused(&self, error: impl Error + 'static) -> StreamError {
        if is_full(&error) && self.is_to_be_asked() {
            tracing::warn!(
                stream = self.stream,
                "the NATS server that leads the stream has no room: another is asked to lead"
            );
            let (context, stream) = (self.context.clone(), self.stream.clone());
            tokio::spawn(async move {
                let subject = format!("STREAM.LEADER.STEPDOWN.{stream}");
                let asked = context
                    .request::<_, _, serde_json::Value>(subject, &())
                    .await;
                if let Err(error) = asked {
                    tracing::warn!(%error, stream, "no other server could be asked to lead the stream");
                }
            });
        }
        unavailable(error)
    }

    fn is_to_be_asked(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = asked.is_none_or(|at| at.elapsed() >= ASKED);
        if due {
            *asked = Some(Instant::now());
        }
        due
    }
}

/// Whether a server said that it has no room.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(told) = error.downcast_ref::<jetstream::Error>() {
            return [
                ErrorCode::INSUFFICIENT_RESOURCES,
                ErrorCode::STORAGE_RESOURCES_EXCEEDED,
            ]
            .contains(&told.error_code());
        }
        next = error.source();
    }
    false
}
