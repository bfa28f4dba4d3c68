//! The end of streams that would never end by themselves: by age, or because the service stops.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::Refusal;

/// How long a stream lasts at most.
pub const AGE_MAX: Duration = Duration::from_mins(15);
/// When its client may open it anew.
const AGAIN: Duration = Duration::from_millis(200);

/// Is over when a stream has to end.
pub type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// When a stream that begins now has to end.
pub fn end(stop: &CancellationToken) -> End {
    let stop = stop.clone();
    Box::pin(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(AGE_MAX) => {}
        }
    })
}

/// What a client is told whose stream has to end: it goes on from what it has.
pub fn ended() -> Status {
    Refusal::new(Code::Unavailable, "STREAM_ENDED")
        .retry_after(AGAIN)
        .into_status(
            "perdiem",
            "the stream has ended; open it again and go on from what has arrived".to_owned(),
        )
}

/// The body of a streamed answer: it holds what it needs until it is over, and has an end.
pub struct Ending<H> {
    /// The body and what it needs; `None` once it is over.
    streams: Option<(Body, H)>,
    end: End,
}

impl<H> Ending<H> {
    /// `body`, which holds `held`, until `end`.
    pub const fn new(body: Body, held: H, end: End) -> Self {
        Self {
            streams: Some((body, held)),
            end,
        }
    }
}

impl<H: Unpin> http_body::Body for Ending<H> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some((body, _)) = &mut this.streams else {
            return Poll::Ready(None);
        };
        // A frame holds whole messages, so that nothing is cut here.
        if this.end.as_mut().poll(cx).is_ready() {
            this.streams = None;
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(
                ended()
                    .add_header(&mut trailers)
                    .map(|()| Frame::trailers(trailers)),
            ));
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let streams = self.streams.as_ref();
        streams.is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let streams = self.streams.as_ref();
        streams.map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    /// A stream that tells one thing and then waits for ever, and what it holds.
    fn streams(stop: &CancellationToken) -> (Ending<Arc<()>>, Arc<()>) {
        let told = Ok::<_, Status>(Frame::data(Bytes::from_static(b"\0\0\0\0\0")));
        let told = futures::stream::iter([told]).chain(futures::stream::pending());
        let held = Arc::new(());
        let body = Ending::new(Body::new(StreamBody::new(told)), held.clone(), end(stop));
        (body, held)
    }

    /// What comes after the first thing told: the code that the stream ends with.
    async fn code(body: &mut Ending<Arc<()>>) -> Code {
        let frame = body.frame().await.unwrap().unwrap();
        let trailers = frame.into_trailers().unwrap();
        assert!(body.frame().await.is_none());
        Code::from_bytes(trailers.get("grpc-status").unwrap().as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_the_service_stops_and_returns_what_it_holds() {
        let stop = CancellationToken::new();
        let (mut body, held) = streams(&stop);
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert!(futures::poll!(std::pin::pin!(body.frame())).is_pending());
        let stopped = tokio::time::Instant::now();
        stop.cancel();
        assert_eq!(code(&mut body).await, Code::Unavailable);
        assert_eq!(stopped.elapsed(), Duration::ZERO);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_by_age() {
        let (mut body, _) = streams(&CancellationToken::new());
        assert!(body.frame().await.unwrap().unwrap().is_data());
        let begun = tokio::time::Instant::now();
        assert_eq!(code(&mut body).await, Code::Unavailable);
        assert!(AGE_MAX <= begun.elapsed());
    }
}
