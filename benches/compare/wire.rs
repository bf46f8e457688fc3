//! A client of the Postgres wire protocol that costs little: blocking, binary, no types resolved, no row copied.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What everything here answers with: a failure is a sentence.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// One session.
pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    from: usize,
    till: usize,
    output: Vec<u8>,
}

fn io(error: std::io::Error) -> String {
    format!("connection: {error}")
}

impl Client {
    /// Connects without a password.
    pub(crate) fn connect(address: SocketAddr, database: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let mut client = Self { stream, input: vec![0; 1 << 16], from: 0, till: 0, output: Vec::new() };
        let mut body = 196_608u32.to_be_bytes().to_vec();
        for text in ["user", "bench", "database", database, ""] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        client.output.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        client.output.extend_from_slice(&body);
        client.send()?;
        client.until_ready(|_, _| {})?;
        Ok(client)
    }

    fn message(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        self.output.push(kind);
        let at = self.output.len();
        self.output.extend_from_slice(&[0; 4]);
        body(&mut self.output);
        let len = (self.output.len() - at) as u32;
        self.output[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }

    fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.output).map_err(io)?;
        self.output.clear();
        Ok(())
    }

    fn fill(&mut self, needed: usize) -> Result<()> {
        if self.from + needed > self.input.len() {
            self.input.copy_within(self.from..self.till, 0);
            (self.from, self.till) = (0, self.till - self.from);
            if needed > self.input.len() {
                self.input.resize(needed, 0);
            }
        }
        while self.till - self.from < needed {
            let read = self.stream.read(&mut self.input[self.till..]).map_err(io)?;
            if read == 0 {
                return Err("connection: closed by the server".into());
            }
            self.till += read;
        }
        Ok(())
    }

    /// The next message: its kind, and where its body lies.
    fn next(&mut self) -> Result<(u8, std::ops::Range<usize>)> {
        self.fill(5)?;
        let len = u32::from_be_bytes(four(&self.input[self.from + 1..])) as usize;
        self.fill(len + 1)?;
        let body = self.from + 5..self.from + 1 + len;
        let kind = self.input[self.from];
        self.from = body.end;
        Ok((kind, body))
    }

    fn until_ready(&mut self, mut on: impl FnMut(u8, &[u8])) -> Result<()> {
        let mut failed = None;
        loop {
            let (kind, body) = self.next()?;
            let body = &self.input[body];
            match kind {
                b'Z' => return failed.map_or(Ok(()), Err),
                b'E' => failed = Some(error_text(body)),
                b'R' if body.len() < 4 || four(body) != [0; 4] => return Err("the server wants a password".into()),
                _ => on(kind, body),
            }
        }
    }

    /// Runs statements; gives the first column of every row as text.
    pub(crate) fn simple(&mut self, sql: &str) -> Result<Vec<String>> {
        self.message(b'Q', |out| text(out, sql));
        self.send()?;
        let mut rows = Vec::new();
        self.until_ready(|kind, body| {
            if kind == b'D' {
                let mut first = String::new();
                first_value(body, |value| first = String::from_utf8_lossy(value).into_owned());
                rows.push(first);
            }
        })
        .map_err(|error| format!("{error}, in {sql}"))?;
        Ok(rows)
    }

    /// Prepares a statement; the server finds its parameters' types.
    pub(crate) fn prepare(&mut self, name: &str, sql: &str) -> Result<()> {
        self.message(b'P', |out| {
            text(out, name);
            text(out, sql);
            out.extend_from_slice(&[0; 2]);
        });
        self.message(b'S', |_| {});
        self.send()?;
        self.until_ready(|_, _| {}).map_err(|error| format!("{error}, in {sql}"))
    }

    /// Runs a prepared statement, parameters and results binary; `on` sees the first value of every row.
    pub(crate) fn execute(&mut self, name: &str, parameters: &[&[u8]], mut on: impl FnMut(&[u8])) -> Result<()> {
        self.message(b'B', |out| {
            text(out, "");
            text(out, name);
            out.extend_from_slice(&[0, 1, 0, 1]);
            out.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
            for value in parameters {
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value);
            }
            out.extend_from_slice(&[0, 1, 0, 1]);
        });
        self.message(b'E', |out| {
            text(out, "");
            out.extend_from_slice(&[0; 4]);
        });
        self.message(b'S', |_| {});
        self.send()?;
        self.until_ready(|kind, body| {
            if kind == b'D' {
                first_value(body, &mut on);
            }
        })
    }

    /// Runs `COPY .. FROM STDIN`; `stream` is ready-made CopyData messages.
    pub(crate) fn copy_in(&mut self, sql: &str, streams: &[&[u8]]) -> Result<()> {
        self.message(b'Q', |out| text(out, sql));
        self.send()?;
        let (kind, body) = self.next()?;
        match kind {
            b'G' => {}
            b'E' => {
                let error = error_text(&self.input[body]);
                self.until_ready(|_, _| {})?;
                return Err(format!("{error}, in {sql}"));
            }
            _ => return Err(format!("no answer to {sql}")),
        }
        for stream in streams {
            self.stream.write_all(stream).map_err(io)?;
        }
        self.message(b'c', |_| {});
        self.send()?;
        self.until_ready(|_, _| {}).map_err(|error| format!("{error}, in {sql}"))
    }

    /// Runs `COPY .. TO STDOUT`; `on` sees what comes, piece by piece.
    pub(crate) fn copy_out(&mut self, sql: &str, mut on: impl FnMut(&[u8])) -> Result<()> {
        self.message(b'Q', |out| text(out, sql));
        self.send()?;
        self.until_ready(|kind, body| {
            if kind == b'd' {
                on(body);
            }
        })
        .map_err(|error| format!("{error}, in {sql}"))
    }
}

fn four(bytes: &[u8]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn first_value(body: &[u8], on: impl FnOnce(&[u8])) {
    if body.len() >= 6 {
        let len = u32::from_be_bytes(four(&body[2..])) as usize;
        if let Some(value) = body.get(6..6 + len) {
            on(value);
        }
    }
}

fn error_text(body: &[u8]) -> String {
    let mut parts = [String::new(), String::new()];
    for field in body.split(|&byte| byte == 0) {
        match field.first() {
            Some(b'C') => parts[0] = String::from_utf8_lossy(&field[1..]).into_owned(),
            Some(b'M') => parts[1] = String::from_utf8_lossy(&field[1..]).into_owned(),
            _ => {}
        }
    }
    format!("{} {}", parts[0], parts[1])
}

/// A vector in pgvector's binary form.
pub(crate) fn vector(values: &[f32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + 4 * values.len());
    out.extend_from_slice(&(values.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    out
}
