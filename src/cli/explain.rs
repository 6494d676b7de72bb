//! `causeway explain`: why a pod's policy lets a caller in, or refuses it.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::fetch;

/// Say how a pod's policy judges a caller, and why.
///
/// Asks the pod's own proxy, whose admin port answers this to the pod itself alone: run it in the pod (kubectl exec), or
/// through a port that kubectl port-forward leads to its 4191. Without --client and --sni the caller is one that comes
/// in plaintext.
#[derive(clap::Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The pod's port that is called.
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// The caller's address.
    #[arg(long, value_name = "ADDRESS")]
    pub src: IpAddr,
    /// The identity that the caller proves; empty for one without a certificate.
    #[arg(long, value_name = "IDENTITY", conflicts_with = "sni")]
    pub client: Option<String>,
    /// The name that the caller's TLS is for, if it is not for the pod.
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Of the request, with its query.
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// A header of the request; may be given several times.
    #[arg(long, value_name = "NAME:VALUE")]
    pub header: Vec<String>,
    /// The address of the pod's admin port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4191")]
    pub admin: String,
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: super::check::Format,
}

/// For one answer, and for the control plane to speak of a port that nobody has called yet.
const LIMIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks, and prints.
pub fn run(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(args))?;
    match args.output {
        super::check::Format::Table => out.write_all(page(&answer).as_bytes())?,
        super::check::Format::Json => writeln!(out, "{answer:#}")?,
    }
    Ok(())
}

async fn ask(args: &ExplainArgs) -> anyhow::Result<Value> {
    let path = format!("/explain?{}", query(args));
    let end = Instant::now() + LIMIT;
    loop {
        let answer = fetch::get(&args.admin, &path, LIMIT).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status != http::StatusCode::OK {
            bail!("{} answers {}: {}", args.admin, answer.status, printable(text.trim()));
        }
        let answer: Value = serde_json::from_str(&text)?;
        if answer["answered"] == true || Instant::now() >= end {
            return Ok(answer);
        }
        sleep(PAUSE).await;
    }
}

fn query(args: &ExplainArgs) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("port", &args.port.to_string()).append_pair("src", &args.src.to_string());
    let given = [
        ("client", &args.client),
        ("sni", &args.sni),
        ("method", &args.method),
        ("path", &args.path),
        ("host", &args.host),
    ];
    for (name, value) in given {
        value.iter().for_each(|value| {
            query.append_pair(name, value);
        });
    }
    query.extend_pairs(args.header.iter().map(|header| ("header", header)));
    query.finish()
}

fn page(answer: &Value) -> String {
    let mut page = format!(
        "port {} is judged by {} ({})\n",
        answer["port"],
        name(&answer["server"]),
        word(&answer["protocol"])
    );
    if answer["answered"] != true {
        page += "  the control plane has not spoken of it: this is the proxy's default\n";
    }
    for (what, decided) in
        [("a request", &answer["request"]), ("a connection that is not HTTP", &answer["connection"])]
    {
        if !decided.is_null() {
            page += &decision(what, decided);
        }
    }
    page
}

fn decision(what: &str, decided: &Value) -> String {
    let verdict = if decided["allowed"] == true { "is let in" } else { "is refused" };
    let mut lines = format!("{what} {verdict}: {}\n", word(&decided["why"]));
    if !decided["readAs"].is_null() {
        lines += &format!("  for it may be read as {}\n", word(&decided["readAs"]));
    }
    for one in decided["tried"].as_array().into_iter().flatten() {
        let why = if one["why"].is_null() { "lets it in".to_owned() } else { word(&one["why"]) };
        lines += &format!("  {}: {why}\n", name(&one["authorization"]));
    }
    lines
}

fn name(of: &Value) -> String {
    format!("{}/{}", word(&of["kind"]), word(&of["name"]))
}

fn word(of: &Value) -> String {
    printable(of.as_str().unwrap_or_default())
}

/// Nothing from elsewhere moves the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ExplainArgs,
    }

    fn parse(args: &[&str]) -> ExplainArgs {
        Cli::try_parse_from([&["explain"], args].concat()).unwrap().args
    }

    #[test]
    fn flags_become_the_question() {
        let args = parse(&[
            "8080", "--src", "10.0.0.1", "--client", "web.ns", "--method", "POST", "--path", "/a?b=c&d",
            "--host", "bb", "--header", "x: 1", "--header", "y:2",
        ]);
        assert_eq!(
            query(&args),
            "port=8080&src=10.0.0.1&client=web.ns&method=POST&path=%2Fa%3Fb%3Dc%26d&host=bb&header=x%3A+1&header=y%3A2"
        );
        assert_eq!(query(&parse(&["1", "--src", "::1", "--client", ""])), "port=1&src=%3A%3A1&client=");
        for bad in [
            &["0", "--src", "::1"][..],
            &["1"],
            &["1", "--src", "web"],
            &["1", "--src", "::1", "--client", "a", "--sni", "b"],
        ] {
            assert!(Cli::try_parse_from([&["explain"], bad].concat()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_printed_with_each_authorization() {
        let named = |kind: &str, name: &str| json!({ "group": "", "kind": kind, "name": name });
        let answer = json!({
            "port": 8080, "server": named("server", "b\u{1b}b"), "protocol": "http2", "answered": false,
            "request": {
                "allowed": false, "why": "no authorization of httproute/admin lets the client in", "readAs": "\"/admin\"",
                "tried": [{ "authorization": named("authorizationpolicy", "web"), "failed": "no-tls", "why": "it wants TLS" },
                          { "authorization": named("default", "localhost"), "failed": null, "why": null }],
            },
            "connection": { "allowed": false, "why": "the port is for HTTP alone", "readAs": null, "tried": [] },
        });
        assert_eq!(
            page(&answer),
            "port 8080 is judged by server/b\u{fffd}b (http2)\n  \
               the control plane has not spoken of it: this is the proxy's default\n\
             a request is refused: no authorization of httproute/admin lets the client in\n  \
               for it may be read as \"/admin\"\n  \
               authorizationpolicy/web: it wants TLS\n  \
               default/localhost: lets it in\n\
             a connection that is not HTTP is refused: the port is for HTTP alone\n"
        );
    }

    /// Answers one request after the other with these bodies.
    async fn admin(status: u16, bodies: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            for body in bodies {
                let (mut io, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = io.read(&mut head).await;
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = io.write_all((head + &body).as_bytes()).await;
            }
        });
        addr
    }

    #[tokio::test]
    async fn a_port_that_is_not_known_yet_is_asked_about_again() {
        let answer = |answered: bool| json!({ "port": 1, "answered": answered }).to_string();
        let addr = admin(200, vec![answer(false), answer(true)]).await;
        let args = parse(&["1", "--src", "::1", "--admin", &addr]);
        assert_eq!(ask(&args).await.unwrap(), json!({ "port": 1, "answered": true }));
        let addr = admin(403, vec!["Requests are only permitted from localhost.".into()]).await;
        let why = ask(&parse(&["1", "--src", "::1", "--admin", &addr])).await.unwrap_err().to_string();
        assert!(why.contains("answers 403") && why.contains("only permitted from localhost"), "{why}");
    }
}
