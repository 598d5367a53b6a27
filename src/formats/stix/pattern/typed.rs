//! Patterns that say the same as one of our indicators, and back.
//!
//! These are patterns of level 1 (section 9.10): one observation, no qualifiers, equal values at the
//! paths below, one indicator or a choice of them. Everything else stays a pattern.

use std::str::FromStr;

use super::{Comparison, Literal, ObjectPath, Observation, Operator, Step, Test, quoted};
use crate::bulletin::Content;
use crate::bulletin::content::{
    Certificate, File, Indicator, IpAddress, Line, Md5, Sha1, Sha256, Sha512, TlsFingerprint,
    TlsMethod,
};

/// The type under which fingerprints of TLS are written: STIX has none for them.
const TLS: &str = "x-entente-tls-fingerprint";

/// The indicators that a pattern stands for, where it says nothing else.
pub fn indicators(pattern: &Observation) -> Option<Vec<Content>> {
    let Observation::One(comparison) = pattern else {
        return None;
    };
    match comparison {
        Comparison::Any(any) => any.iter().map(indicator).collect(),
        one => Some(vec![indicator(one)?]),
    }
}

fn indicator(comparison: &Comparison) -> Option<Content> {
    match comparison {
        Comparison::Test(test) => {
            let (object, name) = (test.path.object.as_str(), place(&test.path)?);
            single(object, &name, test).or_else(|| several(std::slice::from_ref(comparison)))
        }
        Comparison::All(all) => several(all),
        _ => None,
    }
}

/// The way to a value as one text, `hashes.MD5`; none through lists.
fn place(path: &ObjectPath) -> Option<String> {
    let names = path.steps.iter().map(|step| match step {
        Step::Name(name) => Some(name.as_str()),
        _ => None,
    });
    Some(names.collect::<Option<Vec<_>>>()?.join("."))
}

/// The constant to which a value must be equal.
fn equal(test: &Test) -> Option<&Literal> {
    match (test.not, test.operator, test.literals.as_slice()) {
        (false, Operator::Equal, [literal]) => Some(literal),
        _ => None,
    }
}

fn text(literal: &Literal) -> Option<&str> {
    match literal {
        Literal::Text(text) => Some(text),
        _ => None,
    }
}

fn of<T: FromStr>(text: &str) -> Option<Indicator<T>> {
    let value = text.parse().ok()?;
    Some(Indicator {
        value,
        context: None,
    })
}

/// Indicators of one value.
fn single(object: &str, name: &str, test: &Test) -> Option<Content> {
    let subset = !test.not && test.operator == Operator::IsSubset;
    if subset && name == "value" {
        return network(object, text(test.literals.first()?)?);
    }
    let literal = equal(test)?;
    match (object, name) {
        ("ipv4-addr" | "ipv6-addr", "value") => network(object, text(literal)?),
        ("domain-name", "value") => of(text(literal)?).map(Content::Domain),
        ("url", "value") => of(text(literal)?).map(Content::Url),
        ("email-addr", "value") => of(text(literal)?).map(Content::Email),
        ("autonomous-system", "number") => match literal {
            Literal::Integer(number) => of(&number.to_string()).map(Content::AsNumber),
            _ => None,
        },
        (TLS, method) => {
            let method = TlsMethod::from_text(method)?;
            let value = text(literal)?.parse().ok()?;
            Some(Content::TlsFingerprint(TlsFingerprint {
                method,
                value,
                context: None,
            }))
        }
        _ => None,
    }
}

/// An address, or a range of them; a range of one is an address.
fn network(object: &str, text: &str) -> Option<Content> {
    let v6 = text.contains(':');
    if v6 != (object == "ipv6-addr") || (!v6 && object != "ipv4-addr") {
        return None;
    }
    let host = text.strip_suffix(if v6 { "/128" } else { "/32" });
    if let Some(one) = of::<IpAddress>(host.unwrap_or(text)) {
        return Some(Content::Ip(one));
    }
    of(text).map(Content::IpRange)
}

/// What is known of a file or a certificate.
#[derive(Default)]
struct Fields {
    name: Option<Line>,
    size: Option<u64>,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
    subject: Option<Line>,
    issuer: Option<Line>,
    serial: Option<Line>,
}

/// Indicators of several values that hold together: files and certificates.
fn several(all: &[Comparison]) -> Option<Content> {
    let mut fields = Fields::default();
    let mut objects = Vec::new();
    for one in all {
        let Comparison::Test(test) = one else {
            return None;
        };
        let (name, literal) = (place(&test.path)?, equal(test)?);
        let object = test.path.object.as_str();
        match (object, name.as_str(), literal) {
            ("file", "size", Literal::Integer(size)) => set(&mut fields.size, &size.to_string())?,
            (_, name, Literal::Text(text)) => fields.set(object, name, text)?,
            _ => return None,
        }
        objects.push(object);
    }
    let object = *objects.first()?;
    if objects.iter().any(|other| *other != object) {
        return None;
    }
    let content = fields.content(object)?;
    // A file by its size alone is no indicator of ours.
    content.validate().is_ok().then_some(content)
}

impl Fields {
    fn set(&mut self, object: &str, name: &str, text: &str) -> Option<()> {
        match (object, name) {
            ("file", "name") => set(&mut self.name, text),
            ("file", "hashes.MD5") => set(&mut self.md5, text),
            ("file", "hashes.SHA-1") => set(&mut self.sha1, text),
            ("file" | "x509-certificate", "hashes.SHA-256") => set(&mut self.sha256, text),
            ("file", "hashes.SHA-512") => set(&mut self.sha512, text),
            ("x509-certificate", "subject") => set(&mut self.subject, text),
            ("x509-certificate", "issuer") => set(&mut self.issuer, text),
            ("x509-certificate", "serial_number") => set(&mut self.serial, text),
            _ => None,
        }
    }

    fn content(self, object: &str) -> Option<Content> {
        if object == "file" {
            return Some(Content::File(File {
                name: self.name,
                size: self.size,
                md5: self.md5,
                sha1: self.sha1,
                sha256: self.sha256,
                sha512: self.sha512,
                context: None,
            }));
        }
        Some(Content::Certificate(Certificate {
            sha256: self.sha256?,
            subject: self.subject,
            issuer: self.issuer,
            serial: self.serial,
            context: None,
        }))
    }
}

/// Takes a value where there is none yet.
fn set<T: FromStr>(field: &mut Option<T>, text: &str) -> Option<()> {
    let value = text.parse().ok()?;
    field.replace(value).is_none().then_some(())
}

/// The pattern of an indicator, without when and how surely it was seen; `None` where the content
/// is no indicator.
pub fn pattern_of(content: &Content) -> Option<String> {
    let family = |text: &str| {
        if text.contains(':') {
            "ipv6-addr"
        } else {
            "ipv4-addr"
        }
    };
    let value = |object: &str, text: &str| format!("[{object}:value = {}]", quoted(text));
    Some(match content {
        Content::Ip(one) => value(family(one.value.as_str()), one.value.as_str()),
        Content::IpRange(one) => {
            let range = one.value.as_str();
            format!("[{}:value ISSUBSET {}]", family(range), quoted(range))
        }
        Content::Domain(one) => value("domain-name", one.value.as_str()),
        Content::Url(one) => value("url", one.value.as_str()),
        Content::Email(one) => value("email-addr", one.value.as_str()),
        Content::AsNumber(one) => format!("[autonomous-system:number = {}]", one.value),
        Content::TlsFingerprint(one) => {
            let (method, value) = (one.method.as_str(), quoted(one.value.as_str()));
            format!("[{TLS}:{method} = {value}]")
        }
        Content::File(file) => {
            let known = [
                ("name", file.name.as_ref().map(Line::as_str)),
                ("hashes.MD5", file.md5.as_ref().map(Md5::as_str)),
                ("hashes.'SHA-1'", file.sha1.as_ref().map(Sha1::as_str)),
                ("hashes.'SHA-256'", file.sha256.as_ref().map(Sha256::as_str)),
                ("hashes.'SHA-512'", file.sha512.as_ref().map(Sha512::as_str)),
            ];
            let size = file.size.map(|size| format!("file:size = {size}"));
            all("file", &known, size)
        }
        Content::Certificate(one) => {
            let known = [
                ("hashes.'SHA-256'", Some(one.sha256.as_str())),
                ("subject", one.subject.as_ref().map(Line::as_str)),
                ("issuer", one.issuer.as_ref().map(Line::as_str)),
                ("serial_number", one.serial.as_ref().map(Line::as_str)),
            ];
            all("x509-certificate", &known, None)
        }
        _ => return None,
    })
}

/// `[file:name = 'a' AND file:hashes.MD5 = '...']`.
fn all(object: &str, known: &[(&str, Option<&str>)], more: Option<String>) -> String {
    let tests = known
        .iter()
        .filter_map(|(place, text)| Some(format!("{object}:{place} = {}", quoted((*text)?))));
    let tests: Vec<String> = tests.chain(more).collect();
    format!("[{}]", tests.join(" AND "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse;
    use super::*;

    fn read(text: &str) -> Option<Vec<Content>> {
        indicators(&parse(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    #[test]
    fn simple_patterns_are_indicators_and_others_stay_as_they_are() {
        let summaries = |text: &str| {
            let found = read(text)?;
            Some(
                found
                    .iter()
                    .map(Content::summary)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        for (text, expected) in [
            ("[ipv4-addr:value = '198.51.100.7']", Some("198.51.100.7")),
            (
                "[ipv4-addr:value = '198.51.100.7/32']",
                Some("198.51.100.7"),
            ),
            (
                "[ipv4-addr:value='198.51.100.0/24']",
                Some("198.51.100.0/24"),
            ),
            (
                "[ipv6-addr:value ISSUBSET '2001:db8::/32']",
                Some("2001:db8::/32"),
            ),
            ("[ipv4-addr:value = '2001:db8::1']", None),
            (
                "[domain-name:value = 'a.example' OR url:value = 'https://b.example/']",
                Some("a.example https://b.example/"),
            ),
            ("[autonomous-system:number = 64496]", Some("AS64496")),
            (
                "[file:name = 'it\\'s.exe' AND file:size = 7]",
                Some("it's.exe"),
            ),
            ("[file:size = 7]", None),
            ("[file:name = 'a' AND file:name = 'b']", None),
            (
                "[file:name = 'a' AND domain-name:value = 'a.example']",
                None,
            ),
            ("[domain-name:value != 'a.example']", None),
            ("[domain-name:value NOT = 'a.example']", None),
            ("[domain-name:value LIKE 'a.example']", None),
            ("[domain-name:value IN ('a.example')]", None),
            ("[domain-name:value = 'a.example'] WITHIN 5 SECONDS", None),
            (
                "[domain-name:value = 'a.example'] AND [url:value = 'http://b.example']",
                None,
            ),
            ("[x509-certificate:subject = 'CN=a']", None),
        ] {
            assert_eq!(summaries(text).as_deref(), expected, "{text}");
        }
    }

    fn line() -> impl Strategy<Value = Line> {
        "[ -~äЖ'\\\\]{1,40}".prop_filter_map("not only spaces", |text| text.parse().ok())
    }

    fn hex(digits: usize) -> impl Strategy<Value = String> {
        proptest::string::string_regex(&format!("[0-9a-f]{{{digits}}}")).unwrap()
    }

    fn content() -> impl Strategy<Value = Content> {
        let option = proptest::option::of::<BoxedStrategy<Line>>;
        let of = |kind: &'static str| {
            move |text: String| {
                let json = serde_json::json!({"type": kind, "value": text});
                serde_json::from_value::<Content>(json).ok()
            }
        };
        let file = (
            option(line().boxed()),
            any::<Option<u64>>(),
            hex(32),
            hex(40),
            hex(64),
            hex(128),
        );
        let certificate = (hex(64), option(line().boxed()), option(line().boxed()));
        let methods = prop_oneof!["ja3", "ja3s", "ja4", "ja4s", "jarm"];
        prop_oneof![
            any::<std::net::IpAddr>().prop_filter_map("ip", move |ip| of("ip")(ip.to_string())),
            any::<u32>().prop_filter_map("range", move |ip| {
                let net = ipnet::Ipv4Net::new(ip.into(), 20).ok()?.trunc();
                of("ip-range")(net.to_string())
            }),
            "[a-z]{1,9}\\.[a-z]{2,5}".prop_filter_map("domain", of("domain")),
            "https://[a-z]{1,9}\\.test/[!-~]{0,30}".prop_filter_map("url", of("url")),
            "[a-z.']{1,9}@[a-z]{1,9}\\.test".prop_filter_map("email", of("email")),
            (1..=u32::MAX).prop_filter_map("as", move |n| of("as-number")(n.to_string())),
            (methods, line()).prop_map(|(method, value)| {
                let method = TlsMethod::from_text(&method).unwrap();
                Content::TlsFingerprint(TlsFingerprint {
                    method,
                    value,
                    context: None,
                })
            }),
            file.prop_map(
                |(name, size, md5, sha1, sha256, sha512)| Content::File(File {
                    md5: name.is_none().then(|| md5.parse().unwrap()),
                    name,
                    // Patterns hold numbers of 64 bits with a sign.
                    size: size.map(|size| size >> 1),
                    sha1: size.is_some().then(|| sha1.parse().unwrap()),
                    sha256: Some(sha256.parse().unwrap()),
                    sha512: size.is_none().then(|| sha512.parse().unwrap()),
                    context: None,
                })
            ),
            certificate.prop_map(
                |(sha256, subject, issuer)| Content::Certificate(Certificate {
                    sha256: sha256.parse().unwrap(),
                    serial: subject.clone(),
                    subject,
                    issuer,
                    context: None,
                })
            ),
        ]
    }

    proptest! {
        #[test]
        fn an_indicator_is_its_pattern_and_the_pattern_the_indicator(content in content()) {
            let pattern = pattern_of(&content).unwrap();
            prop_assert_eq!(read(&pattern), Some(vec![content]), "{}", pattern);
        }
    }
}
