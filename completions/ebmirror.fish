# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ebmirror_global_optspecs
    string join \n j/json p/pretty n/netns= root= dry-run color= v/verbose q/quiet h/help V/version
end

function __fish_ebmirror_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ebmirror_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ebmirror_using_subcommand
    set -l cmd (__fish_ebmirror_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ebmirror -n "__fish_ebmirror_needs_command" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_needs_command" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_needs_command" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_needs_command" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -s V -l version -d 'Print version'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "attach" -d 'Mirror interfaces'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "detach" -d 'Stop mirroring interfaces'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "pin" -d 'Load and pin the datapath with nothing attached, so that peers can be prepared'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "unpin" -d 'Remove everything of this instance'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "peer" -d 'Edit and list the collectors'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "filter" -d 'Edit, list and try the rules: which frames are mirrored'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "run" -d 'Mirror interfaces as long as this command runs, and show the counters'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "stats" -d 'Show the counters'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "status" -d 'Is it working? One screen; exit code 1 when it is not'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "demo" -d 'Self-test: mirror real traffic across a throw-away network, and compare each copy with its original'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "corpus" -d 'Replay captures through a mirrored interface, and compare each copy with its original'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "oracle" -d 'Compare what expressions choose of captures with what tcpdump chooses'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "generate" -d 'Write the manual pages and the completion scripts'
complete -c ebmirror -n "__fish_ebmirror_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l direction -d 'Frames to mirror; another direction than before replaces it' -r -f -a "both\t'Received and sent frames'
ingress\t'Received frames'
egress\t'Sent frames'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l mode -d 'Kernel hook to use' -r -f -a "auto\t'TCX where the kernel has it (6.6 and later), else tc'
tcx\t'TCX links'
tc\t'clsact and cls_bpf'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l order -d 'Place among other programs [default: first on ingress, last on egress]' -r -f -a "first\t'Before all others'
last\t'Behind all others'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l for -d 'Stop by itself after this time (90s, 10m, 2h), without a process' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l force -d 'Mirror it even while copies leave through a VPN whose packets it may carry'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand attach" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -l all -d 'All interfaces'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand detach" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -l mode -d 'Kernel hook of the stage\'s programs' -r -f -a "auto\t'TCX where the kernel has it (6.6 and later), else tc'
tcx\t'TCX links'
tc\t'clsact and cls_bpf'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand pin" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -l force -d 'Also when interfaces are attached, and what an instance left that was damaged or lost its pins'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand unpin" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -f -a "add" -d 'Send copies to one more collector'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -f -a "set" -d 'Change a peer; takes effect at once'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -f -a "del" -d 'Delete peers'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -f -a "rm" -d 'Delete peers'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -f -a "list" -d 'List the peers'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -f -a "show" -d 'Show a peer, what the kernel does with it now, and its counters; without a name, list them all'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and not __fish_seen_subcommand_from add set del rm list show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l tunnel -d 'What carries the copies' -r -f -a "vxlan\t'VXLAN (RFC 7348): UDP, with a 24-bit VNI'
geneve\t'GENEVE (RFC 8926): UDP, with a 24-bit VNI'
gre\t'GRE (RFC 2784, 2890): Ethernet frames, with or without a 32-bit key'
erspan2\t'ERSPAN type II: GRE, with a 10-bit session and the frame\'s VLAN'
erspan3\t'ERSPAN type III: the same, with direction and time'
span\t'No tunnel: the plain frame, sent out of a device of this host'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l remote -d 'IPv4 or IPv6 address of the collector' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l local -d 'Source address of the outer header, or auto [default: auto, the route chooses]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l vni -d 'vxlan, geneve: network identifier, 0 to 16777215' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l key -d 'gre: key, 0 to 4294967295, or none [default: none, a header without one]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l session -d 'erspan2, erspan3: session, 0 to 1023' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l port -d 'vxlan, geneve: UDP destination port [default: 4789, 6081]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l dev -d 'span: the device that sends the copies; else the output device, or none [default: none, the route\'s]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l ttl -d 'TTL (hop limit) of the outer header, 1 to 255 [default: 64]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l dscp -d 'DSCP of the outer header, 0 to 63 [default: 0]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l oversize -d 'What becomes of a copy that does not fit the path [default: fragment; span: drop]' -r -f -a "fragment\t'Sent as fragments of the outer IP packet, which the collector puts together'
truncate\t'Cut to what fits'
drop\t'Not sent, and counted as too_big'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l gso -d 'What becomes of a TCP super-packet [default: fast]' -r -f -a "fast\t'Copied whole: every byte arrives; where the path has no room for the outer headers, the segments of the copy are smaller than those that were on the wire'
wire\t'Cut into the segments that were on the wire, then copied'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l snaplen -d 'Keep the first bytes of each frame, 64 to 65535, or all [default: all]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l rate -d 'Bits or frames a second at most, over all CPUs: 10mbit, 1gbit, 500kpps, or none; what 100 ms take, and a super-packet at least, may go at once [default: none]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l group -d 'Share the flows with the other peers of this group, or none [default: none, every frame]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l force -d 'Send copies where they may come back: through a VPN whose packets a mirrored interface may carry, or (span) onto the mirrored network'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l remote -d 'IPv4 or IPv6 address of the collector' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l local -d 'Source address of the outer header, or auto [default: auto, the route chooses]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l vni -d 'vxlan, geneve: network identifier, 0 to 16777215' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l key -d 'gre: key, 0 to 4294967295, or none [default: none, a header without one]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l session -d 'erspan2, erspan3: session, 0 to 1023' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l port -d 'vxlan, geneve: UDP destination port [default: 4789, 6081]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l dev -d 'span: the device that sends the copies; else the output device, or none [default: none, the route\'s]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l ttl -d 'TTL (hop limit) of the outer header, 1 to 255 [default: 64]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l dscp -d 'DSCP of the outer header, 0 to 63 [default: 0]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l oversize -d 'What becomes of a copy that does not fit the path [default: fragment; span: drop]' -r -f -a "fragment\t'Sent as fragments of the outer IP packet, which the collector puts together'
truncate\t'Cut to what fits'
drop\t'Not sent, and counted as too_big'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l gso -d 'What becomes of a TCP super-packet [default: fast]' -r -f -a "fast\t'Copied whole: every byte arrives; where the path has no room for the outer headers, the segments of the copy are smaller than those that were on the wire'
wire\t'Cut into the segments that were on the wire, then copied'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l snaplen -d 'Keep the first bytes of each frame, 64 to 65535, or all [default: all]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l rate -d 'Bits or frames a second at most, over all CPUs: 10mbit, 1gbit, 500kpps, or none; what 100 ms take, and a super-packet at least, may go at once [default: none]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l group -d 'Share the flows with the other peers of this group, or none [default: none, every frame]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l force -d 'Send copies where they may come back: through a VPN whose packets a mirrored interface may carry, or (span) onto the mirrored network'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from del" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from help" -f -a "add" -d 'Send copies to one more collector'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from help" -f -a "set" -d 'Change a peer; takes effect at once'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from help" -f -a "del" -d 'Delete peers'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the peers'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a peer, what the kernel does with it now, and its counters; without a name, list them all'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand peer; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "add" -d 'Add a rule, or all rules of a file; prints the ID'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "set" -d 'Change a rule; takes effect at once'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "del" -d 'Delete rules'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "rm" -d 'Delete rules'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "list" -d 'List the rules in the order in which they are asked'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "show" -d 'List the rules in the order in which they are asked'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "flush" -d 'Delete all rules; the default stays'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "default" -d 'Say what becomes of frames that no rule matches'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "test" -d 'Try the loaded rules, or one expression, on a capture, in the kernel: which rule each frame hits'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "explain" -d 'Show the table entries that an expression becomes'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and not __fish_seen_subcommand_from add set del rm list show flush default test explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l file -d 'Add the rules of this file, all of them or none: each line has the arguments of one filter add; - for stdin' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l priority -d 'Lower ones are asked first; of equal ones, the one with the lower ID [default: 100]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l action -d 'What becomes of frames that match [default: mirror]' -r -f -a "mirror\t'It is copied'
skip\t'It is not'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l to -d 'Copy to this peer, or to this group; may be given several times; all: to every group [default: all]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l snaplen -d 'Copy the first bytes of each frame, 64 to 65535, or all [default: all]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l sample -d 'Copy one flow of N, both directions of it, the same one on every host: 1/N [default: 1/1]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l iface -d 'Interface: ifname IFACE' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l direction -d 'Way through the interface: inbound, outbound' -r -f -a "ingress\t'Received by the interface'
egress\t'Sent by the interface'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l ether-type -d 'Ethernet type, by name or number: ether proto T' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l vlan -d 'VLAN: vlan N' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l src-mac -d 'Source MAC address: ether src MAC' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l dst-mac -d 'Destination MAC address: ether dst MAC' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l proto -d 'Protocol over IP, by name or number: tcp, proto P' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l src -d 'Source address or network: src net CIDR' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l dst -d 'Destination address or network: dst net CIDR' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l host -d 'Address or network of either side: net CIDR' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l sport -d 'Source port, or range of them (8000-8100): src portrange PORTS' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l dport -d 'Destination port, or range of them: dst portrange PORTS' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l port -d 'Port of either side, or range of them: portrange PORTS' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l tcp-flags -d 'TCP flags that are set, and with ! those that are not: syn,!ack' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l icmp-type -d 'ICMP type, by name or number: icmp[icmptype] = N' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l priority -d 'Lower ones are asked first; of equal ones, the one with the lower ID [default: 100]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l action -d 'What becomes of frames that match [default: mirror]' -r -f -a "mirror\t'It is copied'
skip\t'It is not'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l to -d 'Copy to this peer, or to this group; may be given several times; all: to every group [default: all]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l snaplen -d 'Copy the first bytes of each frame, 64 to 65535, or all [default: all]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l sample -d 'Copy one flow of N, both directions of it, the same one on every host: 1/N [default: 1/1]' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l iface -d 'Interface: ifname IFACE' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l direction -d 'Way through the interface: inbound, outbound' -r -f -a "ingress\t'Received by the interface'
egress\t'Sent by the interface'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l ether-type -d 'Ethernet type, by name or number: ether proto T' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l vlan -d 'VLAN: vlan N' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l src-mac -d 'Source MAC address: ether src MAC' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l dst-mac -d 'Destination MAC address: ether dst MAC' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l proto -d 'Protocol over IP, by name or number: tcp, proto P' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l src -d 'Source address or network: src net CIDR' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l dst -d 'Destination address or network: dst net CIDR' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l host -d 'Address or network of either side: net CIDR' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l sport -d 'Source port, or range of them (8000-8100): src portrange PORTS' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l dport -d 'Destination port, or range of them: dst portrange PORTS' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l port -d 'Port of either side, or range of them: portrange PORTS' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l tcp-flags -d 'TCP flags that are set, and with ! those that are not: syn,!ack' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l icmp-type -d 'ICMP type, by name or number: icmp[icmptype] = N' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from del" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from flush" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from default" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -l expression -d 'Try this expression in tcpdump\'s language instead of the loaded rules' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -l iface -d 'As if the frames were seen on this interface' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -l direction -d 'As if the frames went this way' -r -f -a "ingress\t'Received by the interface'
egress\t'Sent by the interface'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add a rule, or all rules of a file; prints the ID'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "set" -d 'Change a rule; takes effect at once'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "del" -d 'Delete rules'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the rules in the order in which they are asked'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "flush" -d 'Delete all rules; the default stays'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "default" -d 'Say what becomes of frames that no rule matches'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "test" -d 'Try the loaded rules, or one expression, on a capture, in the kernel: which rule each frame hits'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "explain" -d 'Show the table entries that an expression becomes'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand filter; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -l direction -d 'Frames to mirror; another direction than before replaces it' -r -f -a "both\t'Received and sent frames'
ingress\t'Received frames'
egress\t'Sent frames'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -l mode -d 'Kernel hook to use' -r -f -a "auto\t'TCX where the kernel has it (6.6 and later), else tc'
tcx\t'TCX links'
tc\t'clsact and cls_bpf'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -l force -d 'Mirror it even while copies leave through a VPN whose packets it may carry'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -l watch -d 'Again each SECS seconds, with rates, until Ctrl-C' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -l reset -d 'Print all counters, then set them to zero'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand stats" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -l frames -d 'Show so many of the copies, a line each' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -l no-offload -d 'Turn the offloads of the way to the collector off, as on a plain network card'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -l mtu -d 'MTU of the mirrored interface; longer frames are left out' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -l underlay-mtu -d 'MTU of the way to the collector' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -l mode -d 'Kernel hook to use' -r -f -a "auto\t'TCX where the kernel has it (6.6 and later), else tc'
tcx\t'TCX links'
tc\t'clsact and cls_bpf'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -l no-offload -d 'Turn the offloads of the way to the collector off, as on a plain network card'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand corpus" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand oracle" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -s n -l netns -d 'Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller\'s' -r
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -l root -d 'Directory in bpffs; one instance a network namespace below it' -r -F
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -l color -d 'When to use colours; NO_COLOR is obeyed' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -s j -l json -d 'Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -s p -l pretty -d 'The same, indented'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -l dry-run -d 'Say what would change, and change nothing'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -s v -l verbose -d 'Say more: libbpf\'s and the verifier\'s log'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -s q -l quiet -d 'Say less: no warnings'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand generate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "attach" -d 'Mirror interfaces'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "detach" -d 'Stop mirroring interfaces'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "pin" -d 'Load and pin the datapath with nothing attached, so that peers can be prepared'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "unpin" -d 'Remove everything of this instance'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "peer" -d 'Edit and list the collectors'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "filter" -d 'Edit, list and try the rules: which frames are mirrored'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "run" -d 'Mirror interfaces as long as this command runs, and show the counters'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "stats" -d 'Show the counters'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "status" -d 'Is it working? One screen; exit code 1 when it is not'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "demo" -d 'Self-test: mirror real traffic across a throw-away network, and compare each copy with its original'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "corpus" -d 'Replay captures through a mirrored interface, and compare each copy with its original'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "oracle" -d 'Compare what expressions choose of captures with what tcpdump chooses'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "generate" -d 'Write the manual pages and the completion scripts'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and not __fish_seen_subcommand_from attach detach pin unpin peer filter run stats status demo corpus oracle completions generate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from peer" -f -a "add" -d 'Send copies to one more collector'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from peer" -f -a "set" -d 'Change a peer; takes effect at once'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from peer" -f -a "del" -d 'Delete peers'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from peer" -f -a "list" -d 'List the peers'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from peer" -f -a "show" -d 'Show a peer, what the kernel does with it now, and its counters; without a name, list them all'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "add" -d 'Add a rule, or all rules of a file; prints the ID'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "set" -d 'Change a rule; takes effect at once'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "del" -d 'Delete rules'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "list" -d 'List the rules in the order in which they are asked'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "flush" -d 'Delete all rules; the default stays'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "default" -d 'Say what becomes of frames that no rule matches'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "test" -d 'Try the loaded rules, or one expression, on a capture, in the kernel: which rule each frame hits'
complete -c ebmirror -n "__fish_ebmirror_using_subcommand help; and __fish_seen_subcommand_from filter" -f -a "explain" -d 'Show the table entries that an expression becomes'
