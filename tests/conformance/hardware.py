"""What cases bring along in place of hardware: signers and HSMs, slow where --delay says so, and
pulled out where --sign-fails-at or --hsm-fails does."""

import base64
import hmac
import subprocess
import time
from pathlib import Path


class Device:
    """What a signer and an HSM have in common."""

    def __init__(self, given):
        self.given = given
        self.calls = 0

    def touched(self):
        self.calls += 1
        if self.calls == int(self.given.get("--sign-fails-at", 0)):
            raise RuntimeError("the token was pulled out")
        time.sleep(int(self.given.get("--delay", 0)) / 1000)

    def handed_over(self, what, flag):
        self.touched()
        if self.given.get("--hsm-fails") == what:
            raise RuntimeError("the token was pulled out")
        return self.given[flag]


class Hsm(Device):
    """An HSM that gives its certificate and its key away."""

    def get_certificate(self):
        return Path(self.handed_over("certificate", "--chain")).read_bytes()

    def get_key(self):
        return Path(self.handed_over("key", "--key")).read_bytes()

    def get_common_name(self):
        return self.given["--id"]


class KeyHsm(Device):
    """An HSM that gives its symmetric key away."""

    def get_symmetric_key(self):
        return self.handed_over("key", "--key")

    def get_registration_name(self):
        return self.handed_over("name", "--id")


class Signer(Device):
    """A key that signs; the openssl command has it."""

    def sign(self, request):
        self.touched()
        options = ["-pkeyopt", f"digest:{request.hash}"]
        if "pss" in request.algorithm:
            options += ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest"]
        command = ["openssl", "pkeyutl", "-sign", "-inkey", self.given["--key"], *options]
        return subprocess.run(command, input=request.digest, capture_output=True, check=True).stdout


class TokenSigner(Device):
    """A symmetric key that signs."""

    def sign(self, request):
        self.touched()
        key = base64.b64decode(self.given["--key"])
        return hmac.digest(key, request.message, request.hash)
