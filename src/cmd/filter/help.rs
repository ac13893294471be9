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
All of its rules are added, at once, or none.";

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
