//! STIX patterning (STIX 2.1, section 9): read whole, and simple patterns as typed indicators.
//!
//! In scope: the grammar, the literals' own rules, and which patterns are the same as one of our
//! indicators, in both directions. Out of scope: matching patterns against observations.

mod lexer;
mod parse;
mod typed;

use thiserror::Error;

pub use parse::parse;
pub use typed::{indicators, pattern_of};

/// The longest pattern that is read, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024 * 1024;
/// The deepest nesting of parentheses.
pub const MAX_DEPTH: usize = 64;

/// A text that is no pattern, and where that shows.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("at character {at}: {reason}")]
pub struct InvalidPattern {
    /// Characters before the place, plus one.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
    /// It may be a pattern, and is beyond what is read here.
    pub beyond_limits: bool,
}

/// What is observed, or in which order.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// `[ ... ]`: one observation.
    One(Comparison),
    /// All of them.
    All(Vec<Self>),
    /// One of them.
    Any(Vec<Self>),
    /// One after the other.
    FollowedBy(Vec<Self>),
    /// Within limits of time or number.
    Qualified(Box<Self>, Vec<Qualifier>),
}

/// A limit of time or number; each kind stands once.
#[derive(Clone, Debug, PartialEq)]
pub enum Qualifier {
    /// `START t'...' STOP t'...'`, as written.
    StartStop(String, String),
    /// `WITHIN n SECONDS`.
    Within(f64),
    /// `REPEATS n TIMES`.
    Repeats(u64),
}

/// What holds for the objects of one observation.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// All of them.
    All(Vec<Self>),
    /// One of them.
    Any(Vec<Self>),
    /// The path is there.
    Exists(ObjectPath),
    /// The value at a path.
    Test(Test),
}

/// `file:hashes.'SHA-256'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPath {
    /// The object's type.
    pub object: String,
    /// The way to the value; never empty, and it begins with a name.
    pub steps: Vec<Step>,
}

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A property.
    Name(String),
    /// A place in a list.
    Index(i64),
    /// Any place in a list.
    AnyIndex,
}

/// A comparison of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Of which value.
    pub path: ObjectPath,
    /// It must not hold.
    pub not: bool,
    /// How.
    pub operator: Operator,
    /// With what; several for `IN` only.
    pub literals: Vec<Literal>,
}

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `IN`
    In,
    /// `LIKE`
    Like,
    /// `MATCHES`
    Matches,
    /// `ISSUBSET`
    IsSubset,
    /// `ISSUPERSET`
    IsSuperset,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A string, its escapes resolved.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `b'...'`: bytes in base64, as written.
    Binary(String),
    /// `h'...'`: bytes in hexadecimal, as written.
    Hex(String),
    /// `t'...'`, as written.
    Timestamp(String),
}

/// A string as a pattern writes it: only quote and backslash are escaped (section 9.2).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}
