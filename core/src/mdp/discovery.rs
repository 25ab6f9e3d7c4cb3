//! What is said in service discovery (`spec/60` section 5): names, queries and answers.

use super::{Daemon, Node};
use crate::wire::mdp::Protection;
use crate::{Addr, Instant, Port};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// The longest name or pattern, in bytes.
const MAX_NAME: usize = 64;
/// The longest query that is looked at, in bytes.
const MAX_QUERY: usize = 128;
/// Services that are read from one answer.
const MAX_SERVICES: usize = 8;
/// The ends of the keys in answers: what the daemon writes, then what its documentation says.
const KEYS: [&str; 2] = [".msp.port", ".mdp.port"];

/// The name of a service: 1 to 64 bytes without control characters, white space, and any of `.=*?`.
///
/// It may still hold characters that do not show, or that change the direction of text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(String);

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = ParseServiceError;

    fn from_str(text: &str) -> Result<Self, ParseServiceError> {
        check(text, |character| matches!(character, '*' | '?'))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which services are meant: a [`ServiceName`] in which `*` stands for any characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePattern(String);

impl ServicePattern {
    /// The pattern that every name matches.
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Whether it stands for `name`.
    #[must_use]
    pub fn matches(&self, name: &ServiceName) -> bool {
        matches(&self.0, &name.0)
    }

    /// The payload that asks for these services. It is never empty.
    #[must_use]
    pub fn query(&self) -> Vec<u8> {
        format!("{}{}\0", self.0, KEYS[0]).into_bytes()
    }
}

impl FromStr for ServicePattern {
    type Err = ParseServiceError;

    fn from_str(text: &str) -> Result<Self, ParseServiceError> {
        check(text, |_| false)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no [`ServiceName`] or [`ServicePattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseServiceError {
    /// It has this many bytes, not 1 to 64.
    Length(usize),
    /// This character cannot be in it.
    Character(char),
}

impl fmt::Display for ParseServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(n) => write!(f, "the name of a service has 1 to {MAX_NAME} bytes, this has {n}"),
            Self::Character(c) => {
                write!(f, "the name of a service has no '{}'", c.escape_debug())
            }
        }
    }
}

impl core::error::Error for ParseServiceError {}

fn check(text: &str, is_wild: impl Fn(char) -> bool) -> Result<(), ParseServiceError> {
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(ParseServiceError::Length(text.len()));
    }
    let is_wrong = |c: &char| c.is_control() || c.is_whitespace() || matches!(c, '.' | '=') || is_wild(*c);
    text.chars().find(is_wrong).map_or(Ok(()), |character| Err(ParseServiceError::Character(character)))
}

/// A named port of a node, which peers can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Where it listens.
    pub port: Port,
}

impl Service {
    /// The payload that answers `query`, if that asks for this service.
    ///
    /// A query is a pattern over the keys of answers, maybe with a NUL at its end, or over the name alone; an
    /// empty one asks for everything. One of more than 128 bytes is not looked at.
    #[must_use]
    pub fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let pattern = query.strip_suffix(b"\0").unwrap_or(query);
        let pattern = core::str::from_utf8(pattern).ok().filter(|pattern| pattern.len() <= MAX_QUERY)?;
        let Self { name, port } = self;
        let is_key = |key: &&str| matches(pattern, &format!("{name}{key}"));
        let is_meant = pattern.is_empty() || matches(pattern, &name.0) || KEYS.iter().any(is_key);
        is_meant.then(|| format!("{name}{}={port}", KEYS[0]).into_bytes())
    }

    /// The services that an answer names, each once and no more than 8. Lines that make no sense name none.
    #[must_use]
    pub fn parse_answer(payload: &[u8]) -> Vec<Self> {
        let mut services = Vec::new();
        let lines = payload.split(|byte| matches!(byte, b'\n' | b'\r' | 0));
        for service in lines.filter_map(|line| Self::parse_line(core::str::from_utf8(line).ok()?)) {
            if services.len() < MAX_SERVICES && !services.contains(&service) {
                services.push(service);
            }
        }
        services
    }

    fn parse_line(line: &str) -> Option<Self> {
        let (key, port) = line.split_once('=')?;
        let key = key.trim();
        let name = KEYS.iter().find_map(|end| key.strip_suffix(end))?.parse().ok()?;
        let port: Port = port.trim().parse().ok()?;
        (port != Port::ANY).then_some(Self { name, port })
    }
}

impl Node {
    /// Answers those who look for `service` from now on, or nobody any more. Queries, which come to
    /// [`Port::DISCOVERY`], are datagrams like others for a node without a service.
    pub fn set_service(&mut self, service: Option<Service>) {
        self.service = service;
    }
}

impl Daemon {
    /// The same for a client, which binds [`Port::DISCOVERY`] for it. Only one client of a daemon can have that.
    pub fn set_service(&mut self, now: Instant, service: Option<Service>) {
        if service.is_some() {
            // Too many ports are the owner's mistake; then nobody finds the service.
            let _ = self.bind(now, Port::DISCOVERY);
        } else {
            self.release(now, Port::DISCOVERY);
        }
        self.service = service;
    }

    /// Answers a query for our service with its own protection, at a limited rate.
    pub(super) fn handle_query(&mut self, from: Addr, protection: Protection, query: &[u8]) {
        let answer = self.service.as_ref().and_then(|service| service.answer(query));
        let now = self.now;
        if let Some(answer) = answer.filter(|_| from.port != Port::DISCOVERY)
            && self.answers.take(now)
        {
            // Who wants it asks again.
            let _ = self.send(now, Port::DISCOVERY, from, protection, &answer);
        }
    }
}

/// Whether `text` is one of those that `pattern` stands for: `*` is any characters, `?` any one, all others are
/// themselves. The work is at most the product of the two lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // After the last star: the rest of the pattern, and the text that the star has not taken.
    let mut star = None;
    loop {
        let rest = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = rest;
                star = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(character)) if expected == character => {}
            _ => {
                // The star has to take one more.
                let Some((after, untaken)) = &mut star else { return false };
                if untaken.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), untaken.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    fn service(text: &str, port: u16) -> Service {
        Service { name: name(text), port: port.into() }
    }

    #[test]
    fn stars_and_question_marks_stand_for_others() {
        let yes =
            [("", ""), ("*", ""), ("**", "ab"), ("a*c", "abbc"), ("?b*", "ab"), ("*ab", "aab"), ("?", "é")];
        for (pattern, text) in yes {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a*c", "abcd"), ("*?", ""), ("a", "A"), ("[a]", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"a*".repeat(32), &"a".repeat(31)), "no explosion");
        assert!(!matches(&("*a".repeat(60) + "b"), &"a".repeat(70)));
    }

    #[test]
    fn names_have_nothing_that_could_be_taken_for_something_else() {
        for text in ["web", "a-b_c", "é", &"x".repeat(64)] {
            assert_eq!(name(text).as_str(), text);
        }
        for text in ["", "a.b", "a=b", "a b", "a\n", "a\0", "\x1b[2J", "\u{9b}", "a*", "?", &"x".repeat(65)] {
            let error = text.parse::<ServiceName>().unwrap_err();
            assert!(!error.to_string().contains(char::is_control), "{error}");
        }
        assert!("we?*".parse::<ServicePattern>().unwrap().matches(&name("web")));
        assert!("w b".parse::<ServicePattern>().is_err());
    }

    #[test]
    fn queries_of_every_kind_find_the_service_and_only_that() {
        let foo = service("foo", 512);
        let answer = Some(b"foo.msp.port=512".to_vec());
        let meant =
            ["", "\0", "*", "*\0", "foo", "foo\0", "foo.*", "foo.msp.port\0", "foo.mdp.port", "f?o.msp.*"];
        for query in meant {
            assert_eq!(foo.answer(query.as_bytes()), answer, "{query:?}");
        }
        for query in ["bar.*", "fo", "foo.", "foo.http.*", "foo\0\0", "FOO", "foo.msp.port=512", "q"] {
            assert_eq!(foo.answer(query.as_bytes()), None, "{query:?}");
        }
        assert_eq!(foo.answer(b"\xff*"), None);
        assert_eq!(foo.answer(&[b'*'; 128]), answer);
        assert_eq!(foo.answer(&[b'*'; 129]), None);
        for pattern in [ServicePattern::any(), "foo".parse().unwrap(), "f*".parse().unwrap()] {
            assert_eq!(foo.answer(&pattern.query()), answer, "{pattern}");
        }
    }

    #[test]
    fn answers_may_have_lines_and_white_space() {
        let parse = |text: &str| Service::parse_answer(text.as_bytes());
        assert_eq!(parse("foo.msp.port=512"), [service("foo", 512)]);
        assert_eq!(
            parse(" foo.msp.port = 512 \r\n\nbar.mdp.port=7\nfoo.msp.port=512\0"),
            [service("foo", 512), service("bar", 7)]
        );
    }

    #[test]
    fn hostile_answers_name_nothing() {
        let lines = [
            "",
            "=",
            "a=1",
            ".msp.port=1",
            "a.msp.port",
            "a.msp.port=0",
            "a.msp.port=-1",
            "a.msp.port=x",
            "a.msp.port=2147483648",
            "a.b.msp.port=1",
            "a\x1b.msp.port=1",
            "a b.msp.port=1",
            "a.msp.port.msp.port=1",
        ];
        for line in lines {
            assert_eq!(Service::parse_answer(line.as_bytes()), [], "{line:?}");
        }
        assert_eq!(Service::parse_answer(b"\xff.msp.port=1"), []);
        let many: String = (0..100).map(|n| format!("a{n}.msp.port=1\n")).collect();
        assert_eq!(Service::parse_answer(many.as_bytes()).len(), 8);
    }
}
