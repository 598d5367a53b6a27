//! Warnings as alerts of the Common Alerting Protocol 1.2 (OASIS), and back.
//!
//! In scope: what public-warning systems take. Out of scope: older versions, which are refused by name,
//! and resources that alerts point to.

use std::fmt::Write as _;

use thiserror::Error;
use time::macros::format_description;

use super::derived::derived;
use super::xml::{self, Element, XmlError, escaped};
use super::{Disclosed, Labels};
use crate::bulletin::content::{Action, Line, Warning};
use crate::bulletin::{BulletinId, Content, Draft, DraftPart, Kind, Precedence, Region, Tlp};
use crate::clock::Timestamp;

/// The namespace of CAP 1.2.
const NAMESPACE: &str = "urn:oasis:names:tc:emergency:cap:1.2";

/// The most areas of an alert.
const MAX_AREAS: usize = 1_000;
/// The most bytes of an info's text, taken as often as it has areas.
const MAX_TEXT_BYTES: usize = 2 * 1024 * 1024;

/// An alert that is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CapError {
    /// No XML that is read.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Another document.
    #[error("it is no CAP 1.2 alert, but `{name}` of `{namespace}`")]
    NoAlert {
        /// The outermost element.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Something is missing, or not of the values that there are.
    #[error("`{element}`: {reason}")]
    Invalid {
        /// Where.
        element: &'static str,
        /// Why.
        reason: String,
    },
    /// A test, a draft, an acknowledgement: nothing to share.
    #[error("{0}: it is nothing to share")]
    NotShared(String),
}

type Read<T> = Result<T, CapError>;

/// The closed lists of values (section 3.2).
const STATUS: &[&str] = &["Actual", "Exercise", "System", "Test", "Draft"];
const MESSAGE: &[&str] = &["Alert", "Update", "Cancel", "Ack", "Error"];
const SCOPE: &[&str] = &["Public", "Restricted", "Private"];
const CATEGORY: &[&str] = &[
    "Geo",
    "Met",
    "Safety",
    "Security",
    "Rescue",
    "Fire",
    "Health",
    "Env",
    "Transport",
    "Infra",
    "CBRNE",
    "Other",
];
const URGENCY: &[&str] = &["Immediate", "Expected", "Future", "Past", "Unknown"];
const SEVERITY: &[&str] = &["Extreme", "Severe", "Moderate", "Minor", "Unknown"];
const CERTAINTY: &[&str] = &["Observed", "Likely", "Possible", "Unlikely", "Unknown"];

/// An alert as far as a bulletin takes it up.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Who sent it, its identifier and time: what later messages refer to it by.
    pub reference: String,
    /// `Actual` or `Exercise`.
    pub exercise: bool,
    /// `Cancel`: it takes back what it refers to; `Update`: it takes its place.
    pub message: String,
    /// The messages it refers to, as `sender,identifier,sent`.
    pub references: Vec<String>,
    /// How far it may go, by its scope.
    pub tlp: Tlp,
    /// What it warns of.
    pub warnings: Vec<Warning>,
    /// What it advises.
    pub actions: Vec<Action>,
}

/// Reads an alert.
pub fn read_alert(bytes: &[u8]) -> Read<Alert> {
    let root = xml::read(bytes)?;
    if root.name != "alert" || root.namespace != NAMESPACE {
        return Err(CapError::NoAlert {
            name: root.name,
            namespace: root.namespace,
        });
    }
    let identifier = identifier(&root, "identifier")?;
    let sender = self::identifier(&root, "sender")?;
    let sent = required(&root, "sent")?;
    moment("sent", sent)?;
    let status = one_of(&root, "status", STATUS)?;
    let message = one_of(&root, "msgType", MESSAGE)?;
    let scope = one_of(&root, "scope", SCOPE)?;
    if matches!(status, "System" | "Test" | "Draft") {
        return Err(CapError::NotShared(format!("status {status}")));
    }
    if matches!(message, "Ack" | "Error") {
        return Err(CapError::NotShared(format!("message type {message}")));
    }
    let references = root.text_of("references").unwrap_or_default();
    let references: Vec<String> = references.split_whitespace().map(str::to_owned).collect();
    if references.is_empty() && message != "Alert" {
        return Err(invalid(
            "references",
            format!("an {message} must have them"),
        ));
    }
    let tlp = match scope {
        "Public" => Tlp::Clear,
        "Restricted" => {
            required(&root, "restriction")?;
            Tlp::Amber
        }
        _ => {
            required(&root, "addresses")?;
            Tlp::Red
        }
    };
    let (mut warnings, mut actions) = (Vec::new(), Vec::new());
    for info in root.all("info") {
        read_info(info, &mut warnings, &mut actions)?;
    }
    Ok(Alert {
        reference: format!("{sender},{identifier},{sent}"),
        exercise: status == "Exercise",
        message: message.to_owned(),
        references,
        tlp,
        warnings,
        actions,
    })
}

fn invalid(element: &'static str, reason: impl Into<String>) -> CapError {
    CapError::Invalid {
        element,
        reason: reason.into(),
    }
}

fn required<'a>(element: &'a Element, name: &'static str) -> Read<&'a str> {
    element
        .text_of(name)
        .ok_or_else(|| invalid(name, "it is missing"))
}

/// Without spaces, commas, `<` and `&` (section 3.2.1).
fn identifier<'a>(element: &'a Element, name: &'static str) -> Read<&'a str> {
    let text = required(element, name)?;
    if text.contains(|c: char| c.is_whitespace() || matches!(c, ',' | '<' | '&')) {
        return Err(invalid(name, "it has spaces, commas, < or &"));
    }
    Ok(text)
}

fn one_of<'a>(element: &'a Element, name: &'static str, allowed: &[&str]) -> Read<&'a str> {
    let text = required(element, name)?;
    if allowed.contains(&text) {
        return Ok(text);
    }
    Err(invalid(
        name,
        format!("it is one of {}", allowed.join(", ")),
    ))
}

/// A time with its zone in digits; `Z` is not allowed (section 3.3.2).
fn moment(name: &'static str, text: &str) -> Read<Timestamp> {
    let at = (!text.ends_with(['Z', 'z'])).then(|| text.parse().ok());
    at.flatten()
        .ok_or_else(|| invalid(name, "it is no time such as 2026-11-23T12:00:00+00:00"))
}

fn read_info(info: &Element, warnings: &mut Vec<Warning>, actions: &mut Vec<Action>) -> Read<()> {
    if info.child("category").is_none() {
        return Err(invalid("category", "it is missing"));
    }
    for category in info.all("category") {
        if !CATEGORY.contains(&category.text.as_str()) {
            let reason = format!("it is one of {}", CATEGORY.join(", "));
            return Err(invalid("category", reason));
        }
    }
    let event = required(info, "event")?;
    one_of(info, "urgency", URGENCY)?;
    one_of(info, "severity", SEVERITY)?;
    one_of(info, "certainty", CERTAINTY)?;
    let time = |name: &'static str| {
        info.text_of(name)
            .map(|text| moment(name, text))
            .transpose()
    };
    let (onset, effective) = (time("onset")?, time("effective")?);
    let until = time("expires")?;
    let from = onset.or(effective);
    let texts = [info.text_of("headline"), info.text_of("description")];
    let text: Vec<&str> = texts.into_iter().flatten().collect();
    let text = if text.is_empty() {
        event.to_owned()
    } else {
        text.join("\n\n")
    };
    let warning = Warning {
        text: clean(&text)
            .parse()
            .map_err(|_| invalid("description", "it is no text"))?,
        from: from.filter(|from| until.is_none_or(|until| *from <= until)),
        until,
        place: None,
        region: None,
        latitude: None,
        longitude: None,
        method: None,
        target: None,
    };
    // Each area repeats the text.
    let count = info.all("area").count();
    if warnings.len() + count > MAX_AREAS || text.len() * count > MAX_TEXT_BYTES {
        let reason = format!("there are more than {MAX_AREAS}, or their texts are too long");
        return Err(invalid("area", reason));
    }
    let mut areas = Vec::new();
    for area in info.all("area") {
        let place = required(area, "areaDesc")?;
        let circle = area.text_of("circle").and_then(centre);
        areas.push(Warning {
            place: line(place),
            latitude: circle.map(|(north, _)| north),
            longitude: circle.map(|(_, east)| east),
            ..warning.clone()
        });
    }
    if areas.is_empty() {
        areas.push(warning);
    }
    warnings.append(&mut areas);
    if let Some(text) = info.text_of("instruction") {
        let text = clean(text).parse();
        let text = text.map_err(|_| invalid("instruction", "it is no text"))?;
        actions.push(Action { text });
    }
    Ok(())
}

fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// The beginning of a text as a line.
fn line<T: std::str::FromStr>(text: &str) -> Option<T> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(250).collect();
    clean(&text).parse().ok()
}

/// `north,east radius`.
fn centre(circle: &str) -> Option<(f64, f64)> {
    let (north, east) = circle.split_whitespace().next()?.split_once(',')?;
    let (north, east): (f64, f64) = (north.parse().ok()?, east.parse().ok()?);
    let right = north.abs() <= 90.0 && east.abs() <= 180.0;
    right.then_some((north, east))
}

/// The bulletin of an alert. `earlier` are those made of the messages that it refers to: an update
/// takes their place, a cancellation takes them back. An exercise stays one.
pub fn draft(alert: &Alert, labels: &Labels, earlier: &[BulletinId]) -> Draft {
    let warnings = alert.warnings.iter().cloned();
    let warnings = warnings.map(|one| Content::Warning(Box::new(one)));
    let actions = alert.actions.iter().cloned().map(Content::Action);
    let parts: Vec<DraftPart> = warnings.chain(actions).map(DraftPart::from).collect();
    let mut draft = labels.draft(alert.tlp, parts);
    draft.exercise |= alert.exercise;
    match alert.message.as_str() {
        "Cancel" => draft.retracts = earlier.to_vec(),
        _ => draft.supersedes = earlier.to_vec(),
    }
    if draft.parts.is_empty() {
        // A cancellation need not say more than what it takes back.
        if let Ok(text) = format!("{} of {}", alert.message, alert.references.join(" ")).parse() {
            draft.parts.push(Content::Action(Action { text }).into());
        }
    }
    draft
}

/// The alert of a bulletin that warns, at precedence FLASH or IMMEDIATE; `None` for any other. `sender`
/// is the node's name in CAP, such as `warnings@norland.example`. Its identifier depends on which
/// parts are there. Nothing but TLP:CLEAR is `Public`. What was superseded is no alert: the one in its
/// place is.
pub fn alert_of(bulletin: &Disclosed, sender: &str) -> Option<String> {
    let urgent = matches!(
        bulletin.precedence,
        Precedence::Flash | Precedence::Immediate
    );
    let warns = |part: &super::DisclosedPart| matches!(part.content, Content::Warning(_));
    let replaced = bulletin.superseded.is_some() && bulletin.taken_back.is_none();
    if !urgent || replaced || !bulletin.parts.iter().any(warns) {
        return None;
    }
    let id = bulletin.id.to_string();
    let mut leaves: Vec<&str> = bulletin.parts.iter().map(|part| &*part.leaf).collect();
    leaves.sort_unstable();
    let words: Vec<&str> = ["cap", &id].into_iter().chain(leaves).collect();
    let identifier = derived(&words).to_string();
    let sent = written(bulletin.created);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<alert xmlns=\"{NAMESPACE}\">");
    let status = if bulletin.exercise {
        "Exercise"
    } else {
        "Actual"
    };
    match bulletin.taken_back {
        None => {
            put(&mut out, "identifier", &identifier);
            put(&mut out, "sender", sender);
            put(&mut out, "sent", &sent);
            put(&mut out, "status", status);
            put(&mut out, "msgType", "Alert");
        }
        Some(at) => {
            put(&mut out, "identifier", &format!("{identifier}-cancel"));
            put(&mut out, "sender", sender);
            put(&mut out, "sent", &written(at));
            put(&mut out, "status", status);
            put(&mut out, "msgType", "Cancel");
        }
    }
    put_scope(&mut out, bulletin);
    if bulletin.exercise {
        put(&mut out, "note", "EXERCISE: nothing of this is real");
    }
    if bulletin.taken_back.is_some() {
        put(
            &mut out,
            "references",
            &format!("{sender},{identifier},{sent}"),
        );
    }
    for part in &bulletin.parts {
        if let Content::Warning(warning) = &part.content {
            put_info(&mut out, bulletin, warning);
        }
    }
    out.push_str("</alert>\n");
    Some(out)
}

/// Whether a text is an alert that [`alert_of`] wrote under this name of the node.
pub fn is_of(text: &str, sender: &str) -> bool {
    let alert = read_alert(text.as_bytes()).ok();
    let by = alert.and_then(|alert| Some(alert.reference.split_once(',')?.0 == sender));
    by.unwrap_or(false)
}

/// The strictest of what is in it; named partners are addresses.
fn put_scope(out: &mut String, bulletin: &Disclosed) {
    let levels = bulletin.parts.iter().map(|part| bulletin.tlp_of(part));
    let tlp = levels.max().unwrap_or(bulletin.tlp);
    let levels = bulletin.parts.iter().map(|part| bulletin.level_of(part));
    let own = bulletin.classification.as_ref().map(|one| one.level);
    let level = levels.max().flatten().max(own);
    let open = tlp == Tlp::Clear
        && level.is_none()
        && bulletin.caveats.is_empty()
        && bulletin.releasable_to.is_empty();
    if open {
        put(out, "scope", "Public");
    } else if bulletin.releasable_to.is_empty() {
        put(out, "scope", "Restricted");
        let level = level.map(|level| format!(", {}", bulletin.written_level(level)));
        let level = level.unwrap_or_default();
        put(out, "restriction", &format!("{tlp}{level}"));
    } else {
        put(out, "scope", "Private");
        let names = bulletin.releasable_to.iter();
        let names: Vec<&str> = names.map(crate::partner::PartnerId::as_str).collect();
        put(out, "addresses", &names.join(" "));
    }
}

fn put_info(out: &mut String, bulletin: &Disclosed, warning: &Warning) {
    out.push_str("<info>\n");
    for kind in &bulletin.kinds {
        put(
            out,
            "category",
            match kind {
                Kind::Counterterrorism => "Security",
                Kind::Cyber => "Infra",
            },
        );
    }
    let topic = bulletin
        .topics
        .first()
        .map_or("warning", |topic| topic.as_str());
    put(out, "event", topic);
    let flash = bulletin.precedence == Precedence::Flash;
    let later = warning.from.is_some_and(|from| from > bulletin.created);
    let urgency = if later || !flash {
        "Expected"
    } else {
        "Immediate"
    };
    put(out, "urgency", urgency);
    put(out, "severity", if flash { "Extreme" } else { "Severe" });
    let certainty = match bulletin.admiralty.credibility {
        Some(1 | 2) => "Likely",
        Some(3) => "Possible",
        Some(4 | 5) => "Unlikely",
        _ => "Unknown",
    };
    put(out, "certainty", certainty);
    put(out, "effective", &written(bulletin.valid_from));
    if let Some(from) = warning.from {
        put(out, "onset", &written(from));
    }
    let until = warning.until.map_or(bulletin.valid_until, |until| {
        until.min(bulletin.valid_until)
    });
    put(out, "expires", &written(until));
    if let Some(name) = &bulletin.originator {
        put(out, "senderName", name);
    }
    let text = warning.text.as_str();
    // At most 160 characters (section 3.2.2).
    let first: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(140)
        .collect();
    let exercise = if bulletin.exercise { "EXERCISE: " } else { "" };
    put(out, "headline", &format!("{exercise}{first}"));
    let more = [("How", &warning.method), ("Against", &warning.target)];
    let more = more
        .iter()
        .filter_map(|(name, line)| Some(format!("\n{name}: {}", line.as_ref()?)));
    put(
        out,
        "description",
        &format!("{text}{}", more.collect::<String>()),
    );
    let actions = bulletin
        .parts
        .iter()
        .filter_map(|part| match &part.content {
            Content::Action(action) => Some(action.text.as_str()),
            _ => None,
        });
    let actions: Vec<&str> = actions.collect();
    if !actions.is_empty() {
        put(out, "instruction", &actions.join("\n"));
    }
    let region = warning.region.or_else(|| bulletin.regions.first().copied());
    if warning.place.is_some() || region.is_some() || warning.latitude.is_some() {
        out.push_str("<area>\n");
        let place = warning.place.as_ref().map(Line::as_str);
        let place = place.or_else(|| region.map(Region::as_str));
        put(
            out,
            "areaDesc",
            place.unwrap_or("the place of these coordinates"),
        );
        if let (Some(north), Some(east)) = (warning.latitude, warning.longitude) {
            put(out, "circle", &format!("{north},{east} 0"));
        }
        if let Some(region) = region {
            let _ = writeln!(
                out,
                "<geocode><valueName>ISO 3166</valueName><value>{region}</value></geocode>"
            );
        }
        out.push_str("</area>\n");
    }
    out.push_str("</info>\n");
}

fn put(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "<{name}>{}</{name}>", escaped(text));
}

/// In UTC, whose zone CAP writes `-00:00`.
fn written(at: Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]-00:00");
    let text = time::OffsetDateTime::from(at).format(format);
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(change: &[(&str, &str)]) -> Read<Alert> {
        let mut text = format!(
            "<alert xmlns='{NAMESPACE}'><identifier>a-1</identifier><sender>s@a.example</sender>\
             <sent>2026-11-23T12:00:00-00:00</sent><status>Actual</status><msgType>Alert</msgType>\
             <scope>Public</scope><info><category>Security</category><event>e</event>\
             <urgency>Immediate</urgency><severity>Severe</severity><certainty>Likely</certainty>\
             <headline>H</headline><area><areaDesc>market</areaDesc><circle>59.4,24.7 1</circle></area>\
             </info></alert>"
        );
        for (from, to) in change {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        read_alert(text.as_bytes())
    }

    #[test]
    fn an_alert_is_a_warning_under_its_scope() {
        let read = alert(&[]).unwrap();
        assert_eq!(read.reference, "s@a.example,a-1,2026-11-23T12:00:00-00:00");
        assert_eq!((read.tlp, read.exercise), (Tlp::Clear, false));
        assert_eq!(read.warnings[0].text.as_str(), "H");
        assert_eq!(read.warnings[0].latitude, Some(59.4));
        let exercise = alert(&[("Actual", "Exercise")]).unwrap();
        assert!(exercise.exercise);
        let restricted = [(
            "Public</scope>",
            "Restricted</scope><restriction>r</restriction>",
        )];
        assert_eq!(alert(&restricted).unwrap().tlp, Tlp::Amber);
    }

    #[test]
    fn what_is_wrong_is_named_and_what_is_no_news_is_not_shared() {
        for (change, element) in [
            (("<scope>Public</scope>", ""), "scope"),
            (("Severe", "Severest"), "severity"),
            (("-00:00", "Z"), "sent"),
            (("a-1", "a 1"), "identifier"),
            (("Public", "Restricted"), "restriction"),
            (("Public", "Private"), "addresses"),
            (("<areaDesc>market</areaDesc>", ""), "areaDesc"),
            ((">Alert<", ">Cancel<"), "references"),
        ] {
            match alert(&[change]) {
                Err(CapError::Invalid { element: named, .. }) => assert_eq!(named, element),
                other => panic!("{change:?}: {other:?}"),
            }
        }
        for change in [
            ("Actual", "Test"),
            ("Actual", "Draft"),
            (">Alert<", ">Ack<"),
        ] {
            assert!(matches!(alert(&[change]), Err(CapError::NotShared(_))));
        }
        let areas = "<area><areaDesc>market</areaDesc></area>".repeat(MAX_AREAS);
        let many = alert(&[("</info>", &format!("{areas}</info>"))]);
        assert!(matches!(
            many,
            Err(CapError::Invalid {
                element: "area",
                ..
            })
        ));
        let older = alert(&[("cap:1.2", "cap:1.1")]);
        assert!(matches!(older, Err(CapError::NoAlert { .. })), "{older:?}");
    }
}
