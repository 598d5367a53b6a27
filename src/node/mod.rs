//! The node: a partner's program. Publishes what its applications give it, verifies and keeps what
//! it receives, and hands each bulletin to its applications once.
//!
//! Nothing the broker says is believed without a signature that leads back to a key set this
//! partner compared itself: agreements through their pins, bulletins through the agreements.

mod applications;
mod brokers;
mod carry;
mod config;
mod declare;
mod error;
mod evidence;
mod export;
mod federation;
mod hook;
mod inbox;
mod link;
mod local;
mod loss;
mod notices;
mod obligations;
mod onward;
mod overdue;
mod proofs;
mod pseudonyms;
mod receive;
mod retention;
mod send;
mod view;
mod witness;
mod witness_http;

pub use applications::{Adding, Applications, Outcome};
pub use carry::{Arrival, Carriage, CarryAct, CarryAnswer, Fate, Given, NOT_CARRIED, Package};
pub use config::{
    Config, FederationConfig, LabelsConfig, PollConfig, PublishConfig, TaxiiClientConfig,
    TaxiiConfig, TlsConfig, WitnessConfig,
};
pub use error::NodeError;
pub use federation::OriginView;
pub use hook::{DeadLetter, ExecConfig, LetterAct, WebhookConfig};
pub use inbox::{InboxItem, Verdict};
pub use local::{Command, FollowedView, MAX_NOTE_NAME, Response};
pub use notices::{NEVER_GIVEN, NoticeDraft};
pub use onward::{AskingView, HoldView, PassOnDraft};
pub use view::{HeaderView, ItemView, PartView, StatusView, TrustedView};

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bulletin::BulletinId;
use crate::clock::{Clock, Entropy, SystemEntropy};
use crate::identity::{read_key_set, read_secret_key};
use crate::partner::{SignedKeySet, SpiffeId};
use crate::proof::{Policy, Signer};
use crate::session::{Asking, OverdueItem, RecipientState, Refusal, Statement};
use crate::store::{Disk, NodeStore, SystemDisk};
use crate::transport::LocalListener;
use evidence::Trusted;

/// How the link to the broker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    /// Not connected, and why.
    Down(String),
    /// Welcomed.
    Up(SpiffeId),
}

/// An act to be recorded, with whoever waits for the outcome.
#[derive(Debug)]
pub(crate) struct Act {
    statement: Statement,
    answer: oneshot::Sender<Result<u64, Refusal>>,
}

/// A question about one of this partner's bulletins, with whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    bulletin: BulletinId,
    answer: oneshot::Sender<Result<Vec<RecipientState>, Refusal>>,
}

/// What goes to the broker on the control stream.
#[derive(Debug)]
pub(crate) enum Outward {
    /// To be recorded.
    Act(Box<Act>),
    /// To be answered.
    Ask(Asked),
}

/// What all tasks of a node share.
#[derive(Debug)]
pub(crate) struct Shared {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    store: Arc<NodeStore>,
    signer: Arc<dyn Signer>,
    key_set: SignedKeySet,
    /// What the evidence at hand lets this node believe.
    trusted: RwLock<Arc<Trusted>>,
    evidence: watch::Sender<u64>,
    /// Records of the log that an act of this partner is among.
    acted: AtomicU64,
    outbox: Notify,
    /// Something waits to be declared.
    declared: Notify,
    /// Who has not taken this partner's bulletins in time, as the broker last said.
    overdue: watch::Sender<Vec<OverdueItem>>,
    /// What waits for this partner's consent or persons, as the broker last said.
    asking: watch::Sender<Asking>,
    /// Counts changes of outbox and inbox, for whoever waits for one.
    settled: watch::Sender<u64>,
    inbox: watch::Sender<u64>,
    /// One door adds at a time: what two add at once is published once, and what one has noted and not yet published
    /// is not taken for lost by the other. It guards nothing that could be half done.
    adding: Mutex<()>,
    /// Counts requests to try dead letters again.
    replayed: watch::Sender<u64>,
    /// The largest checkpoint that this node believes.
    believed: watch::Sender<Option<proofs::Believed>>,
    /// Counts changes of the receipts.
    proved: watch::Sender<u64>,
    /// Records whose receipts are not here.
    awaited: Mutex<overdue::AllAwaited>,
    /// The delay that the broker gives its checkpoints; 0 before it said so.
    merge_delay_ms: AtomicU64,
    /// What is wrong with the log.
    faults: Mutex<BTreeSet<String>>,
    witness: witness::Witness,
    policy: Option<Policy>,
    /// What was compared of other ledgers.
    federation: federation::Federation,
    /// Where the witness listens for logs, where it does.
    witness_address: Option<SocketAddr>,
    link: watch::Sender<LinkStatus>,
    acts: mpsc::Sender<Outward>,
    stop: CancellationToken,
}

fn read_policy(path: &Path) -> Result<Policy, NodeError> {
    let text = std::fs::read_to_string(path).map_err(|error| NodeError::File {
        path: path.to_owned(),
        error,
    })?;
    text.parse().map_err(|error| NodeError::Policy {
        path: path.to_owned(),
        error,
    })
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl Node {
    /// Starts a node: opens its store, listens for its applications, and connects to its broker,
    /// again and again until it is told to stop. Called within a tokio runtime.
    pub fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        Self::start_on(Arc::new(SystemDisk), config, clock)
    }

    /// As [`Node::start`], on this disk.
    pub fn start_on(
        disk: Arc<dyn Disk>,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NodeError> {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let store = Arc::new(NodeStore::open_on(&config.store, disk)?);
        let signer = Arc::new(read_secret_key(&config.signing_key)?);
        let key_set = read_key_set(&config.key_set)?;
        evidence::check_own(&config, &key_set, signer.as_ref())?;
        let hooks = hook::all(&config)?;
        let control = LocalListener::bind(&config.control)?;
        let trusted = evidence::load(&config, &store, &key_set)?;
        let witness = witness::Witness::new(&config)?;
        let policy = config.witness_policy.as_deref().map(read_policy);
        let policy = policy.transpose()?;
        let federation = federation::Federation::load(&config.federation)?;
        let listener = config.witness.as_ref().map(witness_http::bind);
        let listener = listener.transpose()?;
        let (acts, waiting) = mpsc::channel(16);
        let shared = Arc::new(Shared {
            config,
            clock,
            entropy,
            store,
            signer,
            key_set,
            trusted: RwLock::new(Arc::new(trusted)),
            evidence: watch::Sender::new(0),
            acted: AtomicU64::new(0),
            outbox: Notify::new(),
            declared: Notify::new(),
            overdue: watch::Sender::new(Vec::new()),
            asking: watch::Sender::new(Asking::default()),
            settled: watch::Sender::new(0),
            inbox: watch::Sender::new(0),
            adding: Mutex::default(),
            replayed: watch::Sender::new(0),
            believed: watch::Sender::new(None),
            proved: watch::Sender::new(0),
            awaited: Mutex::default(),
            merge_delay_ms: AtomicU64::new(0),
            faults: Mutex::default(),
            witness,
            policy,
            federation,
            witness_address: listener.as_ref().map(|bound| bound.address),
            link: watch::Sender::new(LinkStatus::Down("not connected yet".into())),
            acts,
            stop: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        let link = link::Link::open(Arc::clone(&shared), waiting)?;
        tasks.spawn(link.run());
        tasks.spawn(local::serve(Arc::clone(&shared), control));
        tasks.spawn(notices::run(Arc::clone(&shared)));
        tasks.spawn(declare::run(Arc::clone(&shared)));
        tasks.spawn(overdue::run(Arc::clone(&shared)));
        tasks.spawn(retention::run(Arc::clone(&shared)));
        if let Some(listener) = listener {
            witness_http::serve(&shared, &tasks, listener);
        }
        for hook in hooks {
            tasks.spawn(hook::run(Arc::clone(&shared), hook));
        }
        Ok(Self { shared, tasks })
    }

    /// For doors of this process that applications come through in their own protocols.
    pub fn applications(&self) -> Applications {
        Applications::of(Arc::clone(&self.shared))
    }

    /// Waits until the node must stop by itself, because its store cannot be written any more.
    pub async fn failed(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Stops: what is not settled stays in the outbox, what was received stays in the inbox.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let held = self.shared.store.held();
        drop(self.shared);
        crate::store::released(&held).await;
    }
}
