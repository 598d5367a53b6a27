//! Who receives what, and why: the one decision procedure.
//!
//! The code that routes a bulletin is the code that previews, explains and audits. It is a pure
//! function of the agreements in force, the partners' standing, a bulletin's labels and a time.
//! Nothing is shared unless a clause in force allows it; an unknown value or an empty list denies.

mod decide;
mod explain;
mod outcome;
mod reach;
mod red_lines;
mod rulebook;
mod usage;

pub(crate) use decide::withhold_mentions;
pub use decide::{decide, decide_for};
pub use explain::{ClauseExplanation, Explanation, explain};
pub use outcome::{ClauseMiss, Clauses, PartMiss, Reason, Refusal, Release, Withheld};
pub use reach::{Hop, Question, Way, reach};
pub use red_lines::{Crossed, InvalidRedLines, Never, RedLines};
pub use rulebook::Rulebook;
pub use usage::{Share, Spent, Usage};

/// The version of these rules, which the genesis record of a new ledger names. In version 1 parts
/// that name withheld parts were not looked for: a ledger that began with it is decided and audited so.
pub const RULES_VERSION: u32 = 2;
/// The first version in which a part that names a withheld part is withheld, too.
pub const RULES_WITH_MENTIONS: u32 = 2;
