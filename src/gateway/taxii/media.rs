//! Content negotiation (sections 1.6.8 and 3.1).

/// What every response is.
pub(super) const TAXII: &str = "application/taxii+json;version=2.1";

/// Ranges of one `Accept` header that are looked at.
const MAX_RANGES: usize = 32;

/// A media type with its parameters.
struct Media<'a> {
    kind: &'a str,
    parameters: &'a str,
}

impl<'a> Media<'a> {
    fn read(text: &'a str) -> Self {
        let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
        Self {
            kind: kind.trim(),
            parameters,
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let pairs = self.parameters.split(';');
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().trim_matches('"'))
    }

    /// TAXII 2.1, or TAXII of whatever is the latest version here.
    fn is_taxii(&self) -> bool {
        self.kind.eq_ignore_ascii_case("application/taxii+json")
            && self
                .parameter("version")
                .is_none_or(|version| version == "2.1")
    }
}

/// Whether one of the ranges of `Accept` headers is TAXII's. One must be: neither `*/*` nor nothing is.
pub(super) fn accepts<'a>(headers: impl Iterator<Item = &'a str>) -> bool {
    let ranges = headers.flat_map(|header| header.split(','));
    ranges.take(MAX_RANGES).map(Media::read).any(|range| {
        let refused = range
            .parameter("q")
            .is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        range.is_taxii() && !refused
    })
}

/// Whether a `Content-Type` is TAXII's.
pub(super) fn is_taxii(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|text| Media::read(text).is_taxii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taxii_range_is_found_in_every_way_it_is_written() {
        for one in [
            "application/taxii+json",
            "application/taxii+json;version=2.1",
            "application/taxii+json; version=2.1",
            "application/taxii+json ; Version=\"2.1\"",
            "APPLICATION/TAXII+JSON;version=2.1",
            "application/taxii+json;version=2.1,application/stix+json;version=2.1",
            "text/html;q=0.5, */*, application/taxii+json;q=0.1",
        ] {
            assert!(accepts(std::iter::once(one)), "{one}");
        }
        assert!(accepts(["text/html", "application/taxii+json"].into_iter()));
        for one in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "application/stix+json;version=2.1",
            "application/taxii+json;version=2.0",
            "application/vnd.oasis.taxii+json; version=2.0",
            "application/taxii+json;q=0",
            "application/taxii+jsonx",
        ] {
            assert!(!accepts(std::iter::once(one)), "{one}");
        }
        assert!(!accepts(std::iter::empty()));
    }

    #[test]
    fn a_body_is_taxii_or_not() {
        assert!(is_taxii(Some("application/taxii+json")));
        assert!(is_taxii(Some("application/taxii+json;version=2.1")));
        for other in [
            "application/json",
            "application/stix+json;version=2.1",
            "application/taxii+json;version=2.0",
            "",
        ] {
            assert!(!is_taxii(Some(other)), "{other}");
        }
        assert!(!is_taxii(None));
    }
}
