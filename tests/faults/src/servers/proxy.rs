//! Stands between workers and Redis and falsifies answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of an answer. The request was carried out in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Honest = 0,
    /// Every third one is an error of a kind that a real server has.
    Errors = 1,
    /// Every hundredth ends in its middle, and with it the connection.
    Cuts = 2,
}

pub(crate) struct Proxy {
    address: String,
    mood: Arc<AtomicU8>,
    falsified: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(redis: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("redis://{}", listener.local_addr()?);
        let (mood, falsified) = (Arc::new(AtomicU8::new(0)), Arc::default());
        let behind = redis.trim_start_matches("redis://").to_owned();
        let task = tokio::spawn({
            let (mood, falsified) = (mood.clone(), Arc::clone(&falsified));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(server) = TcpStream::connect(&behind).await else {
                        continue;
                    };
                    let (mut asks, client) = client.into_split();
                    let (server, mut asked) = server.into_split();
                    tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut asks, &mut asked).await;
                    });
                    let (mood, falsified) = (mood.clone(), Arc::clone(&falsified));
                    tokio::spawn(async move { answers(server, client, &mood, &falsified).await });
                }
            }
        });
        Ok(Self {
            address,
            mood,
            falsified,
            task,
        })
    }

    pub(crate) fn url(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// How many answers were not what Redis said.
    pub(crate) fn falsified(&self) -> usize {
        self.falsified.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const ERRORS: [&[u8]; 3] = [
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to\r\n",
];

/// Passes answers on one by one.
async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mood: &AtomicU8,
    falsified: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut held, mut count) = (Vec::new(), 0_usize);
    while server.read_buf(&mut held).await? > 0 {
        while let Some(length) = answer(&held) {
            let whole: Vec<u8> = held.drain(..length).collect();
            count += 1;
            let mood = mood.load(Ordering::Relaxed);
            if mood == Mood::Errors as u8 && count.is_multiple_of(3) {
                falsified.fetch_add(1, Ordering::Relaxed);
                client.write_all(ERRORS[count / 3 % ERRORS.len()]).await?;
            } else if mood == Mood::Cuts as u8 && count.is_multiple_of(100) {
                falsified.fetch_add(1, Ordering::Relaxed);
                client.write_all(&whole[..length / 2]).await?;
                return client.shutdown().await;
            } else {
                client.write_all(&whole).await?;
            }
        }
    }
    Ok(())
}

/// How long the first answer is; `None` while its end is not there.
fn answer(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let number = || {
        let text = std::str::from_utf8(&bytes[1..line - 2]).ok()?;
        text.parse::<i64>().ok()
    };
    match bytes[0] {
        b'$' => match number()? {
            ..0 => Some(line),
            length => {
                let end = line + length as usize + 2;
                (bytes.len() >= end).then_some(end)
            }
        },
        b'*' => {
            let mut end = line;
            for _ in 0..number()?.max(0) {
                end += answer(&bytes[end..])?;
            }
            Some(end)
        }
        _ => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_redis_ends_it() {
        for (bytes, length) in [
            (&b"+OK\r\n:1\r\n"[..], Some(5)),
            (b":12\r\n", Some(5)),
            (b"$3\r\nabc\r\n+", Some(9)),
            (b"$-1\r\n+", Some(5)),
            (b"*2\r\n$1\r\na\r\n*1\r\n:7\r\n+", Some(19)),
            (b"*2\r\n$1\r\na\r\n*1\r\n:7", None),
            (b"$3\r\nab", None),
            (b"+O", None),
        ] {
            assert_eq!(answer(bytes), length, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
