//! Where the requests go, and the connections there that are idle.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::Args;
use crate::message::headers::{PROXY_ERROR, REASON};

pub(super) struct Target {
    method: Method,
    /// As in the URL, for connecting.
    name: String,
    port: u16,
    host: String,
    path: String,
    idle: Mutex<Vec<Connection>>,
}

type Connection = SendRequest<Empty<Bytes>>;

/// What matters of an answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// What the proxy says of an answer that it gave itself.
    pub(super) reason: Option<String>,
    /// The beginning of it.
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.lines().next().unwrap_or_default().to_owned()
    }
}

impl Target {
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let url = &args.url;
        if url.scheme_str() != Some("http") {
            bail!("{url}: expected http://NAME[:PORT][/PATH]");
        }
        let authority = url.authority().with_context(|| format!("{url}: no host name"))?;
        Ok(Self {
            method: args.method.clone(),
            name: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(80),
            host: args.host.clone().unwrap_or_else(|| authority.to_string()),
            path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            idle: Mutex::default(),
        })
    }

    /// Sends one request on an idle connection, or a new one, and reads the whole answer.
    pub(super) async fn request(&self) -> anyhow::Result<Answer> {
        let mut sender = self.connection().await?;
        let req = Request::builder()
            .method(self.method.clone())
            .uri(self.path.as_str())
            .header(header::HOST, self.host.as_str())
            .body(Empty::new())?;
        let rsp = sender.send_request(req).await?;
        let (head, mut body) = rsp.into_parts();
        let mut answer = Answer { status: head.status, reason: reason(&head.headers), body: Vec::new() };
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            let room = BODY_KEPT.saturating_sub(answer.body.len());
            answer.body.extend(frame.data_ref().into_iter().flatten().take(room));
        }
        self.idle.lock().push(sender);
        Ok(answer)
    }

    /// Failing to connect is no answer, but an idle connection that has ended means nothing.
    async fn connection(&self) -> anyhow::Result<Connection> {
        loop {
            let idle = self.idle.lock().pop();
            let Some(mut idle) = idle else { return self.connect().await };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect((self.name.as_str(), self.port))
            .await
            .with_context(|| format!("cannot connect to {}:{}", self.name, self.port))?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection, that is when the sender is dropped or the peer closes.
        drop(tokio::spawn(driver));
        Ok(sender)
    }
}

/// Our proxy's own word, else what every proxy of the mesh says.
fn reason(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(REASON).or_else(|| headers.get(PROXY_ERROR))?;
    Some(String::from_utf8_lossy(said.as_bytes()).into_owned())
}

/// Enough to know who answered.
const BODY_KEPT: usize = 256;
