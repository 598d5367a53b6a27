//! An engine in memory, with both faults a write can have. For tests and simulations.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;

use super::commitment::ENTRY_BYTES;
use super::engine::{Engine, EngineError, StoredRecord};

/// How the next append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFault {
    /// Nothing was written, and the appender knows.
    Full,
    /// Nothing was written, and the appender does not know.
    NotApplied,
    /// Everything was written, and the appender does not know.
    Applied,
}

#[derive(Debug, Default)]
struct Inner {
    records: Vec<Bytes>,
    bodies: HashMap<u64, Bytes>,
    entries: Vec<[u8; ENTRY_BYTES]>,
    fault: Option<AppendFault>,
}

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    inner: Mutex<Inner>,
}

impl MemoryEngine {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next append fail.
    pub fn fail_next(&self, fault: AppendFault) {
        self.with(|inner| inner.fault = Some(fault));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        // A panic elsewhere leaves the data whole: every change is one step.
        act(&mut self
            .inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Engine for MemoryEngine {
    fn size(&self) -> u64 {
        self.with(|inner| inner.records.len() as u64)
    }

    fn append(&self, expected: u64, group: &[StoredRecord]) -> Result<u64, EngineError> {
        self.with(|inner| {
            let actual = inner.records.len() as u64;
            if actual != expected {
                return Err(EngineError::Conflict { expected, actual });
            }
            let fault = inner.fault.take();
            match fault {
                Some(AppendFault::Full) => return Err(EngineError::Full("as told".into())),
                Some(AppendFault::NotApplied) => {
                    return Err(EngineError::Unknown("as told".into()));
                }
                Some(AppendFault::Applied) | None => {}
            }
            for (position, one) in (expected..).zip(group) {
                inner.records.push(one.record.clone());
                inner.entries.push(one.entry);
                if let Some(bodies) = &one.bodies {
                    inner.bodies.insert(position, bodies.clone());
                }
                for erased in &one.erases {
                    inner.bodies.remove(erased);
                }
            }
            match fault {
                Some(_) => Err(EngineError::Unknown("as told".into())),
                None => Ok(inner.records.len() as u64),
            }
        })
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<Bytes>, EngineError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.with(|inner| {
            inner
                .records
                .iter()
                .skip(from)
                .take(limit)
                .cloned()
                .collect()
        }))
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<[u8; ENTRY_BYTES]>, EngineError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.with(|inner| {
            inner
                .entries
                .iter()
                .skip(from)
                .take(limit)
                .copied()
                .collect()
        }))
    }

    fn bodies(&self, position: u64) -> Result<Option<Bytes>, EngineError> {
        Ok(self.with(|inner| inner.bodies.get(&position).cloned()))
    }
}
