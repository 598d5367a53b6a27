//! A recipient's lane: what it may have, in order, on a stream of its own priority.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::Connection;
use tokio::sync::Notify;

use super::Shared;
use super::ahead::Ahead;
use super::error::BrokerError;
use super::inbound::End;
use super::pace::PAUSE;
use super::shelf::{Envelope, Shelved};
use crate::bulletin::Precedence;
use crate::clock::Timestamp;
use crate::ledger::{EngineError, Fact, Inherited, LaneRelease, Permit, State};
use crate::partner::PartnerId;
use crate::session::{DeliveryAround, Frame, LaneSender, encode, put_delivery};
use crate::transport::write_frame;

/// Deliveries that are looked up and permitted at once.
const BATCH: usize = 64;
/// Bytes written at once. What was permitted waits behind no more than this.
const BATCH_BYTES: usize = 64 * 1024;
/// The same of what takes turns: what is urgent waits behind this, at the recipient, too.
const TURN_BYTES: usize = BATCH_BYTES / 4;
/// Read from the log at once are so many times the bytes that are written: what is left is on the shelf for the next.
const READ_AHEAD: usize = 4;

/// What is around a bulletin, about.
const AROUND: usize = 256;

/// A recipient that takes a batch within this time keeps up as fast as the broker gives.
const TAKES: Duration = Duration::from_millis(5);

/// Deliveries that are looked at in advance: what comes next is read from the log while this is written.
const LATER: usize = 3 * BATCH;

/// The pause before what could not be had is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

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
    let pacing = Arc::clone(&shared);
    let mut pace = pacing.pace.lane();
    let mut lane = Lane {
        ahead: Ahead::new(shared.log.clone(), precedence),
        shared,
        partner,
        precedence,
        sender: lane,
    };
    let is_urgent = precedence >= Precedence::Immediate;
    let mut behind = 0;
    // What there is to do is found in the fold and the window; waiting is only for what changes them.
    loop {
        loop {
            let turn = pacing.pace.turn(if is_urgent { 0 } else { behind }).await;
            let most = turn.as_ref().map_or(BATCH_BYTES, |_| TURN_BYTES);
            let Some((batch, waiting)) = lane.batch(most).await? else {
                break;
            };
            behind = waiting;
            if is_urgent {
                pacing.pace.note_urgent();
            }
            let mut written = std::pin::pin!(stream.write_chunk(batch));
            let taken = tokio::time::timeout(TAKES, &mut written).await;
            // One that does not take what there is holds up nobody.
            pace.has(if taken.is_ok() { waiting } else { 0 });
            let written = if let Ok(written) = taken {
                if turn.is_some() {
                    tokio::time::sleep(PAUSE).await;
                }
                written
            } else {
                drop(turn);
                written.await
            };
            written.map_err(std::io::Error::from)?;
        }
        pace.has(0);
        woken.notified().await;
    }
}

struct Lane {
    shared: Arc<Shared>,
    partner: PartnerId,
    precedence: Precedence,
    sender: SharedLane,
    ahead: Ahead,
}

/// What is due on a lane, as of one moment.
struct Due {
    /// Number of the next delivery.
    first: u64,
    /// Log positions from it on; of a lane that has fallen behind, further than one batch goes.
    positions: Vec<u64>,
    /// How many of these may be sent now.
    now: usize,
    /// How many wait.
    waiting: usize,
}

impl Lane {
    /// The frames of what is due and has room, about so many bytes of it, and how much is due; `None` where there
    /// is nothing to send.
    async fn batch(&mut self, most: usize) -> Result<Option<(Bytes, usize)>, End> {
        let Due {
            first,
            positions,
            now,
            waiting,
        } = self.due();
        if now == 0 {
            return Ok(None);
        }
        let shelved = self.shelved(&positions[..now], most).await?;
        if waiting <= shelved.len() {
            self.ahead.keeps_up();
        }
        // Where lanes take turns, reading is part of the turn; and what is urgent is soon read.
        if most == BATCH_BYTES && self.precedence < Precedence::Immediate {
            let later = &positions[shelved.len()..];
            self.ahead.read_on(later, READ_AHEAD * most).await;
        }
        self.shared.log.leased().await?;
        let permits = self.permits(&shelved);
        // All at once: a buffer that grows is copied again and again.
        let sizes = shelved.iter().map(|one| one.size() + AROUND);
        let mut buffer = Vec::with_capacity(sizes.sum::<usize>().min(most + most / 2));
        for ((number, released), (shelved, permit)) in
            (first..).zip(positions).zip(shelved.iter().zip(permits))
        {
            let full = buffer.len() >= most || !lock(&self.sender).has_room();
            if full && !buffer.is_empty() {
                break;
            }
            match permit {
                Some(permit) => self.send(number, released, shelved, permit, &mut buffer)?,
                None => self.send_void(number, &mut buffer)?,
            }
        }
        // QUIC keeps it until the recipient has acknowledged it, and counts no more than is in it.
        if buffer.len() < buffer.capacity() / 2 {
            buffer.shrink_to_fit();
        }
        Ok(Some((buffer.into(), waiting)))
    }

    /// The bulletins at these positions, or the first few. What cannot be had now keeps this lane, and no other.
    async fn shelved(&mut self, positions: &[u64], most: usize) -> Result<Vec<Arc<Shelved>>, End> {
        loop {
            match self.ahead.shelved(positions, READ_AHEAD * most).await {
                Err(BrokerError::Engine(EngineError::Unavailable(reason))) => {
                    tracing::error!(%reason, recipient = %self.partner, "a lane waits for a bulletin");
                    tokio::time::sleep(AGAIN).await;
                }
                other => return Ok(other?),
            }
        }
    }

    fn due(&self) -> Due {
        let (first, room) = {
            let lane = lock(&self.sender);
            let room = if lane.has_room() { lane.room() } else { 0 };
            (lane.next(), room)
        };
        let state = self.shared.log.state();
        let lane = state.lanes().lane(&self.partner, self.precedence);
        let batch = room.min(BATCH);
        let later = if self.ahead.reads() && room > 0 {
            LATER
        } else {
            0
        };
        let positions = (first..).take(batch + later);
        let positions = positions.map_while(|number| lane?.position(number));
        let positions: Vec<u64> = positions.collect();
        let waiting = lane.map_or(0, |lane| (lane.issued() + 1).saturating_sub(first));
        Due {
            first,
            now: positions.len().min(batch),
            positions,
            waiting: usize::try_from(waiting).unwrap_or(usize::MAX),
        }
    }

    /// Permission as of this moment; what was withdrawn or expired since is not delivered.
    fn permits(&self, shelved: &[Arc<Shelved>]) -> Vec<Option<(Permit, Inherited)>> {
        let now = self.shared.clock.now();
        let state = self.shared.log.state();
        let shelved = shelved.iter();
        shelved.map(|one| self.permit(&state, one, now)).collect()
    }

    fn permit(
        &self,
        state: &State,
        shelved: &Shelved,
        now: Timestamp,
    ) -> Option<(Permit, Inherited)> {
        let Fact::Accepted(accepted) = &shelved.record.fact else {
            return None;
        };
        let ours = |release: &&LaneRelease| release.release.recipient == self.partner;
        let released = state.releases(&shelved.record).find(ours)?;
        let permit = state.permit_as(shelved.subject(accepted), accepted, released, now)?;
        Some((permit, state.inherited(accepted)))
    }

    /// Adds the frame of a number that carries nothing to what is written.
    fn send_void(&self, number: u64, buffer: &mut Vec<u8>) -> Result<(), End> {
        lock(&self.sender).sent_void();
        self.shared.metrics.voids.inc();
        let frame = encode(&Frame::Deliver { number, item: None });
        framed(buffer, |buffer| buffer.extend_from_slice(&frame))?;
        Ok(())
    }

    /// Adds a delivery's frame to what is written, and counts it as sent.
    fn send(
        &self,
        number: u64,
        released: u64,
        shelved: &Shelved,
        (permit, inherited): (Permit, Inherited),
        buffer: &mut Vec<u8>,
    ) -> Result<(), End> {
        let release = permit.release();
        // The chain says what the recipient sees as withheld, which is every part without a body.
        let Envelope { bytes, withheld } = shelved.envelope(&release.withheld);
        let around = DeliveryAround {
            position: shelved.position,
            released,
            time: shelved.record.time,
            clauses: release.clauses.to_vec(),
            onward: release.onward,
            inherited,
        };
        let put = |buffer: &mut Vec<u8>| put_delivery(number, &around, &bytes, buffer);
        let length = framed(buffer, put)?;
        let header = shelved.header_hash();
        lock(&self.sender).sent(&header, &withheld, length);
        self.shared.metrics.deliveries.inc();
        Ok(())
    }
}

/// Appends a frame with its length before it; that length. One buffer for a whole batch: QUIC looks through its pieces
/// for every packet.
fn framed(buffer: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) -> Result<usize, End> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    put(buffer);
    let length = buffer.len() - start - 4;
    let head = u32::try_from(length).map_err(std::io::Error::other)?;
    buffer[start..start + 4].copy_from_slice(&head.to_be_bytes());
    Ok(length)
}

impl From<quinn::ClosedStream> for End {
    fn from(_: quinn::ClosedStream) -> Self {
        Self::Broker(BrokerError::Closed)
    }
}
