//! Attributes by type as parts, and back.

use data_encoding::BASE64;

use super::event::Attribute;
use crate::bulletin::Content;
use crate::bulletin::content::{
    Attachment, BankAccount, Certificate, Context, DetectionRule, Document, DocumentKind, File,
    Indicator, Line, Narrative, Person, RuleLanguage, Telephone, Text, TlsFingerprint, TlsMethod,
    Vulnerability,
};

/// Types that say something of a person beyond a name.
const OF_PERSONS: [&str; 14] = [
    "first-name",
    "middle-name",
    "last-name",
    "date-of-birth",
    "place-of-birth",
    "gender",
    "nationality",
    "identity-card-number",
    "visa-number",
    "target-user",
    "target-email",
    "whois-registrant-name",
    "github-username",
    "twitter-id",
];
/// Types that name an account or a card.
const OF_ACCOUNTS: [&str; 8] = [
    "bank-account-nr",
    "aba-rtn",
    "bin",
    "cc-number",
    "prtn",
    "btc",
    "xmr",
    "dash",
];
/// Types that are text for analysts.
const OF_ANALYSTS: [&str; 11] = [
    "text",
    "comment",
    "link",
    "other",
    "campaign-name",
    "campaign-id",
    "threat-actor",
    "target-org",
    "target-location",
    "target-external",
    "target-machine",
];

/// A value that is not what its type says.
#[derive(Debug)]
pub(super) struct Unfit(pub(super) String);

type Read<T> = Result<T, Unfit>;

fn value<T: std::str::FromStr<Err = crate::bulletin::content::InvalidValue>>(
    text: &str,
) -> Read<T> {
    text.trim()
        .parse()
        .map_err(|error: T::Err| Unfit(error.to_string()))
}

/// When and how surely it was seen. What is not for detection has no confidence at all.
fn context(attribute: &Attribute) -> Option<Context> {
    let comment = attribute.comment.as_deref().unwrap_or_default();
    let context = Context {
        first_seen: attribute.first_seen,
        last_seen: attribute.last_seen,
        confidence: (!attribute.to_ids).then_some(0),
        comment: comment.parse().ok(),
    };
    (context != Context::default()).then_some(context)
}

/// The parts that an attribute becomes.
pub(super) fn contents(attribute: &Attribute) -> Read<Vec<Content>> {
    let text = attribute.value.as_str();
    let context = context(attribute);
    if let Some(data) = &attribute.data {
        return attachment(attribute, data);
    }
    macro_rules! indicator {
        ($kind:ident, $text:expr) => {
            Content::$kind(Indicator {
                value: value($text)?,
                context: context.clone(),
            })
        };
    }
    let content = match attribute.kind.as_str() {
        "ip-src" | "ip-dst" | "ip-any" if text.contains('/') => indicator!(IpRange, text),
        "ip-src" | "ip-dst" | "ip-any" => indicator!(Ip, text),
        "ip-src|port" | "ip-dst|port" => with_port(text, context)?,
        "hostname|port" => {
            let (host, port) = text.rsplit_once('|').unwrap_or((text, ""));
            Content::Domain(Indicator {
                value: value(host)?,
                context: Some(port_comment(context, port)),
            })
        }
        "domain" | "hostname" => indicator!(Domain, text),
        "domain|ip" => {
            let (domain, ip) = text
                .split_once('|')
                .ok_or_else(|| Unfit("it has no `|` between domain and address".into()))?;
            return Ok(vec![indicator!(Domain, domain), indicator!(Ip, ip)]);
        }
        "url" => indicator!(Url, text),
        "email" | "email-src" | "email-dst" => indicator!(Email, text),
        "AS" => indicator!(AsNumber, text),
        "vulnerability" => Content::Vulnerability(Vulnerability {
            id: value(text)?,
            description: None,
            context,
        }),
        "ja3-fingerprint-md5" => fingerprint(TlsMethod::Ja3, text, context)?,
        "jarm-fingerprint" => fingerprint(TlsMethod::Jarm, text, context)?,
        "x509-fingerprint-sha256" => Content::Certificate(Certificate {
            sha256: value(text)?,
            subject: None,
            issuer: None,
            serial: None,
            context,
        }),
        "yara" => rule(RuleLanguage::Yara, text, context)?,
        "sigma" => rule(RuleLanguage::Sigma, text, context)?,
        "snort" => rule(RuleLanguage::Snort, text, context)?,
        "stix2-pattern" => rule(RuleLanguage::Stix, text, context)?,
        kind if is_file(kind) => {
            let mut file = no_file(context);
            for (name, text) in kind.split('|').zip(text.split('|')) {
                set(&mut file, name, text)?;
            }
            checked(Content::File(file))?
        }
        kind => other(kind, attribute)?,
    };
    Ok(vec![content])
}

/// Types whose values need no judgement of detection, and those that STIX and we have no type for.
fn other(kind: &str, attribute: &Attribute) -> Read<Content> {
    let text = attribute.value.as_str();
    Ok(match kind {
        "full-name" => person(text, None)?,
        "phone-number" | "whois-registrant-phone" => Content::Telephone(Telephone {
            number: value(text)?,
            holder: None,
        }),
        "iban" => Content::BankAccount(BankAccount {
            iban: Some(value(text)?),
            number: None,
            bic: None,
            holder: None,
        }),
        "passport-number" => Content::Document(Document {
            kind: DocumentKind::Passport,
            number: value(text)?,
            country: None,
            expires: None,
            holder: None,
        }),
        kind if OF_PERSONS.contains(&kind) || attribute.category == "Person" => {
            person(text, Some(kind))?
        }
        kind if OF_ACCOUNTS.contains(&kind) || attribute.category == "Financial fraud" => {
            Content::BankAccount(BankAccount {
                iban: None,
                number: Some(value(&format!("{kind}: {text}"))?),
                bic: None,
                holder: None,
            })
        }
        kind if OF_ANALYSTS.contains(&kind) => {
            let comment = attribute.comment.as_deref().unwrap_or_default();
            let text = if comment.is_empty() {
                text.to_owned()
            } else {
                format!("{text}\n{comment}")
            };
            Content::Narrative(Narrative {
                text: long(&text)?,
                title: value(&format!("MISP {kind}")).ok(),
                language: None,
            })
        }
        kind => Content::DetectionRule(DetectionRule {
            language: RuleLanguage::Other,
            rule: long(&format!("MISP {kind}: {text}"))?,
            context: context(attribute),
        }),
    })
}

fn person(name: &str, kind: Option<&str>) -> Read<Content> {
    Ok(Content::Person(Box::new(Person {
        name: value(name)?,
        aliases: Vec::new(),
        born: None,
        nationalities: Vec::new(),
        description: kind.and_then(|kind| format!("MISP {kind}").parse().ok()),
    })))
}

fn long(text: &str) -> Read<Text> {
    // Other control characters have no place in a text.
    let clean = |c: &char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    value(&text.chars().filter(clean).collect::<String>())
}

fn checked(content: Content) -> Read<Content> {
    content
        .validate()
        .map_err(|error| Unfit(error.to_string()))?;
    Ok(content)
}

fn fingerprint(method: TlsMethod, text: &str, context: Option<Context>) -> Read<Content> {
    Ok(Content::TlsFingerprint(TlsFingerprint {
        method,
        value: value(text)?,
        context,
    }))
}

fn rule(language: RuleLanguage, text: &str, context: Option<Context>) -> Read<Content> {
    Ok(Content::DetectionRule(DetectionRule {
        language,
        rule: long(text)?,
        context,
    }))
}

fn with_port(text: &str, context: Option<Context>) -> Read<Content> {
    let (ip, port) = text.rsplit_once('|').unwrap_or((text, ""));
    Ok(Content::Ip(Indicator {
        value: value(ip)?,
        context: Some(port_comment(context, port)),
    }))
}

fn port_comment(context: Option<Context>, port: &str) -> Context {
    let mut context = context.unwrap_or_default();
    let comment = context
        .comment
        .as_ref()
        .map(Text::as_str)
        .unwrap_or_default();
    let comment = format!("port {port}\n{comment}");
    context.comment = comment.trim().parse().ok();
    context
}

/// `filename`, a hash, or both with a bar between them.
fn is_file(kind: &str) -> bool {
    let known = ["filename", "md5", "sha1", "sha256", "sha512"];
    kind.split('|').all(|one| known.contains(&one))
}

pub(super) fn no_file(context: Option<Context>) -> File {
    File {
        name: None,
        size: None,
        md5: None,
        sha1: None,
        sha256: None,
        sha512: None,
        context,
    }
}

/// Sets what a file object or a composite type says; `false` where it is said already, or is nothing
/// that a file has.
pub(super) fn set(file: &mut File, name: &str, text: &str) -> Read<bool> {
    fn put<T: std::str::FromStr<Err = crate::bulletin::content::InvalidValue>>(
        field: &mut Option<T>,
        text: &str,
    ) -> Read<bool> {
        if field.is_some() {
            return Ok(false);
        }
        *field = Some(value(text)?);
        Ok(true)
    }
    match name {
        "filename" => put(&mut file.name, text),
        "md5" => put(&mut file.md5, text),
        "sha1" => put(&mut file.sha1, text),
        "sha256" => put(&mut file.sha256, text),
        "sha512" => put(&mut file.sha512, text),
        "size-in-bytes" if file.size.is_none() => {
            file.size = text.parse().ok();
            Ok(file.size.is_some())
        }
        _ => Ok(false),
    }
}

/// A file that goes along. Malware is in a ZIP archive with the password `infected`, as MISP has it.
fn attachment(attribute: &Attribute, data: &str) -> Read<Vec<Content>> {
    let malware = attribute.kind == "malware-sample";
    let name = attribute.value.split('|').next().unwrap_or_default();
    let bare: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let data = BASE64
        .decode(bare.as_bytes())
        .map_err(|error| Unfit(format!("its data is no base64: {error}")))?;
    let kind = if malware {
        "application/zip"
    } else {
        "application/octet-stream"
    };
    let mut contents = vec![Content::Attachment(Attachment {
        name: value::<Line>(name)?,
        media_type: value(kind)?,
        data: data.into(),
    })];
    if malware {
        let mut file = no_file(context(attribute));
        for (name, text) in ["filename", "md5"].iter().zip(attribute.value.split('|')) {
            set(&mut file, name, text)?;
        }
        contents.push(checked(Content::File(file))?);
    }
    Ok(contents)
}
