//! Adding objects publishes them: they become bulletins with the labels of their collection, and a status
//! resource says of each what the broker made of it. It is kept with the outbox, and says "complete" when
//! every receipt is here, or the reason why there will be none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::earlier;
use super::objects::bundle;
use super::rows::{self, Became, Carried, Owed, Request, Requested};
use super::sightings::{self, Find};
use crate::bulletin::{BulletinId, Draft, Relation};
use crate::clock::{Timestamp, random};
use crate::formats::stix::{
    self, Bundle, Labels, Object, ObjectVersion, RefusedObject, read_bundle, renew,
};
use crate::gateway::taxii::{
    AddError, Fault, Status, StatusDetails, Version, identifier, timestamp,
};
use crate::node::{Adding, Applications, LabelsConfig, NEVER_GIVEN, NoticeDraft, Outcome};

/// How long a settled status is kept; TAXII asks for 24 hours (section 4.3).
const KEPT: Duration = Duration::from_hours(7 * 24);
/// Old ones that one request removes.
const REMOVED: usize = 64;

/// Who adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum By<'a> {
    /// A client of this name. It reads a status, and what was refused is published anew when it adds that
    /// again.
    Client(&'a str),
    /// A poll, which sees the same again and again: what was refused stays so, and is told once.
    Poll(&'a str),
}

/// Takes objects: see [`crate::gateway::taxii::Store::add`]. What was added before under the same
/// `collection` is published once; newer versions take the place of what they replace whole. Sightings of what `find` finds in the inbox go back to its originator.
pub(in crate::gateway) fn add(
    node: &Applications,
    adding: &Adding<'_>,
    by: By<'_>,
    collection: &str,
    labelling: &LabelsConfig,
    objects: &[&RawValue],
    find: &Find<'_>,
) -> Result<Status, AddError> {
    let now = node.clock().now();
    give_notices(node, adding)?;
    let text = bundle(objects.iter().map(|raw| raw.get()));
    let unreadable = |error: &dyn std::fmt::Display| AddError::Unprocessable(error.to_string());
    let mut bundle = read_bundle(text.as_bytes()).map_err(|error| unreadable(&error))?;
    let refused = refused(&bundle.refused, objects, now);
    let before = earlier::look(node, collection, &bundle)?;
    if matches!(by, By::Poll(_)) {
        bundle.objects.retain(|object| !before.refused(object));
    }
    let mut asked = Asked::take(&mut bundle, now);
    // Of several bulletins, it is in the one that holds.
    let (gone, hold): (Vec<_>, Vec<_>) = before
        .carriers
        .iter()
        .partition(|(_, bulletin)| before.replaced.contains(bulletin));
    for ((id, version), bulletin) in gone.into_iter().chain(hold) {
        asked.became(id, version, Became::Bulletin(bulletin.to_string()));
    }
    let back = sightings::take(node, &mut bundle, &before, find)?;
    for (id, version, became) in back.became {
        asked.became(&id, &version, became);
    }
    let texts: Vec<Object> = bundle.objects.clone();
    let renewal = renew(bundle, &labels(labelling), &before.published);
    for one in &renewal.contradicting {
        if let Some(object) = texts.get(one.index) {
            let version = ObjectVersion::of(&object.json);
            asked.became(&object.id, &version, other_content());
        }
    }
    let mut drafts: Vec<(BulletinId, Draft, Carried)> = back.drafts;
    for (id, draft) in named(node, renewal.drafts)? {
        let carried = carried(&draft);
        drafts.push((id, draft, carried));
    }
    let mut put = Vec::new();
    let mut all_owed: Vec<Owed> = Vec::new();
    for notice in back.recalls {
        all_owed.push(Owed {
            newer: notice.about,
            also: Vec::new(),
            notice,
        });
    }
    for (id, draft, carried) in &drafts {
        for (object, version) in &carried.objects {
            asked.became(object, version, Became::Bulletin(id.to_string()));
            put.push((rows::posted(collection, object, id), Vec::new()));
        }
        put.push((rows::carried(collection, id), json(carried)?));
        for owed in owed(*id, draft, &before.replaced) {
            owe(&mut all_owed, owed);
        }
    }
    for owed in all_owed {
        put.push(to_give(node, now, owed)?);
    }
    let mut request = Request {
        client: match by {
            By::Client(name) | By::Poll(name) => name.to_owned(),
        },
        at: now,
        objects: refused.into_iter().chain(asked.objects).collect(),
    };
    let id = identifier(node.entropy().as_ref()).map_err(Fault::new)?;
    if put.is_empty() && matches!(by, By::Poll(_)) {
        // Nobody asks for its status.
        return Ok(told(node, &id, &request)?);
    }
    put.push((rows::status(&id), json(&request)?));
    put.push((rows::old(now, &id), Vec::new()));
    // First what the status is made of, then the bulletins. A crash between leaves a status that nobody was
    // told of, and objects that are published when they come again.
    node.keep(&put, &removable(node, now)?)
        .map_err(Fault::from)?;
    let (drafts, bodies): (Vec<_>, Vec<_>) = drafts
        .into_iter()
        .map(|(id, draft, carried)| ((id, draft), (id, carried)))
        .unzip();
    let failed = publish(node, drafts)?;
    give_notices(node, adding)?;
    if !failed.is_empty() {
        for requested in &mut request.objects {
            if let Became::Bulletin(bulletin) = &requested.became
                && let Some(reason) = failed.get(bulletin)
            {
                requested.became = Became::Failed(reason.clone());
            }
        }
        let mut put = vec![(rows::status(&id), json(&request)?)];
        for (id, mut carried) in bodies {
            if failed.contains_key(&id.to_string()) {
                carried.refused = true;
                put.push((rows::carried(collection, &id), json(&carried)?));
            }
        }
        node.keep(&put, &[]).map_err(Fault::from)?;
    }
    Ok(told(node, &id, &request)?)
}

/// Publishes bulletins; why some of them cannot be.
fn publish(
    node: &Applications,
    drafts: Vec<(BulletinId, Draft)>,
) -> Result<BTreeMap<String, String>, Fault> {
    let mut failed = BTreeMap::new();
    for (id, draft) in drafts {
        match node.publish(draft) {
            Ok(()) => {}
            Err(trouble) if trouble.code == "invalid" => {
                failed.insert(id.to_string(), trouble.message);
            }
            // The node's own trouble, such as a full disk: whoever adds it again has it published.
            Err(trouble) => return Err(Fault::from(trouble)),
        }
    }
    Ok(failed)
}

/// The objects of a request, and what becomes of each.
struct Asked {
    objects: Vec<Requested>,
    /// Places by id and version; the same twice in one request is said once.
    places: HashMap<String, Vec<(ObjectVersion, usize)>>,
}

impl Asked {
    /// Of a bundle, in which each version of an object stays once.
    fn take(bundle: &mut Bundle, now: Timestamp) -> Self {
        let mut asked = Self {
            objects: Vec::new(),
            places: HashMap::new(),
        };
        bundle.objects.retain(|object| {
            let version = ObjectVersion::of(&object.json);
            let places = asked.places.entry(object.id.clone()).or_default();
            if places.iter().any(|(one, _)| *one == version) {
                return false;
            }
            let other = places.iter().any(|(one, _)| one.contradicts(&version));
            let became = if other {
                other_content()
            } else {
                places.push((version, asked.objects.len()));
                Became::Failed("not published".to_owned())
            };
            asked.objects.push(Requested {
                id: object.id.clone(),
                version: version_of(&object.json).unwrap_or_else(|| timestamp(now)),
                became,
            });
            !other
        });
        asked
    }

    fn became(&mut self, id: &str, version: &ObjectVersion, became: Became) {
        let places = self.places.get(id).into_iter().flatten();
        let place = places.filter(|(one, _)| one == version).map(|(_, at)| *at);
        for at in place.collect::<Vec<_>>() {
            if let Some(object) = self.objects.get_mut(at) {
                object.became = became.clone();
            }
        }
    }
}

/// What a bulletin carries.
fn carried(draft: &Draft) -> Carried {
    Carried {
        objects: stix::carried(draft),
        replaces: [draft.supersedes.as_slice(), &draft.retracts].concat(),
        refused: false,
    }
}

/// The notices that follow from a bulletin. What was replaced before gets no second one, but is taken back.
fn owed(newer: BulletinId, draft: &Draft, replaced: &BTreeSet<BulletinId>) -> Vec<Owed> {
    let superseded = draft.supersedes.iter().filter(|id| !replaced.contains(id));
    let superseded = superseded.map(|about| (about, Relation::Supersedes));
    let retracted = draft.retracts.iter();
    let all = superseded.chain(retracted.map(|about| (about, Relation::Retracts)));
    let notice = |(about, relation): (&BulletinId, Relation)| Owed {
        newer,
        also: Vec::new(),
        notice: NoticeDraft {
            id: None,
            about: *about,
            relation,
            reason: match relation {
                Relation::Retracts => format!("all its objects are revoked in {newer}"),
                _ => format!("newer versions of its objects are in {newer}"),
            },
            precedence: None,
            tlp: None,
            classification: None,
        },
    };
    all.map(notice).collect()
}

/// Adds to what is owed. Several bulletins that take the place of one give one notice of it, as soon as one is taken.
fn owe(all: &mut Vec<Owed>, owed: Owed) {
    let same = |one: &&mut Owed| {
        (one.notice.about, one.notice.relation) == (owed.notice.about, owed.notice.relation)
    };
    match all.iter_mut().find(same) {
        Some(one) => one.also.push(owed.newer),
        None => all.push(owed),
    }
}

/// What became of the bulletins from which a notice follows: the best that became of one.
fn outcome(node: &Applications, owed: &Owed) -> Result<Option<Outcome>, Fault> {
    let mut best = None;
    for newer in [&owed.newer].into_iter().chain(&owed.also) {
        let one = node.outcome(newer)?;
        if is_better(one.as_ref(), best.as_ref()) {
            best = one;
        }
    }
    Ok(best)
}

fn is_better(one: Option<&Outcome>, than: Option<&Outcome>) -> bool {
    let rank = |outcome: Option<&Outcome>| match outcome {
        None => 0,
        Some(Outcome::Rejected(_)) => 1,
        Some(Outcome::Pending) => 2,
        Some(Outcome::Promised | Outcome::Proved) => 3,
    };
    rank(one) > rank(than)
}

/// The row of a notice that has to be given. It has its id from here on: given twice it is the same bulletin.
fn to_give(
    node: &Applications,
    now: Timestamp,
    mut owed: Owed,
) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let drawn = random(node.entropy().as_ref()).map_err(Fault::new)?;
    owed.notice.id = Some(BulletinId::from_random(drawn));
    let row = rows::notice(now, &owed.notice.about, owed.notice.relation);
    Ok((row, json(&owed)?))
}

/// Gives the notices that are owed as the broker takes what they follow from, until the node stops.
pub(in crate::gateway) async fn give_owed(node: Applications) {
    let (stop, mut settled) = (node.stop(), node.settled());
    loop {
        settled.borrow_and_update();
        let one = node.clone();
        let given = tokio::task::spawn_blocking(move || give_notices(&one, &one.adding())).await;
        if let Ok(Err(error)) = given {
            tracing::warn!(%error, "what is owed cannot be looked at");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = settled.changed() => {}
        }
    }
}

/// Gives the notices that are owed, also those that a crash left, or that could not be given before: where the
/// broker took what they follow from. Until it has answered they stay owed; where it refused, what was to be replaced
/// holds.
pub(in crate::gateway) fn give_notices(
    node: &Applications,
    _adding: &Adding<'_>,
) -> Result<(), Fault> {
    let mut after = Vec::new();
    loop {
        let rows = node.rows(rows::NOTICES, &after, REMOVED)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for (key, row) in rows {
            let owed: Owed = serde_json::from_slice(&row).map_err(Fault::new)?;
            let about = owed.notice.about;
            match outcome(node, &owed)? {
                // Never published, or by nobody taken: what it would have replaced still holds.
                None | Some(Outcome::Rejected(_)) => {}
                Some(Outcome::Pending) if owed.newer != about => continue,
                Some(_) => {
                    if let Err(trouble) = node.give(owed.notice) {
                        let reason = trouble.message;
                        tracing::warn!(bulletin = %about, reason, "no notice could be given");
                        if !NEVER_GIVEN.contains(&trouble.code.as_str()) {
                            continue;
                        }
                    }
                }
            }
            node.keep(&[], &[key])?;
        }
    }
}

/// The status of an earlier request of this client.
pub(super) fn status(node: &Applications, client: &str, id: &str) -> Result<Option<Value>, Fault> {
    let Some(row) = node.row(&rows::status(id))? else {
        return Ok(None);
    };
    let request: Request = serde_json::from_slice(&row).map_err(Fault::new)?;
    if request.client != client {
        return Ok(None);
    }
    let status = told(node, id, &request)?;
    serde_json::to_value(status).map(Some).map_err(Fault::new)
}

/// What has become of a request by now.
fn told(node: &Applications, id: &str, request: &Request) -> Result<Status, Fault> {
    let (mut successes, mut failures, mut pendings) = (Vec::new(), Vec::new(), Vec::new());
    let mut outcomes: BTreeMap<&str, Option<Outcome>> = BTreeMap::new();
    for object in &request.objects {
        let details = |message: Option<String>| StatusDetails {
            id: object.id.clone(),
            version: object.version.clone(),
            message,
        };
        let bulletin = match &object.became {
            Became::Failed(reason) => {
                failures.push(details(Some(reason.clone())));
                continue;
            }
            Became::Bulletin(bulletin) => bulletin,
        };
        if !outcomes.contains_key(bulletin.as_str()) {
            let id: Option<BulletinId> = bulletin.parse().ok();
            let outcome = id.map(|id| node.outcome(&id)).transpose()?.flatten();
            outcomes.insert(bulletin, outcome);
        }
        match outcomes.get(bulletin.as_str()).cloned().flatten() {
            Some(Outcome::Proved) => successes.push(details(Some(format!("bulletin {bulletin}")))),
            Some(Outcome::Pending) => pendings.push(details(Some(
                "in the outbox; the broker has not answered".to_owned(),
            ))),
            Some(Outcome::Promised) => pendings.push(details(Some(
                "in the broker's log; its receipt is on the way".to_owned(),
            ))),
            Some(Outcome::Rejected(reason)) => failures.push(details(Some(reason))),
            None => failures.push(details(Some("not published; add it again".to_owned()))),
        }
    }
    let at = timestamp(request.at);
    Ok(Status::new(
        id.to_owned(),
        at,
        successes,
        failures,
        pendings,
    ))
}

/// What could not be read as an object of STIX 2.1, each with the reason.
fn refused(refused: &[RefusedObject], objects: &[&RawValue], now: Timestamp) -> Vec<Requested> {
    let told = |one: &RefusedObject| {
        let text = objects.get(one.index).map(|raw| raw.get());
        Requested {
            id: one
                .id
                .clone()
                .unwrap_or_else(|| format!("objects[{}]", one.index)),
            version: text.and_then(version_of).unwrap_or_else(|| timestamp(now)),
            became: Became::Failed(one.to_string()),
        }
    };
    refused.iter().map(told).collect()
}

/// STIX 2.1, section 3.6: the same id and version are the same object.
pub(super) fn other_content() -> Became {
    let reason =
        "another object of this id and version was added before; a change needs a new `modified`";
    Became::Failed(reason.to_owned())
}

fn version_of(json: &str) -> Option<String> {
    let object: Map<String, Value> = serde_json::from_str(json).ok()?;
    Version::of(&object).map(|version| version.as_str().to_owned())
}

fn labels(labelling: &LabelsConfig) -> Labels {
    Labels {
        kinds: labelling.kinds.clone(),
        topics: labelling.topics.clone(),
        regions: labelling.regions.clone(),
        tlp: labelling.tlp,
        precedence: labelling.precedence,
        releasable_to: labelling.releasable_to.clone(),
        exercise: labelling.exercise,
    }
}

/// Bulletins with ids, which are noted before they are published.
fn named(node: &Applications, drafts: Vec<Draft>) -> Result<Vec<(BulletinId, Draft)>, Fault> {
    let entropy = node.entropy();
    let named = drafts.into_iter().map(|mut draft| {
        let id = BulletinId::from_random(random(entropy.as_ref()).map_err(Fault::new)?);
        draft.id = Some(id);
        Ok((id, draft))
    });
    named.collect()
}

/// Rows of statuses that are old and settled.
fn removable(node: &Applications, now: Timestamp) -> Result<Vec<Vec<u8>>, Fault> {
    let mut gone = Vec::new();
    for (key, _) in node.rows(rows::OLD, &[], REMOVED)? {
        let Some((asked, id)) = rows::old_of(&key) else {
            continue;
        };
        if now.since(asked) <= KEPT {
            break;
        }
        let row = node.row(&rows::status(id))?;
        let request = row.and_then(|row| serde_json::from_slice::<Request>(&row).ok());
        let status = request
            .map(|request| told(node, id, &request))
            .transpose()?;
        if status.is_none_or(|status| status.pending_count == 0) {
            gone.push(rows::status(id));
            gone.push(key);
        }
    }
    Ok(gone)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(Fault::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(newer: u8, about: u8, relation: Relation) -> Owed {
        let mut draft = Draft::from_toml(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
             \"ip\"\nvalue = \"192.0.2.1\"\n",
        )
        .unwrap();
        draft.supersedes = vec![BulletinId([about; 16])];
        let mut owed = owed(BulletinId([newer; 16]), &draft, &BTreeSet::new());
        owed[0].notice.relation = relation;
        owed.remove(0)
    }

    #[test]
    fn several_that_take_the_place_of_one_owe_one_notice_and_any_of_them_is_enough() {
        let mut all = Vec::new();
        owe(&mut all, of(1, 9, Relation::Supersedes));
        owe(&mut all, of(2, 9, Relation::Supersedes));
        owe(&mut all, of(2, 9, Relation::Retracts));
        owe(&mut all, of(2, 8, Relation::Supersedes));
        let also: Vec<_> = all.iter().map(|one| one.also.as_slice()).collect();
        let second = [BulletinId([2; 16])];
        assert_eq!(also, [&second[..], &[], &[]]);
        let refused = Outcome::Rejected("no".into());
        let ranks = [
            None,
            Some(&refused),
            Some(&Outcome::Pending),
            Some(&Outcome::Promised),
        ];
        for (at, worse) in ranks.iter().enumerate() {
            for better in &ranks[at + 1..] {
                assert!(is_better(*better, *worse) && !is_better(*worse, *better));
            }
        }
    }
}
