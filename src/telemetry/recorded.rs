//! When does a response stream end? A body that tells its [`ResponseRecorder`].

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::requests::{ResponseError, ResponseRecorder};

/// What bodies on the path fail with.
pub type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// Passes `body` on and records how it ends. Dropped before its end, it counts as ended.
    #[derive(Debug)]
    pub struct Recorded<B> {
        #[pin]
        body: B,
        recorder: Option<ResponseRecorder>,
    }
}

impl<B: Body> Recorded<B> {
    pub fn new(body: B, recorder: ResponseRecorder) -> Self {
        let mut recorded = Self { body, recorder: Some(recorder) };
        recorded.settle();
        recorded
    }

    /// A reader may stop once `is_end_stream` holds and then keep the body for long.
    fn settle(&mut self) {
        if self.body.is_end_stream()
            && let Some(recorder) = self.recorder.take()
        {
            recorder.end(None);
        }
    }
}

impl<B> Body for Recorded<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
        let ended = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || this.body.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        if ended && let Some(recorder) = this.recorder.take() {
            match &frame {
                Some(Err(error)) => recorder.failed(ResponseError::of(error.as_ref())),
                Some(Ok(frame)) => recorder.end(frame.trailers_ref()),
                None => recorder.end(None),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use http_body_util::{BodyExt, Empty, Full, StreamBody};

    use super::*;
    use crate::model::Endpoint;
    use crate::model::peer::NoServerTls;
    use crate::telemetry::registry::Page;
    use crate::telemetry::requests::RequestFamilies;

    type Frames = Vec<Result<Frame<Bytes>, BoxError>>;

    fn started(families: &RequestFamilies) -> ResponseRecorder {
        let to = Endpoint::plain("10.0.0.1:80".parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/grpc".parse().unwrap());
        let requests = families.outbound(None, &to, NoServerTls::Loopback);
        requests.start(&headers).response(StatusCode::OK, &HeaderMap::new())
    }

    fn ends(families: &RequestFamilies) -> Vec<String> {
        let mut page = Page::default();
        families.render(&mut page);
        let text = page.finish();
        let lines = text.lines().filter(|line| line.starts_with("response_total{"));
        lines.map(|line| line.split("classification=").nth(1).unwrap().to_string()).collect()
    }

    async fn read(frames: Frames) -> Vec<String> {
        let families = RequestFamilies::new(Duration::from_secs(600));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let _ = Recorded::new(body, started(&families)).collect().await;
        ends(&families)
    }

    #[tokio::test]
    async fn trailers_tell_the_grpc_status() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "13".parse().unwrap());
        let frames: Frames = vec![Ok(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(trailers))];
        assert_eq!(read(frames).await, [r#""failure",grpc_status="13",error=""} 1"#]);
    }

    #[tokio::test]
    async fn errors_tell_the_reason() {
        let error = h2::Error::from(h2::Reason::CANCEL);
        let frames: Frames = vec![Err(error.into())];
        assert_eq!(read(frames).await, [r#""failure",grpc_status="",error="h2(CANCEL)"} 1"#]);
    }

    #[tokio::test]
    async fn a_body_is_recorded_at_its_end_even_while_it_is_kept() {
        let families = RequestFamilies::new(Duration::from_secs(600));
        let mut whole = Recorded::new(Full::new(Bytes::from_static(b"x")), started(&families));
        assert_eq!(ends(&families).len(), 0, "not before the end");
        whole.frame().await.unwrap().unwrap();
        let _empty = Recorded::new(Empty::<Bytes>::new(), started(&families));
        assert_eq!(ends(&families), [r#""success",grpc_status="2",error=""} 2"#]);
        drop(whole);
        assert_eq!(ends(&families), [r#""success",grpc_status="2",error=""} 2"#]);
    }
}
