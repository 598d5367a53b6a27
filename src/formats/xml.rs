//! XML as a small tree, of what is small: with limits, and without document types, so that no entity
//! is ever expanded.

use std::fmt::Write as _;

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use thiserror::Error;

/// The largest document.
pub const MAX_XML_BYTES: usize = 4 * 1024 * 1024;
/// The deepest nesting.
pub const MAX_XML_DEPTH: usize = 32;
/// The most elements.
pub const MAX_XML_ELEMENTS: usize = 20_000;

/// A document that is not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum XmlError {
    /// Too large, too deep, or of too many elements.
    #[error(
        "it is larger than what is read: {MAX_XML_BYTES} bytes, {MAX_XML_DEPTH} levels, {MAX_XML_ELEMENTS} elements"
    )]
    TooLarge,
    /// Another encoding.
    #[error("it is no UTF-8")]
    Encoding,
    /// A character that XML does not have, as it is or by its number.
    #[error("it has a character that XML 1.0 does not have (U+{0:04X})")]
    Character(u32),
    /// A document type, which may define entities.
    #[error("it has a document type, or an entity that XML itself does not define")]
    DocumentType,
    /// Not well-formed.
    #[error("it is no well-formed XML: {0}")]
    Malformed(String),
}

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Its namespace; empty: none.
    pub(super) namespace: String,
    /// Its name without a prefix.
    pub(super) name: String,
    /// Its attributes, by name as written.
    pub(super) attributes: Vec<(String, String)>,
    /// Its elements.
    pub(super) children: Vec<Self>,
    /// Its text, without white space around it.
    pub(super) text: String,
}

impl Element {
    /// The first element of a name, in the same namespace.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.all(name).next()
    }

    /// All elements of a name, in the same namespace.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        let matches = move |one: &&Self| one.name == name && one.namespace == self.namespace;
        self.children.iter().filter(matches)
    }

    /// The text of the first element of a name; `None` where it is absent or empty.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        let text = self.child(name)?.text.as_str();
        (!text.is_empty()).then_some(text)
    }

    /// An attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads a document; its outermost element.
pub(super) fn read(bytes: &[u8]) -> Result<Element, XmlError> {
    if bytes.len() > MAX_XML_BYTES {
        return Err(XmlError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?;
    check(text)?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    let malformed = |error: quick_xml::Error| XmlError::Malformed(error.to_string());
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut count = 0;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(malformed)?;
        match event {
            Event::Start(start) => {
                count += 1;
                if open.len() >= MAX_XML_DEPTH || count > MAX_XML_ELEMENTS {
                    return Err(XmlError::TooLarge);
                }
                open.push(element(namespace, &start)?);
            }
            Event::Empty(start) => {
                count += 1;
                if count > MAX_XML_ELEMENTS {
                    return Err(XmlError::TooLarge);
                }
                close(element(namespace, &start)?, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let done = open.pop();
                let done = done.ok_or_else(|| XmlError::Malformed("it ends too often".into()))?;
                close(done, &mut open, &mut root)?;
            }
            Event::Text(text) => append(&mut open, &text.xml10_content())?,
            Event::CData(text) => append(&mut open, &text.xml10_content())?,
            Event::GeneralRef(entity) => {
                let resolved = entity.resolve_char_ref().map_err(malformed)?;
                let c = resolved.or_else(|| match &*entity.xml10_content() {
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "amp" => Some('&'),
                    "apos" => Some('\''),
                    "quot" => Some('"'),
                    _ => None,
                });
                let c = c.ok_or(XmlError::DocumentType)?;
                let mut buffer = [0; 4];
                let c = c.encode_utf8(&mut buffer);
                check(c)?;
                append(&mut open, c)?;
            }
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(XmlError::Malformed("an element does not end".into()));
    }
    root.ok_or_else(|| XmlError::Malformed("it has no element".into()))
}

fn element(namespace: ResolveResult<'_>, start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let namespace = match namespace {
        ResolveResult::Bound(namespace) => namespace.0.to_owned(),
        ResolveResult::Unbound => String::new(),
        ResolveResult::Unknown(prefix) => {
            let reason = format!("the prefix `{prefix}` has no namespace");
            return Err(XmlError::Malformed(reason));
        }
    };
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| XmlError::Malformed(error.to_string()))?;
        let value = attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0);
        let value = value.map_err(|_| XmlError::DocumentType)?;
        check(&value)?;
        attributes.push((attribute.key.into_inner().to_owned(), value.into_owned()));
    }
    Ok(Element {
        namespace,
        name: start.local_name().into_inner().to_owned(),
        attributes,
        children: Vec::new(),
        text: String::new(),
    })
}

/// Whether XML has a character: `Char` of XML 1.0, section 2.2.
fn is_xml(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// That a text, whose references are resolved or not, has no character that XML does not have.
fn check(text: &str) -> Result<(), XmlError> {
    match text.chars().find(|c| !is_xml(*c)) {
        Some(c) => Err(XmlError::Character(u32::from(c))),
        None => Ok(()),
    }
}

fn append(open: &mut [Element], text: &str) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => {
            return Err(XmlError::Malformed(
                "text stands outside all elements".into(),
            ));
        }
    }
    Ok(())
}

fn close(
    mut done: Element,
    open: &mut [Element],
    root: &mut Option<Element>,
) -> Result<(), XmlError> {
    done.text = done.text.trim().into();
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None if root.is_none() => *root = Some(done),
        None => return Err(XmlError::Malformed("it has two outermost elements".into())),
    }
    Ok(())
}

/// Text as it stands between tags; in an attribute the end of a line would become a space. What XML cannot say is left out; other control
/// characters are written by their number, so that nothing on the way takes them for the end of a line.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' => escaped.push(c),
            c if !is_xml(c) => {}
            c if c.is_control() => {
                let _ = write!(escaped, "&#x{:X};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_trees_and_what_could_explode_is_refused() {
        let read = |text: &str| read(text.as_bytes());
        let tree = read(
            "<?xml version='1.0'?><a xmlns='u:x' b='&lt;'> x&amp;<c/>&#x41; <![CDATA[<]]></a>",
        );
        let tree = tree.unwrap();
        assert_eq!((tree.namespace.as_str(), tree.name.as_str()), ("u:x", "a"));
        assert_eq!(tree.attribute("b"), Some("<"));
        assert_eq!(tree.text, "x&A <");
        assert!(tree.child("c").is_some());
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bb\">]><a>&b;</a>";
        assert_eq!(read(bomb), Err(XmlError::DocumentType));
        assert_eq!(read("<a>&b;</a>"), Err(XmlError::DocumentType));
        assert_eq!(read("<a b='&c;'/>"), Err(XmlError::DocumentType));
        let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        assert_eq!(read(&deep), Err(XmlError::TooLarge));
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_XML_ELEMENTS));
        assert_eq!(read(&many), Err(XmlError::TooLarge));
        for bad in [
            "",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "x<a/>",
            "<p:a/>",
            "<a b='1' b='2'/>",
        ] {
            assert!(matches!(read(bad), Err(XmlError::Malformed(_))), "{bad}");
        }
        assert_eq!(super::read(b"<a>\xff</a>"), Err(XmlError::Encoding));
        for nul in ["<a>x\0y</a>", "<a b='x\0y'/>", "<a><!--\0--></a>"] {
            assert_eq!(read(nul), Err(XmlError::Character(0)), "{nul:?}");
        }
        for escape in ["<a>&#x1B;</a>", "<a>&#27;</a>", "<a b='&#x1b;'/>"] {
            assert_eq!(read(escape), Err(XmlError::Character(0x1b)), "{escape}");
        }
    }

    #[test]
    fn what_is_escaped_is_read_as_it_was() {
        let text = "a<b>&\"'\r\u{85}\u{7f}c\u{7}\0\u{ffff}";
        let tree = read(format!("<a b=\"{0}\">{0}</a>", escaped(text)).as_bytes()).unwrap();
        let said = "a<b>&\"'\r\u{85}\u{7f}c";
        assert_eq!(
            (tree.text.as_str(), tree.attribute("b")),
            (said, Some(said))
        );
    }
}
