//! Red lines: what must never flow, whatever is agreed. Checked with [`reach`] before an agreement
//! is put in force.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::reach::{Question, Way, reach};
use super::rulebook::Rulebook;
use crate::bulletin::{Classification, Kind, PartClass, Precedence, Region, Tlp, Topic};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// The most red lines of a file.
const MAX_LINES: usize = 256;

/// Standing invariants, as operators and parties write them in TOML.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedLines {
    /// Each of them must hold.
    #[serde(default)]
    pub never: Vec<Never>,
}

/// What must never flow. A list means: none of these; a key left out means: whatever it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Never {
    /// For people; a draft that crosses it is refused by this name.
    pub name: String,
    /// From these originators.
    pub from: Vec<PartnerId>,
    /// To these partners, directly or onward.
    pub to: Vec<PartnerId>,
    /// With one of these TLPs.
    #[serde(default)]
    pub tlp: Vec<Tlp>,
    /// A part of one of these classes.
    #[serde(default)]
    pub classes: Vec<PartClass>,
    /// Of one of these kinds.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// About exactly one of these.
    #[serde(default)]
    pub topics: Vec<Topic>,
    /// About exactly one of these regions.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// With this precedence.
    #[serde(default)]
    pub precedence: Option<Precedence>,
    /// With exactly this classification.
    #[serde(default)]
    pub classification: Option<Classification>,
    /// Exercises, or what is real.
    #[serde(default)]
    pub exercise: Option<bool>,
}

/// Red lines that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the red lines cannot stand: {0}")]
pub struct InvalidRedLines(String);

/// A red line that is crossed.
#[derive(Clone, Debug)]
pub struct Crossed {
    /// Its name.
    pub name: Arc<str>,
    /// A way across it.
    pub way: Box<Way>,
}

impl fmt::Display for Crossed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.name, self.way)
    }
}

impl RedLines {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, InvalidRedLines> {
        let lines: Self =
            toml::from_str(text).map_err(|error| InvalidRedLines(error.to_string()))?;
        if lines.never.len() > MAX_LINES {
            return Err(InvalidRedLines(format!("there are more than {MAX_LINES}")));
        }
        for (at, line) in lines.never.iter().enumerate() {
            if line.name.is_empty() || line.name.len() > 63 {
                return Err(InvalidRedLines("a name has 1 to 63 bytes".to_owned()));
            }
            if line.from.is_empty() || line.to.is_empty() {
                let name = &line.name;
                return Err(InvalidRedLines(format!(
                    "`{name}` names nobody: it says nothing"
                )));
            }
            if lines.never[..at]
                .iter()
                .any(|other| other.name == line.name)
            {
                return Err(InvalidRedLines(format!("two are called `{}`", line.name)));
            }
        }
        Ok(lines)
    }

    /// The first line that a rulebook crosses, from `now` on.
    pub fn crossed(&self, rulebook: &Rulebook, now: Timestamp) -> Option<Crossed> {
        self.never.iter().find_map(|line| {
            let way = line.crossed(rulebook, now)?;
            Some(Crossed {
                name: Arc::from(line.name.as_str()),
                way: Box::new(way),
            })
        })
    }
}

impl Never {
    fn crossed(&self, rulebook: &Rulebook, now: Timestamp) -> Option<Way> {
        self.questions()
            .into_iter()
            .find_map(|question| reach(rulebook, &question, now))
    }

    /// One question for each combination of what is listed.
    fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for from in &self.from {
            for to in self.to.iter().filter(|to| *to != from) {
                questions.push(Question {
                    precedence: self.precedence,
                    classification: self.classification.clone(),
                    exercise: self.exercise,
                    ..Question::anything(from.clone(), to.clone())
                });
            }
        }
        let questions = each(questions, &self.tlp, |one, tlp| one.tlp = Some(tlp));
        let questions = each(questions, &self.classes, |one, class| {
            one.class = Some(class);
        });
        let questions = each(questions, &self.kinds, |one, kind| one.kind = Some(kind));
        let questions = each(questions, &self.topics, |one, topic| {
            one.topic = Some(topic);
        });
        each(questions, &self.regions, |one, region| {
            one.region = Some(region);
        })
    }
}

/// Every question with every value; as they are where no value is listed.
fn each<T: Copy>(
    questions: Vec<Question>,
    values: &[T],
    set: impl Fn(&mut Question, T),
) -> Vec<Question> {
    if values.is_empty() {
        return questions;
    }
    let mut all = Vec::with_capacity(questions.len() * values.len());
    for question in questions {
        for value in values {
            let mut question = question.clone();
            set(&mut question, *value);
            all.push(question);
        }
    }
    all
}
