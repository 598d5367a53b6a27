//! Which checkpoints are believed: known logs, known witnesses, and how many of these must have
//! cosigned (C2SP tlog-policy, editor's copy of 2026-07).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::checkpoint::{Checkpoint, MalformedCheckpoint};
use super::note::{InvalidNote, Note};
use super::vkey::NoteKey;

/// Logs, witnesses and groups that a policy may name, each.
const MAX_EACH: usize = 64;
/// The largest policy that is read: keys of ML-DSA-44 are large.
const MAX_BYTES: usize = 1024 * 1024;
/// The quorum that needs nobody.
const NONE: &str = "none";

/// A policy that cannot be used: the line, from 1, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct InvalidPolicy {
    /// Which line; 0 for the whole.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// A log or a witness: its key, and where it is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its key.
    pub key: NoteKey,
    /// Where, if that is known.
    pub url: Option<String>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Known>,
    witnesses: Vec<(String, Known)>,
    /// In the order of the file: members stand before.
    groups: Vec<Group>,
    quorum: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<String>,
}

/// A checkpoint that a policy believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// It.
    pub checkpoint: Checkpoint,
    /// Who cosigned it of those that the policy knows, by name, each with its time in seconds since
    /// 1970.
    pub cosigners: Vec<(String, u64)>,
}

/// A checkpoint that a policy does not believe.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unwitnessed {
    /// The note.
    #[error(transparent)]
    Note(#[from] InvalidNote),
    /// Its text.
    #[error(transparent)]
    Malformed(#[from] MalformedCheckpoint),
    /// None of the logs.
    #[error("no log that the policy names signed it as its own")]
    UnknownLog,
    /// Too few.
    #[error(
        "the quorum `{quorum}` is missing: {}",
        if cosigners.is_empty() {
            "no known witness cosigned it".to_owned()
        } else {
            format!("only {} cosigned it", cosigners.join(", "))
        }
    )]
    Quorum {
        /// Which.
        quorum: String,
        /// Who cosigned it.
        cosigners: Vec<String>,
    },
}

impl Policy {
    /// Believes what a log signs, without witnesses.
    pub fn of_log(log: NoteKey) -> Self {
        Self::of_logs([log])
    }

    /// Believes what any of these logs signs, without witnesses.
    pub fn of_logs(logs: impl IntoIterator<Item = NoteKey>) -> Self {
        Self {
            logs: logs
                .into_iter()
                .map(|key| Known { key, url: None })
                .collect(),
            witnesses: Vec::new(),
            groups: Vec::new(),
            quorum: None,
        }
    }

    /// The same policy for this log only.
    #[must_use]
    pub fn for_log(&self, log: &NoteKey) -> Self {
        let logs = self.logs.iter().filter(|known| known.key == *log);
        let mut logs: Vec<Known> = logs.cloned().collect();
        if logs.is_empty() {
            logs.push(Known {
                key: log.clone(),
                url: None,
            });
        }
        Self {
            logs,
            ..self.clone()
        }
    }

    /// The same policy, which no cosignature but this one's makes up for: a partner's own witness, or
    /// a log's second key.
    #[must_use]
    pub fn and_mandatory(&self, key: &NoteKey) -> Self {
        let mut policy = self.clone();
        let same = |(_, known): &&(String, Known)| known.key == *key;
        // A name with a space is none that a file can define.
        let name = if let Some((name, _)) = policy.witnesses.iter().find(same) {
            name.clone()
        } else {
            let name = format!("mandatory {}", policy.witnesses.len());
            let known = Known {
                key: key.clone(),
                url: None,
            };
            policy.witnesses.push((name.clone(), known));
            name
        };
        let group = format!("all {}", policy.groups.len());
        let members = policy.quorum.take().into_iter().chain([name]);
        let members: BTreeSet<String> = members.collect();
        policy.groups.push(Group {
            name: group.clone(),
            threshold: members.len(),
            members: members.into_iter().collect(),
        });
        policy.quorum = Some(group);
        policy
    }

    /// The logs.
    pub fn logs(&self) -> &[Known] {
        &self.logs
    }

    /// The witnesses, by name.
    pub fn witnesses(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.witnesses
            .iter()
            .map(|(name, known)| (name.as_str(), known))
    }

    /// Whether cosignatures are asked for at all.
    pub fn has_quorum(&self) -> bool {
        self.quorum.is_some()
    }

    /// Believes a note, or says why not.
    pub fn check(&self, note: &str) -> Result<Witnessed, Unwitnessed> {
        let note: Note = note.parse()?;
        let checkpoint = Checkpoint::parse(note.text())?;
        let logs = self.logs.iter().map(|known| &known.key);
        let logs: Vec<&NoteKey> = logs.filter(|key| key.name() == checkpoint.origin).collect();
        if logs.is_empty() {
            return Err(Unwitnessed::UnknownLog);
        }
        note.verify(&logs).map_err(|error| match error {
            InvalidNote::Unverified => Unwitnessed::UnknownLog,
            other => other.into(),
        })?;
        let keys: Vec<&NoteKey> = self.witnesses.iter().map(|(_, one)| &one.key).collect();
        let signed = match note.signed_by(&keys) {
            Ok(signed) => signed,
            Err(InvalidNote::Unverified) => Vec::new(),
            Err(other) => return Err(other.into()),
        };
        let time = |key: &NoteKey| {
            let found = signed.iter().find(|one| one.key == key);
            found.map(|one| one.time.unwrap_or_default())
        };
        let cosigners = self.witnesses.iter().filter_map(|(name, known)| {
            let time = time(&known.key)?;
            Some((name.clone(), time))
        });
        let cosigners: Vec<(String, u64)> = cosigners.collect();
        let names = cosigners.iter().map(|(name, _)| name.clone()).collect();
        if let Some(quorum) = self.quorum.as_ref()
            && !self.is_met_by(&names)
        {
            let (quorum, cosigners) = (quorum.clone(), names.into_iter().collect());
            return Err(Unwitnessed::Quorum { quorum, cosigners });
        }
        Ok(Witnessed {
            checkpoint,
            cosigners,
        })
    }

    /// Whether these witnesses, by name, are enough.
    pub fn is_met_by(&self, names: &BTreeSet<String>) -> bool {
        let Some(quorum) = &self.quorum else {
            return true;
        };
        let mut met: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        for group in &self.groups {
            let members = group.members.iter();
            let found = members.filter(|one| met.contains(one.as_str())).count();
            if found >= group.threshold {
                met.insert(&group.name);
            }
        }
        met.contains(quorum.as_str())
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = |known: &Known| {
            let url = known.url.as_ref();
            url.map_or_else(String::new, |url| format!(" {url}"))
        };
        for known in &self.logs {
            writeln!(f, "log {}{}", known.key, url(known))?;
        }
        for (name, known) in &self.witnesses {
            writeln!(f, "witness {name} {}{}", known.key, url(known))?;
        }
        for group in &self.groups {
            let members = group.members.join(" ");
            writeln!(f, "group {} {} {members}", group.name, group.threshold)?;
        }
        writeln!(f, "quorum {}", self.quorum.as_deref().unwrap_or(NONE))
    }
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    /// Reads the text of a policy. Names that are no UTF-8 are not read.
    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        let whole = |why: &str| InvalidPolicy {
            line: 0,
            why: why.to_owned(),
        };
        if text.len() > MAX_BYTES {
            return Err(whole("the policy is too large"));
        }
        let mut reader = Reader::default();
        for (at, line) in text.split('\n').enumerate() {
            reader
                .line(line)
                .map_err(|why| InvalidPolicy { line: at + 1, why })?;
        }
        let quorum = reader.quorum.ok_or_else(|| {
            whole("the policy has no quorum; write `quorum none` where witnesses do not count")
        })?;
        Ok(Self {
            logs: reader.logs,
            witnesses: reader.witnesses,
            groups: reader.groups,
            quorum: match quorum {
                Quorum::Nobody => None,
                Quorum::Of(name) => Some(name),
            },
        })
    }
}

/// What a `quorum` line says.
enum Quorum {
    Nobody,
    Of(String),
}

#[derive(Default)]
struct Reader {
    logs: Vec<Known>,
    witnesses: Vec<(String, Known)>,
    groups: Vec<Group>,
    /// Each defined name, and whether it is a member of a group already.
    names: BTreeMap<String, bool>,
    quorum: Option<Quorum>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err("it has control characters".into());
        }
        let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", vkey] => self.log(vkey, None),
            ["log", vkey, url] => self.log(vkey, Some(url)),
            ["witness", name, vkey] => self.witness(name, vkey, None),
            ["witness", name, vkey, url] => self.witness(name, vkey, Some(url)),
            ["group", name, threshold, members @ ..] => self.group(name, threshold, members),
            ["quorum", name] => self.quorum(name),
            [word, ..] => Err(format!(
                "`{word}` begins no line that is known, or has too few or too many words after it"
            )),
        }
    }

    fn log(&mut self, vkey: &str, url: Option<&str>) -> Result<(), String> {
        let key = read_key(vkey)?;
        if key.is_cosigner() {
            return Err("a log's key is of type Ed25519 (0x01)".into());
        }
        let same = |known: &Known| known.key.key_bytes() == key.key_bytes();
        if self.logs.iter().any(same) {
            return Err("a log with this key stands above".into());
        }
        self.logs.push(Known {
            key,
            url: url.map(str::to_owned),
        });
        few(self.logs.len())
    }

    fn witness(&mut self, name: &str, vkey: &str, url: Option<&str>) -> Result<(), String> {
        let key = read_key(vkey)?;
        if !key.is_cosigner() {
            return Err("a witness's key is a cosigner's (type 0x04 or 0x06)".into());
        }
        let same = |(_, known): &(String, Known)| known.key.key_bytes() == key.key_bytes();
        if self.witnesses.iter().any(same) {
            return Err("a witness with this key stands above".into());
        }
        self.define(name)?;
        let known = Known {
            key,
            url: url.map(str::to_owned),
        };
        self.witnesses.push((name.to_owned(), known));
        few(self.witnesses.len())
    }

    fn group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Result<(), String> {
        if members.is_empty() {
            return Err(format!("the group `{name}` has no members"));
        }
        for member in members {
            match self.names.get_mut(*member) {
                None => return Err(format!("no line above defines `{member}`")),
                Some(used) if *used => {
                    return Err(format!("`{member}` is a member of a group already"));
                }
                Some(used) => *used = true,
            }
        }
        let threshold = match threshold {
            "all" => members.len(),
            "any" => 1,
            number => {
                let plain = number.bytes().all(|b| b.is_ascii_digit());
                let number = plain.then(|| number.parse().ok()).flatten();
                number
                    .filter(|k| (1..=members.len()).contains(k))
                    .ok_or_else(|| {
                        format!("a group of {} needs all, any or 1 to {0}", members.len())
                    })?
            }
        };
        self.define(name)?;
        self.groups.push(Group {
            name: name.to_owned(),
            threshold,
            members: members.iter().map(ToString::to_string).collect(),
        });
        few(self.groups.len())
    }

    fn quorum(&mut self, name: &str) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("a policy has one quorum".into());
        }
        if name != NONE && !self.names.contains_key(name) {
            return Err(format!("no line above defines `{name}`"));
        }
        self.quorum = Some(if name == NONE {
            Quorum::Nobody
        } else {
            Quorum::Of(name.to_owned())
        });
        Ok(())
    }

    fn define(&mut self, name: &str) -> Result<(), String> {
        if name == NONE || self.names.insert(name.to_owned(), false).is_some() {
            return Err(format!("the name `{name}` is taken"));
        }
        Ok(())
    }
}

fn read_key(vkey: &str) -> Result<NoteKey, String> {
    vkey.parse()
        .map_err(|error: super::vkey::InvalidVkey| error.to_string())
}

fn few(count: usize) -> Result<(), String> {
    if count > MAX_EACH {
        return Err(format!("a policy has at most {MAX_EACH} of these"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proof::{Cosigner, Digest, SecretKey, Signer};

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32]).unwrap()
    }

    fn log() -> NoteKey {
        NoteKey::new("log.example", key(1).public_key()).unwrap()
    }

    fn cosigner(seed: u8) -> Cosigner {
        Cosigner::new(&format!("w{seed}.example"), Arc::new(key(seed)))
    }

    fn vkey(seed: u8) -> NoteKey {
        cosigner(seed).keys().unwrap().remove(0)
    }

    fn note(by: &[u8]) -> String {
        let checkpoint = Checkpoint {
            origin: "log.example".into(),
            size: 3,
            root: Digest::of(b"root"),
        };
        let signed = checkpoint.sign(&key(1)).unwrap();
        by.iter().fold(signed, |note, seed| {
            cosigner(*seed).cosign_note(&note, 1_700_000_000).unwrap()
        })
    }

    fn policy(quorum: &str) -> Policy {
        let witnesses = [11, 12, 13, 21, 22].map(|seed| format!("witness W{seed} {}", vkey(seed)));
        format!(
            "# two groups\nlog {}\n{}\n\tgroup X 2 W11 W12  W13\ngroup Y any W21 W22\n\n{quorum}",
            log(),
            witnesses.join("\n")
        )
        .parse()
        .unwrap()
    }

    #[test]
    fn a_quorum_is_what_the_policy_says() {
        let both = policy("group both all X Y\nquorum both\n");
        assert_eq!(both.to_string().parse::<Policy>(), Ok(both.clone()));
        let names = |witnessed: Witnessed| -> Vec<String> {
            witnessed
                .cosigners
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        assert_eq!(
            both.check(&note(&[13, 22, 11])).map(names),
            Ok(vec!["W11".into(), "W13".into(), "W22".into()])
        );
        for too_few in [&[][..], &[11], &[11, 12], &[21, 22], &[11, 21, 99]] {
            let error = both.check(&note(too_few)).unwrap_err();
            assert!(matches!(error, Unwitnessed::Quorum { .. }), "{error}");
        }
        assert!(policy("quorum none").check(&note(&[])).is_ok());
        assert!(policy("quorum Y").check(&note(&[21])).is_ok());
        assert!(policy("quorum W12").check(&note(&[11])).is_err());
    }

    #[test]
    fn the_same_witness_twice_counts_once() {
        let policy = policy("quorum X");
        let once = note(&[11]);
        let again = cosigner(11).cosign_note(&once, 1_700_000_009).unwrap();
        assert!(policy.check(&again).is_err());
    }

    #[test]
    fn a_bad_cosignature_of_a_known_witness_rejects_the_note() {
        let policy = policy("quorum none");
        let other = Checkpoint {
            origin: "log.example".into(),
            size: 4,
            root: Digest::of(b"root"),
        };
        let other = other.sign(&key(1)).unwrap();
        let other = cosigner(11).cosign_note(&other, 1_700_000_000).unwrap();
        let bad = format!("{}{}\n", note(&[]), other.lines().last().unwrap());
        assert!(policy.check(&bad).is_err());
    }

    #[test]
    fn another_logs_checkpoint_is_not_believed() {
        let other = Checkpoint {
            origin: "other.example".into(),
            size: 3,
            root: Digest::of(b"root"),
        };
        let policy = policy("quorum none");
        let signed = other.sign(&key(1)).unwrap();
        assert_eq!(policy.check(&signed), Err(Unwitnessed::UnknownLog));
        let own = Checkpoint {
            origin: "log.example".into(),
            ..other
        };
        let by_other = own.sign(&key(2)).unwrap();
        assert_eq!(policy.check(&by_other), Err(Unwitnessed::UnknownLog));
    }

    #[test]
    fn what_is_mandatory_nothing_makes_up_for() {
        let policy = policy("quorum Y");
        let own = policy.and_mandatory(&vkey(30)).and_mandatory(&vkey(11));
        assert!(own.check(&note(&[21, 30, 11])).is_ok());
        for missing in [&[21, 30][..], &[21, 11], &[30, 11]] {
            assert!(own.check(&note(missing)).is_err(), "{missing:?}");
        }
        let alone = Policy::of_log(log()).and_mandatory(&vkey(30));
        assert!(alone.check(&note(&[30])).is_ok());
        assert!(alone.check(&note(&[])).is_err());
    }

    #[test]
    fn a_policy_with_a_mistake_is_refused_with_its_line() {
        let (w1, w2) = (vkey(11), vkey(12));
        let renamed = NoteKey::cosigner("x.example", key(11).public_key()).unwrap();
        let cases = [
            (0, String::new()),
            (0, "# nothing\n".into()),
            (1, "quorum W1\n".into()),
            (2, "quorum none\nquorum none\n".into()),
            (1, "quorum none none\n".into()),
            (1, "quorum\n".into()),
            (1, "Quorum none\n".into()),
            (1, "quorum none\r\n".into()),
            (2, format!("witness A {w1}\nwitness A {w2}\nquorum none")),
            (2, format!("witness A {w1}\nwitness B {w1}\nquorum none")),
            (
                2,
                format!("witness A {w1}\nwitness B {renamed}\nquorum none"),
            ),
            (1, format!("witness none {w1}\nquorum none")),
            (1, format!("log {w1}\nquorum none")),
            (1, format!("witness A {}\nquorum none", log())),
            (2, format!("log {0}\nlog {0}\nquorum none", log())),
            (1, "group G any\nquorum none".into()),
            (1, "group G any A\nquorum none".into()),
            (2, format!("witness A {w1}\ngroup G 0 A\nquorum none")),
            (2, format!("witness A {w1}\ngroup G 2 A\nquorum none")),
            (2, format!("witness A {w1}\ngroup G +1 A\nquorum none")),
            (2, format!("witness A {w1}\ngroup A any A\nquorum none")),
            (2, format!("witness A {w1}\ngroup G any A A\nquorum none")),
            (
                3,
                format!("witness A {w1}\ngroup G any A\ngroup H any A\nquorum H"),
            ),
            (1, "witness A nokey\nquorum none".into()),
        ];
        for (line, text) in cases {
            let error = text.parse::<Policy>().unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
        }
    }
}
