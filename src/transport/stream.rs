//! Frames on streams: a length of four bytes, big-endian, and that many bytes.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of the length.
const LENGTH: usize = 4;
/// How much is read at once: memory grows with what came, not with what was announced.
const CHUNK: usize = 64 * 1024;
/// How much is read first, where nothing is there yet: what a connection costs on which nothing happens.
const FIRST: usize = 2 * 1024;
/// A frame up to this size gets memory of its own: it may be kept for long, and with it all that was read
/// at once.
const SMALL: usize = CHUNK / 4;

/// A stream that cannot be read further.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A frame larger than allowed here.
    #[error("a frame of {length} bytes was announced; at most {limit} are taken")]
    TooLarge {
        /// What was announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// The connection.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
}

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Takes frames of up to `limit` bytes.
    pub fn new(inner: R, limit: usize) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Takes frames of up to `limit` bytes from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The stream, to say why it is no longer read.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The next frame; `None` where the stream ended between frames. May be dropped while it waits
    /// and called again: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.buffer.is_empty() {
                self.buffer = BytesMut::with_capacity(FIRST);
            } else {
                self.buffer.reserve(CHUNK);
            }
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ReadError::Truncated)
                };
            }
        }
    }

    /// A whole frame from what was read already, without waiting.
    pub fn take(&mut self) -> Result<Option<Bytes>, ReadError> {
        let Some(head) = self.buffer.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > self.limit {
            return Err(ReadError::TooLarge {
                length,
                limit: self.limit,
            });
        }
        if self.buffer.len() < LENGTH + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH);
        if length > SMALL {
            return Ok(Some(self.buffer.split_to(length).freeze()));
        }
        let frame = Bytes::copy_from_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        Ok(Some(frame))
    }
}

/// Writes a frame. May not be dropped while it waits: half a frame would be on the stream.
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    if frame.len() > CHUNK {
        stream.write_all(&length.to_be_bytes()).await?;
        return stream.write_all(frame).await;
    }
    // One piece: every write wakes the connection.
    let mut whole = Vec::with_capacity(LENGTH + frame.len());
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(frame);
    stream.write_all(&whole).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(length: u32, body: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes(), body].concat()
    }

    #[tokio::test]
    async fn frames_come_whole_and_in_order() {
        let mut bytes = Vec::new();
        for frame in [b"one".as_slice(), b"", &vec![7; 100_000]] {
            write_frame(&mut bytes, frame).await.unwrap();
        }
        let mut reader = FrameReader::new(bytes.as_slice(), 100_000);
        assert_eq!(reader.next().await.unwrap().unwrap(), "one");
        assert_eq!(reader.next().await.unwrap().unwrap(), "");
        assert_eq!(reader.next().await.unwrap().unwrap().len(), 100_000);
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_beyond_the_limit_is_refused_before_it_is_read() {
        let bytes = framed(u32::MAX, b"");
        let mut reader = FrameReader::new(bytes.as_slice(), 1000);
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, ReadError::TooLarge { limit: 1000, .. }));
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_frame_is_an_error() {
        for bytes in [framed(5, b"four"), vec![0, 0]] {
            let mut reader = FrameReader::new(bytes.as_slice(), 1000);
            assert!(matches!(reader.next().await, Err(ReadError::Truncated)));
        }
    }
}
