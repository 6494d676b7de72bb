//! What a pod can do to a name server that all pods share, and that others do not notice.

use std::time::Duration;

use tokio::net::TcpSocket;

use super::super::tcp::{CONNECTIONS, OF_ONE_SOURCE};
use super::*;

/// Long before anybody is given up for silence, and long enough for a busy machine.
const PROMPT: Duration = Duration::from_secs(3);

fn easy() -> Message {
    question("bb.mc-demo.svc.cluster.local.", RecordType::A)
}

/// A hundred addresses, or as many service records.
fn large() -> Message {
    question("ring.mc-demo.svc.cluster.local.", RecordType::SRV)
}

async fn connect(served: &Served, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    timeout(LIMIT, socket.connect(served.addr)).await.unwrap().unwrap()
}

/// An honest source's question over TCP and one over UDP.
async fn both_are_answered(served: &Served) {
    let asked = async {
        let mut io = connect(served, 250).await;
        assert_eq!(addresses(&ask_on(&mut io, &easy()).await), [served.bb]);
        let socket = UdpSocket::bind("127.0.0.250:0").await.unwrap();
        socket.connect(served.addr).await.unwrap();
        let answer = ask(&socket, &easy()).await;
        assert_eq!(addresses(&answer), [served.bb]);
    };
    timeout(PROMPT, asked).await.unwrap();
}

/// Whether the server has closed it. What it sent before is passed over.
async fn ended(io: &mut TcpStream, within: Duration) -> bool {
    let all = async { while io.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
    timeout(within, all).await.is_ok()
}

#[tokio::test]
async fn silent_connections_make_room_for_those_who_ask_and_never_are_more_than_there_are_places() {
    let served = serve().await;
    let mut silent = Vec::new();
    // Of eight sources as many as there are places, and of one more.
    for at in 0..CONNECTIONS + OF_ONE_SOURCE {
        silent.push(connect(&served, 1 + (at / OF_ONE_SOURCE) as u8).await);
    }
    both_are_answered(&served).await;
    let mut open = 0;
    for io in &mut silent {
        open += usize::from(!ended(io, Duration::from_millis(1)).await);
    }
    assert!((1..CONNECTIONS).contains(&open), "{open}");
}

#[tokio::test]
async fn a_source_with_all_its_places_taken_still_gets_answers_at_its_own_silent_ones_cost() {
    let served = serve().await;
    let mut other = connect(&served, 2).await;
    let mut silent = connect(&served, 1).await;
    let mut asking = Vec::new();
    for _ in 0..OF_ONE_SOURCE {
        let mut io = connect(&served, 1).await;
        assert_eq!(addresses(&ask_on(&mut io, &easy()).await), [served.bb]);
        asking.push(io);
    }
    assert!(ended(&mut silent, PROMPT).await);
    for io in asking.iter_mut().chain([&mut other]) {
        assert_eq!(addresses(&ask_on(io, &easy()).await), [served.bb]);
    }
}

#[tokio::test]
async fn half_a_message_and_one_byte_at_a_time_are_no_questions() {
    let served = serve().await;
    let mut trickle = connect(&served, 1).await;
    let mut half = connect(&served, 1).await;
    half.write_all(&framed(&easy())[..20]).await.unwrap();
    let mut asking = Vec::new();
    for _ in 2..OF_ONE_SOURCE {
        let mut io = connect(&served, 1).await;
        ask_on(&mut io, &easy()).await;
        asking.push(io);
    }
    trickle.write_all(&framed(&easy())[..1]).await.unwrap();
    // The places are taken, and these two would be the first to go although something came from them last.
    half.write_all(&framed(&easy())[20..21]).await.unwrap();
    let mut more = [connect(&served, 1).await, connect(&served, 1).await];
    assert!(ended(&mut trickle, PROMPT).await && ended(&mut half, PROMPT).await);
    for io in asking.iter_mut().chain(&mut more) {
        assert_eq!(addresses(&ask_on(io, &easy()).await), [served.bb]);
    }
}

#[tokio::test]
async fn a_message_that_no_question_can_be_is_not_waited_for() {
    let served = serve().await;
    let mut io = connect(&served, 1).await;
    io.write_u16(u16::MAX).await.unwrap();
    assert!(ended(&mut io, PROMPT).await);
}

#[tokio::test]
async fn who_asks_without_end_and_reads_nothing_holds_up_nobody_and_is_given_up() {
    let served = serve_with(Some(MANY)).await;
    let mut io = connect(&served, 1).await;
    let many = framed(&large()).repeat(200);
    let sending = tokio::spawn(async move {
        // Until the server takes no more, and then until it is gone.
        while io.write_all(&many).await.is_ok() {}
    });
    for _ in 0..20 {
        both_are_answered(&served).await;
    }
    timeout(LIMIT, sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_source_that_asks_too_much_is_told_to_come_over_tcp_and_others_notice_nothing() {
    let served = serve_with(Some(MANY)).await;
    let socket = socket(&served).await;
    let told_off = async {
        loop {
            let answer = ask(&socket, &large()).await;
            if answer.answers.is_empty() {
                return answer;
            }
        }
    };
    let told_off = timeout(LIMIT, told_off).await.unwrap();
    assert_eq!((told_off.metadata.truncation, told_off.queries.len()), (true, 1));
    assert_eq!(told_off.metadata.response_code, ResponseCode::NoError);
    assert_eq!(ask_by_tcp(&served, &large()).await.answers.len(), 100);
    both_are_answered(&served).await;
}

#[tokio::test]
async fn an_answer_is_not_larger_than_its_question_where_there_is_nothing_to_tell() {
    let served = serve().await;
    let socket = socket(&served).await;
    // Six hundred questions that all point at one long name.
    let mut packet = easy().to_vec().unwrap();
    packet[4..6].copy_from_slice(&600u16.to_be_bytes());
    packet.extend([0xc0, 12, 0, 1, 0, 1].repeat(599));
    socket.send(&packet).await.unwrap();
    let mut answer = [0; 4096];
    let length = timeout(LIMIT, socket.recv(&mut answer)).await.unwrap().unwrap();
    let code = Message::from_vec(&answer[..length]).unwrap().metadata.response_code;
    assert_eq!((length, code), (12, ResponseCode::FormErr));
}

#[tokio::test]
async fn a_service_with_more_addresses_than_a_message_can_hold_is_answered_with_some() {
    let all: Vec<_> = (0..5000).map(|at| format!("[10.77.{}.{}]", at / 250, at % 250 + 1)).collect();
    let endpoints: String = all.iter().map(|ip| format!("  - addresses: {ip}\n")).collect();
    let huge = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: huge, namespace: mc-demo}}\nspec: {{clusterIP: None, ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: huge-1\n  namespace: mc-demo\n  \
         labels: {{kubernetes.io/service-name: huge}}\naddressType: IPv4\nports: [{{port: 80}}]\nendpoints:\n{endpoints}"
    );
    let served = serve_with(Some(&huge)).await;
    let message = question("huge.mc-demo.svc.cluster.local.", RecordType::A);
    let cut = ask(&socket(&served).await, &message).await;
    assert!(cut.metadata.truncation && cut.answers.len() > 20, "{}", cut.answers.len());
    let more = ask_by_tcp(&served, &message).await;
    assert!(more.metadata.truncation && more.answers.len() > 1000, "{}", more.answers.len());
}
