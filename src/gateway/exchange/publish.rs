//! Adding objects publishes them: they become bulletins with the labels of their collection, and a status
//! resource says of each what the broker made of it. It is kept with the outbox, and says "complete" when
//! every receipt is here, or the reason why there will be none.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::objects::bundle;
use super::rows::{self, Became, Posted, Request, Requested};
use crate::bulletin::{BulletinId, Content, Draft};
use crate::clock::{Timestamp, random};
use crate::formats::stix::{Labels, drafts, read_bundle};
use crate::gateway::taxii::{
    AddError, Fault, Status, StatusDetails, Version, identifier, timestamp,
};
use crate::node::{Applications, LabelsConfig, Outcome};

/// How long a settled status is kept; TAXII asks for 24 hours (section 4.3).
const KEPT: Duration = Duration::from_hours(7 * 24);
/// Old ones that one request removes.
const REMOVED: usize = 64;

/// An object of a request that is to be published: its place among those, and its text's hash.
struct Valid {
    requested: usize,
    digest: String,
}

/// Takes objects: see [`crate::gateway::taxii::Store::add`]. What was added before under the same
/// `collection` is published once.
pub(in crate::gateway) fn add(
    node: &Applications,
    client: &str,
    collection: &str,
    labelling: &LabelsConfig,
    objects: &[&RawValue],
) -> Result<Status, AddError> {
    let now = node.clock().now();
    let text = bundle(objects.iter().map(|raw| raw.get()));
    let unreadable = |error: &dyn std::fmt::Display| AddError::Unprocessable(error.to_string());
    let mut bundle = read_bundle(text.as_bytes()).map_err(|error| unreadable(&error))?;
    let mut request = Request {
        client: client.to_owned(),
        at: now,
        objects: refused(&bundle.refused, objects, now),
    };
    // What is new of it; the rest was published before.
    let mut put = Vec::new();
    let mut fresh: BTreeMap<(String, String), Valid> = BTreeMap::new();
    let mut kept = Vec::new();
    for object in std::mem::take(&mut bundle.objects) {
        let version = version_of(&object.json);
        let digest = HEXLOWER.encode(digest(&SHA256, object.json.as_bytes()).as_ref());
        let key = (object.id.clone(), version.clone().unwrap_or_default());
        let told = Requested {
            id: object.id.clone(),
            version: version.unwrap_or_else(|| timestamp(now)),
            became: Became::Failed("not published".to_owned()),
        };
        let became = match fresh.get(&key) {
            // The same twice in one request: it is said once what became of it.
            Some(same) if same.digest == digest => continue,
            Some(_) => Some(other_content()),
            None => known(node, collection, &key, &digest)?,
        };
        if let Some(became) = became {
            request.objects.push(Requested { became, ..told });
            continue;
        }
        let valid = Valid {
            requested: request.objects.len(),
            digest,
        };
        fresh.insert(key, valid);
        request.objects.push(told);
        kept.push(object);
    }
    bundle.objects = kept;
    let drafts = named(node, drafts(bundle, &labels(labelling)))?;
    for (id, draft) in &drafts {
        for key in keys(draft) {
            let Some(valid) = fresh.get(&key) else {
                continue;
            };
            if let Some(requested) = request.objects.get_mut(valid.requested) {
                requested.became = Became::Bulletin(id.to_string());
            }
            let posted = Posted {
                digest: valid.digest.clone(),
                bulletin: id.to_string(),
            };
            let row = rows::posted(collection, &key.0, &key.1);
            put.push((row, json(&posted)?));
        }
    }
    let id = identifier(node.entropy().as_ref()).map_err(Fault::new)?;
    put.push((rows::status(&id), json(&request)?));
    put.push((rows::old(now, &id), Vec::new()));
    // First what the status is made of, then the bulletins. A crash between leaves a status that nobody was
    // told of, and objects that are published when they come again.
    node.keep(&put, &removable(node, now)?)
        .map_err(Fault::from)?;
    let mut failed = BTreeMap::new();
    for (id, draft) in drafts {
        match node.publish(draft) {
            Ok(()) => {}
            Err(trouble) if trouble.code == "invalid" => {
                failed.insert(id.to_string(), trouble.message);
            }
            // The node's own trouble, such as a full disk: whoever adds it again has it published.
            Err(trouble) => return Err(Fault::from(trouble).into()),
        }
    }
    if !failed.is_empty() {
        for requested in &mut request.objects {
            if let Became::Bulletin(bulletin) = &requested.became
                && let Some(reason) = failed.get(bulletin)
            {
                requested.became = Became::Failed(reason.clone());
            }
        }
        let row = (rows::status(&id), json(&request)?);
        node.keep(&[row], &[]).map_err(Fault::from)?;
    }
    Ok(told(node, &id, &request)?)
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
fn refused(
    refused: &[crate::formats::stix::RefusedObject],
    objects: &[&RawValue],
    now: Timestamp,
) -> Vec<Requested> {
    let told = |one: &crate::formats::stix::RefusedObject| {
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

/// What became of this version where it was published through this collection before; `None` where it has
/// to be published. What was refused then is published anew: nobody has a receipt for it.
fn known(
    node: &Applications,
    collection: &str,
    (id, version): &(String, String),
    digest: &str,
) -> Result<Option<Became>, Fault> {
    let row = node.row(&rows::posted(collection, id, version))?;
    let Some(row) = row else { return Ok(None) };
    let posted: Posted = serde_json::from_slice(&row).map_err(Fault::new)?;
    let outcome = posted.bulletin().map(|id| node.outcome(&id)).transpose()?;
    match outcome.flatten() {
        None | Some(Outcome::Rejected(_)) => Ok(None),
        Some(_) if posted.digest == digest => Ok(Some(Became::Bulletin(posted.bulletin))),
        Some(_) => Ok(Some(other_content())),
    }
}

/// STIX 2.1, section 3.6: the same id and version are the same object.
fn other_content() -> Became {
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

/// Ids and versions of a bulletin's objects.
fn keys(draft: &Draft) -> impl Iterator<Item = (String, String)> {
    draft.parts.iter().filter_map(|part| {
        let Content::Stix(stix) = &part.content else {
            return None;
        };
        let object: Map<String, Value> = serde_json::from_str(&stix.json).ok()?;
        let id = object.get("id")?.as_str()?.to_owned();
        let version = Version::of(&object).map(|one| one.as_str().to_owned());
        Some((id, version.unwrap_or_default()))
    })
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
