//! Asks the programs that run on this machine about themselves.

use crate::run::RunDirectory;
use crate::show::Question;
use crate::status::{SUFFIX, is_left_over};
use rustix::process::{Pid, test_kill_process};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program may keep silent. One that runs answers at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a program has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How many things.
    pub count: usize,
    /// The directory of the daemon that knows more.
    pub daemon: Option<PathBuf>,
    /// For people or programs.
    pub text: String,
}

/// Asks all that run, in the order of their numbers. What programs have left behind that are gone is removed.
///
/// # Errors
///
/// If the directory cannot be read. A program that does not answer is logged.
pub fn ask(directory: &RunDirectory, question: Question) -> io::Result<Vec<Answer>> {
    let mut found: Vec<(i32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory.path())? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX)?.parse::<i32>().ok());
        if let Some(number) = number {
            found.insert(found.partition_point(|(other, _)| *other < number), (number, path));
        }
    }
    let answers = found.into_iter().filter_map(|(number, path)| {
        let answer = ask_one(&path, question);
        if let Err(error) = &answer {
            let gone = Pid::from_raw(number).is_none_or(|pid| test_kill_process(pid).is_err());
            if gone && is_left_over(&path) {
                // Somebody else may have been faster.
                let _ = fs::remove_file(&path);
            } else {
                log::warn!("the msp with pid {number} does not answer: {error}");
            }
        }
        answer.ok()
    });
    Ok(answers.collect())
}

fn ask_one(path: &Path, question: Question) -> io::Result<Answer> {
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Where too many ask already, it would wait for its turn.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(format!("{question}\n").as_bytes())?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::Error::other("it is of another version"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, text) = answer.split_once('\n')?;
    let (count, daemon) = head.split_once(' ').map_or((head, None), |(count, daemon)| (count, Some(daemon)));
    Some(Answer { count: count.parse().ok()?, daemon: daemon.map(PathBuf::from), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::Topic;
    use crate::table::Format;
    use std::os::unix::net::UnixListener;

    const QUESTION: Question = Question { topic: Topic::Peers, format: Format::Table };

    #[test]
    fn answers_have_a_head_and_a_text() {
        let answer = |count, daemon: Option<&str>, text: &str| {
            Some(Answer { count, daemon: daemon.map(PathBuf::from), text: text.to_owned() })
        };
        assert_eq!(parse("0\n"), answer(0, None, ""));
        assert_eq!(parse("2 /run/a b\nx\ny\n"), answer(2, Some("/run/a b"), "x\ny\n"));
        for other in ["", "2", "two\nx", " /run\nx"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn those_that_run_are_asked_and_what_others_have_left_is_removed() {
        let path = std::env::temp_dir().join(format!("msp-asking-{}", std::process::id()));
        let directory = RunDirectory::create(Some(&path)).unwrap();
        let running = UnixListener::bind(path.join("2.status")).unwrap();
        // No process has so large a number; process 1 is there, whatever its file says.
        let [gone, living, other] =
            ["2147483646.status", "1.status", "name.status"].map(|name| path.join(name));
        for file in [&gone, &living, &other] {
            drop(UnixListener::bind(file).unwrap());
        }
        let answering = std::thread::spawn(move || {
            let (mut asker, _) = running.accept().unwrap();
            let mut question = [0; 12];
            asker.read_exact(&mut question).unwrap();
            asker.write_all(b"1\ntext\n").unwrap();
            question
        });
        let answers = ask(&directory, QUESTION).unwrap();
        assert_eq!(&answering.join().unwrap(), b"peers table\n");
        let expected = Answer { count: 1, daemon: None, text: "text\n".to_owned() };
        assert_eq!(answers, [expected]);
        assert_eq!([gone.exists(), living.exists(), other.exists()], [false, true, true]);
        fs::remove_dir_all(&path).unwrap();
    }
}
