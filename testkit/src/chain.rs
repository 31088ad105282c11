//! The whole chain: a file, a ggated that exports it, and providers that
//! ggatec makes of it.

use crate::process::{Running, Sandbox, free_port, wait_for, wait_for_port};
use nix::sys::signal::Signal;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A file and its server in a sandbox.
#[derive(Debug)]
pub struct Chain {
    /// Where everything runs.
    pub sandbox: Sandbox,
    /// The exported file.
    pub image: PathBuf,
    /// Where ggated listens.
    pub server: SocketAddr,
    ggated: Option<Running>,
}

impl Chain {
    /// Exports an empty file of `size` bytes.
    pub fn new(size: u64) -> Self {
        let sandbox = Sandbox::new();
        let image = sandbox.file("disk.img");
        File::create(&image)
            .and_then(|file| file.set_len(size))
            .expect("an image");
        sandbox.write("exports", format!("127.0.0.1 RW {}\n", image.display()));
        let mut chain = Self {
            sandbox,
            image,
            server: ([127, 0, 0, 1], free_port()).into(),
            ggated: None,
        };
        chain.start_server();
        chain
    }

    /// Starts ggated on its port; returns when it listens.
    pub fn start_server(&mut self) {
        let port = self.server.port().to_string();
        let args = ["-v", "-p", &port, "-F", "pid", "exports"];
        self.ggated = Some(self.sandbox.spawn("ggated", args));
        wait_for_port(self.server);
    }

    /// Kills ggated with SIGKILL.
    pub fn kill_server(&mut self) {
        let ggated = self.ggated.take().expect("a running server");
        ggated.kill9().expect_signal(Signal::SIGKILL);
    }

    /// Runs `ggatec OPTIONS -p PORT 127.0.0.1 IMAGE`.
    pub fn ggatec(&self, options: &[&str]) -> Running {
        self.ggatec_via(self.server.port(), options)
    }

    /// The same through somebody who listens on another port of 127.0.0.1.
    pub fn ggatec_via(&self, port: u16, options: &[&str]) -> Running {
        let port = port.to_string();
        let image = self.image.to_str().expect("a path in UTF-8");
        let mut args = options.to_vec();
        args.extend(["-p", &port, "127.0.0.1", image]);
        self.sandbox.spawn("ggatec", args)
    }

    /// The socket of a provider, once it is there.
    pub fn socket(&self, provider: &str) -> PathBuf {
        let socket = self.sandbox.run_dir().join(provider);
        wait_for("a provider", || socket.exists().then_some(()));
        socket
    }

    /// What `ggatec list` prints.
    pub fn list(&self, options: &[&str]) -> String {
        let args = [&["list"], options].concat();
        self.sandbox.run("ggatec", args).expect_code(0).stdout
    }
}
