"""The Python shim: README.md says what a shim reads and prints. Dense, to stay below 100 lines."""
import asyncio, datetime, json, sys
from pathlib import Path

import dps_core
from dps_core import X509, DpsError, Message, ServiceDetails
from dps_core.aio import IoTHubDeviceClient, ProvisioningDeviceClient

sys.path.insert(0, str(Path(__file__).parent))
from hardware import Hsm, KeyHsm, Signer, TokenSigner
given, clients, under_way = {}, {}, []
SETTINGS = """--connect-to --roots --host --registration-id --api-version --payload --deadline --keep-alive --token-lifetime
    --id --chain --key --passphrase --authorities --delay --sign-fails-at --hsm-fails --property""".split()
SYSTEM = "message_id correlation_id user_id content_type content_encoding output_name".split()
def lines(**values):
    for name, value in values.items():
        if value is not None: print(f"{name.replace('_', '-')}: {value}", flush=True)
def whole(name): return Path(given[name]).read_bytes()
def seconds(name): return int(given[name]) / 1000 if name in given else None
def credential(form):
    chain, key, passphrase = given.get("--chain"), given["--key"], given.get("--passphrase")
    known = {"authorities": Path(given["--authorities"]) if "--authorities" in given else None}
    forms = {
        "pem-files": lambda: X509(chain, key, passphrase, **known), "signer": lambda: X509.from_signer(whole("--chain"), Signer(given), **known),
        "pem": lambda: X509.from_pem(whole("--chain"), whole("--key"), passphrase, **known), "hsm": lambda: Hsm(given),
        "pkcs12-file": lambda: X509.from_pkcs12(Path(chain), passphrase, **known), "hsm-key": lambda: KeyHsm(given),
        "pkcs12": lambda: X509.from_pkcs12(whole("--chain"), passphrase, **known), "token-signer": lambda: TokenSigner(given),
        "symmetric-key": lambda: key, "group-key": lambda: dps_core.derive_device_key(key, given["--id"]),
    }
    return forms[form]() if form in forms else sys.exit(89)
async def or_cancelled(cancels, work):  # The outcome, or None where the end of the input came first and it was cancelled.
    task = asyncio.ensure_future(work)
    if cancels: asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: task.cancel())
    try:
        return await task or True
    except asyncio.CancelledError:
        lines(cancelled="yes")
def create(kind, proof, *place, **options):
    what = "connection_string" if proof is None else "x509_certificate" if isinstance(proof, (X509, Hsm)) else "symmetric_key"
    options = {name: value for name, value in options.items() if value is not None}
    return getattr(kind, f"create_from_{what}")(*place, roots=whole("--roots"), connect_to=given["--connect-to"], **options)
async def register(id_scope, proof, cancels):
    name = given.get("--registration-id", given["--id"] if isinstance(proof, (str, TokenSigner)) else None)
    place = (given.get("--host"), name, id_scope, proof)
    if id_scope not in clients:
        clients[id_scope] = create(ProvisioningDeviceClient, proof, *place, api_version=given.get("--api-version"))
    clients[id_scope].provisioning_payload = json.loads(given.get("--payload", "null"))
    work = clients[id_scope].register(deadline=seconds("--deadline"), on_progress=lambda step: lines(progress=step))
    if result := await or_cancelled(cancels, work):
        it = result.registration_state
        lines(hub=it.assigned_hub, device_id=it.device_id, registration_id=it.registration_id, substatus=it.sub_status)
        lines(created=it.created_date_time, last_updated=it.last_update_date_time, etag=it.etag, unknown=it.unknown_fields)
        compact = json.dumps(json.loads(it.response_payload), separators=(",", ":"), ensure_ascii=False)
        lines(payload=None if compact == "null" else compact)
        return it.assigned_hub, it.device_id
async def obey(words):
    cancels, message, hub, assigned, proof = False, None, None, None, None
    for flag, value in zip(words[::2], words[1::2]):
        now, cancels = cancels, flag == "--cancel"
        if flag == "--credential":
            proof = credential(value)
        elif flag == "--register":
            assigned = await register(value, proof, now)
        elif flag in ("--connect", "--connection-string"):
            options = {"keep_alive": seconds("--keep-alive"), "sastoken_ttl": seconds("--token-lifetime")}
            if flag == "--connect": hub = create(IoTHubDeviceClient, proof, proof, *(value.split("/", 1) if "/" in value else assigned), **options)
            else:
                options["x509"] = proof if isinstance(proof, (X509, Hsm)) else None
                hub = create(IoTHubDeviceClient, None, value, **options)
            await or_cancelled(now, hub.connect(deadline=seconds("--deadline")))
        elif flag in ("--body", "--size"):
            message = Message(value if flag == "--body" else b"x" * int(value))
        elif flag == "--system":
            *texts, expires = value.split(",")
            for name, text in zip(SYSTEM, texts): setattr(message, name, text)
            message.expiry_time_utc = datetime.datetime.fromtimestamp(int(expires), datetime.timezone.utc)
            message.set_as_security_message()
        elif flag == "--value":
            message.custom_properties[given["--property"]] = value
        elif flag == "--send":
            bodies = [message] if value == "1" else map(str, range(1, int(value) + 1))
            lines(sent=await or_cancelled(now, asyncio.gather(*map(hub.send_message, bodies))) and value)
        elif flag == "--submit":
            under_way.append(asyncio.ensure_future(hub.send_message(message)))
            await asyncio.sleep(0)
        elif flag == "--close":
            lines(closed=await or_cancelled(now, hub.disconnect(deadline=int(value) / 1000)) and "yes")
        elif flag == "--catalogue":
            lines(**{str(code): f"{name} {str(retryable).lower()} {text}" for code, name, retryable, text in dps_core.error_catalogue()})
        elif flag in SETTINGS:
            given[flag] = value
        elif flag != "--cancel":
            sys.exit(89)
try:
    asyncio.run(obey(sys.argv[1:]))
except DpsError as error:
    told = error.service or ServiceDetails()
    lines(error=error.name, code=error.code, retryable=str(error.retryable).lower(), operation=error.operation, text=error, hint=error.hint)
    lines(service_status=told.status, service_code=told.error_code, service_message=told.message, tracking_id=told.tracking_id)
    lines(retry_after=None if told.retry_after is None else int(told.retry_after * 1000))
