use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to a server that can be frozen and cut, while others go on to use it.
pub struct Proxy {
    pub address: String,
    frozen: watch::Sender<bool>,
    cut: Arc<AtomicBool>,
    cuts: watch::Sender<()>,
}

impl Proxy {
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let this = Self {
            address: listener.local_addr().expect("bound").to_string(),
            frozen: watch::Sender::new(false),
            cut: Arc::default(),
            cuts: watch::Sender::new(()),
        };
        let server = server.to_owned();
        let (frozen, cut, cuts) = (this.frozen.clone(), this.cut.clone(), this.cuts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if cut.load(SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let mut cuts = cuts.subscribe();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let there = pass(from_client, to_server, frozen.subscribe());
                let back = pass(from_server, to_client, frozen.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = there => {}
                        () = back => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        this
    }

    /// Where it stands for a PostgreSQL.
    pub fn database_url(&self) -> String {
        format!("postgres://postgres:postgres@{}/postgres", self.address)
    }

    /// Nothing passes, and no connection ends.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// All connections end, and new ones at once.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, SeqCst);
        self.cuts.send_replace(());
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
