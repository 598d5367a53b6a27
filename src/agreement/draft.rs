//! An agreement as operators write it: TOML, with errors that name the line and the remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::Spanned;

use super::terms::{
    Agreement, Clause, Equivalent, Hold, Onward, Parties, Party, Person, Purpose, Quota,
    References, Regions, Topics,
};
use crate::bulletin::{Classification, Kind, Level, PartClass, Precedence, Shown, Tlp};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::Digest;

/// A mistake in a draft.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {message}")]
pub struct DraftError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The file. Every key is documented in the README.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementDraft {
    /// The agreement's name.
    pub name: Spanned<String>,
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// 1, 2, 3, ...
    pub version: u64,
    /// The id of the version it replaces; absent in version 1.
    #[serde(default)]
    pub previous: Option<Spanned<String>>,
    /// The ledger's id.
    pub ledger: Spanned<String>,
    /// Releases nothing before.
    pub valid_from: Spanned<String>,
    /// Releases nothing from then on.
    pub valid_until: Spanned<String>,
    /// Each party's id with the hash of its key set, as `entente pki show` prints it.
    pub parties: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Persons who may release what is held, by name.
    #[serde(default)]
    pub persons: BTreeMap<String, PersonDraft>,
    /// For each scheme of classification, what its levels count for in others.
    #[serde(default)]
    pub equivalents: BTreeMap<String, BTreeMap<String, BTreeMap<Level, Level>>>,
    /// The clauses.
    pub clause: Vec<ClauseDraft>,
}

/// A `[[clause]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClauseDraft {
    id: Spanned<String>,
    from: Spanned<Vec<Spanned<String>>>,
    to: Spanned<Vec<Spanned<String>>>,
    kinds: Spanned<Vec<Spanned<String>>>,
    topics: Spanned<Vec<Spanned<String>>>,
    regions: Spanned<Vec<Spanned<String>>>,
    tlp: Spanned<String>,
    #[serde(default)]
    classification: Option<Classification>,
    #[serde(default)]
    precedences: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    withhold: Vec<Spanned<String>>,
    #[serde(default)]
    exercise_only: bool,
    #[serde(default)]
    least_reliability: Option<Spanned<char>>,
    #[serde(default)]
    least_credibility: Option<u8>,
    #[serde(default)]
    references: References,
    #[serde(default)]
    confidential_recipients: bool,
    #[serde(default)]
    originator: Option<Spanned<String>>,
    #[serde(default)]
    quota: Option<QuotaDraft>,
    #[serde(default)]
    hold: Option<HoldDraft>,
    #[serde(default)]
    onward: Option<Onward>,
    #[serde(default)]
    federation: Vec<Spanned<String>>,
    #[serde(default)]
    purposes: Vec<Spanned<String>>,
    #[serde(default)]
    legal_basis: String,
    #[serde(default)]
    retention_seconds: Option<u32>,
    #[serde(default)]
    backfill_from: Option<Spanned<String>>,
    #[serde(default)]
    acknowledge_within_seconds: Option<u32>,
}

/// `[persons.anna]` with `partner` and `key`, the public key in hexadecimal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonDraft {
    partner: Spanned<String>,
    key: Spanned<String>,
}

/// `hold = { persons = ["anna", "bo"], seconds = 3600 }`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldDraft {
    persons: BTreeSet<String>,
    seconds: u64,
}

/// `quota = { bulletins = 100, hours = 24 }`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaDraft {
    bulletins: u32,
    hours: u32,
}

/// Reads a draft and checks every term.
pub fn parse_draft(text: &str) -> Result<Agreement, DraftError> {
    let draft: AgreementDraft = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        locate(text, at, error.message().to_owned())
    })?;
    draft.compile(text)
}

fn locate(text: &str, at: usize, message: String) -> DraftError {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |rest| rest.chars().count())
        + 1;
    DraftError {
        line,
        column,
        message,
    }
}

impl AgreementDraft {
    fn compile(&self, text: &str) -> Result<Agreement, DraftError> {
        let reader = Reader { text };
        let mut parties = Vec::new();
        for (partner, key_set) in &self.parties {
            parties.push(Party {
                partner: reader.parse(partner)?,
                key_set: reader.parse(key_set)?,
            });
        }
        parties.sort_by(|one, other| one.partner.cmp(&other.partner));
        let clauses = self
            .clause
            .iter()
            .map(|clause| reader.clause(clause))
            .collect::<Result<_, _>>()?;
        let agreement = Agreement {
            ledger: reader.parse(&self.ledger)?,
            name: Arc::from(self.name.get_ref().as_str()),
            version: self.version,
            previous: self
                .previous
                .as_ref()
                .map(|previous| reader.parse::<Digest>(previous))
                .transpose()?,
            title: self.title.clone(),
            parties,
            valid_from: reader.parse::<Timestamp>(&self.valid_from)?,
            valid_until: reader.parse::<Timestamp>(&self.valid_until)?,
            persons: self.persons(&reader)?,
            equivalents: self.equivalents(),
            clauses,
        };
        agreement
            .check()
            .map_err(|error| locate(text, self.name.span().start, error.to_string()))?;
        Ok(agreement)
    }

    fn persons(&self, reader: &Reader<'_>) -> Result<Vec<Person>, DraftError> {
        let read = |(name, person): (&String, &PersonDraft)| {
            Ok(Person {
                name: name.clone(),
                partner: reader.parse(&person.partner)?,
                key: reader.parse(&person.key)?,
            })
        };
        self.persons.iter().map(read).collect()
    }

    fn equivalents(&self) -> Vec<Equivalent> {
        let mut all = Vec::new();
        for (policy, others) in &self.equivalents {
            for (other, levels) in others {
                all.extend(levels.iter().map(|(level, counts_as)| Equivalent {
                    level: Classification {
                        policy: policy.clone(),
                        level: *level,
                    },
                    counts_as: Classification {
                        policy: other.clone(),
                        level: *counts_as,
                    },
                }));
            }
        }
        all.sort_by_key(Equivalent::order);
        all
    }
}

/// Turns what was written into terms, and knows where it was written.
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn parse<T: FromStr<Err: ToString>>(&self, value: &Spanned<String>) -> Result<T, DraftError> {
        value
            .get_ref()
            .parse()
            .map_err(|error: T::Err| locate(self.text, value.span().start, error.to_string()))
    }

    /// A list in which `*` alone stands for all. Empty is an error: it would allow nothing.
    fn list<T: FromStr<Err: ToString> + Ord>(
        &self,
        values: &Spanned<Vec<Spanned<String>>>,
    ) -> Result<Option<BTreeSet<T>>, DraftError> {
        let at = values.span().start;
        let values = values.get_ref();
        if values.is_empty() {
            let message = "an empty list allows nothing; write [\"*\"] for all".to_owned();
            return Err(locate(self.text, at, message));
        }
        if values.iter().any(|value| value.get_ref() == "*") {
            if values.len() > 1 {
                let message = "\"*\" stands for all; nothing can stand beside it".to_owned();
                return Err(locate(self.text, at, message));
            }
            return Ok(None);
        }
        values
            .iter()
            .map(|value| self.parse(value))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn all_of<T: FromStr<Err: ToString> + Ord + Copy>(
        &self,
        values: &Spanned<Vec<Spanned<String>>>,
        all: &[T],
    ) -> Result<BTreeSet<T>, DraftError> {
        Ok(self
            .list(values)?
            .unwrap_or_else(|| all.iter().copied().collect()))
    }

    fn clause(&self, draft: &ClauseDraft) -> Result<Clause, DraftError> {
        let parties =
            |named: Option<BTreeSet<PartnerId>>| named.map_or(Parties::All, Parties::Named);
        let withhold = draft
            .withhold
            .iter()
            .map(|class| self.parse::<PartClass>(class));
        let precedences = draft.precedences.as_ref().map_or_else(
            || Ok(Precedence::ALL.iter().copied().collect()),
            |values| self.all_of(values, Precedence::ALL),
        )?;
        Ok(Clause {
            id: Arc::from(draft.id.get_ref().as_str()),
            from: parties(self.list(&draft.from)?),
            to: parties(self.list(&draft.to)?),
            kinds: self.all_of(&draft.kinds, Kind::ALL)?,
            topics: self.list(&draft.topics)?.map_or(Topics::All, Topics::Under),
            regions: self
                .list(&draft.regions)?
                .map_or(Regions::All, Regions::Within),
            tlp_ceiling: self.parse::<Tlp>(&draft.tlp)?,
            classification_ceiling: draft.classification.clone(),
            precedences,
            withhold: withhold.collect::<Result<_, _>>()?,
            exercise_only: draft.exercise_only,
            least_reliability: draft
                .least_reliability
                .as_ref()
                .map(|letter| self.reliability(letter))
                .transpose()?,
            least_credibility: draft.least_credibility,
            references: draft.references,
            confidential_recipients: draft.confidential_recipients,
            originator: draft
                .originator
                .as_ref()
                .map_or(Ok(Shown::Named), |shown| self.parse(shown))?,
            quota: draft.quota.map(|quota| Quota {
                bulletins: quota.bulletins,
                period: Duration::from_secs(u64::from(quota.hours) * 3_600),
            }),
            hold: draft.hold.as_ref().map(|hold| Hold {
                persons: hold.persons.clone(),
                deadline: Duration::from_secs(hold.seconds),
            }),
            onward: draft.onward.unwrap_or(Onward::None),
            federation: draft
                .federation
                .iter()
                .map(|ledger| self.parse::<Digest>(ledger))
                .collect::<Result<_, _>>()?,
            purposes: draft
                .purposes
                .iter()
                .map(|purpose| self.parse::<Purpose>(purpose))
                .collect::<Result<_, _>>()?,
            legal_basis: draft.legal_basis.clone(),
            backfill_from: draft
                .backfill_from
                .as_ref()
                .map(|time| self.parse::<Timestamp>(time))
                .transpose()?,
            retention: draft
                .retention_seconds
                .map(|seconds| Duration::from_secs(seconds.into())),
            acknowledge_within: draft
                .acknowledge_within_seconds
                .map(|seconds| Duration::from_secs(seconds.into())),
        })
    }

    fn reliability(&self, letter: &Spanned<char>) -> Result<u8, DraftError> {
        if let grade @ 'A'..='F' = letter.get_ref() {
            return Ok(*grade as u8 - b'A' + 1);
        }
        let message = "the least reliability is a letter from A to F".to_owned();
        Err(locate(self.text, letter.span().start, message))
    }
}
