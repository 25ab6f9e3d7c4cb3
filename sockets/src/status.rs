//! The socket at which a running program answers what it is asked about itself.

use crate::handle::Handle;
use crate::run::RunDirectory;
use crate::show::{About, Question};
use crate::tunnel::{Part, Readiness, Watch};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

/// How its file ends, after the number of the process.
pub(crate) const SUFFIX: &str = ".status";
/// Who asks more than this at once takes the place of who has asked first.
pub(crate) const MAX_ASKERS: usize = 4;
/// Bytes of the longest question, with the end of its line.
const MAX_QUESTION: usize = 64;
/// Bytes written to an asker in a turn.
const SHARE: usize = 64 * 1024;

/// A unix socket in the [`RunDirectory`], named after the process, in the loop of the program. Whoever connects writes
/// one line and gets text until the end of file. Nobody who asks holds up what the program is for: all is non-blocking,
/// and there are few of them.
#[derive(Debug)]
pub struct StatusSocket {
    about: About,
    path: PathBuf,
    listener: Arc<UnixListener>,
    waiting: bool,
    askers: [Option<Asker>; MAX_ASKERS],
    /// The place of the next one, in turn.
    next: usize,
    watches: VecDeque<Watch>,
}

#[derive(Debug)]
struct Asker {
    stream: Arc<UnixStream>,
    readable: bool,
    writable: bool,
    question: Vec<u8>,
    /// What is left to be written, once the question is there.
    answer: Option<VecDeque<u8>>,
}

/// Whether there is more to be had of an asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Moved,
    Waits,
    Over,
}

impl StatusSocket {
    /// The socket of this process, which takes the place of one that a process of the same number has left behind.
    ///
    /// # Errors
    ///
    /// If the system cannot make it, such as for a path that is too long.
    pub fn open(directory: &RunDirectory, about: About) -> io::Result<Self> {
        let path = directory.path().join(format!("{}{SUFFIX}", std::process::id()));
        let listener = match UnixListener::bind(&path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_over(&path) => {
                fs::remove_file(&path)?;
                UnixListener::bind(&path)?
            }
            result => result?,
        };
        listener.set_nonblocking(true)?;
        let listener = Arc::new(listener);
        let watches = [Watch::Begin(Part::Questions, Handle::Questions(Arc::clone(&listener)))].into();
        Ok(Self { about, path, listener, waiting: true, askers: Default::default(), next: 0, watches })
    }

    /// What has changed about what is to be waited for: [`Part::Questions`] and [`Part::Asker`] only.
    pub fn poll_watch(&mut self) -> Option<Watch> {
        self.watches.pop_front()
    }

    /// Remembers that one of its parts is ready.
    pub fn ready(&mut self, part: Part, readiness: Readiness) {
        match part {
            Part::Questions => self.waiting = true,
            Part::Asker(place) => {
                if let Some(Some(asker)) = self.askers.get_mut(usize::from(place)) {
                    asker.readable |= readiness.readable;
                    asker.writable |= readiness.writable;
                }
            }
            _ => {}
        }
    }

    /// Whether a part waits until it can be read, and until it can be written, after a turn that moved nothing.
    #[must_use]
    pub fn wanted(&self, part: Part) -> (bool, bool) {
        match part {
            Part::Questions => (!self.waiting, false),
            Part::Asker(place) => match self.askers.get(usize::from(place)) {
                Some(Some(asker)) => (asker.answer.is_none(), asker.answer.is_some()),
                _ => (false, false),
            },
            _ => (false, false),
        }
    }

    /// An asker cannot be waited for, and gets no answer.
    pub fn unwatched(&mut self, part: Part) {
        if let Part::Asker(place) = part
            && let Some(asker) = self.askers.get_mut(usize::from(place))
        {
            *asker = None;
        }
    }

    /// Does a bounded share of what can be done now. True if it did anything.
    pub fn turn(&mut self, answer: &mut dyn FnMut(&About, Question) -> String) -> bool {
        let mut progress = self.accept();
        let Self { about, askers, .. } = self;
        for (place, slot) in askers.iter_mut().enumerate() {
            let mut answer = |question| answer(about, question);
            let turn = slot.as_mut().map_or(Turn::Waits, |asker| asker.turn(&mut answer));
            progress |= turn != Turn::Waits;
            if turn == Turn::Over {
                *slot = None;
                self.watches.push_back(Watch::End(Part::Asker(place as u8)));
            }
        }
        progress
    }

    fn accept(&mut self) -> bool {
        let mut progress = false;
        for _ in 0..MAX_ASKERS {
            if !self.waiting {
                break;
            }
            let Ok((stream, _)) = self.listener.accept() else {
                self.waiting = false;
                break;
            };
            progress = true;
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let stream = Arc::new(stream);
            let part = Part::Asker(self.next as u8);
            let asker = Asker {
                stream: Arc::clone(&stream),
                readable: true,
                writable: true,
                question: Vec::new(),
                answer: None,
            };
            if self.askers[self.next].replace(asker).is_some() {
                self.watches.push_back(Watch::End(part));
            }
            self.watches.push_back(Watch::Begin(part, Handle::Asker(stream)));
            self.next = (self.next + 1) % MAX_ASKERS;
        }
        progress
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // What is left over, askers remove.
        let _ = fs::remove_file(&self.path);
    }
}

impl Asker {
    fn turn(&mut self, answer: &mut dyn FnMut(Question) -> String) -> Turn {
        if self.answer.is_none() {
            match self.read() {
                Turn::Moved => {}
                turn => return turn,
            }
            let Some(line) = self.question.strip_suffix(b"\n") else { return Turn::Moved };
            let question = str::from_utf8(line).ok().and_then(|line| line.parse().ok());
            let Some(question) = question else { return Turn::Over };
            self.answer = Some(answer(question).into_bytes().into());
        }
        self.write()
    }

    fn read(&mut self) -> Turn {
        if !self.readable {
            return Turn::Waits;
        }
        let mut buffer = [0; MAX_QUESTION];
        match (&*self.stream).read(&mut buffer) {
            Ok(0) => Turn::Over,
            Ok(count) if self.question.len() + count > MAX_QUESTION => Turn::Over,
            Ok(count) => {
                self.question.extend_from_slice(&buffer[..count]);
                Turn::Moved
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Turn::Waits
            }
            Err(_) => Turn::Over,
        }
    }

    fn write(&mut self) -> Turn {
        let Some(answer) = self.answer.as_mut().filter(|_| self.writable) else { return Turn::Waits };
        let (bytes, _) = answer.as_slices();
        match (&*self.stream).write(&bytes[..bytes.len().min(SHARE)]) {
            Ok(count) => {
                answer.drain(..count);
                if answer.is_empty() { Turn::Over } else { Turn::Moved }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Turn::Waits
            }
            Err(_) => Turn::Over,
        }
    }
}

/// Whether nobody listens at this socket any more.
pub(crate) fn is_left_over(path: &std::path::Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::Topic;
    use crate::table::Format;
    use std::path::Path;

    /// A status socket in a directory of its own, whose answers have so many bytes.
    struct Lab {
        directory: RunDirectory,
        status: StatusSocket,
        length: usize,
        asked: Vec<Question>,
        /// What was to be waited for from then on, and no more.
        watched: Vec<(bool, Part)>,
    }

    impl Lab {
        fn new(name: &str, length: usize) -> Self {
            let path = std::env::temp_dir().join(format!("msp-status-{name}-{}", std::process::id()));
            let directory = RunDirectory::create(Some(&path)).unwrap();
            let status = StatusSocket::open(&directory, About::default()).unwrap();
            Self { directory, status, length, asked: Vec::new(), watched: Vec::new() }
        }

        /// Turns until nothing moves, as after events for all.
        fn settle(&mut self) {
            let all = Readiness { readable: true, writable: true, failed: false };
            for place in 0..Part::ASKERS {
                self.status.ready(Part::Asker(place), all);
            }
            self.status.ready(Part::Questions, all);
            for _ in 0..1000 {
                let Self { status, length, asked, watched, .. } = self;
                let moved = status.turn(&mut |_, question| {
                    asked.push(question);
                    "x".repeat(*length)
                });
                watched.extend(std::iter::from_fn(|| status.poll_watch()).map(|watch| match watch {
                    Watch::Begin(part, _) => (true, part),
                    Watch::End(part) => (false, part),
                }));
                if !moved {
                    return;
                }
            }
            panic!("it spins");
        }

        fn ask(&self, question: &[u8]) -> UnixStream {
            let mut asker = UnixStream::connect(&self.status.path).unwrap();
            asker.set_nonblocking(true).unwrap();
            asker.write_all(question).unwrap();
            asker
        }

        /// What has come, and whether it was all.
        fn answer(&self, asker: &mut UnixStream) -> (usize, bool) {
            let mut bytes = Vec::new();
            let end = asker.read_to_end(&mut bytes);
            (bytes.len(), end.is_ok())
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.directory.path());
        }
    }

    #[test]
    fn a_question_is_answered_in_pieces_and_the_file_goes_with_the_socket() {
        let mut lab = Lab::new("answer", 1_000_000);
        let mut asker = lab.ask(b"peers ");
        lab.settle();
        asker.write_all(b"json\n").unwrap();
        let mut got = 0;
        for _ in 0..100 {
            lab.settle();
            let (count, end) = lab.answer(&mut asker);
            got += count;
            if end {
                break;
            }
        }
        assert_eq!(got, 1_000_000);
        assert_eq!(lab.asked, [Question { topic: Topic::Peers, format: Format::Json }]);
        assert_eq!(lab.watched, [(true, Part::Questions), (true, Part::Asker(0)), (false, Part::Asker(0))]);
        let path = lab.status.path.clone();
        let other = StatusSocket::open(&lab.directory, About::default());
        assert_eq!(other.unwrap_err().kind(), ErrorKind::AddrInUse, "while this one lives");
        assert!(path.exists());
        drop(lab);
        assert!(!path.exists());
    }

    #[test]
    fn those_who_do_not_read_or_say_nothing_hold_nobody_up() {
        let mut lab = Lab::new("slow", 1_000_000);
        let mut slow: Vec<_> =
            (0..2 * MAX_ASKERS).map(|n| lab.ask(if n % 2 == 0 { b"peers table\n" } else { b"" })).collect();
        lab.settle();
        lab.length = 5;
        for _ in 0..2 * MAX_ASKERS {
            let mut quick = lab.ask(b"routes table\n");
            lab.settle();
            assert_eq!(lab.answer(&mut quick), (5, true));
        }
        assert_eq!(lab.status.askers.iter().flatten().count(), 0, "the others had to make room");
        assert!(slow.iter_mut().all(|asker| lab.answer(asker).1));
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let mut lab = Lab::new("garbage", 5);
        let long = [b' '; MAX_QUESTION + 1];
        for garbage in [&b"peers\n"[..], b"\n", b"\xff table\n", b"peers table\nmore", &long] {
            let mut asker = lab.ask(garbage);
            lab.settle();
            assert!(!matches!(lab.answer(&mut asker), (1.., _)), "{garbage:?}");
        }
        drop(lab.ask(b"peers"));
        lab.settle();
        assert_eq!((lab.status.askers.iter().flatten().count(), &lab.asked[..]), (0, &[][..]));
    }

    #[test]
    fn a_file_that_was_left_behind_is_taken_over() {
        let lab = Lab::new("stale", 5);
        let path = lab.status.path.clone();
        let elsewhere = path.with_extension("moved");
        fs::rename(&path, &elsewhere).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert!(is_left_over(&path) && !is_left_over(Path::new("/nowhere")) && !is_left_over(&elsewhere));
        let again = StatusSocket::open(&lab.directory, About::default()).unwrap();
        assert!(!is_left_over(&again.path));
    }
}
