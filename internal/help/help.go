// Package help holds the longer texts that "vault path-help" shows.
//
// Promise: tests compare the texts with the fields and paths that there are.
//
// State: none.
package help

// Config is the help of config.
const Config = `
Holds the Palette user that the engine logs in as, and how to reach Palette. "config"
is "config/default".

A write changes only the fields that it names. It first logs in to Palette and revokes
the token that it got; where Palette says no, nothing is stored. With
verify_connection=false it stores without asking.

The password and the client key are never given back. Changing login_type, username,
address, email, org, proxy_url, ca_cert, tls_server_name or tls_skip_verify asks for the
password again, so that a stored password never goes to another host or under another name.

Deleting a config, or leading it elsewhere, leaves its leases revocable; they can not be
renewed any more. A warning names the roles that it concerns. Its shared session and
API keys, if it has any, end at Palette and in Vault.

Instead of email and password a config may hold an api_key, enough for roles with
credential_type=api_key. "rotate-root" gives it a new password or key that nobody sees,
rotation_period does so by itself, and before half of a key's life is over. A key that expires
and that nothing rotates is a warning.

With login_type=system and username, in place of email and org, it holds a system administrator
of a self-hosted Palette or VerteX, for roles that return tokens. Palette documents neither API
keys nor a change of the password for such an account, so both are refused. What Palette lets
the account do with its tokens, "check" tells: where a token cannot be refreshed, a renewal logs
in; where it cannot be revoked, it lives to its expires_at.

  $ vault write palette/config/console login_type=system username=admin password=@password.txt

Palette allows 10 calls a second and 50 at once for one IP address and each of its resources
(logins, refreshes, users, API keys), and all calls of the engine come from Vault's address.
rate_limit and rate_burst keep to that. Where logins fail, the engine tries at most four in 15
minutes, so that Palette does not suspend the account: three with the password that is in use,
one with another that is written here.
`

// Creds is the help of creds/<role>.
const Creds = `
Logs in to Palette and returns the authorization token under a lease that lasts as long
as the token, cut by the request, the role and the mount. The token goes into the
Authorization header of calls to Palette, without "Bearer".

A renewal returns a new token with its token_id and expires_at; the old one lives on to its own
expires_at. token_id names the token and opens nothing: Vault's audit log can show it, see
audit-non-hmac-response-keys of a mount. When the lease ends, the engine revokes its live tokens.

A role with shared=true hands out the config's one session instead: the lease lasts as
long as the token that it carries, a renewal returns the session's present token, and
revoking the lease leaves the session alone.

A role with credential_type=api_key makes an API key. It expires at Palette a minute after
its lease, a renewal moves that and keeps the key, and a revocation deletes it. With
shared=true all leases of the role hand out one key: none outlives its key, a renewal returns
the role's present key, and revoking the lease leaves the key alone.

  $ vault read palette/creds/app
  $ vault read palette/creds/app ttl=5m renewable=false
`

// Metrics is the help of metrics.
const Metrics = `
The metrics of this mount, in Prometheus's text form: calls to Palette by endpoint and
outcome with how long they took (outcome="foreign": somebody in between has answered), waits for
the rate limit by resource, retries, leases issued, renewed and revoked, what the engine still
has to revoke, shared sessions, rotations, how old the configs' passwords are, how far Palette's
clock is off, and how many API keys their users have by the last listing of Palette's. A read of
the metrics calls nobody. Memory and goroutines are those of the plugin's process, which
may serve other mounts too. Counters begin at zero with that process.

  $ vault read -format=raw palette/metrics

Without -format=raw the CLI says "invalid character '#'": the answer is no JSON. Prometheus reads it at /v1/palette/metrics with a Vault token whose policy allows "read" there.
`

// Mount is the help of the mount.
const Mount = `
The palette secrets engine issues short-lived credentials of Spectro Cloud's Palette:
authorization tokens and API keys. Its paths:

  config, config/<name>            Palette's login, and how to reach Palette
  config/                          lists the configs
  roles/<name>                     which config issues a credential, and for how long
  roles                            lists the roles
  creds/<role>                     issues a credential under a lease, renewed and ended at Palette
  sessions/<config>                the session that a config's shared roles hand out; ends it
  sessions                         lists the configs that have one
  rotate-root, rotate-root/<name>  gives a config a password or API key that nobody sees
  trust/<config>                   changes how a config reaches Palette, without its password (sudo)
  check, check/<config>            tells whether a config works, and what to do where it does not
  metrics                          what the mount does, for Prometheus

"config", "rotate-root" and "check" alone are those of the config "default". Write a config,
then a role, and read its credentials. "vault path-help <mount>/<path>" explains each path.
`

// Role is the help of roles/<name>.
const Role = `
A role names the config that its credentials are issued by, and bounds their leases. A
write changes only the fields that it names, and the config must exist. A write that shortens
ttl or max_ttl, and a delete, are answered with what becomes of the leases.

A renewal returns a new token. Clients that look at a renewal's answer (the vault CLI,
applications with a LifetimeWatcher) use renewable=true. Clients that only extend a
lease (Vault Agent and its injector, the Secrets Operator) would keep the first token
after its death: for them set renewable=false, and they read anew in time. A change of
renewable counts for leases from then on.

With credential_type=api_key a read makes a Palette API key instead of a token, for what
takes nothing else, as Palette's Terraform provider. Its lease lasts an hour, or the
mount's default where that is shorter, where ttl says
nothing. A renewal keeps the same key and moves its expiry, so it suits Vault Agent as it is.

With shared=true all leases of roles of one config hand out one Palette session, which the
engine keeps fresh: one login, then refreshes, however many read. The trade: revoking one
lease does not end the token, which others use and which lives to its expires_at. To end
it, delete sessions/<config>. A change of shared counts for leases from then on.

With shared=true and credential_type=api_key all leases of the role hand out one API key, for
consumers that read often and never revoke: Palette lets a user have 20 keys. It lives for
max_ttl (24 hours where that is 0) and is replaced when a third of that is left. No lease
outlives its key, and a renewal returns the present one. Deleting the role, or a change of
shared, credential_type, config_name or user_uid, ends the key.
`

// Session is the help of sessions/<config>.
const Session = `
Roles with shared=true hand out one Palette session per config. The engine logs in once
and then refreshes it on demand: a token is handed out while at least two thirds of its
life are left. The session is stored seal-wrapped, and a restarted or a new active Vault
goes on with it.

Roles with shared=true and credential_type=api_key hand out one API key each, by role in
api_keys. It lives for the role's max_ttl (24 hours where that is 0) and is replaced when a
third of that is left; the one before lives on to its own end, and is then deleted.

The trade: revoking one of the leases does not end the token or key, which others use. A read
shows the session and the keys, never a secret. A delete ends them at Palette and in Vault: all
that the leases carry is dead then, and the next read begins anew. Palette out of
reach, the engine tries each minute until all is revoked or dead.

A config that changes its address, org, email or username or is deleted ends its session and keys, and
so does removing the mount; a role that is deleted, or shares no key any more, or changes
config_name or user_uid, ends its key. A seal or a reload of the plugin does not.
`

// Rotate is the help of rotate-root.
const Rotate = `
Makes a password, changes it at Palette and stores it; nobody sees it. It is made by the
config's password_policy or, without one, has 32 characters of all four classes. For a
config with an api_key it makes a new key, stores it, and deletes the old one.

The new password is written ahead before Palette hears of it, so that a crash at any point
loses neither: the engine finds out by a login which one works, and goes on by itself.
Logins wait meanwhile; none fails because of it. A second rotation of the same config is
refused with 409. rotation_period on the config rotates by itself.

Whoever else uses the same Palette user, another config or a person, is locked out by a
rotation: give the engine a user of its own.
`

// Trust is the help of trust/<config>.
const Trust = `
Changes ca_cert, tls_server_name, proxy_url, client_cert and client_key of a config without its
password: after a rotation nobody knows that, and Palette may get a certificate of another
authority. A write changes only the fields that it names. It tries the stored password or API
key on the new way, and stores nothing where that fails.

The password goes the new way, so this takes the capability "sudo" beside "update". It takes
neither address nor tls_skip_verify. A write to "config" of such a field asks for the password.

  $ vault write palette/trust/default ca_cert=@new-ca.pem
`

// Check is the help of check.
const Check = `
Asks Palette who the config's user is: with its API key, its shared session where there is
one, or else a login, which login protection counts as any other and whose token is revoked
at once. login=true logs in also where there is a session. Nothing is stored.

  $ vault read palette/check          # the config "default"
  $ vault read palette/check/ci

The answer comes with status 200 also where the check fails: ok is false then, and step,
error and advice say where, how, and what to do. "somebody between Vault and Palette answers"
means a proxy, a gateway or another server. A warning says what else is to be changed: clocks that
differ by more than 30 seconds, a revocation that failed, what Palette does not let a system
administrator do (user_info, refresh, revocation) and its IsPasswordReset, an api_key that
expires and that nothing rotates, the name_template of one of the config's roles.
`
