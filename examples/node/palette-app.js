// Reads a credential of the Palette engine, calls Palette, replaces the credential in time, revokes it at the end.
import { setTimeout as pause } from 'node:timers/promises';
import nodeVault from 'node-vault';

const vault = nodeVault({ rpDefaults: { timeout: 10_000 } }); // VAULT_ADDR, VAULT_TOKEN
const path = process.env.PALETTE_ROLE_PATH ?? 'palette/creds/app'; // of tokens or of API keys
const interval = Number(process.env.POLL_INTERVAL ?? 30); // seconds between two calls to Palette
const { VAULT_ROLE_ID: role_id, VAULT_SECRET_ID: secret_id } = process.env; // an AppRole to log in by, or VAULT_TOKEN
const end = new AbortController();
const now = () => performance.now() / 1000;
const say = (...words) => console.error(...words);
const reason = (error) => error.message || error.code; // never the error itself: it holds the request and its token

function lease(answer, sent, loginEnds) { // sent: when the answer was asked for. A lease ends with its Vault token
  const life = Math.min(answer.lease_duration, loginEnds - sent);
  return { ...answer, life, due: sent + life * 2 / 3, ends: sent + life * 9 / 10, loginEnds };
}

async function replace(old) {
  const sent = now();
  if (old?.renewable) { // a renewal brings a new token, or leaves the API key as it is
    const renewed = await vault.renew({ lease_id: old.lease_id }).catch((error) => say('no renewal:', reason(error)));
    const next = renewed && lease(renewed, sent, old.loginEnds);
    if (next?.life > old.life * 0.9) return next; // less: max_ttl or the Vault token's end is near
  }
  const login = role_id && (await vault.approleLogin({ role_id, secret_id })).auth.lease_duration;
  const next = lease(await vault.read(path), sent, sent + (login || Infinity));
  await revoke(old);
  return next;
}

async function revoke(old) { // by the lease's ID in the path, so that a policy can allow the leases of one role alone
  await (old && vault.write(`sys/leases/revoke/${old.lease_id}`, { sync: true }).then(() => say('revoked a lease'),
    (error) => say('could not revoke a lease, which ends by itself:', reason(error))));
}

async function rejects(data) { // calls Palette, and tells whether Palette takes the credential for dead
  const fields = { Authorization: data.token, ApiKey: data.api_key, ProjectUid: data.project_uid }; // no "Bearer"
  const headers = Object.entries(fields).filter(([, value]) => value);
  const options = { headers, redirect: 'manual', signal: AbortSignal.timeout(10_000) };
  return fetch(`${data.address}/v1/projects/alerts`, options).then(async (answer) => {
    say('Palette answers', answer.status, `(${(await answer.text()).length} characters)`);
    return answer.status === 401;
  }).catch((error) => say('Palette does not answer:', reason(error)));
}

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => end.abort());
let [held, tries, nextTry] = [undefined, 0, 0];
while (!end.signal.aborted) {
  try {
    if (now() >= Math.max(nextTry, held?.due ?? 0)) {
      [held, tries] = [await replace(held), 0];
      say('holds a credential until', held.data.expires_at);
    }
  } catch (error) {
    if (error.response?.statusCode === 403 && !role_id) {
      say(`Vault refuses VAULT_TOKEN: it has expired, or no policy allows ${path}`);
      process.exit(1);
    }
    nextTry = now() + Math.min(2 ** tries++, 60);
    say(`no new credential, next try in ${(nextTry - now()).toFixed()} s:`, reason(error));
  }
  if (held && now() < held.ends && await rejects(held.data)) held = { ...held, renewable: false, due: 0, ends: 0 };
  await pause(interval * 1000, null, { signal: end.signal }).catch(() => {});
}
await revoke(held);
