//! A whole exported ledger.

use super::{Evidence, Trusted, UNWITNESSED, Unconvincing};
use crate::audit::verify::{Audited, verify};
use crate::ledger::{Engine, Fact, Record};
use crate::proof::NoteKey;

/// Verifies every record of a ledger and the checkpoint over all of them, and the contents that are there;
/// `contents` says that they were exported. `progress` is told how many records were verified.
pub fn examine_ledger(
    engine: &dyn Engine,
    checkpoint: &str,
    contents: bool,
    trusted: &Trusted,
    progress: impl FnMut(u64),
) -> Result<Evidence, Unconvincing> {
    if trusted.policy.logs().is_empty() {
        return Err(Unconvincing::NoLog);
    }
    let log = log_key(engine).ok_or(Unconvincing::OtherLog)?;
    let mut logs = trusted.policy.logs().iter();
    if !logs.any(|known| known.key == log) {
        return Err(Unconvincing::OtherLog);
    }
    let witnessed = trusted.policy.for_log(&log).check(checkpoint)?;
    // Whoever exports can add records of its own after those that were signed.
    let (signed, records) = (witnessed.checkpoint.size, engine.size());
    if signed != records {
        return Err(Unconvincing::Beyond { signed, records });
    }
    let audited = verify(engine, Some(checkpoint.to_owned()), progress)?;
    let mut not_proved = vec![
        "that no bulletin was refused that should have been accepted: refusals leave no record"
            .to_owned(),
    ];
    let erased = audited.erased.len() as u64;
    let gone = audited.bulletins.saturating_sub(audited.bodies);
    if !contents {
        not_proved.push("that the contents are still there: they were not exported".to_owned());
    } else if gone > erased {
        // The export is of a moment, and the checkpoint older: what went since has its record beyond.
        not_proved.push(format!(
            "why the contents of {} bulletins are not here: no record up to the checkpoint says that \
             they were erased",
            gone - erased
        ));
    }
    if witnessed.cosigners.is_empty() {
        not_proved.push(UNWITNESSED.to_owned());
    }
    let names = witnessed.cosigners.iter().map(|(name, _)| name.clone());
    let names: Vec<String> = names.collect();
    let cosigned = if names.is_empty() {
        String::new()
    } else {
        format!(", cosigned by {}", names.join(", "))
    };
    Ok(Evidence {
        kind: "ledger",
        proved: told(&audited, &log, &cosigned),
        details: details(&audited),
        not_proved,
    })
}

/// The key that the first record names.
fn log_key(engine: &dyn Engine) -> Option<NoteKey> {
    let first = engine.read(0, 1).ok()?.pop()?;
    match Record::from_bytes(&first).ok()?.fact {
        Fact::Genesis(genesis) => genesis.log_key.parse().ok(),
        _ => None,
    }
}

fn told(audited: &Audited, log: &NoteKey, cosigned: &str) -> Vec<String> {
    vec![
        format!(
            "all {} records of the ledger {} are those that the log `{}` signed{cosigned}, up to {}",
            audited.records,
            audited.ledger,
            log.name(),
            audited.time
        ),
        format!(
            "each follows from those before it: every signature, every one of the {} releases of {} \
             bulletins by the agreements then in force, every number of a lane, and nothing besides",
            audited.releases, audited.bulletins
        ),
    ]
}

fn details(audited: &Audited) -> Vec<String> {
    let erased = audited.erased.iter().map(|one| {
        let order = one.order.as_ref();
        let order = order.map_or_else(String::new, |order| format!(" by {order}"));
        format!(
            "record {}: the contents of {} were erased by the rule `{}`{order} (record {})",
            one.position, one.bulletin, one.rule, one.by
        )
    });
    let disputed = audited.disputed.iter().map(|one| {
        format!(
            "record {}: {} acknowledges something else than was released in lane {}",
            one.position, one.partner, one.lane
        )
    });
    erased.chain(disputed).collect()
}
