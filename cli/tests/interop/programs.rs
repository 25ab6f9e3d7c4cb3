//! What people carry through a tunnel: curl, nc, ssh, rsync and git, over two nodes on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::exchange::{Turn, serve};
use crate::process::{Process, run};
use crate::report::skip;
use crate::scratch::{Directory, assert_same, noise};
use crate::ssh::Ssh;
use crate::tunnel::{Listener, inetd};

/// Where a program is: on the PATH or where servers are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// Whether all `programs` are there; says which one is not.
fn have(test: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| find(program).is_none());
    if let Some(program) = missing {
        skip(test, &format!("no `{program}` program"));
    }
    missing.is_none()
}

/// A web server for GET, which it answers with `page`, and POST, which it answers with what was posted.
fn web_server(page: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let page = page.clone();
            thread::spawn(move || answer(stream.unwrap(), page));
        }
    });
    address
}

fn answer(stream: TcpStream, page: Vec<u8>) {
    let mut reader = BufReader::new(&stream);
    let mut length = None;
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 && !line.trim().is_empty() {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse().unwrap());
        }
        line.clear();
    }
    let body = length.map_or(page, |length| {
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        body
    });
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    (&stream).write_all(&[head.as_bytes(), &body].concat()).unwrap();
}

#[test]
fn curl_fetches_and_posts() {
    if !have("curl_fetches_and_posts", &["curl"]) {
        return;
    }
    let page = noise(1, 2_000_000);
    let listener = Listener::to(web_server(page.clone()));
    let (_connector, address) = listener.forward();
    assert_curl(address, &page);
}

/// Fetches the page of a web server, and has it return another one.
#[track_caller]
fn assert_curl(address: SocketAddr, page: &[u8]) {
    let directory = Directory::new();
    let posted = noise(2, 1_000_000);
    std::fs::write(directory.join("posted"), &posted).unwrap();
    let url = format!("http://{address}/");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--no-keepalive"]);
    let fetched = run("curl", curl.arg(&url));
    fetched.assert_status("curl", 0);
    assert_same("the page", &fetched.output, page);
    // No `Expect: 100-continue`: the server above does not know it.
    let post = ["--header", "Expect:", "--data-binary"];
    let echoed = run("curl", curl.args(post).arg(format!("@{}", directory.join("posted").display())));
    echoed.assert_status("curl", 0);
    assert_same("what was posted", &echoed.output, &posted);
}

#[test]
fn curl_fetches_many_at_once() {
    if !have("curl_fetches_many_at_once", &["curl"]) {
        return;
    }
    let page = noise(1, 200_000);
    let listener = Listener::to(web_server(page.clone()));
    let (_connector, address) = listener.forward();
    let directory = Directory::new();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--parallel", "--parallel-immediate"]);
    curl.arg(format!("http://{address}/[1-20]")).arg("--output").arg(directory.join("#1"));
    run("curl", &mut curl).assert_status("curl", 0);
    for number in 1..=20 {
        let fetched = std::fs::read(directory.join(&number.to_string())).unwrap();
        assert_same(&format!("page {number}"), &fetched, &page);
    }
}

#[test]
fn nc_gets_an_answer_after_its_half_close() {
    if !have("nc_gets_an_answer_after_its_half_close", &["nc"]) {
        return;
    }
    let (request, answer) = (noise(1, 300_000), noise(2, 300_000));
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listener = Listener::to(server.local_addr().unwrap());
    let server = serve(server, 2, answer.clone(), Turn::Second);
    let (_connector, address) = listener.forward();
    // Once through a forwarded port, once with the standard streams as the connection.
    let port = address.port().to_string();
    let nc = Process::start("nc", Command::new("nc").args(["-N", "127.0.0.1", &port]), None);
    for mut client in [nc, Process::start("msp connect", &mut listener.connect(), None)] {
        client.feed(request.clone());
        let client = client.finish();
        client.assert_status("the client", 0);
        assert_same("the answer", &client.output, &answer);
    }
    for came in server.join().unwrap() {
        assert_same("the request", &came, &request);
    }
}

#[test]
fn ssh_runs_commands_through_a_forwarded_port() {
    let Some(ssh) = Ssh::new("ssh_runs_commands_through_a_forwarded_port") else { return };
    let listener = Listener::to(inetd(ssh.server()));
    let (_connector, address) = listener.forward();
    assert_ssh(&ssh, &ssh.through_port(address));
}

#[test]
fn ssh_runs_commands_with_the_tunnel_as_proxy_command() {
    let Some(ssh) = Ssh::new("ssh_runs_commands_with_the_tunnel_as_proxy_command") else { return };
    let listener = Listener::to(inetd(ssh.server()));
    assert_ssh(&ssh, &ssh.through_proxy(&listener.connect()));
}

#[track_caller]
fn assert_ssh(ssh: &Ssh, options: &[String]) {
    let sent = noise(1, 1_000_000);
    let mut copy = Process::start("ssh", ssh.client(options).args([ssh.target(), "cat"]), None);
    copy.feed(sent.clone());
    let copy = copy.finish();
    copy.assert_status("ssh", 0);
    assert_same("what ssh carried there and back", &copy.output, &sent);
    run("ssh", ssh.client(options).args([ssh.target(), "exit 7"])).assert_status("ssh exit 7", 7);
}

/// Some directories with files of many sizes.
fn plant(directory: &Path) {
    for (seed, length) in [0, 1, 1023, 1024, 1025, 70_000, 1_500_000].into_iter().enumerate() {
        let inner = directory.join(format!("d{}", seed % 3));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join(format!("f{length}")), noise(seed as u64, length)).unwrap();
    }
}

/// All files below a directory.
fn harvest(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(inner) = pending.pop() {
        for entry in std::fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.insert(path.strip_prefix(directory).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn rsync_copies_both_ways_over_ssh() {
    const TEST: &str = "rsync_copies_both_ways_over_ssh";
    let Some(ssh) = Ssh::new(TEST) else { return };
    if !have(TEST, &["rsync"]) {
        return;
    }
    let listener = Listener::to(inetd(ssh.server()));
    let (_connector, address) = listener.forward();
    let directory = Directory::new();
    let (here, there, back) = (directory.join("here"), directory.join("there"), directory.join("back"));
    plant(&here);
    let remote = format!("{}:{}/", ssh.target(), there.display());
    let shell = ssh.client_line(&ssh.through_port(address));
    for (from, to) in [(format!("{}/", here.display()), remote.clone()), (remote, back.display().to_string())]
    {
        let mut rsync = Command::new("rsync");
        run("rsync", rsync.args(["--archive", "--rsh", &shell, &from, &to])).assert_status("rsync", 0);
    }
    assert!(harvest(&there) == harvest(&here), "what rsync sent is not what is there");
    assert!(harvest(&back) == harvest(&here), "what rsync brought back is not what was sent");
}

/// A repository with one commit.
fn repository(path: &Path) {
    plant(path);
    for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "all"]] {
        run("git", git(path).args(arguments)).assert_status("git", 0);
    }
}

/// Git without the settings of whoever runs the test.
fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{role}_NAME"), "test").env(format!("GIT_{role}_EMAIL"), "test@localhost");
    }
    git
}

#[track_caller]
fn assert_cloned(original: &Path, clone: &Path) {
    run("git fsck", git(clone).args(["fsck", "--full", "--strict"])).assert_status("git fsck", 0);
    let head = |path: &Path| run("git rev-parse", git(path).args(["rev-parse", "HEAD"])).text();
    assert_eq!(head(clone), head(original));
}

#[test]
fn git_clones_from_its_daemon() {
    const TEST: &str = "git_clones_from_its_daemon";
    if !have(TEST, &["git"]) {
        return;
    }
    let commands = run("git", Command::new("git").arg("--exec-path")).text();
    if !Path::new(commands.trim()).join("git-daemon").exists() {
        skip(TEST, "a git without `git daemon`");
        return;
    }
    let directory = Directory::new();
    let (original, clone) = (directory.join("original"), directory.join("clone"));
    repository(&original);
    let base = format!("--base-path={}", directory.path().display());
    let daemon_directory = directory.path().to_owned();
    let listener = Listener::to(inetd(move || {
        let mut daemon = git(&daemon_directory);
        daemon.args(["daemon", "--inetd", "--export-all", &base]);
        daemon
    }));
    let (_connector, address) = listener.forward();
    let mut fetch = git(directory.path());
    fetch.args(["clone", "--quiet", &format!("git://{address}/original")]).arg(&clone);
    run("git clone", &mut fetch).assert_status("git clone", 0);
    assert_cloned(&original, &clone);
}

#[test]
fn git_clones_and_pushes_over_ssh() {
    const TEST: &str = "git_clones_and_pushes_over_ssh";
    let Some(ssh) = Ssh::new(TEST) else { return };
    if !have(TEST, &["git"]) {
        return;
    }
    let listener = Listener::to(inetd(ssh.server()));
    assert_clone_and_push(&ssh, &listener);
}

/// Clones a repository that is behind a server, with the tunnel as proxy command, and pushes to it.
#[track_caller]
fn assert_clone_and_push(ssh: &Ssh, listener: &Listener) {
    let directory = Directory::new();
    let (original, clone) = (directory.join("original"), directory.join("clone"));
    repository(&original);
    let shell = ssh.client_line(&ssh.through_proxy(&listener.connect()));
    let remote = format!("{}:{}", ssh.target(), original.display());
    let mut fetch = git(directory.path());
    fetch.env("GIT_SSH_COMMAND", &shell).args(["clone", "--quiet", &remote]).arg(&clone);
    run("git clone", &mut fetch).assert_status("git clone", 0);
    assert_cloned(&original, &clone);
    std::fs::write(clone.join("more"), noise(5, 100_000)).unwrap();
    for arguments in [&["add", "."][..], &["commit", "--quiet", "--message", "more"]] {
        run("git", git(&clone).args(arguments)).assert_status("git", 0);
    }
    let mut push = git(&clone);
    push.env("GIT_SSH_COMMAND", &shell).args(["push", "--quiet", "origin", "HEAD:pushed"]);
    run("git push", &mut push).assert_status("git push", 0);
    run("git", git(&original).args(["checkout", "--quiet", "pushed"])).assert_status("git checkout", 0);
    assert_cloned(&original, &clone);
}

#[test]
fn programs_do_not_notice_a_node_on_the_way() {
    const TEST: &str = "programs_do_not_notice_a_node_on_the_way";
    if !have(TEST, &["curl", "git"]) {
        return;
    }
    let page = noise(1, 2_000_000);
    let listener = Listener::behind_a_node(web_server(page.clone()));
    let (connector, address) = listener.forward();
    assert_curl(address, &page);
    drop(connector);
    let Some(ssh) = Ssh::new(TEST) else { return };
    let listener = Listener::behind_a_node(inetd(ssh.server()));
    let (_connector, address) = listener.forward();
    assert_ssh(&ssh, &ssh.through_port(address));
    assert_clone_and_push(&ssh, &listener);
}
