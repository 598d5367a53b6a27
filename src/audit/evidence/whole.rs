//! A whole exported ledger.

use super::{Evidence, Trusted, Unconvincing};
use crate::audit::verify::{Audited, verify, verify_with_contents};
use crate::ledger::{Engine, Fact, Record};
use crate::proof::NoteKey;

/// Verifies every record of a ledger and the checkpoint over them; `contents`: that contents are there, too,
/// but for those of which a record says that they were erased. `progress` is told how many records were
/// verified.
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
    let note = Some(checkpoint.to_owned());
    let audited = if contents {
        verify_with_contents(engine, note, progress)
    } else {
        verify(engine, note, progress)
    }?;
    let mut not_proved = vec![
        "that no bulletin was refused that should have been accepted: refusals leave no record"
            .to_owned(),
    ];
    if !contents {
        not_proved.push("that the contents are still there: they were not exported".to_owned());
    }
    if witnessed.cosigners.is_empty() {
        not_proved.push(
            "that others were shown the same log: no witness that is trusted here cosigned it"
                .to_owned(),
        );
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
