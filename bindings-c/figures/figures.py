"""Measures the C library and writes docs/figures-c.md: `python3 bindings-c/figures/figures.py`.

Builds `make dist-c` and the servers of `make bench` first. Needs Python 3, a C compiler, and Linux.
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
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HUB = "contoso-hub-2.azure-devices.net"
RUNS = 9
NATIVE = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
C = ["cc", "-std=c99", "-D_DEFAULT_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{PREFIX}/include"]


def run(*command, **options):
    return subprocess.run(
        [str(word) for word in command], check=True, text=True, capture_output=True, cwd=ROOT, **options
    ).stdout


def link(output, *sources, flags=()):
    library = PREFIX / "lib" / "libdps_core.a"
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


def megabytes(path):
    return f"{path.stat().st_size / 1e6:.2f} MB"


def stripped(path, folder):
    copy = folder / (path.name + ".stripped")
    run("strip", "-o", copy, path)
    return copy


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
    totals = dict.fromkeys([name for name, _ in OWNERS] + ["cryptography: AWS-LC, and what has no name"], 0)
    for line in run("nm", "-S", "--defined-only", "-C", program).splitlines():
        found = re.match(r"[0-9a-f]+ ([0-9a-f]+) \w (.*)", line)
        if not found:
            continue
        size, symbol = int(found[1], 16), found[2]
        crate = re.match(r"(?:<|&|\(|impl |dyn |mut |\[)*([a-z_0-9]+)(?:\[[0-9a-f]+\])?::", symbol)
        owner = next((name for name, crates in OWNERS if crate and re.fullmatch(crates, crate[1])),
                     "cryptography: AWS-LC, and what has no name")
        totals[owner] += size
    return totals


def sizes(folder):
    samples = ROOT / "samples" / "c"
    rows = [("`libdps_core.a`, all of it", PREFIX / "lib" / "libdps_core.a")]
    rows.append(("`libdps_core.so`, stripped", stripped((PREFIX / "lib" / "libdps_core.so").resolve(), folder)))
    for name, sources in [
        ("prov_dev_client_sample", ["prov_dev_client_sample.c", "custom_hsm_example.c"]),
        ("prov_dev_client_ll_sample", ["prov_dev_client_ll_sample.c", "custom_hsm_example.c"]),
        ("custom_hsm_sign", ["custom_hsm_sign.c"]),
    ]:
        paths = [samples / source for source in sources]
        rows.append((f"`{name}`, static, stripped, `--gc-sections`", link(folder / name, *paths)))
        small = link(folder / (name + "-no-pie"), *paths, flags=["-no-pie"])
        rows.append(("the same with `-no-pie`", small))
    return rows


def main():
    run("make", "dist-c")
    run("cargo", "build", "--release", "--package", "dps-benches", "--bin", "dps-bench-server")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = "\n".join(f"| {name} | {megabytes(path)} |" for name, path in sizes(folder))
        # The archive as rustc made it still has the names.
        raw = folder / "named"
        run(*C, ROOT / "samples/c/custom_hsm_sign.c", "-o", raw, "-Wl,--gc-sections",
            TARGET / "c-dist" / "libdps_core.a", *NATIVE)
        owners = sorted(shares(raw).items(), key=lambda item: -item[1])
        owners = "\n".join(f"| {name} | {size / 1e3:,.0f} KB |" for name, size in owners)

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

{subprocess.run(["date", "-I"], capture_output=True, text=True).stdout.strip()}; {os.cpu_count()} cores; {platform.system()} {platform.release()}; {rustc}; {cc}. Cargo profile `c-dist`: opt-level s, fat LTO, one codegen unit, unwinding. A MB is a million bytes. Medians of {RUNS} runs with [least .. most]. Load average at the start: {load:.2f}.

## Size

| | |
|---|---|
{table}

The target is a stripped static sample under 3 MB, with TLS inside.

What the bytes of `custom_hsm_sign` are, by the owner of each symbol (relocations and unwind tables, about a sixth of the program, belong to none):

| | |
|---|---|
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
