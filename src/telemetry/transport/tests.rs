use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::ResourceRef;

const RETAIN: Duration = Duration::from_secs(600);
const DEADLINE: Duration = Duration::from_secs(10);

fn page(transports: &Transports) -> String {
    let mut page = Page::default();
    transports.render(&mut page);
    page.finish()
}

fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
}

#[test]
fn label_sets_are_those_of_a_scrape() {
    let transports = Transports::new(&Budget::new(RETAIN));
    let server = ResourceRef::object("policy.linkerd.io", "server", "default");
    let peer = Peer::Plaintext(NoTls::NoTlsFromRemote);
    let target = "0.0.0.0:4191".parse().unwrap();
    let _held = [
        transports.accept_inbound(&InboundTarget { target, server: &server, peer: &peer }).open(),
        transports.accept_outbound("10.96.0.20:9000".parse().unwrap()).open(),
        transports.connect_inbound().open(),
        transports
            .connect_outbound(
                Some(&"echo.lab.svc.cluster.local:9000".parse().unwrap()),
                &Endpoint::plain("10.77.0.20:9000".parse().unwrap()),
                NoServerTls::NotProvidedByServiceDiscovery,
            )
            .open(),
    ];
    let text = page(&transports);
    for labels in [
        r#"direction="inbound",peer="src",target_addr="0.0.0.0:4191",target_ip="0.0.0.0",target_port="4191",tls="no_identity",no_tls_reason="no_tls_from_remote",srv_group="policy.linkerd.io",srv_kind="server",srv_name="default",srv_port="4191""#,
        r#"direction="outbound",peer="src",target_addr="10.96.0.20:9000",target_ip="10.96.0.20",target_port="9000",tls="no_identity",no_tls_reason="loopback""#,
        r#"direction="inbound",peer="dst",tls="no_identity",no_tls_reason="loopback""#,
        r#"direction="outbound",peer="dst",authority="echo.lab.svc.cluster.local:9000",target_addr="10.77.0.20:9000",target_ip="10.77.0.20",target_port="9000",tls="no_identity",no_tls_reason="not_provided_by_service_discovery""#,
    ] {
        assert_line(&text, &format!("tcp_open_total{{{labels}}} 1"));
        assert_line(&text, &format!("tcp_open_connections{{{labels}}} 1"));
    }
}

#[test]
fn a_dropped_connection_is_a_clean_close_and_late_labels_keep_the_bytes() {
    let transports = Transports::new(&Budget::new(RETAIN));
    let connection = transports.connect_inbound().open_after(7, 3);
    connection.read(1);
    drop(connection);
    transports.connect_inbound().open().close(Some(Errno(104)));
    let text = page(&transports);
    let labels = r#"direction="inbound",peer="dst",tls="no_identity",no_tls_reason="loopback""#;
    for line in [
        format!("tcp_open_total{{{labels}}} 2"),
        format!("tcp_open_connections{{{labels}}} 0"),
        format!("tcp_read_bytes_total{{{labels}}} 8"),
        format!("tcp_write_bytes_total{{{labels}}} 3"),
        format!("tcp_close_total{{{labels},errno=\"\"}} 1"),
        format!("tcp_close_total{{{labels},errno=\"ECONNRESET\"}} 1"),
    ] {
        assert_line(&text, &line);
    }
}

#[tokio::test]
async fn bytes_and_resets_of_a_socket_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let transports = Transports::new(&Budget::new(RETAIN));
    let transport = transports.connect_inbound();
    let mut near = Metered::new(listener.accept().await.unwrap().0, transport.open());

    let exchange = async {
        far.write_all(b"hello").await.unwrap();
        let mut five = [0; 5];
        near.read_exact(&mut five).await.unwrap();
        near.write_all(b"hi").await.unwrap();
        let mut two = [0; 2];
        far.read_exact(&mut two).await.unwrap();
        assert_eq!((&five, &two), (b"hello", b"hi"));
        // No lingering: the far side sends a reset instead of an end.
        socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        near.read(&mut five).await.unwrap_err();
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap();

    assert_eq!((transport.read.value(), transport.written.value()), (5, 2));
    assert_eq!(transport.open.value(), 0, "an error closes at once");
    drop(near);
    assert_eq!(transport.open.value(), 0, "and only once");
    assert_line(
        &page(&transports),
        r#"tcp_close_total{direction="inbound",peer="dst",tls="no_identity",no_tls_reason="loopback",errno="ECONNRESET"} 1"#,
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_connection_keeps_its_series() {
    let transports = Transports::new(&Budget::new(RETAIN));
    let connection = transports.connect_inbound().open();
    page(&transports);
    tokio::time::advance(RETAIN * 2).await;
    assert!(page(&transports).contains("tcp_open_connections{"));
    drop(connection);
    page(&transports);
    tokio::time::advance(RETAIN * 2).await;
    assert_eq!(page(&transports), "# EOF\n");
}
