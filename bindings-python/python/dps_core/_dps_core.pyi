from collections.abc import Iterable
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, SupportsFloat, SupportsIndex, final

from _typeshed import SupportsGetItem
from typing_extensions import disjoint_base

from dps_core.protocols import Signer, TokenSigner

__all__ = [
    "X509",
    "Authority",
    "Batch",
    "Bridge",
    "Certificate",
    "CertificateChain",
    "CertificateRequest",
    "Ear",
    "Examination",
    "Finding",
    "Folder",
    "Hub",
    "Inspection",
    "Message",
    "PrivateKey",
    "Registration",
    "RegistrationIdRange",
    "RegistrationIds",
    "RegistrationResult",
    "RegistrationState",
    "Report",
    "SignJob",
    "SignRequest",
    "SubjectKey",
    "SymmetricKey",
    "TokenRequest",
    "after_fork_in_child",
    "at_exit",
    "c_string",
    "certificates_from_pem",
    "decode_error",
    "derive_device_key",
    "error_catalogue",
    "inspect",
    "java_string",
    "next_log_records",
    "next_sign_job",
    "registration_ids_from_csv",
    "restored_result",
    "restored_state",
]

@final
class Authority:
    """
    A CA certificate with its key: makes intermediates, device and verification certificates with
    the extensions of the tutorial's OpenSSL profiles.
    """
    def __new__(cls, /, certificate: Certificate, key: PrivateKey) -> Authority:
        """
        A CA that exists already.
        """
    @property
    def certificate(self, /) -> Certificate:
        """
        The CA's own certificate.
        """
    def create_intermediate(
        self,
        /,
        common_name: str,
        key: PrivateKey | SubjectKey,
        *,
        path_length: SupportsIndex | None = None,
        days: SupportsIndex | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Authority:
        """
        A new intermediate CA below this one; `path_length` limits the CAs below that.
        """
    @staticmethod
    def create_root(
        common_name: str,
        key: PrivateKey | SubjectKey,
        *,
        path_length: SupportsIndex | None = None,
        days: SupportsIndex | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Authority:
        """
        A new root, signed by itself; `path_length` limits the CAs below it.
        """
    @staticmethod
    def from_signer(certificate: Certificate, signer: Signer) -> Authority:
        """
        A CA that exists already, whose key stays where it is: `signer` is any object with
        `sign(request)`, plain or async, which runs in an event loop of its own for each signature.
        One test signature proves that it holds the key.
        """
    def issue_device(
        self,
        /,
        registration_id: str,
        key: PrivateKey | SubjectKey | bytes,
        *,
        days: SupportsIndex | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Certificate:
        """
        A device certificate whose common name is the registration ID. The key is the device's own,
        or its public part as DER SubjectPublicKeyInfo.
        """
    def issue_requested(
        self,
        /,
        request: CertificateRequest,
        *,
        days: SupportsIndex | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Certificate:
        """
        A device certificate for a request that was made elsewhere.
        """
    def issue_verification(
        self,
        /,
        verification_code: str,
        key: PrivateKey | SubjectKey | bytes,
        *,
        days: SupportsIndex | None = None,
    ) -> Certificate:
        """
        A certificate that proves possession of this CA's key: its common name is the verification
        code that DPS gave.
        """
    def reissue_device(
        self,
        /,
        old: Certificate,
        key: PrivateKey | SubjectKey | bytes | None = None,
        *,
        days: SupportsIndex | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Certificate:
        """
        A device certificate in place of an old one: the same name, with the same key or a new one.
        """

@final
class Batch:
    """
    Makes devices in a folder, and picks up where an interrupted batch ended: an iterator, each of
    whose steps makes one device and gives its registration ID, and whether it was made (True) or
    was there already (False).

    A device is done when its full chain is there, which is written last; one that was interrupted
    is finished with the key that it has. Ctrl-C ends the batch between two devices. No other batch
    may be at work in the folder until this one ends, raises or is closed.
    """
    def __iter__(self, /) -> Batch: ...
    def __new__(
        cls,
        /,
        folder: Folder,
        issuer: Authority,
        registration_ids: Iterable[str],
        *,
        key_type: str | None = None,
        days: SupportsIndex | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Batch: ...
    def __next__(self, /) -> tuple[str, bool]: ...
    def close(self, /) -> None:
        """
        Ends the batch, so that another may begin in the folder.
        """

@final
class Bridge:
    """
    What one event loop waits for. Made once for each loop, and kept by it.
    """
    def __new__(cls, /) -> Bridge: ...
    def cancel(self, /, ticket: SupportsIndex) -> None:
        """
        Ends the work whose future is not waited for any more.
        """
    def drain(self, /) -> None:
        """
        Resolves the futures whose work is done; called by the event loop.
        """
    def fileno(self, /) -> int:
        """
        What the event loop is to watch for reading.
        """
    @property
    def pending(self, /) -> int:
        """
        How many futures are waited for.
        """

@final
class Certificate:
    """
    One certificate.
    """
    def __repr__(self, /) -> str: ...
    @property
    def common_name(self, /) -> str | None:
        """
        The common name of the subject.
        """
    @property
    def der(self, /) -> bytes:
        """
        The certificate in DER.
        """
    @staticmethod
    def from_der(der: bytes) -> Certificate:
        """
        Reads a DER certificate.
        """
    @property
    def is_ca(self, /) -> bool:
        """
        Whether the certificate may issue others.
        """
    @property
    def is_self_signed(self, /) -> bool:
        """
        Whether the certificate was issued by itself.
        """
    @property
    def issuer(self, /) -> str:
        """
        The issuer's name.
        """
    @property
    def not_after(self, /) -> datetime:
        """
        The last moment at which the certificate is valid.
        """
    @property
    def not_before(self, /) -> datetime:
        """
        The first moment at which the certificate is valid.
        """
    @property
    def sha1_thumbprint(self, /) -> str:
        """
        The SHA-1 thumbprint, as the Azure portal shows it.
        """
    @property
    def sha256_thumbprint(self, /) -> str:
        """
        The SHA-256 thumbprint in upper-case hexadecimal.
        """
    @property
    def subject(self, /) -> str:
        """
        The subject, such as `CN=device-01`.
        """
    def to_pem(self, /) -> str:
        """
        The certificate in PEM.
        """

@final
class CertificateChain:
    """
    A device's certificates, leaf first, each followed by its issuer.
    """
    @property
    def certificates(self, /) -> list[Certificate]:
        """
        The certificates, leaf first.
        """
    def check_reaches(self, /, authorities: SupportsGetItem[int, Certificate]) -> None:
        """
        Raises unless the chain reaches one of the CA certificates that DPS knows.
        """
    def check_validity(self, /, at: datetime | None = None) -> None:
        """
        Raises for the first certificate that is not valid now, or at the given moment.
        """
    @staticmethod
    def from_pem(pem: str | bytes | PathLike[str]) -> CertificateChain:
        """
        Reads PEM text or a file: one certificate or more, in any order.
        """
    @staticmethod
    def from_pkcs12(
        source: bytes | PathLike[str], pass_phrase: str | bytes | None = None
    ) -> CertificateChain:
        """
        Takes the certificates of PKCS#12 (PFX) bytes or of such a file.
        """
    @property
    def leaf(self, /) -> Certificate:
        """
        The device's own certificate.
        """
    def to_pem(self, /) -> str:
        """
        The chain as PEM, leaf first.
        """
    def to_pkcs12(self, /, key: PrivateKey, pass_phrase: str | bytes) -> bytes:
        """
        The chain and the leaf's key as PKCS#12 (PFX), for the C# sample and the store of Windows.
        """
    @property
    def warnings(self, /) -> list[str]:
        """
        What was tolerated while reading, one sentence each.
        """

@final
class CertificateRequest:
    """
    A certificate request that a device made.
    """
    @staticmethod
    def from_pem(pem: str | bytes) -> CertificateRequest:
        """
        Reads a request from PEM, and verifies its signature.
        """
    @property
    def ignored(self, /) -> list[str]:
        """
        What the request asks for beyond its name and key, which a certificate will not have.
        """
    @property
    def registration_id(self, /) -> str:
        """
        The registration ID that the device asks for.
        """

@final
class Ear:
    """
    What an event loop watches for reading: it can be read once nobody uses the signer any more.
    """
    def fileno(self, /) -> int: ...

@final
class Examination:
    """
    What `dps_core.doctor()` is made of.
    """
    def __new__(
        cls,
        /,
        *,
        x509: X509 | None = None,
        certificate: str | bytes | PathLike[str] | None = None,
        key: str | bytes | PathLike[str] | None = None,
        pass_phrase: str | bytes | None = None,
        authorities: str | bytes | PathLike[str] | None = None,
        group_certificate: str | bytes | PathLike[str] | None = None,
        individual_certificate: str | bytes | PathLike[str] | None = None,
        registration_id: str | None = None,
        id_scope: str | None = None,
        host: str | None = None,
        connect_to: str | None = None,
        roots: str | bytes | PathLike[str] | None = None,
        at: datetime | None = None,
        deadline: SupportsFloat | SupportsIndex | None = None,
        wire: bool = False,
        register: bool = False,
    ) -> Examination: ...
    def run(self, /) -> Report:
        """
        Examines, and waits on this thread.
        """
    def start(self, /, bridge: Bridge, event_loop: Any, future: Any) -> int:
        """
        Examines; the event loop's future is resolved.
        """

@final
class Finding:
    """
    One thing that is wrong, or soon will be.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def evidence(self, /) -> str:
        """
        What was seen, with names and dates.
        """
    @property
    def fix(self, /) -> str:
        """
        What to do about it.
        """
    @property
    def id(self, /) -> str:
        """
        What was looked for: a stable ID such as `DPS-C002`.
        """
    @property
    def page(self, /) -> str:
        """
        The page that explains it, in this project's documentation.
        """
    @property
    def sentence(self, /) -> str:
        """
        What a finding of this ID means.
        """
    @property
    def severity(self, /) -> str:
        """
        `error`, or `warning` for what works here and now.
        """

@final
class Folder:
    """
    Where a chain's files are kept, under the tutorial's names: `certs/`, `private/`, `csr/`.

    Files are written whole or not at all; one that exists is left alone unless `overwrite` is set.
    """

    INTERMEDIATE: Final[str]
    """
    The stem of the intermediate's files.
    """
    ROOT: Final[str]
    """
    The stem of the root's files.
    """
    VERIFICATION: Final[str]
    """
    The stem of the proof-of-possession certificate's files.
    """
    def __new__(cls, /, base: str | PathLike[str], *, overwrite: bool = False) -> Folder: ...
    def certificate(self, /, stem: str) -> Path:
        """
        `certs/STEM.cert.pem`; a device's stem is its registration ID.
        """
    def full_chain(self, /, stem: str) -> Path:
        """
        `certs/STEM-full-chain.cert.pem`.
        """
    def key(self, /, stem: str) -> Path:
        """
        `private/STEM.key.pem`.
        """
    def request(self, /, stem: str) -> Path:
        """
        `csr/STEM.csr.pem`.
        """
    def write_private(self, /, path: str | PathLike[str], contents: str | bytes) -> None:
        """
        Writes a key, readable by its owner alone.
        """
    def write_public(self, /, path: str | PathLike[str], contents: str | bytes) -> None:
        """
        Writes a certificate or a request, readable by all.
        """

@final
class Hub:
    """
    What the hub clients in Python are made of.
    """
    def __new__(
        cls,
        /,
        host: str,
        device_id: str,
        *,
        x509: X509 | None = None,
        symmetric_key: SymmetricKey | None = None,
        port: SupportsIndex | None = None,
        roots: str | bytes | PathLike[str] | None = None,
        connect_to: str | None = None,
        keep_alive: SupportsFloat | SupportsIndex | None = None,
        token_lifetime: SupportsFloat | SupportsIndex | None = None,
    ) -> Hub: ...
    def close(self, /, deadline: SupportsFloat | SupportsIndex | None, for_good: bool) -> None:
        """
        Disconnects, and waits on this thread for what has not been acknowledged.
        """
    def connect(self, /, deadline: SupportsFloat | SupportsIndex | None = None) -> None:
        """
        Connects, and waits on this thread.
        """
    @property
    def connected(self, /) -> bool:
        """
        Whether the hub has accepted the connection, and it has not been lost since.
        """
    @staticmethod
    def from_connection_string(
        connection_string: str,
        *,
        x509: X509 | None = None,
        port: SupportsIndex | None = None,
        roots: str | bytes | PathLike[str] | None = None,
        connect_to: str | None = None,
        keep_alive: SupportsFloat | SupportsIndex | None = None,
        token_lifetime: SupportsFloat | SupportsIndex | None = None,
    ) -> Hub:
        """
        As the constructor, with host, device ID and symmetric key as a connection string has them.
        """
    def send(self, /, message: Any, deadline: SupportsFloat | SupportsIndex | None = None) -> None:
        """
        Sends one message, and waits on this thread for its acknowledgement.
        """
    def send_all(
        self, /, messages: Any, deadline: SupportsFloat | SupportsIndex | None = None
    ) -> None:
        """
        Sends messages in their order, and waits on this thread for every acknowledgement.
        """
    def start_close(
        self,
        /,
        bridge: Bridge,
        future: Any,
        deadline: SupportsFloat | SupportsIndex | None,
        for_good: bool,
    ) -> int:
        """
        Disconnects; the event loop's future is resolved.
        """
    def start_connect(
        self,
        /,
        bridge: Bridge,
        event_loop: Any,
        future: Any,
        deadline: SupportsFloat | SupportsIndex | None = None,
    ) -> int:
        """
        Connects; the event loop's future is resolved.
        """
    def start_send(
        self,
        /,
        bridge: Bridge,
        event_loop: Any,
        future: Any,
        message: Any,
        deadline: SupportsFloat | SupportsIndex | None = None,
    ) -> int:
        """
        Sends one message; the event loop's future is resolved.
        """
    def start_send_all(
        self,
        /,
        bridge: Bridge,
        event_loop: Any,
        future: Any,
        messages: Any,
        deadline: SupportsFloat | SupportsIndex | None = None,
    ) -> int:
        """
        Sends messages in their order; the event loop's future is resolved.
        """

@final
class Inspection:
    """
    The certificates of a file, with what each may be used for; `str()` gives the tree from the
    root to the leaf.
    """
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def certificates(self, /) -> list[Certificate]:
        """
        The certificates, in the order of the file.
        """
    @property
    def notes(self, /) -> list[str]:
        """
        What was tolerated while reading, one sentence each.
        """
    def to_json(self, /) -> str:
        """
        The inspection as JSON text: `certificates` and `notes`.
        """

@disjoint_base
class Message:
    """
    A message to the hub.

    `data` is `str` (sent as UTF-8), bytes, or a number (sent as text).
    """
    def __new__(
        cls,
        /,
        data: Any,
        message_id: Any | None = None,
        content_encoding: Any | None = None,
        content_type: Any | None = None,
        output_name: Any | None = None,
    ) -> Message: ...
    def __reduce__(self, /) -> tuple[Any, ...]: ...
    def __repr__(self, /) -> str: ...
    def __setstate__(self, /, state: tuple[Any, ...]) -> None: ...
    def __str__(self, /) -> str: ...
    @property
    def ack(self, /) -> Any | None:
        """
        Belongs to messages from the cloud: it is kept, and not sent.
        """
    @ack.setter
    def ack(self, /, value: Any | None) -> None:
        """
        Belongs to messages from the cloud: it is kept, and not sent.
        """
    @property
    def content_encoding(self, /) -> Any | None:
        """
        Such as `utf-8`; routing by the body needs it.
        """
    @content_encoding.setter
    def content_encoding(self, /, value: Any | None) -> None:
        """
        Such as `utf-8`; routing by the body needs it.
        """
    @property
    def content_type(self, /) -> Any | None:
        """
        Such as `application/json`; routing by the body needs it.
        """
    @content_type.setter
    def content_type(self, /, value: Any | None) -> None:
        """
        Such as `application/json`; routing by the body needs it.
        """
    @property
    def correlation_id(self, /) -> Any | None:
        """
        The ID of the message that this one belongs to.
        """
    @correlation_id.setter
    def correlation_id(self, /, value: Any | None) -> None:
        """
        The ID of the message that this one belongs to.
        """
    @property
    def custom_properties(self, /) -> dict:
        """
        Application properties, sent beside the data.
        """
    @custom_properties.setter
    def custom_properties(self, /, properties: dict) -> None: ...
    @property
    def data(self, /) -> Any: ...
    @data.setter
    def data(self, /, value: Any) -> None: ...
    @property
    def expiry_time_utc(self, /) -> Any | None:
        """
        When the message loses its worth: a `datetime`, in UTC where it has no time zone.
        """
    @expiry_time_utc.setter
    def expiry_time_utc(self, /, value: Any | None) -> None:
        """
        When the message loses its worth: a `datetime`, in UTC where it has no time zone.
        """
    def get_size(self, /) -> int:
        """
        How many bytes the hub counts: the data and the properties.
        """
    @property
    def message_id(self, /) -> Any | None:
        """
        The ID by which the receiver tells messages apart.
        """
    @message_id.setter
    def message_id(self, /, value: Any | None) -> None:
        """
        The ID by which the receiver tells messages apart.
        """
    @property
    def output_name(self, /) -> Any | None:
        """
        Names the output by which an edge hub routes the message.
        """
    @output_name.setter
    def output_name(self, /, value: Any | None) -> None:
        """
        Names the output by which an edge hub routes the message.
        """
    def set_as_security_message(self, /) -> None:
        """
        Marks the message as one for Microsoft Defender for IoT.
        """
    @property
    def user_id(self, /) -> Any | None:
        """
        The ID of the user that this message comes from.
        """
    @user_id.setter
    def user_id(self, /, value: Any | None) -> None:
        """
        The ID of the user that this message comes from.
        """

@final
class PrivateKey:
    """
    A private key in this process's memory.
    """
    def __repr__(self, /) -> str: ...
    def certificate_request(self, /, common_name: str) -> str:
        """
        A certificate request in PEM with this common name.
        """
    @staticmethod
    def from_pem(
        pem: str | bytes | PathLike[str], pass_phrase: str | bytes | None = None
    ) -> PrivateKey:
        """
        Reads a key from PEM, DER or PKCS#12.
        """
    @staticmethod
    def generate(key_type: str | None = None) -> PrivateKey:
        """
        Makes a new key: `rsa-4096` as in the tutorial, `rsa-2048`, `rsa-3072`, `ec-p256` or
        `ec-p384`.
        """
    @property
    def key_type(self, /) -> str:
        """
        The type, such as `EC P-256`.
        """
    @property
    def public_key_info(self, /) -> bytes:
        """
        The public key as DER SubjectPublicKeyInfo.
        """
    def to_der(self, /) -> bytes:
        """
        The key as DER (PKCS#8), in the clear.
        """
    def to_pem(self, /, pass_phrase: str | bytes | None = None) -> str:
        """
        The key as PEM (PKCS#8), encrypted if there is a pass phrase.
        """

@final
class Registration:
    """
    What the provisioning clients in Python are made of.
    """
    def __new__(
        cls,
        /,
        host: str | None,
        id_scope: str,
        registration_id: str | None,
        *,
        x509: X509 | None = None,
        symmetric_key: SymmetricKey | None = None,
        port: SupportsIndex | None = None,
        roots: str | bytes | PathLike[str] | None = None,
        connect_to: str | None = None,
        api_version: str | None = None,
    ) -> Registration: ...
    def register(
        self,
        /,
        payload: str | None = None,
        deadline: SupportsFloat | SupportsIndex | None = None,
        on_progress: Any | None = None,
    ) -> RegistrationResult:
        """
        Registers, and waits on this thread.
        """
    def start(
        self,
        /,
        bridge: Bridge,
        event_loop: Any,
        future: Any,
        payload: str | None = None,
        deadline: SupportsFloat | SupportsIndex | None = None,
        on_progress: Any | None = None,
    ) -> int:
        """
        Registers; the event loop's future is resolved.
        """

@final
class RegistrationIdRange:
    """
    Registration IDs that differ in a number: `device-0001..device-1000`, both included.
    """
    def __iter__(self, /) -> RegistrationIdRange: ...
    def __new__(cls, /, text: str) -> RegistrationIdRange: ...
    def __next__(self, /) -> str: ...
    @property
    def remaining(self, /) -> int:
        """
        How many are still to come.
        """

@final
class RegistrationIds:
    """
    The registration IDs of a CSV, one after another.
    """
    def __iter__(self, /) -> RegistrationIds: ...
    def __next__(self, /) -> str: ...

@final
class RegistrationResult:
    """
    The end of a registration.
    """
    def __reduce__(self, /) -> tuple[Any, ...]: ...
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def operation_id(self, /) -> str:
        """
        The ID of the operation that made the assignment.
        """
    @property
    def registration_state(self, /) -> RegistrationState:
        """
        Where the device was assigned to.
        """
    @property
    def status(self, /) -> str:
        """
        `assigned`: any other end of a registration is an exception.
        """

@final
class RegistrationState:
    """
    Where a device was assigned to.
    """
    def __reduce__(self, /) -> tuple[Any, ...]: ...
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def assigned_hub(self, /) -> str:
        """
        The host name of the hub.
        """
    @property
    def created_date_time(self, /) -> str | None:
        """
        When the registration was made, as the service writes it.
        """
    @property
    def device_id(self, /) -> str:
        """
        The device's ID in the hub.
        """
    @property
    def etag(self, /) -> str | None:
        """
        The entity tag of the registration record.
        """
    @property
    def last_update_date_time(self, /) -> str | None:
        """
        When the registration last changed, as the service writes it.
        """
    @property
    def registration_id(self, /) -> str:
        """
        The registration ID, as the service has it.
        """
    @property
    def response_payload(self, /) -> str:
        """
        What a custom allocation policy returned for the device, as JSON with sorted members, which
        `json.dumps` wrote; `null` if nothing.
        """
    @property
    def sub_status(self, /) -> str | None:
        """
        How the assignment came about, such as `initialAssignment`.
        """
    @property
    def unknown_fields(self, /) -> str | None:
        """
        What the service said beyond all this, as a JSON object; `None` if nothing.
        """

@final
class Report:
    """
    What the doctor found.
    """
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def exit_code(self, /) -> int:
        """
        0 nothing found, 1 warnings, 2 errors.
        """
    @property
    def findings(self, /) -> list[Finding]:
        """
        What is wrong, or soon will be.
        """
    @property
    def seen(self, /) -> list[str]:
        """
        What was examined and is in order, one sentence each.
        """
    def to_json(self, /) -> str:
        """
        The report as JSON text: `exitCode`, `findings`, `seen`.
        """

@final
class SignJob:
    """
    One signature to be made.
    """
    def answer(self, /, signature: bytes) -> None: ...
    @property
    def ear(self, /) -> Ear | None:
        """
        What tells that nobody waits for the signature any more, where that is known.
        """
    @property
    def event_loop(self, /) -> Any | None: ...
    def fail(self, /, description: str, exception: Any) -> None: ...
    @property
    def limit(self, /) -> float | None:
        """
        After how many seconds nobody wants the signature, where that is known.
        """
    @property
    def request(self, /) -> SignRequest | TokenRequest: ...
    @property
    def signer(self, /) -> Any: ...

@final
class SignRequest:
    """
    What a signer is asked to sign.
    """
    def __repr__(self, /) -> str: ...
    @property
    def algorithm(self, /) -> str:
        """
        The algorithm, such as `ecdsa-p256-sha256`.
        """
    @property
    def digest(self, /) -> bytes:
        """
        The message's hash, for a signer that takes digests.
        """
    @property
    def hash(self, /) -> str:
        """
        The hash of the algorithm, by its name in `hashlib`.
        """
    @property
    def message(self, /) -> bytes:
        """
        The whole message, for a signer that hashes by itself.
        """

@final
class SubjectKey:
    """
    A key that signs elsewhere, for a CA's or a device's certificate, or a request for one.

    `signer` is any object with `sign(request)`, plain or async, and with `algorithms`, of which
    certificates may have `ecdsa-p256-sha256`, `ecdsa-p384-sha384` and `rsa-pkcs1-sha256` (384,
    512); an async one runs in an event loop of its own for each signature. `public_key_info` is its
    public key as DER SubjectPublicKeyInfo.
    """
    def __new__(cls, /, signer: Signer, public_key_info: bytes) -> SubjectKey: ...
    def certificate_request(self, /, common_name: str) -> str:
        """
        A certificate request in PEM with this common name.
        """
    @property
    def public_key_info(self, /) -> bytes:
        """
        The public key as DER SubjectPublicKeyInfo.
        """

@final
class SymmetricKey:
    """
    A symmetric key in one of the forms that the clients take: base64, one that signs and stays
    where it is, or what an HSM gave away.
    """
    def __new__(cls, /, key: str) -> SymmetricKey:
        """
        A key in base64.
        """
    @staticmethod
    def from_hsm(registration_id: str, key: str | bytes) -> SymmetricKey:
        """
        What an HSM answered: the registration ID that its key belongs to, and the key in base64.
        """
    @staticmethod
    def from_signer(signer: TokenSigner) -> SymmetricKey:
        """
        A key that stays where it is: `signer` has `sign(request)`, plain or async.
        """

@final
class TokenRequest:
    """
    What a symmetric key that signs is asked to sign: the answer is the HMAC-SHA256 of `message`
    under the key, 32 bytes.
    """
    def __repr__(self, /) -> str: ...
    @property
    def algorithm(self, /) -> str:
        """
        `hmac-sha256`.
        """
    @property
    def digest(self, /) -> None:
        """
        `None`: an HMAC is made of the message itself.
        """
    @property
    def hash(self, /) -> str:
        """
        The hash of the algorithm, by its name in `hashlib`.
        """
    @property
    def message(self, /) -> bytes:
        """
        The whole message.
        """

@final
class X509:
    """
    A device's certificate chain and its private key.

    X509(cert_file, key_file, pass_phrase=None) takes files, which are read when a client is made:
    PEM, DER or PKCS#12 (PFX), which may be one and the same.

    In every form `authorities` are the CA certificates that DPS knows, as PEM or as the path object
    of a file: a chain that reaches none of them is refused before dialling.
    """
    def __new__(
        cls,
        /,
        cert_file: str | PathLike[str],
        key_file: str | PathLike[str],
        pass_phrase: str | bytes | None = None,
        *,
        authorities: str | bytes | PathLike[str] | None = None,
    ) -> X509: ...
    @property
    def certificate_file(self, /) -> Path | None:
        """
        The file with the chain, where there is one.
        """
    @staticmethod
    def from_pem(
        chain: str | bytes,
        key: str | bytes,
        pass_phrase: str | bytes | None = None,
        *,
        authorities: str | bytes | PathLike[str] | None = None,
    ) -> X509:
        """
        The full chain and the leaf's private key as PEM; bytes may be DER or PKCS#12 too.
        """
    @staticmethod
    def from_pkcs12(
        source: bytes | PathLike[str],
        pass_phrase: str | bytes | None = None,
        *,
        authorities: str | bytes | PathLike[str] | None = None,
    ) -> X509:
        """
        The full chain and the leaf's private key as PKCS#12 (PFX): bytes, or the path object of a
        file, which is read when a client is made.
        """
    @staticmethod
    def from_signer(
        chain: str | bytes | PathLike[str],
        signer: Signer,
        *,
        authorities: str | bytes | PathLike[str] | None = None,
    ) -> X509:
        """
        The full chain, as PEM or as the path object of a file, with a key that stays where it is:
        `signer` is any object with `sign(request)`, plain or async, which returns the signature.

        Whether the signer holds the leaf's key is proven by one test signature, when the first
        client that uses it registers or connects.
        """
    @property
    def key_file(self, /) -> Path | None:
        """
        The file with the key, where there is one.
        """

def after_fork_in_child() -> None:
    """
    For `os.register_at_fork`.
    """

def at_exit() -> None:
    """
    For `atexit`: ends the runtime while the interpreter is still whole.
    """

def c_string(pem: str | bytes) -> str:
    """
    PEM as a C string constant, one source line for each line of the text.
    """

def certificates_from_pem(pem: str | bytes | PathLike[str]) -> list[Certificate]:
    """
    Reads every certificate of a PEM text or file.
    """

def decode_error(text: str) -> Report:
    """
    What an error means that there is already: its text, such as `401002 CA certificate not found.`
    """

def derive_device_key(group_key: str, registration_id: str) -> str:
    """
    The key of one device of an enrollment group, in base64.
    """

def error_catalogue() -> list[tuple[int, str, bool, str]]:
    """
    Every kind of error: code, name, whether a retry may help, and what it means.
    """

def inspect(
    source: str | bytes | PathLike[str],
    *others: str | bytes | PathLike[str],
    pass_phrase: str | bytes | None = None,
    at: datetime | None = None,
) -> Inspection:
    """
    Reads PEM, DER or PKCS#12, of which a chain need not hold; several are shown as one tree.
    """

def java_string(pem: str | bytes) -> str:
    """
    PEM as a Java string constant; Python reads it too, between parentheses.
    """

def next_log_records() -> list[tuple[int, str, str, float]]:
    """
    Waits for records and returns them: level, logger, message, time.
    """

def next_sign_job() -> SignJob | None:
    """
    Waits for a signature to make; `None` ends the thread.
    """

def registration_ids_from_csv(csv: str | bytes | PathLike[str]) -> RegistrationIds:
    """
    Reads the registration IDs of a CSV: its text, or the path object of a file.

    The column is the one headed `registrationId` or `deviceId`; one column
    alone needs no header.
    Empty rows and those that begin with `#` are skipped. All rows are read before the first is
    given, so that a bad one raises here.
    """

def restored_result(operation_id: str, state: dict[str, str | None]) -> RegistrationResult:
    """
    What a pickle of a [`RegistrationResult`] names.
    """

def restored_state(state: dict[str, str | None]) -> RegistrationState:
    """
    What a pickle of a [`RegistrationState`] names.
    """
