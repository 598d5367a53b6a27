//! Indicators as cyber-observable objects.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::{head, ids};
use crate::bulletin::Content;
use crate::bulletin::content::{
    Attachment, Certificate, Email, File, IpAddress, Line, Md5, Sha1, Sha256, Sha512,
};
use crate::formats::stix::values::is_media_type;

/// The object that a value is; `None` where STIX has no observable for it.
pub(super) fn of_content(content: &Content) -> Option<Map<String, Value>> {
    let family = |text: &str| {
        if text.contains(':') {
            "ipv6-addr"
        } else {
            "ipv4-addr"
        }
    };
    let value = |kind: &str, text: &str| with_id(kind, [("value", Some(text.into()))]);
    match content {
        Content::Ip(one) => value(family(one.value.as_str()), one.value.as_str()),
        Content::IpRange(one) => value(family(one.value.as_str()), one.value.as_str()),
        Content::Domain(one) => value("domain-name", one.value.as_str()),
        Content::Url(one) => value("url", one.value.as_str()),
        Content::Email(one) => value("email-addr", one.value.as_str()),
        Content::AsNumber(one) => {
            let number: u32 = one.value.as_str().parse().ok()?;
            with_id("autonomous-system", [("number", Some(number.into()))])
        }
        Content::File(file) => of_file(file),
        Content::Certificate(one) => of_certificate(one),
        _ => None,
    }
}

/// The object of a value of which it is not said what it is.
pub(super) fn of_value(text: &str) -> Option<Map<String, Value>> {
    let value = |kind: &str| with_id(kind, [("value", Some(text.into()))]);
    if text.parse::<IpAddress>().is_ok() {
        return value(if text.contains(':') {
            "ipv6-addr"
        } else {
            "ipv4-addr"
        });
    }
    if text.parse::<crate::bulletin::content::Url>().is_ok() {
        return value("url");
    }
    if text.parse::<Email>().is_ok() {
        return value("email-addr");
    }
    for (name, digits) in [
        ("MD5", 32),
        ("SHA-1", 40),
        ("SHA-256", 64),
        ("SHA-512", 128),
    ] {
        if text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            let hashes = json!({name: text.to_ascii_lowercase()});
            return with_id("file", [("hashes", Some(hashes))]);
        }
    }
    let domain = text.parse::<crate::bulletin::content::Domain>().ok()?;
    with_id("domain-name", [("value", Some(domain.as_str().into()))])
}

fn of_file(file: &File) -> Option<Map<String, Value>> {
    let known = [
        ("MD5", file.md5.as_ref().map(Md5::as_str)),
        ("SHA-1", file.sha1.as_ref().map(Sha1::as_str)),
        ("SHA-256", file.sha256.as_ref().map(Sha256::as_str)),
        ("SHA-512", file.sha512.as_ref().map(Sha512::as_str)),
    ];
    let hashes = known
        .into_iter()
        .filter_map(|(name, hash)| Some((name.to_owned(), hash?.into())));
    let hashes: Map<String, Value> = hashes.collect();
    with_id(
        "file",
        [
            ("name", file.name.as_ref().map(|name| name.as_str().into())),
            ("size", file.size.and_then(whole_number)),
            ("hashes", (!hashes.is_empty()).then(|| hashes.into())),
        ],
    )
}

/// STIX has whole numbers to 2^53 - 1 (section 2.8).
fn whole_number(number: u64) -> Option<Value> {
    (number < 1 << 53).then(|| number.into())
}

fn of_certificate(one: &Certificate) -> Option<Map<String, Value>> {
    let text = |line: &Option<Line>| line.as_ref().map(|line| line.as_str().into());
    with_id(
        "x509-certificate",
        [
            ("hashes", Some(json!({"SHA-256": one.sha256.as_str()}))),
            ("subject", text(&one.subject)),
            ("issuer", text(&one.issuer)),
            ("serial_number", text(&one.serial)),
        ],
    )
}

/// The bytes of a file that goes along, and the file by its name.
pub(super) fn of_attachment(one: &Attachment) -> Option<[Map<String, Value>; 2]> {
    let sha256 = ring::digest::digest(&ring::digest::SHA256, &one.data);
    let hashes = json!({"SHA-256": data_encoding::HEXLOWER.encode(sha256.as_ref())});
    let kind = one.media_type.as_str();
    let artifact = with_id(
        "artifact",
        [
            ("mime_type", is_media_type(kind).then(|| kind.into())),
            ("payload_bin", Some(BASE64.encode(&one.data).into())),
            ("hashes", Some(hashes.clone())),
        ],
    )?;
    let content = artifact.get("id")?.clone();
    let size = whole_number(one.data.len() as u64);
    let file = with_id(
        "file",
        [
            ("name", Some(one.name.as_str().into())),
            ("hashes", Some(hashes)),
            ("size", size),
            ("content_ref", Some(content)),
        ],
    )?;
    Some([artifact, file])
}

fn with_id<const N: usize>(
    kind: &str,
    properties: [(&str, Option<Value>); N],
) -> Option<Map<String, Value>> {
    let known = properties
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let properties: Map<String, Value> = known.collect();
    let mut object = head(kind, ids::observable_id(kind, &properties)?);
    object.extend(properties);
    Some(object)
}
