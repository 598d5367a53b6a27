//! Random agreements and bulletins as plain words, and what the real reader makes of them.

#![allow(
    dead_code,
    clippy::format_push_string,
    clippy::type_complexity,
    reason = "each test uses its share; a text is put together"
)]

use std::time::SystemTime;

use entente::bulletin::{
    Admiralty, Classification, Disguise, Labels, Marking, PartClass, PartLabels,
};

pub(crate) const PARTNERS: [&str; 4] = [
    "norland.example",
    "estmark.example",
    "sudland.example",
    "ostland.example",
];
pub(crate) const KINDS: [&str; 2] = ["counterterrorism", "cyber"];
pub(crate) const TOPICS: [&str; 6] = [
    "cyber",
    "cyber/malware",
    "cyber/malware/wiper",
    "cyber/phishing",
    "counterterrorism",
    "counterterrorism/attack/vehicle",
];
pub(crate) const REGIONS: [&str; 5] = ["NO", "NO-03", "SE", "EE", "EE-37"];
pub(crate) const TLPS: [&str; 5] = [
    "TLP:CLEAR",
    "TLP:GREEN",
    "TLP:AMBER",
    "TLP:AMBER+STRICT",
    "TLP:RED",
];
pub(crate) const LEVELS: [&str; 5] = [
    "UNCLASSIFIED",
    "RESTRICTED",
    "CONFIDENTIAL",
    "SECRET",
    "TOP SECRET",
];
pub(crate) const POLICIES: [&str; 2] = ["NATO", "NORLAND"];
pub(crate) const PRECEDENCES: [&str; 4] = ["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"];
pub(crate) const CLASSES: [&str; 6] = [
    "network",
    "narrative",
    "source",
    "person",
    "warning",
    "audience",
];
/// What recipients see of the originator, from the least.
pub(crate) const SHOWN: [&str; 3] = ["framework", "alias", "named"];
pub(crate) const ONWARD: [&str; 3] = ["none", "originator-consent", "within-agreement"];
/// The moment of the decisions, and those around it.
pub(crate) const NOW: &str = "2026-06-01T00:00:00Z";
pub(crate) const PAST: [&str; 2] = ["2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"];
pub(crate) const FUTURE: [&str; 2] = ["2026-06-01T00:00:01Z", "2027-01-01T00:00:00Z"];

/// `SplitMix64`, so that a seed means the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("small")
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    pub(crate) fn some(&mut self, of: &[&'static str], chance: usize) -> Vec<&'static str> {
        of.iter()
            .copied()
            .filter(|_| self.percent(chance))
            .collect()
    }

    /// Never empty.
    pub(crate) fn several(&mut self, of: &[&'static str], chance: usize) -> Vec<&'static str> {
        let some = self.some(of, chance);
        if some.is_empty() {
            vec![self.one(of)]
        } else {
            some
        }
    }
}

/// A clause as plain words; `*` stands for all.
#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) name: String,
    pub(crate) parties: Vec<&'static str>,
    pub(crate) valid: (&'static str, &'static str),
    pub(crate) from: Vec<&'static str>,
    pub(crate) to: Vec<&'static str>,
    pub(crate) kinds: Vec<&'static str>,
    pub(crate) topics: Vec<&'static str>,
    pub(crate) regions: Vec<&'static str>,
    pub(crate) tlp: &'static str,
    pub(crate) classification: Option<(&'static str, &'static str)>,
    pub(crate) precedences: Vec<&'static str>,
    pub(crate) withhold: Vec<&'static str>,
    pub(crate) exercise_only: bool,
    pub(crate) onward: &'static str,
    pub(crate) reliability: Option<usize>,
    pub(crate) credibility: Option<usize>,
    pub(crate) refuses_references: bool,
    pub(crate) confidential: bool,
    pub(crate) shown: &'static str,
    /// A level of the first scheme counts as one of the second.
    pub(crate) equivalents: Vec<((&'static str, &'static str), (&'static str, &'static str))>,
}

/// A bulletin as plain words.
#[derive(Debug)]
pub(crate) struct Bulletin {
    pub(crate) originator: &'static str,
    pub(crate) kinds: Vec<&'static str>,
    pub(crate) topics: Vec<&'static str>,
    pub(crate) regions: Vec<&'static str>,
    pub(crate) tlp: &'static str,
    pub(crate) classification: Option<(&'static str, &'static str)>,
    pub(crate) releasable_to: Option<Vec<&'static str>>,
    pub(crate) caveats: Vec<&'static str>,
    pub(crate) precedence: &'static str,
    pub(crate) exercise: bool,
    pub(crate) valid: (&'static str, &'static str),
    pub(crate) reliability: Option<usize>,
    pub(crate) credibility: Option<usize>,
    pub(crate) hidden_audience: bool,
    pub(crate) pseudonym: Option<Pseudonym>,
    pub(crate) parts: Vec<Part>,
}

/// For one agreement; seen to be somebody's by those it is revealed to.
#[derive(Debug)]
pub(crate) struct Pseudonym {
    pub(crate) agreement: &'static str,
    pub(crate) once: bool,
    pub(crate) revealed_to: Vec<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Part {
    /// `None`: a class that is not known.
    pub(crate) class: Option<&'static str>,
    pub(crate) tlp: Option<&'static str>,
    pub(crate) level: Option<&'static str>,
    pub(crate) names: Vec<usize>,
}

pub(crate) fn rank(of: &[&str], what: &str) -> usize {
    of.iter()
        .position(|one| *one == what)
        .expect("a known word")
}

pub(crate) fn random_clauses(random: &mut Random, agreement: usize) -> Vec<Clause> {
    let parties = loop {
        let parties = random.some(&PARTNERS, 70);
        if parties.len() >= 2 {
            break parties;
        }
    };
    let valid = if random.percent(92) {
        (random.one(&PAST), random.one(&FUTURE))
    } else {
        (FUTURE[0], FUTURE[1])
    };
    let who = |random: &mut Random| {
        if random.percent(60) {
            vec!["*"]
        } else {
            random.several(&parties, 50)
        }
    };
    let count = 1 + random.below(3);
    let mut equivalents = Vec::new();
    if random.percent(40) {
        let highest = 1 + random.below(3);
        for level in 1..=highest {
            // A higher level never counts for less.
            equivalents.push((("NORLAND", LEVELS[level]), ("NATO", LEVELS[level + 1])));
        }
    }
    (0..count)
        .map(|number| Clause {
            name: format!("a{agreement}@1/c{number}"),
            from: who(random),
            to: who(random),
            parties: parties.clone(),
            valid,
            kinds: random.several(&KINDS, 75),
            topics: if random.percent(40) {
                vec!["*"]
            } else {
                random.several(&TOPICS, 45)
            },
            regions: if random.percent(50) {
                vec!["*"]
            } else {
                random.several(&REGIONS, 45)
            },
            tlp: TLPS[4 - random.below(5).min(random.below(5))],
            classification: random
                .percent(50)
                .then(|| (random.one(&POLICIES), random.one(&LEVELS))),
            precedences: random.several(&PRECEDENCES, 80),
            withhold: random.some(&CLASSES, 20),
            exercise_only: random.percent(10),
            onward: random.one(&ONWARD),
            reliability: random.percent(10).then(|| 1 + random.below(6)),
            credibility: random.percent(10).then(|| 1 + random.below(6)),
            refuses_references: random.percent(20),
            confidential: random.percent(15),
            shown: random.one(&["named", "named", "named", "named", "alias", "framework"]),
            equivalents: equivalents.clone(),
        })
        .collect()
}

pub(crate) fn random_bulletin(random: &mut Random) -> Bulletin {
    let tlp = TLPS[random.below(5).min(random.below(5))];
    let classification = random
        .percent(30)
        .then(|| (random.one(&POLICIES), LEVELS[random.below(3)]));
    let releasable_to = match random.below(10) {
        0..=5 => None,
        6 => Some(Vec::new()),
        _ => Some(random.several(&PARTNERS, 50)),
    };
    let count = 1 + random.below(5);
    let mut parts: Vec<Part> = (0..count)
        .map(|own| Part {
            names: (0..count)
                .filter(|at| *at != own && random.percent(12))
                .collect(),
            class: random.percent(95).then(|| random.one(&CLASSES)),
            // Stricter than the header's, as sealing demands.
            tlp: random.percent(25).then(|| {
                let least = rank(&TLPS, tlp);
                TLPS[least + random.below(TLPS.len() - least)]
            }),
            level: random.percent(20).then(|| {
                let least = classification.map_or(0, |(_, level)| rank(&LEVELS, level));
                LEVELS[least + random.below(LEVELS.len() - least)]
            }),
        })
        .collect();
    let pseudonym = random.percent(25).then(|| Pseudonym {
        agreement: random.one(&["a0", "a0", "a1"]),
        once: random.percent(50),
        revealed_to: random.some(&PARTNERS, 30),
    });
    parts.extend(pseudonym.is_some().then_some(Part {
        class: Some("identity"),
        tlp: None,
        level: None,
        names: vec![],
    }));
    let valid = match random.below(20) {
        0 => (FUTURE[0], FUTURE[1]),
        1 => (PAST[0], PAST[1]),
        _ => (random.one(&PAST), random.one(&FUTURE)),
    };
    Bulletin {
        originator: random.one(&PARTNERS),
        kinds: random.several(&KINDS, 40),
        topics: random.several(&TOPICS, 20),
        regions: random.some(&REGIONS, 15),
        tlp,
        classification,
        releasable_to,
        caveats: random.some(&["ORCON", "LIMDIS"], 10),
        precedence: random.one(&PRECEDENCES),
        exercise: random.percent(15),
        valid,
        reliability: random.percent(60).then(|| 1 + random.below(6)),
        credibility: random.percent(60).then(|| 1 + random.below(6)),
        hidden_audience: random.percent(50),
        pseudonym,
        parts,
    }
}

pub(crate) fn quoted(list: &[&str]) -> String {
    let words: Vec<String> = list.iter().map(|one| format!("\"{one}\"")).collect();
    format!("[{}]", words.join(", "))
}

/// The agreement as its parties would write it: what is really decided on went through the same
/// reader as theirs.
pub(crate) fn text(name: &str, clauses: &[Clause]) -> String {
    let first = &clauses[0];
    let mut text = format!(
        "name = \"{name}\"\nversion = 1\nledger = \"{}\"\nvalid_from = \"{}\"\nvalid_until = \
         \"{}\"\n[parties]\n",
        "0".repeat(64),
        first.valid.0,
        first.valid.1
    );
    for party in &first.parties {
        let number = rank(&PARTNERS, party) + 1;
        text += &format!("\"{party}\" = \"{number:064}\"\n");
    }
    for ((scheme, level), (other, counts_as)) in &first.equivalents {
        text +=
            &format!("[equivalents.{scheme}.{other}]\n").repeat(usize::from(*level == LEVELS[1]));
        text += &format!("\"{level}\" = \"{counts_as}\"\n");
    }
    for clause in clauses {
        let id = clause.name.split('/').nth(1).expect("a clause");
        text += &format!(
            "[[clause]]\nid = \"{id}\"\nfrom = {}\nto = {}\nkinds = {}\ntopics = {}\nregions = \
             {}\ntlp = \"{}\"\nprecedences = {}\nwithhold = {}\nexercise_only = {}\nonward = \
             \"{}\"\n",
            quoted(&clause.from),
            quoted(&clause.to),
            quoted(&clause.kinds),
            quoted(&clause.topics),
            quoted(&clause.regions),
            clause.tlp,
            quoted(&clause.precedences),
            quoted(&clause.withhold),
            clause.exercise_only,
            clause.onward
        );
        if let Some(grade) = clause.reliability {
            text += &format!("least_reliability = \"{}\"\n", &"ABCDEF"[grade - 1..grade]);
        }
        if let Some(grade) = clause.credibility {
            text += &format!("least_credibility = {grade}\n");
        }
        if clause.refuses_references {
            text += "references = \"refuse\"\n";
        }
        text += &format!("confidential_recipients = {}\n", clause.confidential);
        text += &format!("originator = \"{}\"\n", clause.shown);
        if let Some((policy, level)) = clause.classification {
            text += &format!("classification = {{ policy = \"{policy}\", level = \"{level}\" }}\n");
        }
    }
    text
}

pub(crate) fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a known word")
}

pub(crate) fn all<T: std::str::FromStr<Err: std::fmt::Debug>, C: FromIterator<T>>(
    list: &[&str],
) -> C {
    list.iter().map(|one| read(one)).collect()
}

pub(crate) fn labels(bulletin: &Bulletin) -> (Labels, Vec<PartLabels>) {
    let labels = Labels {
        originator: read(bulletin.originator),
        disguise: bulletin.pseudonym.as_ref().map(|pseudonym| Disguise {
            single_use: pseudonym.once,
            agreement: pseudonym.agreement.into(),
            reveal_to: all(&pseudonym.revealed_to),
        }),
        kinds: all(&bulletin.kinds),
        topics: all(&bulletin.topics),
        regions: all(&bulletin.regions),
        tlp: read(bulletin.tlp),
        classification: bulletin
            .classification
            .map(|(policy, level)| Classification {
                policy: policy.into(),
                level: read(level),
            }),
        releasable_to: bulletin.releasable_to.as_ref().map(|named| all(named)),
        caveats: all(&bulletin.caveats),
        precedence: read(bulletin.precedence),
        exercise: bulletin.exercise,
        valid_from: read(bulletin.valid.0),
        valid_until: read(bulletin.valid.1),
        admiralty: Admiralty {
            reliability: bulletin
                .reliability
                .map(|grade| u8::try_from(grade).expect("small")),
            credibility: bulletin
                .credibility
                .map(|grade| u8::try_from(grade).expect("small")),
        },
        names_recipients: !bulletin.hidden_audience
            && bulletin
                .releasable_to
                .as_ref()
                .is_some_and(|named| named.len() > 1),
    };
    let parts = bulletin.parts.iter().map(|part| PartLabels {
        class: part.class.map(read::<PartClass>),
        marking: Marking {
            tlp: part.tlp.map(read),
            level: part.level.map(read),
        },
        mentions: part
            .names
            .iter()
            .map(|at| u32::try_from(*at).expect("few"))
            .collect(),
    });
    (labels, parts.collect())
}

/// The seed of a run: `ENTENTE_SEED`, or another each time. Print it.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("ENTENTE_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        u64::try_from(now.as_micros()).expect("before 586524")
    })
}
