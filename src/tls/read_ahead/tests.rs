use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Hands out `chunks` one per read, as far as the reader has room, with a pause after each, and notes how
/// large each read was allowed to be.
struct Chunks {
    chunks: Vec<Vec<u8>>,
    pause: bool,
    rooms: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Chunks {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.pause = !this.pause;
        if this.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.rooms.lock().unwrap().push(out.remaining());
        if let Some(chunk) = this.chunks.first_mut() {
            let count = chunk.len().min(out.remaining());
            out.put_slice(&chunk[..count]);
            chunk.drain(..count);
            if chunk.is_empty() {
                this.chunks.remove(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn chunks(sizes: &[usize]) -> (ReadAhead<Chunks>, Arc<Mutex<Vec<usize>>>, Vec<u8>) {
    let mut next = 0u8;
    let mut chunk = |size: &usize| {
        let bytes = (0..*size).map(|_| {
            next = next.wrapping_mul(31).wrapping_add(7);
            next
        });
        bytes.collect::<Vec<u8>>()
    };
    let chunks: Vec<_> = sizes.iter().map(&mut chunk).collect();
    let whole = chunks.concat();
    let rooms = Arc::new(Mutex::new(Vec::new()));
    let source = Chunks { chunks, pause: false, rooms: rooms.clone() };
    (ReadAhead::new(source), rooms, whole)
}

async fn drain(reader: &mut ReadAhead<Chunks>, step: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; step];
    loop {
        let count = reader.read(&mut piece).await.unwrap();
        if count == 0 {
            return all;
        }
        all.extend_from_slice(&piece[..count]);
    }
}

#[tokio::test]
async fn short_reads_need_no_buffer() {
    let (mut reader, rooms, whole) = chunks(&[100, 2000, 4095, 1]);
    assert_eq!(drain(&mut reader, DIRECT).await, whole);
    assert!(rooms.lock().unwrap().iter().all(|room| *room == DIRECT));
    assert_eq!(reader.buf.capacity(), 0);
}

#[tokio::test]
async fn a_bulk_transfer_is_read_in_large_pieces_and_the_buffer_goes_when_it_ends() {
    let (mut reader, rooms, whole) = chunks(&[1 << 20]);
    let mut start = vec![0; 1 << 20];
    for piece in start.chunks_mut(DIRECT) {
        reader.read_exact(piece).await.unwrap();
    }
    assert_eq!(start, whole);
    let largest = rooms.lock().unwrap().iter().copied().max();
    assert!(largest >= Some(LARGEST) && largest < Some(2 * LARGEST), "{largest:?}");
    assert!(rooms.lock().unwrap().len() < 30, "{} reads", rooms.lock().unwrap().len());
    assert!(futures_util::poll!(pin!(reader.read(&mut [0; DIRECT]))).is_pending());
    assert_eq!(reader.buf.capacity(), 0);
}

#[tokio::test]
async fn writes_reach_the_socket_in_one_vectored_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let mut stream = ReadAhead::new(client);
    assert!(stream.is_write_vectored());
    let count =
        stream.write_vectored(&[io::IoSlice::new(b"two "), io::IoSlice::new(b"parts")]).await.unwrap();
    assert_eq!(count, 9);
    stream.shutdown().await.unwrap();
    let mut got = String::new();
    far.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "two parts");
}

proptest! {
    #[test]
    fn the_bytes_are_the_same_however_they_are_cut(
        sizes in prop::collection::vec(1usize..200_000, 0..8),
        step in 1usize..20_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut reader, _, whole) = chunks(&sizes);
        prop_assert_eq!(runtime.block_on(drain(&mut reader, step)), whole);
    }
}
