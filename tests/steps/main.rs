//! Crash points: each step that a broker or a node takes on its disk fails once, without effect and with
//! it. Whatever anybody was told before holds afterwards: no position of the log is used twice, no
//! checkpoint is contradicted, nothing that was promised is lost, and work goes on.
//!
//! `tests/crash.rs` kills real processes at random moments; this is every moment, one after the other.

#[path = "../support/ledger.rs"]
mod ledger;

mod commit;
mod disk;
mod programs;
