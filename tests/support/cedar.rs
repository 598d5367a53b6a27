//! Agreements as Cedar policies: an independent engine's answer to whether one part of a bulletin
//! may flow to a partner.
//!
//! Cedar has no subtrees, so lists of topics and regions are written out over the words in use.

#![allow(dead_code, reason = "the test and the benchmark use different halves")]

use std::fmt::Write as _;
use std::str::FromStr;

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use entente::agreement::{Agreement, Clause, Onward, Regions};
use entente::bulletin::{Labels, Level, PartClass, Region, Shown, Topic};
use entente::clock::Timestamp;
use entente::partner::PartnerId;
use serde_json::json;

/// The policies of some agreements, over these regions.
pub(crate) fn policies<'a>(
    agreements: impl IntoIterator<Item = &'a Agreement>,
    regions: &[Region],
) -> PolicySet {
    let mut text = String::from(LABELS);
    for agreement in agreements {
        for clause in &agreement.clauses {
            for from in agreement.parties.iter().map(|party| &party.partner) {
                for to in agreement.parties.iter().map(|party| &party.partner) {
                    if from != to && clause.from.contains(from) && clause.to.contains(to) {
                        policy(&mut text, agreement, clause, from, to, regions);
                    }
                }
            }
        }
    }
    PolicySet::from_str(&text).expect("policies")
}

/// What a bulletin's own labels forbid, whatever clauses say.
const LABELS: &str = r#"
forbid(principal, action, resource) when {
    (context.named && !context.releasable.contains(principal))
    || (!context.named && (context.tlp == 4 || context.caveats.contains("LIMDIS")))
    || context.now < context.from || context.now >= context.until
    || context.class == "audience"
};
"#;

fn policy(
    text: &mut String,
    agreement: &Agreement,
    clause: &Clause,
    from: &PartnerId,
    to: &PartnerId,
    regions: &[Region],
) {
    let topics = Topic::all().filter(|topic| clause.topics.cover(*topic));
    let kinds = list(clause.kinds.iter());
    let precedences = list(clause.precedences.iter());
    let withhold = list(clause.withhold.iter());
    let _ = write!(
        text,
        "permit(principal == Partner::\"{to}\", action, resource == Partner::\"{from}\") when {{\n\
         context.now >= {} && context.now < {} && {kinds}.containsAll(context.kinds) && \
         {}.containsAll(context.topics) && context.tlp <= {} && \
         {precedences}.contains(context.precedence) && !{withhold}.contains(context.class) && ({})",
        agreement.valid_from.micros(),
        agreement.valid_until.micros(),
        list(topics),
        clause.tlp_ceiling as u8,
        classification(agreement, clause),
    );
    if clause.regions != Regions::All {
        let covered = regions.iter().filter(|one| clause.regions.cover(**one));
        let _ = write!(
            text,
            " && !context.regions.isEmpty() && {}.containsAll(context.regions)",
            list(covered)
        );
    }
    if clause.exercise_only {
        text.push_str(" && context.exercise");
    }
    if clause.onward == Onward::WithinAgreement {
        text.push_str(" && !context.caveats.contains(\"ORCON\")");
    }
    if let Some(least) = clause.least_reliability {
        let _ = write!(text, " && context.reliability <= {least}");
    }
    if let Some(least) = clause.least_credibility {
        let _ = write!(text, " && context.credibility <= {least}");
    }
    match clause.originator {
        Shown::Named => {
            text.push_str(" && (!context.disguised || context.revealed.contains(principal))");
        }
        Shown::Alias => text.push_str(" && context.disguised"),
        Shown::Framework => text.push_str(" && context.disguised && context.once"),
    }
    let _ = write!(
        text,
        " && (!context.disguised || context.agreement == \"{}\")",
        agreement.name
    );
    if clause.confidential_recipients {
        text.push_str(" && !context.namesRecipients");
        if clause.originator == Shown::Named {
            text.push_str(" && !context.revealsToMany");
        }
    }
    text.push_str("\n};\n");
}

fn classification(agreement: &Agreement, clause: &Clause) -> String {
    let mut text = String::from("context.level == 0");
    if let Some(ceiling) = &clause.classification_ceiling {
        let _ = write!(
            text,
            " || (context.scheme == \"{}\" && context.level <= {})",
            ceiling.policy, ceiling.level as u8
        );
        for one in &agreement.equivalents {
            if one.counts_as.policy == ceiling.policy && one.counts_as.level <= ceiling.level {
                let _ = write!(
                    text,
                    " || (context.scheme == \"{}\" && context.level == {})",
                    one.level.policy, one.level.level as u8
                );
            }
        }
    }
    text
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items
        .map(|one| format!("\"{}\"", one.to_string()))
        .collect();
    format!("[{}]", items.join(", "))
}

/// One question: may this part of this bulletin flow to this partner at this time?
pub(crate) fn request(
    labels: &Labels,
    class: PartClass,
    to: &PartnerId,
    now: Timestamp,
) -> Request {
    let whole = labels.classification.as_ref();
    let names =
        |partner: &PartnerId| json!({"__entity": {"type": "Partner", "id": partner.as_str()}});
    let releasable = labels.releasable_to.iter().flatten().map(names);
    let disguise = labels.disguise.as_ref();
    let revealed = disguise
        .into_iter()
        .flat_map(|one| &one.reveal_to)
        .map(names);
    let context = json!({
        "disguised": disguise.is_some(),
        "once": disguise.is_some_and(|one| one.single_use),
        "agreement": disguise.map_or("", |one| &*one.agreement),
        "revealsToMany": disguise.is_some_and(|one| one.reveal_to.len() > 1),
        "revealed": revealed.collect::<Vec<_>>(),
        "kinds": labels.kinds,
        "topics": labels.topics,
        "regions": labels.regions,
        "tlp": labels.tlp as u8,
        "scheme": whole.map_or("", |whole| whole.policy.as_str()),
        "level": whole.map_or(Level::Unclassified, |whole| whole.level) as u8,
        "precedence": labels.precedence,
        "exercise": labels.exercise,
        "caveats": labels.caveats,
        "reliability": labels.admiralty.reliability.unwrap_or(9),
        "credibility": labels.admiralty.credibility.unwrap_or(9),
        "namesRecipients": labels.names_recipients,
        "named": labels.releasable_to.is_some(),
        "releasable": releasable.collect::<Vec<_>>(),
        "class": class,
        "now": now.micros(),
        "from": labels.valid_from.micros(),
        "until": labels.valid_until.micros(),
    });
    let uid = |partner: &PartnerId| {
        EntityUid::from_str(&format!("Partner::\"{partner}\"")).expect("an entity")
    };
    let action = EntityUid::from_str("Action::\"receive\"").expect("an action");
    let context = Context::from_json_value(context, None).expect("a context");
    Request::new(uid(to), action, uid(&labels.originator), context, None).expect("a request")
}

/// Cedar's answer.
pub(crate) fn allows(policies: &PolicySet, request: &Request) -> bool {
    let response = Authorizer::new().is_authorized(request, policies, &Entities::empty());
    response.decision() == Decision::Allow
}
