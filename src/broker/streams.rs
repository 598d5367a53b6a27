//! The streams that a node opens after its control stream: each says by its first frame what it is.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::inbound::{End, parse, unexpected};
use super::{Shared, fetch, publishing};
use crate::partner::PartnerId;
use crate::session::{Frame, MAX_FRAME_BYTES};
use crate::transport::FrameReader;

/// One stream of each kind is served at a time; another waits.
#[derive(Debug, Default)]
struct Turns {
    publish: Mutex<()>,
    log: Mutex<()>,
}

/// Serves them until the session ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    partner: PartnerId,
) -> Result<(), End> {
    let turns = Arc::new(Turns::default());
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let (send, receive) = stream?;
                let (shared, turns) = (Arc::clone(&shared), Arc::clone(&turns));
                tasks.spawn(one(shared, partner.clone(), turns, send, receive));
            }
            Some(ended) = tasks.join_next() => {
                ended.map_err(|_| End::Gone("a task of the session failed".into()))??;
            }
        }
    }
}

async fn one(
    shared: Arc<Shared>,
    partner: PartnerId,
    turns: Arc<Turns>,
    send: SendStream,
    receive: RecvStream,
) -> Result<(), End> {
    let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
    let Some(bytes) = reader.next().await? else {
        return Ok(());
    };
    match parse(bytes)? {
        first @ Frame::Submit { .. } => {
            let _turn = turns.publish.lock().await;
            publishing::run(shared, partner, send, reader, first).await
        }
        first @ Frame::Fetch { .. } => {
            let _turn = turns.log.lock().await;
            fetch::run(shared, partner, send, reader, first).await
        }
        _ => Err(unexpected("publish or log")),
    }
}
