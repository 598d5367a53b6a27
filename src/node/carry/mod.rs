//! Carrying bulletins from this node's ledger into another, and from another into this one.
//!
//! A bridge (`gateway/bridge.rs`) asks the two nodes of one partner. The node where a bulletin came declares
//! first that it is carried: its broker records that only where every clause allows it, so nothing leaves
//! without the broker having said so just now. What was declared is kept in a row of the store until it is
//! over, so that a recall follows it whatever is killed in between. The node of the other ledger seals what it
//! is given under an id that follows from the original: given it again, it has it already.

mod arrive;
mod leave;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::local::{Response, blocking};
use super::notices::NoticeDraft;
use super::{LinkStatus, Shared, link};
use crate::bulletin::{BulletinId, Crossing, Part, PartClass, Precedence};
use crate::clock::Timestamp;
use crate::ledger::LedgerId;
use crate::proof::Digest;
use crate::transport::Trouble;

/// What this partner may not carry, or not any more.
pub const NOT_CARRIED: &str = "not_carried";

/// What a bridge asks of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum CarryAct {
    /// Of which ledger the node is, and whether it is connected.
    Ledger,
    /// What was received here since this was last answered with [`CarryAct::Advance`].
    Next {
        /// The ledger that it would be carried into.
        into: Digest,
        /// Waits this long, in milliseconds, for something new.
        wait: u64,
        /// The log's size as of the agreements that the bridge was last told of: another is news.
        known: u64,
    },
    /// The notices among what was received after a number, whatever was not seen to before it: a recall waits
    /// for nothing that is less urgent.
    Notices {
        /// The ledger that their bulletins were carried into.
        into: Digest,
        /// The number; nothing is looked at again that was advanced past.
        after: u64,
        /// None beyond this number.
        to: Option<u64>,
    },
    /// Everything up to a number was seen to.
    Advance {
        /// The ledger that it is carried into.
        into: Digest,
        /// The number.
        to: u64,
    },
    /// Declares that a bulletin is carried, and gives it out for the other node.
    Take {
        /// The bulletin, received here.
        bulletin: BulletinId,
        /// The ledger that it is carried into.
        into: Digest,
        /// For so many seconds the other ledger may take it.
        lease: u64,
        /// Whether a receipt goes along, which names the clauses under which it came.
        receipt: bool,
    },
    /// Whether a bulletin that was carried still may be: an error where not.
    Look {
        /// The bulletin.
        bulletin: BulletinId,
        /// The ledger that it was carried into.
        into: Digest,
    },
    /// What was carried and is not over, after the last of the page before.
    Open {
        /// The ledger that it was carried into.
        into: Digest,
        /// All that came to an end, too.
        all: bool,
        /// The last of the page before.
        after: Option<BulletinId>,
    },
    /// Notes what is still owed about something that was carried, or what became of it.
    Note {
        /// The ledger that it was carried into.
        into: Digest,
        /// What it is from now on.
        carriage: Box<Carriage>,
        /// SHA-256 of the header of a notice that was given there: it is declared.
        given: Option<Digest>,
    },
    /// Takes what another node gave out: it is in the outbox then, durably.
    Land {
        /// From the other node's answer to [`CarryAct::Take`].
        package: Package,
    },
    /// What became of something that was taken.
    Fate {
        /// Its id here.
        copy: BulletinId,
        /// Waits this long, in milliseconds, for the broker's answer.
        wait: u64,
    },
    /// Gives a notice about something that was taken, once, or sees to it that it goes to nobody.
    Give {
        /// The notice.
        notice: Box<NoticeDraft>,
        /// Until when the broker may take what it is about.
        lease_until: Timestamp,
    },
}

/// What a node answers a bridge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CarryAnswer {
    /// To `ledger`.
    Ledger {
        /// Once met.
        ledger: Option<Digest>,
        /// Whether its broker hears it now.
        connected: bool,
    },
    /// To `next` and `notices`.
    Next {
        /// What came, in order; of `notices` only those about something that was carried.
        items: Vec<Arrival>,
        /// Everything up to this number was looked at.
        up_to: u64,
        /// The log's size as of the agreements that the node knows.
        known: u64,
    },
    /// To `take`.
    Taken {
        /// For the other node.
        package: Package,
        /// How it stands.
        carriage: Carriage,
    },
    /// To `open`.
    Open(Vec<Carriage>),
    /// To `land`: its id there.
    Landed(BulletinId),
    /// To `fate`.
    Fate(Fate),
    /// To `give`.
    Given(Given),
    /// It is done, or it may.
    Done,
}

/// What became of something that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Nothing yet.
    Pending,
    /// The ledger has it.
    Taken,
    /// Refused for good.
    Refused {
        /// Stable.
        code: String,
        /// For people.
        message: String,
    },
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// It is in the outbox, durably.
    Yes,
    /// Nothing: what it is about never came into this ledger, and will not.
    NotNeeded,
    /// It is not known yet whether what it is about came into this ledger.
    NotYet,
}

/// Something that came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// The bulletin.
    pub bulletin: BulletinId,
    /// Its precedence.
    pub precedence: Precedence,
    /// Where it is a notice about something that was carried: what is to be given there, and its hash.
    #[serde(default)]
    pub notice: Option<(Carriage, NoticeDraft, Digest)>,
    /// Whether it is a notice.
    pub is_notice: bool,
}

/// Something that was carried into another ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carriage {
    /// The bulletin, as it was received here.
    pub bulletin: BulletinId,
    /// Its id there.
    pub copy: BulletinId,
    /// Until when it is valid: who may carry it does not matter then.
    pub until: Timestamp,
    /// Until when the other ledger may take it.
    pub lease_until: Timestamp,
    /// What of notices is still to be given there, and SHA-256 of the header of the notice here, where there
    /// is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<(NoticeDraft, Option<Digest>)>,
    /// Its originator's recall was given there: nothing more is to follow.
    #[serde(default)]
    pub recalled: bool,
    /// It came to an end there, or never got there: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
}

impl Carriage {
    /// The id of the notice that it may not be carried any more: it is given once.
    pub fn ending(&self, into: &Digest) -> BulletinId {
        Crossing::id(
            into,
            &Digest::of(&[b"entente/ends/v1\n".as_slice(), &self.copy.0].concat()),
        )
    }
}

/// A bulletin on its way between two nodes of one partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// As it was received, in base64.
    bulletin: String,
    /// The crossing, in base64.
    crossing: String,
}

/// Answers a bridge.
pub(super) async fn act(shared: Arc<Shared>, act: CarryAct) -> Result<Response, Trouble> {
    let answer = match act {
        CarryAct::Ledger => {
            let connected = matches!(*shared.link.borrow(), LinkStatus::Up(_));
            CarryAnswer::Ledger {
                ledger: own_ledger(&shared).ok().map(|own| own.0),
                connected,
            }
        }
        CarryAct::Next { into, wait, known } => leave::next(shared, into, wait, known).await?,
        CarryAct::Notices { into, after, to } => {
            blocking(move || leave::notices(&shared, &into, after, to)).await?
        }
        CarryAct::Advance { into, to } => {
            blocking(move || Ok(shared.store.advance(&leave::reader(&into), to)?)).await?;
            CarryAnswer::Done
        }
        CarryAct::Take {
            bulletin,
            into,
            lease,
            receipt,
        } => leave::take(shared, bulletin, into, lease, receipt).await?,
        CarryAct::Look { bulletin, into } => {
            leave::declare_carried(&shared, bulletin, into).await?;
            CarryAnswer::Done
        }
        CarryAct::Open { into, all, after } => {
            blocking(move || Ok(CarryAnswer::Open(leave::open(&shared, &into, all, after)?)))
                .await?
        }
        CarryAct::Note {
            into,
            carriage,
            given,
        } => {
            blocking(move || leave::note(&shared, &into, &carriage, given)).await?;
            CarryAnswer::Done
        }
        CarryAct::Fate { copy, wait } => CarryAnswer::Fate(arrive::fate(shared, copy, wait).await?),
        CarryAct::Give {
            notice,
            lease_until,
        } => CarryAnswer::Given(arrive::give(shared, *notice, lease_until).await?),
        CarryAct::Land { package } => {
            blocking(move || Ok(CarryAnswer::Landed(arrive::land(&shared, &package)?))).await?
        }
    };
    Ok(Response::Carry(Box::new(answer)))
}

fn own_ledger(shared: &Shared) -> Result<LedgerId, Trouble> {
    let known = link::known_ledger(shared).map_err(|error| Trouble::new("store", error))?;
    let known =
        known.ok_or_else(|| Trouble::new("not_connected", "the node has met no ledger yet"))?;
    Ok(known)
}

fn refused(reason: impl ToString) -> Trouble {
    Trouble::new(NOT_CARRIED, reason)
}

/// Whether a part is here and may go on: what is for the broker alone, and a class of a newer version, stays.
fn goes_along(part: &Part) -> bool {
    let Part::Open(part) = part else { return false };
    let class = part.class.parse::<PartClass>();
    class.is_ok_and(|class| !matches!(class, PartClass::Audience | PartClass::Identity))
}
