//! What stands below the options of `stats`: what each counter means.

pub(super) const COUNTERS: &str = "Each counter has packets and bytes, in the unit of the original frame on the wire.

Interfaces:
  seen      every frame; seen = own + skipped + selected
  own       copies of this host's own, which are never mirrored again
  skipped   frames that nobody wanted: there was no peer, or the rules skip them
  selected  frames to be mirrored; selected = cloned + lost
  cloned    frames of which a copy reached the stage
  lost      frames that could not be copied
  copies    over the cloned frames, the peers asked for
Peers:
  selected  copies asked for; selected = sent + lost
  sent      copies handed to the output device
  truncated of these, the ones that were cut
  lost      copies that did not leave, by reason: no_route, no_neighbour (no answer), too_big (does
            not fit the path), rate, forwarding_off, no_room, loop, stage_full, no_memory
Rules:
  matched   frames of which it is the first rule that they match, also those that --sample leaves out
retired     what deleted peers had been asked for
unaccounted packets that these sums do not account for: 0 when idle";
