//! What stands below the options of `peer add`, `peer set` and `peer list`: examples, and how a collector receives.

pub(super) const ADD: &str =
    "Examples, each with what a Linux collector at 192.0.2.10 (2001:db8::10) needs to receive it. There
this host is 192.0.2.1 (2001:db8::1).

  ebmirror peer add ids --tunnel vxlan --remote 192.0.2.10 --vni 42
    ip link add vx0 type vxlan id 42 dstport 4789 local 192.0.2.10 nolearning
  ebmirror peer add ids --tunnel vxlan --remote 2001:db8::10 --vni 42
    ip link add vx0 type vxlan id 42 dstport 4789 local 2001:db8::10 udp6zerocsumrx \
      nolearning
  ebmirror peer add ids --tunnel geneve --remote 192.0.2.10 --vni 42
    ip link add gnv0 type geneve id 42 remote 192.0.2.1
    (IPv6: remote 2001:db8::1 udp6zerocsumrx)
  ebmirror peer add ids --tunnel gre --remote 192.0.2.10 --key 7
    ip link add gt0 type gretap local 192.0.2.10 remote 192.0.2.1 key 7
    (IPv6: type ip6gretap local 2001:db8::10 remote 2001:db8::1 key 7)
  ebmirror peer add ids --tunnel erspan2 --remote 192.0.2.10 --session 7
    ip link add es0 type erspan oseq key 7 local 192.0.2.10 remote 192.0.2.1 erspan_ver 1
    (IPv6: type ip6erspan; erspan3: erspan_ver 2)
  ebmirror peer add ids --tunnel span --dev eth9
    what is behind eth9 gets the plain frames

Then: ip link set DEVICE up.

UDP over IPv6 is sent without a checksum (RFC 6935), which a Linux collector drops unless its device
has udp6zerocsumrx.

A copy that does not fit the path is sent as IP fragments, which the collector puts together;
--oversize says otherwise. ERSPAN cannot carry super-packets: its copies are what was on the wire,
whatever --gso says.

Rates are decimal (1mbit is 1,000,000 bits a second), from 8kbit to 1tbit and from 1pps to 1gpps.
They count the frames that are copied, without the outer headers.

Every group gets a copy of each frame; inside a group each flow has its peer, both directions
the same one. A peer without a group is a group of its own. Groups are made by naming them; their
members may have different tunnels.";

pub(super) const SET: &str =
    "What is not given stays as it is. The tunnel itself cannot be changed: delete the peer, and add it
again.

--key none, --dev none, --rate none, --group none and --snaplen all take a setting away; --local
auto lets the route choose again. For a remote address of the other family it does so by itself.

Examples:
  ebmirror peer set ids --remote 192.0.2.11
  ebmirror peer set ids --rate 100mbit --snaplen 128
  ebmirror peer set ids --rate none --group sensors";

pub(super) const LIST: &str =
    "ID is what tells this mirror from others at the collector: VNI, key or session. POLICY has
what differs from the defaults; ebmirror peer show NAME, and --json, have all of it.";
