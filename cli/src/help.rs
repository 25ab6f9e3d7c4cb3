//! What `--help` says.

const GENERAL: &str = "\
msp carries TCP over bad wireless links, encrypted, through the Serval mesh
protocols.

Usage:
  msp listen  [--once] [--forward=PORT|HOST:PORT] MDPPORT
  msp connect [--once] [--forward=PORT|HOST:PORT] SID[@HOST:PORT] MDPPORT
  msp id      [--new]             print the address (SID) of this node
  msp ping    SID[@HOST:PORT]     ask a node for echoes
  msp demo                        try all of it, in one process

msp COMMAND --help tells more about each.
";

const LISTEN: &str = "\
Usage: msp listen [OPTIONS] MDPPORT

Lets peers connect to this MDP port (19 to 2147483647). The first one is joined
to standard input and output, unless there is --forward.

  --forward=PORT       connect each peer to this TCP port of this machine
  --forward=HOST:PORT  connect each peer to this TCP port
  --once               end with the first connection
  --service=NAME       announce the port by name; not available yet
";

const CONNECT: &str = "\
Usage: msp connect [OPTIONS] SID[@HOST:PORT] MDPPORT

Connects standard input and output to an MDP port of the node with this address
(SID). HOST:PORT is where its UDP can be reached; without it, it is looked for
among the neighbours.

  --forward=PORT       connect each TCP connection to this port instead; 0 for
                       any free port
  --forward=HOST:PORT  the same, at an address that is not --bind's
  --bind=ADDR          address for --forward=PORT [default: 127.0.0.1]
  --once               end with the first connection
";

const ID: &str = "\
Usage: msp id [OPTIONS]

Prints the address (SID) of this node.

  --new                make a new identity; the one before is kept beside it
";

const PING: &str = "\
Usage: msp ping [OPTIONS] SID[@HOST:PORT]

Asks a node for echoes. HOST:PORT is where its UDP can be reached.

  --count=N            echoes to ask for [default: 5]
";

const DEMO: &str = "\
Usage: msp demo [OPTIONS]

Fetches a file from a web server through a link that loses packets. Server, link
and both ends of the tunnel are in this process, on the loopback address.

  --loss=PERCENT       packets that the link loses, 0 to 50 [default: 10]
  --size=MB            size of the file, 1 to 1000 [default: 4]
  --seed=NUMBER        start of the random numbers that choose the packets
";

const COMMON: &str = "
Options of every command:
  --udp=ADDR:PORT      UDP address of this node [default: 0.0.0.0:4110]
  --peer=HOST:PORT     node to reach by unicast; may be given several times
  --no-broadcast       look for no neighbours by broadcast
  --identity=FILE      the secret key of this node
  -v, --verbose        tell what happens; twice for more
  -q, --quiet          tell nothing but errors
  -h, --help           this text
  -V, --version        the version

The identity file is made on first use, for its owner only:
$XDG_CONFIG_HOME/msp/identity or ~/.config/msp/identity, unless MSP_IDENTITY or
--identity names another. One program at a time can use an identity, since its
address leads to one place. If another has it, connect and ping go on with one
that lives as long as they do, unless --identity was given. In the same way they
take any free UDP port if 4110 is taken, unless --udp was given; then they miss
broadcasts of neighbours, so name the far end as SID@HOST:PORT.

Exit status:
  0  done; a tunnel without --once also when a signal ends it
  1  a connection failed before its end
  2  wrong usage
  3  a UDP or TCP port cannot be bound
  4  the peer cannot be reached, or a host name cannot be found
  5  the far end refused
  6  trouble with the identity file

SIGINT, SIGTERM and SIGHUP end every connection properly; a second one ends the
program at once.";

/// Help about everything.
pub(crate) fn general() -> String {
    format!("{GENERAL}{COMMON}")
}

/// Help about a command, if there is one of this name.
pub(crate) fn command(name: &str) -> Option<String> {
    let text = match name {
        "listen" => LISTEN,
        "connect" => CONNECT,
        "id" => ID,
        "ping" => PING,
        "demo" => DEMO,
        _ => return None,
    };
    Some(format!("{text}{COMMON}"))
}
