//! An ssh server and its client with keys of their own. Nothing of it is in the system's configuration.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::process::run;
use crate::programs::find;
use crate::report::skip;
use crate::scratch::Directory;
use crate::tunnel::inetd;

/// Keys and settings of a server and of a client that know each other.
#[derive(Debug)]
pub(crate) struct Ssh {
    directory: Directory,
    sshd: PathBuf,
    user: String,
}

impl Ssh {
    /// Makes the keys, or says why `test` is skipped.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let Some(sshd) = find("sshd") else {
            skip(test, "no `sshd` program");
            return None;
        };
        if let Some(program) = ["ssh", "ssh-keygen"].into_iter().find(|program| find(program).is_none()) {
            skip(test, &format!("no `{program}` program"));
            return None;
        }
        let user = run("id", Command::new("id").arg("-un")).text().trim().to_owned();
        let ssh = Self { directory: Directory::new(), sshd, user };
        ssh.make_keys();
        // Without a tunnel first: not every account may log in, nor can `sshd` run everywhere.
        let options = ssh.through_port(inetd(ssh.server()));
        let checked = run("ssh", ssh.client(&options).args([ssh.target(), "true"]));
        if checked.status != Some(0) {
            skip(test, &format!("ssh to this machine fails: {}", checked.errors.trim()));
            return None;
        }
        Some(ssh)
    }

    fn make_keys(&self) {
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(self.directory.join(key));
            run("ssh-keygen", &mut keygen).assert_status("ssh-keygen", 0);
        }
        let public = |key| std::fs::read_to_string(self.directory.join(key)).unwrap();
        std::fs::write(self.directory.join("authorized"), public("user.pub")).unwrap();
        std::fs::write(self.directory.join("known"), format!("far {}", public("host.pub"))).unwrap();
        let path = self.directory.path().display();
        let mut settings = String::new();
        let _ = writeln!(settings, "HostKey {path}/host\nAuthorizedKeysFile {path}/authorized\nPidFile none");
        let _ =
            writeln!(settings, "StrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nUsePAM no");
        std::fs::write(self.directory.join("sshd_config"), settings).unwrap();
    }

    /// What makes the command that serves one connection on its standard streams.
    pub(crate) fn server(&self) -> impl Fn() -> Command + Send + use<> {
        // A server of root insists on a directory that the system makes when it starts the service.
        const PRIVATE_RUN: &str = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \"$0\" \"$@\"";
        let (root, sshd, settings) =
            (self.user == "root", self.sshd.clone(), self.directory.join("sshd_config"));
        move || {
            let mut command = Command::new(if root { "unshare".as_ref() } else { sshd.as_os_str() });
            if root {
                command.args(["--mount", "sh", "-c", PRIVATE_RUN]).arg(&sshd);
            }
            command.args(["-i", "-e", "-f"]).arg(&settings);
            command
        }
    }

    /// Where the client goes: a name that only its settings know.
    pub(crate) fn target(&self) -> &str {
        "far"
    }

    pub(crate) fn through_port(&self, address: SocketAddr) -> Vec<String> {
        vec![format!("Hostname={}", address.ip()), format!("Port={}", address.port())]
    }

    pub(crate) fn through_proxy(&self, proxy: &Command) -> Vec<String> {
        let words = std::iter::once(proxy.get_program()).chain(proxy.get_args());
        let line: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        vec![format!("ProxyCommand={}", line.join(" "))]
    }

    pub(crate) fn client(&self, options: &[String]) -> Command {
        let path = self.directory.path().display();
        let mut settings = String::new();
        let _ = writeln!(
            settings,
            "IdentityFile {path}/user\nUserKnownHostsFile {path}/known\nUser {}",
            self.user
        );
        let _ = writeln!(settings, "HostKeyAlias far\nIdentitiesOnly yes\nBatchMode yes\nLogLevel ERROR");
        for option in options {
            let _ = writeln!(settings, "{option}");
        }
        let file = self.directory.join(&crate::scratch::unique());
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("ssh");
        command.arg("-F").arg(file);
        command
    }

    /// The client as one line, for programs that start it.
    pub(crate) fn client_line(&self, options: &[String]) -> String {
        let command = self.client(options);
        let arguments: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        format!("ssh {}", arguments.join(" "))
    }
}
