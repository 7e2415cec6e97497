//! Servers that tell each client who they are and how they see it, and clients that ask.

use portcullis_agent::lab::Lab;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) struct Teller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Tells by TCP and UDP: `name client`.
pub(crate) fn tell(lab: &Lab, namespace: &str, name: &str, at: SocketAddr) -> Teller {
    // A child that another test starts has a copy of an earlier server's sockets until it runs its program.
    let bind = || {
        for _ in 0..50 {
            match (TcpListener::bind(at), UdpSocket::bind(at)) {
                (Ok(tcp), Ok(udp)) => return Ok((tcp, udp)),
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
        Ok((TcpListener::bind(at)?, UdpSocket::bind(at)?))
    };
    let (tcp, udp) = lab.inside(namespace, bind).unwrap();
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let name = name.to_owned();
    let thread = thread::spawn(move || {
        while !seen.load(Ordering::Relaxed) {
            while let Ok((mut stream, from)) = tcp.accept() {
                let _ = stream.write_all(format!("{name} {from}").as_bytes());
            }
            let mut buffer = [0; 4096];
            while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(format!("{name} {from}").as_bytes(), from);
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    Teller { stop, thread: Some(thread) }
}

/// Every address of a family, any port.
pub(crate) fn any(to: SocketAddr) -> SocketAddr {
    if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() }
}

/// What a teller says, by a connection.
pub(crate) fn ask_tcp(to: SocketAddr, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The same by a datagram of a connected socket, so that errors come back to it.
pub(crate) fn ask_udp(socket: &UdpSocket, to: SocketAddr, patience: Duration) -> io::Result<String> {
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    socket.send(b"hello")?;
    let mut buffer = [0; 4096];
    let n = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
}
