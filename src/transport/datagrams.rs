//! The UDP socket under an endpoint: watched for what comes, and for room to send only while there is none.
//!
//! On Linux each datagram that has left a UDP socket's buffer is an event for whoever watches for room, however
//! much of it there was. quinn's own socket for tokio always watches for both, so that every packet sent wakes a
//! thread that sleeps, for nothing.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Where room cannot be watched for, it is tried again after this time.
const AGAIN: Duration = Duration::from_millis(1);

/// quinn's runtime on tokio, with sockets of ours.
#[derive(Debug)]
pub(super) struct Datagrams;

impl Runtime for Datagrams {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(task);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket {
            state: UdpSocketState::new((&socket).into())?,
            io: watched(socket, Interest::READABLE)?,
            room: Arc::default(),
        }))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// Watches a socket of the standard library, which keeps its descriptor as long as it lives.
#[expect(
    deprecated,
    reason = "what follows it is `unsafe`, for types that do not keep it"
)]
fn watched<S: AsRawFd>(socket: S, interest: Interest) -> io::Result<AsyncFd<S>> {
    AsyncFd::with_interest(socket, interest)
}

#[derive(Debug)]
struct Socket {
    state: UdpSocketState,
    io: AsyncFd<UdpSocket>,
    room: Arc<Room>,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let waiter = Waiter::new(Arc::clone(&self.room));
        Box::pin(Sender {
            socket: self,
            waiter,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.io.get_ref().into(), transmit);
        self.room.note(&sent);
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = ready!(self.io.poll_read_ready(cx))?;
            let received = readable.try_io(|io| self.state.recv(io.into(), buffers, meta));
            // What is wrong with one datagram is no reason to give up the socket.
            if let Ok(Ok(count)) = received {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// One of those who send on a socket.
#[derive(Debug)]
struct Sender {
    socket: Arc<Socket>,
    waiter: Waiter,
}

impl UdpPoller for Sender {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, waiter } = &mut *self;
        waiter.poll(socket.io.get_ref(), cx)
    }
}

/// Whether a socket has room to send, and what is watched for it.
#[derive(Debug, Default)]
struct Room {
    /// Somebody found none, and nobody was told of some since.
    is_full: AtomicBool,
    /// All who wait at once watch the same; it goes with the last of them.
    watched: Mutex<Weak<Watched>>,
}

type Watched = AsyncFd<OwnedFd>;

impl Room {
    /// What came of sending something.
    fn note(&self, sent: &io::Result<()>) {
        if let Err(error) = sent
            && error.kind() == ErrorKind::WouldBlock
        {
            self.is_full.store(true, Ordering::Release);
        }
    }

    /// What tells when there is room. A new one is told of the room that there is, so that none is missed.
    fn watch(&self, socket: &impl AsFd) -> io::Result<Arc<Watched>> {
        let mut known = self.lock();
        if let Some(watched) = known.upgrade() {
            return Ok(watched);
        }
        // The same socket under another number: a number is watched once.
        let socket = socket.as_fd().try_clone_to_owned()?;
        let new = Arc::new(watched(socket, Interest::WRITABLE)?);
        *known = Arc::downgrade(&new);
        Ok(new)
    }

    /// There was room, as this one told: whoever finds none from here on watches anew. One that others watched before
    /// tells nothing.
    fn some(&self, told: &Arc<Watched>) {
        let mut known = self.lock();
        if known.as_ptr() == Arc::as_ptr(told) {
            *known = Weak::new();
            self.is_full.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Weak<Watched>> {
        // Every change is one step: a panic elsewhere leaves it whole.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who waits for room.
struct Waiter {
    room: Arc<Room>,
    waiting: Option<Waiting>,
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

impl Waiter {
    const fn new(room: Arc<Room>) -> Self {
        Self {
            room,
            waiting: None,
        }
    }

    /// Ready where there was room at last, or is now.
    fn poll(&mut self, socket: &impl AsFd, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            None if !self.room.is_full.load(Ordering::Acquire) => return Poll::Ready(Ok(())),
            None => {
                let (watched, room) = (self.room.watch(socket), Arc::clone(&self.room));
                self.waiting.insert(Box::pin(async move {
                    let Ok(watched) = watched else {
                        // Too many files are open.
                        tokio::time::sleep(AGAIN).await;
                        room.is_full.store(false, Ordering::Release);
                        return Ok(());
                    };
                    let told = watched.writable().await.map(drop);
                    room.some(&watched);
                    told
                }))
            }
        };
        let told = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(told)
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_waiting = self.waiting.is_some();
        f.debug_tuple("Waiter").field(&is_waiting).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Sends until there is no room.
    fn fill(socket: &UnixDatagram, room: &Room) {
        loop {
            let sent = socket.send(&[7; 1_024]).map(drop);
            room.note(&sent);
            match sent {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for room, but not for ever.
    async fn room_in(waiter: &mut Waiter, socket: &impl AsFd) {
        let told = poll_fn(|cx| waiter.poll(socket, cx));
        let told = tokio::time::timeout(Duration::from_secs(20), told).await;
        told.expect("nobody tells of it").expect("room");
    }

    fn drain(socket: &UnixDatagram) {
        while socket.recv(&mut [0; 2_048]).is_ok() {}
    }

    fn pair() -> (UnixDatagram, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("nonblocking");
        theirs.set_nonblocking(true).expect("nonblocking");
        (ours, theirs)
    }

    async fn is_pending(waiter: &mut Waiter, socket: &UnixDatagram) -> bool {
        poll_fn(|cx| Poll::Ready(waiter.poll(socket, cx).is_pending())).await
    }

    #[tokio::test]
    async fn whoever_finds_no_room_waits_until_there_is_some_and_all_go_on() {
        let (ours, theirs) = pair();
        let room = Arc::new(Room::default());
        let mut waiters: Vec<Waiter> = (0..3).map(|_| Waiter::new(Arc::clone(&room))).collect();
        assert!(
            !is_pending(&mut waiters[0], &ours).await,
            "nothing was sent"
        );
        for _ in 0..3 {
            fill(&ours, &room);
            for waiter in &mut waiters {
                assert!(is_pending(waiter, &ours).await);
            }
            let watched = room.lock().strong_count();
            assert_eq!(watched, waiters.len(), "they watch the same");
            drain(&theirs);
            for waiter in &mut waiters {
                room_in(waiter, &ours).await;
            }
            assert_eq!(room.lock().strong_count(), 0, "nobody watches any more");
            assert!(!is_pending(&mut waiters[0], &ours).await);
        }
    }

    #[tokio::test]
    async fn who_waits_anew_is_not_told_of_room_that_was_used_up() {
        let (ours, theirs) = pair();
        let room = Arc::new(Room::default());
        let (mut first, mut second) = (Waiter::new(Arc::clone(&room)), Waiter::new(room.clone()));
        fill(&ours, &room);
        assert!(is_pending(&mut first, &ours).await && is_pending(&mut second, &ours).await);
        drain(&theirs);
        room_in(&mut first, &ours).await;
        fill(&ours, &room);
        // It was told, and has not yet heard of it.
        assert!(is_pending(&mut first, &ours).await, "there is none");
        room_in(&mut second, &ours).await;
        drain(&theirs);
        room_in(&mut first, &ours).await;
    }

    #[tokio::test]
    async fn room_that_came_before_anybody_watched_is_told() {
        let (ours, theirs) = pair();
        let room = Arc::new(Room::default());
        let mut waiter = Waiter::new(Arc::clone(&room));
        fill(&ours, &room);
        drain(&theirs);
        room_in(&mut waiter, &ours).await;
    }

    #[tokio::test]
    async fn where_room_cannot_be_watched_for_it_is_tried_again() {
        let (ours, theirs) = pair();
        let room = Arc::new(Room::default());
        let mut waiter = Waiter::new(Arc::clone(&room));
        fill(&ours, &room);
        drain(&theirs);
        // Nothing tells when there is room in a file.
        let file = std::fs::File::open("/proc/self/exe").expect("this program");
        room_in(&mut waiter, &file).await;
        assert!(!is_pending(&mut waiter, &ours).await);
    }
}
