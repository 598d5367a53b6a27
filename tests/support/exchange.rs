//! Nodes as TAXII servers, and their clients: for tests that have `alliance` and `taxii` beside this.

#![allow(dead_code, reason = "each test uses its part")]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use entente::clock::SystemEntropy;
use entente::deployment::{free_ports, until};
use entente::testing::Cluster;
use serde_json::Value;

use crate::alliance::{PATIENCE, configure, entente, partner};
use crate::taxii::{Said, TAXII, talk};

/// A client of one server, by its token.
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    token: String,
}

impl Caller {
    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> Said {
        let token = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", &*token),
            ("accept", TAXII),
            ("content-type", TAXII),
        ];
        talk(self.address, method, path, &headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Said {
        self.send("GET", path, b"")
    }

    pub(crate) fn objects(&self, collection: &str) -> Vec<String> {
        self.get(&format!("/entente/collections/{collection}/objects/"))
            .ids()
    }
}

/// Draws a token with the program; the file of its hash is the client's secret.
pub(crate) fn token(directory: &Path, name: &str) -> (String, PathBuf) {
    let file = directory.join(format!("{name}.secret"));
    let (code, said) = entente(&["taxii", "token", &file.display().to_string(), "--json"]);
    assert_eq!(code, 0, "{said}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    (said["token"].as_str().expect("a token").to_owned(), file)
}

/// Adds a TAXII server with these clients to a partner's node: name, and lines of its configuration.
pub(crate) fn serve(
    cluster: &Cluster,
    of: &str,
    clients: &[(&str, &str)],
    more: &str,
) -> Vec<Caller> {
    let loopback = Ipv4Addr::LOCALHOST.into();
    let (_, address) = free_ports(loopback, &SystemEntropy::default()).expect("a port");
    let config = cluster.layout().node_config(&partner(of));
    let mut text = format!("\n[taxii]\nlisten = \"{address}\"\n");
    let mut callers = Vec::new();
    for (name, lines) in clients {
        let (token, file) = token(config.parent().expect("a directory"), name);
        let _ = write!(
            text,
            "[[taxii.client]]\nname = \"{name}\"\nsecret = \"{}\"\n{lines}\n",
            file.display()
        );
        callers.push(Caller { address, token });
    }
    configure(&config, "", &format!("{text}{more}"));
    callers
}

/// The bulletin that an object of a status became part of.
pub(crate) fn bulletin(object: &Value) -> &str {
    let message = object["message"].as_str();
    let bulletin = message.and_then(|text| text.strip_prefix("bulletin "));
    bulletin.expect("a bulletin")
}

pub(crate) async fn complete(caller: &Caller, status: &Value) -> Value {
    let path = format!("/entente/status/{}/", status["id"].as_str().expect("an id"));
    let asked = until("a complete status", PATIENCE, || async {
        let now = caller.get(&path).ok();
        (now["status"] == "complete").then_some(now)
    });
    asked.await.expect("it completes")
}

pub(crate) async fn sees(caller: &Caller, collection: &str, count: usize) -> Vec<String> {
    let asked = until("objects", PATIENCE, || async {
        let known = caller.get(&format!("/entente/collections/{collection}/"));
        let ids = (known.status == 200).then(|| caller.objects(collection))?;
        (ids.len() == count).then_some(ids)
    });
    let ids = asked.await;
    ids.unwrap_or_else(|_| {
        panic!(
            "it sees {:?}",
            caller.get(&format!("/entente/collections/{collection}/objects/"))
        )
    })
}

/// Waits until these servers listen.
pub(crate) async fn listening(callers: &[&Caller]) {
    for caller in callers {
        let open = until("a TAXII server", PATIENCE, || async {
            std::net::TcpStream::connect(caller.address).ok()
        });
        open.await.expect("it listens");
    }
}
