//! A TAXII server in this process on a real socket, and a client that sends what it is told to, byte for
//! byte: no header comes of itself.

#![allow(dead_code, reason = "each test uses its part")]

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use entente::clock::{Clock, Entropy, SystemEntropy};
use entente::gateway::taxii::{
    Access, Client, MemoryStore, Secret, Store, Taxii, TokenHash, serve,
};
use entente::transport::HttpLimits;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub(crate) const TAXII: &str = "application/taxii+json;version=2.1";
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that runs as long as this lives. Its users: `admin` with `Password0`, and a token.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    stop: CancellationToken,
    _runtime: Runtime,
}

impl Server {
    pub(crate) fn start(store: impl Store, page: usize) -> Self {
        Self::within(store, page, 60)
    }

    /// With so many seconds for each request.
    pub(crate) fn within(store: impl Store, page: usize, seconds: u16) -> Self {
        let entropy = SystemEntropy::new();
        let (token, hash) = TokenHash::draw(&entropy).expect("random");
        let password = Secret::Password {
            user: "admin".to_owned(),
            hash: PASSWORD.parse().expect("a hash"),
        };
        let credentials = [
            (Client("admin".to_owned()), password),
            (Client("token".to_owned()), Secret::Token(hash)),
        ];
        let access = Access::new(credentials, &entropy).expect("random");
        let taxii = Taxii::new(Arc::new(store), access, page);
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let limits = HttpLimits {
            seconds,
            ..HttpLimits::default()
        };
        runtime.spawn(serve(listener, None, taxii, limits, stop.clone()));
        Self {
            address,
            token,
            stop,
            _runtime: runtime,
        }
    }

    /// Data of medallion's form.
    pub(crate) fn of(data: &str, clock: Arc<dyn Clock>, page: usize) -> Self {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let store = MemoryStore::read(data, clock, entropy).expect("data");
        Self::start(store, page)
    }

    /// Sends a request with these headers and no others but `host`, `connection` and `content-length`.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Said {
        talk(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Said {
        let token = format!("Bearer {}", self.token);
        self.send(
            "GET",
            path,
            &[("authorization", &token), ("accept", TAXII)],
            b"",
        )
    }

    pub(crate) fn delete(&self, path: &str) -> Said {
        let token = format!("Bearer {}", self.token);
        let headers = [("authorization", &*token), ("accept", TAXII)];
        self.send("DELETE", path, &headers, b"")
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Said {
        let token = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", &*token),
            ("accept", TAXII),
            ("content-type", TAXII),
        ];
        self.send("POST", path, &headers, body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The hash of `Password0`, with as few rounds as are taken. Made by Python's `hashlib`.
const PASSWORD: &str =
    "pbkdf2-sha256$100000$AAECAwQFBgcICQoLDA0ODw==$9c/1+bYhuQmqZiHBTK1g7ZNnUfU3azLIFGjnlRIOjqo=";

/// The header of HTTP Basic.
pub(crate) fn basic(user: &str, password: &str) -> String {
    let pair = format!("{user}:{password}");
    format!("Basic {}", BASE64.encode(pair.as_bytes()))
}

/// What a server said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Said {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let all = self.headers.iter().filter(|(other, _)| other == name);
        all.map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a 200.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some(TAXII), "{self:?}");
        self.json()
    }

    /// The `id`s of its objects.
    #[track_caller]
    pub(crate) fn ids(&self) -> Vec<String> {
        let value = self.ok();
        let objects = value["objects"].as_array().cloned().unwrap_or_default();
        let id = |object: &Value| object["id"].as_str().expect("an id").to_owned();
        objects.iter().map(id).collect()
    }

    /// First and last date added.
    pub(crate) fn dates(&self) -> Option<(&str, &str)> {
        self.header("x-taxii-date-added-first")
            .zip(self.header("x-taxii-date-added-last"))
    }

    /// An error of TAXII with this status.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some(TAXII), "{self:?}");
        let error = self.json();
        assert!(error["title"].is_string(), "{error}");
        assert_eq!(
            error["http_status"],
            status.to_string(),
            "a string: {error}"
        );
        error
    }
}

/// One request on a connection of its own.
pub(crate) fn talk(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Said {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if method == "POST" {
        let _ = write!(head, "content-length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_owned(), value.to_owned())
    };
    Said {
        status,
        headers: lines.map(header).collect(),
        body: body.to_owned(),
    }
}
