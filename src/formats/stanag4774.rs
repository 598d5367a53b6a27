//! NATO confidentiality labels (STANAG 4774): a header's classification and releasability, in and out.
//!
//! In scope: the originator's label with its policy, classification and `Releasable To`. Out of scope:
//! binding labels to data (STANAG 4778), and other categories: a label that has one which forbids more
//! than we understand is refused. Fails closed.

use thiserror::Error;
use time::macros::format_description;

use super::xml::{self, Element, XmlError, escaped};
use crate::bulletin::{Classification, Level};
use crate::clock::Timestamp;

/// The namespace of labels.
const NAMESPACE: &str = "urn:nato:stanag:4774:confidentialitymetadatalabel:1:0";
/// The category of nations and organisations that may see it; any one of them suffices.
const RELEASABLE: &str = "Releasable To";

/// A label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfidentialityLabel {
    /// Policy and level.
    pub classification: Classification,
    /// To whom it is releasable, as the policy names them; `None`: no restriction.
    pub releasable_to: Option<Vec<String>>,
    /// When it was written.
    pub created: Timestamp,
}

/// A label that is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LabelError {
    /// No XML that is read.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Another document, or a part of it missing.
    #[error("it is no confidentiality label of STANAG 4774: {0}")]
    NoLabel(&'static str),
    /// A level that is not on the ladder.
    #[error(
        "`{0}` is no level that is known; it is one of UNCLASSIFIED, RESTRICTED, CONFIDENTIAL, SECRET, TOP SECRET, with the policy's name before it or not"
    )]
    UnknownLevel(String),
    /// A category whose meaning is not known.
    #[error("the category `{0}` is not understood, so nobody could hold to it")]
    UnknownCategory(String),
}

/// Reads an originator's confidentiality label.
pub fn read_label(bytes: &[u8]) -> Result<ConfidentialityLabel, LabelError> {
    let root = xml::read(bytes)?;
    if root.namespace != NAMESPACE || root.name != "originatorConfidentialityLabel" {
        return Err(LabelError::NoLabel("its outermost element is another"));
    }
    let information = root.child("ConfidentialityInformation");
    let information = information.ok_or(LabelError::NoLabel("it has no information"))?;
    let policy = information.text_of("PolicyIdentifier");
    let policy = policy.ok_or(LabelError::NoLabel("it names no policy"))?;
    let level = information.text_of("Classification");
    let level = level.ok_or(LabelError::NoLabel("it has no classification"))?;
    let created = root.text_of("CreationDateTime");
    let created = created.and_then(|at| at.parse().ok());
    let created = created.ok_or(LabelError::NoLabel("it has no time"))?;
    Ok(ConfidentialityLabel {
        classification: Classification {
            policy: policy.to_owned(),
            level: level_of(policy, level)?,
        },
        releasable_to: releasable_to(information)?,
        created,
    })
}

/// A level with or without its policy's name: `NATO RESTRICTED`, `RESTRICTED`.
fn level_of(policy: &str, text: &str) -> Result<Level, LabelError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let upper = words.join(" ").to_uppercase();
    let prefix = format!("{} ", policy.to_uppercase());
    let bare = upper.strip_prefix(&prefix).unwrap_or(&upper);
    bare.parse()
        .map_err(|_| LabelError::UnknownLevel(text.chars().take(80).collect()))
}

/// The list of whom it is releasable to; of several lists, those in all of them. A category that only
/// informs says nothing about it.
fn releasable_to(information: &Element) -> Result<Option<Vec<String>>, LabelError> {
    let mut all: Option<Vec<String>> = None;
    for category in information.all("Category") {
        let name = category.attribute("TagName").unwrap_or_default();
        let kind = category.attribute("Type").unwrap_or_default();
        if kind == "INFORMATIVE" {
            continue;
        }
        if !(kind == "PERMISSIVE" && name.eq_ignore_ascii_case(RELEASABLE)) {
            return Err(LabelError::UnknownCategory(name.chars().take(80).collect()));
        }
        let values = category.all("GenericValue").map(|value| value.text.clone());
        let values: Vec<String> = values.filter(|value| !value.is_empty()).collect();
        all = Some(match all {
            None => values,
            Some(before) => before
                .into_iter()
                .filter(|one| values.contains(one))
                .collect(),
        });
    }
    Ok(all)
}

/// Writes a label. An empty list of whom it is releasable to stays a list: nobody.
pub fn write_label(label: &ConfidentialityLabel) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let created = time::OffsetDateTime::from(label.created).format(format);
    let releasable = label.releasable_to.as_ref().map(|names| {
        let values = names
            .iter()
            .map(|name| format!("<slab:GenericValue>{}</slab:GenericValue>", escaped(name)));
        format!(
            "<slab:Category TagName=\"{RELEASABLE}\" Type=\"PERMISSIVE\">{}</slab:Category>",
            values.collect::<String>()
        )
    });
    format!(
        "<slab:originatorConfidentialityLabel xmlns:slab=\"{NAMESPACE}\">\
         <slab:ConfidentialityInformation>\
         <slab:PolicyIdentifier>{}</slab:PolicyIdentifier>\
         <slab:Classification>{}</slab:Classification>{}\
         </slab:ConfidentialityInformation>\
         <slab:CreationDateTime>{}</slab:CreationDateTime>\
         </slab:originatorConfidentialityLabel>",
        escaped(&label.classification.policy),
        label.classification.level,
        releasable.unwrap_or_default(),
        created.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(information: &str) -> Result<ConfidentialityLabel, LabelError> {
        let text = format!(
            "<s:originatorConfidentialityLabel xmlns:s='{NAMESPACE}'><s:ConfidentialityInformation>\
             <s:PolicyIdentifier>NATO</s:PolicyIdentifier>{information}\
             </s:ConfidentialityInformation><s:CreationDateTime>2026-01-15T00:00:00Z\
             </s:CreationDateTime></s:originatorConfidentialityLabel>"
        );
        read_label(text.as_bytes())
    }

    #[test]
    fn a_label_is_written_as_it_is_read() {
        for releasable_to in [
            None,
            Some(vec![]),
            Some(vec!["EST".to_owned(), "A<B".to_owned()]),
        ] {
            let label = ConfidentialityLabel {
                classification: Classification {
                    policy: "NATO & others".into(),
                    level: Level::TopSecret,
                },
                releasable_to,
                created: "2026-01-15T00:00:00Z".parse().unwrap(),
            };
            assert_eq!(read_label(write_label(&label).as_bytes()), Ok(label));
        }
    }

    #[test]
    fn levels_are_read_with_their_policy_or_without_and_others_are_refused() {
        let level = |text: &str| {
            let read = label(&format!("<s:Classification>{text}</s:Classification>"));
            read.map(|label| label.classification.level)
        };
        assert_eq!(level("RESTRICTED"), Ok(Level::Restricted));
        assert_eq!(level("NATO  Secret"), Ok(Level::Secret));
        assert!(matches!(level("COSMIC"), Err(LabelError::UnknownLevel(_))));
        assert!(matches!(
            level("EU SECRET"),
            Err(LabelError::UnknownLevel(_))
        ));
        assert!(matches!(label(""), Err(LabelError::NoLabel(_))));
    }

    #[test]
    fn what_forbids_more_than_is_understood_is_refused() {
        let with = |category: &str| {
            let read = label(&format!(
                "<s:Classification>SECRET</s:Classification>{category}"
            ));
            read.map(|label| label.releasable_to)
        };
        let list = |kind: &str, name: &str, values: &[&str]| {
            let values = values
                .iter()
                .map(|one| format!("<s:GenericValue>{one}</s:GenericValue>"));
            let values: String = values.collect();
            format!("<s:Category TagName='{name}' Type='{kind}'>{values}</s:Category>")
        };
        let two = list("PERMISSIVE", "Releasable To", &["EST", "FIN"])
            + &list("PERMISSIVE", "Releasable to", &["FIN", "SWE"]);
        assert_eq!(
            with(&two),
            Ok(Some(vec!["FIN".to_owned()])),
            "in both lists"
        );
        let unknown = with(&list("RESTRICTIVE", "Special", &["ATOMAL"]));
        assert_eq!(unknown, Err(LabelError::UnknownCategory("Special".into())));
        let informs = with(&list("INFORMATIVE", "Context", &["EXERCISE"]));
        assert_eq!(informs, Ok(None));
    }
}
