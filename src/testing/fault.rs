//! A UDP relay between a node and its broker that behaves as badly as it is told.
//!
//! Kernels of test machines often have no netem, and need none here: QUIC packets go through this
//! relay, which drops, delays, duplicates and reorders them by a seeded stream of numbers.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::clock::{Entropy, SeededEntropy, random};

/// The largest UDP packet.
const PACKET: usize = 65_535;

/// How a link misbehaves. Chances are of 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Nothing passes.
    pub cut: bool,
    /// Packets that are lost.
    pub lost: u16,
    /// Packets that come twice.
    pub doubled: u16,
    /// Every packet is late by up to this much, each by its own time, so that they overtake one
    /// another.
    pub late: Duration,
}

#[derive(Debug)]
struct Shared {
    faults: Mutex<Faults>,
    entropy: SeededEntropy,
    broker: SocketAddr,
}

/// A relay; it ends when this goes.
#[derive(Debug)]
pub struct FaultLink {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl FaultLink {
    /// A relay to a broker, faultless at first.
    pub async fn open(broker: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = socket.local_addr()?;
        let entropy = SeededEntropy::new(seed);
        let shared = Arc::new(Shared {
            faults: Mutex::default(),
            entropy,
            broker,
        });
        let task = tokio::spawn(relay(Arc::clone(&shared), socket));
        Ok(Self {
            shared,
            address,
            task,
        })
    }

    /// Where the node connects instead of to its broker.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing pass from now on.
    pub fn cut(&self) {
        self.set(Faults {
            cut: true,
            ..Faults::default()
        });
    }

    /// Lets everything pass from now on.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Misbehaves like this from now on.
    pub fn set(&self, faults: Faults) {
        *self
            .shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = faults;
    }
}

impl Drop for FaultLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From the node's side; each of its ports gets a socket of its own towards the broker.
async fn relay(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut towards: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut packet = vec![0; PACKET];
    loop {
        let Ok((length, node)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        let upstream = if let Some(known) = towards.get(&node) {
            Arc::clone(known)
        } else {
            let Ok(new) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else {
                continue;
            };
            let new = Arc::new(new);
            tokio::spawn(back(
                Arc::clone(&shared),
                Arc::downgrade(&new),
                Arc::clone(&socket),
                node,
            ));
            towards.insert(node, Arc::clone(&new));
            new
        };
        pass(&shared, upstream, packet[..length].to_vec(), shared.broker);
    }
}

/// From the broker's side, until the relay is gone.
async fn back(
    shared: Arc<Shared>,
    upstream: std::sync::Weak<UdpSocket>,
    socket: Arc<UdpSocket>,
    node: SocketAddr,
) {
    let mut packet = vec![0; PACKET];
    while let Some(upstream) = upstream.upgrade() {
        let Ok(received) =
            tokio::time::timeout(Duration::from_secs(1), upstream.recv_from(&mut packet)).await
        else {
            continue;
        };
        if let Ok((length, from)) = received
            && from == shared.broker
        {
            pass(
                &shared,
                Arc::clone(&socket),
                packet[..length].to_vec(),
                node,
            );
        }
    }
}

/// Passes a packet on, or does what the faults say.
fn pass(shared: &Shared, socket: Arc<UdpSocket>, packet: Vec<u8>, to: SocketAddr) {
    let faults = *shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
    let draw = || {
        let bytes: [u8; 4] = random(&shared.entropy as &dyn Entropy).unwrap_or_default();
        u32::from_be_bytes(bytes)
    };
    let chance = |of: u16| of > 0 && draw() % 1_000 < u32::from(of);
    if faults.cut || chance(faults.lost) {
        return;
    }
    let copies = if chance(faults.doubled) { 2 } else { 1 };
    for _ in 0..copies {
        let (socket, packet) = (Arc::clone(&socket), packet.clone());
        if faults.late.is_zero() {
            // A full buffer loses the packet, as networks do.
            let _ = socket.try_send_to(&packet, to);
            continue;
        }
        let late = faults.late.mul_f64(f64::from(draw()) / f64::from(u32::MAX));
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            let _ = socket.send_to(&packet, to).await;
        });
    }
}
