//! What a verified statement proves, in sentences.

use super::Subject;
use super::check::{Check, Whole};
use crate::audit::Evidence;
use crate::bulletin::{BulletinId, Precedence};
use crate::ledger::LaneRelease;
use crate::partner::PartnerId;

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
            "by the key sets in the log everything here is signed as it says, {} by all their parties among it",
            count(agreements, "agreement")
        ));
        match &self.statement.subject {
            Subject::Partner(partner) => {
                self.tell_of_partner(partner, &period, &lanes, &mut proved, &mut not_proved);
            }
            Subject::Bulletin(id) => self.tell_of_bulletin(*id, &mut proved, &mut not_proved),
        }
        not_proved.push(
            "that each number of a lane that was taken carried its bulletin, and all these parts: where \
             permission had narrowed or ended before, it came with less, or empty"
                .to_owned(),
        );
        if self.nameless > 0 {
            not_proved.push(format!(
                "who published {} of the bulletins: their headers name a key only",
                self.nameless
            ));
        }
        not_proved.push("what the bulletins say: contents are no part of a statement".to_owned());
        Evidence {
            kind: "statement",
            proved,
            details: self.details,
            not_proved,
        }
    }

    fn tell_of_partner(
        &self,
        partner: &PartnerId,
        period: &str,
        lanes: &[Whole],
        proved: &mut Vec<String>,
        not_proved: &mut Vec<String>,
    ) {
        proved.push(format!(
            "{} that {partner} published under its name{period} and {} that went to it are here, each with \
             its originator's signature",
            count(self.gave.len(), "bulletin"),
            self.got.len()
        ));
        for Whole { lane, last, ends } in lanes {
            proved.push(format!(
                "of what was released to {partner} in lane {lane} nothing is left out up to number {last}"
            ));
            match self.acknowledged.get(&(partner.clone(), *lane)) {
                Some((up_to, at)) => proved.push(format!(
                    "{partner} signed at {at} that it took lane {lane} up to number {up_to}"
                )),
                None => not_proved.push(format!(
                    "that {partner} took anything of lane {lane}: no acknowledgement is here"
                )),
            }
            if !ends {
                not_proved.push(format!(
                    "that nothing was released to {partner} after number {last} of lane {lane}"
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
                "that nothing was released to {partner} in lane {}, of which nothing is here",
                silent.join(", ")
            ));
        }
        not_proved.push(format!(
            "that {partner} published nothing else: the numbers of lanes count what is released to it; the \
             whole ledger proves it"
        ));
        not_proved.push(format!(
            "that {partner} published nothing under a pseudonym: a statement would unmask it"
        ));
    }

    fn tell_of_bulletin(
        &self,
        id: BulletinId,
        proved: &mut Vec<String>,
        not_proved: &mut Vec<String>,
    ) {
        proved.push(format!(
            "the records that are here release bulletin {id}, which its originator signed, to {}, and hide \
             none of theirs",
            count(self.released.len(), "recipient")
        ));
        for (recipient, lane, number) in &self.released {
            match self.acknowledged.get(&(recipient.clone(), *lane)) {
                Some((up_to, at)) if up_to >= number => proved.push(format!(
                    "{recipient} signed at {at} that it took lane {lane} up to number {up_to}: this \
                     bulletin has number {number}"
                )),
                _ => not_proved.push(format!("that {recipient} took it: no acknowledgement is here")),
            }
        }
        not_proved.push(
            "that it was released to nobody else by a later record: the whole ledger proves it"
                .to_owned(),
        );
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
