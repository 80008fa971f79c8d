"""A batch of devices in a folder, and the keys that sign for certificates from elsewhere."""

from __future__ import annotations

import _thread
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from conftest import Device, Hierarchy
from dps_core import chain, exceptions
from dps_core.chain import (
    Authority,
    Batch,
    CertificateRequest,
    Folder,
    PrivateKey,
    RegistrationIdRange,
    SubjectKey,
    registration_ids_from_csv,
)
from test_signers import AsyncHsm, Hsm


@pytest.fixture
def folder(hierarchy: Hierarchy, tmp_path: Path) -> Folder:
    """With the CAs of the hierarchy in it, as the tutorial leaves it."""
    folder = Folder(tmp_path)
    for stem, authority in [
        (Folder.ROOT, hierarchy.root),
        (Folder.INTERMEDIATE, hierarchy.intermediate),
    ]:
        folder.write_public(folder.certificate(stem), authority.certificate.to_pem())
    return folder


def sound(folder: Folder, device: str) -> None:
    """openssl reads all three files of the device, which belong together and are its."""
    root, leaf = folder.certificate(Folder.ROOT), folder.certificate(device)
    path = folder.full_chain(device)
    openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", path, leaf)
    key = openssl("pkey", "-in", folder.key(device), "-pubout")
    assert openssl("x509", "-in", leaf, "-noout", "-pubkey") == key
    assert f"CN = {device}\n" in openssl("x509", "-in", path, "-noout", "-subject")
    assert path.read_text().count("BEGIN CERTIFICATE") == 3, "the chain goes up to the root"
    assert stat.S_IMODE(folder.key(device).stat().st_mode) == 0o600


def openssl(*arguments: str | Path) -> str:
    command = ["openssl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_interrupted_batch_goes_on(hierarchy: Hierarchy, folder: Folder) -> None:
    ids = [f"device-{number:02}" for number in range(8, 21)]

    def batch() -> Batch:
        devices = RegistrationIdRange("device-08..device-20")
        assert devices.remaining == len(ids)
        return Batch(folder, hierarchy.intermediate, devices, key_type="ec-p256", days=5)

    first = batch()
    assert [next(first) for _ in range(5)] == [(device, True) for device in ids[:5]]
    assert not folder.full_chain(ids[5]).exists(), "a device is made when it is asked for"
    with pytest.raises(exceptions.DpsError, match="another batch is at work"):
        batch()
    first.close()
    with pytest.raises(StopIteration):
        next(first)
    # What a kill between two files leaves, and what one in the middle of a file does.
    folder.full_chain(ids[4]).unlink()
    (folder.key(ids[0]).parent / ".dps-partial-x").write_text("half a k")
    before = {device: folder.key(device).read_bytes() for device in ids[:5]}
    assert list(batch()) == [(device, device not in ids[:4]) for device in ids]
    assert before == {device: folder.key(device).read_bytes() for device in ids[:5]}
    assert not list(folder.key(ids[0]).parent.glob(".dps-partial-*"))
    assert list(batch()) == [(device, False) for device in ids]
    for device in ids:
        sound(folder, device)
    leaves = [chain.certificates_from_pem(folder.certificate(device))[0] for device in ids]
    assert len({leaf.sha256_thumbprint for leaf in leaves}) == len(ids)


def test_ctrl_c_ends_a_batch_between_two_devices(hierarchy: Hierarchy, folder: Folder) -> None:
    """The keys are large, so that the signal comes while one is made."""
    devices = RegistrationIdRange("slow-1..slow-20")
    asked = threading.Event()

    def interrupt() -> None:
        asked.wait(60)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    made = []
    with pytest.raises(KeyboardInterrupt):
        for device, _ in Batch(folder, hierarchy.intermediate, devices, key_type="rsa-4096"):
            made.append(device)
            asked.set()
    done = [f"slow-{number}" for number in (1, 2) if folder.full_chain(f"slow-{number}").exists()]
    assert made == done[: len(made)]
    again = Batch(folder, hierarchy.intermediate, [*done, "slow-3"], key_type="ec-p256")
    assert list(again) == [*((device, False) for device in done), ("slow-3", True)]
    for device in [*done, "slow-3"]:
        sound(folder, device)


def test_a_killed_program_leaves_what_the_next_one_finishes(
    hierarchy: Hierarchy, folder: Folder, tmp_path: Path
) -> None:
    key = tmp_path / "ca.key.pem"
    other = Authority.create_root("Other root", PrivateKey.generate("ec-p256"))
    ca = PrivateKey.generate("ec-p256")
    issuer = other.create_intermediate("Other", ca)
    folder.write_public(folder.certificate("other-root"), other.certificate.to_pem())
    folder.write_public(folder.certificate("other"), issuer.certificate.to_pem())
    folder.write_private(key, ca.to_pem())
    program = f"""if True:
        from pathlib import Path
        from dps_core.chain import *
        folder = Folder({str(tmp_path)!r})
        ca, = certificates_from_pem(folder.certificate("other"))
        issuer = Authority(ca, PrivateKey.from_pem(Path({str(key)!r})))
        devices = RegistrationIdRange("d1..d99999")
        for device, _ in Batch(folder, issuer, devices, key_type="ec-p256"):
            print(device, flush=True)
    """
    for kill_after in ("d3", "d10"):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            for line in running.stdout:
                if line.decode().strip() == kill_after:
                    running.kill()
                    break
    finished = dict(Batch(folder, issuer, RegistrationIdRange("d1..d40"), key_type="ec-p256"))
    assert list(finished) == [f"d{number}" for number in range(1, 41)]
    assert not any(finished[f"d{number}"] for number in range(1, 11))
    for number in range(1, 41):
        leaf, *above = chain.certificates_from_pem(folder.full_chain(f"d{number}"))
        verdict = chain.verify(
            folder.full_chain(f"d{number}"),
            authorities=other.certificate.to_pem(),
            key=folder.key(f"d{number}"),
        )
        assert not verdict.findings, str(verdict)
        assert leaf.to_pem() == folder.certificate(f"d{number}").read_text()
        assert [c.common_name for c in above] == ["Other", "Other root"]


def test_a_fork_leaves_a_batch_to_the_parent(tmp_path: Path) -> None:
    program = f"""if True:
        import gc, os
        from dps_core import exceptions
        from dps_core.chain import *
        folder = Folder({str(tmp_path)!r})
        issuer = Authority.create_root("Root", PrivateKey.generate("ec-p256"))
        batch = Batch(folder, issuer, RegistrationIdRange("d1..d3"), key_type="ec-p256")
        next(batch)
        child = os.fork()
        if not child:
            try:
                next(batch)
            except exceptions.ForkedError:
                del batch, issuer
                gc.collect()
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        print(list(batch))
    """
    told = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.stdout == "[('d2', True), ('d3', True)]\n", told.stderr


def test_ids_come_from_a_csv_or_anywhere(
    hierarchy: Hierarchy, folder: Folder, tmp_path: Path
) -> None:
    csv = tmp_path / "devices.csv"
    csv.write_text("note,Device ID\nfirst,csv-1\n\n# none\nsecond,csv-2\nthird,csv-1\n")
    assert list(registration_ids_from_csv(csv)) == ["csv-1", "csv-2", "csv-1"]
    assert list(registration_ids_from_csv(b"a\nb\n")) == ["a", "b"]
    issuer = hierarchy.intermediate
    batch = Batch(folder, issuer, registration_ids_from_csv(csv), key_type="ec-p256")
    assert list(batch) == [("csv-1", True), ("csv-2", True), ("csv-1", False)]

    def some() -> Iterator[str]:
        yield "any-1"
        yield "any-2"

    assert list(Batch(folder, issuer, some(), key_type="ec-p256"))[1] == ("any-2", True)
    sound(folder, "csv-2")
    sound(folder, "any-2")
    assert list(RegistrationIdRange("d-008..d-010")) == ["d-008", "d-009", "d-010"]


def test_existing_files_are_overwritten_only_if_asked(
    hierarchy: Hierarchy, folder: Folder, tmp_path: Path
) -> None:
    issuer = hierarchy.intermediate
    assert list(Batch(folder, issuer, ["device"], key_type="ec-p256")) == [("device", True)]
    key = folder.key("device").read_bytes()
    with pytest.raises(exceptions.DpsError, match="exists already") as kept:
        folder.write_private(folder.key("device"), "no key")
    assert kept.value.name == "DPS_FILE_NOT_WRITABLE"
    assert folder.key("device").read_bytes() == key
    anew = Folder(tmp_path, overwrite=True)
    assert list(Batch(anew, issuer, ["device"], key_type="ec-p256")) == [("device", True)]
    assert folder.key("device").read_bytes() != key
    sound(folder, "device")
    root = Authority.create_root("Another root", PrivateKey.generate("ec-p256"))
    other = root.create_intermediate("Test intermediate", PrivateKey.generate("ec-p256"))
    with closing(Batch(folder, other, ["device"], key_type="ec-p256")) as batch:
        with pytest.raises(exceptions.DpsError, match="another CA issued it"):
            next(batch)
        with pytest.raises(StopIteration):
            next(batch)


def test_file_names_are_the_tutorials(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert (
        folder.certificate(Folder.ROOT) == tmp_path / "certs/azure-iot-test-only.root.ca.cert.pem"
    )
    assert folder.key(Folder.INTERMEDIATE) == (
        tmp_path / "private/azure-iot-test-only.intermediate.key.pem"
    )
    assert folder.request("device-01") == tmp_path / "csr/device-01.csr.pem"
    assert folder.full_chain("device-01") == tmp_path / "certs/device-01-full-chain.cert.pem"
    assert folder.certificate(Folder.VERIFICATION) == tmp_path / "certs/verification-code.cert.pem"


def test_a_bad_batch_is_named(hierarchy: Hierarchy, folder: Folder, tmp_path: Path) -> None:
    issuer = hierarchy.intermediate
    with pytest.raises(ValueError, match="in width"):
        RegistrationIdRange("a01..a100")
    with pytest.raises(ValueError, match="ed25519"):
        Batch(folder, issuer, ["a"], key_type="ed25519")
    with pytest.raises(exceptions.DpsError, match="stands twice"):
        Batch(folder, issuer, ["a", "a"])
    with pytest.raises(exceptions.DpsError, match="would have the files"):
        Batch(folder, issuer, ["a:1", "A_1"])
    with pytest.raises(exceptions.DpsError, match="' '"):
        Batch(folder, issuer, ["a b"])
    with pytest.raises(TypeError, match="not str"):
        Batch(folder, issuer, "device-01")
    with pytest.raises(FileNotFoundError, match=r"nope\.csv"):
        registration_ids_from_csv(tmp_path / "nope.csv")
    with pytest.raises(exceptions.DpsError, match="line 2"):
        registration_ids_from_csv("a\nb c\n")
    (tmp_path / "file").write_text("")
    with pytest.raises(exceptions.DpsError, match="file"):
        Batch(Folder(tmp_path / "file"), issuer, ["a"])


def test_pem_becomes_a_constant(device: Device) -> None:
    sed = ["sed", r's/^/"/;$ !s/$/""\\n"/;$ s/$/"/']
    tutorial = subprocess.run(sed, input=device.chain, capture_output=True, text=True, check=True)
    assert chain.c_string(device.chain) == tutorial.stdout
    assert eval(f"({chain.java_string(device.chain.encode())})") == device.chain.rstrip("\n")
    with pytest.raises(exceptions.WrongFileContentError):
        chain.c_string("hello")


@pytest.mark.parametrize("kind", [Hsm, AsyncHsm])
def test_the_key_of_a_ca_may_be_elsewhere(
    hierarchy: Hierarchy, folder: Folder, tmp_path: Path, kind: type[Hsm]
) -> None:
    key = PrivateKey.generate("ec-p256")
    hsm = kind(Device("ca", key, ""), tmp_path)
    certificate = hierarchy.root.create_intermediate("Kept", key).certificate
    issuer = Authority.from_signer(certificate, hsm)
    folder.write_public(folder.certificate("kept"), certificate.to_pem())
    assert list(Batch(folder, issuer, ["device"], key_type="ec-p256")) == [("device", True)]
    sound(folder, "device")
    assert len(hsm.requests) == 2, "one proves the key, one signs the certificate"
    with pytest.raises(exceptions.KeyMismatchError):
        Authority.from_signer(hierarchy.root.certificate, hsm)


def test_certificates_and_requests_are_made_for_a_key_elsewhere(tmp_path: Path) -> None:
    keys = [PrivateKey.generate("ec-p256") for _ in range(3)]
    root_key, below_key, device_key = (
        SubjectKey(named(Hsm(Device(f"key-{number}", key, ""), tmp_path)), key.public_key_info)
        for number, key in enumerate(keys)
    )
    root = Authority.create_root("Root", root_key)
    below = root.create_intermediate("Below", below_key)
    request = tmp_path / "device.csr"
    request.write_text(device_key.certificate_request("device-01"))
    assert "verify OK" in openssl_says("req", "-in", request, "-verify", "-noout")
    leaf = below.issue_requested(CertificateRequest.from_pem(request.read_bytes()))
    for name, certificate in [("r", root.certificate), ("b", below.certificate), ("l", leaf)]:
        (tmp_path / name).write_text(certificate.to_pem())
    ca = ("-CAfile", tmp_path / "r", "-untrusted", tmp_path / "b")
    openssl("verify", "-x509_strict", *ca, tmp_path / "l")
    assert below.issue_device("device-01", device_key).issuer == "CN=Below"
    assert device_key.public_key_info == keys[2].public_key_info


def test_what_a_signer_raises_is_the_cause(tmp_path: Path) -> None:
    key = PrivateKey.generate("ec-p256")
    broken = OSError("the token is not in its slot")

    def fail(number: int) -> None:
        raise broken

    hsm = named(Hsm(Device("key", key, ""), tmp_path, fail))
    with pytest.raises(exceptions.SignerError, match="not in its slot") as error:
        SubjectKey(hsm, key.public_key_info).certificate_request("device-01")
    assert error.value.__cause__ is broken
    with pytest.raises(exceptions.SignerError):
        Authority.create_root("Root", SubjectKey(hsm, key.public_key_info))
    with pytest.raises(TypeError, match="algorithms"):
        SubjectKey(Hsm(Device("key", key, ""), tmp_path), key.public_key_info)
    with pytest.raises(TypeError, match="SubjectKey"):
        Authority.create_root("Root", "key")  # type: ignore[arg-type]


def test_ctrl_c_ends_the_wait_for_a_signer(tmp_path: Path) -> None:
    release = threading.Event()

    def hang(number: int) -> None:
        _thread.interrupt_main()
        release.wait(30)

    key = PrivateKey.generate("ec-p256")
    hsm = named(Hsm(Device("key", key, ""), tmp_path, hang))
    with pytest.raises(KeyboardInterrupt):
        SubjectKey(hsm, key.public_key_info).certificate_request("device-01")
    release.set()


def test_a_signer_does_not_become_the_main_thread() -> None:
    """Whichever thread imports threading first is the main one to it, and asyncio imports it."""
    program = """if True:
        import sys
        from dps_core import SignerError
        from dps_core.chain import PrivateKey, SubjectKey
        class Hsm:
            algorithms = ["ecdsa-p256-sha256"]
            async def sign(self, request):
                return b"no signature"
        assert "threading" not in sys.modules
        key = PrivateKey.generate("ec-p256").public_key_info
        try:
            SubjectKey(Hsm(), key).certificate_request("device-01")
        except SignerError:
            pass
        import threading
        print(threading.main_thread() is threading.current_thread())
    """
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.stdout, told.stderr) == ("True\n", "")


def test_a_pass_phrase_may_be_bytes(device: Device, tmp_path: Path) -> None:
    encrypted = device.key.to_pem("1234é".encode())
    for pass_phrase in ("1234é", "1234é".encode()):
        key = PrivateKey.from_pem(encrypted, pass_phrase)
        assert key.public_key_info == device.key.public_key_info
    assert not chain.verify(device.chain, key=encrypted, pass_phrase="1234é".encode()).findings
    with pytest.raises(ValueError, match="UTF-8") as refused:
        PrivateKey.from_pem(encrypted, b"secret\xff")
    assert "secret" not in str(refused.value)
    with pytest.raises(TypeError, match="str or bytes"):
        PrivateKey.from_pem(encrypted, 1234)  # type: ignore[arg-type]


def named(hsm: Hsm) -> Hsm:
    hsm.algorithms = ["ecdsa-p256-sha256"]  # type: ignore[attr-defined]
    return hsm


def openssl_says(*arguments: str | Path) -> str:
    command = ["openssl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
