//! The client's address, behind proxies. Pure.

use std::net::IpAddr;
use std::str::FromStr;

/// A network, as `10.0.0.0/8` or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network like 10.0.0.0/8 or fd00::/8: {0:?}")]
pub struct BadNetwork(String);

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let wrong = || BadNetwork(text.chars().take(64).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(longest);
        if bits > longest { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_start(u32::from(own).into(), u32::from(other).into(), 32, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same_start(own.into(), other.into(), 128, self.bits),
            _ => false,
        }
    }
}

fn same_start(one: u128, other: u128, width: u32, bits: u8) -> bool {
    let rest = width - u32::from(bits);
    rest >= 128 || one >> rest == other >> rest
}

/// The client's address: the peer, or, if that is a trusted proxy, the right-most address in
/// `X-Forwarded-For` that is not one of the trusted proxies. What is to the left of it may come
/// from the client. An entry that is no address ends the search at the last hop that is known.
pub fn client_of<'a>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut known = peer;
    if !is_trusted(peer) {
        return known;
    }
    for entry in forwarded.rev().flat_map(|line| line.rsplit(',')) {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { return known };
        known = address;
        if !is_trusted(address) {
            return known;
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "::1", "fd00::/8"].map(|text| text.parse().expect("sound")).into();
        for (peer, lines, expected) in [
            ("9.9.9.9", vec!["1.2.3.4"], "9.9.9.9"),
            ("10.1.1.1", vec![], "10.1.1.1"),
            ("10.1.1.1", vec!["1.2.3.4"], "1.2.3.4"),
            ("10.1.1.1", vec!["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.1.1.1", vec!["6.6.6.6, 1.2.3.4, 10.2.2.2"], "1.2.3.4"),
            ("10.1.1.1", vec!["6.6.6.6", "1.2.3.4,fd00::7"], "1.2.3.4"),
            ("10.1.1.1", vec!["1.2.3.4, unknown"], "10.1.1.1"),
            ("10.1.1.1", vec!["10.3.3.3"], "10.3.3.3"),
            ("::ffff:10.1.1.1", vec!["1.2.3.4"], "1.2.3.4"),
        ] {
            let peer = peer.parse().expect("an address");
            assert_eq!(client_of(peer, lines.iter().copied(), &trusted).to_string(), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/", "::/129"] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
        let all: Network = "0.0.0.0/0".parse().expect("sound");
        assert!(all.contains("1.2.3.4".parse().expect("an address")));
        assert!(!all.contains("::1".parse().expect("an address")));
    }
}
