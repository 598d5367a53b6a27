//! For how long this broker may deliver without asking again where the log ends.
//!
//! A broker that shares its log may be cut off from it and not know; what it believes in force may have ended.
//! Whenever its group was appended as the next, it had seen everything before: from the moment it sent that group
//! it may deliver for the time of the lease, and what it sent then may be under way until its nodes give up a broker
//! of which they hear nothing. Whoever ends an agreement is answered after both, so that by then nobody delivers under
//! it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::commit::{Answer, Log};
use super::error::BrokerError;
use crate::ledger::{Fact, Proposal};

/// The pause before the end of the log is asked for again, where it could not be confirmed.
const AGAIN: Duration = Duration::from_millis(250);

/// The lease. Without a length it is always held: nobody else appends.
#[derive(Debug)]
pub(super) struct Lease {
    length: Option<Duration>,
    began: Instant,
    /// Held until so many microseconds after it began.
    until: AtomicU64,
}

impl Lease {
    pub(super) fn new(length: Option<Duration>) -> Self {
        Self {
            length,
            began: Instant::now(),
            until: AtomicU64::new(0),
        }
    }

    /// Its length, where there is one.
    pub(super) fn length(&self) -> Option<Duration> {
        self.length
    }

    /// How long after a record no broker delivers upon what was before it.
    pub(super) fn outlasted(&self) -> Option<Duration> {
        self.length.map(|length| length + silence_of(length))
    }

    /// The end of the log was as this broker knows it at some moment after this one.
    pub(super) fn renew(&self, sent: Instant) {
        if let Some(length) = self.length {
            let until = sent.saturating_duration_since(self.began) + length;
            let until = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
            self.until.fetch_max(until, Ordering::AcqRel);
        }
    }

    /// How much of it is left; `None` where it needs no renewal.
    fn left(&self) -> Option<Duration> {
        self.length?;
        let until = Duration::from_micros(self.until.load(Ordering::Acquire));
        Some(until.saturating_sub(self.began.elapsed()))
    }

    /// Whether something may be delivered now.
    pub(super) fn is_held(&self) -> bool {
        self.left().is_none_or(|left| !left.is_zero())
    }

    /// Whether it is to be renewed soon.
    pub(super) fn is_due(&self) -> bool {
        let half = self.length.unwrap_or_default() / 2;
        self.left().is_some_and(|left| left < half)
    }
}

impl Log {
    /// Waits until this broker may deliver. What it permits right afterwards, it may send.
    pub(super) async fn leased(&self) -> Result<(), BrokerError> {
        let lease = self.lease();
        while !lease.is_held() {
            if let Err(reason) = self.confirm().await? {
                tracing::debug!(%reason, "nothing is delivered: the end of the log is not known");
                tokio::time::sleep(AGAIN).await;
            }
        }
        if lease.is_due() {
            self.confirm_soon();
        }
        Ok(())
    }

    /// Records a proposal; where it ends or narrows what may be delivered, it answers when nobody delivers it any
    /// more.
    pub(super) async fn propose_and_settle(
        &self,
        proposal: Proposal,
    ) -> Result<Answer, BrokerError> {
        let narrows = narrows(&proposal);
        let answer = self.propose(proposal).await?;
        if narrows && matches!(answer, Answer::Recorded { .. }) {
            self.outlasted().await;
        }
        Ok(answer)
    }

    /// What was permitted in the last moment of a lease may be under way for as long as nothing need be heard on a
    /// connection.
    async fn outlasted(&self) {
        if let Some(length) = self.lease().outlasted() {
            tokio::time::sleep(length).await;
        }
    }
}

/// For how long nothing may be heard on a connection before node and broker give it up, by the lease.
pub(super) fn silence_of(lease: Duration) -> Duration {
    lease * 4 / 5
}

/// Whether what is proposed may end or narrow what others may receive.
fn narrows(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Fact(fact) => match fact {
            Fact::AgreementRatified(signed) => {
                signed.terms().is_ok_and(|terms| terms.previous.is_some())
            }
            Fact::PartnerAdmitted(_) | Fact::Tick | Fact::SnapshotTaken(_) | Fact::Genesis(_) => {
                false
            }
            _ => true,
        },
        Proposal::Consent { .. } | Proposal::HoldDecision { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_when_its_proof_was_sent() {
        let alone = Lease::new(None);
        assert!(alone.is_held() && !alone.is_due());
        let lease = Lease::new(Some(Duration::from_hours(1)));
        assert!(!lease.is_held());
        lease.renew(Instant::now());
        assert!(lease.is_held() && !lease.is_due());
        let short = Lease::new(Some(Duration::from_nanos(1)));
        short.renew(Instant::now());
        std::thread::yield_now();
        assert!(!short.is_held());
    }
}
