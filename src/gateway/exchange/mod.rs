//! What a node received, as collections of TAXII, and collections to publish through.
//!
//! In scope: for each agreement and each originator a collection of the STIX objects that came, which a
//! client sees as far as its own markings, purpose and list of collections go; for each configured labelling
//! a collection that takes objects, which become bulletins. Out of scope: TAXII itself (`taxii`), and
//! whatever agreements allow: what a client publishes goes where they let it.
//!
//! A client is shown nothing of what it may not see: an object that names a hidden one is hidden, too, and
//! dates are drawn so that the gaps between them count nothing.

mod earlier;
mod index;
mod objects;
pub(super) mod own;
pub(super) mod publish;
mod rights;
mod rows;
mod shelf;
mod shown;
pub(super) mod sightings;
mod supersession;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::own::{note_of_bulletin, note_of_object};
use self::shelf::Shelf;
use super::taxii::{Access, Client, InvalidAccess, Secret, Taxii, serve};
use crate::node::{Applications, TaxiiConfig};
use crate::transport::{Tls, Trouble};

/// Gives the notices that follow from what doors published, as the broker takes it; until the node stops.
pub async fn give_owed(node: Applications) {
    publish::give_owed(node).await;
}

/// The one API root.
const ROOT: &str = "entente";

/// A TAXII server that runs.
#[derive(Debug)]
pub struct Exchange {
    /// Where it listens.
    pub address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Its listener.
    #[error("the TAXII server cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Its rows in the node's store.
    #[error("the TAXII server cannot use the node's store: {0}")]
    Store(String),
    /// Its clients' credentials.
    #[error("the TAXII server cannot tell its clients apart: {0}")]
    Access(#[from] InvalidAccess),
}

impl From<Trouble> for ExchangeError {
    fn from(trouble: Trouble) -> Self {
        Self::Store(trouble.message)
    }
}

impl Exchange {
    /// Serves until the node stops. `secrets` has one for each client of the configuration, by its name.
    pub async fn start(
        node: Applications,
        config: &TaxiiConfig,
        secrets: Vec<(Client, Secret)>,
        tls: Option<Tls>,
    ) -> Result<Self, ExchangeError> {
        let failed = |error| ExchangeError::Listen {
            address: config.listen,
            error,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let access = Access::new(secrets, node.entropy().as_ref())?;
        let stop = node.stop();
        let shelf = Shelf::new(node.clone(), config);
        // Whoever may read or write a collection finds it, also before anything came.
        let made = shelf.clone();
        let making = tokio::task::spawn_blocking(move || made.make_collections());
        let unmade = |_| ExchangeError::Store("a task failed".to_owned());
        making.await.map_err(unmade)??;
        let taxii = Taxii::new(Arc::new(shelf), access, usize::from(config.page));
        let tasks = [
            tokio::spawn(index::run(node)),
            tokio::spawn(serve(listener, tls, taxii, config.limits, stop)),
        ];
        tracing::info!(%address, "TAXII 2.1");
        Ok(Self { address, tasks })
    }

    /// Waits until it has ended, after the node was told to stop.
    pub async fn ended(self) {
        for task in self.tasks {
            // What failed has been logged.
            let _ = task.await;
        }
    }
}
