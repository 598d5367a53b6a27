//! Dead letters: bulletins that a hook gave up on. They are kept until they are delivered after all, or
//! somebody gives them up.
//!
//! ```text
//! hook/dead/HOOK/NUMBER     a dead letter (JSON)
//! hook/again/HOOK/NUMBER    one that is tried again (JSON)
//! ```
//!
//! HOOK is `webhook:NAME` or `exec:NAME`; NUMBER the bulletin's in the inbox, big-endian.

use serde::{Deserialize, Serialize};

use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::node::Shared;
use crate::store::StoreError;
use crate::transport::Trouble;

const DEAD: &str = "hook/dead/";
const AGAIN: &str = "hook/again/";
/// Dead letters that are shown or tried again at once.
const MAX_SHOWN: usize = 4_096;

/// A bulletin that a hook gave up on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// `webhook:NAME` or `exec:NAME`.
    pub hook: String,
    /// The bulletin.
    pub id: BulletinId,
    /// Its place in the inbox.
    pub number: u64,
    /// When it was given up.
    pub at: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// Why the last try failed.
    pub reason: String,
}

/// What is done about dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterAct {
    /// Tries them again.
    Replay,
    /// Forgets them.
    Forget,
}

fn key(kind: &str, hook: &str, number: u64) -> Vec<u8> {
    let mut key = format!("{kind}{hook}/").into_bytes();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// All dead letters, by hook and number.
pub(crate) fn dead(shared: &Shared) -> Result<Vec<DeadLetter>, StoreError> {
    let rows = shared.store.rows(DEAD.as_bytes(), &[], MAX_SHOWN)?;
    let letters = rows.iter().map(|(_, row)| {
        serde_json::from_slice(row).map_err(|_| StoreError::Damaged("dead letter"))
    });
    letters.collect()
}

/// Replays or forgets dead letters of a hook; no ids: all of them. Returns how many.
pub(crate) fn act(
    shared: &Shared,
    hook: &str,
    ids: &[BulletinId],
    act: LetterAct,
) -> Result<usize, Trouble> {
    let letters = dead(shared)?.into_iter();
    let letters: Vec<DeadLetter> = letters
        .filter(|one| one.hook == hook && (ids.is_empty() || ids.contains(&one.id)))
        .collect();
    if let Some(id) = ids
        .iter()
        .find(|id| !letters.iter().any(|one| one.id == **id))
    {
        let message = format!("{id} is no dead letter of {hook}; see: entente hook dead");
        return Err(Trouble::new("unknown_bulletin", message));
    }
    let gone = letters.iter().map(|one| key(DEAD, hook, one.number));
    let gone: Vec<Vec<u8>> = gone.collect();
    let mut put = Vec::new();
    if act == LetterAct::Replay {
        if !super::names(&shared.config).any(|name| name == hook) {
            let message =
                format!("no hook `{hook}` is configured; hooks are webhook:NAME and exec:NAME");
            return Err(Trouble::new("unknown_hook", message));
        }
        for letter in &letters {
            let value = serde_json::to_vec(letter).unwrap_or_default();
            put.push((key(AGAIN, hook, letter.number), value));
        }
    }
    shared.store.keep_rows(&put, &gone)?;
    shared.replayed.send_modify(|count| *count += 1);
    Ok(letters.len())
}

/// Numbers of a hook that are to be tried again.
pub(super) fn again(shared: &Shared, hook: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
    let prefix = format!("{AGAIN}{hook}/").into_bytes();
    let rows = shared.store.rows(&prefix, &[], limit)?;
    let numbers = rows
        .iter()
        .filter_map(|(key, _)| Some(u64::from_be_bytes(*key.last_chunk()?)));
    Ok(numbers.collect())
}

/// Settles what was tried again, or buries what was given up, or both.
pub(super) fn settle(
    shared: &Shared,
    hook: &str,
    number: u64,
    dead: Option<&DeadLetter>,
) -> Result<(), StoreError> {
    let put = dead.map(|letter| {
        let value = serde_json::to_vec(letter).unwrap_or_default();
        (key(DEAD, hook, number), value)
    });
    let put: Vec<(Vec<u8>, Vec<u8>)> = put.into_iter().collect();
    shared.store.keep_rows(&put, &[key(AGAIN, hook, number)])
}
