//! Bodies beside the stream: one object for each group, written again without what was erased.
//!
//! Every broker that takes on an erasure writes the object again from what it knows is erased, also where
//! another did it before: whoever is the last to write has taken on all erasures by then.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::object_store::{
    DeleteErrorKind, GetErrorKind, ObjectMetadata, ObjectStore,
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio::io::AsyncReadExt;

use super::error::StreamError;
use super::nats::unavailable;
use super::wire::{contents_from_bytes, contents_to_bytes};

/// Bytes of an object in one message.
const CHUNK: usize = 512 * 1024;

/// The name of a group's object.
pub(super) type Name = [u8; 16];

/// Stores the bodies of a group, durably.
pub(super) async fn put(
    store: &ObjectStore,
    name: Name,
    bodies: BTreeMap<u64, Bytes>,
    max_message: usize,
) -> Result<(), StreamError> {
    let bytes = contents_to_bytes(bodies.iter().map(|(position, bodies)| (*position, bodies)));
    let meta = ObjectMetadata {
        name: HEXLOWER.encode(&name),
        chunk_size: Some(CHUNK.min(max_message)),
        ..ObjectMetadata::default()
    };
    let put = store.put(meta, &mut bytes.as_ref()).await;
    put.map(|_| ()).map_err(unavailable)
}

/// The bodies of a group; `None` where the object is not there.
pub(super) async fn get(
    store: &ObjectStore,
    name: Name,
) -> Result<Option<BTreeMap<u64, Bytes>>, StreamError> {
    let mut object = match store.get(HEXLOWER.encode(&name)).await {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(error)),
    };
    let mut bytes = Vec::new();
    object.read_to_end(&mut bytes).await.map_err(unavailable)?;
    let read = contents_from_bytes(bytes.into());
    let damaged =
        || StreamError::Unavailable(format!("object {} is damaged", HEXLOWER.encode(&name)));
    read.map(Some).ok_or_else(damaged)
}

/// Removes bodies from an object, and the object where none is left.
pub(super) async fn erase(
    store: &ObjectStore,
    name: Name,
    erased: BTreeSet<u64>,
    max_message: usize,
) -> Result<(), StreamError> {
    let Some(mut bodies) = get(store, name).await? else {
        return Ok(());
    };
    bodies.retain(|position, _| !erased.contains(position));
    if bodies.is_empty() {
        return remove(store, name).await;
    }
    put(store, name, bodies, max_message).await
}

/// Removes an object.
pub(super) async fn remove(store: &ObjectStore, name: Name) -> Result<(), StreamError> {
    match store.delete(HEXLOWER.encode(&name)).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
        Err(error) => Err(unavailable(error)),
    }
}
