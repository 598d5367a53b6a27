//! Receipts, and proofs of a fork.

use super::{Evidence, UNWITNESSED, Unconvincing};
use crate::clock::Timestamp;
use crate::ledger::{Fact, Proven, Shown};
use crate::proof::{ForkProof, NoteKey, Policy};

pub(super) fn of_fork(proof: &ForkProof, policy: &Policy) -> Result<Evidence, Unconvincing> {
    let mut last = Unconvincing::NoLog;
    let logs: Vec<&NoteKey> = policy.logs().iter().map(|known| &known.key).collect();
    for log in logs {
        match proof.verify(log) {
            Ok(forked) => {
                let (first, second) = (&forked.first, &forked.second);
                return Ok(Evidence {
                    kind: "fork proof",
                    proved: vec![
                        format!(
                            "the key of the log `{}` signed two histories: one of {} records, and one \
                             of {} that does not begin with it",
                            log.name(),
                            first.size,
                            second.size
                        ),
                        "whoever holds that key did so; nobody else could have".to_owned(),
                    ],
                    details: Vec::new(),
                    not_proved: vec![
                        "which of the two histories is the true one, and where they part"
                            .to_owned(),
                    ],
                });
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

pub(super) fn of_receipt(proven: &Proven) -> Evidence {
    let head = &proven.witnessed.checkpoint;
    let mut proved = vec![format!(
        "record {} is in the log `{}`, under a checkpoint of {} records that the log signed{}",
        proven.position,
        head.origin,
        head.size,
        cosigners(proven)
    )];
    let mut not_proved = Vec::new();
    tell(&proven.shown, &mut proved, &mut not_proved);
    if proven.witnessed.cosigners.is_empty() {
        not_proved.push(UNWITNESSED.to_owned());
    }
    Evidence {
        kind: "receipt",
        proved,
        details: Vec::new(),
        not_proved,
    }
}

fn cosigners(proven: &Proven) -> String {
    let named = proven.witnessed.cosigners.iter().map(|(name, seconds)| {
        let micros = i64::try_from(*seconds).ok();
        let micros = micros.and_then(|seconds| seconds.checked_mul(1_000_000));
        let time = micros.and_then(Timestamp::from_micros);
        time.map_or_else(|| name.clone(), |time| format!("{name} at {time}"))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        String::new()
    } else {
        format!(" and that was cosigned by {}", named.join(", "))
    }
}

/// What the opened pieces say.
fn tell(shown: &Shown, proved: &mut Vec<String>, not_proved: &mut Vec<String>) {
    if let Some(summary) = &shown.summary {
        let did = if summary.accepted {
            "the log accepted"
        } else {
            "the log let something go of, or gave later,"
        };
        proved.push(format!(
            "at {} {did} bulletin {}, whose header hashes to {}",
            summary.time, summary.id, summary.bulletin
        ));
        not_proved
            .push("what the bulletin says, and who signed it: that is in the bulletin".into());
    }
    if let Some(tally) = &shown.tally {
        let held = match tally.held {
            0 => String::new(),
            held => format!(", and held from {held} until it is let go"),
        };
        let released = tally.released;
        proved.push(format!(
            "this record releases it to {released} recipient{}{held}",
            if released == 1 { "" } else { "s" }
        ));
        not_proved.push("that its recipients have it: their acknowledgements say so".into());
    }
    for one in &shown.releases {
        let release = &one.release;
        let clauses: Vec<String> = release.clauses.iter().map(ToString::to_string).collect();
        let under = if clauses.is_empty() {
            "as a notice".to_owned()
        } else {
            format!("under {}", clauses.join(", "))
        };
        let withheld: Vec<String> = release.withheld.iter().map(ToString::to_string).collect();
        let withheld = if withheld.is_empty() {
            "with no part withheld".to_owned()
        } else {
            format!("with part {} withheld", withheld.join(", "))
        };
        if one.number > 0 && !release.clauses.is_empty() {
            not_proved.push(
                "that it arrived with these parts: permission may have narrowed before it was delivered"
                    .to_owned(),
            );
        }
        let place = match one.number {
            0 => "held until it is let go".to_owned(),
            number => format!("number {number} of its lane"),
        };
        proved.push(format!(
            "it is released to {} {under}, {withheld}: {place}",
            release.recipient
        ));
    }
    if let Some((time, fact)) = &shown.fact {
        proved.push(format!("at {time} it records: {}", told(fact)));
    }
}

fn told(fact: &Fact) -> String {
    match fact {
        Fact::AgreementRatified(signed) => signed.terms().map_or_else(
            |_| "an agreement that this version cannot read".to_owned(),
            |terms| {
                format!(
                    "agreement {}@{} ({}) is in force from here on",
                    terms.name,
                    terms.version,
                    signed.id()
                )
            },
        ),
        Fact::AgreementWithdrawn(signed) => {
            let claimed = signed.claimed();
            format!(
                "{} withdrew from agreement {}",
                claimed.partner, claimed.agreement
            )
        }
        Fact::Acknowledged(signed) => {
            let lanes = signed.ack.lanes.iter();
            let lanes = lanes.map(|lane| format!("{} up to {}", lane.precedence, lane.up_to));
            let lanes: Vec<String> = lanes.collect();
            format!("{} holds lane {}", signed.ack.recipient, lanes.join(", "))
        }
        Fact::Declared(signed) => {
            let one = &signed.declaration;
            format!("{} declares {} {}", one.partner, one.id, one.what.name())
        }
        other => other.name().replace('_', " "),
    }
}
