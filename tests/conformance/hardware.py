"""What cases bring along in place of hardware: signers and HSMs, slow where --delay says so, and
pulled out where --sign-fails-at or --hsm-fails does."""

import subprocess
import time
from pathlib import Path


class Hsm:
    """An HSM that gives its key away."""

    def __init__(self, given):
        self.given = given

    def get_certificate(self):
        return self._handed_over("certificate", "--chain")

    def get_key(self):
        return self._handed_over("key", "--key")

    def get_common_name(self):
        return self.given["--id"]

    def _handed_over(self, what, flag):
        time.sleep(int(self.given.get("--delay", 0)) / 1000)
        if self.given.get("--hsm-fails") == what:
            raise RuntimeError("the token was pulled out")
        return Path(self.given[flag]).read_bytes()


class Signer:
    """A key that signs; the openssl command has it."""

    def __init__(self, given):
        self.given = given
        self.calls = 0

    def sign(self, request):
        self.calls += 1
        if self.calls == int(self.given.get("--sign-fails-at", 0)):
            raise RuntimeError("the token was pulled out")
        time.sleep(int(self.given.get("--delay", 0)) / 1000)
        options = ["-pkeyopt", f"digest:{request.hash}"]
        if "pss" in request.algorithm:
            options += ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest"]
        command = ["openssl", "pkeyutl", "-sign", "-inkey", self.given["--key"], *options]
        return subprocess.run(command, input=request.digest, capture_output=True, check=True).stdout
