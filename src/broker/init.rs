//! The beginning of a ledger.

use std::sync::Arc;

use super::config::Config;
use super::engine::LogEngine;
use super::error::BrokerError;
use crate::clock::{Clock, Entropy, random};
use crate::decision::RULES_VERSION;
use crate::identity::read_secret_key;
use crate::ledger::{Engine, Genesis, Group, LedgerId, Operator};
use crate::proof::{NoteKey, Signer};

/// Makes a new ledger where the configuration says: its genesis names the framework, the log's key
/// and the operators, and its hash names the ledger from then on.
pub fn init(
    config: &Config,
    framework: &str,
    operators: Vec<Operator>,
    clock: &dyn Clock,
    entropy: Arc<dyn Entropy>,
) -> Result<LedgerId, BrokerError> {
    let signer = Arc::new(read_secret_key(&config.log_key)?);
    let wrong = |message: String| BrokerError::Framework(message);
    let log_key =
        NoteKey::new(framework, signer.public_key()).map_err(|error| wrong(error.to_string()))?;
    if operators.is_empty() {
        return Err(wrong(
            "a ledger needs an operator, who admits its partners".into(),
        ));
    }
    let mut names: Vec<&str> = operators.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != operators.len() {
        return Err(wrong("two operators have one name".into()));
    }
    let engine = LogEngine::create(config, signer, Arc::clone(&entropy))?;
    if engine.size() > 0 {
        return Err(BrokerError::LedgerExists(config.ledger.clone()));
    }
    let genesis = Genesis {
        framework: framework.to_owned(),
        log_key: log_key.to_string(),
        operators,
        rules: RULES_VERSION,
        witness_policy: String::new(),
        nonce: random(entropy.as_ref())?,
        created: clock.now(),
    };
    let ledger = genesis.ledger_id();
    Group::genesis(genesis, entropy.as_ref())?.append(&engine)?;
    Ok(ledger)
}
