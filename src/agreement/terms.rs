//! Agreements and clauses: typed terms only, so that every question about sharing has an exact
//! answer.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::AgreementError;
use crate::bulletin::{
    Classification, Kind, Level, PartClass, Precedence, Region, Shown, Tlp, Topic, closed_set,
    is_agreement_name,
};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::{Digest, InvalidDigest, PublicKey};

/// The most parties of an agreement: a large alliance.
pub const MAX_PARTIES: usize = 256;
/// The most clauses of an agreement.
pub const MAX_CLAUSES: usize = 256;
/// The most ledgers into which a clause lets something be carried: as many as a crossing can name.
const MAX_FEDERATION: usize = 64;
/// The longest name of a scheme of classification.
const MAX_NAME: usize = 63;
/// The longest title, in bytes.
const MAX_TITLE: usize = 256;
/// The shortest and the longest period of a term.
const MIN_PERIOD: Duration = Duration::from_mins(1);
const MAX_PERIOD: Duration = Duration::from_hours(10 * 366 * 24);

/// The id of a ledger: the hash of its first record.
pub type LedgerHash = Digest;

/// SHA-256 of an agreement's bytes: names this version of it and no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgreementId(pub Digest);

impl fmt::Display for AgreementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AgreementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementId({})", self.0.short())
    }
}

impl FromStr for AgreementId {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A clause of one version of an agreement, shown as `name@version/clause`. Cheap to clone: every
/// release names some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClauseRef(Arc<ClauseName>);

impl ClauseRef {
    /// A reference to this clause.
    pub fn new(name: ClauseName) -> Self {
        Self(Arc::new(name))
    }
}

impl Deref for ClauseRef {
    type Target = ClauseName;

    fn deref(&self) -> &ClauseName {
        &self.0
    }
}

/// What names a clause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClauseName {
    /// The agreement's name, for people.
    pub name: Arc<str>,
    /// Its version, for people.
    pub version: u64,
    /// The clause's id.
    pub clause: Arc<str>,
    /// The agreement's id, which counts.
    pub agreement: AgreementId,
}

impl fmt::Display for ClauseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.name, self.version, self.clause)
    }
}

/// Whether a recipient may pass on what it received. The least is the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Onward {
    /// To nobody.
    None,
    /// With the originator's consent, each time.
    OriginatorConsent,
    /// To the other parties of the agreement.
    WithinAgreement,
}

impl fmt::Display for Onward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::OriginatorConsent => "originator-consent",
            Self::WithinAgreement => "within-agreement",
        })
    }
}

/// Some parties of an agreement, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parties {
    /// Written `*`.
    All,
    /// Never empty.
    Named(BTreeSet<PartnerId>),
}

impl Parties {
    /// Whether a party of the agreement is among them.
    pub fn contains(&self, party: &PartnerId) -> bool {
        match self {
            Self::All => true,
            Self::Named(named) => named.contains(party),
        }
    }
}

/// Topics with their subtrees, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// Written `*`.
    All,
    /// Never empty.
    Under(BTreeSet<Topic>),
}

impl Topics {
    /// Whether a topic is one of them or below one of them.
    pub fn cover(&self, topic: Topic) -> bool {
        match self {
            Self::All => true,
            Self::Under(topics) => topics.iter().any(|root| root.covers(topic)),
        }
    }
}

/// Regions with their subdivisions, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regions {
    /// Written `*`.
    All,
    /// Never empty.
    Within(BTreeSet<Region>),
}

impl Regions {
    /// Whether a region is one of them or within one of them.
    pub fn cover(&self, region: Region) -> bool {
        match self {
            Self::All => true,
            Self::Within(regions) => regions.iter().any(|whole| whole.covers(region)),
        }
    }
}

/// What flows from whom to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Unique in the agreement.
    pub id: Arc<str>,
    /// Who gives.
    pub from: Parties,
    /// Who receives.
    pub to: Parties,
    /// Never empty.
    pub kinds: BTreeSet<Kind>,
    /// About what.
    pub topics: Topics,
    /// Where. A bulletin without regions needs all.
    pub regions: Regions,
    /// The strictest TLP that flows.
    pub tlp_ceiling: Tlp,
    /// The highest classification that flows; `None`: only what is unclassified.
    pub classification_ceiling: Option<Classification>,
    /// Never empty.
    pub precedences: BTreeSet<Precedence>,
    /// Classes of parts that stay with the originator.
    pub withhold: BTreeSet<PartClass>,
    /// Only bulletins marked as exercise flow.
    pub exercise_only: bool,
    /// Only bulletins whose source is at least so reliable: 1 to 6 stand for A to F.
    pub least_reliability: Option<u8>,
    /// Only bulletins whose information is at least so credible, 1 to 6.
    pub least_credibility: Option<u8>,
    /// What becomes of a part that names a withheld one.
    pub references: References,
    /// Nothing that a recipient sees may name another recipient.
    pub confidential_recipients: bool,
    /// What recipients see of who published a bulletin. Where it is `Named`, each of them sees the
    /// partner, by its name in the header or by the identity behind its pseudonym; otherwise none
    /// does.
    pub originator: Shown,
    /// How many bulletins flow from one party to another in a while.
    pub quota: Option<Quota>,
    /// Two persons must let it go before it flows.
    pub hold: Option<Hold>,
    /// What the recipient may do with it.
    pub onward: Onward,
    /// The ids of the ledgers into which recipients may carry it; none: into no other.
    pub federation: BTreeSet<LedgerHash>,
    /// What it may be used for; none: for anything.
    pub purposes: BTreeSet<Purpose>,
    /// The law or treaty under which it is shared, for people; may be empty.
    pub legal_basis: String,
    /// Recipients delete its contents this long after the log took it, and sign that they did.
    pub retention: Option<Duration>,
    /// When the agreement enters into force, its parties are given what the clause covers of what was
    /// accepted since then, and they have not got.
    pub backfill_from: Option<Timestamp>,
    /// Recipients have to take a bulletin, and say so, within this time.
    pub acknowledge_within: Option<Duration>,
}

closed_set! {
    /// What a recipient may use a bulletin for.
    Purpose, "purpose" {
        /// Preventing and disrupting attacks.
        Prevention = "prevention",
        /// Criminal investigation.
        Investigation = "investigation",
        /// Use as evidence in court.
        Prosecution = "prosecution",
        /// Defending networks and systems.
        NetworkDefence = "network-defence",
        /// Protecting people and infrastructure in a crisis.
        CrisisManagement = "crisis-management",
        /// Control of borders and travel.
        BorderSecurity = "border-security",
        /// Protection of humanitarian work.
        Humanitarian = "humanitarian",
        /// Military operations.
        Military = "military",
        /// Exercises and training.
        Training = "training",
        /// Research and statistics.
        Research = "research",
    }
}

/// What becomes of a part that names a withheld part by a guessable id or its display text.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum References {
    /// It is withheld, too.
    #[default]
    Withhold,
    /// The clause does not allow the bulletin.
    Refuse,
}

/// How many bulletins may flow from one party to another under a clause, in periods counted from
/// the agreement's `valid_from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// At least one.
    pub bulletins: u32,
    /// Seconds, at least one minute.
    pub period: Duration,
}

/// That a release waits until two of these persons let it go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hold {
    /// Names of [`Person`]s of the agreement, at least two.
    pub persons: BTreeSet<String>,
    /// After this time nobody can release it any more.
    pub deadline: Duration,
}

/// A person who may release what is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person {
    /// Unique in the agreement.
    pub name: String,
    /// For whom it acts.
    pub partner: PartnerId,
    /// Signs its decisions, and nobody else's.
    pub key: PublicKey,
}

/// That a level of one scheme of classification counts as a level of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Equivalent {
    /// As the bulletin has it.
    pub level: Classification,
    /// As the ceilings of this agreement's clauses have it.
    pub counts_as: Classification,
}

impl Equivalent {
    /// By scheme, other scheme and level: the order in which they are signed.
    pub(super) fn order(&self) -> (String, String, Level, Level) {
        let (one, other) = (&self.level, &self.counts_as);
        (
            one.policy.clone(),
            other.policy.clone(),
            one.level,
            other.level,
        )
    }
}

/// A party, with the hash of version 1 of its key set, compared out of band.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Who.
    pub partner: PartnerId,
    /// The pin: from here its keys are followed, whatever a registry says.
    pub key_set: Digest,
}

/// An agreement's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// For this ledger and no other.
    pub ledger: Digest,
    /// For people; with the version it names the agreement in their talk.
    pub name: Arc<str>,
    /// 1, 2, 3, ...
    pub version: u64,
    /// The version it replaces; `None` for version 1.
    pub previous: Option<Digest>,
    /// One line.
    pub title: String,
    /// Two or more, by partner.
    pub parties: Vec<Party>,
    /// Releases nothing before.
    pub valid_from: Timestamp,
    /// Releases nothing from then on.
    pub valid_until: Timestamp,
    /// Who may release what clauses hold, by name.
    pub persons: Vec<Person>,
    /// How levels of different schemes compare; without an entry they never do. In order.
    pub equivalents: Vec<Equivalent>,
    /// One or more.
    pub clauses: Vec<Clause>,
}

impl Agreement {
    /// Whether a partner is a party.
    pub fn is_party(&self, partner: &PartnerId) -> bool {
        self.parties.iter().any(|party| party.partner == *partner)
    }

    /// Whether a moment is within its validity.
    pub fn is_valid(&self, at: Timestamp) -> bool {
        self.valid_from <= at && at < self.valid_until
    }

    /// The rules that hold between the fields of every agreement.
    pub(super) fn check(&self) -> Result<(), AgreementError> {
        check_name("name", &self.name)?;
        if self.title.len() > MAX_TITLE || self.title.chars().any(char::is_control) {
            return Err(AgreementError::invalid(
                "title",
                "it is too long or not one line",
            ));
        }
        if self.version == 0 || (self.version == 1) != self.previous.is_none() {
            let reason = "version 1 has no previous version, and every later one names it";
            return Err(AgreementError::invalid("version", reason));
        }
        if self.valid_until <= self.valid_from {
            return Err(AgreementError::invalid(
                "valid_until",
                "it is not after valid_from",
            ));
        }
        self.check_parties()?;
        self.check_persons()?;
        self.check_equivalents()?;
        if self.clauses.is_empty() || self.clauses.len() > MAX_CLAUSES {
            let reason = format!("an agreement has 1 to {MAX_CLAUSES} clauses");
            return Err(AgreementError::invalid("clauses", reason));
        }
        for (at, clause) in self.clauses.iter().enumerate() {
            self.check_clause(clause)?;
            if self.clauses[..at].iter().any(|other| other.id == clause.id) {
                let reason = format!("two clauses are called `{}`", clause.id);
                return Err(AgreementError::invalid("clauses", reason));
            }
        }
        Ok(())
    }

    fn check_parties(&self) -> Result<(), AgreementError> {
        if self.parties.len() < 2 || self.parties.len() > MAX_PARTIES {
            let reason = format!("an agreement has 2 to {MAX_PARTIES} parties");
            return Err(AgreementError::invalid("parties", reason));
        }
        for (at, party) in self.parties.iter().enumerate() {
            let before = &self.parties[..at];
            if before.iter().any(|other| other.partner == party.partner) {
                let reason = format!("`{}` is there twice", party.partner);
                return Err(AgreementError::invalid("parties", reason));
            }
            if before.iter().any(|other| other.key_set == party.key_set) {
                let reason = format!("the key set of `{}` is another party's, too", party.partner);
                return Err(AgreementError::invalid("parties", reason));
            }
        }
        Ok(())
    }

    /// Each person has a name, a party and a key of its own.
    fn check_persons(&self) -> Result<(), AgreementError> {
        let wrong = |reason: String| Err(AgreementError::invalid("persons", reason));
        if self.persons.len() > MAX_PARTIES {
            return wrong(format!("there are more than {MAX_PARTIES}"));
        }
        for (at, person) in self.persons.iter().enumerate() {
            let name = &person.name;
            check_name("persons", name)?;
            if !self.is_party(&person.partner) {
                return wrong(format!(
                    "`{name}` acts for `{}`, who is no party",
                    person.partner
                ));
            }
            let before = &self.persons[..at];
            if before.iter().any(|other| other.name >= *name) {
                return wrong(format!("`{name}` is there twice, or out of order"));
            }
            if before.iter().any(|other| other.key == person.key) {
                return wrong(format!("`{name}` has another person's key"));
            }
        }
        Ok(())
    }

    /// One entry for each level and scheme, and a higher level never counts for less.
    fn check_equivalents(&self) -> Result<(), AgreementError> {
        let wrong = |reason: String| Err(AgreementError::invalid("equivalents", reason));
        if self.equivalents.len() > MAX_CLAUSES {
            return wrong(format!("there are more than {MAX_CLAUSES}"));
        }
        if !self.equivalents.is_sorted_by_key(Equivalent::order) {
            return wrong("they are not in order".to_owned());
        }
        for (at, one) in self.equivalents.iter().enumerate() {
            let (level, counts_as) = (&one.level, &one.counts_as);
            for policy in [&level.policy, &counts_as.policy] {
                check_policy("equivalents", policy)?;
            }
            if level.policy == counts_as.policy {
                return wrong(format!("`{level}` and `{counts_as}` are of one scheme"));
            }
            if level.level == Level::Unclassified || counts_as.level == Level::Unclassified {
                return wrong("unclassified is the same in every scheme".to_owned());
            }
            for other in &self.equivalents[..at] {
                let same = other.level.policy == level.policy
                    && other.counts_as.policy == counts_as.policy;
                if same && other.level.level == level.level {
                    return wrong(format!("`{level}` is there twice"));
                }
                // In order, so the other one is the lower level.
                if same && other.counts_as.level > counts_as.level {
                    return wrong(format!("`{level}` counts for less than a lower level"));
                }
            }
        }
        Ok(())
    }

    /// Whether a level is within a ceiling. Unclassified is within every ceiling; a level of another
    /// scheme only where an equivalent says so.
    pub fn within(&self, policy: &str, level: Level, ceiling: Option<&Classification>) -> bool {
        if level == Level::Unclassified {
            return true;
        }
        let Some(ceiling) = ceiling else { return false };
        if ceiling.policy == policy {
            return level <= ceiling.level;
        }
        let mut known = self.equivalents.iter();
        known.any(|one| {
            one.level.policy == policy
                && one.level.level == level
                && one.counts_as.policy == ceiling.policy
                && one.counts_as.level <= ceiling.level
        })
    }

    fn check_clause(&self, clause: &Clause) -> Result<(), AgreementError> {
        check_name("clause.id", &clause.id)?;
        let empty = |field| {
            AgreementError::invalid(field, format!("in clause `{}` it is empty", clause.id))
        };
        for (field, parties) in [("clause.from", &clause.from), ("clause.to", &clause.to)] {
            let Parties::Named(named) = parties else {
                continue;
            };
            if named.is_empty() {
                return Err(empty(field));
            }
            if let Some(stranger) = named.iter().find(|partner| !self.is_party(partner)) {
                let reason = format!(
                    "in clause `{}` it names `{stranger}`, who is no party",
                    clause.id
                );
                return Err(AgreementError::invalid(field, reason));
            }
        }
        if clause.kinds.is_empty() {
            return Err(empty("clause.kinds"));
        }
        if clause.precedences.is_empty() {
            return Err(empty("clause.precedences"));
        }
        if matches!(&clause.topics, Topics::Under(topics) if topics.is_empty()) {
            return Err(empty("clause.topics"));
        }
        if matches!(&clause.regions, Regions::Within(regions) if regions.is_empty()) {
            return Err(empty("clause.regions"));
        }
        if let Some(hold) = &clause.hold {
            let known = |name: &String| self.persons.iter().any(|person| person.name == *name);
            let reason = match hold.persons.iter().find(|name| !known(name)) {
                Some(name) => format!("in clause `{}` `{name}` is no person of it", clause.id),
                None if hold.persons.len() < 2 => {
                    format!("in clause `{}` two persons must be named", clause.id)
                }
                None => String::new(),
            };
            if !reason.is_empty() {
                return Err(AgreementError::invalid("clause.hold", reason));
            }
        }
        if clause.withhold.contains(&PartClass::Identity) {
            let reason = format!(
                "in clause `{}` identity is withheld by originator = \"alias\" or \"framework\"",
                clause.id
            );
            return Err(AgreementError::invalid("clause.withhold", reason));
        }
        if clause.federation.len() > MAX_FEDERATION || clause.federation.contains(&self.ledger) {
            let reason = format!(
                "in clause `{}` it names more than {MAX_FEDERATION} ledgers, or the agreement's own",
                clause.id
            );
            return Err(AgreementError::invalid("clause.federation", reason));
        }
        if let Some(ceiling) = &clause.classification_ceiling {
            check_policy("clause.classification_ceiling", &ceiling.policy)?;
        }
        check_limits(clause)
    }
}

/// The values of a clause's numbers and texts.
fn check_limits(clause: &Clause) -> Result<(), AgreementError> {
    let wrong = |field, reason: &str| {
        let reason = format!("in clause `{}` {reason}", clause.id);
        Err(AgreementError::invalid(field, reason))
    };
    for (field, grade) in [
        ("clause.least_reliability", clause.least_reliability),
        ("clause.least_credibility", clause.least_credibility),
    ] {
        if grade.is_some_and(|grade| !(1..=6).contains(&grade)) {
            return wrong(field, "it is not one of the six grades");
        }
    }
    if let Some(quota) = clause.quota {
        let whole = quota.period.subsec_nanos() == 0;
        let period = (MIN_PERIOD..=MAX_PERIOD).contains(&quota.period);
        if quota.bulletins == 0 || !whole || !period {
            return wrong(
                "clause.quota",
                "it allows none, or its period is not one minute to ten years",
            );
        }
    }
    let usable = |span: Duration| span.subsec_nanos() == 0 && !span.is_zero() && span <= MAX_PERIOD;
    if clause.acknowledge_within.is_some_and(|span| !usable(span)) {
        return wrong(
            "clause.acknowledge_within",
            "it is not one second to ten years",
        );
    }
    if clause.retention.is_some_and(|span| !usable(span)) {
        return wrong("clause.retention", "it is not one second to ten years");
    }
    if clause
        .hold
        .as_ref()
        .is_some_and(|hold| !usable(hold.deadline))
    {
        return wrong("clause.hold", "its deadline is not one second to ten years");
    }
    if clause.backfill_from.is_some() && (clause.hold.is_some() || clause.quota.is_some()) {
        return wrong(
            "clause.backfill_from",
            "what came before can neither be held nor counted",
        );
    }
    if clause.backfill_from.is_some() && clause.acknowledge_within.is_some() {
        return wrong(
            "clause.backfill_from",
            "what came before cannot be taken in time",
        );
    }
    if clause.legal_basis.len() > MAX_TITLE || clause.legal_basis.chars().any(char::is_control) {
        return wrong("clause.legal_basis", "it is too long or not one line");
    }
    Ok(())
}

fn check_policy(field: &'static str, policy: &str) -> Result<(), AgreementError> {
    if policy.is_empty() || policy.len() > MAX_NAME {
        let reason = "a scheme of classification has no usable name";
        return Err(AgreementError::invalid(field, reason));
    }
    Ok(())
}

fn check_name(field: &'static str, name: &str) -> Result<(), AgreementError> {
    if is_agreement_name(name) {
        return Ok(());
    }
    let reason = format!("`{}` is not 1 to 63 of a-z 0-9 -", name.escape_debug());
    Err(AgreementError::invalid(field, reason))
}

impl fmt::Display for Parties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every party"),
            Self::Named(named) => list(f, named),
        }
    }
}

/// One sentence: who gives what to whom, how far, and without what.
impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: ", self.from, self.to)?;
        list(f, &self.kinds)?;
        match &self.topics {
            Topics::All => f.write_str(", any topic")?,
            Topics::Under(topics) => {
                f.write_str(", about ")?;
                list(f, topics)?;
            }
        }
        if let Regions::Within(regions) = &self.regions {
            f.write_str(", in ")?;
            list(f, regions)?;
        }
        write!(f, ", up to {}", self.tlp_ceiling)?;
        if let Some(ceiling) = &self.classification_ceiling {
            write!(f, " and {ceiling}")?;
        }
        if self.precedences.len() < Precedence::ALL.len() {
            f.write_str(", at ")?;
            list(f, &self.precedences)?;
        }
        if !self.withhold.is_empty() {
            f.write_str(", without ")?;
            list(f, &self.withhold)?;
        }
        if self.exercise_only {
            f.write_str(", exercises only")?;
        }
        if let Some(grade) = self.least_reliability {
            write!(f, ", source at least {}", reliability_letter(grade))?;
        }
        if let Some(grade) = self.least_credibility {
            write!(f, ", credibility at least {grade}")?;
        }
        if self.references == References::Refuse {
            f.write_str(", nothing that names a withheld part")?;
        }
        if self.confidential_recipients {
            f.write_str(", recipients confidential")?;
        }
        match self.originator {
            Shown::Named => {}
            Shown::Alias => f.write_str(", originator by an alias")?,
            Shown::Framework => f.write_str(", originator not disclosed")?,
        }
        if let Some(quota) = self.quota {
            write!(f, ", at most {} in {}", quota.bulletins, Span(quota.period))?;
        }
        if let Some(hold) = &self.hold {
            f.write_str(", held until two of ")?;
            list(f, &hold.persons)?;
            write!(f, " let it go within {}", Span(hold.deadline))?;
        }
        write!(f, "; onward {}", self.onward)?;
        if !self.federation.is_empty() {
            f.write_str("; may be carried into ledger ")?;
            list(f, &self.federation)?;
        }
        if !self.purposes.is_empty() {
            f.write_str("; for ")?;
            list(f, &self.purposes)?;
        }
        if !self.legal_basis.is_empty() {
            write!(f, "; under {}", self.legal_basis)?;
        }
        if let Some(retention) = self.retention {
            write!(f, "; to be deleted after {}", Span(retention))?;
        }
        if let Some(within) = self.acknowledge_within {
            write!(f, "; to be taken within {}", Span(within))?;
        }
        if let Some(from) = self.backfill_from {
            write!(f, "; with what came since {from}")?;
        }
        Ok(())
    }
}

/// Grade 1 to 6 of a source as its letter, A to F.
pub(super) fn reliability_letter(grade: u8) -> char {
    char::from(b'A' - 1 + grade.clamp(1, 6))
}

/// A span of time in the largest unit that tells it exactly.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds % 86_400, seconds % 3_600, seconds % 60) {
            (0, ..) => write!(f, "{} d", seconds / 86_400),
            (_, 0, _) => write!(f, "{} h", seconds / 3_600),
            (.., 0) => write!(f, "{} min", seconds / 60),
            _ => write!(f, "{seconds} s"),
        }
    }
}

fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}
