//! The messages of a request. A unary call has one, which is read completely before the work on it begins; each
//! message of a stream must come within a time limit (R25).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use crate::Refusal;
use crate::ending::{End, ended};
use crate::room::Permit;

/// The bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Takes memory for a message of so many bytes, or refuses it.
pub type Memory = Box<dyn Fn(usize) -> Result<Permit, Status> + Send>;

/// Reads the one message of a unary request, of at most `most` bytes, with its prefix; gives it with what `memory`
/// gave for its length, which is asked as soon as the length is announced.
///
/// # Errors
/// An error for the caller if there is a second message, the message is too large, there is no memory for it, or the
/// body is cut off.
pub async fn single_message<B, P>(
    mut body: B,
    most: usize,
    memory: impl Fn(usize) -> Result<P, Status>,
) -> Result<(Bytes, Option<P>), Status>
where
    B: Body<Data = Bytes, Error = Status> + Unpin,
{
    let mut framing = Framing::default();
    let mut message = BytesMut::new();
    let mut taken = None;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            continue;
        };
        framing.read(chunk.clone());
        if framing.has_more_than_one() {
            return Err(Refusal::invalid("EXTRA_MESSAGE").into_status(
                "perdiem",
                "a unary call takes exactly one message".to_owned(),
            ));
        }
        if most < framing.announced.unwrap_or(0) {
            return Err(Refusal::invalid("MESSAGE_TOO_LARGE")
                .into_status("perdiem", "the message is too large".to_owned()));
        }
        if let (None, Some(length)) = (&taken, framing.announced) {
            taken = Some(memory(length)?);
        }
        message.extend_from_slice(&chunk);
    }
    Ok((message.freeze(), taken))
}

/// Parser state of a body.
#[derive(Default)]
struct Framing {
    /// Bytes read so far of the current message's prefix.
    prefix: Vec<u8>,
    /// The length of the last message of which the prefix is complete.
    announced: Option<usize>,
    /// Bytes of the current message still to come after its prefix.
    left: usize,
    /// Messages read completely.
    whole: usize,
}

impl Framing {
    /// Parses more bytes.
    fn read(&mut self, mut chunk: Bytes) {
        while chunk.has_remaining() {
            if self.prefix.len() < PREFIX_BYTES {
                self.prefix.push(chunk.get_u8());
                let length = self.prefix.get(1..PREFIX_BYTES);
                let Some(length) = length.and_then(|it| <[u8; 4]>::try_from(it).ok()) else {
                    continue;
                };
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.announced = Some(self.left);
            }
            let taken = self.left.min(chunk.remaining());
            chunk.advance(taken);
            self.left -= taken;
            if self.left == 0 {
                self.prefix.clear();
                self.whole += 1;
            }
        }
    }

    /// Whether anything follows the first message.
    fn has_more_than_one(&self) -> bool {
        1 < self.whole || (self.whole == 1 && !self.prefix.is_empty())
    }
}

/// A body that fails if no complete message arrives within the time limit, there is no memory for one, or the stream
/// has to end.
pub struct Prompt<B> {
    body: B,
    framing: Framing,
    /// Longer messages are left to whoever decodes them, and refuses them.
    most: usize,
    memory: Memory,
    /// Memory for the message that is being read.
    taken: Option<Permit>,
    patience: Duration,
    late: Pin<Box<Sleep>>,
    /// When the stream has to end; `None` once it has.
    end: Option<End>,
}

impl<B> Prompt<B> {
    /// `body`, of which each message must arrive within `patience`; `memory` is asked for those of at most `most`
    /// bytes that arrive in parts.
    pub fn new(body: B, patience: Duration, (most, memory): (usize, Memory), end: End) -> Self {
        Self {
            body,
            framing: Framing::default(),
            most,
            memory,
            taken: None,
            patience,
            late: Box::pin(tokio::time::sleep(patience)),
            end: Some(end),
        }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Prompt<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let end = self.end.as_mut();
        if end.is_none_or(|end| end.as_mut().poll(cx).is_ready()) {
            self.end = None;
            return Poll::Ready(Some(Err(ended())));
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(read) = &frame {
            let data = read.as_ref().and_then(|it| it.as_ref().ok()?.data_ref());
            let before = self.framing.whole;
            if let Some(chunk) = data.cloned() {
                self.framing.read(chunk);
            }
            if before < self.framing.whole {
                let next = Instant::now() + self.patience;
                self.late.as_mut().reset(next);
                self.taken = None;
            }
            let arrives = 0 < self.framing.left && self.taken.is_none();
            let announced = self.framing.announced.filter(|it| *it <= self.most);
            if let Some(length) = announced.filter(|_| arrives) {
                match (self.memory)(length) {
                    Ok(taken) => self.taken = Some(taken),
                    Err(status) => return Poll::Ready(Some(Err(status))),
                }
            }
            return frame;
        }
        if self.late.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Status::new(
                Code::DeadlineExceeded,
                format!("no message came for {} s", self.patience.as_secs()),
            ))));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;
    use crate::{Caller, ServiceName};

    fn caller() -> Caller {
        Caller::Service {
            name: ServiceName::Usage,
        }
    }

    /// A body that sends these pieces, and never ends.
    fn open(pieces: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = Status> + Unpin {
        use futures::StreamExt as _;
        let pieces: Vec<_> = pieces
            .iter()
            .map(|it| Ok::<_, Status>(Frame::data(Bytes::from_static(it))))
            .collect();
        let sent = futures::stream::iter(pieces).chain(futures::stream::pending());
        http_body_util::StreamBody::new(sent)
    }

    #[tokio::test]
    async fn a_message_is_refused_by_its_announced_length() {
        let refused = async |pieces: &[&'static [u8]]| {
            let memory = |length| {
                if length == 7 {
                    Err(Status::unavailable("no memory"))
                } else {
                    Ok(())
                }
            };
            let read = single_message(open(pieces), 10, memory);
            let read = tokio::time::timeout(Duration::from_millis(50), read).await;
            read.ok().and_then(Result::err).map(|it| it.code())
        };
        let too_large = Some(Code::InvalidArgument);
        assert_eq!(refused(&[b"\0\0\0\0\x0b"]).await, too_large);
        assert_eq!(refused(&[b"\0\xff\xff", b"\xff\xff"]).await, too_large);
        assert_eq!(refused(&[b"\0\0\0\0\x0a"]).await, None);
        let no_memory = Some(Code::Unavailable);
        assert_eq!(refused(&[b"\0\0\0\0", b"\x07"]).await, no_memory);
    }

    #[tokio::test]
    async fn the_messages_of_a_stream_take_memory_while_they_arrive() {
        let room = Room::new(1);
        let taken = room.clone();
        let memory: Memory = Box::new(move |_| {
            let permit = taken.take(&caller(), None);
            permit.map_err(|_| Status::unavailable("no memory"))
        });
        let pieces: [&[u8]; 3] = [b"\0\0\0\0\x02a", b"b", b"\0\0\0\0\x02a"];
        let never = Box::pin(std::future::pending::<()>());
        let mut body = Prompt::new(open(&pieces), Duration::from_secs(9), (10, memory), never);
        let is_free = || room.take(&caller(), None).is_ok();
        assert!(body.frame().await.unwrap().is_ok());
        assert!(!is_free());
        assert!(body.frame().await.unwrap().is_ok());
        assert!(is_free());
        let _held = room.take(&caller(), None).unwrap();
        let status = body.frame().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_stream_of_requests_ends_when_the_service_stops() {
        let stop = tokio_util::sync::CancellationToken::new();
        let memory: Memory = Box::new(|_| Err(Status::unavailable("no memory")));
        let end = crate::ending::end(&stop);
        let mut body = Prompt::new(open(&[]), Duration::from_secs(9), (10, memory), end);
        assert!(futures::poll!(std::pin::pin!(body.frame())).is_pending());
        stop.cancel();
        let status = body.frame().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }

    #[test]
    fn one_message_passes_in_any_pieces_and_a_second_does_not() {
        let message = b"\0\0\0\0\x03abc";
        for cut in 0..message.len() {
            let mut framing = Framing::default();
            let (first, second) = message.split_at(cut);
            framing.read(Bytes::copy_from_slice(first));
            framing.read(Bytes::copy_from_slice(second));
            assert!(framing.whole == 1 && !framing.has_more_than_one());
            framing.read(Bytes::from_static(b"\0"));
            assert!(framing.has_more_than_one());
        }
        let mut empty = Framing::default();
        empty.read(Bytes::from_static(b"\0\0\0\0\0"));
        assert!(empty.whole == 1 && !empty.has_more_than_one());
        empty.read(Bytes::from_static(b"\0"));
        assert!(empty.has_more_than_one());
    }

    #[tokio::test]
    async fn a_stream_is_kept_by_messages_and_not_by_bytes() {
        use futures::StreamExt as _;
        let chunks = |chunk: &'static [u8]| {
            futures::stream::iter(0..15).then(move |_| async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, Status>(Frame::data(Bytes::from_static(chunk)))
            })
        };
        let read = async |chunk| {
            let body = http_body_util::StreamBody::new(Box::pin(chunks(chunk)));
            let room = Room::new(1);
            let memory: Memory = Box::new(move |_| {
                let permit = room.take(&caller(), None);
                permit.map_err(|_| Status::unavailable("no memory"))
            });
            let never = Box::pin(std::future::pending::<()>());
            let body = Prompt::new(body, Duration::from_secs(1), (1_024, memory), never);
            body.collect().await
        };
        assert!(read(b"\0\0\0\0\x01a").await.is_ok());
        assert!(read(b"\x01").await.is_err());
        assert!(read(b"").await.is_err());
    }
}
