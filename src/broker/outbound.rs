//! A recipient's lane: what it may have, in order, on a stream of its own priority.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::{Connection, SendStream};
use tokio::sync::Notify;

use super::Shared;
use super::commit::Shelved;
use super::error::BrokerError;
use super::inbound::End;
use crate::bulletin::{Precedence, redact};
use crate::ledger::{Fact, Inherited, LaneRelease, Permit};
use crate::partner::PartnerId;
use crate::session::{Delivery, Frame, LaneSender, encode};
use crate::transport::write_frame;

/// The sending end of a lane, shared with whoever reads the acknowledgements.
pub(super) type SharedLane = Arc<Mutex<LaneSender>>;

pub(super) fn lock(lane: &SharedLane) -> MutexGuard<'_, LaneSender> {
    // Every change is one step: a panic elsewhere leaves the numbers whole.
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Delivers one lane until the session ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    partner: PartnerId,
    precedence: Precedence,
    lane: SharedLane,
    woken: Arc<Notify>,
) -> Result<(), End> {
    let mut stream = connection.open_uni().await?;
    stream
        .set_priority(precedence as i32)
        .map_err(|_| End::Gone("the lane's stream is closed".into()))?;
    let next = lock(&lane).next();
    write_frame(&mut stream, &encode(&Frame::LaneOpen { precedence, next })).await?;
    let lane = Lane {
        shared,
        partner,
        precedence,
        sender: lane,
    };
    // What there is to do is found in the fold and the window; waiting is only for what changes them.
    loop {
        while let Some((number, position)) = lane.next() {
            lane.deliver(&mut stream, number, position).await?;
        }
        woken.notified().await;
    }
}

struct Lane {
    shared: Arc<Shared>,
    partner: PartnerId,
    precedence: Precedence,
    sender: SharedLane,
}

impl Lane {
    /// Number and log position of the next delivery, where there is one and room for it.
    fn next(&self) -> Option<(u64, u64)> {
        let number = {
            let lane = lock(&self.sender);
            lane.has_room().then(|| lane.next())?
        };
        let state = self.shared.log.state();
        let lane = state.lanes().lane(&self.partner, self.precedence)?;
        lane.position(number).map(|position| (number, position))
    }

    async fn deliver(
        &self,
        stream: &mut SendStream,
        number: u64,
        position: u64,
    ) -> Result<(), End> {
        let shelved = self.shared.log.shelved(position).await?;
        let frame = if let Some(permit) = self.permit(&shelved) {
            self.frame(number, position, &shelved, &permit)
        } else {
            lock(&self.sender).sent_void();
            self.shared.metrics.voids.inc();
            encode(&Frame::Deliver { number, item: None })
        };
        Ok(write_frame(stream, &frame).await?)
    }

    /// Permission as of this moment; what was withdrawn or expired since is not delivered.
    fn permit(&self, shelved: &Shelved) -> Option<Permit> {
        let Fact::Accepted(accepted) = &shelved.record.fact else {
            return None;
        };
        let ours = |release: &&LaneRelease| release.release.recipient == self.partner;
        let state = self.shared.log.state();
        let released = state.releases(&shelved.record).find(ours)?;
        state.permit(accepted, released, self.shared.clock.now())
    }

    fn frame(
        &self,
        number: u64,
        released: u64,
        shelved: &Shelved,
        permit: &Permit,
    ) -> bytes::Bytes {
        let release = permit.release();
        let inherited = match &shelved.record.fact {
            Fact::Accepted(accepted) => self.shared.log.state().inherited(accepted),
            _ => Inherited::default(),
        };
        let delivery = Delivery {
            bulletin: redact(&shelved.sealed, &release.withheld),
            position: shelved.position,
            released,
            time: shelved.record.time,
            clauses: release.clauses.to_vec(),
            onward: release.onward,
            inherited,
        };
        // The chain says what the recipient sees as withheld, which is every part without a body.
        let withheld: Vec<u32> = withheld(&delivery);
        let frame = encode(&Frame::Deliver {
            number,
            item: Some(Box::new(delivery)),
        });
        let header = shelved.sealed.header_hash();
        lock(&self.sender).sent(&header, &withheld, frame.len());
        self.shared.metrics.deliveries.inc();
        frame
    }
}

fn withheld(delivery: &Delivery) -> Vec<u32> {
    (0u32..)
        .zip(&delivery.bulletin.parts)
        .filter(|(_, part)| matches!(part, crate::bulletin::Part::Withheld(_)))
        .map(|(index, _)| index)
        .collect()
}

impl From<quinn::ClosedStream> for End {
    fn from(_: quinn::ClosedStream) -> Self {
        Self::Broker(BrokerError::Closed)
    }
}
