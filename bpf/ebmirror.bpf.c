// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * ebmirror's datapath: one journey.
 *
 *   ebm_tap_in, ebm_tap_out   on the mirrored interface: read, count, clone to the stage, let go
 *   ebm_layer3                between the two, for interfaces without an Ethernet header
 *   ebm_stage                 at the egress of the stage bridge: owns the copy; grows it and sends it
 *   ebm_exact                 at the egress of the bridge's port: the same for copies that the kernel had to
 *                             segment first
 *   ebm_probe                 attached nowhere: `filter test` runs it over the frames of a capture
 *
 * The kernel's licence string is "Dual MIT/GPL" because bpf_fib_lookup and bpf_check_mtu are open to GPL-compatible
 * programs alone.
 */
#include "abi.h"
#include "bpf.h"
#include "stats.h"
#include "state.h"
#include "tap.h"
#include "split.h"
#include "probe.h"

/* An enum reaches the skeleton only through a variable that is of it. Nobody reads this one. */
const volatile struct {
	enum ebm_schema schema;
	enum ebm_limit limit;
	enum ebm_direction direction;
	enum ebm_tunnel tunnel;
	enum ebm_oversize oversize;
	enum ebm_gso gso;
	enum ebm_reason reason;
	enum ebm_active active;
	enum ebm_peer_flag peer_flag;
	enum ebm_rules_limit rules_limit;
	enum ebm_field field;
	enum ebm_view view;
	enum ebm_use use;
	enum ebm_node_bits node_bits;
	enum ebm_sieve_row sieve_row;
	enum ebm_table table;
	enum ebm_rule_flag rule_flag;
	/* What no program reads, and only maps of maps hold. */
	struct ebm_node node;
} ebm_enums;

char ebm_license[] SEC("license") = "Dual MIT/GPL";

/* Both return TCX_NEXT, whatever happens: the verdict on production traffic is never ours. */
SEC("tc")
int ebm_tap_in(struct __sk_buff *skb)
{
	tap_frame(skb, EBM_DIRECTION_INGRESS);
	return EBM_VERDICT_NEXT;
}

SEC("tc")
int ebm_tap_out(struct __sk_buff *skb)
{
	tap_frame(skb, EBM_DIRECTION_EGRESS);
	return EBM_VERDICT_NEXT;
}

/* At the egress of our own tun device, to which the taps of devices without an Ethernet header clone: gives the packet one
 * (zero addresses, the right type) and sends it on to the stage. */
SEC("tc")
int ebm_layer3(struct __sk_buff *skb)
{
	const struct ebm_control *control = control_get();
	struct scratch *scratch = scratch_get();
	struct ethhdr eth = { .h_proto = (__be16)skb->protocol };

	if (!control || !scratch || skb->mark != control->mark)
		return EBM_VERDICT_DROP;
	scratch->refused += 1;
	if (bpf_skb_change_head(skb, sizeof(eth), 0) ||
	    bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), BPF_F_RECOMPUTE_CSUM))
		return EBM_VERDICT_DROP;
	return bpf_redirect(control->stage_ifindex, 0);
}

/* Any copy, however it leaves. Global, so that the straight way has a small frame and is all there is to its program. */
__noinline int stage_send(struct __sk_buff *skb)
{
	const struct ebm_control *control = control_get();
	struct scratch *scratch = scratch_get();
	struct encap_run run;

	if (!control || !scratch)
		return EBM_VERDICT_DROP;
	__builtin_memset(&run, 0, sizeof(run));
	stage_job(&run.job, skb, control);
	return encap_send(skb, &run, scratch);
}

SEC("tc")
int ebm_stage(struct __sk_buff *skb)
{
	const struct ebm_control *control = control_get();
	struct scratch *scratch = scratch_get();
	int verdict;

	/* The bridge's own chatter (router solicitations) is no copy: away with it, counted nowhere. */
	if (!control || !scratch || skb->mark != control->mark)
		return EBM_VERDICT_DROP;
	if (skb->cb[JOB_CB_WORD] & JOB_EMIT)
		return bpf_redirect_neigh(skb->cb[JOB_CB_HASH], NULL, 0, 0);
	scratch->stage_copies += 1;
	verdict = direct_send(skb);
	if (verdict == DIRECT_SPLIT)
		verdict = split_stage(skb);
	return verdict == DIRECT_NOT ? stage_send(skb) : verdict;
}

SEC("tc")
int ebm_exact(struct __sk_buff *skb)
{
	const struct ebm_control *control = control_get();
	struct scratch *scratch = scratch_get();
	struct encap_run run;
	int verdict;

	if (!control || !scratch || skb->mark != control->mark || !exact_is_handed_over(skb, scratch))
		return EBM_VERDICT_DROP;
	verdict = split_exact(skb);
	if (verdict != SPLIT_NOT)
		return verdict;
	__builtin_memset(&run, 0, sizeof(run));
	exact_job(&run.job, skb, control, scratch);
	return encap_send(skb, &run, scratch);
}

/* 0, with its answer in cb. */
SEC("tc")
int ebm_probe(struct __sk_buff *skb)
{
	return probe_frame(skb);
}
