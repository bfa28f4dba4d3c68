//! One message a unary request: a second one is refused, not swallowed (R25).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame};
use tonic::Status;

use crate::Refusal;

/// A request body of at most one gRPC message.
pub struct SingleMessage<B> {
    body: B,
    /// Bytes of the five-byte prefix seen so far.
    prefix: Vec<u8>,
    /// Bytes of the message still to come; `None` before the prefix is whole.
    left: Option<usize>,
}

impl<B> SingleMessage<B> {
    /// `body`, watched.
    pub const fn new(body: B) -> Self {
        Self {
            body,
            prefix: Vec::new(),
            left: None,
        }
    }

    /// Counts `chunk`; `false` when it holds the beginning of a second message.
    fn admits(&mut self, mut chunk: Bytes) -> bool {
        while chunk.has_remaining() {
            match self.left {
                None => {
                    self.prefix.push(chunk.get_u8());
                    if let [_, length @ ..] = self.prefix.as_slice()
                        && let Ok(length) = <[u8; 4]>::try_from(length)
                    {
                        self.left =
                            Some(usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX));
                    }
                }
                Some(0) => return false,
                Some(left) => {
                    let taken = left.min(chunk.remaining());
                    chunk.advance(taken);
                    self.left = Some(left - taken);
                }
            }
        }
        true
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for SingleMessage<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(chunk) = frame.data_ref()
            && !self.admits(chunk.clone())
        {
            return Poll::Ready(Some(Err(Refusal::invalid("EXTRA_MESSAGE")
                .into_status("perdiem", "one message is expected".to_owned()))));
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_passes_in_any_pieces_and_a_second_does_not() {
        let message = b"\0\0\0\0\x03abc";
        for cut in 0..message.len() {
            let mut body = SingleMessage::new(());
            let (first, second) = message.split_at(cut);
            assert!(
                body.admits(Bytes::copy_from_slice(first))
                    && body.admits(Bytes::copy_from_slice(second))
            );
            assert!(!body.admits(Bytes::from_static(b"\0")));
        }
        let mut empty = SingleMessage::new(());
        assert!(empty.admits(Bytes::from_static(b"\0\0\0\0\0")));
        assert!(!empty.admits(Bytes::from_static(b"\0\0\0\0\0")));
    }
}
