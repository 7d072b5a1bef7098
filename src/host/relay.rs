//! Connections of this machine, handed on to a guest byte by byte.
//!
//! A thread for each direction: a connection whose other end is slow holds up nobody else, and one
//! half that is closed leaves the other open, as protocols that shut down one direction need it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Most connections at a time; each has two threads and two buffers.
const MOST: usize = 1024;
const BUFFER: usize = 64 << 10;
/// The buffers are not on the stack, and nothing here goes deep.
const STACK: usize = 128 << 10;

/// The guest's end of a connection.
#[derive(Debug)]
pub enum Far {
    /// The guest itself.
    Tcp(TcpStream),
    /// A tunnel to it.
    Unix(UnixStream),
}

/// What happens to connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayEvent {
    /// A client came.
    Accepted,
    /// There is no way to the guest for it: why.
    Failed(String),
    /// There are too many already: it was sent away.
    Full,
}

/// Makes the guest's end of a connection.
pub type Connect = dyn Fn() -> io::Result<Far> + Send + Sync;
/// Is told what happens.
pub type Tell = dyn Fn(RelayEvent) + Send + Sync;

impl Far {
    fn pair(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    fn shutdown(&self, how: Shutdown) {
        // Who has gone already cannot be told.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }

    fn prepare(&self) {
        if let Self::Tcp(stream) = self {
            // A peer that vanished without a word is found out in the end.
            let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
            let _ = stream.set_nodelay(true);
        }
    }
}

impl Read for Far {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Far {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes connections until the process ends; each one on threads of its own.
///
/// # Errors
/// If no thread can be started.
pub fn serve(listener: TcpListener, connect: Arc<Connect>, tell: Arc<Tell>) -> io::Result<()> {
    let spawned = thread::Builder::new().name("relay".to_owned());
    spawned
        .spawn(move || accept_all(&listener, &connect, &tell))
        .map(drop)
}

fn accept_all(listener: &TcpListener, connect: &Arc<Connect>, tell: &Arc<Tell>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            // The client has gone again, or the process has too many files open for a while.
            Err(_) => {
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST {
            open.fetch_sub(1, Ordering::SeqCst);
            tell(RelayEvent::Full);
            continue;
        }
        tell(RelayEvent::Accepted);
        let (connect, told, held) = (Arc::clone(connect), Arc::clone(tell), Arc::clone(&open));
        let one = move || {
            if let Err(error) = connect().and_then(|guest| relay(client, guest)) {
                told(RelayEvent::Failed(error.to_string()));
            }
            held.fetch_sub(1, Ordering::SeqCst);
        };
        if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(one) {
            open.fetch_sub(1, Ordering::SeqCst);
            tell(RelayEvent::Failed(error.to_string()));
        }
    }
}

/// Copies both ways until both are at their end.
///
/// # Errors
/// If there is no second thread or file for it; what the two ends do is no error.
pub fn relay(client: TcpStream, guest: Far) -> io::Result<()> {
    let client = Far::Tcp(client);
    client.prepare();
    guest.prepare();
    let (client_in, guest_in) = (client.pair()?, guest.pair()?);
    let back = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || pump(guest_in, client))?;
    pump(client_in, guest);
    let _ = back.join();
    Ok(())
}

/// Copies one way. At its end only this direction is closed; when either end breaks, both are.
fn pump(mut from: Far, mut to: Far) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.shutdown(Shutdown::Write),
            Ok(got) => {
                if to.write_all(&buffer[..got]).is_err() {
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    from.shutdown(Shutdown::Both);
    to.shutdown(Shutdown::Both);
}

/// Connects to a guest, waiting a bounded time: a guest that is booting answers nothing at all.
///
/// # Errors
/// What the system says.
pub fn connect_tcp(address: SocketAddr, patience: Duration) -> io::Result<Far> {
    TcpStream::connect_timeout(&address, patience).map(Far::Tcp)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    /// A server that answers what it got, in upper case, once the client has said all.
    fn shouting_server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                thread::spawn(move || {
                    let mut said = Vec::new();
                    let _ = client.read_to_end(&mut said);
                    said.make_ascii_uppercase();
                    let _ = client.write_all(&said);
                });
            }
        });
        address
    }

    struct Front {
        address: SocketAddr,
        told: Arc<Mutex<Vec<RelayEvent>>>,
    }

    fn front_of(guest: SocketAddr) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let told: Arc<Mutex<Vec<RelayEvent>>> = Arc::default();
        let kept = Arc::clone(&told);
        let connect = Arc::new(move || connect_tcp(guest, Duration::from_secs(5)));
        let tell = Arc::new(move |event| kept.lock().unwrap().push(event));
        serve(listener, connect, tell).unwrap();
        Front { address, told }
    }

    fn ask(address: SocketAddr, text: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn one_half_can_be_closed_before_the_other() {
        let front = front_of(shouting_server());
        assert_eq!(ask(front.address, b"hello"), b"HELLO");
        assert_eq!(front.told.lock().unwrap()[..], [RelayEvent::Accepted]);
    }

    #[test]
    fn many_at_a_time_and_each_gets_its_own() {
        let front = front_of(shouting_server());
        thread::scope(|scope| {
            for n in 0..60 {
                let address = front.address;
                scope.spawn(move || {
                    let text = format!("text {n} ").repeat(20_000);
                    assert!(ask(address, text.as_bytes()) == text.to_uppercase().as_bytes());
                });
            }
        });
    }

    #[test]
    fn broken_slow_and_silent_clients_disturb_nobody() {
        let front = front_of(shouting_server());
        let silent = TcpStream::connect(front.address).unwrap();
        for _ in 0..50 {
            let mut broken = TcpStream::connect(front.address).unwrap();
            broken.write_all(b"half a wo").unwrap();
            // Closing with a linger time of nothing is a reset.
            rustix::net::sockopt::set_socket_linger(&broken, Some(Duration::ZERO)).unwrap();
        }
        let mut deaf = TcpStream::connect(front.address).unwrap();
        deaf.write_all(&vec![b'x'; 1 << 20]).unwrap();
        deaf.shutdown(Shutdown::Write).unwrap();
        assert_eq!(ask(front.address, b"still there"), b"STILL THERE");
        drop((silent, deaf));
        assert_eq!(ask(front.address, b"and now"), b"AND NOW");
    }

    #[test]
    fn a_guest_that_does_not_listen_is_told_and_the_client_let_go() {
        // Not one that was free a moment ago: the next test may have it by now.
        let front = front_of("127.0.0.1:1".parse().unwrap());
        assert_eq!(ask(front.address, b""), b"");
        let begin = Instant::now();
        while front.told.lock().unwrap().len() < 2 {
            assert!(begin.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(10));
        }
        let told = front.told.lock().unwrap();
        assert!(matches!(&told[1], RelayEvent::Failed(why) if why.contains("refused")));
    }
}
