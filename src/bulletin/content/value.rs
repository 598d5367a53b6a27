//! The values of content: text that only well-formed text can become.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use iban::IbanLike;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::super::taxonomy::Region;

/// The longest line of text.
const MAX_LINE: usize = 1024;
/// The longest text: what a part's body can hold, and some room for the rest of it.
const MAX_TEXT: usize = super::super::error::MAX_PART_BYTES - 64 * 1024;
/// The longest URL.
const MAX_URL: usize = 8 * 1024;

/// A value that is none of its kind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{value}` is not {expected}")]
pub struct InvalidValue {
    /// What was found, shortened and without control characters.
    pub value: String,
    /// What was expected, with its article.
    pub expected: &'static str,
}

/// Declares a value: its documentation, what it is called in errors, and the function that brings
/// it into its one written form or refuses it.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $canonical:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The written form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let canonical: fn(&str) -> Option<String> = $canonical;
                canonical(text).map(Self).ok_or_else(|| InvalidValue {
                    value: text.chars().take(80).flat_map(char::escape_debug).collect(),
                    expected: $expected,
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

value! {
    /// One IP address, version 4 or 6.
    IpAddress, "an IP address such as 198.51.100.7 or 2001:db8::7",
    |text| text.parse::<IpAddr>().ok().map(|address| address.to_string())
}

value! {
    /// A range of IP addresses in CIDR form.
    IpRange, "a range of IP addresses such as 198.51.100.0/24",
    |text| text.parse::<ipnet::IpNet>().ok().filter(|net| net.trunc() == *net)
        .map(|net| net.to_string())
}

value! {
    /// A fully qualified domain name; internationalised names in their ASCII form (RFC 5891).
    Domain, "a domain name such as relay.example.com", domain
}

value! {
    /// An absolute URL with a host.
    Url, "a URL such as https://relay.example.com/login",
    |text| {
        let url = (text.len() <= MAX_URL).then(|| url::Url::parse(text).ok()).flatten()?;
        url.has_host().then(|| text.to_owned())
    }
}

value! {
    /// A mailbox (RFC 5321).
    Email, "an e-mail address such as someone@example.com",
    |text| email_address::EmailAddress::is_valid(text).then(|| text.to_owned())
}

value! {
    /// The number of an autonomous system (RFC 6793).
    AsNumber, "an AS number such as 64496",
    |text| text.strip_prefix("AS").unwrap_or(text).parse::<u32>().ok()
        .filter(|number| *number > 0).map(|number| number.to_string())
}

value! {
    /// An MD5 digest.
    Md5, "an MD5 digest of 32 hexadecimal digits", |text| hex(text, 32)
}

value! {
    /// A SHA-1 digest.
    Sha1, "a SHA-1 digest of 40 hexadecimal digits", |text| hex(text, 40)
}

value! {
    /// A SHA-256 digest.
    Sha256, "a SHA-256 digest of 64 hexadecimal digits", |text| hex(text, 64)
}

value! {
    /// A SHA-512 digest.
    Sha512, "a SHA-512 digest of 128 hexadecimal digits", |text| hex(text, 128)
}

value! {
    /// The id of a vulnerability: a CVE, or another authority's.
    VulnerabilityId, "the id of a vulnerability such as CVE-2026-12345",
    |text| {
        let cve = |rest: &str| {
            let (year, number) = rest.split_once('-')?;
            (digits(year, 4..=4) && digits(number, 4..=19)).then_some(())
        };
        match text.strip_prefix("CVE-") {
            Some(rest) => cve(rest)?,
            None => (line(text).is_some() && text.contains('-')
                && text.bytes().all(|b| b.is_ascii_graphic())).then_some(())?,
        }
        Some(text.to_owned())
    }
}

value! {
    /// A country by its ISO 3166-1 alpha-2 code.
    Country, "an ISO 3166-1 alpha-2 code such as EE",
    |text| text.parse::<Region>().ok().filter(|_| !text.contains('-')).map(|_| text.to_owned())
}

value! {
    /// A telephone number (ITU-T E.164).
    PhoneNumber, "a telephone number such as +37255512345",
    |text| {
        let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect();
        let number = compact.strip_prefix('+')?;
        (digits(number, 7..=15) && !number.starts_with('0')).then_some(compact)
    }
}

value! {
    /// An International Bank Account Number (ISO 13616).
    Iban, "an IBAN such as EE382200221020145685",
    |text| text.parse::<iban::Iban>().ok().map(|iban| iban.electronic_str().to_owned())
}

value! {
    /// A Business Identifier Code (ISO 9362).
    Bic, "a BIC of 8 or 11 characters such as HABAEE2X",
    |text| {
        let bytes = text.as_bytes();
        let shape = matches!(bytes.len(), 8 | 11)
            && bytes[..6].iter().all(u8::is_ascii_uppercase)
            && bytes[6..].iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        shape.then(|| text.to_owned())
    }
}

value! {
    /// A vehicle identification number (ISO 3779).
    Vin, "a vehicle identification number of 17 characters",
    |text| {
        let allowed = |b: u8| {
            b.is_ascii_digit() || (b.is_ascii_uppercase() && !matches!(b, b'I' | b'O' | b'Q'))
        };
        (text.len() == 17 && text.bytes().all(allowed)).then(|| text.to_owned())
    }
}

value! {
    /// A ship's IMO number, whose last digit checks the others.
    Imo, "an IMO number of 7 digits with its check digit, such as 9074729",
    |text| {
        let number = text.strip_prefix("IMO ").unwrap_or(text);
        if !digits(number, 7..=7) {
            return None;
        }
        let digit = |at: usize| u32::from(number.as_bytes()[at] - b'0');
        let sum: u32 = (0..6).map(|at| digit(at) * (7 - u32::try_from(at).unwrap_or(0))).sum();
        (sum % 10 == digit(6)).then(|| number.to_owned())
    }
}

value! {
    /// A maritime mobile service identity (ITU-R M.585).
    Mmsi, "an MMSI of 9 digits", |text| digits(text, 9..=9).then(|| text.to_owned())
}

value! {
    /// An aircraft's 24-bit address (ICAO annex 10).
    Icao24, "a 24-bit ICAO address of 6 hexadecimal digits", |text| hex(text, 6)
}

value! {
    /// A language (BCP 47), by shape.
    LanguageTag, "a language tag such as en or et-EE",
    |text| {
        let mut subtags = text.split('-');
        let first = subtags.next()?;
        let shape = (2..=8).contains(&first.len())
            && first.bytes().all(|b| b.is_ascii_alphabetic())
            && subtags.all(|subtag| {
                (1..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric())
            });
        (shape && text.len() <= 35).then(|| text.to_owned())
    }
}

value! {
    /// A date, a month or a year.
    PartialDate, "a date such as 1979-02-28, 1979-02 or 1979",
    |text| {
        let padded = match text.len() {
            4 => format!("{text}-01-01"),
            7 => format!("{text}-01"),
            _ => text.to_owned(),
        };
        let format = time::macros::format_description!("[year]-[month]-[day]");
        time::Date::parse(&padded, &format).ok().map(|_| text.to_owned())
    }
}

value! {
    /// One line of text, not empty.
    Line, "a line of 1 to 1024 bytes without control characters", line
}

value! {
    /// Text of several lines, not empty.
    Text, "text of 1 byte to 4 MiB without control characters",
    |text| {
        (!text.trim().is_empty() && text.len() <= MAX_TEXT && is_printable(text))
            .then(|| text.to_owned())
    }
}

/// Without control characters but those of lines and columns.
fn is_printable(text: &str) -> bool {
    if text.is_ascii() {
        // To the end, whatever is found: many bytes at once.
        let control = |byte: u8| byte.is_ascii_control() & !matches!(byte, b'\n' | b'\r' | b'\t');
        return !text
            .bytes()
            .fold(false, |found, byte| found | control(byte));
    }
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(printable)
}

fn line(text: &str) -> Option<String> {
    let fits =
        !text.trim().is_empty() && text.len() <= MAX_LINE && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

fn hex(text: &str, length: usize) -> Option<String> {
    (text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| text.to_ascii_lowercase())
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn domain(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let url::Host::Domain(ascii) = url::Host::parse(text).ok()? else {
        return None;
    };
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            // An underscore is not a host name's, but real indicators have it (RFC 8552).
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let fits = ascii.len() <= 253 && ascii.contains('.') && ascii.split('.').all(label_ok);
    fits.then_some(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes<T: FromStr>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "refused {text}");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "took {text}");
        }
    }

    #[test]
    fn each_kind_of_value_takes_its_own_and_refuses_the_rest() {
        takes::<Text>(
            &["one line", "two\r\n\tlines", "größer\nals"],
            &[
                "",
                " \n\t",
                "a\0",
                "a\u{1b}[2J",
                "\u{7f}b",
                "größer\u{7}",
                "\u{85}b",
            ],
        );
        takes::<IpAddress>(
            &["198.51.100.7", "2001:db8::7"],
            &["198.51.100.300", "198.51.100", "198.51.100.7/32", "", "::g"],
        );
        takes::<IpRange>(
            &["198.51.100.0/24", "2001:db8::/32"],
            &["198.51.100.7/24", "198.51.100.0/33", "198.51.100.0"],
        );
        takes::<Domain>(
            &[
                "example.com",
                "xn--bcher-kva.example",
                "bücher.example",
                "_dmarc.example.org",
            ],
            &[
                "example",
                "198.51.100.7",
                "-a.example",
                "a..example",
                "exa mple.com",
                "",
            ],
        );
        takes::<Url>(
            &["https://example.com/a?b=c", "ftp://198.51.100.7/x"],
            &["example.com", "mailto:a@example.com", "https://", ""],
        );
        takes::<Email>(
            &["someone@example.com"],
            &["someone", "@example.com", "a b@example.com"],
        );
        takes::<AsNumber>(&["64496", "AS64496"], &["0", "-1", "4294967296", "AS"]);
        takes::<Sha256>(&[&"a".repeat(64)], &[&"a".repeat(63), &"g".repeat(64)]);
        takes::<VulnerabilityId>(
            &["CVE-2026-12345", "GHSA-qgfm-rj92-x3f3"],
            &["CVE-26-1", "CVE-2026-12", "none"],
        );
        takes::<PhoneNumber>(
            &["+37255512345", "+372 5551 2345"],
            &["37255512345", "+0123456789"],
        );
        takes::<Iban>(&["EE382200221020145685"], &["EE382200221020145686", "EE38"]);
        takes::<Bic>(&["HABAEE2X", "HABAEE2XXXX"], &["HABAEE2", "habaee2x"]);
        takes::<Imo>(&["9074729", "IMO 9074729"], &["9074728", "907472"]);
        takes::<Vin>(
            &["1HGCM82633A004352"],
            &["1HGCM82633A00435", "1HGCM82633A00435O"],
        );
        takes::<Country>(&["EE"], &["EE-37", "EST", "XX"]);
        takes::<PartialDate>(
            &["1979", "1979-02", "1979-02-28"],
            &["1979-02-30", "79", "1979-13"],
        );
        takes::<LanguageTag>(&["en", "et-EE"], &["e", "en_GB", ""]);
        takes::<Line>(&["a line"], &["", "two\nlines", "bell\u{7}", " "]);
    }

    #[test]
    fn an_error_quotes_the_value_without_its_control_characters() {
        let error = "198.51\u{1b}[31m".parse::<IpAddress>().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'));
        assert!(error.to_string().contains("is not an IP address"));
    }
}
