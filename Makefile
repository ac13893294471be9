# Two commands do all the set-up on a fresh Debian or Ubuntu with a Rust toolchain: `make demo` and `make test`.

CARGO ?= cargo
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Built by whoever calls make, run as root, with what sudo takes away.
ROOT_CARGO = $(SUDO) env PATH="$(PATH)" HOME="$(HOME)" $(if $(CARGO_TARGET_DIR),CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)") $(CARGO)
export PATH := $(PATH):/usr/sbin:/sbin

# What the build needs, as "file:package": a file that is there needs no package.
BUILD_NEEDS := /usr/include/linux/bpf.h:linux-libc-dev /usr/include/gelf.h:libelf-dev /usr/include/zlib.h:zlib1g-dev \
	cc:gcc make:make pkg-config:pkg-config
BENCH_NEEDS := ip:iproute2 tc:iproute2 iperf3:iperf3 nsenter:util-linux git:git
TEST_NEEDS := ip:iproute2 tc:iproute2 iperf3:iperf3 tcpdump:tcpdump tshark:tshark ethtool:ethtool bpftool:bpftool \
	strace:strace jq:jq nsenter:util-linux setpriv:util-linux \
	qemu-system-x86_64:qemu-system-x86 wg:wireguard-tools strip:binutils ldd:libc-bin \
	/usr/share/doc/busybox-static/copyright:busybox-static
# Where cargo puts what it builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Debian's kernel 6.1 for the tests in QEMU. KERNEL_DEB=FILE says where it is, where apt does not know it.
KERNEL := $(TARGET)/kernel-6.1
export KERNEL_DEB

# Captures to replay: a directory of pcap and pcapng files.
PCAPS ?= tests/corpus
# Filter expressions, one a line.
EXPRESSIONS ?= tests/expressions.txt

.PHONY: all build demo corpus oracle test lint generate kernel install-build-needs install-test-needs clean bench install-bench-needs

all: build

build: install-build-needs
	$(CARGO) build --release --locked

demo: build
	$(SUDO) $(TARGET)/release/ebmirror demo

# Every frame of the captures, both ways through a mirrored interface, compared; CORPUS_FLAGS as in `ebmirror corpus --help`.
corpus: build
	$(SUDO) $(TARGET)/release/ebmirror corpus $(CORPUS_FLAGS) -- "$(PCAPS)"

# Which frames of the captures the expressions choose, in the kernel, compared with tcpdump -r, frame by frame.
oracle: build
	@tools/install-needs tcpdump:tcpdump
	$(SUDO) $(TARGET)/release/ebmirror oracle -- "$(PCAPS)" "$(EXPRESSIONS)"

# ebmirror beside what else could do its work. The machine should have nothing else to do. BENCH_FLAGS="--help" lists what can be
# asked for; --quick takes less than two minutes, --plots docs/performance draws what the document shows.
bench: install-bench-needs
	$(CARGO) bench --locked --no-run --bench side_by_side
	$(ROOT_CARGO) bench --locked --quiet --bench side_by_side -- $(BENCH_FLAGS)

# Root tests cannot be skipped: without root they fail.
test: install-test-needs kernel lint
	$(CARGO) test --locked --no-run
	$(ROOT_CARGO) test --locked --no-fail-fast
	$(SUDO) $(TARGET)/debug/ebmirror demo

lint: install-build-needs
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The manual pages and completions that are committed.
generate: install-build-needs
	$(CARGO) run --quiet --locked -- generate .

# Downloaded once, never installed.
kernel: install-test-needs
	@tools/fetch-kernel $(KERNEL)

install-build-needs:
	@tools/install-needs $(BUILD_NEEDS) 'clang*:clang'

install-bench-needs: install-build-needs
	@tools/install-needs $(BENCH_NEEDS)

install-test-needs: install-build-needs
	@tools/install-needs $(TEST_NEEDS)

clean:
	$(CARGO) clean
