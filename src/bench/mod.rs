//! `entente bench`: what the whole costs, with everything switched on, beside a peer with none of it.
//!
//! A workload runs real processes: the broker alone in one, so that its processor time and memory are its
//! own; all publishers in another; all recipients in a third. These are lean clients ([`client`]): they
//! speak the whole protocol, with mutual TLS and signatures, and keep neither outbox nor inbox, as the
//! peer's clients keep none. The peer is NATS JetStream ([`peer`]) on the same machine in the same run,
//! round by round in turn.
//!
//! Latencies are measured from the moment at which a bulletin was *to be* sent, at a fixed rate, so that a
//! stall is counted upon everything that had to wait for it.

mod audit;
mod back;
mod bursts;
mod client;
pub mod decision;
mod error;
mod fanout;
mod figures;
mod nodes;
mod peer;
mod shared;
mod storm;
mod urgent;
mod usage;
mod worker;
mod world;

pub use audit::{AuditPlan, audit};
pub use back::{BackPlan, back};
pub use bursts::bursts;
pub use decision::decisions;
pub use error::BenchError;
pub use fanout::{Fanout, System, fanout};
pub use figures::{Figures, Latency};
pub use nodes::whole_nodes;
pub use peer::{NatsServer, find_nats_server};
pub use shared::{replicated, shared};
pub use storm::{StormPlan, storm};
pub use urgent::{UrgentPlan, urgent};
pub use worker::work;
