//! The sequencer: turns what is proposed into a group of records, each with its position.
//!
//! Pure: it reads the fold, decides once per bulletin, numbers, and returns; it writes nothing and
//! sends nothing. The group becomes [`Durable`] by being appended, and only then may anybody be
//! told of it.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use thiserror::Error;

use super::ack::AckError;
use super::backfill::{Backfilled, BackfilledBulletin, backfill_is_valid, backfill_releases};
use super::check::{self, GovernanceError};
use super::consent::{ConsentError, SignedConsent};
use super::cover::CoverKey;
use super::crossing::check_crossing;
use super::declaration::{DeclarationError, SignedDeclaration};
use super::engine::{Engine, EngineError, StoredRecord};
use super::erasure::{ContentsErased, ErasedBulletin, ErasureRule, MAX_ERASED, erasure_rule};
use super::hold::{HoldError, SignedHoldDecision};
use super::notice::notice_releases;
use super::onward::{PassedOn, PassedOnDecision, decide_passed_on};
use super::pseudonym::Pseudonyms;
use super::record::{Accepted, Fact, Genesis, LaneRelease, Record, SignedAck};
use super::state::{Seen, State};
use super::wire;
use crate::agreement::AgreementId;
use crate::bulletin::{
    BulletinId, BulletinKeys, Precedence, Recorded, Refused, Sealed, Submission,
};
use crate::clock::{Entropy, NoEntropy, Timestamp, random};
use crate::decision::{Release, Usage, decide};
use crate::partner::PartnerId;

/// The most records in a group: bounds how long the first of them waits for the last.
pub const MAX_GROUP_RECORDS: usize = 1_024;
/// The most bytes in a group, bodies included.
pub const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Something to be recorded.
#[derive(Clone, Debug)]
pub enum Proposal {
    /// A verified bulletin from its originator.
    Bulletin(Box<Submission>),
    /// A verified notice, with the record of the bulletin it refers to.
    Notice {
        /// The notice.
        notice: Box<Submission>,
        /// That record.
        about: Arc<Record>,
    },
    /// A verified bulletin that passes others on, with their records in the order of its header.
    PassedOn {
        /// The bulletin.
        bulletin: Box<Submission>,
        /// Those records.
        about: Vec<Arc<Record>>,
    },
    /// What a recipient says about a bulletin, with that bulletin's record.
    Declaration {
        /// What it says.
        signed: SignedDeclaration,
        /// That record.
        about: Arc<Record>,
    },
    /// A person's decision about what is held of a bulletin, with that bulletin's record.
    HoldDecision {
        /// The decision.
        signed: SignedHoldDecision,
        /// That record.
        about: Arc<Record>,
    },
    /// An originator's answer to something of it being passed on, with the record of the bulletin
    /// that does so.
    Consent {
        /// The answer.
        signed: SignedConsent,
        /// That record.
        about: Arc<Record>,
    },
    /// What of the bulletin at a position, with its record, is given under an agreement's backfill;
    /// without one: that nothing more is.
    Backfill {
        /// The agreement.
        agreement: AgreementId,
        /// The bulletin.
        bulletin: Option<(u64, Arc<Record>)>,
    },
    /// The contents of bulletins, with their positions and records, are to be erased under a rule.
    Erasure {
        /// The rule.
        rule: ErasureRule,
        /// Those bulletins, by position.
        about: Vec<(u64, Arc<Record>)>,
    },
    /// The log is to be filled up with cover.
    Cover {
        /// To this size.
        until: u64,
        /// The auditor's key.
        key: CoverKey,
    },
    /// A recipient's acknowledgement.
    Acknowledgement(SignedAck),
    /// A fact about partners and agreements, or the passing of time.
    Fact(Fact),
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is the record at this position.
    Recorded(u64),
    /// The same was recorded before, at this position.
    Again(u64),
    /// It says nothing new, and needs no record.
    Stale,
    /// It is refused.
    Refused(NotRecorded),
}

/// Why a proposal is not recorded.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NotRecorded {
    /// A bulletin.
    #[error(transparent)]
    Bulletin(#[from] Refused),
    /// An acknowledgement.
    #[error(transparent)]
    Acknowledgement(#[from] AckError),
    /// A decision about a hold.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// An answer to something being passed on.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    /// A declaration.
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    /// A governing fact.
    #[error(transparent)]
    Governance(#[from] GovernanceError),
}

impl NotRecorded {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bulletin(refused) => refused.code(),
            Self::Acknowledgement(error) => error.code(),
            Self::Hold(error) => error.code(),
            Self::Consent(error) => error.code(),
            Self::Declaration(error) => error.code(),
            Self::Governance(error) => error.code(),
        }
    }
}

/// A record of a group, as it is stored, with the bulletin it accepted.
#[derive(Clone, Debug)]
pub struct Sequenced {
    /// The record.
    pub record: Arc<Record>,
    /// Its bytes.
    pub stored: StoredRecord,
    /// The bulletin it accepted, as it came.
    pub sealed: Option<Arc<Sealed>>,
}

/// Records decided and numbered, not yet stored.
#[derive(Debug)]
pub struct Group {
    first: u64,
    time: Timestamp,
    records: Vec<Sequenced>,
    outcomes: Vec<Outcome>,
}

/// A group that is stored durably. The only source of promises, and of what lanes deliver.
#[derive(Debug)]
pub struct Durable {
    group: Group,
}

impl Group {
    /// The group that begins a ledger.
    pub fn genesis(genesis: Genesis, entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        let time = genesis.created;
        let mut draft = Draft::new(0, time, time, random(entropy)?);
        draft.push(Fact::Genesis(genesis), vec![], None);
        Ok(draft.finish(vec![Outcome::Recorded(0)]))
    }

    /// Records in the group; a group without any need not be appended.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is to be appended.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Appends the group to the log. On an error nobody may be told anything of it.
    pub fn append(self, engine: &dyn Engine) -> Result<Durable, EngineError> {
        if !self.records.is_empty() {
            let stored: Vec<StoredRecord> =
                self.records.iter().map(|one| one.stored.clone()).collect();
            engine.append(self.first, &stored)?;
        }
        Ok(Durable { group: self })
    }
}

impl Durable {
    /// Position of the first record.
    pub fn first(&self) -> u64 {
        self.group.first
    }

    /// Time of the group.
    pub fn time(&self) -> Timestamp {
        self.group.time
    }

    /// The records, in order of position.
    pub fn records(&self) -> &[Sequenced] {
        &self.group.records
    }

    /// What became of the proposals, in their order.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.group.outcomes
    }

    /// Folds the group into the state it was decided upon.
    pub fn fold_into(&self, state: &mut State) {
        for one in &self.group.records {
            state.apply(&one.record);
        }
    }
}

/// Takes proposals from the front of the queue and makes a group of them. A governing fact ends
/// its group, so that everything after it is decided upon the state it made.
pub fn sequence(
    state: &State,
    proposals: &mut VecDeque<Proposal>,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Group, NoEntropy> {
    sequence_within(state, proposals, now, entropy, usize::MAX)
}

/// As [`sequence`], with at most about so many bytes of records, where the log takes no more at once: the last
/// record may go beyond.
pub fn sequence_within(
    state: &State,
    proposals: &mut VecDeque<Proposal>,
    now: Timestamp,
    entropy: &dyn Entropy,
    most: usize,
) -> Result<Group, NoEntropy> {
    let time = now.max(state.time());
    let seed = random(entropy)?;
    let mut run = Run {
        state,
        draft: Draft {
            most,
            ..Draft::new(state.size(), state.time(), time, seed)
        },
        seen: HashMap::new(),
        issued: HashMap::new(),
        usage: Cow::Borrowed(state.usage()),
        pseudonyms: Pseudonyms::default(),
    };
    let most_records = proposals.len().min(MAX_GROUP_RECORDS);
    let mut outcomes = Vec::with_capacity(most_records);
    run.draft.records.reserve(most_records);
    while !run.draft.is_full()
        && let Some(proposal) = proposals.pop_front()
    {
        let (outcome, last) = match proposal {
            Proposal::Bulletin(submission) => (run.bulletin(*submission, &[]), false),
            // What was retracted must not be decided upon in the same group.
            Proposal::Notice { notice, about } => (run.bulletin(*notice, &[about]), true),
            Proposal::PassedOn { bulletin, about } => (run.bulletin(*bulletin, &about), false),
            Proposal::Declaration { signed, about } => (run.declaration(signed, &about), false),
            // Two persons may decide at once: the second is counted upon the first.
            Proposal::HoldDecision { signed, about } => (run.hold_decision(signed, &about), true),
            Proposal::Consent { signed, about } => (run.consent(signed, &about), true),
            // What was given is not given again in the same group.
            Proposal::Backfill {
                agreement,
                bulletin,
            } => (run.backfill(agreement, bulletin), true),
            // What is erased is not given in the same group.
            Proposal::Erasure { rule, about } => (run.erasure(rule, &about), true),
            Proposal::Cover { until, key } => (run.cover(until, &key), false),
            Proposal::Acknowledgement(ack) => (run.acknowledgement(ack), false),
            Proposal::Fact(fact) => (run.fact(fact), true),
        };
        outcomes.push(outcome);
        if last {
            break;
        }
    }
    Ok(run.draft.finish(outcomes))
}

/// One pass of the sequencer: the state before the group, and what the group adds to it.
struct Run<'a> {
    state: &'a State,
    draft: Draft,
    seen: HashMap<BulletinId, Seen>,
    issued: HashMap<(PartnerId, Precedence), u64>,
    usage: Cow<'a, Usage>,
    /// Those that the group adds.
    pseudonyms: Pseudonyms,
}

impl Run<'_> {
    fn bulletin(&mut self, mut submission: Submission, about: &[Arc<Record>]) -> Outcome {
        if !self.state.looks_for_mentions() {
            submission.forget_mentions();
        }
        let header = submission.bulletin().header();
        let (id, precedence) = (header.id, header.precedence);
        let hash = submission.bulletin().header_hash();
        if let Some(seen) = self.seen.get(&id).copied().or_else(|| self.state.seen(&id)) {
            return if seen.header == hash {
                Outcome::Again(seen.position)
            } else {
                Outcome::Refused(Refused::DuplicateId(id).into())
            };
        }
        let (as_of, size) = (header.as_of, self.state.size());
        if as_of > size {
            return Outcome::Refused(Refused::AheadOfLog { as_of, size }.into());
        }
        // The key held when the session checked it; a rotation may have come in between. Behind a
        // pseudonym it is the key that bound it.
        let behind = submission.bulletin().identity();
        let key = behind.map_or(header.signing_key, |identity| identity.signature.key_id);
        let originator = submission.labels().originator.clone();
        let registry = self.state.registry();
        if registry
            .bulletin_key(&originator, &key, self.draft.time)
            .is_none()
        {
            return Outcome::Refused(Refused::UnknownKey { key, originator }.into());
        }
        let header = submission.bulletin().header();
        if let Err(refused) = check_crossing(self.state, header, self.draft.time) {
            return Outcome::Refused(refused.into());
        }
        let disguise = submission.labels().disguise.clone();
        let known = [self.state.pseudonyms(), &self.pseudonyms];
        let reused = known
            .iter()
            .find_map(|known| known.check(header, &originator, disguise.as_ref()).err());
        if let Some(refused) = reused {
            return Outcome::Refused(refused.into());
        }
        let decided = match self.decide(&submission, about) {
            Ok(decided) => decided,
            Err(refused) => return Outcome::Refused(refused.into()),
        };
        let releases = decided.releases;
        let mut numbered = Vec::with_capacity(releases.len());
        for release in releases {
            self.count(&originator, &release);
            let number = if release.held {
                0
            } else {
                self.number(&release.recipient, precedence)
            };
            numbered.push(LaneRelease {
                bulletin: hash,
                number,
                release,
            });
        }
        let position = self.draft.next();
        self.seen.insert(
            id,
            Seen {
                header: hash,
                position,
                erased: false,
            },
        );
        let Recorded {
            sealed,
            header,
            digests,
            mentions,
            audience,
            identity,
        } = submission.into_recorded();
        self.pseudonyms
            .note(&header, &originator, disguise.as_ref());
        let fact = Fact::Accepted(Box::new(Accepted {
            header_bytes: sealed.header.clone(),
            header_hash: hash,
            header,
            originator,
            disguise,
            identity,
            burst: sealed.burst.clone(),
            parts: digests,
            mentions,
            audience,
            awaited: decided.awaited,
            bonds: decided.bonds,
        }));
        self.draft.push(fact, numbered, Some(sealed));
        Outcome::Recorded(position)
    }

    /// Who receives a bulletin, and whose consent they wait for.
    fn decide(
        &self,
        submission: &Submission,
        about: &[Arc<Record>],
    ) -> Result<PassedOnDecision, Refused> {
        let header = submission.bulletin().header();
        let (labels, parts) = (submission.labels(), submission.part_labels());
        let to_all = |releases| PassedOnDecision {
            releases,
            ..PassedOnDecision::default()
        };
        if header.notice {
            let nothing = || Refused::Notice("it refers to no accepted bulletin");
            let about = about.first().ok_or_else(nothing)?;
            let author = &labels.originator;
            return notice_releases(self.state, header, author, parts, about).map(to_all);
        }
        let time = self.draft.time;
        let ancestors: Vec<BulletinId> = header.passes_on().collect();
        if ancestors.is_empty() {
            let rulebook = self.state.rulebook();
            return Ok(to_all(decide(rulebook, &self.usage, labels, parts, time)));
        }
        let about: Vec<&Record> = about.iter().map(Arc::as_ref).collect();
        let bulletin = PassedOn {
            ancestors: &ancestors,
            labels,
            parts: submission.digests(),
        };
        decide_passed_on(self.state, &self.usage, bulletin, parts, time, &about)
    }

    /// The next number of a lane.
    fn number(&mut self, recipient: &PartnerId, precedence: Precedence) -> u64 {
        let lane = (recipient.clone(), precedence);
        let last = self.issued.get(&lane).copied();
        let last = last.unwrap_or_else(|| self.state.lanes().issued(recipient, precedence));
        self.issued.insert(lane, last + 1);
        last + 1
    }

    fn hold_decision(&mut self, signed: SignedHoldDecision, about: &Record) -> Outcome {
        match signed.check(self.state, about, self.draft.time) {
            Ok(releases) => self.let_go(Fact::HoldDecided(signed), about, releases),
            Err(error) => Outcome::Refused(error.into()),
        }
    }

    fn consent(&mut self, signed: SignedConsent, about: &Record) -> Outcome {
        match signed.check(self.state, about, self.draft.time) {
            Ok(releases) => self.let_go(Fact::ConsentDecided(signed), about, releases),
            Err(error) => Outcome::Refused(error.into()),
        }
    }

    fn backfill(
        &mut self,
        agreement: AgreementId,
        bulletin: Option<(u64, Arc<Record>)>,
    ) -> Outcome {
        let Some(backfill) = self.state.backfills().get(&agreement) else {
            return Outcome::Stale;
        };
        let time = self.draft.time;
        let Some((position, about)) = bulletin else {
            if !backfill_is_valid(self.state, &agreement, time) {
                return Outcome::Stale;
            }
            let fact = Fact::Backfilled(Backfilled {
                agreement,
                up_to: backfill.until,
                bulletin: None,
            });
            return Outcome::Recorded(self.draft.push(fact, Vec::new(), None));
        };
        let releases = backfill_releases(self.state, &agreement, position, &about, time);
        let Fact::Accepted(accepted) = &about.fact else {
            return Outcome::Stale;
        };
        if releases.is_empty() {
            return Outcome::Stale;
        }
        let fact = Fact::Backfilled(Backfilled {
            agreement,
            up_to: position + 1,
            bulletin: Some(BackfilledBulletin::of(accepted)),
        });
        self.let_go(fact, &about, releases)
    }

    /// Numbers what a fact lets go of a bulletin.
    fn let_go(&mut self, fact: Fact, about: &Record, releases: Vec<Release>) -> Outcome {
        let mut numbered = Vec::with_capacity(releases.len());
        if let Fact::Accepted(accepted) = &about.fact {
            for release in releases {
                numbered.push(LaneRelease {
                    bulletin: accepted.header_hash(),
                    number: self.number(&release.recipient, accepted.header.precedence),
                    release,
                });
            }
        }
        Outcome::Recorded(self.draft.push(fact, numbered, None))
    }

    /// Counts a release against its quotas. Most clauses have none, so the fold's counts are copied
    /// only where something changes.
    fn count(&mut self, originator: &PartnerId, release: &Release) {
        let rulebook = self.state.rulebook();
        if rulebook.has_quota(originator, release) {
            let time = self.draft.time;
            self.usage
                .to_mut()
                .count(rulebook, originator, release, time);
        }
    }

    fn acknowledgement(&mut self, signed: SignedAck) -> Outcome {
        if let Err(error) = signed.check(self.state, self.draft.time) {
            return Outcome::Refused(error.into());
        }
        let recipient = &signed.ack.recipient;
        let lanes = self.state.lanes();
        let progress = signed.ack.lanes.iter().any(|lane| {
            lane.up_to
                > lanes
                    .lane(recipient, lane.precedence)
                    .map_or(0, super::Lane::acked)
        });
        if !progress {
            return Outcome::Stale;
        }
        Outcome::Recorded(self.draft.push(Fact::Acknowledged(signed), vec![], None))
    }

    /// Erases what the rule holds for; of the rest nothing is said.
    fn erasure(&mut self, rule: ErasureRule, about: &[(u64, Arc<Record>)]) -> Outcome {
        let at = self.draft.time;
        let due = about.iter().filter_map(|(position, record)| {
            let Fact::Accepted(accepted) = &record.fact else {
                return None;
            };
            let found = erasure_rule(self.state, *position, record, at)?;
            (found == rule).then_some(ErasedBulletin {
                position: *position,
                id: accepted.header.id,
            })
        });
        let mut bulletins: Vec<ErasedBulletin> = due.collect();
        bulletins.sort_unstable_by_key(|one| one.position);
        bulletins.dedup();
        bulletins.truncate(MAX_ERASED);
        if bulletins.is_empty() {
            return Outcome::Stale;
        }
        let fact = Fact::ContentsErased(ContentsErased { rule, bulletins });
        Outcome::Recorded(self.draft.push(fact, vec![], None))
    }

    /// Adds cover up to a size, as far as the group has room.
    fn cover(&mut self, until: u64, key: &CoverKey) -> Outcome {
        let mut last = None;
        while self.draft.next() < until && !self.draft.is_full() {
            last = Some(self.draft.push_cover(key));
        }
        last.map_or(Outcome::Stale, Outcome::Recorded)
    }

    fn declaration(&mut self, signed: SignedDeclaration, about: &Record) -> Outcome {
        match signed.check(self.state, about, self.draft.time) {
            Ok(()) if !self.state.dossiers().is_news(&signed.declaration) => Outcome::Stale,
            Ok(()) => Outcome::Recorded(self.draft.push(Fact::Declared(signed), vec![], None)),
            Err(error) => Outcome::Refused(error.into()),
        }
    }

    fn fact(&mut self, fact: Fact) -> Outcome {
        let free = matches!(fact, Fact::Tick | Fact::SnapshotTaken(_));
        if !free && let Err(error) = check::check(self.state, &fact, self.draft.time) {
            return Outcome::Refused(error.into());
        }
        Outcome::Recorded(self.draft.push(fact, vec![], None))
    }
}

/// A group in the making.
struct Draft {
    first: u64,
    /// Time of the record before the group.
    before: Timestamp,
    time: Timestamp,
    seed: [u8; 32],
    records: Vec<Sequenced>,
    bytes: usize,
    /// Bytes of the records alone, and how many they may be.
    recorded: usize,
    most: usize,
    /// Room in which records are written.
    scratch: Vec<u8>,
}

impl Draft {
    fn new(first: u64, before: Timestamp, time: Timestamp, seed: [u8; 32]) -> Self {
        Self {
            first,
            before,
            time,
            seed,
            records: Vec::new(),
            bytes: 0,
            recorded: 0,
            most: usize::MAX,
            scratch: Vec::new(),
        }
    }

    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn is_full(&self) -> bool {
        self.records.len() >= MAX_GROUP_RECORDS
            || self.bytes >= MAX_GROUP_BYTES
            || self.recorded >= self.most
    }

    /// Adds a record and returns its position.
    fn push(&mut self, fact: Fact, releases: Vec<LaneRelease>, sealed: Option<Sealed>) -> u64 {
        let seed = wire::record_seed(&self.seed, self.next());
        self.push_under(seed, self.time, fact, releases, sealed)
    }

    /// Adds cover. It has no time of its own, and so takes none on.
    fn push_cover(&mut self, key: &CoverKey) -> u64 {
        let seed = key.seed(self.next());
        let time = self
            .records
            .last()
            .map_or(self.before, |one| one.record.time);
        self.push_under(seed, time, Fact::Cover, vec![], None)
    }

    fn push_under(
        &mut self,
        seed: [u8; 32],
        time: Timestamp,
        fact: Fact,
        releases: Vec<LaneRelease>,
        sealed: Option<Sealed>,
    ) -> u64 {
        let position = self.next();
        let encoded = wire::encode(time, seed, &fact, &releases, &mut self.scratch);
        let bodies = sealed.as_ref().map(wire::bodies);
        self.recorded += encoded.bytes.len();
        self.bytes += encoded.bytes.len() + bodies.as_ref().map_or(0, bytes::Bytes::len);
        let commitment = encoded.commitment;
        let erases = match &fact {
            Fact::ContentsErased(erased) => {
                erased.bulletins.iter().map(|one| one.position).collect()
            }
            _ => Vec::new(),
        };
        self.records.push(Sequenced {
            record: Arc::new(Record {
                time,
                fact,
                releases,
                commitment,
                bytes: encoded.bytes.clone(),
            }),
            stored: StoredRecord {
                record: encoded.bytes,
                bodies,
                entry: commitment.entry(),
                erases,
            },
            sealed: sealed.map(Arc::new),
        });
        position
    }

    fn finish(self, outcomes: Vec<Outcome>) -> Group {
        Group {
            first: self.first,
            time: self.time,
            records: self.records,
            outcomes,
        }
    }
}
