//! What a verified statement proves, in sentences.

use super::Subject;
use super::check::{Check, Whole};
use crate::audit::Evidence;
use crate::bulletin::Precedence;
use crate::ledger::LaneRelease;

impl Check<'_> {
    pub(super) fn tell(self, lanes: Vec<Whole>) -> Evidence {
        let (mut proved, mut not_proved) = (Vec::new(), Vec::new());
        let period = match (self.statement.since, self.statement.until) {
            (None, None) => String::new(),
            (Some(since), None) => format!(" since {since}"),
            (None, Some(until)) => format!(" before {until}"),
            (Some(since), Some(until)) => format!(" from {since} to {until}"),
        };
        let agreements = self.agreements.len();
        proved.push(format!(
            "the log has the key sets of all who signed, and {} with its parties' signatures",
            count(agreements, "agreement")
        ));
        match &self.statement.subject {
            Subject::Partner(partner) => {
                proved.push(format!(
                    "{partner} gave {} and got {}{period}, each with its originator's signature",
                    count(self.gave.len(), "bulletin"),
                    self.got.len()
                ));
                for one in &lanes {
                    let (lane, last) = (one.lane, one.last);
                    let acked = self.acknowledged.get(&(partner.clone(), lane));
                    let acked = acked.map_or_else(
                        || format!("{partner} has not acknowledged any of it"),
                        |(up_to, at)| {
                            format!("{partner} signed at {at} that it holds it up to {up_to}")
                        },
                    );
                    proved.push(format!(
                        "in lane {lane} nothing is left out up to number {last}; {acked}"
                    ));
                    if !one.ends {
                        not_proved.push(format!(
                            "that {partner} got nothing after number {last} of lane {lane}"
                        ));
                    }
                }
                let silent = Precedence::ALL.iter();
                let silent: Vec<String> = silent
                    .filter(|lane| lanes.iter().all(|one| one.lane != **lane))
                    .map(ToString::to_string)
                    .collect();
                if !silent.is_empty() {
                    not_proved.push(format!(
                        "that {partner} got nothing in lane {}, of which nothing is here",
                        silent.join(", ")
                    ));
                }
                not_proved.push(format!(
                    "that {partner} gave nothing else: the numbers of lanes count what is got; the whole \
                     ledger proves it"
                ));
            }
            Subject::Bulletin(id) => {
                proved.push(format!(
                    "bulletin {id}, which its originator signed, was released to {}",
                    count(self.released.len(), "recipient")
                ));
                for (recipient, lane, number) in &self.released {
                    match self.acknowledged.get(&(recipient.clone(), *lane)) {
                        Some((up_to, at)) if up_to >= number => proved.push(format!(
                            "{recipient} signed at {at} that it holds lane {lane} up to {up_to}: number \
                             {number} is it"
                        )),
                        _ => not_proved.push(format!("that {recipient} has it")),
                    }
                }
                not_proved.push(
                    "that it was released to nobody else by a later record: the whole ledger proves it"
                        .to_owned(),
                );
            }
        }
        if self.nameless > 0 {
            not_proved.push(format!(
                "who published {} of the bulletins: their headers name a key only",
                self.nameless
            ));
        }
        not_proved.push(
            "what the bulletins say: contents are no part of a statement; and that they arrived with all \
             these parts: permission may have narrowed before they were delivered"
                .to_owned(),
        );
        Evidence {
            kind: "statement",
            proved,
            details: self.details,
            not_proved,
        }
    }
}

fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn terms_text(one: &LaneRelease) -> String {
    let release = &one.release;
    let clauses: Vec<String> = release.clauses.iter().map(ToString::to_string).collect();
    let under = if clauses.is_empty() {
        "as a notice".to_owned()
    } else {
        format!("under {}", clauses.join(", "))
    };
    match release.withheld.len() {
        0 => under,
        1 => format!("{under}, one part withheld"),
        parts => format!("{under}, {parts} parts withheld"),
    }
}

pub(super) fn release_text(one: &LaneRelease) -> String {
    let held = if one.number == 0 {
        ", held until it is let go"
    } else {
        ""
    };
    format!("{} {}{held}", one.release.recipient, terms_text(one))
}
