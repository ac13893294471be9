//! What stands below the options of the `filter` commands.

pub(super) const ADD: &str = "Examples:
  ebmirror filter add 'tcp port 443 and not net 10.0.0.0/8'
  ebmirror filter add --to ids --snaplen 128 udp port 53
  ebmirror filter add --action skip --priority 10 'host 192.0.2.10'
  ebmirror filter add --iface eth0 --direction ingress --proto tcp --dport 8000-8100
  ebmirror filter add --sample 1/10 --to archive
  ebmirror filter add --file rules.txt

The first rule that a frame matches counts: by priority, lower ones first, then by ID. A frame that
matches none is mirrored while no rule mirrors, else it is skipped; ebmirror filter default says
otherwise. Options such as --dport and the expression are joined by and; each option is shorthand
for an expression, which ebmirror filter list shows. With neither of them a rule matches every
frame.

A frame that --sample does not choose is skipped: it is not asked of the next rule.

In a file each line has the arguments of one filter add, quoted as in a shell; # begins a comment.
All of its rules are added, at once, or none.

Expressions mean what tcpdump -r takes them to mean for a capture of Ethernet (pcap-filter(7)). Covered:
  host, net, port, portrange      with src, dst, src or dst, src and dst; 10.0.0.0/8, 2001:db8::/32
  ip, ip6, arp, rarp              alone, or in front of host and net
  tcp, udp, sctp                  alone, or in front of port and portrange
  icmp, icmp6, igmp, gre, esp, ah, pim, vrrp, proto N, ip proto N, ip6 proto N
  ether host M, ether src M, ether dst M, ether proto N (from 1501 on)
  broadcast, multicast, ether and ip and ip6 multicast
  vlan, vlan N                    what stands behind it is looked for four bytes further on
  inbound, outbound, ifname NAME  the mirrored interface and its direction
  less N, greater N, len = N      with = == != < <= > >=
  tcp[tcpflags] & (tcp-syn|tcp-ack) != 0, tcp[13] = 2, icmp[icmptype] = icmp-echo,
  icmp[icmpcode], icmp6[icmp6type], icmp6[icmp6code]
  and && or || not ! ( )          and, or bind alike, from the left; port 80 or 443
  names of well-known ports, protocols, TCP flags and ICMP types

Not covered, and an error that points at the word: names of hosts, other bytes of packets and
arithmetic with them, gateway, protochain, ip broadcast, LLC and SNAP, mpls, pppoe, geneve, wlan.

Differences from libpcap: inbound, outbound and ifname have a meaning here; names of ports and
protocols are a table of the program's; gre is a word; ip multicast and ip6 multicast want the
whole address in the frame. As in libpcap a plain tcp finds no frame with a tag (vlan and tcp does),
later fragments have no ports, and TCP's flags and a port behind IPv6 extension headers are not found.";

pub(super) const SET: &str =
    "What is not given stays as it is, also the rule's ID and its counter. An expression and options such
as --dport take the place of all that the rule matched before.

--to all, --snaplen all and --sample 1/1 take a setting away.

Examples:
  ebmirror filter set 3 --to ids --to archive
  ebmirror filter set 3 'tcp port 443 or 8443'";

pub(super) const LIST: &str = "The rules stand in the order in which they are asked. Their counters: ebmirror stats.";

pub(super) const DEFAULT: &str =
    "auto: they are mirrored while there is no rule that mirrors, else skipped. So a lone rule that skips
excludes its frames, and the rest goes on.";
