"""Measures the C library and writes docs/figures-c.md: `python3 bindings-c/figures/figures.py`.

Builds `make dist-c`, `make dist-c-small` and the servers of `make bench` first. Needs Python 3, a C compiler, and Linux.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "benches" / "c"
PREFIX = ROOT / "dist" / "c"
SMALL = ROOT / "dist" / "c-small"
# The promise of the small build, in bytes, for the first of the samples.
SMALL_TARGET = 2_000_000
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HUB = "contoso-hub-2.azure-devices.net"
RUNS = 9
NATIVE = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
C = ["cc", "-std=c99", "-D_DEFAULT_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{PREFIX}/include"]

# As the samples' own Makefile has it.
FOR_SIZE = ["-Os"]


def run(*command, **options):
    return subprocess.run(
        [str(word) for word in command], check=True, text=True, capture_output=True, cwd=ROOT, **options
    ).stdout


def link(output, *sources, flags=(), prefix=PREFIX):
    library = prefix / "lib" / "libdps_core.a"
    run(*C, *sources, "-o", output, *flags, "-Wl,--gc-sections", "-s", library, *NATIVE)
    return output


class Server:
    """A server of benches/, which ends with its standard input."""

    def __init__(self, service):
        self.process = subprocess.Popen(
            [TARGET / "release" / "dps-bench-server", json.dumps(service)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.site = json.loads(self.process.stdout.readline())
        self.environment = {
            **os.environ, "DPS_CONNECT_TO": self.site["connect_to"], "SSL_CERT_FILE": self.site["roots"],
        }

    def measure(self, *command):
        return json.loads(run(*command, env=self.environment))

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def spread(values, form):
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} [{least:{form}} .. {most:{form}}]"


def stripped(path, folder):
    copy = folder / (path.name + ".stripped")
    run("strip", "-o", copy, path)
    return copy


CRYPTOGRAPHY = "cryptography: AWS-LC (in the small build *ring*), and what has no name"
SAMPLES = [
    ("prov_dev_client_sample", ["prov_dev_client_sample.c", "custom_hsm_example.c"]),
    ("prov_dev_client_ll_sample", ["prov_dev_client_ll_sample.c", "custom_hsm_example.c"]),
    ("custom_hsm_sign", ["custom_hsm_sign.c"]),
]

OWNERS = [
    ("TLS: rustls, webpki, tokio-rustls", r"rustls|webpki|tokio_rustls"),
    ("runtime: tokio", r"tokio|mio|futures_\w+"),
    ("MQTT codec", r"rumqttc|bytes"),
    ("X.509, keys, PKCS#12, ASN.1: x509-parser, der, pkcs8, p12-keystore, RustCrypto",
     r"x509_parser|der|der_parser|asn1_rs|oid_registry|pkcs\w+|p12_keystore|spki|aes|sha\w+|hmac|cbc|des|"
     r"rc2|cipher|digest|nom|const_oid|scrypt|salsa20|inout"),
    ("ours: dps-core and its C layer", r"dps_core"),
    ("JSON", r"serde\w*|itoa|ryu"),
    ("std: core, alloc, and the symbolizer of its panic messages",
     r"core|std|alloc|gimli|addr2line|rustc_demangle|miniz_oxide|hashbrown|memchr|object"),
]


def shares(program):
    """Bytes by owner, from the symbols of a program that was not stripped."""
    totals = dict.fromkeys([name for name, _ in OWNERS] + [CRYPTOGRAPHY], 0)
    for line in run("nm", "-S", "--defined-only", "-C", program).splitlines():
        found = re.match(r"[0-9a-f]+ ([0-9a-f]+) \w (.*)", line)
        if not found:
            continue
        size, symbol = int(found[1], 16), found[2]
        crate = re.match(r"(?:<|&|\(|impl |dyn |mut |\[)*([a-z_0-9]+)(?:\[[0-9a-f]+\])?::", symbol)
        owner = next((name for name, crates in OWNERS if crate and re.fullmatch(crates, crate[1])),
                     CRYPTOGRAPHY)
        totals[owner] += size
    return totals


def sizes(folder, prefix):
    """(what, size) of the libraries and of each sample."""
    samples = ROOT / "samples" / "c"
    rows = [("`libdps_core.a`, all of it", prefix / "lib" / "libdps_core.a")]
    rows.append(("`libdps_core.so`, stripped", stripped((prefix / "lib" / "libdps_core.so").resolve(), folder)))
    for name, sources in SAMPLES:
        paths = [samples / source for source in sources]
        program = link(folder / f"{prefix.name}-{name}", *paths, flags=FOR_SIZE, prefix=prefix)
        rows.append((f"`{name}`, static, stripped, `--gc-sections`", program))
        for flag, program in [("-no-pie", "no-pie"), ("-Wl,-z,pack-relative-relocs", "relr")]:
            program = link(folder / f"{prefix.name}-{name}-{program}", *paths, flags=[*FOR_SIZE, flag], prefix=prefix)
            rows.append((f"the same with `{flag}`", program))
    return [(name, path.stat().st_size) for name, path in rows]


def named_shares(folder, profile):
    """The shares of a sample that is linked with the archive as rustc made it: it has the names."""
    raw = folder / f"named-{profile}"
    run(*C, ROOT / "samples/c/custom_hsm_sign.c", "-o", raw, "-Wl,--gc-sections",
        TARGET / profile / "libdps_core.a", *NATIVE)
    return shares(raw)


def main():
    run("make", "dist-c")
    run("make", "dist-c-small")
    run("cargo", "build", "--release", "--package", "dps-benches", "--bin", "dps-bench-server")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        full, small = sizes(folder, PREFIX), sizes(folder, SMALL)
        first = next(size for name, size in small if SAMPLES[0][0] in name)
        if first >= SMALL_TARGET:
            sys.exit(f"{SAMPLES[0][0]} has {first} bytes in the small build: {SMALL_TARGET} are promised")
        table = "\n".join(f"| {name} | {size / 1e6:.3f} MB | {small[row][1] / 1e6:.3f} MB |"
                          for row, (name, size) in enumerate(full))
        owners, small_owners = named_shares(folder, "c-dist"), named_shares(folder, "c-dist-small")
        owners = "\n".join(f"| {name} | {size / 1e3:,.0f} KB | {small_owners[name] / 1e3:,.0f} KB |"
                           for name, size in sorted(owners.items(), key=lambda item: -item[1]))

        device = link(folder / "device", PROGRAMS / "device.c")
        telemetry = link(folder / "telemetry", PROGRAMS / "telemetry.c")
        emulator = Server({"Emulator": {"folder": str(folder), "devices": 1}})
        devices = Path(emulator.site["devices"])
        chain, key = devices / "device-00000-full-chain.cert.pem", devices / "device-00000.key.pem"
        lives = [emulator.measure(device, emulator.site["id_scope"], chain, key) for _ in range(RUNS)]
        sink = Server({"Sink": {"folder": str(folder), "devices": str(devices)}})
        rows = []
        for form in ["blocking", "polling"]:
            for at_once in [4000, 1000, 100]:
                runs = [sink.measure(telemetry, form, HUB, "device-00000", chain, key, 200_000, at_once)
                        for _ in range(RUNS)]
                rows.append(f"| {form} | {at_once} | {spread([r['cpu_us'] for r in runs], '.2f')} | "
                            f"{spread([r['per_s'] for r in runs], ',.0f')} |")
        stored = [emulator.measure(telemetry, "blocking", HUB, "device-00000", chain, key, 20_000, 1000)
                  for _ in range(3)]
        sink.end()
        emulator.end()

    life = {name: [run[name] / 1e3 for run in lives] for name in ["peak_kb", "rss_kb", "heap_bytes"]}
    rustc = run("rustc", "--version").strip()
    cc = run("cc", "--version").splitlines()[0]
    (ROOT / "docs" / "figures-c.md").write_text(f"""# Figures of the C library

Written by `python3 bindings-c/figures/figures.py`; every number here was measured by that run, against servers on the same machine.

{subprocess.run(["date", "-I"], capture_output=True, text=True).stdout.strip()}; {os.cpu_count()} cores; {platform.system()} {platform.release()}; {rustc}; {cc}. Cargo profiles `c-dist` (opt-level s) and `c-dist-small` (opt-level z): fat LTO, one codegen unit, unwinding. A MB is a million bytes. Medians of {RUNS} runs with [least .. most]. Load average at the start: {load:.2f}.

## Size

| | full: `make dist-c` | small: `make dist-c-small` |
|---|---|---|
{table}

The targets are a stripped static sample under 3 MB with TLS inside, and under 2 MB in the small build. `prov_dev_client_sample` keeps both; the other two, which also send telemetry, miss both, the first by 25 KB. On x86-64 and AArch64 150 KB of it are *ring*'s table for P-256. `-z pack-relative-relocs` needs a C library that reads such relocations (glibc from 2.36, musl from 1.2.4).

### The small build

`make dist-c-small` lays it out in `dist/c-small`: the same header, the same symbols, the same names for pkg-config and CMake. It registers, sends telemetry, and has the sign hook, the custom-HSM interface, symmetric keys, PEM and DER files, the making of chains and the doctor. What it leaves out answers `DPS_UNSUPPORTED`, "this is the small build of the library, which leaves out ...", with what to do instead:

| left out | in place of it |
|---|---|
| private keys under a passphrase (PKCS#8 and OpenSSL's old form), read and written | a key in the clear: `openssl pkey -in OLD -out NEW`; or one behind the sign hook |
| PKCS#12 (PFX) files, read and written | PEM files: `openssl pkcs12 -in OLD.pfx -nodes -out ALL.pem` |
| new RSA keys (`dps_key_generate`); RSA keys are read and sign as ever | an EC P-256 key, or an RSA key made elsewhere |
| EC keys that are kept without their public key, as hardly any are | the key with it: `openssl ec -in OLD -out NEW` |
| Mozilla's roots as compiled in, for a system without a store of its own | `SSL_CERT_FILE`, or `dps_options_set_roots_file` |

Its cryptography is *ring* in place of AWS-LC. Of TLS it has 1.2 and 1.3 with AES-GCM, and key exchange on P-256 and P-384: no ChaCha20, X25519, ML-KEM or Ed25519. It is compiled for size (`opt-level = "z"`), with frame pointers, which unwind tables take less room for.

### What the bytes are

What the bytes of `custom_hsm_sign` are, by the owner of each symbol (relocations and unwind tables, about a sixth of the program, belong to none):

| | full | small |
|---|---|---|
{owners}

## One device's process

From its start: opens its credential from PEM files (P-256, a chain of three), registers, connects to its hub, sends 10 messages of 256 bytes one at a time. Blocking calls, so two threads of the runtime beside the program's own.

| | MB | target |
|---|---|---|
| resident, at the height | {spread(life["peak_kb"], ".2f")} | under 6 |
| resident, at the end | {spread(life["rss_kb"], ".2f")} | |
| heap in use at the end | {spread([value / 1e3 for value in life["heap_bytes"]], ".3f")} | |

## Telemetry

One device submits messages of 256 bytes at QoS 1, so many at once, to a hub that acknowledges each and keeps none; then it waits for all of them (`dps_hub_submit`, `dps_hub_flush`). The callback of each is counted in. Target: at most 2 µs of CPU each, and 250,000 messages/s.

| form | at once | CPU each, µs | messages/s |
|---|---|---|---|
{chr(10).join(rows)}
| blocking, to the emulator, which stores each | 1000 | {spread([r["cpu_us"] for r in stored], ".2f")} | {spread([r["per_s"] for r in stored], ",.0f")} |
""")


if __name__ == "__main__":
    sys.exit(main())
