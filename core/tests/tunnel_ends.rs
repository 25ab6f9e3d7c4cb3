//! How links and tunnels end, and who is told, in virtual time.

mod tunnels;

use msp_core::testing::{CLIENT, Dial, SERVER, Socket, TunnelPair, pattern};
use msp_core::tunnel::{CloseKind, EndReason, Outcome, TunnelConfig};
use tunnels::{MINUTE, assert_carried, bad, ms, once, opened, outcomes, reasons, run, sending};

#[test]
fn a_refused_target_is_a_refusal_at_the_other_end() {
    for input in [Vec::new(), pattern(1, 5_000)] {
        let mut pair = TunnelPair::new(11, [once(), TunnelConfig::default()], bad).dial(|_| Dial::Refuse);
        pair.open(Socket::waiting().sending(input)).unwrap();
        run(&mut pair, MINUTE);
        assert_eq!(outcomes(&mut pair), [Some(Outcome::Failed(EndReason::Refused)), None]);
        assert_eq!(reasons(&pair, SERVER), [EndReason::DialFailed]);
        assert_eq!(pair.socket(CLIENT, 0).closed, Some(CloseKind::Abort));
    }
}

#[test]
fn a_listening_end_goes_on_after_a_refusal() {
    let mut pair = TunnelPair::new(12, Default::default(), bad).dial(|n| match n {
        0 => Dial::Refuse,
        _ => Dial::Open(sending(pattern(2, 100))),
    });
    for (n, reason) in [EndReason::Refused, EndReason::Finished].into_iter().enumerate() {
        pair.open(sending(pattern(1, 100))).unwrap();
        run(&mut pair, MINUTE);
        assert_eq!(reasons(&pair, CLIENT)[n..], [reason]);
    }
}

#[test]
fn once_takes_one_link() {
    let mut pair = TunnelPair::new(13, [TunnelConfig::default(), once()], |link| link.delay(ms(5)))
        .dial(|_| Dial::Open(Socket::waiting()));
    pair.open(sending(pattern(1, 10))).unwrap();
    pair.open(sending(pattern(2, 10))).unwrap();
    assert!(pair.run_until(MINUTE, |pair| reasons(pair, CLIENT) == [EndReason::Refused]));
    assert_eq!(opened(&pair), 1);
    pair.socket(SERVER, 0).finish = true;
    assert!(pair.run_until(MINUTE, |pair| pair.ends[SERVER].outcome == Some(Outcome::Clean)));

    let mut pair = TunnelPair::new(13, [once(), once()], |link| link);
    assert!(pair.ends[CLIENT].tunnel.can_accept());
    pair.open(Socket::waiting()).unwrap();
    assert!(!pair.ends[CLIENT].tunnel.can_accept());
    assert_eq!(pair.open(Socket::waiting()), None);
}

#[test]
fn both_ends_report_a_blackout() {
    let mut pair =
        TunnelPair::new(14, [once(), once()], bad).dial(|_| Dial::Open(sending(pattern(2, 1_000_000))));
    pair.open(sending(pattern(1, 1_000_000))).unwrap();
    assert!(pair.run_until(MINUTE, |pair| pair.socket(CLIENT, 0).received.len() > 100_000));
    pair.links.iter_mut().for_each(|link| link.set_blackout(true));
    run(&mut pair, MINUTE);
    assert_eq!(outcomes(&mut pair), [Some(Outcome::Failed(EndReason::TimedOut)); 2]);
    for end in [CLIENT, SERVER] {
        let (sent, got) = (pair.socket(1 - end, 0).input.clone(), pair.socket(end, 0).clone());
        assert!(sent.starts_with(&got.received));
        assert_eq!((got.closed, got.ended), (Some(CloseKind::Abort), false));
    }
}

#[test]
fn an_absent_peer_is_unreachable() {
    let mut pair = TunnelPair::new(15, [once(), once()], bad);
    pair.ends[SERVER].dead = true;
    pair.open(sending(pattern(1, 10))).unwrap();
    let start = pair.now;
    assert!(pair.run_until(MINUTE, |pair| pair.ends[CLIENT].outcome.is_some()));
    assert_eq!(pair.ends[CLIENT].outcome, Some(Outcome::Failed(EndReason::Unreachable)));
    assert!(pair.now - start < ms(15_000));
}

#[test]
fn a_broken_local_connection_is_an_abort_at_the_other_end() {
    for end in [CLIENT, SERVER] {
        let mut pair = TunnelPair::new(16, [once(), once()], bad)
            .dial(|_| Dial::Open(Socket::waiting().sending(pattern(2, 1_000_000))));
        pair.open(Socket::waiting().sending(pattern(1, 1_000_000))).unwrap();
        assert!(pair.run_until(MINUTE, |pair| {
            opened(pair) == 1 && pair.socket(1 - end, 0).received.len() > 100_000
        }));
        pair.fail(end, 0);
        run(&mut pair, MINUTE);
        assert_eq!(reasons(&pair, end), [EndReason::LocalFailed]);
        assert_eq!(reasons(&pair, 1 - end), [EndReason::PeerReset]);
        let (sent, got) = (pair.socket(end, 0).input.clone(), pair.socket(1 - end, 0).clone());
        assert!(sent.starts_with(&got.received));
        assert_eq!((got.closed, got.ended), (Some(CloseKind::Abort), false));
        assert!(outcomes(&mut pair).iter().all(|outcome| matches!(outcome, Some(Outcome::Failed(_)))));
    }
}

#[test]
fn what_was_received_before_an_abort_is_still_written() {
    let mut pair = TunnelPair::new(17, [once(), once()], |link| link.delay(ms(5)))
        .dial(|_| Dial::Open(Socket::waiting().reading(1_500)));
    pair.open(Socket::waiting().sending(pattern(1, 20_000))).unwrap();
    pair.run(ms(1000));
    pair.fail(CLIENT, 0);
    pair.run(ms(1000));
    assert_eq!(pair.socket(SERVER, 0).closed, None);
    pair.socket(SERVER, 0).room = None;
    run(&mut pair, MINUTE);
    let socket = pair.socket(SERVER, 0).clone();
    assert!(pattern(1, 20_000).starts_with(&socket.received));
    assert!(socket.received.len() > 5_000, "{} bytes", socket.received.len());
    assert_eq!((socket.closed, socket.ended), (Some(CloseKind::Abort), false));
    assert_eq!(reasons(&pair, SERVER), [EndReason::PeerReset]);
}

#[test]
fn a_local_failure_after_the_end_changes_nothing() {
    let mut pair = TunnelPair::new(18, [once(), once()], |link| link.delay(ms(20)))
        .dial(|_| Dial::Open(Socket::waiting().finishing()));
    pair.open(Socket::waiting()).unwrap();
    assert!(pair.run_until(MINUTE, |pair| pair.socket(CLIENT, 0).ended));
    pair.socket(CLIENT, 0).input = pattern(1, 9_000);
    pair.socket(CLIENT, 0).finish = true;
    pair.settle();
    pair.fail(CLIENT, 0); // the program has read its end of file, sent everything, and is gone
    run(&mut pair, MINUTE);
    assert_carried(&pair);
    assert_eq!(outcomes(&mut pair), [Some(Outcome::Clean); 2]);
}

#[test]
fn a_peer_may_finish_before_the_dial_succeeds() {
    let mut pair = TunnelPair::new(27, [once(), once()], bad).dial(|_| Dial::Hold);
    pair.open(sending(Vec::new())).unwrap();
    pair.run(ms(3000));
    let link = pair.ends[SERVER].held[0];
    pair.open_held(link, Socket::waiting());
    pair.settle();
    assert!(pair.socket(SERVER, 0).ended);
    pair.socket(SERVER, 0).finish = true;
    assert_eq!(outcomes(&mut pair), [Some(Outcome::Clean); 2]);
}

#[test]
fn shutdown_tells_the_peers() {
    for end in [CLIENT, SERVER] {
        let mut pair = TunnelPair::new(22, Default::default(), |link| link.delay(ms(20)))
            .dial(|_| Dial::Open(Socket::waiting().sending(pattern(2, 1_000_000))));
        pair.open(Socket::waiting()).unwrap();
        pair.open(Socket::waiting()).unwrap();
        pair.run(ms(2000));
        let asked = pair.now;
        pair.ends[end].tunnel.shutdown(asked);
        assert!(pair.run_until(MINUTE, |pair| pair.ends[end].outcome == Some(Outcome::Interrupted)));
        assert!(pair.now - asked < ms(1000));
        assert_eq!(reasons(&pair, end), [EndReason::Shutdown; 2]);
        run(&mut pair, MINUTE);
        assert_eq!(reasons(&pair, 1 - end), [EndReason::PeerReset; 2], "end {end}");
        assert!(pair.now - asked < ms(3000));
        assert_eq!(pair.ends[end].tunnel.poll_timeout(), None);
    }
}

#[test]
fn shutdown_waits_no_longer_than_two_seconds() {
    let mut pair = TunnelPair::new(26, Default::default(), |link| link.delay(ms(1500)));
    pair.open(sending(pattern(1, 10))).unwrap();
    run(&mut pair, MINUTE); // at least one end still acknowledges retransmissions
    let asked = pair.now;
    for end in &mut pair.ends {
        end.tunnel.shutdown(asked);
    }
    assert_eq!(outcomes(&mut pair), [Some(Outcome::Interrupted); 2]);
    assert!(pair.now - asked <= ms(2000), "{:?}", pair.now - asked);
}

#[test]
fn a_second_shutdown_ends_at_once() {
    let mut pair = TunnelPair::new(23, Default::default(), |link| link.delay(ms(20)));
    pair.open(Socket::waiting()).unwrap();
    pair.run(ms(1000));
    pair.ends[CLIENT].tunnel.shutdown(pair.now);
    pair.ends[CLIENT].tunnel.shutdown(pair.now);
    pair.settle();
    assert_eq!(pair.ends[CLIENT].outcome, Some(Outcome::Interrupted));
}

#[test]
fn shutdown_without_links_ends() {
    let mut pair = TunnelPair::new(24, [once(), once()], |link| link);
    for end in &mut pair.ends {
        end.tunnel.shutdown(pair.now);
    }
    assert_eq!(outcomes(&mut pair), [Some(Outcome::Interrupted); 2]);
}
