//! A client that sends bytes and reads messages: what no driver would send, and what every driver hides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::server::PATIENCE;

/// A message: its type and its body.
pub(crate) type Answer = (char, Vec<u8>);

/// A socket to the server.
pub(crate) struct RawClient {
    /// The socket.
    pub(crate) stream: TcpStream,
}

/// A message of this type with this body.
pub(crate) fn message(tag: char, body: &[u8]) -> Vec<u8> {
    [&[tag as u8][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// The packet that begins a session.
pub(crate) fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = (3u32 << 16).to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

/// A Query message.
pub(crate) fn query(sql: &str) -> Vec<u8> {
    message('Q', format!("{sql}\0").as_bytes())
}

/// A Parse message; parameter types are left to the server.
pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message('P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// A Bind message with text parameters and results of one format (0 text, 1 binary).
pub(crate) fn bind(portal: &str, statement: &str, values: &[Option<&str>], format: u16) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0").into_bytes();
    body.extend_from_slice(&0u16.to_be_bytes());
    body.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            Some(value) => {
                body.extend_from_slice(&(value.len() as u32).to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
            None => body.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }
    body.extend_from_slice(&1u16.to_be_bytes());
    body.extend_from_slice(&format.to_be_bytes());
    message('B', &body)
}

/// A Describe message: `kind` is `S` or `P`.
pub(crate) fn describe(kind: char, name: &str) -> Vec<u8> {
    message('D', format!("{kind}{name}\0").as_bytes())
}

/// An Execute message; 0 rows is all of them.
pub(crate) fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message('E', &[format!("{portal}\0").as_bytes(), &rows.to_be_bytes()[..]].concat())
}

/// A Close message: `kind` is `S` or `P`.
pub(crate) fn close(kind: char, name: &str) -> Vec<u8> {
    message('C', format!("{kind}{name}\0").as_bytes())
}

/// A Sync message.
pub(crate) fn sync() -> Vec<u8> {
    message('S', &[])
}

impl RawClient {
    /// A socket on which nothing has been said.
    pub(crate) fn bare(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        Self { stream }
    }

    /// A session.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_as(address, "lodedb")
    }

    /// A session of another role.
    pub(crate) fn connect_as(address: SocketAddr, user: &str) -> Self {
        let mut client = Self::bare(address);
        let answers = client.ask(&startup(&[("user", user), ("database", "lodedb")]));
        assert_eq!(answers.last().map(|(tag, _)| *tag), Some('Z'), "no session: {}", shown(&answers));
        client
    }

    /// Sends bytes; the server may have closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // What becomes of it shows in the answers.
        let _ = self.stream.write_all(bytes);
    }

    /// The next message; `None` when the server has closed.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut header = [0; 5];
        if let Err(error) = self.stream.read_exact(&mut header) {
            let waited = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            assert!(!waited, "the server neither answers nor closes");
            return None;
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body).ok()?;
        Some((header[0] as char, body))
    }

    /// The messages up to ReadyForQuery, or the end of the connection.
    pub(crate) fn until_ready(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer() {
            let ready = answer.0 == 'Z';
            answers.push(answer);
            if ready {
                break;
            }
        }
        answers
    }

    /// What the server answers, up to ReadyForQuery.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Vec<Answer> {
        self.send(bytes);
        self.until_ready()
    }

    /// The same in short: see [`shown`].
    pub(crate) fn ask_shown(&mut self, bytes: &[u8]) -> String {
        shown(&self.ask(bytes))
    }

    /// Everything until the server closes, in short.
    pub(crate) fn rest(&mut self) -> String {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer() {
            answers.push(answer);
        }
        shown(&answers)
    }
}

/// Messages in short: types, with the text of rows and tags, the code of errors and the status of ReadyForQuery.
/// Notices and parameter changes are left out.
pub(crate) fn shown(answers: &[Answer]) -> String {
    let shown: Vec<String> = answers
        .iter()
        .filter(|(tag, _)| !matches!(tag, 'N' | 'S'))
        .map(|(tag, body)| match tag {
            'Z' => format!("Z{}", body[0] as char),
            'C' => format!("C({})", String::from_utf8_lossy(&body[..body.len() - 1])),
            'E' => format!("E({})", field(body, 'C')),
            'D' => format!("D({})", values(body).join(",")),
            _ => tag.to_string(),
        })
        .collect();
    shown.join(" ")
}

/// One field of an error.
pub(crate) fn field(body: &[u8], code: char) -> String {
    body.split(|&byte| byte == 0)
        .find(|field| field.first() == Some(&(code as u8)))
        .map_or(String::new(), |field| String::from_utf8_lossy(&field[1..]).into_owned())
}

/// The values of a DataRow as text.
pub(crate) fn values(mut body: &[u8]) -> Vec<String> {
    let number = |bytes: &[u8]| i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let count = u16::from_be_bytes([body[0], body[1]]);
    body = &body[2..];
    let mut values = Vec::new();
    for _ in 0..count {
        let length = number(body);
        body = &body[4..];
        let (value, rest) = body.split_at(length.max(0) as usize);
        values.push(if length < 0 { "NULL".to_owned() } else { String::from_utf8_lossy(value).into_owned() });
        body = rest;
    }
    values
}
