//! The built-in scenario: who, under which agreements, publishes what; and who should receive it.
//!
//! What should happen is written here by hand, from the agreements' text alone.

use std::time::Instant;

use super::CliError;
use super::claims::{self, Expected};
use super::show;
use super::stage;
use crate::bulletin::{BulletinId, Draft};
use crate::cli::report::Report;
use crate::deployment::{AgreementPlan, Alliance, Plan};
use crate::partner::PartnerId;

pub(super) const NORLAND: &str = "norland.example";
pub(super) const ESTMARK: &str = "estmark.example";
const FINANCE: &str = "finance.example";
const SUDLAND: &str = "sudland.example";
pub(super) const VESTRIA: &str = "vestria.example";
const OSTLAND: &str = "ostland.example";

/// Bilateral: Norland gives Estmark everything; Estmark gives back less, and neither sources nor
/// persons.
const BILATERAL: &str = r#"
[[clause]]
id = "all"
from = ["norland.example"]
to = ["estmark.example"]
kinds = ["counterterrorism", "cyber"]
topics = ["*"]
regions = ["*"]
tlp = "TLP:RED"

[[clause]]
id = "back"
from = ["estmark.example"]
to = ["norland.example"]
kinds = ["counterterrorism", "cyber"]
topics = ["*"]
regions = ["*"]
tlp = "TLP:AMBER"
withhold = ["source", "person"]
"#;

/// Multilateral: everybody gives everybody cyber indicators, without sources.
const MULTILATERAL: &str = r#"
[[clause]]
id = "feed"
from = ["*"]
to = ["*"]
kinds = ["cyber"]
topics = ["cyber"]
regions = ["*"]
tlp = "TLP:AMBER"
withhold = ["source"]
onward = "within-agreement"
"#;

/// Exercises only.
const EXERCISE: &str = r#"
[[clause]]
id = "play"
from = ["norland.example", "vestria.example"]
to = ["*"]
kinds = ["counterterrorism", "cyber"]
topics = ["*"]
regions = ["*"]
tlp = "TLP:GREEN"
exercise_only = true
"#;

/// A bulletin with what should become of it.
struct Act {
    says: &'static str,
    from: &'static str,
    file: &'static str,
    /// Recipient, clauses, classes withheld.
    to: &'static [(
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    )],
    /// Everybody else, with the reason's code.
    not_to: &'static [(&'static str, &'static str)],
}

const ACTS: &[Act] = &[
    Act {
        says: "Lorry attack on a market",
        from: NORLAND,
        file: r#"
kinds = ["counterterrorism"]
topics = ["counterterrorism/attack/vehicle"]
regions = ["NO-03"]
tlp = "TLP:AMBER"
precedence = "FLASH"
reliability = "B"
credibility = 2
[[part]]
type = "warning"
text = "An attack with a stolen lorry on the Christmas market is being prepared."
from = "2026-12-04T15:00:00Z"
until = "2026-12-06T20:00:00Z"
place = "Market square"
[[part]]
type = "vehicle"
kind = "road"
registration = "EK 12345"
country = "NO"
[[part]]
type = "person"
name = "Viktor Fictional"
[[part]]
type = "source"
description = "A walk-in at the consulate."
[[part]]
type = "action"
text = "Close the square to vehicles; check rental lorries."
"#,
        to: &[(ESTMARK, &["bilateral@1/all"], &[])],
        not_to: &[
            (FINANCE, "no_clause"),
            (SUDLAND, "no_clause"),
            (VESTRIA, "no_clause"),
            (OSTLAND, "no_agreement"),
        ],
    },
    Act {
        says: "Suspect crosses the border",
        from: ESTMARK,
        file: r#"
kinds = ["counterterrorism"]
topics = ["counterterrorism/travel"]
tlp = "TLP:AMBER"
precedence = "IMMEDIATE"
[[part]]
type = "warning"
text = "A suspect of the market plot travels north by ferry tonight."
[[part]]
type = "person"
name = "Ada Invented"
[[part]]
type = "telephone"
number = "+4720123456"
[[part]]
type = "source"
description = "Intercept."
"#,
        to: &[(NORLAND, &["bilateral@1/back"], &["person", "source"])],
        not_to: &[
            (FINANCE, "no_clause"),
            (SUDLAND, "no_clause"),
            (VESTRIA, "no_agreement"),
            (OSTLAND, "no_agreement"),
        ],
    },
    Act {
        says: "Intrusion set at power utilities",
        from: NORLAND,
        file: r#"
kinds = ["cyber"]
topics = ["cyber"]
tlp = "TLP:GREEN"
precedence = "PRIORITY"
[[part]]
type = "ip"
value = "192.0.2.77"
[[part]]
type = "domain"
value = "update.grid-portal.example"
[[part]]
type = "file"
name = "svc32.dll"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
[[part]]
type = "vulnerability"
id = "CVE-2021-44228"
[[part]]
type = "narrative"
text = "Operators entered through an unpatched gateway and stayed four weeks."
[[part]]
type = "source"
description = "Forensics at a utility that must not be named."
"#,
        to: &[
            (ESTMARK, &["bilateral@1/all", "cyber@1/feed"], &[]),
            (FINANCE, &["cyber@1/feed"], &["source"]),
            (SUDLAND, &["cyber@1/feed"], &["source"]),
        ],
        not_to: &[(VESTRIA, "no_clause"), (OSTLAND, "no_agreement")],
    },
    Act {
        says: "EXERCISE: hostages at a station",
        from: NORLAND,
        file: r#"
kinds = ["counterterrorism"]
topics = ["counterterrorism/hostage"]
tlp = "TLP:GREEN"
exercise = true
[[part]]
type = "warning"
text = "EXERCISE EXERCISE EXERCISE: hostages at the central station."
"#,
        to: &[
            (ESTMARK, &["bilateral@1/all"], &[]),
            (VESTRIA, &["exercise@1/play"], &[]),
        ],
        not_to: &[
            (FINANCE, "no_clause"),
            (SUDLAND, "no_clause"),
            (OSTLAND, "no_agreement"),
        ],
    },
    Act {
        says: "Payment fraud, over the ceiling",
        from: FINANCE,
        file: r#"
kinds = ["cyber"]
topics = ["cyber"]
tlp = "TLP:AMBER+STRICT"
[[part]]
type = "email"
value = "invoice@pay-now.example"
[[part]]
type = "bank-account"
iban = "NO9386011117947"
"#,
        to: &[],
        not_to: &[
            (NORLAND, "no_clause"),
            (ESTMARK, "no_clause"),
            (SUDLAND, "no_clause"),
            (VESTRIA, "no_agreement"),
            (OSTLAND, "no_agreement"),
        ],
    },
    Act {
        says: "Implant, for one partner",
        from: SUDLAND,
        file: r#"
kinds = ["cyber"]
topics = ["cyber/malware"]
tlp = "TLP:AMBER"
precedence = "IMMEDIATE"
releasable_to = ["norland.example"]
hide_audience = true
[[part]]
type = "url"
value = "https://cdn.grid-portal.example/a.bin"
[[part]]
type = "detection-rule"
language = "yara"
rule = "rule implant { strings: $a = \"svc32\" condition: $a }"
[[part]]
type = "source"
description = "A partner's honeypot."
"#,
        to: &[(NORLAND, &["cyber@1/feed"], &["audience", "source"])],
        not_to: &[
            (ESTMARK, "not_releasable"),
            (FINANCE, "not_releasable"),
            (VESTRIA, "not_releasable"),
            (OSTLAND, "not_releasable"),
        ],
    },
    Act {
        says: "Cell leader, named recipients",
        from: NORLAND,
        file: r#"
kinds = ["counterterrorism"]
topics = ["counterterrorism/organisation"]
tlp = "TLP:RED"
precedence = "PRIORITY"
releasable_to = ["estmark.example"]
caveats = ["ORCON"]
[[part]]
type = "person"
name = "Carl Imaginary"
[[part]]
type = "narrative"
text = "He leads the cell and will meet its members on Thursday."
"#,
        to: &[(ESTMARK, &["bilateral@1/all"], &[])],
        not_to: &[
            (FINANCE, "not_releasable"),
            (SUDLAND, "not_releasable"),
            (VESTRIA, "not_releasable"),
            (OSTLAND, "not_releasable"),
        ],
    },
];

/// Published while the node of the finance ISAC is dead.
const MEANWHILE: &[Act] = &[Act {
    says: "Phishing kit, finance is down",
    from: SUDLAND,
    file: r#"
kinds = ["cyber"]
topics = ["cyber/phishing"]
tlp = "TLP:GREEN"
precedence = "PRIORITY"
[[part]]
type = "domain"
value = "bank-login.example"
[[part]]
type = "source"
description = "A victim."
"#,
    to: &[
        (NORLAND, &["cyber@1/feed"], &["source"]),
        (ESTMARK, &["cyber@1/feed"], &["source"]),
        (FINANCE, &["cyber@1/feed"], &["source"]),
    ],
    not_to: &[(VESTRIA, "no_agreement"), (OSTLAND, "no_agreement")],
}];

pub(super) fn partner(name: &str) -> Result<PartnerId, CliError> {
    name.parse().map_err(CliError::failed)
}

/// The deployment: six partners, three agreements.
pub(super) fn plan() -> Result<Plan, CliError> {
    let all = [NORLAND, ESTMARK, FINANCE, SUDLAND, VESTRIA, OSTLAND];
    let partners = all
        .into_iter()
        .map(partner)
        .collect::<Result<Vec<_>, _>>()?;
    let mut plan = Plan::new(partner("alliance.example")?, partners);
    let agreements = [
        (
            "bilateral",
            "More one way than the other",
            &[NORLAND, ESTMARK][..],
            BILATERAL,
        ),
        (
            "cyber",
            "Cyber indicators for all",
            &[NORLAND, ESTMARK, FINANCE, SUDLAND],
            MULTILATERAL,
        ),
        ("exercise", "Exercises only", &[NORLAND, VESTRIA], EXERCISE),
    ];
    for (name, title, parties, clauses) in agreements {
        plan.agreements.push(AgreementPlan {
            name: name.to_owned(),
            title: title.to_owned(),
            parties: parties
                .iter()
                .map(|one| partner(one))
                .collect::<Result<_, _>>()?,
            clauses: clauses.to_owned(),
        });
    }
    Ok(plan)
}

async fn publish(alliance: &Alliance, act: &Act) -> Result<BulletinId, CliError> {
    let draft = Draft::from_toml(act.file).map_err(CliError::failed)?;
    let originator = partner(act.from)?;
    let ids = alliance.publish(&originator, vec![draft]).await?;
    alliance.promised(&originator, &ids).await?;
    ids.first()
        .copied()
        .ok_or_else(crate::cli::files::unexpected)
}

/// Publishes everything, kills a node and brings it back, and shows what became of it all.
pub(super) async fn play(alliance: &mut Alliance, report: &Report) -> Result<(), CliError> {
    let started = Instant::now();
    let mut published = Vec::new();
    for act in ACTS {
        published.push((act, publish(alliance, act).await?));
    }
    for (_, id) in &published {
        alliance.delivered(*id).await?;
    }
    let finance = partner(FINANCE)?;
    alliance.kill_node(&finance).await?;
    for act in MEANWHILE {
        let id = publish(alliance, act).await?;
        alliance.delivered(id).await?;
        published.push((act, id));
    }
    alliance.start_nodes([&finance]).await?;
    let mut shown = Vec::new();
    let mut broken = Vec::new();
    for (act, id) in published {
        let view = alliance.delivered(id).await?;
        let expected = Expected {
            to: act.to,
            not_to: act.not_to,
        };
        let observed = claims::observe(alliance, act.says, &view).await?;
        broken.extend(claims::compare(act.says, &expected, &observed));
        shown.push(observed);
    }
    let audited = stage::audited(alliance, report).await?;
    let partners = alliance.running().cloned().collect();
    let outcome = show::Outcome::new(partners, shown, audited, started.elapsed(), broken);
    report.show(&outcome, || show::people(&outcome))?;
    outcome.verdict()
}
