//! `ggatec create` and `ggatec rescue`: a provider whose requests a server
//! answers.

use ggate::daemon::{self, Readiness, Signal, on_signals};
use ggate::errno::words;
use ggate::gate::Ggctl;
use ggate::gate::role::Role;
use ggate::gate::serve::{self, Ended};
use ggate::log;
use ggate::provider::{ProviderError, Wanted};
use ggate::wire::InstanceId;
use nix::errno::Errno;
use std::io;
use std::sync::Arc;

use crate::client::Client;
use crate::connect::{ConnectError, FIRST_PATIENCE, Server, Session};
use crate::link::{self, Supervisor};
use crate::options::Remote;
use crate::receive::{Receiver, Replies};

/// Why nothing is imported, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The system refused something.
    #[error("Cannot {}: {}", .0, words(.1))]
    System(&'static str, #[source] io::Error),
    /// The gate does not hand out requests.
    #[error("Taking requests failed: {}", .0.desc())]
    Start(Errno),
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> ImportError {
    move |error| ImportError::System(doing, error)
}

/// The program: opens the gate and serves.
pub(crate) fn run(remote: Remote, wanted: Wanted, ready: Readiness) -> Result<(), ImportError> {
    let ctl = wanted.open()?;
    daemon::protect();
    let (client, server, session) = prepare(ctl, remote, wanted)?;
    let reporting = Arc::clone(&client);
    on_signals(&[Signal::Report], move |_| reporting.report()).map_err(system("catch signals"))?;
    serve(&client, server, session, ready)
}

/// Makes or takes over a provider on this gate and runs until it is destroyed.
/// The threads that wait for the server live as long as the process.
pub fn import(
    ctl: Box<dyn Ggctl>,
    remote: Remote,
    wanted: Wanted,
    ready: Readiness,
) -> Result<(), ImportError> {
    let (client, server, session) = prepare(ctl, remote, wanted)?;
    serve(&client, server, session, ready)
}

/// A session and a provider that nobody serves yet.
fn prepare(
    ctl: Box<dyn Ggctl>,
    remote: Remote,
    wanted: Wanted,
) -> Result<(Arc<Client>, Server, Session), ImportError> {
    let id = InstanceId::random().map_err(system("get random numbers"))?;
    let server = Server::new(remote, id);
    // Both handshakes come before CREATE: a taste must find somebody to answer.
    let session = server.connect(FIRST_PATIENCE)?;
    server.warn_if_clamped(&session);
    let gate = wanted.obtain(ctl, session.geometry, server.access, server.to_string())?;
    Ok((Arc::new(Client::new(gate)), server, session))
}

/// Starts the threads, leaves the terminal, and serves.
fn serve(
    client: &Arc<Client>,
    server: Server,
    session: Session,
    ready: Readiness,
) -> Result<(), ImportError> {
    let threads = system("start threads");
    let medium = session.geometry;
    let (number, _) = client.next_session(session.server);
    link::begin(client, number, session).map_err(system("use the connection"))?;
    let role = Arc::new(Role::<Option<Replies>>::new(None));
    let (holder, standby) = (Arc::clone(client), Arc::clone(client));
    let second = Arc::clone(&role);
    daemon::spawn("recvtd", move || role.hold(&mut Receiver::new(&holder))).map_err(&threads)?;
    daemon::spawn("recvtd", move || {
        second.stand_by(&mut Receiver::new(&standby));
    })
    .map_err(&threads)?;
    let sender = Arc::clone(client);
    daemon::spawn("sendtd", move || sender.send_stalled()).map_err(&threads)?;
    let supervisor = Supervisor::new(Arc::clone(client), server, medium);
    daemon::spawn("linktd", || supervisor.run()).map_err(&threads)?;
    ready.detach().map_err(system("leave the terminal"))?;
    let ended = serve::serve(&client.gate, &client.pool, client.as_ref(), "sendtd");
    match ended.map_err(&threads)? {
        Ended::Destroyed | Ended::Stopped => {
            log::info!("ggate{} was destroyed.", client.gate.unit);
            Ok(())
        }
        Ended::Failed(errno) => Err(ImportError::Start(errno)),
    }
}
