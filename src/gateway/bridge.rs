//! A bridge between two ledgers: a program that carries what one partner receives in one of them into the
//! other, as the agreements of both let it.
//!
//! It holds no right and nothing of its own: it asks the two nodes of that partner over their local sockets,
//! in turns. Whatever it is killed in, the nodes know how far it came, and what is asked of them again is done
//! once. Each turn looks to what has to stop before it carries anything new, and again after each bulletin and while it
//! waits for an answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use crate::bulletin::{BulletinId, Relation};
use crate::clock::Clock;
use crate::node::{
    Arrival, Carriage, CarryAct, CarryAnswer, Command, Fate, Given, NOT_CARRIED, NoticeDraft,
    Response,
};
use crate::proof::Digest;
use crate::transport::{LocalError, Trouble, ask};

/// How long a turn waits after one that failed.
const REST: Duration = Duration::from_secs(1);
/// The code with which a broker refuses what comes after its lease.
const LATE: &str = "crossing_lease";
/// Codes of what may be different in a while.
const FOR_NOW: [&str; 6] = [
    "not_connected",
    "later",
    "store",
    "disk_full",
    "internal",
    "entropy",
];
/// How long the other broker's answer is waited for at once: notices are looked for in between.
const ANSWER: Duration = Duration::from_secs(1);
/// While the other broker's answer is waited for, it is asked at least so often whether what was carried may be.
const LOOK: Duration = Duration::from_secs(5);

/// What a bridge connects, and how.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Local socket of the node where bulletins come from.
    pub from: PathBuf,
    /// Local socket of the node of the ledger they go into.
    pub to: PathBuf,
    /// For so long the other ledger may take what the first let go, in seconds.
    pub lease: u64,
    /// Whether receipts go along, which name clauses of the first ledger.
    pub receipts: bool,
    /// After so many seconds in which the first broker could not be asked, what was carried is given to nobody
    /// any more; `None`: it is given on, and nothing new is carried.
    pub silence: Option<u64>,
}

/// Why a turn came to nothing.
#[derive(Debug, Error)]
pub enum BridgeError {
    /// A node that does not answer.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A node that cannot do it now.
    #[error("{}: {}", .0.code, .0.message)]
    Trouble(Trouble),
    /// An answer to something else.
    #[error("a node answered something else; is it another version?")]
    Unexpected,
    /// A node has met no ledger yet.
    #[error("a node has met no ledger yet")]
    NoLedger,
    /// Both are of one ledger.
    #[error("both nodes are of the ledger {0}: within one, pass on instead (entente pass-on)")]
    OneLedger(Digest),
}

impl BridgeError {
    fn reason(&self) -> String {
        match self {
            Self::Trouble(trouble) => trouble.message.clone(),
            other => other.to_string(),
        }
    }

    /// Whether another try may succeed: what a node says of one bulletin for good must not keep the others.
    fn is_for_now(&self) -> bool {
        match self {
            Self::Trouble(trouble) => FOR_NOW.contains(&trouble.code.as_str()),
            _ => true,
        }
    }

    fn is_not_connected(&self) -> bool {
        matches!(self, Self::Trouble(trouble) if trouble.code == "not_connected")
    }

    fn is_not_carried(&self) -> bool {
        matches!(self, Self::Trouble(trouble) if trouble.code == NOT_CARRIED)
    }
}

/// A bridge at work.
#[derive(Debug)]
pub struct Bridge<'a> {
    config: BridgeConfig,
    clock: &'a dyn Clock,
    /// The log's size as of the agreements that were looked at last.
    known: u64,
    /// Something is owed that could not be given yet.
    owing: bool,
    /// It waits for the other broker's answer about something.
    waiting: bool,
    /// Notices were seen to up to this number of the inbox, ahead of what is to be carried.
    noticed: u64,
    /// Since when the first broker could not be asked.
    silent: Option<Instant>,
    /// When it was last asked whether what was carried still may be.
    looked: Option<Instant>,
}

impl<'a> Bridge<'a> {
    /// A bridge that has done nothing yet.
    pub fn new(config: BridgeConfig, clock: &'a dyn Clock) -> Self {
        Self {
            config,
            clock,
            known: 0,
            owing: true,
            waiting: false,
            noticed: 0,
            silent: None,
            looked: None,
        }
    }

    /// Carries for ever. A turn that fails is tried again; an error where none can succeed.
    pub async fn run(mut self) -> BridgeError {
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(error @ (BridgeError::OneLedger(_) | BridgeError::Unexpected)) => return error,
                Err(error) => {
                    tracing::warn!(%error, "the bridge rests");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// What was carried into the other ledger, and what of it is not over; `all`: also what is.
    pub async fn carried(&self, all: bool) -> Result<Vec<Carriage>, BridgeError> {
        let into = self.other_ledger().await?;
        self.open(into, all).await
    }

    /// One turn: waits for news, and sees to them.
    async fn turn(&mut self) -> Result<(), BridgeError> {
        let into = self.other_ledger().await?;
        let every = Duration::from_secs(self.config.lease) / 3;
        let due = self.looked.map(|at| every.saturating_sub(at.elapsed()));
        let wait = due.unwrap_or_default().min(every);
        let next = CarryAct::Next {
            into,
            wait: u64::try_from(wait.as_millis()).unwrap_or(0),
            known: self.known,
        };
        let CarryAnswer::Next {
            items,
            up_to,
            known,
        } = self.first(next).await?
        else {
            return Err(BridgeError::Unexpected);
        };
        let noted = self.note_notices(into, &items).await?;
        let changed = known != self.known || self.looked.is_none_or(|at| at.elapsed() >= every);
        if changed || noted || self.owing {
            self.owing = true;
            self.owing = self.stop_what_ended(into, changed).await?;
        }
        if changed {
            (self.known, self.looked) = (known, Some(Instant::now()));
        }
        let mut new: Vec<&Arrival> = items.iter().filter(|one| !one.is_notice).collect();
        new.sort_by_key(|one| std::cmp::Reverse(one.precedence));
        for one in new {
            self.carry(into, one.bulletin).await?;
            self.see_to_notices(into, None).await?;
        }
        if up_to > 0 {
            // What was carried just now may have its notice among what was read before it was.
            let ahead = std::mem::take(&mut self.noticed);
            self.see_to_notices(into, Some(up_to)).await?;
            self.noticed = ahead.max(self.noticed);
            self.first(CarryAct::Advance { into, to: up_to }).await?;
        }
        Ok(())
    }

    /// The ledger of the other node; both are connected.
    async fn other_ledger(&self) -> Result<Digest, BridgeError> {
        let ledger = |answer| match answer {
            CarryAnswer::Ledger { ledger, .. } => ledger.ok_or(BridgeError::NoLedger),
            _ => Err(BridgeError::Unexpected),
        };
        let from = ledger(self.first(CarryAct::Ledger).await?)?;
        let into = ledger(self.second(CarryAct::Ledger).await?)?;
        if from == into {
            return Err(BridgeError::OneLedger(into));
        }
        Ok(into)
    }

    /// Sees to what came meanwhile and has to stop something: it waits for nothing that is carried. Says whether
    /// anything came.
    async fn see_to_notices(&mut self, into: Digest, to: Option<u64>) -> Result<bool, BridgeError> {
        let after = self.noticed;
        let asked = CarryAct::Notices { into, after, to };
        let CarryAnswer::Next {
            items,
            up_to,
            known,
        } = self.first(asked).await?
        else {
            return Err(BridgeError::Unexpected);
        };
        let noted = self.note_notices(into, &items).await?;
        let changed = known != self.known;
        if noted || changed {
            self.owing = true;
            self.owing = self.stop_meanwhile(into, changed).await?;
        }
        if changed {
            (self.known, self.looked) = (known, Some(Instant::now()));
        }
        self.noticed = up_to;
        Ok(noted || changed)
    }

    /// As `stop_what_ended`, in the midst of carrying: nothing is carried again.
    async fn stop_meanwhile(&mut self, into: Digest, look: bool) -> Result<bool, BridgeError> {
        let waiting = std::mem::replace(&mut self.waiting, true);
        let stopped = self.stop_what_ended(into, look).await;
        self.waiting = waiting;
        stopped
    }

    /// Notes durably what notices make of what was carried: they are given then, whatever happens.
    async fn note_notices(&self, into: Digest, items: &[Arrival]) -> Result<bool, BridgeError> {
        let mut noted = false;
        // Several may be about one bulletin.
        let mut carriages: BTreeMap<BulletinId, Carriage> = BTreeMap::new();
        for (carriage, draft, hash) in items.iter().filter_map(|one| one.notice.as_ref()) {
            let carriage = carriages
                .entry(carriage.bulletin)
                .or_insert_with(|| carriage.clone());
            let known = |(one, _): &(NoticeDraft, Option<Digest>)| one.id == draft.id;
            // A recall is given also where it is given to nobody more: who has it is to delete it.
            let counts = carriage.over.is_none()
                || (draft.relation == Relation::Retracts && !carriage.recalled);
            if counts && !carriage.owed.iter().any(known) {
                carriage.owed.push((draft.clone(), Some(*hash)));
                self.note(into, carriage.clone(), None).await?;
                noted = true;
            }
        }
        Ok(noted)
    }

    /// Gives the notices that are owed, and, where it is time, asks whether what was carried still may be.
    /// Says whether something could not be given yet.
    async fn stop_what_ended(&mut self, into: Digest, look: bool) -> Result<bool, BridgeError> {
        let mut owing = false;
        for mut carriage in self.open(into, false).await? {
            if look && carriage.owed.is_empty() && self.clock.now() < carriage.until {
                let asked = CarryAct::Look {
                    bulletin: carriage.bulletin,
                    into,
                };
                let why = match self.first(asked).await {
                    Ok(_) => {
                        self.silent = None;
                        if !self.waiting {
                            self.carry_again(into, &carriage).await?;
                        }
                        None
                    }
                    Err(error) if error.is_not_carried() => {
                        self.silent = None;
                        tracing::info!(bulletin = %carriage.bulletin, %error, "it may not be carried any more");
                        Some("no clause lets it be carried any more".to_owned())
                    }
                    // Nobody can say now: nothing new is carried either.
                    Err(error) => {
                        tracing::debug!(%error, "it could not be asked");
                        (error.is_not_connected() && self.is_silent_too_long()).then(|| {
                            "the ledger that it came from could not be asked for too long"
                                .to_owned()
                        })
                    }
                };
                if let Some(why) = why {
                    carriage.owed.push((ends(&carriage, into, &why), None));
                    self.note(into, carriage.clone(), None).await?;
                }
            }
            if !carriage.owed.is_empty() {
                owing |= !self.settle(into, carriage).await?;
            }
        }
        Ok(owing)
    }

    /// Carries again what the other broker had and lost, and then refused because it came late.
    async fn carry_again(&mut self, into: Digest, carriage: &Carriage) -> Result<(), BridgeError> {
        let copy = carriage.copy;
        let asked = CarryAct::Fate { copy, wait: 0 };
        match self.second(asked).await {
            Ok(CarryAnswer::Fate(Fate::Refused { code, .. })) if code == LATE => {
                Box::pin(self.carry(into, carriage.bulletin)).await
            }
            _ => Ok(()),
        }
    }

    fn is_silent_too_long(&mut self) -> bool {
        let since = *self.silent.get_or_insert_with(Instant::now);
        let silence = self.config.silence.map(Duration::from_secs);
        silence.is_some_and(|silence| since.elapsed() >= silence)
    }

    /// Gives what is owed about one bulletin, in order; whether all of it could be.
    async fn settle(&self, into: Digest, mut carriage: Carriage) -> Result<bool, BridgeError> {
        while let Some((draft, hash)) = carriage.owed.first().cloned() {
            let over = matches!(draft.relation, Relation::Retracts | Relation::Ends);
            let give = CarryAct::Give {
                notice: Box::new(draft.clone()),
                lease_until: carriage.lease_until,
            };
            let given = match self.second(give).await {
                Ok(CarryAnswer::Given(given)) => given,
                Ok(_) => return Err(BridgeError::Unexpected),
                Err(error) if error.is_for_now() => return Err(error),
                // One that can never be given keeps no other, and nothing else.
                Err(error) => {
                    tracing::error!(
                        %error, bulletin = %carriage.copy, relation = %draft.relation,
                        "a notice cannot be given in the other ledger"
                    );
                    carriage.owed.remove(0);
                    self.note(into, carriage.clone(), None).await?;
                    continue;
                }
            };
            if given == Given::NotYet {
                return Ok(false);
            }
            carriage.owed.remove(0);
            carriage.recalled |= draft.relation == Relation::Retracts;
            if given == Given::NotNeeded {
                carriage.owed.clear();
                carriage.recalled = true;
                carriage.over = Some(draft.reason);
            } else if over {
                let recalled = carriage.recalled;
                carriage
                    .owed
                    .retain(|(one, _)| one.relation == Relation::Retracts && !recalled);
                carriage.over = Some(draft.reason);
            }
            tracing::info!(bulletin = %carriage.copy, relation = %draft.relation, ?given, "notice given");
            let told = hash.filter(|_| given == Given::Yes);
            self.note(into, carriage.clone(), told).await?;
        }
        Ok(true)
    }

    /// Carries one bulletin, if it may be.
    async fn carry(&mut self, into: Digest, bulletin: BulletinId) -> Result<(), BridgeError> {
        loop {
            let take = CarryAct::Take {
                bulletin,
                into,
                lease: self.config.lease,
                receipt: self.config.receipts,
            };
            let (package, mut carriage) = match self.first(take).await {
                Ok(CarryAnswer::Taken { package, carriage }) => (package, carriage),
                Ok(_) => return Err(BridgeError::Unexpected),
                Err(error) if error.is_for_now() => return Err(error),
                Err(error) if error.is_not_carried() => {
                    tracing::debug!(%bulletin, %error, "it stays here");
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%bulletin, %error, "it stays here");
                    return Ok(());
                }
            };
            let copy = match self.second(CarryAct::Land { package }).await {
                Ok(CarryAnswer::Landed(copy)) => copy,
                Ok(_) => return Err(BridgeError::Unexpected),
                Err(error) if error.is_for_now() => return Err(error),
                // What cannot be sealed there never can be.
                Err(error) => {
                    tracing::warn!(%bulletin, %error, "it cannot be carried");
                    carriage.over = Some(error.reason());
                    return self.note(into, carriage, None).await;
                }
            };
            match self.fate(into, copy, &carriage).await? {
                Some(Fate::Refused { code, .. }) if code == LATE => {}
                Some(Fate::Refused { code, message }) => {
                    tracing::warn!(%bulletin, %copy, code, message, "the other ledger refused it");
                    carriage.over = Some(format!("refused: {code}: {message}"));
                    return self.note(into, carriage, None).await;
                }
                _ => {
                    tracing::info!(%bulletin, %copy, "carried");
                    return Ok(());
                }
            }
        }
    }

    /// Waits for the other broker's answer about what was landed there. Meanwhile it is seen to it that what
    /// may not be carried any more is stopped; `None`: this one was.
    async fn fate(
        &mut self,
        into: Digest,
        copy: BulletinId,
        carriage: &Carriage,
    ) -> Result<Option<Fate>, BridgeError> {
        let wait = u64::try_from(ANSWER.as_millis()).unwrap_or(0);
        let every = Duration::from_secs(self.config.lease) / 3;
        let mut looked = Instant::now();
        loop {
            let asked = CarryAct::Fate { copy, wait };
            let CarryAnswer::Fate(fate) = self.second(asked).await? else {
                return Err(BridgeError::Unexpected);
            };
            if fate != Fate::Pending {
                return Ok(Some(fate));
            }
            let came = self.see_to_notices(into, None).await?;
            let look = looked.elapsed() >= every.min(LOOK);
            if look {
                self.stop_meanwhile(into, true).await?;
                looked = Instant::now();
            }
            if look || came {
                let open = self.open(into, false).await?;
                let own = open.iter().find(|one| one.bulletin == carriage.bulletin);
                if own.is_none_or(|one| !one.owed.is_empty()) {
                    return Ok(None);
                }
            }
        }
    }

    async fn open(&self, into: Digest, all: bool) -> Result<Vec<Carriage>, BridgeError> {
        let mut found: Vec<Carriage> = Vec::new();
        loop {
            let after = found.last().map(|one| one.bulletin);
            let asked = CarryAct::Open { into, all, after };
            match self.first(asked).await? {
                CarryAnswer::Open(page) if page.is_empty() => return Ok(found),
                CarryAnswer::Open(page) => found.extend(page),
                _ => return Err(BridgeError::Unexpected),
            }
        }
    }

    async fn note(
        &self,
        into: Digest,
        carriage: Carriage,
        given: Option<Digest>,
    ) -> Result<(), BridgeError> {
        let carriage = Box::new(carriage);
        let note = CarryAct::Note {
            into,
            carriage,
            given,
        };
        self.first(note).await.map(|_| ())
    }

    async fn first(&self, act: CarryAct) -> Result<CarryAnswer, BridgeError> {
        answer(ask(&self.config.from, &Command::Carry { act }).await?)
    }

    async fn second(&self, act: CarryAct) -> Result<CarryAnswer, BridgeError> {
        answer(ask(&self.config.to, &Command::Carry { act }).await?)
    }
}

fn answer(response: Response) -> Result<CarryAnswer, BridgeError> {
    match response {
        Response::Carry(answer) => Ok(*answer),
        Response::Error(trouble) => Err(BridgeError::Trouble(trouble)),
        _ => Err(BridgeError::Unexpected),
    }
}

/// What is said in the other ledger of what may not be carried any more.
///
/// Why, in words that name no clause of the first: its agreements are nobody's business there.
fn ends(carriage: &Carriage, into: Digest, why: &str) -> NoticeDraft {
    NoticeDraft {
        id: Some(carriage.ending(&into)),
        about: carriage.copy,
        relation: Relation::Ends,
        reason: format!("it may not be carried here any more: {why}"),
        precedence: None,
        tlp: None,
        classification: None,
    }
}
