"""Reads a credential of the Palette engine, calls Palette, replaces the credential in time, revokes it at the end."""
import functools, math, os, signal, sys, threading, time  # noqa: E401
import hvac, requests  # noqa: E401

PATH = os.environ.get("PALETTE_ROLE_PATH", "palette/creds/app")  # of tokens or of API keys
INTERVAL = float(os.environ.get("POLL_INTERVAL", "30"))  # seconds between two calls to Palette
APPROLE = [os.environ[name] for name in ("VAULT_ROLE_ID", "VAULT_SECRET_ID") if name in os.environ]  # or VAULT_TOKEN
FAILURES = (hvac.exceptions.VaultError, requests.RequestException)
vault, ended = hvac.Client(timeout=10), threading.Event()
say = functools.partial(print, file=sys.stderr, flush=True)

def lease(answer, sent, login_ends):  # sent: when the answer was asked for. A lease ends with its Vault token
    life = min(answer["lease_duration"], login_ends - sent)
    return dict(answer, life=life, due=sent + life * 2 / 3, ends=sent + life * 9 / 10, login_ends=login_ends)

def replace(old):
    sent = time.monotonic()
    try:
        if old and old["renewable"]:  # a renewal brings a new token, or leaves the API key as it is
            new = lease(vault.sys.renew_lease(old["lease_id"]), sent, old["login_ends"])
            if new["life"] > old["life"] * 0.9:  # less: max_ttl or the Vault token's end is near
                return new
    except hvac.exceptions.VaultError as error:
        say("the lease cannot be renewed, so a new one is read:", error)
    login = vault.auth.approle.login(*APPROLE)["auth"]["lease_duration"] if APPROLE else 0
    new = lease(vault.adapter.get("/v1/" + PATH), sent, sent + (login or math.inf))
    revoke(old)
    return new

def revoke(old):
    try:
        if old:  # the lease's ID is in the path, so that a policy can allow the leases of one role alone
            vault.write("sys/leases/revoke/" + old["lease_id"], sync=True)
            say("revoked a lease")
    except FAILURES as error:
        say("could not revoke a lease, which ends by itself:", type(error).__name__)

def rejects(data):  # calls Palette, and tells whether Palette takes the credential for dead
    fields = {"Authorization": "token", "ApiKey": "api_key", "ProjectUid": "project_uid"}
    headers = {header: data[field] for header, field in fields.items() if field in data}  # no "Bearer"
    try:
        answer = requests.get(data["address"] + "/v1/projects/alerts", headers=headers, timeout=10,
                              allow_redirects=False, auth=lambda request: request)  # auth: none out of a .netrc
    except requests.RequestException as error:
        return say("Palette does not answer:", error)
    say("Palette answers", answer.status_code)
    return answer.status_code == 401

held, tries, next_try = None, 0, 0
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: ended.set())
while not ended.is_set():
    now = time.monotonic()
    try:
        if now >= max(next_try, held["due"] if held else 0):
            held, tries = replace(held), 0
            say("holds a credential until", held["data"]["expires_at"])
    except FAILURES as error:
        if isinstance(error, hvac.exceptions.Forbidden) and not APPROLE:
            sys.exit(f"Vault refuses VAULT_TOKEN: it has expired, or no policy allows {PATH}. {error}")
        tries, next_try = tries + 1, now + min(2 ** tries, 60)
        say(f"no new credential, next try in {next_try - now:.0f} s:", error)
    if held and time.monotonic() < held["ends"] and rejects(held["data"]):
        held.update(renewable=False, due=0, ends=0)  # a new one is read
    ended.wait(INTERVAL)
revoke(held)
