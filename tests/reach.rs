//! "Can Y ever receive this from X?" against brute force: every bulletin of a small label space is
//! published, and passed on in every way that its holders may. Random agreements; the seed is
//! printed, `ENTENTE_SEED` repeats a run.

#![allow(clippy::print_stdout, reason = "the seed is shown")]

#[path = "support/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use entente::agreement::{Agreement, AgreementId, Onward, SignedAgreement, parse_draft};
use entente::bulletin::{
    Admiralty, Caveat, Disguise, Kind, Labels, Marking, PartClass, PartLabels, Precedence, Tlp,
};
use entente::clock::Timestamp;
use entente::decision::{Question, Release, Rulebook, Usage, decide, decide_for, reach};
use entente::partner::{PartnerId, Standing};
use words::{NOW, PARTNERS, Random, read, seed};

const KINDS: [&str; 2] = ["cyber", "counterterrorism"];
const TOPICS: [&str; 3] = ["cyber/malware", "cyber/phishing", "counterterrorism/travel"];
const TLPS: [&str; 3] = ["TLP:GREEN", "TLP:AMBER", "TLP:RED"];
const CLASSES: [&str; 2] = ["network", "person"];

/// An agreement over the small space.
fn agreement(random: &mut Random, number: usize) -> Agreement {
    let parties = loop {
        let parties = random.some(&PARTNERS, 65);
        if parties.len() >= 2 {
            break parties;
        }
    };
    let mut text = format!(
        "name = \"a{number}\"\nversion = 1\nledger = \"{:064}\"\nvalid_from = \
         \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-01-01T00:00:00Z\"\n[parties]\n",
        0
    );
    for party in &parties {
        let key = PARTNERS.iter().position(|one| one == party).expect("one") + 1;
        let _ = writeln!(text, "\"{party}\" = \"{key:064}\"");
    }
    for clause in 0..=random.below(3) {
        let who = |random: &mut Random| {
            if random.percent(15) {
                vec!["*"]
            } else {
                random.several(&parties, 30)
            }
        };
        let (from, to) = (who(random), who(random));
        let topics = if random.percent(35) {
            vec!["*"]
        } else {
            random.several(&TOPICS[..2], 50)
        };
        let regions = random.one(&["*", "*", "NO", "NO-03"]);
        let onward = random.one(&[
            "none",
            "originator-consent",
            "within-agreement",
            "within-agreement",
        ]);
        let (kinds, tlp) = (random.several(&KINDS, 60), random.one(&TLPS));
        let withhold = random.some(&CLASSES, 20);
        let shown = random.one(&["named", "named", "named", "alias", "framework"]);
        let (exercise, confidential) = (random.percent(15), random.percent(20));
        let _ = write!(
            text,
            "[[clause]]\nid = \"c{clause}\"\nfrom = {from:?}\nto = {to:?}\nkinds = {kinds:?}\n\
             topics = {topics:?}\nregions = [\"{regions}\"]\ntlp = \"{tlp}\"\nwithhold = \
             {withhold:?}\nexercise_only = {exercise}\nonward = \"{onward}\"\n\
             confidential_recipients = {confidential}\noriginator = \"{shown}\"\n"
        );
    }
    parse_draft(&text).unwrap_or_else(|error| panic!("{}\n{text}", error.message))
}

/// Every bulletin of the space, by this originator.
fn bulletins(from: &PartnerId) -> Vec<(Labels, PartLabels)> {
    let subsets = |words: &[&'static str]| -> Vec<Vec<&'static str>> {
        (1..1usize << words.len())
            .map(|bits| {
                let chosen = words.iter().enumerate();
                chosen
                    .filter(|(at, _)| bits >> at & 1 == 1)
                    .map(|(_, word)| *word)
                    .collect()
            })
            .collect()
    };
    let mut all = Vec::new();
    for kinds in subsets(&KINDS) {
        for topics in subsets(&TOPICS) {
            for region in [None, Some("NO"), Some("NO-03")] {
                for tlp in TLPS {
                    for (bits, class) in (0..4).flat_map(|bits| CLASSES.map(|class| (bits, class)))
                    {
                        let labels = Labels {
                            originator: from.clone(),
                            disguise: None,
                            kinds: kinds.iter().map(|one| read::<Kind>(one)).collect(),
                            topics: topics.iter().map(|one| read(one)).collect(),
                            regions: region.iter().map(|one| read(one)).collect(),
                            tlp: read(tlp),
                            classification: None,
                            releasable_to: None,
                            caveats: if bits & 1 == 1 {
                                vec![Caveat::Orcon]
                            } else {
                                vec![]
                            },
                            precedence: Precedence::Routine,
                            exercise: bits & 2 == 2,
                            valid_from: Timestamp::MIN,
                            valid_until: Timestamp::MAX,
                            admiralty: Admiralty::default(),
                            names_recipients: false,
                        };
                        let part = PartLabels {
                            class: Some(read(class)),
                            marking: Marking::default(),
                            mentions: vec![],
                        };
                        all.push((labels, part));
                    }
                }
            }
        }
    }
    all
}

/// How far the holders of a bulletin can carry it.
struct Carrying<'a> {
    rulebook: &'a Rulebook,
    agreements: &'a BTreeMap<AgreementId, Agreement>,
    partners: &'a BTreeSet<PartnerId>,
    part: &'a PartLabels,
    consent: bool,
    reached: BTreeSet<PartnerId>,
}

impl Carrying<'_> {
    fn publish(&mut self, labels: &Labels, allowed: &BTreeSet<PartnerId>, path: &[PartnerId]) {
        let mut labels = labels.clone();
        labels.originator = path.last().expect("somebody").clone();
        for named in choices(allowed) {
            // Only TLP:RED and what is passed on must name its recipients.
            let open = path.len() == 1 && labels.tlp != Tlp::Red;
            labels.names_recipients = !open && named.len() > 1;
            labels.releasable_to = (!open).then(|| named.clone());
            for release in self.releases(&mut labels) {
                if path.contains(&release.recipient) {
                    continue;
                }
                self.reached.insert(release.recipient.clone());
                let onward = self.may_pass_on(&release, if open { self.partners } else { &named });
                let path = [path, std::slice::from_ref(&release.recipient)].concat();
                let onward: BTreeSet<_> = onward
                    .into_iter()
                    .filter(|one| !path.contains(one))
                    .collect();
                if !onward.is_empty() {
                    self.publish(&labels, &onward, &path);
                }
            }
            if open {
                return;
            }
        }
    }

    /// What flows of a bulletin, by its originator's name or under any pseudonym.
    fn releases(&self, labels: &mut Labels) -> Vec<Release> {
        let parts = std::slice::from_ref(self.part);
        let names: BTreeSet<&str> = self.agreements.values().map(|one| &*one.name).collect();
        let mut guises = vec![None];
        for agreement in names {
            // Shown to nobody, under either kind of pseudonym; or to one, for that one.
            let nobody = [false, true].map(|single_use| (single_use, None));
            let one = self.partners.iter().map(|one| (false, Some(one)));
            for (single_use, shown_to) in nobody.into_iter().chain(one) {
                guises.push(Some(Disguise {
                    single_use,
                    agreement: agreement.into(),
                    reveal_to: shown_to.into_iter().cloned().collect(),
                }));
            }
        }
        let mut all = Vec::new();
        for guise in guises {
            labels.disguise = guise;
            for release in decide(self.rulebook, &Usage::new(), labels, parts, read(NOW)) {
                if !all.contains(&release) {
                    all.push(release);
                }
            }
        }
        labels.disguise = None;
        all
    }

    /// To whom, of those named, every clause lets a recipient pass it on.
    fn may_pass_on(&self, release: &Release, named: &BTreeSet<PartnerId>) -> BTreeSet<PartnerId> {
        let mut allowed = named.clone();
        for clause in &release.clauses {
            let agreement = &self.agreements[&clause.agreement];
            let mut clauses = agreement.clauses.iter();
            let terms = clauses
                .find(|terms| terms.id == clause.clause)
                .expect("a clause");
            match terms.onward {
                Onward::OriginatorConsent if self.consent => {}
                Onward::None | Onward::OriginatorConsent => allowed.clear(),
                Onward::WithinAgreement => allowed.retain(|one| agreement.is_party(one)),
            }
        }
        allowed
    }
}

/// Every choice of some of them.
fn choices(of: &BTreeSet<PartnerId>) -> Vec<BTreeSet<PartnerId>> {
    let all: Vec<_> = of.iter().collect();
    (1..1usize << all.len())
        .map(|bits| {
            let chosen = all.iter().enumerate();
            chosen
                .filter(|(at, _)| bits >> at & 1 == 1)
                .map(|(_, one)| (*one).clone())
                .collect()
        })
        .collect()
}

#[test]
fn every_answer_is_that_of_brute_force() {
    const RULEBOOKS: usize = 140;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let now: Timestamp = read(NOW);
    let partners: BTreeSet<PartnerId> = PARTNERS.iter().map(|one| read(one)).collect();
    let (mut asked, mut direct, mut onward, mut consented) = (0, 0, 0, 0);
    for _ in 0..RULEBOOKS {
        let mut rulebook = Rulebook::new();
        let mut agreements = BTreeMap::new();
        for partner in &partners {
            rulebook.set_standing(partner.clone(), Standing::Active);
        }
        for number in 0..=random.below(2) {
            let terms = agreement(&mut random, number);
            let id = SignedAgreement::unsigned(&terms).expect("terms").id();
            rulebook.insert_terms(id, &Arc::new(terms.clone()));
            agreements.insert(id, terms);
        }
        for from in &partners {
            // By TLP and class: who is reached freely, and who with consent.
            let mut reached: BTreeMap<(Tlp, PartClass), [BTreeSet<PartnerId>; 2]> = BTreeMap::new();
            for (labels, part) in bulletins(from) {
                let class = part.class.expect("one");
                for consent in [false, true] {
                    let mut carrying = Carrying {
                        rulebook: &rulebook,
                        agreements: &agreements,
                        partners: &partners,
                        part: &part,
                        consent,
                        reached: BTreeSet::new(),
                    };
                    carrying.publish(&labels, &partners, std::slice::from_ref(from));
                    let known = reached.entry((labels.tlp, class)).or_default();
                    known[usize::from(consent)].extend(carrying.reached);
                }
            }
            for to in partners.iter().filter(|to| *to != from) {
                for tlp in TLPS.map(read::<Tlp>) {
                    for class in CLASSES.map(read::<PartClass>) {
                        let question = Question {
                            tlp: Some(tlp),
                            class: Some(class),
                            precedence: Some(Precedence::Routine),
                            ..Question::anything(from.clone(), to.clone())
                        };
                        let way = reach(&rulebook, &question, now);
                        let [freely, with_consent] = &reached[&(tlp, class)];
                        let expected = (with_consent.contains(to), !freely.contains(to));
                        let found = way.as_ref().map(|way| way.consent);
                        let shown = way.as_ref().map(ToString::to_string);
                        assert_eq!(
                            found,
                            expected.0.then_some(expected.1),
                            "ENTENTE_SEED={seed}: {from} to {to}, {tlp}, {class}: {shown:?}\n\
                             {agreements:#?}"
                        );
                        asked += 1;
                        let Some(way) = way else { continue };
                        direct += usize::from(way.hops.len() == 1);
                        onward += usize::from(way.hops.len() > 1 && !way.consent);
                        consented += usize::from(way.consent);
                        // The example is real: its first step is released.
                        let parts = std::slice::from_ref(&way.example.part);
                        let first = &way.hops[0].to;
                        let labels = &way.example.labels;
                        decide_for(&rulebook, None, labels, parts, now, first).expect("a release");
                    }
                }
            }
        }
    }
    println!("{asked} questions: {direct} direct, {onward} onward, {consented} with consent");
    assert!(direct > 100 && onward + consented > 5);
}
