//! Bulletins as events.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use time::macros::format_description;

use crate::bulletin::content::{
    Context, DetectionRule, File, Line, Md5, Narrative, Person, RuleLanguage, Sha1, Sha256, Sha512,
    Sighting, SightingMark, TlsMethod,
};
use crate::bulletin::{Content, Precedence, Tlp};
use crate::clock::Timestamp;
use crate::formats::derived::derived;
use crate::formats::list::content_of;
use crate::formats::stix::typed_indicator;
use crate::formats::{Disclosed, DisclosedPart};

/// MISP's templates of objects (misp-objects), by name and version.
const FILE_TEMPLATE: (&str, &str) = ("688c46fb-5edb-40a3-8273-1af7923e2215", "24");
const PERSON_TEMPLATE: (&str, &str) = ("a15b0477-e9d1-4b9c-9546-abe78a4f4248", "20");

/// Of tags other than TLP.
const OTHER_COLOUR: &str = "#0088cc";

/// The event that says what a reader has of a bulletin: `{"Event": {...}}`, as a feed holds it.
/// Its UUID depends on which parts are there: a reader with fewer has another event, and not one that
/// would overwrite the whole. `None` where no part is there.
pub fn event_of(bulletin: &Disclosed) -> Option<Value> {
    if bulletin.parts.is_empty() {
        return None;
    }
    let export = Export::of(bulletin);
    let name = bulletin.originator.as_deref().unwrap_or("undisclosed");
    let threat = match bulletin.precedence {
        Precedence::Flash | Precedence::Immediate => "1",
        Precedence::Priority => "2",
        Precedence::Routine => "3",
    };
    let date = time::OffsetDateTime::from(bulletin.created)
        .format(format_description!("[year]-[month]-[day]"))
        .unwrap_or_default();
    let tags = export.all_tags();
    Some(json!({"Event": {
        "uuid": event_uuid(bulletin),
        "info": info(bulletin),
        "date": date,
        "timestamp": export.timestamp,
        "publish_timestamp": export.timestamp,
        "published": true,
        "analysis": "2",
        "threat_level_id": threat,
        "extends_uuid": "",
        "Orgc": {"uuid": derived(&["misp-organisation", name]).to_string(), "name": name},
        "Tag": tags,
        "Attribute": export.attributes,
        "Object": export.objects,
    }}))
}

/// The UUID of [`event_of`] a bulletin, whatever became of it since.
pub fn event_uuid(bulletin: &Disclosed) -> String {
    let id = bulletin.id.to_string();
    let mut leaves: Vec<&str> = bulletin.parts.iter().map(|part| &*part.leaf).collect();
    leaves.sort_unstable();
    let words: Vec<&str> = ["misp-event", &id].into_iter().chain(leaves).collect();
    derived(&words).to_string()
}

/// The UUIDs of the attributes of [`event_of`] a bulletin, each with the leaf of its part.
pub(super) fn attributes_of(bulletin: &Disclosed) -> Vec<(String, String)> {
    Export::of(bulletin).made
}

/// The title of a narrative that goes as far as the bulletin itself.
fn info(bulletin: &Disclosed) -> String {
    let title = bulletin.parts.iter().find_map(|part| match &part.content {
        Content::Narrative(one) if bulletin.goes_as_far(part) => one
            .title
            .as_ref()
            .map(Line::as_str)
            .filter(|title| !title.starts_with("MISP ")),
        _ => None,
    });
    let title = title.map_or_else(|| format!("Bulletin {}", bulletin.id), str::to_owned);
    if bulletin.exercise {
        return format!("EXERCISE: {title}");
    }
    title
}

fn unix(at: Timestamp) -> String {
    (at.micros() / 1_000_000).to_string()
}

/// RFC 3339 with an offset in digits, as MISP writes it.
fn seen(at: Timestamp) -> String {
    let format = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00"
    );
    let text = time::OffsetDateTime::from(at).format(format);
    text.unwrap_or_default()
}

fn tlp_tag(tlp: Tlp) -> Value {
    let colour = match tlp {
        Tlp::Clear => "#ffffff",
        Tlp::Green => "#339900",
        Tlp::Amber | Tlp::AmberStrict => "#ffc000",
        Tlp::Red => "#cc0033",
    };
    tag(&tlp.as_str().to_ascii_lowercase(), colour)
}

fn tag(name: &str, colour: &str) -> Value {
    json!({"name": name, "colour": colour, "exportable": true})
}

struct Export<'a> {
    bulletin: &'a Disclosed,
    timestamp: String,
    attributes: Vec<Value>,
    objects: Vec<Value>,
    /// Tags that travelled as parts.
    tags: Vec<String>,
    /// Attributes so far, which tells those of one part apart.
    count: usize,
    /// Their UUIDs, each with the leaf of its part.
    made: Vec<(String, String)>,
}

impl<'a> Export<'a> {
    fn of(bulletin: &'a Disclosed) -> Self {
        let mut export = Self {
            bulletin,
            timestamp: unix(bulletin.ended().unwrap_or(bulletin.created)),
            attributes: Vec::new(),
            objects: Vec::new(),
            tags: Vec::new(),
            count: 0,
            made: Vec::new(),
        };
        for part in &bulletin.parts {
            export.part(part);
        }
        export
    }
}

impl Export<'_> {
    fn all_tags(&self) -> Vec<Value> {
        let bulletin = self.bulletin;
        let mut tags = vec![tlp_tag(bulletin.tlp)];
        let mut named = |name: String| tags.push(tag(&name, OTHER_COLOUR));
        if let Some(grade @ 1..=6) = bulletin.admiralty.reliability {
            let letter = char::from(b'a' - 1 + grade);
            named(format!("admiralty-scale:source-reliability=\"{letter}\""));
        }
        if let Some(grade @ 1..=6) = bulletin.admiralty.credibility {
            named(format!(
                "admiralty-scale:information-credibility=\"{grade}\""
            ));
        }
        if let Some(classification) = &bulletin.classification {
            named(format!("classification:{classification}"));
        }
        for caveat in &bulletin.caveats {
            named(format!("caveat:{caveat}"));
        }
        if bulletin.exercise {
            named("exercise:generic=\"exercise\"".to_owned());
        }
        for name in &self.tags {
            named(name.clone());
        }
        tags
    }

    /// An attribute of a part.
    fn attribute(
        &mut self,
        part: &DisclosedPart,
        kind: &str,
        value: &str,
        context: Option<&Context>,
    ) -> Value {
        let bulletin = self.bulletin.id.to_string();
        self.count += 1;
        let number = self.count.to_string();
        // Nothing of the value: the UUID stays where the value is gone, and who guesses values could check them by it.
        let words = ["misp-attribute", &bulletin, &part.leaf, kind, &number];
        let uuid = derived(&words).to_string();
        self.made.push((uuid.clone(), part.leaf.clone()));
        let comment = context.and_then(|context| context.comment.as_ref());
        // What has no confidence at all is not for detection; nor is what was taken back or superseded,
        // or an exercise.
        let doubted = context.is_some_and(|context| context.confidence == Some(0));
        let real = self.bulletin.ended().is_none() && !self.bulletin.exercise;
        let mut attribute = Map::from_iter([
            ("uuid".to_owned(), uuid.into()),
            ("type".to_owned(), kind.into()),
            ("category".to_owned(), category(kind).into()),
            ("value".to_owned(), value.into()),
            (
                "to_ids".to_owned(),
                (is_indicator(kind) && !doubted && real).into(),
            ),
            (
                "comment".to_owned(),
                comment.map_or("", |text| text.as_str()).into(),
            ),
            ("deleted".to_owned(), self.bulletin.ended().is_some().into()),
            ("timestamp".to_owned(), self.timestamp.clone().into()),
        ]);
        if let Some(at) = context.and_then(|context| context.first_seen) {
            attribute.insert("first_seen".into(), seen(at).into());
        }
        if let Some(at) = context.and_then(|context| context.last_seen) {
            attribute.insert("last_seen".into(), seen(at).into());
        }
        let tags = self.stricter_tags(part);
        if !tags.is_empty() {
            attribute.insert("Tag".into(), tags.into());
        }
        attribute.into()
    }

    /// How far a part may go, where that is less far than its event.
    fn stricter_tags(&self, part: &DisclosedPart) -> Vec<Value> {
        let bulletin = self.bulletin;
        let mut tags = Vec::new();
        let tlp = bulletin.tlp_of(part);
        if tlp != bulletin.tlp {
            tags.push(tlp_tag(tlp));
        }
        let own = bulletin.classification.as_ref().map(|one| one.level);
        if let Some(level) = bulletin.level_of(part).filter(|level| Some(*level) != own) {
            let name = format!("classification:{}", bulletin.written_level(level));
            tags.push(tag(&name, OTHER_COLOUR));
        }
        tags
    }

    fn add(&mut self, part: &DisclosedPart, kind: &str, value: &str, context: Option<&Context>) {
        let attribute = self.attribute(part, kind, value, context);
        self.attributes.push(attribute);
    }

    fn part(&mut self, part: &DisclosedPart) {
        match &part.content {
            Content::Stix(stix) => {
                // An indicator of a simple pattern; other objects have no place in an event.
                for content in typed_indicator(&stix.json)
                    .into_iter()
                    .flat_map(|one| one.contents)
                {
                    self.content(part, &content);
                }
            }
            content => self.content(part, content),
        }
    }

    fn content(&mut self, part: &DisclosedPart, content: &Content) {
        match content {
            Content::Ip(one) => self.add(part, "ip-dst", one.value.as_str(), one.context.as_ref()),
            Content::IpRange(one) => {
                self.add(part, "ip-dst", one.value.as_str(), one.context.as_ref());
            }
            Content::Domain(one) => {
                self.add(part, "domain", one.value.as_str(), one.context.as_ref());
            }
            Content::Url(one) => self.add(part, "url", one.value.as_str(), one.context.as_ref()),
            Content::Email(one) => {
                self.add(part, "email", one.value.as_str(), one.context.as_ref());
            }
            Content::AsNumber(one) => {
                let value = format!("AS{}", one.value);
                self.add(part, "AS", &value, one.context.as_ref());
            }
            Content::File(file) => self.file(part, file),
            Content::Certificate(one) => {
                let kind = "x509-fingerprint-sha256";
                self.add(part, kind, one.sha256.as_str(), one.context.as_ref());
            }
            Content::TlsFingerprint(one) => {
                let context = one.context.as_ref();
                match one.method {
                    TlsMethod::Ja3 => {
                        self.add(part, "ja3-fingerprint-md5", one.value.as_str(), context);
                    }
                    TlsMethod::Jarm => {
                        self.add(part, "jarm-fingerprint", one.value.as_str(), context);
                    }
                    method => {
                        let value = format!("{}: {}", method.as_str(), one.value);
                        self.add(part, "other", &value, context);
                    }
                }
            }
            Content::Vulnerability(one) => {
                self.add(part, "vulnerability", one.id.as_str(), one.context.as_ref());
            }
            Content::DetectionRule(one) => self.rule(part, one),
            Content::Person(one) => self.person(part, one),
            Content::Telephone(one) => self.add(part, "phone-number", one.number.as_str(), None),
            Content::BankAccount(one) => match (&one.iban, &one.number) {
                (Some(iban), _) => self.add(part, "iban", iban.as_str(), None),
                (None, Some(number)) => {
                    let (kind, value) = account(number.as_str());
                    self.add(part, kind, value, None);
                }
                (None, None) => {}
            },
            Content::Narrative(one) => self.narrative(part, one),
            // A tag of the event goes as far as the event.
            Content::Action(one)
                if is_pap(one.text.as_str()) && self.bulletin.goes_as_far(part) =>
            {
                self.tags.push(one.text.to_string());
            }
            Content::Attachment(one) => {
                let mut attribute = self.attribute(part, "attachment", one.name.as_str(), None);
                attribute["data"] = BASE64.encode(&one.data).into();
                self.attributes.push(attribute);
            }
            Content::Sighting(one) if one.bulletin.is_some() => self.sighting(part, one),
            Content::Audience(_) | Content::Identity(_) | Content::Stix(_) => {}
            // No type of MISP's says it: its fields, for analysts.
            content => {
                let text = serde_json::to_value(content).unwrap_or_default();
                let text = lines(&text);
                self.add(part, "text", &text, None);
            }
        }
    }

    /// A sighting of what this reader published: its value, with what was said of it.
    fn sighting(&mut self, part: &DisclosedPart, one: &Sighting) {
        let of = one.of.as_str();
        let kind = match content_of(of) {
            Some(Content::Ip(_) | Content::IpRange(_)) => "ip-dst",
            Some(Content::Domain(_)) => "domain",
            Some(Content::Url(_)) => "url",
            Some(Content::Email(_)) => "email",
            Some(Content::File(_)) => match of.len() {
                32 => "md5",
                40 => "sha1",
                64 => "sha256",
                _ => "sha512",
            },
            _ => "text",
        };
        let mut attribute = self.attribute(part, kind, of, None);
        attribute["to_ids"] = false.into();
        let summary = Content::Sighting(one.clone()).summary();
        let place = one.place.as_ref().map(|place| format!(", at {place}"));
        attribute["comment"] = (summary + &place.unwrap_or_default()).into();
        let number = match one.says() {
            SightingMark::Seen => "0",
            SightingMark::FalsePositive => "1",
            SightingMark::Expired => "2",
        };
        let uuid = attribute["uuid"].as_str().unwrap_or_default().to_owned();
        let source = self.bulletin.originator.as_deref().unwrap_or("undisclosed");
        attribute["Sighting"] = json!([{
            "uuid": derived(&["misp-sighting", &uuid]).to_string(),
            "type": number,
            "date_sighting": unix(one.last.or(one.first).unwrap_or(self.bulletin.created)),
            "source": source,
        }]);
        self.attributes.push(attribute);
    }

    /// `filename|sha256` where that is all, and a file object otherwise.
    fn file(&mut self, part: &DisclosedPart, file: &File) {
        let known = [
            ("filename", file.name.as_ref().map(Line::as_str)),
            ("md5", file.md5.as_ref().map(Md5::as_str)),
            ("sha1", file.sha1.as_ref().map(Sha1::as_str)),
            ("sha256", file.sha256.as_ref().map(Sha256::as_str)),
            ("sha512", file.sha512.as_ref().map(Sha512::as_str)),
        ];
        let known: Vec<(&str, &str)> = known
            .into_iter()
            .filter_map(|(kind, value)| Some((kind, value?)))
            .collect();
        let context = file.context.as_ref();
        match (known.as_slice(), file.size) {
            ([(kind, value)], None) => self.add(part, kind, value, context),
            ([("filename", name), (hash, value)], None) if !name.contains('|') => {
                let (kind, value) = (format!("filename|{hash}"), format!("{name}|{value}"));
                self.add(part, &kind, &value, context);
            }
            (known, size) => {
                let mut attributes = Vec::new();
                for (kind, value) in known {
                    let mut attribute = self.attribute(part, kind, value, context);
                    attribute["object_relation"] = (*kind).into();
                    attributes.push(attribute);
                }
                if let Some(size) = size {
                    let kind = "size-in-bytes";
                    let mut attribute = self.attribute(part, kind, &size.to_string(), None);
                    attribute["object_relation"] = kind.into();
                    attributes.push(attribute);
                }
                self.object(part, "file", "file", FILE_TEMPLATE, attributes);
            }
        }
    }

    fn person(&mut self, part: &DisclosedPart, one: &Person) {
        let mut fields = vec![("full-name", "full-name", one.name.to_string())];
        for alias in &one.aliases {
            fields.push(("alias", "text", alias.to_string()));
        }
        if let Some(born) = &one.born {
            fields.push(("date-of-birth", "date-of-birth", born.to_string()));
        }
        for country in &one.nationalities {
            fields.push(("nationality", "nationality", country.to_string()));
        }
        if let Some(text) = &one.description {
            // An attribute by itself, where it came as one.
            if let Some(kind) = text
                .as_str()
                .strip_prefix("MISP ")
                .filter(|kind| is_type(kind))
            {
                self.add(part, kind, one.name.as_str(), None);
                return;
            }
            fields.push(("text", "text", text.to_string()));
        }
        let mut attributes = Vec::new();
        for (relation, kind, value) in fields {
            let mut attribute = self.attribute(part, kind, &value, None);
            attribute["object_relation"] = relation.into();
            attributes.push(attribute);
        }
        self.object(part, "person", "misc", PERSON_TEMPLATE, attributes);
    }

    fn object(
        &mut self,
        part: &DisclosedPart,
        name: &str,
        category: &str,
        (template, version): (&str, &str),
        attributes: Vec<Value>,
    ) {
        let bulletin = self.bulletin.id.to_string();
        let uuid = derived(&[
            "misp-object",
            &bulletin,
            &part.leaf,
            &self.count.to_string(),
        ]);
        self.objects.push(json!({
            "uuid": uuid.to_string(),
            "name": name,
            "meta-category": category,
            "description": "",
            "template_uuid": template,
            "template_version": version,
            "timestamp": self.timestamp,
            "deleted": self.bulletin.ended().is_some(),
            "Attribute": attributes,
        }));
    }

    fn rule(&mut self, part: &DisclosedPart, one: &DetectionRule) {
        let (rule, context) = (one.rule.as_str(), one.context.as_ref());
        match one.language {
            RuleLanguage::Yara => self.add(part, "yara", rule, context),
            RuleLanguage::Sigma => self.add(part, "sigma", rule, context),
            RuleLanguage::Snort | RuleLanguage::Suricata => self.add(part, "snort", rule, context),
            RuleLanguage::Stix => self.add(part, "stix2-pattern", rule, context),
            RuleLanguage::Other => match typed(rule) {
                Some((kind, value)) => self.add(part, kind, value, context),
                None => self.add(part, "other", rule, context),
            },
            language => {
                let value = format!("{}: {rule}", language.as_str());
                self.add(part, "other", &value, context);
            }
        }
    }

    fn narrative(&mut self, part: &DisclosedPart, one: &Narrative) {
        let title = one.title.as_ref().map(Line::as_str).unwrap_or_default();
        match title.strip_prefix("MISP ") {
            Some("tags") if self.bulletin.goes_as_far(part) => self
                .tags
                .extend(one.text.as_str().lines().map(str::to_owned)),
            Some(kind) if is_type(kind) => self.add(part, kind, one.text.as_str(), None),
            _ => {
                let text = format!("{title}\n\n{}", one.text);
                self.add(part, "text", text.trim(), None);
            }
        }
    }
}

/// `MISP type: value`, as the import writes what has no type of ours.
fn typed(text: &str) -> Option<(&str, &str)> {
    let (kind, value) = text.strip_prefix("MISP ")?.split_once(": ")?;
    is_type(kind).then_some((kind, value))
}

/// `btc: ...`, as the import writes it; a number alone is an account's.
fn account(number: &str) -> (&str, &str) {
    match number.split_once(": ") {
        Some((kind, value)) if is_type(kind) => (kind, value),
        _ => ("bank-account-nr", number),
    }
}

fn is_type(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'|' | b'_');
    (1..=60).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_pap(text: &str) -> bool {
    matches!(
        text,
        "PAP:RED" | "PAP:AMBER" | "PAP:GREEN" | "PAP:CLEAR" | "PAP:WHITE"
    )
}

/// Types that are good for detection, where nothing says otherwise.
fn is_indicator(kind: &str) -> bool {
    !matches!(
        kind,
        "text"
            | "comment"
            | "link"
            | "other"
            | "full-name"
            | "phone-number"
            | "vulnerability"
            | "attachment"
            | "size-in-bytes"
            | "AS"
            | "date-of-birth"
            | "nationality"
    ) && !matches!(
        category(kind),
        "Person" | "Other" | "Targeting data" | "Financial fraud"
    )
}

/// A category in which MISP takes this type.
fn category(kind: &str) -> &'static str {
    match kind {
        "ip-dst"
        | "domain"
        | "url"
        | "AS"
        | "hostname"
        | "user-agent"
        | "uri"
        | "snort"
        | "ja3-fingerprint-md5"
        | "jarm-fingerprint"
        | "x509-fingerprint-sha256"
        | "stix2-pattern"
        | "email" => "Network activity",
        "vulnerability" | "link" => "External analysis",
        "yara" | "sigma" | "regkey" | "regkey|value" | "mutex" | "pdb" => "Artifacts dropped",
        "full-name"
        | "phone-number"
        | "first-name"
        | "middle-name"
        | "last-name"
        | "date-of-birth"
        | "place-of-birth"
        | "gender"
        | "nationality"
        | "passport-number"
        | "identity-card-number"
        | "visa-number" => "Person",
        "iban" | "bank-account-nr" | "btc" | "xmr" | "dash" | "cc-number" | "bin" | "prtn"
        | "aba-rtn" => "Financial fraud",
        "target-user" | "target-email" | "target-org" | "target-machine" | "target-location"
        | "target-external" => "Targeting data",
        "campaign-name" | "campaign-id" | "threat-actor" => "Attribution",
        "text" | "comment" | "other" | "size-in-bytes" | "hex" | "port" | "datetime"
        | "counter" | "float" | "boolean" | "cpe" => "Other",
        _ => "Payload delivery",
    }
}

/// The fields of a content, one on a line.
fn lines(content: &Value) -> String {
    let fields = content.as_object().into_iter().flatten();
    let mut lines: Vec<String> = fields
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}: {text}"),
            value => format!("{name}: {value}"),
        })
        .collect();
    lines.sort();
    lines.join("\n")
}
