//! A cluster for integration tests: real processes (or tasks of the
//! test), real QUIC, real disk, and a network that can be
//! cut, delayed, thinned and reordered.
//!
//! ```no_run
//! # async fn example() -> Result<(), entente::deployment::DeploymentError> {
//! use entente::deployment::{Plan, Runner};
//! use entente::testing::Cluster;
//!
//! let framework = "alliance.example".parse().expect("a trust domain");
//! let norland = "norland.example".parse().expect("a trust domain");
//! let plan = Plan::new(framework, vec![norland]);
//! let directory = std::env::temp_dir().join("entente-cluster");
//! // Or, to kill them: Runner::Processes("/usr/bin/entente".into())
//! let mut cluster = Cluster::start(Runner::Tasks, &directory, plan, 7).await?;
//! cluster.link(&"norland.example".parse().expect("a trust domain")).cut();
//! # Ok(()) }
//! ```
//!
//! Conditions are awaited ([`crate::deployment::until`]), never slept for.

mod cluster;
mod fault;
mod scratch;

pub use cluster::Cluster;
pub use fault::{FaultLink, Faults};
pub use scratch::Scratch;
