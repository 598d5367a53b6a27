//! The node's local socket: publish, read, consume, and acts of the partner.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::carry::{self, CarryAct, CarryAnswer};
use super::hook::{self, DeadLetter, LetterAct};
use super::notices::{self, NoticeDraft};
use super::onward::{self, AskingView, HoldView, PassOnDraft};
use super::view::{self, ItemView, StatusView};
use super::{Act, Asked, Outward, Shared, declare, evidence, export, pseudonyms, witness};
use crate::agreement::{Purpose, SignedAgreement, SignedWithdrawal};
use crate::bulletin::{BulletinId, Draft, Sealed, Unsealed, seal};
use crate::clock::Timestamp;
use crate::ledger::{CertificatesRevoked, SignedHoldDecision};
use crate::partner::{PartnerId, SignedKeySet};
use crate::proof::Signer;
use crate::session::{RecipientState, Statement};
use crate::store::{OutboxState, OutboxStatus, Outgoing, StoreError};
use crate::transport::{LocalListener, Trouble};

/// Items and statuses in one answer: larger inboxes are read in pages.
const MAX_PAGE: usize = 256;
/// The longest name of a note, in bytes.
pub const MAX_NOTE_NAME: usize = 256;
/// The longest a request waits.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// A request of an application or operator. Files travel in base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// How the node stands.
    Status,
    /// Publishes bulletins as one burst: all of them, or none.
    Publish {
        /// The bulletins.
        drafts: Vec<Draft>,
    },
    /// What became of published bulletins.
    Outbox {
        /// Only these; none: all.
        #[serde(default)]
        ids: Vec<BulletinId>,
        /// Waits this long, in milliseconds, for those named to be settled.
        #[serde(default)]
        wait: u64,
    },
    /// Items of the inbox after a number.
    Inbox {
        /// The number.
        after: u64,
        /// At most so many.
        limit: usize,
    },
    /// One item of the inbox.
    Item {
        /// Its id.
        id: BulletinId,
    },
    /// Items that an application has not taken yet; quarantined ones are left out.
    Consume {
        /// The application's name: its place in the inbox is kept under it.
        name: String,
        /// At most so many.
        limit: usize,
        /// What it uses them for; what is bound to other purposes is passed over.
        #[serde(default)]
        purpose: Option<Purpose>,
        /// Waits this long, in milliseconds, for the first.
        #[serde(default)]
        wait: u64,
    },
    /// An application has taken everything up to a number.
    Advance {
        /// Its name.
        name: String,
        /// The number.
        to: u64,
    },
    /// What became of a bulletin that was published here, recipient by recipient: the broker is asked.
    Follow {
        /// Which.
        id: BulletinId,
    },
    /// The receipts of a bulletin that was published or received here, or of an agreement.
    Receipts {
        /// The bulletin's id, or the agreement's id or name.
        about: String,
        /// Waits this long, in milliseconds, for the first.
        #[serde(default)]
        wait: u64,
    },
    /// The proof that the log showed two histories, where there is one.
    Fork,
    /// A received bulletin's file, for who verifies it elsewhere.
    Export {
        /// Which.
        id: BulletinId,
    },
    /// Says of a bulletin that somebody took it, where an agreement asks for that.
    Acknowledge {
        /// Which.
        id: BulletinId,
    },
    /// What a command noted under these names.
    Noted {
        /// Which.
        names: Vec<String>,
    },
    /// Notes something under names of a command's own, all of it with one sync.
    Note {
        /// Each with its text.
        notes: Vec<(String, String)>,
    },
    /// What hooks gave up on.
    DeadLetters,
    /// Tries what a hook gave up on again, or forgets it.
    Letters {
        /// `webhook:NAME` or `exec:NAME`.
        hook: String,
        /// Only these bulletins; none: all.
        #[serde(default)]
        ids: Vec<BulletinId>,
        /// What is done.
        act: LetterAct,
    },
    /// Gives notice about a bulletin that was published here.
    Notice {
        /// What.
        notice: NoticeDraft,
    },
    /// Passes on a bulletin that was received here.
    PassOn {
        /// What, and to whom.
        draft: PassOnDraft,
    },
    /// What a bridge between two ledgers asks.
    Carry {
        /// What.
        act: CarryAct,
    },
    /// What waits for this partner's consent.
    Asking,
    /// What waits for this partner's persons.
    Holds,
    /// Records what a person decided about what is held.
    DecideHold {
        /// The signed decision.
        decision: String,
    },
    /// Says whether something of this partner's may be passed on.
    Consent {
        /// The bulletin that passes it on.
        bulletin: BulletinId,
        /// Consents, or not.
        approve: bool,
        /// For people.
        #[serde(default)]
        reason: String,
    },
    /// The agreements in force, as this node verified them.
    Policy,
    /// Submits an agreement that all parties have signed.
    Agreement {
        /// Its file.
        file: String,
    },
    /// Withdraws from an agreement.
    Withdrawal {
        /// The signed withdrawal.
        file: String,
    },
    /// This partner's next key set.
    KeySet {
        /// The signed key set.
        file: String,
    },
    /// This partner's revocation list.
    Revocation {
        /// In DER.
        file: String,
    },
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To `status`.
    Status(Box<StatusView>),
    /// To `publish`: durable in the outbox.
    Published(Vec<BulletinId>),
    /// To `outbox`.
    Outbox(Vec<OutboxStatus>),
    /// To `inbox` and `consume`.
    Items(Vec<ItemView>),
    /// To `item`.
    Item(Box<ItemView>),
    /// To `follow`.
    Followed(Vec<FollowedView>),
    /// To `receipts`: tlog-proofs, by position.
    Receipts(Vec<String>),
    /// To `fork`.
    Fork(Option<String>),
    /// To `export`: the file's text.
    Exported(String),
    /// To `noted`: the text under each name, where there is one.
    Noted(Vec<Option<String>>),
    /// To `dead-letters`.
    DeadLetters(Vec<DeadLetter>),
    /// To `letters`: how many.
    Settled(usize),
    /// To `carry`.
    Carry(Box<CarryAnswer>),
    /// To `asking`.
    Asking(Vec<AskingView>),
    /// To `holds`.
    Holds(Vec<HoldView>),
    /// To `policy`: the agreements' files in base64.
    Policy(Vec<String>),
    /// To `advance`.
    Advanced,
    /// The broker recorded an act at this position.
    Recorded(u64),
    /// It could not be done.
    Error(Trouble),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Full { .. } => "disk_full",
            StoreError::OtherContent(_) => "other_content",
            _ => "store",
        };
        Self::new(code, error)
    }
}

/// Serves applications until the node stops.
pub(super) async fn serve(shared: Arc<Shared>, listener: LocalListener) {
    let stop = shared.stop.clone();
    let serving = listener.serve(move |command: Command| {
        let shared = Arc::clone(&shared);
        async move {
            answer(shared, command)
                .await
                .unwrap_or_else(Response::Error)
        }
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = serving => {}
    }
}

async fn answer(shared: Arc<Shared>, command: Command) -> Result<Response, Trouble> {
    match command {
        Command::Status => {
            blocking(move || Ok(Response::Status(Box::new(view::status(&shared)?)))).await
        }
        Command::Publish { drafts } => blocking(move || publish(&shared, drafts)).await,
        Command::Outbox { ids, wait } => outbox(shared, ids, wait).await,
        Command::Policy => {
            blocking(move || Ok(Response::Policy(evidence::in_force(&shared)?))).await
        }
        Command::Inbox { after, limit } => {
            blocking(move || Ok(Response::Items(page(&shared, after, limit)?))).await
        }
        Command::Item { id } => blocking(move || item(&shared, &id)).await,
        Command::Consume {
            name,
            limit,
            purpose,
            wait,
        } => consume(shared, name, limit, purpose, wait).await,
        Command::Advance { name, to } => blocking(move || advance(&shared, &name, to)).await,
        Command::Follow { id } => follow(&shared, id).await,
        Command::Receipts { about, wait } => receipts(shared, about, wait).await,
        Command::Fork => blocking(move || Ok(Response::Fork(fork(&shared)?))).await,
        Command::Export { id } => blocking(move || export::bulletin(&shared, &id)).await,
        Command::Noted { names } => blocking(move || noted(&shared, &names)).await,
        Command::Note { notes } => blocking(move || note(&shared, notes)).await,
        Command::DeadLetters => {
            blocking(move || Ok(Response::DeadLetters(hook::dead(&shared)?))).await
        }
        Command::Letters { hook, ids, act } => {
            blocking(move || Ok(Response::Settled(hook::act(&shared, &hook, &ids, act)?))).await
        }
        Command::Acknowledge { id } => blocking(move || acknowledge(&shared, &id)).await,
        Command::Notice { notice } => {
            blocking(move || Ok(Response::Published(vec![notices::give(&shared, notice)?]))).await
        }
        Command::PassOn { draft } => {
            blocking(move || Ok(Response::Published(vec![onward::pass_on(&shared, draft)?]))).await
        }
        Command::Carry { act } => carry::act(shared, act).await,
        Command::Holds => Ok(Response::Holds(onward::holds(&shared))),
        Command::Asking => Ok(Response::Asking(onward::asking(&shared))),
        act => submit(&shared, statement(&shared, act)?).await,
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(act)
        .await
        .unwrap_or_else(|_| Err(Trouble::new("internal", "the node failed in this request")))
}

/// The proof about the broker's log, or else about another that is witnessed here.
fn fork(shared: &Shared) -> Result<Option<String>, StoreError> {
    if let Some(proof) = witness::fork(&shared.store)? {
        return Ok(Some(proof));
    }
    let mut others = witness::other_forks(shared)?;
    Ok(others.pop().map(|(_, proof)| proof))
}

pub(super) fn publish(shared: &Shared, drafts: Vec<Draft>) -> Result<Response, Trouble> {
    let now = shared.clock.now();
    let originator = shared.config.spiffe_id.partner();
    let mut bursts: Vec<Burst> = Vec::new();
    // A withdrawal that was just recorded is seen, though its evidence is still on the way.
    let seen = evidence::trusted(shared)
        .size
        .max(shared.acted.load(Ordering::Relaxed));
    for (at, mut draft) in drafts.into_iter().enumerate() {
        let invalid = |error: &dyn std::fmt::Display| {
            Trouble::new("invalid", format!("bulletin {}: {error}", at + 1))
        };
        draft.check().map_err(|error| invalid(&error))?;
        let pseudonym = draft.take_pseudonym();
        // Neither a position of the log nor a fraction of a second, by which bulletins of one node
        // would be told from others.
        let written = if pseudonym.is_some() {
            shared.clock.now().whole_second()
        } else {
            draft.as_of.get_or_insert(seen);
            now
        };
        let unsealed = draft.into_unsealed(originator, written, shared.entropy.as_ref());
        let mut unsealed = unsealed.map_err(|error| invalid(&error))?;
        let mut signer: Arc<dyn Signer> = Arc::clone(&shared.signer);
        if let Some(pseudonym) = pseudonym {
            let (disguised, key) = pseudonyms::disguise(shared, unsealed, pseudonym)?;
            (unsealed, signer) = (disguised, Arc::new(key));
        }
        join_burst(&mut bursts, signer, at, unsealed);
    }
    let mut sealed: Vec<(usize, Sealed)> = Vec::new();
    for burst in bursts {
        let one = seal(
            burst.bulletins,
            burst.signer.as_ref(),
            shared.entropy.as_ref(),
        );
        let one = one.map_err(|error| Trouble::new("invalid", error))?;
        sealed.extend(burst.places.into_iter().zip(one));
    }
    sealed.sort_by_key(|(place, _)| *place);
    let outgoing: Vec<Outgoing> = sealed
        .iter()
        .map(|(_, one)| super::send::outgoing(one))
        .collect();
    shared.store.enqueue(&outgoing, now)?;
    shared.outbox.notify_one();
    Ok(Response::Published(
        sealed.iter().map(|(_, one)| one.id).collect(),
    ))
}

/// Bulletins of one key, with their places in the request.
struct Burst {
    signer: Arc<dyn Signer>,
    places: Vec<usize>,
    bulletins: Vec<Unsealed>,
}

/// Adds a bulletin to the burst of its key. A burst links its bulletins, so it never mixes identities.
fn join_burst(bursts: &mut Vec<Burst>, signer: Arc<dyn Signer>, place: usize, one: Unsealed) {
    let key = signer.public_key();
    let known = bursts
        .iter_mut()
        .find(|burst| burst.signer.public_key() == key);
    if let Some(burst) = known {
        burst.places.push(place);
        burst.bulletins.push(one);
    } else {
        bursts.push(Burst {
            signer,
            places: vec![place],
            bulletins: vec![one],
        });
    }
}

async fn outbox(shared: Arc<Shared>, ids: Vec<BulletinId>, wait: u64) -> Result<Response, Trouble> {
    let mut settled = shared.settled.subscribe();
    let until = deadline(wait);
    loop {
        settled.borrow_and_update();
        let (asked, of) = (Arc::clone(&shared), ids.clone());
        let found = blocking(move || statuses(&asked, &of)).await?;
        let pending = found
            .iter()
            .any(|status| status.state == OutboxState::Pending);
        let changed = pending && !ids.is_empty() && wait > 0;
        if !changed
            || tokio::time::timeout_at(until, settled.changed())
                .await
                .is_err()
        {
            return Ok(Response::Outbox(found));
        }
    }
}

/// The receipts about a bulletin or an agreement.
async fn receipts(shared: Arc<Shared>, about: String, wait: u64) -> Result<Response, Trouble> {
    let mut proved = shared.proved.subscribe();
    let until = deadline(wait);
    loop {
        proved.borrow_and_update();
        let (asked, of) = (Arc::clone(&shared), about.clone());
        let found = blocking(move || {
            let mut found = Vec::new();
            for subject in subjects(&asked, &of)? {
                found.extend(asked.store.receipts(&subject)?);
            }
            Ok(found)
        });
        let found = found.await?;
        let waits = found.is_empty() && wait > 0;
        if !waits
            || tokio::time::timeout_at(until, proved.changed())
                .await
                .is_err()
        {
            let found = found.iter().map(ToString::to_string).collect();
            return Ok(Response::Receipts(found));
        }
    }
}

/// What receipts can be about under this name.
fn subjects(shared: &Shared, about: &str) -> Result<Vec<Vec<u8>>, Trouble> {
    if let Ok(id) = about.parse::<BulletinId>() {
        return Ok(vec![id.0.to_vec()]);
    }
    let trusted = evidence::trusted(shared);
    let named = trusted.agreements.iter().filter(|(id, signed)| {
        let terms = signed.agreement();
        let full = format!("{}@{}", terms.name, terms.version);
        id.to_string() == about || *terms.name == *about || full == about
    });
    let named: Vec<Vec<u8>> = named.map(|(id, _)| id.0.as_bytes().to_vec()).collect();
    if named.is_empty() {
        let message = format!("`{about}` is no bulletin's id and no agreement known here");
        return Err(Trouble::new("unknown", message));
    }
    Ok(named)
}

/// An application has taken everything up to a number.
fn advance(shared: &Shared, name: &str, to: u64) -> Result<Response, Trouble> {
    let before = shared.store.consumer(name)?;
    shared.store.advance(name, to)?;
    declare::taken(shared, before, to).map_err(|error| Trouble::new("declaration", error))?;
    Ok(Response::Advanced)
}

/// Where a note is kept, beside the rows of doors.
pub(super) fn note_key(name: &str) -> Vec<u8> {
    format!("note/{name}").into_bytes()
}

fn noted(shared: &Shared, names: &[String]) -> Result<Response, Trouble> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let row = shared.store.row(&note_key(name))?;
        found.push(row.and_then(|row| String::from_utf8(row.into()).ok()));
    }
    Ok(Response::Noted(found))
}

fn note(shared: &Shared, notes: Vec<(String, String)>) -> Result<Response, Trouble> {
    let put = notes.into_iter().map(|(name, text)| {
        let fits = !name.is_empty() && name.len() <= MAX_NOTE_NAME;
        let key = fits.then(|| note_key(&name));
        let key = key.ok_or_else(|| Trouble::new("bad_request", "a name has 1 to 256 bytes"));
        Ok((key?, text.into_bytes()))
    });
    let put = put.collect::<Result<Vec<_>, Trouble>>()?;
    shared.store.keep_rows(&put, &[])?;
    Ok(Response::Advanced)
}

fn acknowledge(shared: &Shared, id: &BulletinId) -> Result<Response, Trouble> {
    let (number, _) = shared.store.inbox_item(id)?.ok_or_else(|| unknown(id))?;
    declare::taken(shared, number - 1, number)
        .map_err(|error| Trouble::new("declaration", error))?;
    Ok(Response::Advanced)
}

fn statuses(shared: &Shared, ids: &[BulletinId]) -> Result<Vec<OutboxStatus>, Trouble> {
    if ids.is_empty() {
        return Ok(shared.store.outbox()?);
    }
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let status = shared.store.outbox_status(id)?;
        found.push(status.ok_or_else(|| unknown(id))?);
    }
    Ok(found)
}

fn unknown(id: &BulletinId) -> Trouble {
    Trouble::new("unknown_bulletin", format!("no bulletin {id} here"))
}

fn item(shared: &Shared, id: &BulletinId) -> Result<Response, Trouble> {
    let (number, bytes) = shared.store.inbox_item(id)?.ok_or_else(|| unknown(id))?;
    Ok(Response::Item(Box::new(view::item(
        shared, number, &bytes,
    )?)))
}

pub(super) fn page(shared: &Shared, after: u64, limit: usize) -> Result<Vec<ItemView>, Trouble> {
    let page = shared.store.inbox(after, limit.clamp(1, MAX_PAGE))?;
    let items = page
        .iter()
        .map(|(number, bytes)| view::item(shared, *number, bytes));
    Ok(items.collect::<Result<_, _>>()?)
}

async fn consume(
    shared: Arc<Shared>,
    name: String,
    limit: usize,
    purpose: Option<Purpose>,
    wait: u64,
) -> Result<Response, Trouble> {
    if name.is_empty() || name.len() > 64 || name.starts_with('\0') {
        return Err(Trouble::new(
            "bad_request",
            "an application's name has 1 to 64 bytes",
        ));
    }
    let mut arrived = shared.inbox.subscribe();
    let until = deadline(wait);
    loop {
        arrived.borrow_and_update();
        let (asked, of) = (Arc::clone(&shared), name.clone());
        let found = blocking(move || unconsumed(&asked, &of, limit, purpose)).await?;
        if !found.is_empty()
            || tokio::time::timeout_at(until, arrived.changed())
                .await
                .is_err()
        {
            return Ok(Response::Items(found));
        }
    }
}

/// What an application has not taken; passes over what is quarantined, taken back, or bound to
/// other purposes than its own.
fn unconsumed(
    shared: &Shared,
    name: &str,
    limit: usize,
    purpose: Option<Purpose>,
) -> Result<Vec<ItemView>, Trouble> {
    let mut after = shared.store.consumer(name)?;
    loop {
        let mut items = page(shared, after, limit)?;
        let Some(last) = items.last().map(|item| item.number) else {
            return Ok(items);
        };
        items.retain(|item| {
            item.quarantined.is_none() && !item.is_taken_back() && item.obligations.permit(purpose)
        });
        if !items.is_empty() {
            return Ok(items);
        }
        after = last;
    }
}

pub(super) fn deadline(wait: u64) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_millis(wait).min(MAX_WAIT)
}

fn statement(shared: &Shared, act: Command) -> Result<Statement, Trouble> {
    let bytes = |text: &str| {
        BASE64
            .decode(text.as_bytes())
            .map_err(|error| Trouble::new("bad_request", format!("a file is not base64: {error}")))
    };
    let unreadable = |error: &dyn std::fmt::Display| Trouble::new("unreadable", error);
    Ok(match act {
        Command::Agreement { file } => Statement::Agreement(
            SignedAgreement::from_file(&bytes(&file)?).map_err(|error| unreadable(&error))?,
        ),
        Command::Withdrawal { file } => Statement::Withdrawal(
            SignedWithdrawal::from_file(&bytes(&file)?).map_err(|error| unreadable(&error))?,
        ),
        Command::KeySet { file } => Statement::KeySet(
            SignedKeySet::from_bytes(&bytes(&file)?).map_err(|error| unreadable(&error))?,
        ),
        Command::Consent {
            bulletin,
            approve,
            reason,
        } => return onward::consent(shared, bulletin, approve, reason),
        Command::DecideHold { decision } => Statement::HoldDecision(
            SignedHoldDecision::from_bytes(&bytes(&decision)?.into())
                .map_err(|error| unreadable(&error))?,
        ),
        Command::Revocation { file } => Statement::Revocation(CertificatesRevoked {
            partner: shared.config.spiffe_id.partner().clone(),
            crl: bytes(&file)?.into(),
        }),
        _ => return Err(Trouble::new("bad_request", "this command is no act")),
    })
}

/// Has the broker record an act, and waits for its answer.
async fn submit(shared: &Shared, statement: Statement) -> Result<Response, Trouble> {
    let position = submit_within(shared, statement, MAX_WAIT).await?;
    Ok(Response::Recorded(position))
}

/// As [`submit`], for so long; where it stands in the log, or 0 where it says nothing new.
pub(super) async fn submit_within(
    shared: &Shared,
    statement: Statement,
    patience: Duration,
) -> Result<u64, Trouble> {
    let unanswered = || {
        Trouble::new(
            "not_connected",
            "the broker has not answered; whether it recorded the act is seen with: entente \
             agreement list. Try again when the node is connected",
        )
    };
    let (answer, answered) = oneshot::channel();
    let act = Act { statement, answer };
    let submitted = tokio::time::timeout(patience, async {
        shared
            .acts
            .send(Outward::Act(Box::new(act)))
            .await
            .map_err(|_| ())?;
        answered.await.map_err(|_| ())
    });
    match submitted.await {
        Ok(Ok(Ok(position))) => {
            shared.acted.fetch_max(position + 1, Ordering::Relaxed);
            Ok(position)
        }
        Ok(Ok(Err(refusal))) => Err(Trouble {
            code: refusal.code,
            message: refusal.message,
        }),
        _ => Err(unanswered()),
    }
}

/// How far a bulletin has come at one recipient.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FollowedView {
    /// The recipient; absent where the agreement keeps it confidential.
    pub recipient: Option<PartnerId>,
    /// `held`, `on its way` or `acknowledged`.
    pub state: String,
    /// What it declared, in order.
    pub declared: Vec<String>,
    /// By when it has to take it, where it has to and has not.
    pub due: Option<Timestamp>,
}

pub(super) async fn follow(shared: &Shared, bulletin: BulletinId) -> Result<Response, Trouble> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let (answer, answered) = oneshot::channel();
    let asking = async {
        let asked = Outward::Ask(Asked { bulletin, answer });
        shared.acts.send(asked).await.map_err(|_| ())?;
        answered.await.map_err(|_| ())
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(Ok(states))) => {
            let view = |one: RecipientState| FollowedView {
                recipient: one.recipient,
                state: one.state,
                declared: one.declared,
                due: one.due,
            };
            Ok(Response::Followed(states.into_iter().map(view).collect()))
        }
        Ok(Ok(Err(refusal))) => Err(Trouble {
            code: refusal.code,
            message: refusal.message,
        }),
        _ => Err(Trouble::new(
            "not_connected",
            "the broker has not answered; ask again when the node is connected",
        )),
    }
}
