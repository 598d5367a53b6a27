//! A whole deployment on one machine: certificates, configurations, ledger and agreements in a
//! directory, and the real programs started from it. The demo and the test cluster stand on it.
//!
//! In scope: building the directory as operators would, starting, killing and awaiting processes.
//! Out of scope: what is published and what is expected of it.

mod alliance;
mod build;
mod error;
mod layout;
mod plan;
mod port;
mod process;

pub use alliance::{Alliance, Runner};
pub use build::{build, ratified};
pub use error::DeploymentError;
pub use layout::{Layout, OPERATOR};
pub use plan::{AgreementPlan, Plan, SharedLog};
pub use port::free_ports;
pub use process::{Process, until};
