//! A whole ledger from one place to another: from a directory to a stream that brokers share, and back.

use std::sync::Arc;

use super::config::Config;
use super::engine::LogEngine;
use super::error::BrokerError;
use super::heads::HeadPlace;
use super::open_engine;
use crate::clock::Entropy;
use crate::identity::read_secret_key;
use crate::ledger::{Engine, MAX_GROUP_BYTES, MAX_GROUP_RECORDS, StoredRecord};
use crate::proof::Signer;
use crate::store::SystemDisk;

/// Records read at once.
const READ: usize = 256;

/// Copies the ledger of a stopped broker into the empty place of another configuration, record by record with
/// what is kept of their contents, and the last checkpoint with it. `progress` is told how many of how many
/// are there. Returns how many records were copied.
///
/// What was copied before it was interrupted is compared, and the rest follows.
pub fn copy(
    from: &Config,
    to: &Config,
    entropy: &Arc<dyn Entropy>,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, BrokerError> {
    let source = open_engine(from, Arc::clone(entropy))?;
    let size = source.size();
    if size == 0 {
        return Err(BrokerError::NoLedger(from.ledger.clone()));
    }
    let signer = Arc::new(read_secret_key(&to.log_key)?);
    let key = signer.public_key();
    let target = LogEngine::create(to, signer, Arc::clone(entropy))?;
    compare(&source, &target)?;
    let most = target.group_bytes();
    let mut group: Vec<StoredRecord> = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    let mut next = target.size();
    while next < size {
        for one in source.stored(next, READ, MAX_GROUP_BYTES)? {
            let full = group.len() >= MAX_GROUP_RECORDS
                || records + one.record.len() > most
                || bytes + one.bytes() > MAX_GROUP_BYTES;
            if full && !group.is_empty() {
                target.append(next - group.len() as u64, &group)?;
                group.clear();
                (records, bytes) = (0, 0);
            }
            records += one.record.len();
            bytes += one.bytes();
            group.push(one);
            next += 1;
        }
        progress(next, size);
    }
    if !group.is_empty() {
        target.append(next - group.len() as u64, &group)?;
    }
    let disk = Arc::new(SystemDisk);
    let head = HeadPlace::of(from, disk.clone(), source.stream(), key).load()?;
    if let Some(head) = head {
        let place = HeadPlace::of(to, disk, target.stream(), key);
        if place.load()?.is_none() {
            place.swap(None, &head, place.signed_size(Some(&head)))?;
        }
    }
    Ok(next)
}

/// What is in the target already must be the beginning of the source.
fn compare(source: &LogEngine, target: &LogEngine) -> Result<(), BrokerError> {
    let there = target.size();
    let mut position = 0;
    while position < there {
        let entries = target.entries(position, READ)?;
        if entries.is_empty() || source.entries(position, entries.len())? != entries {
            return Err(BrokerError::OtherLedger(position));
        }
        position += entries.len() as u64;
    }
    Ok(())
}
