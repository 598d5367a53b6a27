//! Operators' commands: the same procedure over the control socket of a running broker, and over
//! its files when nothing runs.
//!
//! Every act arrives signed, by an operator or a party: this socket adds no right to what the
//! signatures give.

use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::commit::{Answer, Log};
use super::error::BrokerError;
use super::view::{
    self, AgreementView, BulletinView, PartnerView, PolicyView, RecordView, StatusView,
};
use crate::agreement::{SignedAgreement, SignedWithdrawal};
use crate::bulletin::BulletinId;
use crate::clock::Clock;
use crate::identity::check_crl;
use crate::ledger::{
    CertificatesRevoked, ErasureOrder, ErasureOrdered, Fact, InvalidRecord, OperatorSignature,
    PartnerAdmitted, Proposal, RedLinesOrder, RedLinesSet, SignedHoldDecision, StandingChanged,
    StandingOrder,
};
use crate::partner::{PartnerId, SignedKeySet, SpiffeId};
use crate::proof::{Digest, KeyId, Signature};
use crate::transport::{LocalListener, Trouble};

/// A command. Files travel in base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// How the broker stands.
    Status,
    /// All partners.
    Partners,
    /// Admits a partner.
    Admit {
        /// Its signed key set.
        key_set: String,
        /// The operator's name.
        operator: String,
        /// The operator's public key's id.
        key: String,
        /// The operator's signature over the admission's payload.
        signature: String,
    },
    /// Changes a partner's standing.
    Stand {
        /// The order's bytes.
        order: String,
        /// The operator's name.
        operator: String,
        /// The operator's public key's id.
        key: String,
        /// The operator's signature over the order.
        signature: String,
    },
    /// Records a partner's next key set.
    Rotate {
        /// The signed key set.
        key_set: String,
    },
    /// Records a partner's revocation list.
    Revoke {
        /// Whose.
        partner: PartnerId,
        /// The list in DER.
        crl: String,
    },
    /// Sets what must never flow.
    SetRedLines {
        /// The order's bytes.
        order: String,
        /// The operator's name.
        operator: String,
        /// The operator's public key's id.
        key: String,
        /// The operator's signature over the order.
        signature: String,
    },
    /// Orders that contents be erased.
    Erase {
        /// The order's bytes.
        order: String,
        /// The operator's name.
        operator: String,
        /// The operator's public key's id.
        key: String,
        /// The operator's signature over the order.
        signature: String,
    },
    /// Records a person's decision about what is held.
    DecideHold {
        /// The signed decision.
        decision: String,
    },
    /// Writes a snapshot from which another broker begins.
    Snapshot,
    /// What is decided upon now, page by page.
    Policy {
        /// Agreements in force from after this position on.
        after: u64,
    },
    /// All agreements.
    Agreements,
    /// Puts an agreement in force.
    Ratify {
        /// The agreement's file.
        agreement: String,
    },
    /// Ends an agreement.
    Withdraw {
        /// The withdrawal's file.
        withdrawal: String,
    },
    /// A bulletin and the decision about it.
    Bulletin {
        /// Which.
        id: BulletinId,
    },
    /// Records from a position on, as they are stored: as many as fit in an answer.
    Records {
        /// The position.
        from: u64,
    },
    /// Why a partner receives a bulletin, or does not.
    Explain {
        /// Which.
        id: BulletinId,
        /// Who.
        partner: PartnerId,
    },
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `status`.
    Status(Box<StatusView>),
    /// To `partners`.
    Partners(Vec<PartnerView>),
    /// To `policy`.
    Policy(Box<PolicyView>),
    /// To `agreements`.
    Agreements(Vec<AgreementView>),
    /// To `bulletin`.
    Bulletin(Box<BulletinView>),
    /// To `records`.
    Records(Vec<RecordView>),
    /// To `explain`.
    Explanation(String),
    /// To `snapshot`.
    Snapshot {
        /// Where it is.
        file: PathBuf,
        /// How many records it has.
        records: u64,
        /// How many of them its checkpoint covers.
        covered: u64,
    },
    /// An act was recorded at this position.
    Recorded(u64),
    /// It could not be done.
    Error(Trouble),
}

impl From<BrokerError> for Trouble {
    fn from(error: BrokerError) -> Self {
        Self::new("broker", error)
    }
}

/// Serves commands until the broker stops.
pub(super) async fn serve(shared: Arc<Shared>, listener: LocalListener) {
    let stop = shared.stop.clone();
    let serving = listener.serve(move |request: Request| {
        let shared = Arc::clone(&shared);
        async move {
            let connected = shared.sessions.connected();
            execute(&shared.log, shared.clock.as_ref(), connected, request).await
        }
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = serving => {}
    }
}

/// Executes a command upon a log.
pub async fn execute(
    log: &Log,
    clock: &dyn Clock,
    connected: Vec<SpiffeId>,
    request: Request,
) -> Reply {
    answer(log, clock, connected, request)
        .await
        .unwrap_or_else(Reply::Error)
}

async fn answer(
    log: &Log,
    clock: &dyn Clock,
    connected: Vec<SpiffeId>,
    request: Request,
) -> Result<Reply, Trouble> {
    let fact = match request {
        Request::Status => {
            return Ok(Reply::Status(Box::new(view::status(
                log,
                connected,
                clock.now(),
            ))));
        }
        Request::Snapshot => return snapshot(log).await,
        Request::Policy { after } => return Ok(Reply::Policy(Box::new(view::policy(log, after)))),
        Request::Partners => return Ok(Reply::Partners(view::partners(log))),
        Request::Agreements => return Ok(Reply::Agreements(view::agreements(log))),
        Request::Bulletin { id } => {
            let found = view::bulletin(log, &id)?;
            return found
                .map(|bulletin| Reply::Bulletin(Box::new(bulletin)))
                .ok_or_else(|| Trouble::new("unknown_bulletin", format!("no bulletin {id} here")));
        }
        Request::Records { from } => return Ok(Reply::Records(view::records(log, from)?)),
        Request::Explain { id, partner } => {
            return view::explain_bulletin(log, &id, &partner)?
                .map(Reply::Explanation)
                .ok_or_else(|| Trouble::new("unknown_bulletin", format!("no bulletin {id} here")));
        }
        Request::DecideHold { decision } => {
            let bytes: bytes::Bytes = bytes(&decision)?.into();
            let signed = SignedHoldDecision::from_bytes(&bytes)
                .map_err(|error| Trouble::new("unreadable", error))?;
            let id = signed.decision.id;
            let about = log.accepted(&id).await?;
            let about = about.ok_or_else(|| {
                Trouble::new("unknown_bulletin", format!("no bulletin {id} here"))
            })?;
            return record(log, Proposal::HoldDecision { signed, about }).await;
        }
        act => fact(log, clock, act)?,
    };
    record(log, Proposal::Fact(fact)).await
}

/// Writes a snapshot beside the broker's copy of the stream, under the last checkpoint that has its quorum.
async fn snapshot(log: &Log) -> Result<Reply, Trouble> {
    let stream = log.engine().stream().cloned();
    let stream = stream.ok_or_else(|| {
        let what = BrokerError::NotShared("this ledger".into());
        Trouble::new("not_shared", what)
    })?;
    let shown = Arc::clone(&log.head().published().borrow());
    if shown.note.is_empty() || shown.size > shown.witnessed {
        return Err(Trouble::new("unwitnessed", BrokerError::NotWitnessed));
    }
    let covered = shown.size;
    let writing = tokio::task::spawn_blocking(move || stream.snapshot(&shown.note, covered));
    let written = writing.await.map_err(|_| BrokerError::Closed)?;
    let (file, records) = written.map_err(BrokerError::from)?;
    Ok(Reply::Snapshot {
        file,
        records,
        covered,
    })
}

async fn record(log: &Log, proposal: Proposal) -> Result<Reply, Trouble> {
    match log.propose_and_settle(proposal).await? {
        Answer::Recorded { position, .. } => Ok(Reply::Recorded(position)),
        Answer::Refused(error) => Err(Trouble::new(error.code(), error)),
        Answer::Later(reason) => Err(Trouble::new("later", reason)),
        Answer::Stale => Err(Trouble::new("stale", "it says nothing new")),
    }
}

/// The fact that an act asks to record.
fn fact(log: &Log, clock: &dyn Clock, request: Request) -> Result<Fact, Trouble> {
    let unreadable = |error: &dyn std::fmt::Display| Trouble::new("unreadable", error);
    Ok(match request {
        Request::Admit {
            key_set,
            operator,
            key,
            signature,
        } => {
            let key_set = SignedKeySet::from_bytes(&bytes(&key_set)?);
            Fact::PartnerAdmitted(PartnerAdmitted {
                key_set: key_set.map_err(|error| unreadable(&error))?,
                operator: signed(operator, &key, &signature)?,
            })
        }
        Request::Stand {
            order,
            operator,
            key,
            signature,
        } => {
            let (bytes, order) = ordered(&order, StandingOrder::from_bytes)?;
            let operator = signed(operator, &key, &signature)?;
            Fact::StandingChanged(StandingChanged {
                bytes,
                order,
                operator,
            })
        }
        Request::SetRedLines {
            order,
            operator,
            key,
            signature,
        } => {
            let (bytes, order) = ordered(&order, RedLinesOrder::from_bytes)?;
            let operator = signed(operator, &key, &signature)?;
            Fact::RedLinesSet(RedLinesSet {
                bytes,
                order,
                operator,
            })
        }
        Request::Erase {
            order,
            operator,
            key,
            signature,
        } => {
            let (bytes, order) = ordered(&order, ErasureOrder::from_bytes)?;
            let operator = signed(operator, &key, &signature)?;
            Fact::ErasureOrdered(ErasureOrdered {
                bytes,
                order,
                operator,
            })
        }
        Request::Rotate { key_set } => Fact::KeySetRotated(
            SignedKeySet::from_bytes(&bytes(&key_set)?).map_err(|error| unreadable(&error))?,
        ),
        Request::Revoke { partner, crl } => {
            let crl = bytes(&crl)?;
            let state = log.state();
            let known = state.registry().partner(&partner);
            let roots = known.map_or(&[][..], |known| &known.keys.current().roots);
            let last = known.and_then(|known| known.revocations.as_deref());
            check_crl(roots, &crl, last, clock.now())
                .map_err(|error| Trouble::new("bad_crl", error))?;
            Fact::CertificatesRevoked(CertificatesRevoked {
                partner,
                crl: crl.into(),
            })
        }
        Request::Ratify { agreement } => Fact::AgreementRatified(
            SignedAgreement::from_file(&bytes(&agreement)?).map_err(|error| unreadable(&error))?,
        ),
        Request::Withdraw { withdrawal } => Fact::AgreementWithdrawn(
            SignedWithdrawal::from_file(&bytes(&withdrawal)?)
                .map_err(|error| unreadable(&error))?,
        ),
        _ => return Err(Trouble::new("bad_request", "this command records nothing")),
    })
}

/// An order as it was signed, and what it says.
fn ordered<T>(
    text: &str,
    read: impl Fn(&bytes::Bytes) -> Result<T, InvalidRecord>,
) -> Result<(bytes::Bytes, T), Trouble> {
    let bytes = bytes(text)?.into();
    let order = read(&bytes).map_err(|error| Trouble::new("unreadable", error))?;
    Ok((bytes, order))
}

fn bytes(text: &str) -> Result<Vec<u8>, Trouble> {
    BASE64
        .decode(text.as_bytes())
        .map_err(|error| Trouble::new("bad_request", format!("a file is not base64: {error}")))
}

fn signed(operator: String, key: &str, signature: &str) -> Result<OperatorSignature, Trouble> {
    let wrong = || Trouble::new("bad_request", "the operator's signature cannot be read");
    let key_id = KeyId(key.parse::<Digest>().map_err(|_| wrong())?);
    let bytes = bytes(signature)?.try_into().map_err(|_| wrong())?;
    Ok(OperatorSignature {
        operator,
        signature: Signature { key_id, bytes },
    })
}
