//! Content to and from protobuf: the body of a part.

use bytes::Bytes;
use prost::Message;
use thiserror::Error;

use super::super::error::MAX_PART_BYTES;
use super::super::header::BulletinId;
use super::super::labels::PartClass;
use super::super::originator::Identity;
use super::types::{
    Action, Attachment, BankAccount, Certificate, Content, Context, DetectionRule, Document,
    DocumentKind, File, Indicator, Narrative, Person, RuleLanguage, Sighting, SightingMark, Source,
    Stix, Telephone, TlsFingerprint, TlsMethod, Vehicle, VehicleKind, Vulnerability, Warning,
};
use super::value::InvalidValue;
use crate::clock::Timestamp;
use crate::partner::{signature_from_wire, signature_to_wire};
use crate::proof::Digest;
use crate::proto;
use crate::proto::content::Content as Wire;

/// The most entries of a list of names or nationalities.
const MAX_LIST: usize = 256;

/// A body that is no content of its class.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidContent {
    /// Not the encoding of content.proto.
    #[error("the body cannot be read as protobuf")]
    Malformed,
    /// A kind of content that this version does not know.
    #[error("the body is of a kind that this version does not know; upgrade to read it")]
    UnknownContent,
    /// A class that is not its content's.
    #[error("the part is of class {class}, and its content of class {content}")]
    OtherClass {
        /// The part's.
        class: PartClass,
        /// The content's.
        content: PartClass,
    },
    /// A body that the broker keeps, with more in it than is read.
    #[error("the body is not the one encoding of what it says")]
    Padded,
    /// A field without a usable value.
    #[error("its `{field}`: {error}")]
    Value {
        /// Its name in content.proto.
        field: &'static str,
        /// What is wrong.
        error: InvalidValue,
    },
    /// Fields that do not fit together, or a value out of range.
    #[error("{0}")]
    Rule(&'static str),
    /// Larger than a part may be.
    #[error("the content has {0} bytes; a part holds at most {MAX_PART_BYTES}")]
    TooLarge(usize),
}

type Read<T> = Result<T, InvalidContent>;

impl Content {
    /// Checks the rules between the fields, which single values cannot.
    pub fn validate(&self) -> Read<()> {
        self.check().map_err(InvalidContent::Rule)
    }

    /// The body of a part.
    pub fn encode(&self) -> Read<Bytes> {
        self.validate()?;
        let bytes = proto::Content {
            content: Some(write(self)),
        }
        .encode_to_vec();
        if bytes.len() > MAX_PART_BYTES {
            return Err(InvalidContent::TooLarge(bytes.len()));
        }
        Ok(bytes.into())
    }

    /// Reads the body of a part of this class, checking every value again.
    pub fn decode(class: PartClass, body: &Bytes) -> Read<Self> {
        let wire = proto::Content::decode(body.clone()).map_err(|_| InvalidContent::Malformed)?;
        let content = read(class, wire.content.ok_or(InvalidContent::UnknownContent)?)?;
        if content.class() != class {
            return Err(InvalidContent::OtherClass {
                class,
                content: content.class(),
            });
        }
        content.validate()?;
        // The ledger keeps these bodies: nothing travels in them that nobody reads.
        let kept = matches!(class, PartClass::Audience | PartClass::Identity);
        if kept && content.encode()? != *body {
            return Err(InvalidContent::Padded);
        }
        Ok(content)
    }
}

fn write(content: &Content) -> Wire {
    match content {
        Content::Ip(one) => Wire::IpAddress(indicator(one)),
        Content::IpRange(one) => Wire::IpRange(indicator(one)),
        Content::Domain(one) => Wire::Domain(indicator(one)),
        Content::Url(one) => Wire::Url(indicator(one)),
        Content::Email(one) => Wire::Email(indicator(one)),
        Content::AsNumber(one) => Wire::AsNumber(indicator(one)),
        Content::File(file) => Wire::File(proto::File {
            name: text(file.name.as_ref()),
            size: file.size,
            md5: text(file.md5.as_ref()),
            sha1: text(file.sha1.as_ref()),
            sha256: text(file.sha256.as_ref()),
            sha512: text(file.sha512.as_ref()),
            context: context(file.context.as_ref()),
        }),
        Content::Certificate(one) => Wire::Certificate(proto::Certificate {
            sha256: one.sha256.to_string(),
            subject: text(one.subject.as_ref()),
            issuer: text(one.issuer.as_ref()),
            serial: text(one.serial.as_ref()),
            context: context(one.context.as_ref()),
        }),
        Content::TlsFingerprint(one) => Wire::TlsFingerprint(proto::TlsFingerprint {
            method: one.method.as_str().to_owned(),
            value: one.value.to_string(),
            context: context(one.context.as_ref()),
        }),
        Content::Vulnerability(one) => Wire::Vulnerability(proto::Vulnerability {
            id: one.id.to_string(),
            description: text(one.description.as_ref()),
            context: context(one.context.as_ref()),
        }),
        Content::DetectionRule(one) => Wire::DetectionRule(proto::DetectionRule {
            language: one.language.as_str().to_owned(),
            rule: one.rule.to_string(),
            context: context(one.context.as_ref()),
        }),
        Content::Warning(one) => Wire::Warning(proto::Warning {
            text: one.text.to_string(),
            from: one.from.map(Timestamp::micros),
            until: one.until.map(Timestamp::micros),
            place: text(one.place.as_ref()),
            region: text(one.region.as_ref()),
            latitude: one.latitude,
            longitude: one.longitude,
            method: text(one.method.as_ref()),
            target: text(one.target.as_ref()),
        }),
        Content::Person(one) => Wire::Person(proto::Person {
            name: one.name.to_string(),
            aliases: one.aliases.iter().map(ToString::to_string).collect(),
            born: text(one.born.as_ref()),
            nationalities: one.nationalities.iter().map(ToString::to_string).collect(),
            description: text(one.description.as_ref()),
        }),
        other => write_more(other),
    }
}

fn write_more(content: &Content) -> Wire {
    match content {
        Content::Document(one) => Wire::Document(proto::Document {
            kind: one.kind.as_str().to_owned(),
            number: one.number.to_string(),
            country: text(one.country.as_ref()),
            expires: text(one.expires.as_ref()),
            holder: text(one.holder.as_ref()),
        }),
        Content::Telephone(one) => Wire::Telephone(proto::Telephone {
            number: one.number.to_string(),
            holder: text(one.holder.as_ref()),
        }),
        Content::BankAccount(one) => Wire::BankAccount(proto::BankAccount {
            iban: text(one.iban.as_ref()),
            number: text(one.number.as_ref()),
            bic: text(one.bic.as_ref()),
            holder: text(one.holder.as_ref()),
        }),
        Content::Vehicle(one) => Wire::Vehicle(proto::Vehicle {
            kind: one.kind.as_str().to_owned(),
            registration: text(one.registration.as_ref()),
            country: text(one.country.as_ref()),
            vin: text(one.vin.as_ref()),
            imo: text(one.imo.as_ref()),
            mmsi: text(one.mmsi.as_ref()),
            icao24: text(one.icao24.as_ref()),
            description: text(one.description.as_ref()),
        }),
        Content::Narrative(one) => Wire::Narrative(proto::Narrative {
            language: text(one.language.as_ref()),
            title: text(one.title.as_ref()),
            text: one.text.to_string(),
        }),
        Content::Source(one) => Wire::Source(proto::Source {
            description: one.description.to_string(),
        }),
        Content::Action(one) => Wire::Action(proto::Action {
            text: one.text.to_string(),
        }),
        Content::Sighting(one) => Wire::Sighting(proto::Sighting {
            of: one.of.to_string(),
            count: one.count,
            first: one.first.map(Timestamp::micros),
            last: one.last.map(Timestamp::micros),
            place: text(one.place.as_ref()),
            mark: one.mark.map_or("", SightingMark::as_str).to_owned(),
            bulletin: one
                .bulletin
                .map(|id| Bytes::copy_from_slice(&id.0))
                .unwrap_or_default(),
            part: one
                .part
                .map(|leaf| Bytes::copy_from_slice(leaf.as_bytes()))
                .unwrap_or_default(),
            object: text(one.object.as_ref()),
        }),
        Content::Attachment(one) => Wire::Attachment(proto::Attachment {
            name: one.name.to_string(),
            media_type: one.media_type.to_string(),
            data: one.data.clone(),
        }),
        Content::Stix(stix) => Wire::Stix(Bytes::copy_from_slice(stix.json.as_bytes())),
        Content::Audience(partners) => Wire::Audience(proto::Audience {
            releasable_to: partners.iter().map(ToString::to_string).collect(),
        }),
        Content::Identity(one) => Wire::Identity(proto::Identity {
            partner: one.partner.to_string(),
            agreement: one.agreement.clone(),
            reveal_to: one.reveal_to.iter().map(ToString::to_string).collect(),
            signature: Some(signature_to_wire(&one.signature)),
        }),
        // `write` has handled every other kind.
        _ => Wire::Audience(proto::Audience::default()),
    }
}

fn read(class: PartClass, wire: Wire) -> Read<Content> {
    Ok(match wire {
        Wire::IpAddress(one) => Content::Ip(read_indicator(&one)?),
        Wire::IpRange(one) => Content::IpRange(read_indicator(&one)?),
        Wire::Domain(one) => Content::Domain(read_indicator(&one)?),
        Wire::Url(one) => Content::Url(read_indicator(&one)?),
        Wire::Email(one) => Content::Email(read_indicator(&one)?),
        Wire::AsNumber(one) => Content::AsNumber(read_indicator(&one)?),
        Wire::File(file) => Content::File(File {
            name: optional("name", &file.name)?,
            size: file.size,
            md5: optional("md5", &file.md5)?,
            sha1: optional("sha1", &file.sha1)?,
            sha256: optional("sha256", &file.sha256)?,
            sha512: optional("sha512", &file.sha512)?,
            context: read_context(file.context.as_ref())?,
        }),
        Wire::Certificate(one) => Content::Certificate(Certificate {
            sha256: required("sha256", &one.sha256)?,
            subject: optional("subject", &one.subject)?,
            issuer: optional("issuer", &one.issuer)?,
            serial: optional("serial", &one.serial)?,
            context: read_context(one.context.as_ref())?,
        }),
        Wire::TlsFingerprint(one) => Content::TlsFingerprint(TlsFingerprint {
            method: TlsMethod::from_text(&one.method).ok_or(InvalidContent::Rule(
                "the method of the TLS fingerprint is unknown",
            ))?,
            value: required("value", &one.value)?,
            context: read_context(one.context.as_ref())?,
        }),
        Wire::Vulnerability(one) => Content::Vulnerability(Vulnerability {
            id: required("id", &one.id)?,
            description: optional("description", &one.description)?,
            context: read_context(one.context.as_ref())?,
        }),
        Wire::DetectionRule(one) => Content::DetectionRule(DetectionRule {
            language: RuleLanguage::from_text(&one.language).ok_or(InvalidContent::Rule(
                "the language of the detection rule is unknown",
            ))?,
            rule: required("rule", &one.rule)?,
            context: read_context(one.context.as_ref())?,
        }),
        Wire::Warning(one) => Content::Warning(Box::new(read_warning(&one)?)),
        Wire::Person(one) => Content::Person(Box::new(Person {
            name: required("name", &one.name)?,
            aliases: list("aliases", &one.aliases)?,
            born: optional("born", &one.born)?,
            nationalities: list("nationalities", &one.nationalities)?,
            description: optional("description", &one.description)?,
        })),
        Wire::Document(one) => Content::Document(Document {
            kind: DocumentKind::from_text(&one.kind)
                .ok_or(InvalidContent::Rule("the kind of the document is unknown"))?,
            number: required("number", &one.number)?,
            country: optional("country", &one.country)?,
            expires: optional("expires", &one.expires)?,
            holder: optional("holder", &one.holder)?,
        }),
        Wire::Vehicle(one) => Content::Vehicle(Box::new(read_vehicle(&one)?)),
        Wire::Stix(json) => Content::Stix(Stix {
            class,
            json: String::from_utf8(json.into()).map_err(|_| InvalidContent::Malformed)?,
        }),
        other => read_more(other)?,
    })
}

fn read_more(wire: Wire) -> Read<Content> {
    Ok(match wire {
        Wire::Telephone(one) => Content::Telephone(Telephone {
            number: required("number", &one.number)?,
            holder: optional("holder", &one.holder)?,
        }),
        Wire::BankAccount(one) => Content::BankAccount(BankAccount {
            iban: optional("iban", &one.iban)?,
            number: optional("number", &one.number)?,
            bic: optional("bic", &one.bic)?,
            holder: optional("holder", &one.holder)?,
        }),
        Wire::Narrative(one) => Content::Narrative(Narrative {
            text: required("text", &one.text)?,
            title: optional("title", &one.title)?,
            language: optional("language", &one.language)?,
        }),
        Wire::Source(one) => Content::Source(Source {
            description: required("description", &one.description)?,
        }),
        Wire::Action(one) => Content::Action(Action {
            text: required("text", &one.text)?,
        }),
        Wire::Sighting(one) => Content::Sighting(Sighting {
            of: required("of", &one.of)?,
            count: one.count,
            first: moment(one.first)?,
            last: moment(one.last)?,
            place: optional("place", &one.place)?,
            mark: sighting_mark(&one.mark)?,
            bulletin: sighted_bulletin(&one.bulletin)?,
            part: sighted_part(&one.part)?,
            object: optional("object", &one.object)?,
        }),
        Wire::Attachment(one) => Content::Attachment(Attachment {
            name: required("name", &one.name)?,
            media_type: required("media_type", &one.media_type)?,
            data: one.data,
        }),
        Wire::Audience(one) => {
            let partners = one.releasable_to.iter().map(|text| text.parse());
            let partners = partners.collect::<Result<_, _>>();
            Content::Audience(
                partners
                    .map_err(|_| InvalidContent::Rule("the audience names what is no partner"))?,
            )
        }
        Wire::Identity(one) => {
            let partner = |text: &String| {
                let partner = text.parse();
                partner.map_err(|_| InvalidContent::Rule("the identity names what is no partner"))
            };
            let signature = one.signature.as_ref().and_then(signature_from_wire);
            Content::Identity(Box::new(Identity {
                partner: partner(&one.partner)?,
                reveal_to: one.reveal_to.iter().map(partner).collect::<Read<_>>()?,
                agreement: one.agreement,
                signature: signature.ok_or(InvalidContent::Malformed)?,
            }))
        }
        _ => return Err(InvalidContent::UnknownContent),
    })
}

fn read_warning(one: &proto::Warning) -> Read<Warning> {
    let region = (!one.region.is_empty())
        .then(|| one.region.parse())
        .transpose();
    Ok(Warning {
        text: required("text", &one.text)?,
        from: moment(one.from)?,
        until: moment(one.until)?,
        place: optional("place", &one.place)?,
        region: region.map_err(|_| InvalidContent::Rule("the warning's region is unknown"))?,
        latitude: one.latitude,
        longitude: one.longitude,
        method: optional("method", &one.method)?,
        target: optional("target", &one.target)?,
    })
}

fn read_vehicle(one: &proto::Vehicle) -> Read<Vehicle> {
    Ok(Vehicle {
        kind: VehicleKind::from_text(&one.kind)
            .ok_or(InvalidContent::Rule("the kind of the vehicle is unknown"))?,
        registration: optional("registration", &one.registration)?,
        country: optional("country", &one.country)?,
        vin: optional("vin", &one.vin)?,
        imo: optional("imo", &one.imo)?,
        mmsi: optional("mmsi", &one.mmsi)?,
        icao24: optional("icao24", &one.icao24)?,
        description: optional("description", &one.description)?,
    })
}

fn indicator<T: ToString>(one: &Indicator<T>) -> proto::Indicator {
    proto::Indicator {
        value: one.value.to_string(),
        context: context(one.context.as_ref()),
    }
}

fn read_indicator<T: Parsed>(wire: &proto::Indicator) -> Read<Indicator<T>> {
    Ok(Indicator {
        value: required("value", &wire.value)?,
        context: read_context(wire.context.as_ref())?,
    })
}

fn context(context: Option<&Context>) -> Option<proto::Context> {
    context.map(|context| proto::Context {
        first_seen: context.first_seen.map(Timestamp::micros),
        last_seen: context.last_seen.map(Timestamp::micros),
        confidence: context.confidence.map(u32::from),
        comment: text(context.comment.as_ref()),
    })
}

fn read_context(wire: Option<&proto::Context>) -> Read<Option<Context>> {
    let Some(wire) = wire else { return Ok(None) };
    let confidence = wire.confidence.map(u8::try_from).transpose();
    Ok(Some(Context {
        first_seen: moment(wire.first_seen)?,
        last_seen: moment(wire.last_seen)?,
        confidence: confidence.map_err(|_| InvalidContent::Rule("confidence is 0 to 100"))?,
        comment: optional("comment", &wire.comment)?,
    }))
}

/// A value that is read from text.
trait Parsed: std::str::FromStr<Err = InvalidValue> {}
impl<T: std::str::FromStr<Err = InvalidValue>> Parsed for T {}

fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn required<T: Parsed>(field: &'static str, text: &str) -> Read<T> {
    text.parse()
        .map_err(|error| InvalidContent::Value { field, error })
}

fn optional<T: Parsed>(field: &'static str, text: &str) -> Read<Option<T>> {
    (!text.is_empty())
        .then(|| required(field, text))
        .transpose()
}

fn list<T: Parsed>(field: &'static str, items: &[String]) -> Read<Vec<T>> {
    if items.len() > MAX_LIST {
        return Err(InvalidContent::Rule(
            "a list of names or nationalities is too long",
        ));
    }
    items.iter().map(|text| required(field, text)).collect()
}

fn sighting_mark(text: &str) -> Read<Option<SightingMark>> {
    let unknown = InvalidContent::Rule("what the sighting says is unknown");
    let mark = (!text.is_empty()).then(|| SightingMark::from_text(text).ok_or(unknown));
    mark.transpose()
}

fn sighted_bulletin(bytes: &[u8]) -> Read<Option<BulletinId>> {
    let wrong = |_| InvalidContent::Rule("the id of a sighting's bulletin has 16 bytes");
    let id = (!bytes.is_empty()).then(|| bytes.try_into().map(BulletinId).map_err(wrong));
    id.transpose()
}

fn sighted_part(bytes: &[u8]) -> Read<Option<Digest>> {
    let wrong = |_| InvalidContent::Rule("the hash of a sighting's part has 32 bytes");
    let part = (!bytes.is_empty()).then(|| bytes.try_into().map_err(wrong));
    part.transpose()
}

fn moment(micros: Option<i64>) -> Read<Option<Timestamp>> {
    let Some(micros) = micros else {
        return Ok(None);
    };
    let moment = Timestamp::from_micros(micros);
    moment
        .map(Some)
        .ok_or(InvalidContent::Rule("a time is before 1970 or after 9999"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(json: &str) -> Content {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_kind_of_content_survives_the_wire() {
        for json in [
            r#"{"type":"ip","value":"198.51.100.7","context":{"confidence":80,"comment":"seen"}}"#,
            r#"{"type":"ip-range","value":"198.51.100.0/24"}"#,
            r#"{"type":"domain","value":"relay.example.com"}"#,
            r#"{"type":"url","value":"https://relay.example.com/login"}"#,
            r#"{"type":"email","value":"someone@example.com"}"#,
            r#"{"type":"as-number","value":"64496"}"#,
            r#"{"type":"file","name":"a.exe","size":7,"md5":"d41d8cd98f00b204e9800998ecf8427e"}"#,
            r#"{"type":"certificate","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","subject":"CN=x"}"#,
            r#"{"type":"tls-fingerprint","method":"ja4","value":"t13d1516h2_8daaf6152771_e5627efa2ab1"}"#,
            r#"{"type":"vulnerability","id":"CVE-2026-12345"}"#,
            r#"{"type":"detection-rule","language":"yara","rule":"rule x { condition: true }"}"#,
            r#"{"type":"warning","text":"attack feared","region":"EE","latitude":59.4,"longitude":24.7,"from":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z"}"#,
            r#"{"type":"person","name":"N. N.","aliases":["the Clerk"],"born":"1979-02","nationalities":["EE"]}"#,
            r#"{"type":"document","kind":"passport","number":"K1234567","country":"EE"}"#,
            r#"{"type":"telephone","number":"+37255512345"}"#,
            r#"{"type":"bank-account","iban":"EE382200221020145685"}"#,
            r#"{"type":"vehicle","kind":"vessel","imo":"9074729"}"#,
            r#"{"type":"narrative","text":"what happened","title":"A title","language":"en"}"#,
            r#"{"type":"source","description":"liaison"}"#,
            r#"{"type":"action","text":"block it"}"#,
            r#"{"type":"sighting","of":"198.51.100.7","count":3}"#,
            r#"{"type":"sighting","of":"198.51.100.7","count":0,"mark":"false-positive",
                "bulletin":"0190163d-8694-739b-aea5-966c26f8ad91",
                "part":"369c9448943eaf19d30e70c154a55f5bc1da44b8b4d9619dfa40487ad8534025",
                "object":"indicator--00000000-0000-4000-8000-000000000001"}"#,
            r#"{"type":"attachment","name":"a.txt","media_type":"text/plain","data":"aGVsbG8="}"#,
            r#"{"type":"stix","class":"network","json":"{\"type\": \"url\"}"}"#,
            r#"{"type":"audience","0":0}"#,
        ] {
            if json.contains("audience") {
                let audience = Content::Audience(vec!["norland.example".parse().unwrap()]);
                let body = audience.encode().unwrap();
                assert_eq!(Content::decode(PartClass::Audience, &body), Ok(audience));
                continue;
            }
            let content = content(json);
            let body = content.encode().unwrap();
            assert_eq!(
                Content::decode(content.class(), &body),
                Ok(content.clone()),
                "{json}"
            );
            assert!(!content.summary().is_empty());
            let again = serde_json::to_string(&content).unwrap();
            assert_eq!(serde_json::from_str::<Content>(&again).unwrap(), content);
        }
    }

    #[test]
    fn content_of_another_class_is_refused() {
        let body = content(r#"{"type":"source","description":"liaison"}"#)
            .encode()
            .unwrap();
        let error = Content::decode(PartClass::Network, &body).unwrap_err();
        let (class, content) = (PartClass::Network, PartClass::Source);
        assert_eq!(error, InvalidContent::OtherClass { class, content });
    }

    #[test]
    fn fields_that_do_not_fit_together_are_refused() {
        for json in [
            r#"{"type":"file"}"#,
            r#"{"type":"bank-account","holder":"N. N."}"#,
            r#"{"type":"vehicle","kind":"road"}"#,
            r#"{"type":"warning","text":"x","latitude":59.4}"#,
            r#"{"type":"warning","text":"x","latitude":95.0,"longitude":0.0}"#,
            r#"{"type":"ip","value":"198.51.100.7","context":{"confidence":101}}"#,
        ] {
            assert!(
                matches!(content(json).encode(), Err(InvalidContent::Rule(_))),
                "{json}"
            );
        }
        for json in [
            r#"{"type":"ip","value":"198.51.100.300"}"#,
            r#"{"type":"ip","value":"198.51.100.7","colour":"red"}"#,
            r#"{"type":"horoscope","text":"x"}"#,
        ] {
            assert!(serde_json::from_str::<Content>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_content_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for class in PartClass::ALL {
                let _ = Content::decode(*class, &Bytes::from(bytes.clone()));
            }
        }
    }
}
