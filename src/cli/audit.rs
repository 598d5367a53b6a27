//! `entente audit`: proves that the ledger holds, and reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde_json::json;

use super::error::CliError;
use super::export::{self, ExportArgs};
use super::files::{BrokerFile, base64, clock, entropy, unexpected};
use super::partner::{ledger, record};
use super::report::{Report, dash, list, table};
use super::volume::{self, VolumeArgs};
use crate::audit::{Audited, Given, Stored, Verification, verify_with_contents};
use crate::broker::{
    BulletinView, DeliveryView, LogEngine, RecordView, Reply, Request, open_engine,
};
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::identity::read_secret_key;
use crate::ledger::{Engine, ErasureOrder, Fact, Record};
use crate::partner::PartnerId;
use crate::proof::{PayloadType, Signer};
use crate::store::HeadFile;
use crate::transport::{LocalError, ask};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Recomputes everything from the records: hashes, tree, signatures and every routing decision.
    ///
    /// Reads the files of a stopped broker, or the records of a running one over its control
    /// socket; believes nothing else of it. Exit code 4 where something does not hold.
    Verify {
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Lists the records.
    List {
        /// From this position on.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Shows what was decided about a bulletin: who receives it, without what, and who does not.
    Show {
        /// Its id.
        id: BulletinId,
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Orders that the contents of old bulletins be erased; the records and every proof stay.
    ///
    /// Erased is what was accepted before, once nobody waits for it any more. What was recalled, what
    /// is past its validity, and what no agreement lets anybody keep, the broker erases without an order.
    ///
    /// Example: entente audit erase --before 2026-08-01T00:00:00Z --reason "retention of 90 days"
    /// --operator anna --key anna.key
    Erase {
        /// What was accepted before this time.
        #[arg(long, value_name = "TIME")]
        before: Timestamp,
        /// Why; it stands in the record.
        #[arg(long)]
        reason: String,
        /// The operator's name.
        #[arg(long, value_name = "NAME")]
        operator: String,
        /// The operator's private key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Exports the whole ledger, or a signed statement about a partner or a bulletin.
    Export(ExportArgs),
    /// Counts what of a covered log are records, with the auditor's key.
    Volume(VolumeArgs),
    /// Lists everything that was ever released to a partner: under which clauses, without what, and
    /// what it declared.
    Received {
        /// The partner.
        partner: PartnerId,
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Explains, clause by clause, why a partner receives a bulletin or does not.
    Explain {
        /// Its id.
        id: BulletinId,
        /// The partner.
        partner: PartnerId,
        #[command(flatten)]
        file: BrokerFile,
    },
}

pub(super) async fn run(command: Command, report: &Report) -> Result<(), CliError> {
    match command {
        Command::Verify { file } => {
            let audited = verified(&file, report).await?;
            report.show(&json!({"verified": true, "audit": audited}), || {
                sentence(&audited)
            })
        }
        Command::List { from, limit, file } => records(&file, from, limit, report).await,
        Command::Show { id, file } => {
            let Reply::Bulletin(view) = file.ask(Request::Bulletin { id }).await? else {
                return Err(unexpected());
            };
            report.show(&view, || bulletin(&view))
        }
        Command::Erase {
            before,
            reason,
            operator,
            key,
            file,
        } => {
            let order = ErasureOrder {
                ledger: ledger(&file).await?,
                before,
                reason,
                time: clock().now(),
            };
            let bytes = order.to_bytes();
            let signature = read_secret_key(&key)?.sign(PayloadType::ErasureOrder, &bytes)?;
            let request = Request::Erase {
                order: base64(&bytes),
                operator,
                key: signature.key_id.to_string(),
                signature: base64(&signature.bytes),
            };
            let what =
                format!("what was accepted before {before} is erased once nobody waits for it");
            record(&file, request, &what, report).await
        }
        Command::Export(args) => export::run(args, report).await,
        Command::Volume(args) => volume::run(&args, report),
        Command::Received { partner, file } => received(&file, partner, report).await,
        Command::Explain { id, partner, file } => {
            let asked = file.ask(Request::Explain { id, partner }).await?;
            let Reply::Explanation(text) = asked else {
                return Err(unexpected());
            };
            report.show(&json!({"explanation": text}), || text.clone())
        }
    }
}

/// One line for people, and one for each dispute.
pub(super) fn sentence(audited: &Audited) -> String {
    let signed = match audited.signed {
        Some(signed) if signed == audited.records => "all under a signed checkpoint".to_owned(),
        Some(signed) => format!("{signed} of them under a signed checkpoint"),
        None => "no checkpoint was signed".to_owned(),
    };
    let mut more = String::new();
    let mut erased: BTreeMap<(&str, Option<&str>), usize> = BTreeMap::new();
    for one in &audited.erased {
        let order = one.order.as_deref();
        *erased.entry((one.rule, order)).or_default() += 1;
    }
    for ((rule, order), count) in erased {
        let by = order.map_or_else(String::new, |order| format!(" by {order}"));
        let _ = write!(
            more,
            "\nerased: the contents of {count} bulletins by the rule `{rule}`{by}"
        );
    }
    if audited.cover > 0 {
        let _ = write!(more, "\ncover: {} records say nothing", audited.cover);
    }
    for one in &audited.disputed {
        let _ = write!(
            more,
            "\ndisputed: in record {} {} acknowledges something else than was released in lane {}",
            one.position, one.partner, one.lane
        );
    }
    format!(
        "audit: {} records verified, {signed} (bulletins {}, releases {}, acknowledgements {}){more}",
        audited.records, audited.bulletins, audited.releases, audited.acknowledgements
    )
}

/// Verifies the ledger of a running or a stopped broker.
pub(super) async fn verified(file: &BrokerFile, report: &Report) -> Result<Audited, CliError> {
    let config = file.load()?;
    let status = match ask(&config.control, &Request::Status).await {
        Err(LocalError::NotRunning(_)) => {
            let engine = open_engine(&config, entropy())?;
            let head = HeadFile::new(&config.head).load()?;
            let bar = report.progress("verifying", engine.size());
            let audited = verify_with_contents(&engine, head, |done| bar.set_position(done));
            bar.finish_and_clear();
            return audited.map_err(|finding| CliError::Untrue(finding.to_string()));
        }
        Ok(Reply::Status(status)) => status,
        Ok(_) => return Err(unexpected()),
        Err(error) => return Err(error.into()),
    };
    let untrue = |finding: crate::audit::Finding| CliError::Untrue(finding.to_string());
    let mut verification = Verification::new(status.size, status.checkpoint.clone())
        .map_err(untrue)?
        .with_contents(false);
    let bar = report.progress("verifying", status.size);
    loop {
        let Some(from) = verification.due() else {
            // What was erased meanwhile is said by records beyond the size that was asked for.
            if !verification.lacks_contents() || !grew(&config.control, &mut verification).await? {
                break;
            }
            continue;
        };
        let asked = ask(&config.control, &Request::Records { from }).await?;
        let Reply::Records(page) = asked else {
            return Err(unexpected());
        };
        if page.is_empty() {
            let message = format!("record {from} is missing: the broker has no more to show");
            return Err(CliError::Untrue(message));
        }
        for view in page {
            if verification.due().is_some() {
                let decoded = stored(&view)?.decode(view.position, verification.mentioning());
                let decoded = decoded.map_err(untrue)?;
                let mut about = Vec::new();
                for earlier in verification.refers_to(&decoded) {
                    about.extend(record_at(&config.control, earlier).await?);
                }
                verification.take(decoded, &about).map_err(untrue)?;
            }
        }
        bar.set_position(verification.due().unwrap_or(status.size));
    }
    bar.finish_and_clear();
    verification.finish().map_err(untrue)
}

/// Whether the log has grown beyond what is verified; goes on to its present size.
async fn grew(control: &Path, verification: &mut Verification) -> Result<bool, CliError> {
    let Reply::Status(status) = ask(control, &Request::Status).await? else {
        return Err(unexpected());
    };
    verification.extend(status.size);
    Ok(verification.due().is_some())
}

/// One record of a running broker.
async fn record_at(control: &Path, position: u64) -> Result<Option<bytes::Bytes>, CliError> {
    let Reply::Records(page) = ask(control, &Request::Records { from: position }).await? else {
        return Err(unexpected());
    };
    page.first()
        .map(|view| Ok(stored(view)?.record))
        .transpose()
}

/// Reads every record of a running or a stopped broker, from the first on.
pub(super) async fn each_record(
    file: &BrokerFile,
    report: &Report,
    what: &str,
    mut take: impl FnMut(&Record),
) -> Result<(), CliError> {
    let all = u64::MAX;
    let read = each_stored(file, report, what, all, |stored| {
        take(&Record::from_bytes(&stored.record).map_err(CliError::failed)?);
        Ok(())
    });
    read.await
}

/// Reads records of a running or a stopped broker as they are stored, from the first on, at most so many.
pub(super) async fn each_stored(
    file: &BrokerFile,
    report: &Report,
    what: &str,
    limit: u64,
    mut take: impl FnMut(Stored) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let config = file.load()?;
    let status = match ask(&config.control, &Request::Status).await {
        Err(LocalError::NotRunning(_)) => {
            return each_of_files(&open_engine(&config, entropy())?, report, what, limit, take);
        }
        Ok(Reply::Status(status)) => status,
        Ok(_) => return Err(unexpected()),
        Err(error) => return Err(error.into()),
    };
    let size = status.size.min(limit);
    let bar = report.progress(what, size);
    let mut next = 0;
    while next < size {
        let asked = ask(&config.control, &Request::Records { from: next }).await?;
        let Reply::Records(page) = asked else {
            return Err(unexpected());
        };
        if page.is_empty() {
            return Err(CliError::failed(format!("record {next} is missing")));
        }
        for view in page
            .iter()
            .take(usize::try_from(size - next).unwrap_or(usize::MAX))
        {
            take(stored(view)?)?;
            next += 1;
        }
        bar.set_position(next);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The same of the files of a stopped broker.
fn each_of_files(
    engine: &LogEngine,
    report: &Report,
    what: &str,
    limit: u64,
    mut take: impl FnMut(Stored) -> Result<(), CliError>,
) -> Result<(), CliError> {
    const PAGE: usize = 1_024;
    const PAGE_BYTES: usize = 8 * 1024 * 1024;
    let size = engine.size().min(limit);
    let bar = report.progress(what, size);
    let mut next = 0;
    while next < size {
        for one in engine
            .stored(next, PAGE, PAGE_BYTES)
            .map_err(CliError::failed)?
        {
            if next < size {
                take(Stored {
                    record: one.record,
                    entry: one.entry,
                    bodies: one.bodies,
                })?;
                next += 1;
            }
        }
        bar.set_position(next);
    }
    bar.finish_and_clear();
    Ok(())
}

fn stored(view: &RecordView) -> Result<Stored, CliError> {
    let bytes = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| unexpected());
    Ok(Stored {
        record: bytes(&view.record)?.into(),
        entry: bytes(&view.entry)?.try_into().map_err(|_| unexpected())?,
        bodies: view
            .bodies
            .as_deref()
            .map(bytes)
            .transpose()?
            .map(Into::into),
    })
}

async fn records(
    file: &BrokerFile,
    from: u64,
    limit: usize,
    report: &Report,
) -> Result<(), CliError> {
    let mut shown: Vec<(u64, Record)> = Vec::new();
    while shown.len() < limit {
        let next = shown.last().map_or(from, |(last, _)| last + 1);
        let Reply::Records(page) = file.ask(Request::Records { from: next }).await? else {
            return Err(unexpected());
        };
        if page.is_empty() {
            break;
        }
        for view in page.iter().take(limit - shown.len()) {
            let record = Record::from_bytes(&stored(view)?.record).map_err(CliError::failed)?;
            shown.push((view.position, record));
        }
    }
    let values: Vec<_> = shown
        .iter()
        .map(|(position, record)| {
            json!({
                "position": position, "time": record.time, "kind": record.fact.name(),
                "about": about(record)
            })
        })
        .collect();
    report.show(&values, || {
        let rows = shown.iter().map(|(position, record)| {
            [
                position.to_string(),
                record.time.to_string(),
                record.fact.name().to_owned(),
                about(record),
            ]
        });
        table(["#", "time", "kind", "about"], rows)
    })
}

/// What a record is about, in a few words.
fn about(record: &Record) -> String {
    match &record.fact {
        Fact::Genesis(genesis) => genesis.framework.clone(),
        Fact::PartnerAdmitted(admitted) => admitted.key_set.claimed().partner.to_string(),
        Fact::StandingChanged(changed) => {
            format!("{} is {}", changed.order.partner, changed.order.standing)
        }
        Fact::KeySetRotated(next) => {
            format!(
                "{}, version {}",
                next.claimed().partner,
                next.claimed().version
            )
        }
        Fact::CertificatesRevoked(revoked) => revoked.partner.to_string(),
        Fact::AgreementRatified(signed) => signed
            .terms()
            .map(|terms| format!("{}@{}", terms.name, terms.version))
            .unwrap_or_default(),
        Fact::AgreementWithdrawn(signed) => format!("by {}", signed.claimed().partner),
        Fact::Accepted(accepted) => format!(
            "{} from {} to {}",
            accepted.header.id,
            accepted.originator,
            match record.releases.len() {
                0 => "nobody".to_owned(),
                1 => "1 partner".to_owned(),
                some => format!("{some} partners"),
            }
        ),
        Fact::Acknowledged(signed) => {
            let lanes: Vec<_> = signed
                .ack
                .lanes
                .iter()
                .map(|lane| format!("{} up to {}", lane.precedence, lane.up_to))
                .collect();
            format!("{}: {}", signed.ack.recipient, lanes.join(", "))
        }
        Fact::RedLinesSet(set) => format!("{} red lines", set.order.lines.never.len()),
        Fact::HoldDecided(signed) => {
            let decision = &signed.decision;
            let verb = if decision.release {
                "releases"
            } else {
                "keeps"
            };
            format!("{} {verb} {}", decision.person, decision.id)
        }
        Fact::ConsentDecided(signed) => {
            let consent = &signed.consent;
            let verb = if consent.approve {
                "consents to"
            } else {
                "does not consent to"
            };
            format!("{} {verb} {}", consent.partner, consent.id)
        }
        Fact::Backfilled(one) => match &one.bulletin {
            Some(bulletin) => format!("{} under {}", bulletin.id, one.agreement),
            None => format!("all that came before {}", one.agreement),
        },
        Fact::Declared(signed) => {
            let declaration = &signed.declaration;
            format!(
                "{} {} {}",
                declaration.partner,
                declaration.what.name(),
                declaration.id
            )
        }
        Fact::ContentsErased(erased) => {
            format!(
                "of {} bulletins, rule {}",
                erased.bulletins.len(),
                erased.rule
            )
        }
        Fact::ErasureOrdered(ordered) => {
            format!(
                "before {} by {}",
                ordered.order.before, ordered.operator.operator
            )
        }
        Fact::Cover | Fact::Tick => String::new(),
        Fact::SnapshotTaken(taken) => format!("{} records", taken.size),
    }
}

/// How far a bulletin has come at a recipient.
fn state(one: &DeliveryView) -> String {
    if let Some(held) = &one.held {
        return held.clone();
    }
    let mut state = if one.acknowledged {
        "acknowledged".to_owned()
    } else {
        "on its way".to_owned()
    };
    for declared in &one.declared {
        let _ = write!(state, "; {declared}");
    }
    if let Some(due) = one.due {
        let _ = write!(state, "; to be taken by {due}");
    }
    state
}

async fn received(file: &BrokerFile, partner: PartnerId, report: &Report) -> Result<(), CliError> {
    let mut given = Given::new(partner);
    each_record(file, report, "looking", |record| given.note(record)).await?;
    each_record(file, report, "reading", |record| given.take(record)).await?;
    let all = given.finish();
    report.show(&all, || {
        let rows = all.iter().map(|one| {
            [
                one.position.to_string(),
                one.bulletin.to_string(),
                format!("{}, {}", one.originator, one.tlp),
                format!(
                    "{}; without {}",
                    list(&one.clauses),
                    dash(list(&one.withheld))
                ),
                list(&one.state),
            ]
        });
        table(["#", "bulletin", "from", "under", "state"], rows)
    })
}

fn bulletin(view: &BulletinView) -> String {
    let received = view.recipients.iter().map(|one| {
        [
            one.partner.to_string(),
            list(&one.clauses),
            dash(list(&one.withheld)),
            state(one),
        ]
    });
    let refused = view.refused.iter().map(|one| {
        [
            one.partner.to_string(),
            one.code.clone(),
            one.reason.clone(),
        ]
    });
    let notices: Vec<String> = view
        .notices
        .iter()
        .map(|(relation, id)| format!("{relation} by the notice {id}\n"))
        .collect();
    format!(
        "{} from {}, {}, {}, record {} at {}\n{}{}{}",
        view.id,
        view.originator,
        view.tlp,
        view.precedence,
        view.position,
        view.accepted,
        notices.concat(),
        table(["recipient", "under", "withheld", "state"], received),
        table(["not to", "code", "because"], refused)
    )
}
