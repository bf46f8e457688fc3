//! A client that sends bytes and reads messages, and knows nothing of their meaning.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Parse, Sync};
use pgwire::messages::simplequery::Query;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing in these tests takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message: its type and its body.
pub(super) type Answer = (char, Vec<u8>);

pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) pid: i32,
    pub(super) key: i32,
}

/// The packet that begins a connection.
pub(super) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u32(version);
    for (name, value) in parameters {
        body.put_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.put_u8(0);
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

/// A packet that is only a code.
pub(super) fn request(code: u32) -> Vec<u8> {
    [8u32.to_be_bytes(), code.to_be_bytes()].concat()
}

pub(super) fn encode(message: &impl Message) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes).expect("encodes");
    bytes.to_vec()
}

fn name(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}
pub(super) fn query(text: &str) -> Vec<u8> {
    encode(&Query::new(text.to_owned()))
}
pub(super) fn parse(statement: &str, text: &str) -> Vec<u8> {
    encode(&Parse::new(name(statement), text.to_owned(), Vec::new()))
}
/// Bind with text parameters and results.
pub(super) fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    let values = values.iter().map(|value| Some(value.as_bytes().to_vec().into())).collect();
    encode(&Bind::new(name(portal), name(statement), vec![], values, vec![]))
}
pub(super) fn describe(kind: char, what: &str) -> Vec<u8> {
    encode(&Describe::new(kind as u8, name(what)))
}
pub(super) fn close(kind: char, what: &str) -> Vec<u8> {
    encode(&Close::new(kind as u8, name(what)))
}
pub(super) fn execute(portal: &str, rows: i32) -> Vec<u8> {
    encode(&Execute::new(name(portal), rows))
}
pub(super) fn sync() -> Vec<u8> {
    encode(&Sync::new())
}
/// A message of this type with this body.
pub(super) fn raw(tag: char, body: &[u8]) -> Vec<u8> {
    [&[tag as u8][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

impl Client {
    /// A socket on which nothing has been said.
    pub(super) async fn bare(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connects");
        Self { stream, pid: 0, key: 0 }
    }

    /// A session.
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::bare(address).await;
        client.send(&startup(3 << 16, &[("user", "tester"), ("database", "lodedb")])).await;
        for (tag, body) in client.until_ready().await {
            if tag == 'K' {
                client.pid = i32::from_be_bytes(body[..4].try_into().expect("4"));
                client.key = i32::from_be_bytes(body[4..].try_into().expect("4"));
            }
        }
        client
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("is sent");
    }

    /// The next message; `None` when the server has closed.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        let read = async {
            let mut header = [0; 5];
            self.stream.read_exact(&mut header).await.ok()?;
            let length = u32::from_be_bytes(header[1..].try_into().expect("4"));
            let mut body = vec![0; length as usize - 4];
            self.stream.read_exact(&mut body).await.ok()?;
            Some((header[0] as char, body))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time")
    }

    /// The messages up to ReadyForQuery, or the end of the connection.
    pub(super) async fn until_ready(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer().await {
            let ready = answer.0 == 'Z';
            answers.push(answer);
            if ready {
                break;
            }
        }
        answers
    }

    /// What the server answers to these bytes, up to ReadyForQuery.
    pub(super) async fn ask(&mut self, bytes: &[u8]) -> Vec<Answer> {
        self.send(bytes).await;
        self.until_ready().await
    }

    /// The same in short: see [`shown`].
    pub(super) async fn ask_shown(&mut self, bytes: &[u8]) -> String {
        shown(&self.ask(bytes).await)
    }

    /// Everything until the server closes, in short.
    pub(super) async fn rest(&mut self) -> String {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer().await {
            answers.push(answer);
        }
        shown(&answers)
    }
}

/// Messages in short: types, with the text of rows and tags, the code of errors and the status of ReadyForQuery.
pub(super) fn shown(answers: &[Answer]) -> String {
    let shown: Vec<String> = answers
        .iter()
        .map(|(tag, body)| match tag {
            'Z' => format!("Z{}", body[0] as char),
            'C' => format!("C({})", String::from_utf8_lossy(&body[..body.len() - 1])),
            'E' | 'N' => format!("{tag}({})", field(body, 'C')),
            'D' => format!("D({})", row(body).join(",")),
            'd' => format!("d({})", String::from_utf8_lossy(body).trim_end()),
            _ => tag.to_string(),
        })
        .collect();
    shown.join(" ")
}

/// One field of an error.
pub(super) fn field(body: &[u8], code: char) -> String {
    body.split(|&byte| byte == 0)
        .find(|field| field.first() == Some(&(code as u8)))
        .map_or(String::new(), |field| String::from_utf8_lossy(&field[1..]).into_owned())
}

/// The values of a row in text.
pub(super) fn row(mut body: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    let count = u16::from_be_bytes([body[0], body[1]]);
    body = &body[2..];
    for _ in 0..count {
        let length = i32::from_be_bytes(body[..4].try_into().expect("4"));
        body = &body[4..];
        let (value, rest) = body.split_at(length.max(0) as usize);
        values.push(if length < 0 { "<null>".to_owned() } else { String::from_utf8_lossy(value).into_owned() });
        body = rest;
    }
    values
}
