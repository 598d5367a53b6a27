//! What a partner was ever given, from the records alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bulletin::{BulletinId, Precedence, Tlp};
use crate::clock::Timestamp;
use crate::ledger::{Accepted, Fact, LaneAck, LaneRelease, Record, State};
use crate::partner::PartnerId;

/// One bulletin that was released to the partner.
#[derive(Clone, Debug, Serialize)]
pub struct GivenOne {
    /// Where it stands in the log.
    pub position: u64,
    /// When it was accepted.
    pub time: Timestamp,
    /// Which.
    pub bulletin: BulletinId,
    /// Whose.
    pub originator: PartnerId,
    /// Its TLP.
    pub tlp: Tlp,
    /// Under which clauses.
    pub clauses: Vec<String>,
    /// Classes of the parts withheld.
    pub withheld: Vec<String>,
    /// How far it came, and then what the partner declared about it, in order.
    pub state: Vec<String>,
}

/// A number of a lane that is not acknowledged yet.
#[derive(Debug)]
struct Open {
    bulletin: BulletinId,
    accepted: Box<Accepted>,
    release: LaneRelease,
}

/// Everything that one partner was given; fed with the records of a ledger from the first on.
#[derive(Debug)]
pub struct Given {
    partner: PartnerId,
    state: State,
    bulletins: BTreeMap<BulletinId, GivenOne>,
    held: BTreeMap<BulletinId, Box<Accepted>>,
    /// What was given to it by a backfill: its records are kept until then.
    later: BTreeSet<BulletinId>,
    waiting: BTreeMap<BulletinId, (u64, Timestamp, Box<Accepted>)>,
    open: BTreeMap<(Precedence, u64), Open>,
}

impl Given {
    /// Nothing yet.
    pub fn new(partner: PartnerId) -> Self {
        Self {
            partner,
            state: State::new(),
            bulletins: BTreeMap::new(),
            held: BTreeMap::new(),
            later: BTreeSet::new(),
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// Notes from a record, on a first reading, what was given to the partner by a backfill.
    pub fn note(&mut self, record: &Record) {
        let mut own = record.releases.iter();
        let own = own.any(|one| one.release.recipient == self.partner);
        if let (true, Fact::Backfilled(_), Some((id, _))) =
            (own, &record.fact, record.fact.lets_go())
        {
            self.later.insert(id);
        }
    }

    /// Takes the next record, on the second reading.
    pub fn take(&mut self, record: &Record) {
        let position = self.state.size();
        self.state.apply(record);
        let mut own = record.releases.iter();
        let own = own.find(|one| one.release.recipient == self.partner);
        match &record.fact {
            Fact::Accepted(accepted) => {
                if let Some(release) = own {
                    self.accepted(position, record.time, accepted, release);
                } else if self.later.contains(&accepted.header.id) {
                    let kept = (position, record.time, accepted.clone());
                    self.waiting.insert(accepted.header.id, kept);
                }
                if accepted.header.notice {
                    self.look_again(record.time);
                }
            }
            Fact::Backfilled(one) => {
                // Another backfill may give it to others before.
                if let (Some(release), Some(bulletin)) = (own, &one.bulletin)
                    && let Some((position, time, accepted)) = self.waiting.remove(&bulletin.id)
                {
                    self.accepted(position, time, &accepted, release);
                }
            }
            fact if let Some((id, _)) = fact.lets_go() => {
                if let (Some(release), Some(accepted)) = (own, self.held.remove(&id)) {
                    self.set(&id, "on its way");
                    self.issue(accepted, release);
                }
            }
            Fact::Acknowledged(signed) if signed.ack.recipient == self.partner => {
                for lane in &signed.ack.lanes {
                    self.acknowledged(lane);
                }
            }
            Fact::Declared(signed) if signed.declaration.partner == self.partner => {
                if let Some(one) = self.bulletins.get_mut(&signed.declaration.id) {
                    one.state.push(signed.declaration.what.name().to_owned());
                }
            }
            Fact::Acknowledged(_) | Fact::Declared(_) | Fact::Tick | Fact::SnapshotTaken(_) => {}
            _ => self.look_again(record.time),
        }
    }

    fn accepted(
        &mut self,
        position: u64,
        time: Timestamp,
        accepted: &Accepted,
        release: &LaneRelease,
    ) {
        let class = |index: &u32| {
            let at = usize::try_from(*index).ok();
            let part = at.and_then(|at| accepted.parts.get(at));
            part.map_or_else(String::new, |part| part.class.clone())
        };
        let (header, granted) = (&accepted.header, &release.release);
        let state = if granted.held { "held" } else { "on its way" };
        let one = GivenOne {
            position,
            time,
            bulletin: header.id,
            originator: accepted.originator.clone(),
            tlp: header.tlp,
            clauses: granted.clauses.iter().map(ToString::to_string).collect(),
            withheld: granted.withheld.iter().map(class).collect(),
            state: vec![state.to_owned()],
        };
        self.bulletins.insert(header.id, one);
        let accepted = Box::new(accepted.clone());
        if granted.held {
            self.held.insert(header.id, accepted);
        } else {
            self.issue(accepted, release);
        }
    }

    fn issue(&mut self, accepted: Box<Accepted>, release: &LaneRelease) {
        let number = (accepted.header.precedence, release.number);
        let open = Open {
            bulletin: accepted.header.id,
            accepted,
            release: release.clone(),
        };
        self.open.insert(number, open);
    }

    /// Permission changed: what waits and has none any more comes void, unless it went out before.
    fn look_again(&mut self, at: Timestamp) {
        let lost: Vec<BulletinId> = self
            .open
            .values()
            .filter(|open| {
                self.state
                    .permit(&open.accepted, &open.release, at)
                    .is_none()
            })
            .map(|open| open.bulletin)
            .collect();
        for id in lost {
            self.set(&id, "in doubt");
        }
    }

    fn acknowledged(&mut self, lane: &LaneAck) {
        let rest = self.open.split_off(&(lane.precedence, lane.up_to + 1));
        let mut done = std::mem::replace(&mut self.open, rest);
        // Numbers of less urgent lanes sort before.
        let others: Vec<_> = done
            .keys()
            .filter(|(precedence, _)| *precedence != lane.precedence)
            .copied()
            .collect();
        for key in others {
            self.open.extend(done.remove(&key).map(|open| (key, open)));
        }
        for open in done.into_values() {
            if let Some(one) = self.bulletins.get_mut(&open.bulletin) {
                let doubt = one.state.first().is_some_and(|state| state == "in doubt");
                let state = if doubt {
                    "acknowledged, in doubt whether it was delivered before permission ended"
                } else {
                    "acknowledged"
                };
                state.clone_into(&mut one.state[0]);
            }
        }
    }

    fn set(&mut self, id: &BulletinId, state: &str) {
        if let Some(one) = self.bulletins.get_mut(id) {
            state.clone_into(&mut one.state[0]);
        }
    }

    /// Everything, by position.
    pub fn finish(self) -> Vec<GivenOne> {
        let mut all: Vec<GivenOne> = self.bulletins.into_values().collect();
        all.sort_by_key(|one| one.position);
        all
    }
}
