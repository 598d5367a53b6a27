//! `entente agreement explain | preview | reach | diff | simulate | assert`: what agreements do,
//! answered by the code that enforces them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::agreement::{find, open};
use super::error::CliError;
use super::files::{BrokerFile, base64, clock, entropy, read_text, unexpected};
use super::partner::{ledger, record};
use super::policy::{AnyFile, OneFile, of_broker};
use super::report::{Report, dash, list, table};
use crate::agreement::{Difference, Example, Flow, LedgerHash, SignedAgreement};
use crate::audit::{Simulated, Simulation};
use crate::broker::{Reply, Request};
use crate::bulletin::{
    BulletinId, Classification, Kind, Level, PartClass, Precedence, PseudonymDraft,
    PseudonymSecret, Region, Tlp, Topic, Unsealed,
};
use crate::clock::{Entropy, Timestamp};
use crate::decision::{Explanation, Question, RedLines, Way, explain, reach};
use crate::identity::{new_secret_key, read_secret_key};
use crate::ledger::{HoldDecision, LedgerId, RedLinesOrder, SignedHoldDecision};
use crate::node::{Command, HoldView, Response};
use crate::partner::PartnerId;
use crate::proof::{PayloadType, Signer};

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The bulletin's id.
    bulletin: BulletinId,
    /// Only for this partner.
    #[arg(long)]
    partner: Option<PartnerId>,
    #[command(flatten)]
    broker: BrokerFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    /// The bulletin, as `entente publish` takes it.
    file: PathBuf,
    /// Who would publish it; absent: the node's own partner.
    #[arg(long, value_name = "PARTNER")]
    from: Option<PartnerId>,
    #[command(flatten)]
    config: AnyFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReachArgs {
    /// The originator.
    #[arg(long)]
    from: PartnerId,
    /// Who would hold it in the end.
    #[arg(long)]
    to: PartnerId,
    /// Of exactly this kind.
    #[arg(long)]
    kind: Option<Kind>,
    /// About exactly this topic.
    #[arg(long)]
    topic: Option<Topic>,
    /// About exactly this region.
    #[arg(long)]
    region: Option<Region>,
    /// With exactly this TLP, as TLP:RED or red.
    #[arg(long, value_parser = parse_tlp)]
    tlp: Option<Tlp>,
    /// A part of this class.
    #[arg(long)]
    class: Option<PartClass>,
    /// With exactly this precedence.
    #[arg(long)]
    precedence: Option<Precedence>,
    /// With exactly this classification, as "NATO:SECRET".
    #[arg(long, value_parser = parse_classification)]
    classification: Option<Classification>,
    /// Exercises only (true), or what is real (false).
    #[arg(long)]
    exercise: Option<bool>,
    /// Not only to hold it: to carry it into this other ledger.
    #[arg(long, value_name = "LEDGER")]
    into: Option<LedgerHash>,
    #[command(flatten)]
    config: AnyFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The older version: a file, or the name or id of one in force.
    old: String,
    /// The newer version.
    new: String,
    #[command(flatten)]
    broker: BrokerFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// The draft in TOML, or an agreement signed or not.
    draft: PathBuf,
    /// Bulletins accepted since then, as 2026-11-01 or 2026-11-01T12:00:00Z; absent: all.
    #[arg(long, value_parser = parse_time)]
    since: Option<Timestamp>,
    #[command(flatten)]
    broker: BrokerFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct AssertArgs {
    /// The red lines in TOML: `[[never]]` tables with `name`, `from`, `to`, and what must not flow.
    file: PathBuf,
    /// Sets them in the ledger, as this operator: no agreement that crosses one is put in force.
    #[arg(long, requires = "key")]
    operator: Option<String>,
    /// The operator's key.
    #[arg(long, requires = "operator")]
    key: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    /// The bulletin's id.
    bulletin: BulletinId,
    /// The agreement that holds it: its name or id.
    #[arg(long, value_name = "AGREEMENT")]
    under: String,
    /// The person's name in the agreement.
    #[arg(long = "as", value_name = "PERSON")]
    person: String,
    /// The person's key.
    #[arg(long)]
    key: PathBuf,
    /// Keeps it for good instead.
    #[arg(long)]
    deny: bool,
    #[command(flatten)]
    config: AnyFile,
}

pub(super) fn parse_tlp(text: &str) -> Result<Tlp, String> {
    let upper = text.to_uppercase();
    let whole = if upper.starts_with("TLP:") {
        upper
    } else {
        format!("TLP:{upper}")
    };
    whole
        .parse()
        .map_err(|_| format!("`{text}` is no TLP 2.0 label"))
}

pub(super) fn parse_classification(text: &str) -> Result<Classification, String> {
    let wrong = || format!("`{text}` is not written as NATO:SECRET");
    let (policy, level) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Classification {
        policy: policy.to_owned(),
        level: level.parse::<Level>().map_err(|error| error.to_string())?,
    })
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    whole
        .parse()
        .map_err(|_| format!("`{text}` is no date, as 2026-11-01, and no RFC 3339 time"))
}

pub(super) async fn explanation(args: ExplainArgs, report: &Report) -> Result<(), CliError> {
    let partners: Vec<PartnerId> = if let Some(partner) = args.partner {
        vec![partner]
    } else {
        let Reply::Partners(all) = args.broker.ask(Request::Partners).await? else {
            return Err(unexpected());
        };
        all.into_iter().map(|one| one.partner).collect()
    };
    let mut texts = BTreeMap::new();
    for partner in partners {
        let id = args.bulletin;
        let request = Request::Explain {
            id,
            partner: partner.clone(),
        };
        let Reply::Explanation(text) = args.broker.ask(request).await? else {
            return Err(unexpected());
        };
        texts.insert(partner.to_string(), text);
    }
    let all: Vec<&str> = texts.values().map(String::as_str).collect();
    report.show(&texts, || all.join("\n"))
}

pub(super) async fn preview(args: PreviewArgs, report: &Report) -> Result<(), CliError> {
    let mut draft = super::bulletins::read_draft(&args.file)?;
    let pseudonym = draft.take_pseudonym();
    let policy = args.config.policy().await?;
    let from = args.from.or(policy.own).ok_or_else(|| {
        CliError::refused("no_originator", "who would publish it? Say --from PARTNER")
    })?;
    let (now, entropy) = (clock().now(), entropy());
    let mut unsealed = draft
        .into_unsealed(&from, now, entropy.as_ref())
        .map_err(|error| CliError::refused("invalid", error))?;
    if let Some(pseudonym) = pseudonym {
        unsealed = disguised(unsealed, pseudonym, entropy.as_ref())?;
    }
    let classes: Vec<_> = unsealed.parts.iter().map(|part| part.class).collect();
    let (labels, parts) = unsealed
        .labels()
        .map_err(|error| CliError::refused("invalid", error))?;
    let mut others: Vec<PartnerId> = policy
        .rulebook
        .agreements()
        .values()
        .flat_map(|terms| terms.parties.iter().map(|party| party.partner.clone()))
        .filter(|partner| *partner != from)
        .collect();
    others.sort();
    others.dedup();
    let decided: Vec<(PartnerId, Explanation)> = others
        .into_iter()
        .map(|to| {
            let usage = Some(&policy.usage);
            let why = explain(&policy.rulebook, usage, &labels, &parts, now, &to);
            (to, why)
        })
        .collect();
    let values: Vec<Value> = decided
        .iter()
        .map(|(to, why)| preview_value(to, why, &classes))
        .collect();
    report.show(&values, || preview_table(&decided, &classes))
}

/// Under a pseudonym that nobody will see: the keys are those of this preview alone.
fn disguised(
    unsealed: Unsealed,
    pseudonym: PseudonymDraft,
    entropy: &dyn Entropy,
) -> Result<Unsealed, CliError> {
    let own = new_secret_key(entropy)?;
    let secret = PseudonymSecret::new(new_secret_key(entropy)?);
    let disguised = secret.disguise(unsealed, pseudonym, None, &own);
    let (unsealed, _) = disguised.map_err(|error| CliError::refused("invalid", error))?;
    Ok(unsealed)
}

fn preview_value(to: &PartnerId, why: &Explanation, classes: &[PartClass]) -> Value {
    match &why.decision {
        Ok(release) => json!({
            "partner": to, "released": true,
            "clauses": release.clauses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "parts": shown(classes, &release.withheld, false),
            "withheld": shown(classes, &release.withheld, true),
            "onward": release.onward.to_string(), "held": release.held,
        }),
        Err(refusal) => json!({
            "partner": to, "released": false, "code": refusal.reason.code(),
            "reason": refusal.reason.to_string(),
            "nearest": why.nearest().map(|clause| json!({
                "clause": clause.clause.to_string(),
                "missing": clause.misses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })),
        }),
    }
}

fn shown(classes: &[PartClass], withheld: &[u32], hidden: bool) -> Vec<String> {
    (0u32..)
        .zip(classes)
        .filter(|(index, _)| withheld.contains(index) == hidden)
        .map(|(_, class)| class.to_string())
        .collect()
}

fn preview_table(decided: &[(PartnerId, Explanation)], classes: &[PartClass]) -> String {
    let rows = decided.iter().map(|(to, why)| match &why.decision {
        Ok(release) => [
            to.to_string(),
            list(&shown(classes, &release.withheld, false)),
            dash(list(&shown(classes, &release.withheld, true))),
            if release.held {
                format!(
                    "{}; held until two persons let it go",
                    list(&release.clauses)
                )
            } else {
                list(&release.clauses)
            },
        ],
        Err(refusal) => {
            let nearest = why.nearest().map(|clause| {
                let missing = list(&clause.misses);
                format!("nearest {}: {missing}", clause.clause)
            });
            let reason = nearest.unwrap_or_else(|| refusal.reason.to_string());
            [to.to_string(), "nothing".into(), "-".into(), reason]
        }
    });
    table(
        ["partner", "would get", "withheld", "under / because"],
        rows,
    )
}

pub(super) async fn reachable(args: ReachArgs, report: &Report) -> Result<(), CliError> {
    let policy = args.config.policy().await?;
    for partner in [&args.from, &args.to] {
        if !policy.rulebook.knows(partner) {
            let message = match &policy.own {
                None => format!("`{partner}` is no partner; see: entente partner list"),
                Some(own) => format!("`{partner}` is party to no agreement of {own}"),
            };
            return Err(CliError::refused("unknown_partner", message));
        }
    }
    let question = Question {
        from: args.from,
        to: args.to,
        kind: args.kind,
        topic: args.topic,
        region: args.region,
        tlp: args.tlp,
        classification: args.classification,
        precedence: args.precedence,
        exercise: args.exercise,
        class: args.class,
        into: args.into,
    };
    let way = reach(&policy.rulebook, &question, clock().now());
    let value = json!({"reachable": way.is_some(), "way": way.as_ref().map(way_value)});
    report.show(&value, || match &way {
        Some(way) if way.hops.len() > 1 => format!(
            "yes: {way}\n{}\n(where clauses of other agreements cover such a bulletin, too, they bind \
             it: published under a pseudonym, it is for one agreement)",
            example(&way.example)
        ),
        Some(way) => format!("yes: {way}\n{}", example(&way.example)),
        None => match &policy.own {
            None => "no: no agreement in force lets it, directly or onward".to_owned(),
            Some(own) => format!("no, as far as the agreements of {own} tell"),
        },
    })
}

fn way_value(way: &Way) -> Value {
    let hops = way
        .hops
        .iter()
        .map(|hop| json!({"from": hop.from, "to": hop.to, "clause": hop.clause.to_string()}));
    json!({
        "hops": hops.collect::<Vec<_>>(), "consent": way.consent,
        "example": example_value(&way.example),
    })
}

fn example_value(example: &Example) -> Value {
    let labels = &example.labels;
    json!({
        "originator": labels.originator,
        "pseudonym": labels.disguise.as_ref().map(|disguise| json!({
            "as": disguise.shown(), "agreement": *disguise.agreement,
            "reveal_to": disguise.reveal_to,
        })),
        "recipient": example.recipient,
        "kinds": labels.kinds, "topics": labels.topics, "regions": labels.regions,
        "tlp": labels.tlp, "classification": labels.classification,
        "releasable_to": labels.releasable_to, "caveats": labels.caveats,
        "precedence": labels.precedence, "exercise": labels.exercise,
        "part": example.part.class,
    })
}

/// A bulletin in a line.
fn example(example: &Example) -> String {
    let labels = &example.labels;
    let class = example.part.class.map_or("?", PartClass::as_str);
    let mut text = format!(
        "for example: a part of class {class} in a bulletin of {} about {}",
        list(&labels.kinds),
        list(&labels.topics),
    );
    if !labels.regions.is_empty() {
        let _ = write!(text, " in {}", list(&labels.regions));
    }
    let _ = write!(text, ", {}, {}", labels.tlp, labels.precedence);
    if let Some(whole) = &labels.classification {
        let _ = write!(text, ", {whole}");
    }
    if let Some(named) = &labels.releasable_to {
        let named: Vec<_> = named.iter().collect();
        let _ = write!(text, ", releasable to {}", list(&named));
    }
    if let Some(disguise) = &labels.disguise {
        let _ = write!(text, ", its originator shown as {}", disguise.shown());
        if disguise.reveal_to.contains(&example.recipient) {
            text += " and revealed to the recipient";
        }
    }
    if labels.exercise {
        text += ", an exercise";
    }
    text
}

pub(super) async fn difference(args: DiffArgs, report: &Report) -> Result<(), CliError> {
    let old = version(&args.old, &args.broker).await?.terms()?;
    let new = version(&args.new, &args.broker).await?.terms()?;
    let difference = Difference::between(&old, &new);
    let value = json!({
        "narrows_only": difference.widens.is_empty(),
        "adds": difference.widens.iter().map(flow_value).collect::<Vec<_>>(),
        "removes": difference.narrows.iter().map(flow_value).collect::<Vec<_>>(),
    });
    report.show(&value, || differences(&difference))
}

pub(super) fn differences(difference: &Difference) -> String {
    let lines = |verb: &str, flows: &[Flow]| -> String {
        let line = |flow: &Flow| format!("{verb}: {flow}\n    {}\n", example(&flow.example));
        flows.iter().map(line).collect()
    };
    let verdict = match (difference.widens.is_empty(), difference.narrows.is_empty()) {
        (true, true) => "the same flows, under the same obligations",
        (true, false) => "it only narrows: one party's signature puts it in force",
        (false, _) => "it widens: every party has to sign it",
    };
    format!(
        "{}{}{verdict}",
        lines("adds", &difference.widens),
        lines("removes", &difference.narrows)
    )
}

fn flow_value(flow: &Flow) -> Value {
    json!({
        "from": flow.from, "to": flow.to, "clause": *flow.clause, "flow": flow.to_string(),
        "classes": flow.classes, "precedences": flow.precedences,
        "example": example_value(&flow.example),
    })
}

/// A file, or an agreement in force.
async fn version(named: &str, broker: &BrokerFile) -> Result<SignedAgreement, CliError> {
    if Path::new(named).exists() {
        return open(Path::new(named));
    }
    let found = find(broker, named).await?;
    let mut after = 0;
    loop {
        let Reply::Policy(page) = broker.ask(Request::Policy { after }).await? else {
            return Err(unexpected());
        };
        let Some((last, _)) = page.agreements.last() else {
            let message = format!("`{named}` is not in force, and no file is called so");
            return Err(CliError::refused("unknown_agreement", message));
        };
        after = *last;
        for (_, file) in &page.agreements {
            let bytes = BASE64.decode(file.as_bytes()).map_err(|_| unexpected())?;
            let signed = SignedAgreement::from_file(&bytes)?;
            if signed.id().to_string() == found.id {
                return Ok(signed);
            }
        }
    }
}

pub(super) async fn simulation(args: SimulateArgs, report: &Report) -> Result<(), CliError> {
    let signed = open(&args.draft)?;
    let terms = signed.terms()?;
    let since = args.since.unwrap_or(Timestamp::MIN);
    let mut simulation = Simulation::new(signed.id(), &terms, since);
    super::audit::each_record(&args.broker, report, "looking", |record| {
        simulation.note(record);
    })
    .await?;
    super::audit::each_record(&args.broker, report, "simulating", |record| {
        simulation.take(record);
    })
    .await?;
    let bulletins = simulation.bulletins();
    let found = simulation.finish();
    let value = json!({"bulletins": bulletins, "differences": found});
    report.show(&value, || simulated(bulletins, &found))
}

fn simulated(bulletins: u64, found: &[Simulated]) -> String {
    let rows = found.iter().map(|one| {
        let change = match (one.released, one.would_be) {
            (false, _) => "would receive",
            (_, false) => "would not receive",
            _ if one.no_longer.is_empty() => "would see more",
            _ if one.newly.is_empty() => "would see less",
            _ => "would see other parts",
        };
        [
            one.position.to_string(),
            one.bulletin.to_string(),
            format!("{} {change}", one.recipient),
            dash(list(&one.newly)),
            dash(list(&one.no_longer)),
        ]
    });
    let rows = table(["#", "bulletin", "change", "newly", "no longer"], rows);
    let rows = if found.is_empty() {
        String::new()
    } else {
        rows
    };
    let count = found.len();
    format!("{rows}{bulletins} bulletins decided again, {count} differences")
}

pub(super) async fn assertion(args: AssertArgs, report: &Report) -> Result<(), CliError> {
    let text = read_text(&args.file)?;
    let lines = red_lines(&args.file, &text)?;
    if let (Some(operator), Some(key)) = (args.operator, args.key) {
        let order = RedLinesOrder {
            ledger: ledger(&args.broker).await?,
            text,
            lines,
            time: clock().now(),
        };
        let bytes = order.to_bytes();
        let key = read_secret_key(&key)?;
        let signature = key.sign(PayloadType::RedLines, &bytes)?;
        let request = Request::SetRedLines {
            order: base64(&bytes),
            operator,
            key: signature.key_id.to_string(),
            signature: base64(&signature.bytes),
        };
        let before = of_broker(&args.broker).await?.red_lines;
        let before = before.and_then(|text| RedLines::parse(&text).ok());
        let gone: Vec<String> = before
            .iter()
            .flat_map(|before| &before.never)
            .filter(|line| !order.lines.never.contains(line))
            .map(|line| format!("`{}`", line.name))
            .collect();
        let gone = match gone.as_slice() {
            [] => String::new(),
            gone => format!("; no longer: {}", gone.join(", ")),
        };
        let what = format!("{} red lines hold{gone}", order.lines.never.len());
        return record(&args.broker, request, &what, report).await;
    }
    let policy = of_broker(&args.broker).await?;
    if let Some(crossed) = lines.crossed(&policy.rulebook, clock().now()) {
        return Err(CliError::Untrue(format!("crossed: {crossed}")));
    }
    let count = lines.never.len();
    let set = policy.red_lines.as_deref() == Some(text.as_str());
    report.show(&json!({"hold": count, "in_ledger": set}), || {
        format!("{count} red lines hold under the agreements in force")
    })
}

/// Reads red lines from a file's text.
pub(super) fn red_lines(file: &Path, text: &str) -> Result<RedLines, CliError> {
    RedLines::parse(text)
        .map_err(|error| CliError::refused("invalid", format!("{}: {error}", file.display())))
}

pub(super) async fn release(args: ReleaseArgs, report: &Report) -> Result<(), CliError> {
    let verb = if args.deny { "keeps" } else { "releases" };
    let done = format!("{} {verb} {}", args.person, args.bulletin);
    match args.config.of()? {
        OneFile::Broker(broker) => {
            let found = find(&broker, &args.under).await?;
            let id = args.bulletin;
            let Reply::Bulletin(view) = broker.ask(Request::Bulletin { id }).await? else {
                return Err(unexpected());
            };
            let ledger = ledger(&broker).await?;
            let decision = decision(&args, ledger, &view.header, &found.id)?;
            let request = Request::DecideHold { decision };
            record(&broker, request, &done, report).await
        }
        OneFile::Node(node) => {
            let Response::Holds(holds) = node.ask(&Command::Holds).await? else {
                return Err(unexpected());
            };
            let named = |one: &&HoldView| one.under == args.under || one.agreement == args.under;
            let mut own = holds.iter().filter(|one| one.bulletin == args.bulletin);
            let hold = own.find(named).ok_or_else(|| {
                let message = format!(
                    "nothing of bulletin {} is known here to wait for persons of this partner under \
                     {}; what was published just now is known in a second, see: entente status",
                    args.bulletin, args.under
                );
                CliError::refused("not_held", message)
            })?;
            let Response::Status(status) = node.ask(&Command::Status).await? else {
                return Err(unexpected());
            };
            let ledger = status.ledger.ok_or_else(unexpected)?;
            let ledger = LedgerId(ledger.parse().map_err(CliError::failed)?);
            let header = hold.header.to_string();
            let decision = decision(&args, ledger, &header, &hold.agreement)?;
            let asked = node.ask(&Command::DecideHold { decision }).await?;
            let Response::Recorded(position) = asked else {
                return Err(unexpected());
            };
            let value = json!({"position": position, "done": done});
            report.show(&value, || format!("{done}: record {position}"))
        }
    }
}

/// A person's decision, signed.
fn decision(
    args: &ReleaseArgs,
    ledger: LedgerId,
    header: &str,
    agreement: &str,
) -> Result<String, CliError> {
    let decision = HoldDecision {
        ledger,
        id: args.bulletin,
        bulletin: header.parse().map_err(CliError::failed)?,
        agreement: agreement.parse().map_err(CliError::failed)?,
        person: args.person.clone(),
        release: !args.deny,
        time: clock().now(),
    };
    let signed = SignedHoldDecision::sign(decision, &read_secret_key(&args.key)?)?;
    Ok(base64(&signed.to_bytes()))
}
