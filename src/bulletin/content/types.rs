//! The kinds of content. Operators write them in TOML as they stand here: `type`, then the fields.

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::error::MAX_RELEASABLE_TO;
use super::super::header::BulletinId;
use super::super::labels::PartClass;
use super::super::originator::{Identity, is_agreement_name};
use super::super::taxonomy::Region;
use super::value::{
    AsNumber, Bic, Country, Domain, Email, Iban, Icao24, Imo, IpAddress, IpRange, LanguageTag,
    Line, Md5, Mmsi, PartialDate, PhoneNumber, Sha1, Sha256, Sha512, Text, Url, Vin,
    VulnerabilityId,
};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::Digest;

/// What a part says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Content {
    /// An IP address.
    Ip(Indicator<IpAddress>),
    /// A range of IP addresses.
    IpRange(Indicator<IpRange>),
    /// A domain name.
    Domain(Indicator<Domain>),
    /// A URL.
    Url(Indicator<Url>),
    /// An e-mail address.
    Email(Indicator<Email>),
    /// A file by name and hashes.
    File(File),
    /// An X.509 certificate.
    Certificate(Certificate),
    /// A fingerprint of a TLS client or server.
    TlsFingerprint(TlsFingerprint),
    /// An autonomous system.
    AsNumber(Indicator<AsNumber>),
    /// A vulnerability.
    Vulnerability(Vulnerability),
    /// A detection rule.
    DetectionRule(DetectionRule),
    /// A warning of a threat.
    Warning(Box<Warning>),
    /// A person of interest.
    Person(Box<Person>),
    /// A travel or identity document.
    Document(Document),
    /// A telephone number.
    Telephone(Telephone),
    /// A bank account.
    BankAccount(BankAccount),
    /// A vehicle, vessel or aircraft.
    Vehicle(Box<Vehicle>),
    /// Text for analysts.
    Narrative(Narrative),
    /// How the originator knows.
    Source(Source),
    /// What is advised.
    Action(Action),
    /// That something was seen.
    Sighting(Sighting),
    /// A file that goes along.
    Attachment(Attachment),
    /// A STIX 2.1 object.
    Stix(Stix),
    /// To whom it is releasable; only the broker sees it.
    Audience(Vec<PartnerId>),
    /// Who stands behind the header's pseudonym.
    Identity(Box<Identity>),
}

impl Content {
    /// The class under which agreements withhold it.
    pub fn class(&self) -> PartClass {
        match self {
            Self::Ip(_)
            | Self::IpRange(_)
            | Self::Domain(_)
            | Self::Url(_)
            | Self::TlsFingerprint(_)
            | Self::AsNumber(_) => PartClass::Network,
            Self::Email(_) => PartClass::Email,
            Self::File(_) => PartClass::File,
            Self::Certificate(_) => PartClass::Certificate,
            Self::Vulnerability(_) => PartClass::Vulnerability,
            Self::DetectionRule(_) => PartClass::Detection,
            Self::Warning(_) => PartClass::Warning,
            Self::Person(_) => PartClass::Person,
            Self::Document(_) => PartClass::Document,
            Self::Telephone(_) => PartClass::Telephone,
            Self::BankAccount(_) => PartClass::Account,
            Self::Vehicle(_) => PartClass::Vehicle,
            Self::Narrative(_) => PartClass::Narrative,
            Self::Source(_) => PartClass::Source,
            Self::Action(_) => PartClass::Action,
            Self::Sighting(_) => PartClass::Sighting,
            Self::Attachment(_) => PartClass::Attachment,
            Self::Stix(stix) => stix.class,
            Self::Audience(_) => PartClass::Audience,
            Self::Identity(_) => PartClass::Identity,
        }
    }

    /// The texts by which it is shown: whoever reads one of them knows what this is about.
    pub fn names(&self) -> Vec<String> {
        fn given<T: ToString>(value: Option<&T>) -> Option<String> {
            value.map(ToString::to_string)
        }
        let names = match self {
            Self::File(one) => vec![
                given(one.name.as_ref()),
                given(one.sha256.as_ref()),
                given(one.sha1.as_ref()),
                given(one.md5.as_ref()),
            ],
            Self::DetectionRule(one) => vec![Some(one.rule.to_string())],
            Self::Warning(one) => vec![Some(one.text.to_string())],
            Self::Person(one) => {
                let aliases = one.aliases.iter().map(|alias| Some(alias.to_string()));
                std::iter::once(Some(one.name.to_string()))
                    .chain(aliases)
                    .collect()
            }
            Self::BankAccount(one) => vec![given(one.iban.as_ref()), given(one.number.as_ref())],
            Self::Vehicle(one) => vec![
                given(one.registration.as_ref()),
                given(one.vin.as_ref()),
                given(one.imo.as_ref()),
                given(one.mmsi.as_ref()),
            ],
            Self::Narrative(one) => {
                vec![given(one.title.as_ref()), Some(one.text.to_string())]
            }
            Self::Source(one) => vec![Some(one.description.to_string())],
            Self::Action(one) => vec![Some(one.text.to_string())],
            Self::Attachment(one) => vec![Some(one.name.to_string())],
            // What was seen is another part; a STIX object has names of its own.
            Self::Sighting(_) | Self::Stix(_) | Self::Audience(_) | Self::Identity(_) => Vec::new(),
            _ => vec![Some(self.summary())],
        };
        names.into_iter().flatten().collect()
    }

    /// One line for tables, without control characters.
    pub fn summary(&self) -> String {
        let text = match self {
            Self::Ip(one) => one.value.to_string(),
            Self::IpRange(one) => one.value.to_string(),
            Self::Domain(one) => one.value.to_string(),
            Self::Url(one) => one.value.to_string(),
            Self::Email(one) => one.value.to_string(),
            Self::AsNumber(one) => format!("AS{}", one.value),
            Self::File(file) => file.summary(),
            Self::Certificate(one) => one.sha256.to_string(),
            Self::TlsFingerprint(one) => one.value.to_string(),
            Self::Vulnerability(one) => one.id.to_string(),
            Self::DetectionRule(one) => first_line(one.rule.as_str()),
            Self::Warning(one) => first_line(one.text.as_str()),
            Self::Person(one) => one.name.to_string(),
            Self::Document(one) => one.number.to_string(),
            Self::Telephone(one) => one.number.to_string(),
            Self::BankAccount(one) => one.summary(),
            Self::Vehicle(one) => one.summary(),
            Self::Narrative(one) => one
                .title
                .as_ref()
                .map_or_else(|| first_line(one.text.as_str()), ToString::to_string),
            Self::Source(one) => first_line(one.description.as_str()),
            Self::Action(one) => first_line(one.text.as_str()),
            Self::Sighting(one) => one.summary(),
            Self::Attachment(one) => format!("{} ({} bytes)", one.name, one.data.len()),
            Self::Stix(stix) => format!("STIX object of {} bytes", stix.json.len()),
            Self::Audience(partners) => format!("{} partners", partners.len()),
            Self::Identity(one) => format!("{} under {}", one.partner, one.agreement),
        };
        text.chars().filter(|c| !c.is_control()).take(200).collect()
    }

    /// The rules that hold between the fields of one content.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let ordered = |from: Option<Timestamp>, until: Option<Timestamp>| match (from, until) {
            (Some(from), Some(until)) => from <= until,
            _ => true,
        };
        match self {
            Self::File(file) => file.check(),
            Self::BankAccount(account) if account.iban.is_none() && account.number.is_none() => {
                Err("a bank account has an iban, or a number with its bic")
            }
            Self::Warning(warning) if !ordered(warning.from, warning.until) => {
                Err("the warning's time window ends before it begins")
            }
            Self::Warning(warning) if !warning.place_ok() => {
                Err("a place has both latitude (-90 to 90) and longitude (-180 to 180), or neither")
            }
            Self::Vehicle(vehicle) => vehicle.check(),
            Self::Sighting(sighting) => sighting.check(),
            Self::Audience(partners) if partners.len() > MAX_RELEASABLE_TO => {
                Err("the audience names too many partners")
            }
            Self::Identity(one) if one.reveal_to.len() > MAX_RELEASABLE_TO => {
                Err("it is shown to too many partners")
            }
            // The broker keeps it for ever with the pseudonym.
            Self::Identity(one) if !is_agreement_name(&one.agreement) => {
                Err("the name of its agreement is not 1 to 63 of a-z 0-9 -")
            }
            _ => self.context().map_or(Ok(()), Context::check),
        }
    }

    fn context(&self) -> Option<&Context> {
        match self {
            Self::Ip(one) => one.context.as_ref(),
            Self::IpRange(one) => one.context.as_ref(),
            Self::Domain(one) => one.context.as_ref(),
            Self::Url(one) => one.context.as_ref(),
            Self::Email(one) => one.context.as_ref(),
            Self::AsNumber(one) => one.context.as_ref(),
            Self::Certificate(one) => one.context.as_ref(),
            Self::TlsFingerprint(one) => one.context.as_ref(),
            Self::Vulnerability(one) => one.context.as_ref(),
            Self::DetectionRule(one) => one.context.as_ref(),
            _ => None,
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// When and how surely an indicator was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// First seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// Last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<u8>,
    /// For analysts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Text>,
}

impl Context {
    fn check(&self) -> Result<(), &'static str> {
        if self.confidence.is_some_and(|confidence| confidence > 100) {
            return Err("confidence is 0 to 100");
        }
        match (self.first_seen, self.last_seen) {
            (Some(first), Some(last)) if last < first => Err("it was last seen before first seen"),
            _ => Ok(()),
        }
    }
}

/// An indicator that is one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Indicator<T> {
    /// The value.
    pub value: T,
    /// When and how surely it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
}

/// Declares a content of named fields; optional ones may be left out.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$rdoc:meta])* $required:ident: $rtype:ty,)*
        $(; $($(#[$odoc:meta])* $optional:ident: $otype:ty,)*)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$rdoc])* pub $required: $rtype,)*
            $($($(#[$odoc])* #[serde(default, skip_serializing_if = "Option::is_none")]
            pub $optional: Option<$otype>,)*)?
        }
    };
}

fields! {
    /// A file by name and hashes; at least one of them.
    File {
        ;
        /// Its name.
        name: Line,
        /// In bytes.
        size: u64,
        /// MD5.
        md5: Md5,
        /// SHA-1.
        sha1: Sha1,
        /// SHA-256.
        sha256: Sha256,
        /// SHA-512.
        sha512: Sha512,
        /// When and how surely it was seen.
        context: Context,
    }
}

impl File {
    fn check(&self) -> Result<(), &'static str> {
        let named = self.name.is_some()
            || self.md5.is_some()
            || self.sha1.is_some()
            || self.sha256.is_some()
            || self.sha512.is_some();
        if !named {
            return Err("a file has a name or a hash");
        }
        self.context.as_ref().map_or(Ok(()), Context::check)
    }

    fn summary(&self) -> String {
        let hash = self.sha256.as_ref().map(ToString::to_string);
        let hash = hash.or_else(|| self.sha1.as_ref().map(ToString::to_string));
        let hash = hash.or_else(|| self.md5.as_ref().map(ToString::to_string));
        self.name
            .as_ref()
            .map(ToString::to_string)
            .or(hash)
            .unwrap_or_default()
    }
}

fields! {
    /// An X.509 certificate.
    Certificate {
        /// Of its DER.
        sha256: Sha256,
        ;
        /// Its subject.
        subject: Line,
        /// Its issuer.
        issuer: Line,
        /// Its serial number, as written.
        serial: Line,
        /// When and how surely it was seen.
        context: Context,
    }
}

/// A closed list of words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// The written form.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Reads the written form.
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// How a TLS fingerprint is computed.
    TlsMethod {
        /// Client, MD5.
        Ja3 = "ja3",
        /// Server, MD5.
        Ja3s = "ja3s",
        /// Client.
        Ja4 = "ja4",
        /// Server.
        Ja4s = "ja4s",
        /// Server, active.
        Jarm = "jarm",
    }
}

fields! {
    /// A fingerprint of a TLS client or server.
    TlsFingerprint {
        /// How it is computed.
        method: TlsMethod,
        /// As the method writes it.
        value: Line,
        ;
        /// When and how surely it was seen.
        context: Context,
    }
}

fields! {
    /// A vulnerability.
    Vulnerability {
        /// Its id.
        id: VulnerabilityId,
        ;
        /// What it is.
        description: Text,
        /// When and how surely it was seen.
        context: Context,
    }
}

words! {
    /// The language of a detection rule.
    RuleLanguage {
        /// Sigma.
        Sigma = "sigma",
        /// YARA.
        Yara = "yara",
        /// Snort.
        Snort = "snort",
        /// Suricata.
        Suricata = "suricata",
        /// STIX patterning.
        Stix = "stix",
        /// Kusto.
        Kql = "kql",
        /// Splunk.
        Spl = "spl",
        /// Another.
        Other = "other",
    }
}

fields! {
    /// A detection rule.
    DetectionRule {
        /// Its language.
        language: RuleLanguage,
        /// Its text.
        rule: Text,
        ;
        /// When and how surely it matched.
        context: Context,
    }
}

fields! {
    /// A warning of a threat: when, where, how, against what.
    Warning {
        /// What is feared.
        text: Text,
        ;
        /// The time window begins.
        from: Timestamp,
        /// The time window ends.
        until: Timestamp,
        /// Where, in words.
        place: Line,
        /// Where, by ISO 3166.
        region: Region,
        /// Degrees north.
        latitude: f64,
        /// Degrees east.
        longitude: f64,
        /// How.
        method: Line,
        /// Against what.
        target: Line,
    }
}

impl Warning {
    fn place_ok(&self) -> bool {
        match (self.latitude, self.longitude) {
            (None, None) => true,
            (Some(north), Some(east)) => {
                (-90.0..=90.0).contains(&north) && (-180.0..=180.0).contains(&east)
            }
            _ => false,
        }
    }
}

/// A person of interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name most used.
    pub name: Line,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Line>,
    /// Date of birth, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<PartialDate>,
    /// Nationalities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nationalities: Vec<Country>,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
}

words! {
    /// The kind of a document.
    DocumentKind {
        /// Passport.
        Passport = "passport",
        /// Identity card.
        IdentityCard = "identity-card",
        /// Residence permit.
        ResidencePermit = "residence-permit",
        /// Driving licence.
        DrivingLicence = "driving-licence",
        /// Visa.
        Visa = "visa",
        /// Another.
        Other = "other",
    }
}

fields! {
    /// A travel or identity document.
    Document {
        /// Its kind.
        kind: DocumentKind,
        /// Its number.
        number: Line,
        ;
        /// Who issued it.
        country: Country,
        /// Until when it is valid.
        expires: PartialDate,
        /// Whose it is.
        holder: Line,
    }
}

fields! {
    /// A telephone number.
    Telephone {
        /// In E.164.
        number: PhoneNumber,
        ;
        /// Whose it is.
        holder: Line,
    }
}

fields! {
    /// A bank account: an IBAN, or a number with the bank's BIC.
    BankAccount {
        ;
        /// IBAN.
        iban: Iban,
        /// Number, where there is no IBAN.
        number: Line,
        /// The bank.
        bic: Bic,
        /// Whose it is.
        holder: Line,
    }
}

impl BankAccount {
    fn summary(&self) -> String {
        let number = self.number.as_ref().map(ToString::to_string);
        self.iban
            .as_ref()
            .map(ToString::to_string)
            .or(number)
            .unwrap_or_default()
    }
}

words! {
    /// What moves.
    VehicleKind {
        /// On roads.
        Road = "road",
        /// On water.
        Vessel = "vessel",
        /// In the air.
        Aircraft = "aircraft",
    }
}

fields! {
    /// A vehicle, vessel or aircraft; at least one way to know it.
    Vehicle {
        /// Which of them.
        kind: VehicleKind,
        ;
        /// Number plate or registration mark.
        registration: Line,
        /// Where it is registered.
        country: Country,
        /// Vehicle identification number.
        vin: Vin,
        /// A ship's IMO number.
        imo: Imo,
        /// A ship's MMSI.
        mmsi: Mmsi,
        /// An aircraft's 24-bit address.
        icao24: Icao24,
        /// What it looks like.
        description: Line,
    }
}

impl Vehicle {
    fn check(&self) -> Result<(), &'static str> {
        let known = self.registration.is_some()
            || self.vin.is_some()
            || self.imo.is_some()
            || self.mmsi.is_some()
            || self.icao24.is_some()
            || self.description.is_some();
        if known {
            Ok(())
        } else {
            Err("a vehicle has a registration, a number or a description")
        }
    }

    fn summary(&self) -> String {
        let known = [
            self.registration.as_ref().map(Line::as_str),
            self.vin.as_ref().map(Vin::as_str),
            self.imo.as_ref().map(Imo::as_str),
            self.mmsi.as_ref().map(Mmsi::as_str),
            self.icao24.as_ref().map(Icao24::as_str),
            self.description.as_ref().map(Line::as_str),
        ];
        let known = known.into_iter().flatten().next().unwrap_or_default();
        format!("{} {known}", self.kind.as_str())
    }
}

fields! {
    /// Text for analysts.
    Narrative {
        /// The text.
        text: Text,
        ;
        /// Its title.
        title: Line,
        /// Its language.
        language: LanguageTag,
    }
}

fields! {
    /// How the originator knows.
    Source {
        /// In words.
        description: Text,
    }
}

fields! {
    /// What is advised.
    Action {
        /// In words.
        text: Text,
    }
}

words! {
    /// What is said of an indicator by who used it; MISP numbers the three 0, 1 and 2.
    SightingMark {
        /// It was seen.
        Seen = "seen",
        /// It fires on what is harmless.
        FalsePositive = "false-positive",
        /// It does not hold any more.
        Expired = "expired",
    }
}

fields! {
    /// That something was seen, or is a false positive, or has expired.
    Sighting {
        /// A value, or the id of a bulletin.
        of: Line,
        /// How often it was seen; 0 for a false positive and for what has expired.
        count: u64,
        ;
        /// First.
        first: Timestamp,
        /// Last.
        last: Timestamp,
        /// Where.
        place: Line,
        /// What is said of it; absent: that it was seen.
        mark: SightingMark,
        /// The bulletin in which it was received.
        bulletin: BulletinId,
        /// The hash of its part's leaf in that bulletin; absent: all of the bulletin.
        part: Digest,
        /// The id by which STIX exports name that part, where they make an object of it.
        object: Line,
    }
}

impl Sighting {
    /// What is said of it.
    pub fn says(&self) -> SightingMark {
        self.mark.unwrap_or(SightingMark::Seen)
    }

    fn check(&self) -> Result<(), &'static str> {
        if matches!((self.first, self.last), (Some(first), Some(last)) if first > last) {
            return Err("the sighting was last seen before it was first seen");
        }
        // Whoever reads the count alone is not told that it was seen.
        if self.says() != SightingMark::Seen && self.count > 0 {
            return Err("a false positive, or what has expired, has a count of 0");
        }
        if self.bulletin.is_none() && (self.part.is_some() || self.object.is_some()) {
            return Err("a sighting that names a part or an object names their bulletin");
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let says = match self.says() {
            SightingMark::Seen => format!("{} seen {} times", self.of, self.count),
            SightingMark::FalsePositive => format!("{} is a false positive", self.of),
            SightingMark::Expired => format!("{} has expired", self.of),
        };
        match self.bulletin {
            Some(id) if self.part.is_some() => format!("{says}, of bulletin {id}"),
            _ => says,
        }
    }
}

/// A file that goes along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Its name.
    pub name: Line,
    /// Its media type (RFC 6838).
    pub media_type: Line,
    /// Its bytes; in text, as base64.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub data: Bytes,
}

/// A STIX 2.1 object as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stix {
    /// The class it was given on import; it travels as the part's class.
    pub class: PartClass,
    /// The exact text of its JSON.
    pub json: String,
}

fn to_base64<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(data))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64
        .decode(text.as_bytes())
        .map(Bytes::from)
        .map_err(serde::de::Error::custom)
}
