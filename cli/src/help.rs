//! What `--help` says at length.

pub(crate) const STATUSES: &str = "\
Exit status:
  0  done; a tunnel without --once also when a signal ends it
  1  a connection failed before its end, nobody has what find looked for, or there is nothing to show
  2  wrong usage
  3  a UDP or TCP port cannot be bound
  4  the peer cannot be reached, or a host name cannot be found
  5  the far end refused
  6  trouble with the identity file or the keyring

SIGINT, SIGTERM and SIGHUP end every connection properly; a second one ends the program at once.";

pub(crate) const IDENTITY: &str = "\
The identity file holds the secret key of this node. It is made on first use, readable by its owner \
only: $XDG_CONFIG_HOME/msp/identity or ~/.config/msp/identity, unless MSP_IDENTITY or --identity names \
another.

Only one program at a time can use an identity, since its address leads to one place. If another has \
it, `connect`, `find` and `ping` go on with one that lives as long as they do, unless --identity was given. In \
the same way they take any free UDP port if 4110 is taken, unless --udp was given; then only broadcasts \
of neighbours are missed, so name the far end as SID@HOST:PORT.";

pub(crate) const KEYRING: &str = "\
Takes the identity from the keyring of a Serval daemon, so that this node has that one's address. FILE is \
serval.keyring in the directory SERVALINSTANCE_PATH, else in /var/run/serval or /usr/local/var/run/serval. The \
keyring is only read. An identity file that holds another identity is left alone, unless --new is given: \
then that one is kept beside it.

Do not run the daemon and this node with one identity at the same time: its address leads to one place.";

pub(crate) const PINS: &str = "\
Reads two lines from standard input: the PIN of the keyring, then that of the identity. Either may be empty; \
without this option, both are. They are not shown when typed at a terminal. There is no way to give them as \
arguments, which other users could see.";

pub(crate) const SERVALD: &str = "\
Goes through a Serval daemon that runs on this machine, with its address, its neighbours and its routes, in place of \
a node of our own. DIR is the directory of its instance; without one, that is SERVALINSTANCE_PATH, else \
/var/run/serval or /usr/local/var/run/serval. The daemon may be restarted, and may not run yet when `listen` starts.";

pub(crate) const RUN: &str = "\
Where programs that run now can be found: listen, connect and node have a socket there, at which peers, routes and \
status ask them. It must be the user's alone. Without this option it is what MSP_RUN names; for root, /var/run/msp; for \
others, msp in $XDG_RUNTIME_DIR, else /tmp/msp-UID.";

pub(crate) const NODE: &str = "\
Relays packets for other nodes, and has a socket in the run directory at which other programs of this user share it: \
listen, connect, find and ping go through it, with its address and its neighbours, when they start while it runs. With \
--udp, --peer, --no-broadcast, --identity, --servald or SID@HOST:PORT they do not. If the node is restarted, they go on; \
connections end if it is away for ten seconds.";

pub(crate) const SEEN: &str = "\
Exit status:
  0  something is shown
  1  there is nothing to show
  2  wrong usage
  4  no msp runs here";
