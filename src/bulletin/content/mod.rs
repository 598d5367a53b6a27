//! What a part says: typed content, checked where it enters.
//!
//! Every value is a type that only a well-formed value can make, so an address that is no address
//! is an error where it is written or received, and never a surprise to an application.

mod types;
mod value;
mod wire;

pub use types::{
    Action, Attachment, BankAccount, Certificate, Content, Context, DetectionRule, Document,
    DocumentKind, File, Indicator, Narrative, Person, RuleLanguage, Sighting, SightingMark, Source,
    Stix, Telephone, TlsFingerprint, TlsMethod, Vehicle, VehicleKind, Vulnerability, Warning,
};
pub use value::{
    AsNumber, Bic, Country, Domain, Email, Iban, Icao24, Imo, InvalidValue, IpAddress, IpRange,
    LanguageTag, Line, Md5, Mmsi, PartialDate, PhoneNumber, Sha1, Sha256, Sha512, Text, Url, Vin,
    VulnerabilityId,
};
pub use wire::InvalidContent;
